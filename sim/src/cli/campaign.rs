//! `run`: many seeds, judged, compared or recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use seedlog_sim::campaign::{cpu_seconds, run_all, Summary};
use seedlog_sim::plan::{Choices, Plan};
use seedlog_sim::report::Report;
use seedlog_sim::run::Mode;
use seedlog_sim::trace::CHECKPOINT_EVERY;

use super::{mode, record, say};

/// What `run` is asked.
#[derive(Debug, Args)]
pub struct Asked {
    /// The seeds.
    #[arg(long, value_parser = range)]
    seeds: (u64, u64),
    /// Seeds at a time.
    #[arg(short, default_value_t = 2)]
    jobs: u64,
    /// Step the world plainly instead of inside madsim.
    #[arg(long)]
    no_madsim: bool,
    /// Write a line of each seed's hash, verdict and checkpoints to this file.
    #[arg(long)]
    hashes: Option<PathBuf>,
    /// Compare with such a file instead of judging: exit 3 if a hash, a verdict or a checkpoint differs.
    #[arg(long)]
    expect: Option<PathBuf>,
    /// Append a row of range, commit, tree and result to sim/CAMPAIGNS.md.
    #[arg(long)]
    record: bool,
    /// Run only about this many per cent of the seeds.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100))]
    percent: u64,
    /// Draws the seeds that `--percent` keeps.
    #[arg(long, default_value_t = 0)]
    sample: u64,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let both = text
        .split_once("..")
        .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let some = both.filter(|(from, to): &(u64, u64)| from < to);
    some.ok_or_else(|| "A..B is wanted, with A below B".to_string())
}

struct Reports {
    all: Vec<Report>,
    started: Instant,
    cpu: Option<f64>,
}

pub fn run(asked: &Asked) -> Result<ExitCode, String> {
    let mut draw = Choices::new(asked.sample, "sample", 0);
    let (from, to) = asked.seeds;
    let kept = |_: &u64| draw.chance(asked.percent, 100);
    let seeds: Vec<u64> = (from..to).filter(kept).collect();
    let reports = with_progress(&seeds, asked.jobs, mode(asked.no_madsim));
    if let Some(file) = &asked.expect {
        return compare(&reports, file, asked.no_madsim);
    }
    let summary = Summary::of(&reports.all, reports.started, reports.cpu);
    let bad = |report: &&Report| !report.violations.is_empty() || report.undecided;
    for report in reports.all.iter().filter(bad) {
        card(
            report,
            &Plan::of(report.seed),
            &report.seed.to_string(),
            None,
        );
    }
    say(&summary.to_string());
    if let Some(file) = &asked.hashes {
        let lines: String = reports.all.iter().map(line).collect();
        std::fs::write(file, lines).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if asked.record {
        let percent = Some(asked.percent).filter(|percent| *percent < 100);
        say(&record::append(
            asked.seeds,
            percent,
            &summary,
            &reports.all,
        )?);
    }
    Ok(ExitCode::from(summary.exit_code()))
}

fn with_progress(seeds: &[u64], jobs: u64, mode: Mode) -> Reports {
    let bar = ProgressBar::new(seeds.len() as u64);
    let style = "{bar:40} {pos}/{len} seeds {elapsed} left {eta} {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let all = run_all(seeds, jobs, mode, &|report| {
        if let Some((rule, what)) = report.violations.first() {
            bar.println(format!("FAIL seed {} {rule}: {what}", report.seed));
        }
        bar.inc(1);
    });
    bar.finish_and_clear();
    Reports { all, started, cpu }
}

/// What a file of hashes says of a run: seed, final hash, verdict, and the hash at each checkpoint.
fn line(report: &Report) -> String {
    let mut line = format!("{} {:016x} {}", report.seed, report.hash, report.verdict());
    for (_, hash) in &report.checkpoints {
        line.push_str(&format!(" {hash:016x}"));
    }
    line.push('\n');
    line
}

/// Where two such lines of a seed part, in words.
fn parting(now: &str, before: &str) -> Option<String> {
    let words = |line: &str| line.split_whitespace().map(str::to_string).collect();
    let (now, before): (Vec<String>, Vec<String>) = (words(now), words(before));
    if now == before {
        return None;
    }
    let first = (3..now.len().max(before.len())).find(|at| now.get(*at) != before.get(*at));
    let from = first.map_or(now.len().max(3), |at| at) as u64 - 3;
    let span = match first {
        Some(_) => format!(
            "between events {} and {}",
            from * CHECKPOINT_EVERY,
            (from + 1) * CHECKPOINT_EVERY
        ),
        None => format!("after event {}", from * CHECKPOINT_EVERY),
    };
    let word = |line: &[String], at: usize| line.get(at).cloned().unwrap_or_default();
    Some(format!(
        "{} {}, was {} {}: they part {span}",
        word(&now, 1),
        word(&now, 2),
        word(&before, 1),
        word(&before, 2)
    ))
}

/// Hold reports against the hashes, verdicts and checkpoints of an earlier campaign.
fn compare(reports: &Reports, file: &Path, plain: bool) -> Result<ExitCode, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    let seed_of = |line| Some((str::split_once(line, ' ')?.0, line));
    let known: BTreeMap<&str, &str> = text.lines().filter_map(seed_of).collect();
    let (mut same, mut differ, mut skipped) = (0, 0, 0);
    for report in &reports.all {
        let seed = report.seed.to_string();
        // Its schedule is madsim's own: stepped plainly it is another run.
        if plain && Plan::of(report.seed).tasks {
            skipped += 1;
            continue;
        }
        let before = known.get(&seed[..]);
        let before = before.ok_or_else(|| format!("{}: no seed {seed}", file.display()))?;
        match parting(&line(report), before) {
            None => same += 1,
            Some(text) => {
                say(&format!("seed {seed}: {text}\n"));
                differ += 1;
            }
        }
    }
    say(&format!(
        "{same} hashes equal, {differ} differ, {skipped} run only as madsim tasks\n"
    ));
    Ok(ExitCode::from(if differ > 0 || same == 0 { 3 } else { 0 }))
}

/// What broke, and the commands that show it again and make it small. The plan is written to a file if
/// the run was a seed.
pub fn card(report: &Report, plan: &Plan, what: &str, bug: Option<&str>) {
    for (rule, text) in report.violations.iter().take(3) {
        say(&format!("FAIL {rule}  seed {}  {text}\n", report.seed));
    }
    if report.undecided {
        say(&format!("UNDECIDED  seed {}\n", report.seed));
    }
    say(&format!("  hash    {:016x}\n", report.hash));
    let file = format!("seed-{}.sim", report.seed);
    if what.parse::<u64>().is_ok() && std::fs::write(&file, plan.to_text()).is_ok() {
        say(&format!("  plan    {file}\n"));
    }
    let bug = bug.map_or(String::new(), |bug| format!(" --bug {bug}"));
    let command = "cargo run --release -p seedlog-sim --";
    say(&format!("  replay  {command} replay {what}{bug}\n"));
    say(&format!(
        "  shrink  {command} shrink {what}{bug} -o small.sim\n"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_differs_by_hash_verdict_or_checkpoint() {
        let before = "7 aaaa holds 01 02 03\n";
        assert_eq!(parting(before, before), None);
        let part = |now: &str| parting(now, before).expect("they differ");
        assert!(part("7 aaab holds 01 02 03").contains("after event 12288"));
        assert!(part("7 aaaa H1 01 02 03").contains("H1, was aaaa holds"));
        assert!(part("7 aaaa holds 01 09 08").contains("between events 4096 and 8192"));
        assert!(part("7 aaaa holds 01 02").contains("between events 8192 and 12288"));
    }

    #[test]
    fn a_range_goes_up() {
        assert_eq!(range("3..9"), Ok((3, 9)));
        for wrong in ["9..3", "3..3", "3", "3..x", ".."] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
