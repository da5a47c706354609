//! `mutate` and `shrink`: planted bugs found, and failing plans made small.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use seedlog_sim::campaign::median;
use seedlog_sim::plan::Plan;
use seedlog_sim::planted::{self, search, Finding, Planted};
use seedlog_sim::run::{Mode, Run, Watch};
use seedlog_sim::shrink::{shrink as make_small, Shrunk, FAULTS_MAX};

use super::{mode, say, Which};

/// Time to shrink one planted bug's seed in `mutate --shrink`.
const SHRINK_WITHIN: Duration = Duration::from_secs(300);

pub fn shrink(which: &Which, out: Option<&Path>, budget: Duration) -> Result<ExitCode, String> {
    // Thousands of runs may panic, and each would say so.
    std::panic::set_hook(Box::new(|_| {}));
    let Some(small) = make_small(&which.run()?, budget) else {
        say("it holds: there is nothing to shrink\n");
        return Ok(ExitCode::SUCCESS);
    };
    let text = small.plan.to_text();
    match out {
        Some(out) => {
            let wrote = std::fs::write(out, &text);
            wrote.map_err(|error| format!("{}: {error}", out.display()))?;
        }
        None => say(&text),
    }
    say(&format!("fails with {}\n", small.signature));
    say(&format!("{}\n", summary(&small)));
    let holds = small.holds_without(mode(which.no_madsim));
    match (&which.bug, holds) {
        (Some(_), true) => say("it holds without the bug\n"),
        (Some(_), false) => say("IT FAILS WITHOUT THE BUG TOO\n"),
        (None, _) => {}
    }
    if let Some(out) = out {
        let small = Which {
            what: out.display().to_string(),
            ..which.clone()
        };
        let command = "cargo run --release -p seedlog-sim --";
        say(&format!("  show    {command} show {}\n", small.words()));
    }
    Ok(ExitCode::from(1))
}

fn summary(small: &Shrunk) -> String {
    let late = if small.cut_short {
        ", cut short by its time"
    } else {
        ""
    };
    let large = if small.faults() > FAULTS_MAX {
        " (LARGE)"
    } else {
        ""
    };
    format!(
        "{} fault lines{large} of {} lines, {} runs, {:.1} s{late}",
        small.faults(),
        small.plan.to_text().lines().count(),
        small.runs,
        small.time.as_secs_f64()
    )
}

pub fn mutate(
    only: Option<&str>,
    budget: Duration,
    first: u64,
    shrinks: bool,
) -> Result<ExitCode, String> {
    let wanted = |bug: &Planted| only.is_none_or(|only| only.split(',').any(|n| n == bug.name));
    let bugs: Vec<Planted> = planted::all().into_iter().filter(wanted).collect();
    if bugs.is_empty() {
        return Err("no such bug".into());
    }
    std::panic::set_hook(Box::new(|_| {}));
    say("| bug | found | checker | seeds | CPU s | clients alone | seeds | CPU s | what |\n");
    say("|---|---|---|---|---|---|---|---|---|\n");
    let mut missed = 0;
    let mut shown = Vec::new();
    for bug in &bugs {
        let all = search(bug, Watch::All, first, budget);
        let clients = bug
            .dotted
            .then(|| search(bug, Watch::ClientsOnly, first, budget));
        let found = all.counts() && clients.as_ref().is_none_or(Finding::counts);
        missed += usize::from(!found);
        let alone = clients.as_ref().map_or("not asked | |".into(), cells);
        let yes = if found { "yes" } else { "NO" };
        say(&format!(
            "| {} | {yes} | {} | {alone} | {} |\n",
            bug.name,
            cells(&all),
            bug.what
        ));
        shown.extend(all.shown_by.map(|seed| (bug, seed)));
    }
    say(&format!("\n{} planted, {missed} missed\n", bugs.len()));
    let large = shrinks && !shrink_all(&shown);
    Ok(ExitCode::from(u8::from(missed > 0 || large)))
}

fn cells(finding: &Finding) -> String {
    let rule = finding.rule.as_deref().unwrap_or("-");
    let doubt = if finding.clean || finding.rule.is_none() {
        ""
    } else {
        " (fails without the bug too)"
    };
    let seconds = finding.time.as_secs_f64();
    format!("{rule}{doubt} | {} | {seconds:.1}", finding.seeds)
}

/// Shrink the seed that showed each bug. False if one stays large, or fails without its bug.
fn shrink_all(shown: &[(&Planted, u64)]) -> bool {
    say("\n| bug | seed | fails with | fault lines | lines | runs | s | holds without it |\n");
    say("|---|---|---|---|---|---|---|---|\n");
    let (mut faults, mut times, mut good) = (Vec::new(), Vec::new(), true);
    for (bug, seed) in shown {
        let run = Run {
            knobs: bug.knobs,
            ..Run::of(Plan::of(*seed))
        };
        let Some(small) = make_small(&run, SHRINK_WITHIN) else {
            continue;
        };
        let holds = small.holds_without(Mode::Madsim);
        let (lines, count) = (small.plan.to_text().lines().count(), small.faults());
        say(&format!(
            "| {} | {seed} | {} | {count} | {lines} | {} | {:.1} | {} |\n",
            bug.name,
            small.signature,
            small.runs,
            small.time.as_secs_f64(),
            if holds { "yes" } else { "NO" }
        ));
        good &= holds && count <= FAULTS_MAX;
        faults.push(count as u64);
        times.push(small.time.as_millis() as u64);
    }
    say(&format!(
        "\nmedian of {}: {} fault lines, {:.1} s\n",
        faults.len(),
        median(faults),
        median(times) as f64 / 1000.0
    ));
    good
}
