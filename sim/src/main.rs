//! `seedlog-sim`: run seeds, replay one, plant bugs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use clap::{Parser, Subcommand};
use seedlog_core::contract::Knobs;
use seedlog_sim::plan::{FaultKind, Plan};
use seedlog_sim::report::Report;
use seedlog_sim::run::on_a_thread;

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
    },
    /// Run one seed, or a plan from a file, and print its hash.
    Replay {
        /// A seed or a `.sim` file.
        what: String,
        /// Step the world plainly instead of inside madsim.
        #[arg(long)]
        no_madsim: bool,
    },
    /// Plant bugs one at a time and see that a checker fails.
    Mutate {
        /// Only these, such as M1,M44.
        #[arg(long)]
        only: Option<String>,
        /// CPU seconds per bug.
        #[arg(long, default_value_t = 600)]
        budget: u64,
    },
    /// Events per second and time per seed.
    Bench,
}

/// Name and knob of every planted bug served.
fn planted() -> Vec<(&'static str, Knobs)> {
    let off = Knobs::default();
    vec![
        (
            "M1",
            Knobs {
                ack_before_sync: true,
                ..off
            },
        ),
        (
            "M39",
            Knobs {
                trust_retried_sync: true,
                ..off
            },
        ),
        (
            "M40",
            Knobs {
                ignore_write_errors: true,
                ..off
            },
        ),
        (
            "M47",
            Knobs {
                ignore_seal: true,
                ..off
            },
        ),
        (
            "M61",
            Knobs {
                forget_producers: true,
                ..off
            },
        ),
        (
            "M63",
            Knobs {
                producers_before_append: true,
                ..off
            },
        ),
    ]
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    match cli.command {
        Command::Run {
            seeds,
            jobs,
            no_madsim,
        } => match range(&seeds) {
            Some((from, to)) => campaign(from, to, jobs.max(1), !no_madsim),
            None => usage("--seeds wants A..B"),
        },
        Command::Replay { what, no_madsim } => replay(&what, !no_madsim),
        Command::Mutate { only, budget } => mutate(only.as_deref(), budget),
        Command::Bench => bench(),
    }
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

fn all(from: u64, to: u64, jobs: u64, madsim: bool) -> Vec<Report> {
    let next = AtomicU64::new(from);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= to {
                    return;
                }
                let report = on_a_thread(Plan::of(seed), Knobs::default(), madsim);
                if let Ok(mut reports) = reports.lock() {
                    reports.push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_default();
    reports.sort_by_key(|report| report.seed);
    reports
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn campaign(from: u64, to: u64, jobs: u64, madsim: bool) -> ExitCode {
    let started = Instant::now();
    let reports = all(from, to, jobs, madsim);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let failed: Vec<&Report> = reports
        .iter()
        .filter(|report| !report.violations.is_empty())
        .collect();
    let undecided: Vec<u64> = reports
        .iter()
        .filter(|r| r.undecided)
        .map(|r| r.seed)
        .collect();
    let mut marks: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in reports.iter().flat_map(|report| &report.marks) {
        *marks.entry(name).or_default() += count;
    }
    for report in &failed {
        card(report);
    }
    let (definite, unknown) = (sum(|r| r.definite), sum(|r| r.unknown));
    let size = |n: usize| median(reports.iter().map(|report| report.size[n]).collect());
    println!(
        "seeds {} failed {} undecided {:?}",
        reports.len(),
        failed.len(),
        undecided
    );
    println!(
        "acked {} read {} definite {definite} unknown {unknown}",
        sum(|r| r.acks),
        sum(|r| r.reads)
    );
    println!(
        "median world: {} shards, {} partitions, {} clients, {} operations",
        size(0),
        size(1),
        size(2),
        size(3)
    );
    println!(
        "events {} in {:.1} s",
        sum(|r| r.events),
        started.elapsed().as_secs_f64()
    );
    for (name, count) in &marks {
        println!("  {name} {count}");
    }
    let short = floors(&marks, reports.len() as u64);
    for (name, count, floor) in &short {
        println!("too few: {name} {count}, at least {floor}");
    }
    let vague = (definite + unknown) > 0 && definite * 10 < (definite + unknown) * 6;
    match (
        failed.is_empty() && short.is_empty() && !vague,
        undecided.is_empty(),
    ) {
        (false, _) => ExitCode::from(1),
        (true, false) => ExitCode::from(2),
        (true, true) => ExitCode::SUCCESS,
    }
}

/// What a campaign must have met, scaled from 2,000 seeds; small campaigns are not judged by it.
fn floors<'a>(marks: &BTreeMap<&'a str, u64>, seeds: u64) -> Vec<(&'a str, u64, u64)> {
    if seeds < 200 {
        return Vec::new();
    }
    let faults = FaultKind::ALL.iter().map(|kind| (kind.name(), 50));
    let states = [
        ("duplicate-sequence", 20),
        ("torn-tail", 20),
        ("segment-rolled", 20),
        ("retained", 20),
        ("faulty-range", 20),
        ("disk-full-over", 20),
    ];
    let wanted = faults
        .chain(states)
        .map(|(name, floor)| (name, (floor * seeds / 2000).max(1)));
    let met = wanted.map(|(name, floor)| (name, marks.get(name).copied().unwrap_or(0), floor));
    met.filter(|(_, count, floor)| count < floor).collect()
}

fn card(report: &Report) {
    for (rule, what) in report.violations.iter().take(3) {
        println!("FAIL {rule}  seed {}  {what}", report.seed);
    }
    let file = format!("seed-{}.sim", report.seed);
    if std::fs::write(&file, Plan::of(report.seed).to_text()).is_ok() {
        println!("  plan {file}");
    }
    println!(
        "  replay  cargo run --release -p seedlog-sim -- replay {}",
        report.seed
    );
}

fn replay(what: &str, madsim: bool) -> ExitCode {
    let plan = match what.parse::<u64>() {
        Ok(seed) => Plan::of(seed),
        Err(_) => match std::fs::read_to_string(what).map_err(|e| e.to_string()) {
            Ok(text) => match Plan::from_text(&text) {
                Ok(plan) => plan,
                Err(error) => return usage(&format!("{what}: {error}")),
            },
            Err(error) => return usage(&format!("{what}: {error}")),
        },
    };
    let report = on_a_thread(plan, Knobs::default(), madsim);
    println!("hash={:016x}", report.hash);
    println!(
        "events {} simulated {} ms",
        report.events,
        report.simulated_us / 1000
    );
    if !report.violations.is_empty() {
        card(&report);
        return ExitCode::from(1);
    }
    ExitCode::from(if report.undecided { 2 } else { 0 })
}

fn mutate(only: Option<&str>, budget: u64) -> ExitCode {
    let mut missed = false;
    println!("bug    found  checker               seeds  seconds");
    for (name, knobs) in planted() {
        if only.is_some_and(|only| !only.split(',').any(|wanted| wanted == name)) {
            continue;
        }
        let started = Instant::now();
        let mut found = None;
        let mut seed = 0;
        while found.is_none() && started.elapsed().as_secs() < budget {
            let report = on_a_thread(Plan::of(seed), knobs, false);
            found = report.violations.first().map(|(rule, _)| *rule);
            seed += 1;
        }
        // The same seed holds with the bug off, or the finding is no finding.
        let clean = on_a_thread(Plan::of(seed - 1), Knobs::default(), false)
            .violations
            .is_empty();
        let seconds = started.elapsed().as_secs_f64();
        let yes = found.is_some() && clean;
        missed |= !yes;
        println!(
            "{name:<6} {yes:<6} {:<21} {seed:<6} {seconds:.1}",
            found.unwrap_or("-")
        );
    }
    ExitCode::from(u8::from(missed))
}

fn bench() -> ExitCode {
    let mut seconds = [0.0; 2];
    let mut events = 0;
    for (index, madsim) in [false, true].into_iter().enumerate() {
        let started = Instant::now();
        let reports = all(0, 20, 1, madsim);
        seconds[index] = started.elapsed().as_secs_f64();
        events = reports.iter().map(|report| report.events).sum();
    }
    println!("20 seeds, one at a time, all checkers on: {events} events");
    println!(
        "plain   {:.0} events/s, {:.3} s per seed",
        events as f64 / seconds[0],
        seconds[0] / 20.0
    );
    println!(
        "madsim  {:.0} events/s, {:.3} s per seed",
        events as f64 / seconds[1],
        seconds[1] / 20.0
    );
    println!(
        "madsim's share {:.0} %",
        (1.0 - seconds[0] / seconds[1]).max(0.0) * 100.0
    );
    ExitCode::SUCCESS
}
