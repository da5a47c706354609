//! Seeds and kept scenarios in every `cargo test`.

use std::time::Instant;

use seedlog_core::contract::Knobs;
use seedlog_sim::campaign::{run_all, Summary};
use seedlog_sim::plan::{FaultKind, Plan};
use seedlog_sim::report::Report;
use seedlog_sim::run::{on_a_thread, Mode, Watch};

#[test]
fn two_hundred_seeds_hold_and_see_enough() {
    let seeds: Vec<u64> = (0..200).collect();
    let reports = run_all(&seeds, 2, Mode::Madsim, &|_| {});
    let summary = Summary::of(&reports, Instant::now(), None);
    assert_eq!(summary.seeds, 200);
    assert_eq!(summary.exit_code(), 0, "{summary}");
}

/// The kept scenarios of a folder, each run and found to hold: (its name, its report).
fn scenarios(folder: &str) -> Vec<(String, Report)> {
    let folder = format!("{}/../scenarios/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let plan = Plan::from_text(&text).expect("a plan");
        let report = on_a_thread(plan.clone(), Knobs::default(), Mode::Madsim, Watch::All);
        let (name, stem) = (path.display(), path.file_stem().expect("a name"));
        assert_eq!(
            Plan::format(&text).as_ref(),
            Ok(&text),
            "{name}: seedlog-sim fmt"
        );
        assert!(plan.expect.len() >= 2, "{name}: a verdict and a mark");
        assert_eq!(plan.unmet(&report), Vec::<String>::new(), "{name}");
        assert!(report.events > 1_000, "{name}");
        found.push((stem.to_string_lossy().into_owned(), report));
    }
    assert!(!found.is_empty(), "no scenario was run");
    found
}

/// Plans that once failed: they hold now.
#[test]
fn old_failures_do_not_come_back() {
    scenarios("regressions");
}

/// A world without faults is one without unknown outcomes.
#[test]
fn nothing_is_unknown_where_nothing_fails() {
    for (name, report) in scenarios("smoke") {
        assert!(report.acks > 100 && report.reads > 100, "{name}");
        assert_eq!(report.unknown, 0, "{name}");
    }
}

/// Every kind of fault has a scenario of its own, in which it does fire.
#[test]
fn every_fault_alone_is_survived() {
    let told = scenarios("faults");
    for kind in FaultKind::ALL {
        let own = told.iter().find(|(name, _)| name == kind.name());
        let (_, report) = own.unwrap_or_else(|| panic!("{}: no scenario", kind.name()));
        let fired = report.marks.get(kind.name()).copied().unwrap_or(0);
        assert!(fired > 0, "{}: it did not fire", kind.name());
    }
}

/// A planted bug is seen: acknowledging before the sync loses records in a power cut.
#[test]
fn acknowledging_before_the_sync_is_caught() {
    let knobs = Knobs {
        ack_before_sync: true,
        ..Knobs::default()
    };
    let caught = (0..10).any(|n| {
        let report = on_a_thread(Plan::of(n * 16 + 15), knobs, Mode::Plain, Watch::All);
        report
            .violations
            .iter()
            .any(|(rule, _)| *rule == "power-cut")
    });
    assert!(caught);
}
