//! Seeds and kept scenarios in every `cargo test`.

use std::time::Instant;

use seedlog_core::contract::Knobs;
use seedlog_sim::campaign::{run_all, Summary};
use seedlog_sim::plan::Plan;
use seedlog_sim::run::{on_a_thread, Mode, Watch};

#[test]
fn two_hundred_seeds_hold_and_see_enough() {
    let seeds: Vec<u64> = (0..200).collect();
    let reports = run_all(&seeds, 2, Mode::Madsim, &|_| {});
    let summary = Summary::of(&reports, Instant::now(), None);
    assert_eq!(summary.seeds, 200);
    assert_eq!(summary.exit_code(), 0, "{summary}");
}

/// Plans that once failed: they hold now.
#[test]
fn old_failures_do_not_come_back() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/regressions");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let plan = Plan::from_text(&text).expect("a plan");
        let report = on_a_thread(plan, Knobs::default(), Mode::Madsim, Watch::All);
        assert_eq!(report.violations, [], "{}", path.display());
        assert!(
            !report.undecided && report.events > 1_000,
            "{}",
            path.display()
        );
        count += 1;
    }
    assert!(count > 0, "no scenario was run");
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
