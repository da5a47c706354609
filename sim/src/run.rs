//! Running a seed: inside madsim or plainly, each seed on a thread of its own.

use std::time::Duration;

use seedlog_core::contract::Knobs;

use crate::plan::Plan;
use crate::report::Report;
use crate::tasks::as_tasks;
use crate::world::{Step, World};

/// How a plan is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As the plan says: stepped inside madsim, or with its shards as madsim tasks.
    Madsim,
    /// Stepped without madsim.
    Plain,
}

/// What may judge a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Every checker.
    All,
    /// Client histories alone: no invariants, no monitors, no power-cut oracle.
    ClientsOnly,
}

/// Run a plan by plain stepping.
pub fn plainly(world: impl FnOnce() -> World) -> Report {
    let mut world = world();
    while world.step() != Step::Over {}
    world.take_report()
}

/// Run a plan inside madsim, whose virtual clock follows the world's: a stray clock, random draw or
/// thread would show, or panic.
pub fn inside_madsim(seed: u64, world: impl FnOnce() -> World) -> Report {
    let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.block_on(async move {
        let mut world = world();
        loop {
            match world.step() {
                Step::Over => return world.take_report(),
                Step::Idle => {}
                Step::Passed(time) => madsim::time::advance(Duration::from_micros(time)),
            }
        }
    })
}

/// Run a plan on a fresh thread; a panic there (a broken invariant) is a violation.
pub fn on_a_thread(plan: Plan, knobs: Knobs, mode: Mode, watch: Watch) -> Report {
    let seed = plan.seed;
    let tasks = plan.tasks && mode == Mode::Madsim;
    let world = move || {
        let mut world = World::new(plan, knobs);
        world.watch(watch);
        world
    };
    let run = move || match (mode, tasks) {
        (Mode::Madsim, true) => as_tasks(seed, world),
        (Mode::Madsim, false) => inside_madsim(seed, world),
        (Mode::Plain, _) => plainly(world),
    };
    match std::thread::spawn(run).join() {
        Ok(report) => report,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            let violations = vec![("invariant", text.unwrap_or_default())];
            Report {
                seed,
                tasks,
                violations,
                ..Report::default()
            }
        }
    }
}
