//! Running a seed: inside madsim or plainly, each seed on a thread of its own.

use std::hash::Hash as _;
use std::time::Duration;

use seedlog_core::contract::Knobs;

use crate::plan::Plan;
use crate::report::Report;
use crate::tasks::as_tasks;
use crate::trace::stray::Stray;
use crate::trace::Rolling;
use crate::world::{panic_text, Step, World};

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

/// A run as it is asked for.
#[derive(Clone, Debug)]
pub struct Run {
    /// What happens.
    pub plan: Plan,
    /// Bugs planted in the core.
    pub knobs: Knobs,
    /// How it is stepped.
    pub mode: Mode,
    /// Who may judge.
    pub watch: Watch,
    /// Keep every event of its trace.
    pub keep: bool,
    /// It is over once a rule is broken.
    pub first_only: bool,
    /// A planted divergence.
    pub stray: Option<Stray>,
}

impl Run {
    /// A plan with all checkers, no bug and no trace.
    pub fn of(plan: Plan) -> Run {
        Run {
            plan,
            knobs: Knobs::default(),
            mode: Mode::Madsim,
            watch: Watch::All,
            keep: false,
            first_only: false,
            stray: None,
        }
    }

    fn world(self) -> World {
        let mut world = World::new(self.plan, self.knobs);
        world.watch(self.watch);
        if self.keep {
            world.keep_trace();
        }
        if self.first_only {
            world.stop_at_first();
        }
        if let Some(stray) = self.stray {
            world.stray(stray);
        }
        world
    }

    /// Run it on a fresh thread. A panic in there is a violation: the world turns its own into a report
    /// that goes on from what had happened; here arrive those of the making of a world and of madsim.
    pub fn report(self) -> Report {
        let (seed, mode) = (self.plan.seed, self.mode);
        let tasks = self.plan.tasks && mode == Mode::Madsim;
        let run = move || match (mode, tasks) {
            (Mode::Madsim, true) => as_tasks(seed, || self.world()),
            (Mode::Madsim, false) => inside_madsim(seed, || self.world()),
            (Mode::Plain, _) => plainly(|| self.world()),
        };
        std::thread::spawn(run).join().unwrap_or_else(|panic| {
            let text = panic_text(&*panic);
            let mut hash = Rolling(seed);
            text.hash(&mut hash);
            Report {
                seed,
                tasks,
                hash: hash.0,
                violations: vec![("invariant", text)],
                ..Report::default()
            }
        })
    }
}

/// Run a plan by plain stepping.
pub fn plainly(world: impl FnOnce() -> World) -> Report {
    let mut world = world();
    while world.step() != Step::Over {}
    world.finish()
}

/// Run a plan inside madsim, whose virtual clock follows the world's: a stray clock, random draw or
/// thread would show, or panic.
pub fn inside_madsim(seed: u64, world: impl FnOnce() -> World) -> Report {
    let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.block_on(async move {
        let mut world = world();
        loop {
            match world.step() {
                Step::Over => return world.finish(),
                Step::Idle => {}
                Step::Passed(time) => madsim::time::advance(Duration::from_micros(time)),
            }
        }
    })
}

/// Run a plan on a fresh thread; a panic there (a broken invariant) is a violation.
pub fn on_a_thread(plan: Plan, knobs: Knobs, mode: Mode, watch: Watch) -> Report {
    Run {
        knobs,
        mode,
        watch,
        ..Run::of(plan)
    }
    .report()
}
