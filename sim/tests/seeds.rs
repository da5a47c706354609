//! Seeds in every `cargo test`.

use seedlog_core::contract::Knobs;
use seedlog_sim::plan::Plan;
use seedlog_sim::run::{on_a_thread, Mode, Watch};

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
