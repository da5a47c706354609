//! One run: its hash, its events, where it parts from another, and a timeline of it.

use std::path::Path;
use std::process::ExitCode;

use seedlog_sim::run::Run;
use seedlog_sim::trace::file::{self, Recorded};
use seedlog_sim::trace::{diff as difference, show as timeline};

use super::campaign::card;
use super::{code_of, say, Which};

pub fn replay(which: &Which) -> Result<ExitCode, String> {
    let run = which.run()?;
    let plan = run.plan.clone();
    let report = run.report();
    say(&format!("hash={:016x}\n", report.hash));
    say(&format!(
        "events {} simulated {} ms\n",
        report.events,
        report.simulated_us / 1000
    ));
    for (name, count) in &report.marks {
        say(&format!("  {name:<22} {count}\n"));
    }
    if !plan.expect.is_empty() {
        let unmet = plan.unmet(&report);
        unmet
            .iter()
            .for_each(|line| say(&format!("UNMET {line}\n")));
        return Ok(ExitCode::from(u8::from(!unmet.is_empty())));
    }
    if !report.violations.is_empty() {
        card(&report, &plan, &which.what, which.bug.as_deref());
    } else if report.undecided {
        say("undecided: not over within its bound\n");
    }
    Ok(code_of(&report))
}

/// Run it, keeping every event.
fn record(which: &Which, first_only: bool) -> Result<(Recorded, ExitCode), String> {
    let run = Run {
        keep: true,
        first_only,
        ..which.run()?
    };
    let plan = run.plan.to_text();
    let report = run.report();
    let code = code_of(&report);
    let verdict = report.verdict();
    let violations = report.violations.into_iter();
    let recorded = Recorded {
        build: env!("CARGO_PKG_VERSION").to_string(),
        plan,
        bug: which.bug.clone(),
        verdict,
        violations: violations
            .map(|(rule, text)| (rule.to_string(), text))
            .collect(),
        hash: report.hash,
        checkpoints: report.checkpoints,
        events: report.trace,
    };
    Ok((recorded, code))
}

/// A trace file as it is; anything else is run.
fn load(which: &Which, first_only: bool) -> Result<Recorded, String> {
    match std::fs::read(&which.what) {
        Ok(bytes) if file::is_trace(&bytes) => {
            file::decode(&bytes).map_err(|error| format!("{}: {error}", which.what))
        }
        _ => record(which, first_only).map(|(recorded, _)| recorded),
    }
}

pub fn trace(which: &Which, out: Option<&Path>) -> Result<ExitCode, String> {
    let (recorded, code) = record(which, false)?;
    if let Some(out) = out {
        file::write(&recorded, out).map_err(|error| format!("{}: {error}", out.display()))?;
        say(&format!(
            "{} events, {}, hash={:016x}\n",
            recorded.events.len(),
            recorded.verdict,
            recorded.hash
        ));
        return Ok(code);
    }
    for event in &recorded.events {
        say(&format!("{event}\n"));
    }
    Ok(code)
}

pub fn diff(a: &str, b: &str, no_madsim: bool) -> Result<ExitCode, String> {
    let which = |what: &str, no_madsim| Which {
        what: what.to_string(),
        bug: None,
        no_madsim,
    };
    let one = load(&which(a, false), false)?;
    let other = load(&which(b, no_madsim), false)?;
    match difference::describe(&one.events, &other.events) {
        None => {
            say(&format!("{} events, all the same\n", one.events.len()));
            Ok(ExitCode::SUCCESS)
        }
        Some(text) => {
            say(&text);
            Ok(ExitCode::from(3))
        }
    }
}

pub fn show(which: &Which) -> Result<ExitCode, String> {
    let recorded = load(which, true)?;
    say(&timeline::timeline(&recorded));
    Ok(ExitCode::from(u8::from(recorded.verdict != "holds")))
}
