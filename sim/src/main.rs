//! `seedlog-sim`: run seeds, replay one, plant bugs, measure.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use seedlog_core::contract::Knobs;
use seedlog_sim::campaign::{cpu_seconds, median, run_all, Summary};
use seedlog_sim::plan::{Choices, Plan};
use seedlog_sim::planted::{self, search, Finding, Planted};
use seedlog_sim::report::Report;
use seedlog_sim::run::{on_a_thread, Mode, Watch};
use seedlog_sim::scenario;

/// Deterministic simulation of Seedlog under seeded faults.
#[derive(Debug, Parser)]
#[command(name = "seedlog-sim", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run seeds A..B (B excluded) with all checkers.
    Run {
        /// The seeds.
        #[arg(long)]
        seeds: String,
        /// Seeds at a time.
        #[arg(short, default_value_t = 2)]
        jobs: u64,
        /// Step the world plainly instead of inside madsim.
        #[arg(long)]
        no_madsim: bool,
        /// Write `seed hash` lines to this file.
        #[arg(long)]
        hashes: Option<PathBuf>,
        /// Compare with such a file instead of judging: exit 3 if a hash differs.
        #[arg(long)]
        expect: Option<PathBuf>,
        /// Run only about this many per cent of the seeds.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100))]
        percent: u64,
        /// Draws the seeds that `--percent` keeps.
        #[arg(long, default_value_t = 0)]
        sample: u64,
    },
    /// Run one seed, or a plan from a file, and print its hash.
    Replay {
        /// A seed or a `.sim` file.
        what: String,
        /// Step the world plainly instead of inside madsim.
        #[arg(long)]
        no_madsim: bool,
    },
    /// Print the plan of a seed, or of a file, in canonical form.
    Plan {
        /// A seed or a `.sim` file.
        what: String,
    },
    /// Bring scenario files into canonical form.
    Fmt {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Scenario files must be plans in canonical form that say what is expected of them: exit 1 if not.
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Plant bugs one at a time and see that a checker fails.
    Mutate {
        /// Only these, such as M1,M44.
        #[arg(long)]
        only: Option<String>,
        /// CPU seconds per bug and kind of checker.
        #[arg(long, default_value_t = 600)]
        budget: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
    /// Events per second and time per seed.
    Bench {
        /// Seeds.
        #[arg(long, default_value_t = 40)]
        seeds: u64,
    },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let mode = |plain: bool| if plain { Mode::Plain } else { Mode::Madsim };
    match cli.command {
        Command::Run {
            seeds,
            jobs,
            no_madsim,
            hashes,
            expect,
            percent,
            sample,
        } => {
            let Some((from, to)) = range(&seeds) else {
                return usage("--seeds wants A..B");
            };
            let mut draw = Choices::new(sample, "sample", 0);
            let seeds: Vec<u64> = (from..to).filter(|_| draw.chance(percent, 100)).collect();
            let reports = with_progress(&seeds, jobs, mode(no_madsim));
            match expect {
                Some(file) => compare(&reports, &file, no_madsim),
                None => campaign(&reports, hashes.as_deref()),
            }
        }
        Command::Replay { what, no_madsim } => replay(&what, mode(no_madsim)),
        Command::Plan { what } => match scenario::plan_of(&what) {
            Ok(plan) => {
                print!("{}", plan.to_text());
                ExitCode::SUCCESS
            }
            Err(error) => usage(&error),
        },
        Command::Fmt { files } => each_file(&files, |file| {
            let changed = scenario::format(file)?;
            if changed {
                println!("{}", file.display());
            }
            Ok(())
        }),
        Command::Check { files } => each_file(&files, scenario::check),
        Command::Mutate {
            only,
            budget,
            first,
        } => mutate(only.as_deref(), Duration::from_secs(budget), first),
        Command::Bench { seeds } => bench(seeds),
    }
}

fn each_file(files: &[PathBuf], act: impl Fn(&Path) -> Result<(), String>) -> ExitCode {
    let faults: Vec<String> = files.iter().filter_map(|file| act(file).err()).collect();
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    ExitCode::from(u8::from(!faults.is_empty()))
}

fn usage(text: &str) -> ExitCode {
    eprintln!("seedlog-sim: {text}");
    ExitCode::from(64)
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once("..")?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from < to).then_some((from, to))
}

struct Reports {
    all: Vec<Report>,
    started: Instant,
    cpu: Option<f64>,
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

fn campaign(reports: &Reports, hashes: Option<&Path>) -> ExitCode {
    let summary = Summary::of(&reports.all, reports.started, reports.cpu);
    let bad = |report: &&Report| !report.violations.is_empty() || report.undecided;
    for report in reports.all.iter().filter(bad) {
        card(report, &Plan::of(report.seed), &report.seed.to_string());
    }
    print!("{summary}");
    if let Some(file) = hashes {
        let line = |report: &Report| format!("{} {:016x}\n", report.seed, report.hash);
        let lines: String = reports.all.iter().map(line).collect();
        if let Err(error) = std::fs::write(file, lines) {
            return usage(&format!("{}: {error}", file.display()));
        }
    }
    ExitCode::from(summary.exit_code())
}

/// Hold reports against the hashes of an earlier campaign.
fn compare(reports: &Reports, file: &Path, plain: bool) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return usage(&format!("{}: {error}", file.display())),
    };
    let known: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once(' ')).collect();
    let (mut same, mut differ, mut skipped) = (0, 0, 0);
    for report in &reports.all {
        let (seed, hash) = (report.seed.to_string(), format!("{:016x}", report.hash));
        match known.get(&seed[..]) {
            // Its schedule is madsim's own: stepped plainly it is another run.
            _ if plain && Plan::of(report.seed).tasks => skipped += 1,
            Some(expected) if *expected == hash => same += 1,
            Some(expected) => {
                println!("seed {seed}: {hash}, was {expected}");
                differ += 1;
            }
            None => return usage(&format!("{}: no seed {seed}", file.display())),
        }
    }
    println!("{same} hashes equal, {differ} differ, {skipped} run only as madsim tasks");
    ExitCode::from(if differ > 0 || same == 0 { 3 } else { 0 })
}

/// What broke, and the one command that shows it again.
fn card(report: &Report, plan: &Plan, what: &str) {
    for (rule, text) in report.violations.iter().take(3) {
        println!("FAIL {rule}  seed {}  {text}", report.seed);
    }
    if report.undecided {
        println!("UNDECIDED  seed {}", report.seed);
    }
    let file = format!("seed-{}.sim", report.seed);
    if what.parse::<u64>().is_ok() && std::fs::write(&file, plan.to_text()).is_ok() {
        println!("  plan    {file}");
    }
    println!("  replay  cargo run --release -p seedlog-sim -- replay {what}");
}

fn replay(what: &str, mode: Mode) -> ExitCode {
    let plan = match scenario::plan_of(what) {
        Ok(plan) => plan,
        Err(error) => return usage(&error),
    };
    let report = on_a_thread(plan.clone(), Knobs::default(), mode, Watch::All);
    println!("hash={:016x}", report.hash);
    println!(
        "events {} simulated {} ms",
        report.events,
        report.simulated_us / 1000
    );
    for (name, count) in &report.marks {
        println!("  {name:<22} {count}");
    }
    let unmet = plan.unmet(&report);
    unmet.iter().for_each(|line| println!("UNMET {line}"));
    if !plan.expect.is_empty() {
        return ExitCode::from(u8::from(!unmet.is_empty()));
    }
    if !report.violations.is_empty() {
        card(&report, &plan, what);
        return ExitCode::from(1);
    }
    if report.undecided {
        println!("undecided: not over within its bound");
    }
    ExitCode::from(if report.undecided { 2 } else { 0 })
}

fn mutate(only: Option<&str>, budget: Duration, first: u64) -> ExitCode {
    let wanted = |bug: &Planted| only.is_none_or(|only| only.split(',').any(|n| n == bug.name));
    let bugs: Vec<Planted> = planted::all().into_iter().filter(wanted).collect();
    if bugs.is_empty() {
        return usage("no such bug");
    }
    println!("| bug | found | checker | seeds | CPU s | clients alone | seeds | CPU s | what |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut missed = 0;
    for bug in &bugs {
        let all = search(bug, Watch::All, first, budget);
        let clients = bug
            .dotted
            .then(|| search(bug, Watch::ClientsOnly, first, budget));
        let found = all.counts() && clients.as_ref().is_none_or(Finding::counts);
        missed += usize::from(!found);
        let cells = |finding: &Finding| {
            let rule = finding.rule.as_deref().unwrap_or("-");
            let doubt = if finding.clean || finding.rule.is_none() {
                ""
            } else {
                " (fails without the bug too)"
            };
            let seconds = finding.time.as_secs_f64();
            format!("{rule}{doubt} | {} | {seconds:.1}", finding.seeds)
        };
        let alone = clients.as_ref().map_or("not asked | |".into(), cells);
        let yes = if found { "yes" } else { "NO" };
        println!(
            "| {} | {yes} | {} | {alone} | {} |",
            bug.name,
            cells(&all),
            bug.what
        );
    }
    println!("\n{} planted, {missed} missed", bugs.len());
    ExitCode::from(u8::from(missed > 0))
}

fn bench(count: u64) -> ExitCode {
    let seeds: Vec<u64> = (0..count).collect();
    let mut rates = Vec::new();
    for mode in [Mode::Plain, Mode::Madsim] {
        let mut times = Vec::new();
        let (mut events, mut total) = (0, 0.0);
        for seed in &seeds {
            let started = Instant::now();
            let reports = run_all(&[*seed], 1, mode, &|_| {});
            let time = started.elapsed();
            events += reports.iter().map(|report| report.events).sum::<u64>();
            total += time.as_secs_f64();
            times.push(time.as_micros() as u64);
        }
        let rate = events as f64 / total;
        println!(
            "{mode:?}: {events} events, {rate:.0} events/s, median seed {:.3} s",
            median(times) as f64 / 1e6
        );
        rates.push(rate);
    }
    let share = (1.0 - rates[1] / rates[0]).max(0.0) * 100.0;
    println!("{count} seeds, one at a time, all checkers on; madsim itself {share:.0} %");
    ExitCode::SUCCESS
}
