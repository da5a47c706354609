//! Seeds in every `cargo test`.

use seedlog_core::contract::Knobs;
use seedlog_sim::plan::Plan;
use seedlog_sim::run::on_a_thread;

/// Without faults nothing may go wrong, and every outcome is known.
#[test]
fn seeds_without_faults_hold() {
    let mut acks = 0;
    for seed in (0..10).map(|n| n * 16 + 15) {
        let plan = Plan::of(seed);
        assert!(plan.faults.is_empty());
        let report = on_a_thread(plan, Knobs::default(), true);
        assert_eq!(report.violations, [], "seed {seed}");
        assert!(!report.undecided, "seed {seed} did not end");
        assert_eq!(report.unknown, 0, "seed {seed}");
        acks += report.acks;
    }
    assert!(acks > 5_000, "only {acks} records were acknowledged");
}

/// A planted bug is seen: acknowledging before the sync loses records in a power cut.
#[test]
fn acknowledging_before_the_sync_is_caught() {
    let knobs = Knobs {
        ack_before_sync: true,
        ..Knobs::default()
    };
    let caught = (0..10).any(|n| {
        let report = on_a_thread(Plan::of(n * 16 + 15), knobs, false);
        report
            .violations
            .iter()
            .any(|(rule, _)| *rule == "power-cut")
    });
    assert!(caught);
}
