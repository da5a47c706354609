//! Running a seed: inside madsim or plainly, each seed on a thread of its own.

use std::time::Duration;

use seedlog_core::contract::Knobs;

use crate::plan::Plan;
use crate::report::Report;
use crate::world::World;

/// Run a plan by plain stepping.
pub fn plainly(plan: Plan, knobs: Knobs) -> Report {
    let mut world = World::new(plan, knobs);
    while world.step().is_some() {}
    world.finish()
}

/// Run a plan inside madsim, whose virtual clock follows the world's: a stray clock, random draw or
/// thread would show, or panic.
pub fn inside_madsim(plan: Plan, knobs: Knobs) -> Report {
    let runtime =
        madsim::runtime::Runtime::with_seed_and_config(plan.seed, madsim::Config::default());
    runtime.block_on(async move {
        let mut world = World::new(plan, knobs);
        while let Some(passed) = world.step() {
            madsim::time::advance(Duration::from_micros(passed));
        }
        world.finish()
    })
}

/// Run a plan on a fresh thread; a panic there (a broken invariant) is a violation.
pub fn on_a_thread(plan: Plan, knobs: Knobs, madsim: bool) -> Report {
    let seed = plan.seed;
    let run = move || match madsim {
        true => inside_madsim(plan, knobs),
        false => plainly(plan, knobs),
    };
    match std::thread::spawn(run).join() {
        Ok(report) => report,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            let violations = vec![("invariant", text.unwrap_or_default())];
            Report {
                seed,
                violations,
                ..Report::default()
            }
        }
    }
}
