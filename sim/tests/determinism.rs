//! The same plan gives the same hash: twice, plainly and inside madsim, and in a fresh process.

use std::process::Command;

use seedlog_core::contract::Knobs;
use seedlog_sim::plan::{FaultKind, Plan};
use seedlog_sim::report::Report;
use seedlog_sim::run::{on_a_thread, Mode, Run, Watch};
use seedlog_sim::trace::diff::{describe, first_difference};
use seedlog_sim::trace::stray::Stray;
use seedlog_sim::trace::{Actor, Kind};

#[test]
fn a_plan_has_one_hash() {
    let as_tasks = (0..8).filter(|seed| Plan::of(*seed).tasks).count();
    assert!((1..4).contains(&as_tasks), "both ways are tried");
    for seed in 0..8 {
        // The schedule of one that runs as tasks is madsim's own: stepped plainly it is another run.
        let plainly = match Plan::of(seed).tasks {
            true => Mode::Madsim,
            false => Mode::Plain,
        };
        let first = on_a_thread(Plan::of(seed), Knobs::default(), plainly, Watch::All);
        let again = on_a_thread(Plan::of(seed), Knobs::default(), plainly, Watch::All);
        let madsim = on_a_thread(Plan::of(seed), Knobs::default(), Mode::Madsim, Watch::All);
        assert_eq!(first.checkpoints, again.checkpoints, "seed {seed} twice");
        assert_eq!(
            first.checkpoints, madsim.checkpoints,
            "seed {seed} inside madsim"
        );
        assert_eq!((first.hash, first.events), (madsim.hash, madsim.events));
        assert!(first.events > 1_000, "seed {seed} did nothing");
        let output = Command::new(env!("CARGO_BIN_EXE_seedlog-sim"))
            .args(["replay", &seed.to_string()])
            .current_dir(std::env::temp_dir())
            .output()
            .expect("the simulator runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let expected = format!("hash={:016x}\n", first.hash);
        assert!(
            text.starts_with(&expected),
            "seed {seed} in a fresh process: {text}"
        );
    }
}

#[test]
fn a_plan_with_one_fault_less_has_another_hash() {
    let plan = Plan::of(3);
    let mut fewer = plan.clone();
    let crash = fewer
        .faults
        .iter()
        .position(|fault| fault.kind == FaultKind::PowerLoss);
    fewer.faults.remove(crash.expect("a power loss"));
    let hash = |plan| on_a_thread(plan, Knobs::default(), Mode::Plain, Watch::All).hash;
    assert_ne!(hash(plan), hash(fewer));
}

fn kept(stray: Option<Stray>) -> Report {
    Run {
        mode: Mode::Plain,
        keep: true,
        stray,
        ..Run::of(Plan::of(2))
    }
    .report()
}

/// Runs of one plan that stray from it: their hashes differ, and the first event that differs is the
/// first that what strayed could reach. Returns its number and the runs.
fn parted(one: Option<Stray>, other: Stray) -> (usize, Report, Report) {
    let (one, other) = (kept(one), kept(Some(other)));
    assert_ne!(one.hash, other.hash);
    assert_ne!(one.checkpoints, other.checkpoints);
    let at = first_difference(&one.trace, &other.trace).expect("they differ");
    let text = describe(&one.trace, &other.trace).expect("they differ");
    println!("{text}");
    assert!(text.contains(&one.trace[at].to_string()), "{text}");
    assert!(at > 1_000, "they are the same until something strays");
    (at, one, other)
}

/// A host that goes through a hash map with a random state.
#[test]
fn the_order_of_a_hash_map_is_caught() {
    let (at, one, other) = parted(Some(Stray::HashOrder), Stray::HashOrder);
    // In one of them a shard hears of the client, and in the other it does not.
    let events = [&one.trace[at], &other.trace[at]].map(|event| event.to_string());
    assert!(events.iter().any(|it| it.contains("Connect")), "{events:?}");
}

/// A draw more than before of a stream that others draw from: what is drawn next comes at another time.
#[test]
fn an_extra_draw_is_caught() {
    let (at, one, _) = parted(None, Stray::ExtraDraw);
    let after = one.trace[..at].iter().rev();
    let after = after.take_while(|event| event.at_us > 500_000).count();
    assert!(after < 20, "{after} events after the first extra draw");
}

/// The machine's clock in what the broker is told of the time: two runs differ in what a shard makes of it.
#[test]
fn a_clock_read_is_caught() {
    let (at, one, _) = parted(Some(Stray::ClockRead), Stray::ClockRead);
    let event = &one.trace[at];
    assert!(
        matches!(event.actor, Actor::Shard(_) | Actor::Client(_)),
        "{event}"
    );
    assert!(event.at_us < 1_500_000, "{event}");
}

/// A panic is a broken rule with a hash of its own, and the marks and events up to it.
#[test]
fn a_panic_keeps_what_was_hashed_before_it() {
    let (report, again, sound) = (
        kept(Some(Stray::Panic)),
        kept(Some(Stray::Panic)),
        kept(None),
    );
    assert_eq!(report.violations, [("invariant", "planted".to_string())]);
    assert!(report.events > 100 && !report.marks.is_empty());
    assert_eq!(report.hash, again.hash);
    assert_ne!(report.hash, sound.hash);
    let at = first_difference(&report.trace, &sound.trace).expect("they differ");
    assert_eq!(
        report.trace[at].kind,
        Kind::Verdict,
        "until the panic they are the same"
    );
    let inside = Run {
        stray: Some(Stray::Panic),
        ..Run::of(Plan::of(2))
    };
    assert_eq!(inside.report().hash, report.hash, "inside madsim too");
}
