//! The same plan gives the same hash: twice, plainly and inside madsim, and in a fresh process.

use std::process::Command;

use seedlog_core::contract::Knobs;
use seedlog_sim::plan::{FaultKind, Plan};
use seedlog_sim::run::{on_a_thread, Mode, Watch};

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
