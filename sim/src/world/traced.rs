//! How a run's events reach its trace, and what becomes of a panic.

use std::any::Any;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::faults::part_of;
use super::{Step, World};
use crate::plan::Fault;
use crate::report::Report;
use crate::trace::stray::Stray;
use crate::trace::{Actor, Kind};

/// What watches over a run's trace.
#[derive(Debug, Default)]
pub(super) struct State {
    verdicts_seen: usize,
    /// A panic ended the run.
    panicked: bool,
    /// The run ends with the first rule that breaks.
    first_only: bool,
    /// A planted divergence.
    pub stray: Option<Stray>,
}

impl World {
    /// Step one event. A panic is a broken invariant, and the end of the run.
    pub fn step(&mut self) -> Step {
        if self.is_cut() {
            return Step::Over;
        }
        self.guarded(World::step_once).unwrap_or(Step::Over)
    }

    /// For tasks: a shard takes its turn, if it owes one in this life.
    pub fn task_turn(&mut self, life: u64, shard: usize) {
        if !self.traced.panicked && life == self.life && self.owed.remove(&shard) {
            self.guarded(|world| world.turn(shard));
        }
    }

    /// The last checks, and what the run came to.
    pub fn finish(&mut self) -> Report {
        if !self.is_cut() {
            self.guarded(World::last_checks);
        }
        self.sum_up()
    }

    /// Keep every event of the trace.
    pub fn keep_trace(&mut self) {
        self.trace.keep();
    }

    /// The run is over once a rule is broken.
    pub fn stop_at_first(&mut self) {
        self.traced.first_only = true;
    }

    /// Stray from the plan.
    pub fn stray(&mut self, stray: Stray) {
        self.traced.stray = Some(stray);
    }

    /// The run ended before its end: what it has left open says nothing.
    fn is_cut(&self) -> bool {
        self.traced.panicked || (self.traced.first_only && !self.history.violations.is_empty())
    }

    fn guarded<R>(&mut self, act: impl FnOnce(&mut World) -> R) -> Option<R> {
        let done = catch_unwind(AssertUnwindSafe(|| act(self)));
        if let Err(panic) = &done {
            self.traced.panicked = true;
            self.history.violate("invariant", panic_text(&**panic));
        }
        self.trace_verdicts();
        done.ok()
    }

    /// What was judged since the last event.
    fn trace_verdicts(&mut self) {
        let seen = self.traced.verdicts_seen;
        for (rule, text) in &self.history.violations[seen..] {
            self.trace
                .event(Actor::World, Kind::Verdict, (rule, text), || {
                    format!("{rule}: {text}")
                });
        }
        self.traced.verdicts_seen = self.history.violations.len();
    }

    pub(super) fn trace_fault(&mut self, fault: &Fault) {
        let (name, value) = (fault.kind.name(), fault.value);
        self.trace
            .event(Actor::World, Kind::Fault, (name, value), || {
                format!("{name} {value}")
            });
    }

    /// The disk is not what it was, or did not do what it was told, in this file.
    pub(super) fn saw_damage(&mut self, file: &str) {
        self.damaged.extend(part_of(file));
        self.trace.event(Actor::Disk, Kind::Damage, file, || {
            format!("{file} is damaged")
        });
    }

    pub(super) fn mark(&mut self, name: &'static str) {
        *self.report.marks.entry(name).or_default() += 1;
        self.trace
            .event(Actor::World, Kind::Mark, name, || name.to_string());
    }

    fn sum_up(&mut self) -> Report {
        let report = &mut self.report;
        self.trace.event(
            Actor::World,
            Kind::End,
            (&report.marks, report.undecided),
            || {
                String::from(if report.undecided {
                    "undecided"
                } else {
                    "over"
                })
            },
        );
        (report.hash, report.checkpoints, report.trace) = self.trace.take();
        report.simulated_us = self.now_us;
        report.acks = self.history.acks;
        report.reads = self.history.reads;
        report.definite = self.history.definite;
        report.unknown = self.history.unknown;
        report.violations = std::mem::take(&mut self.history.violations);
        std::mem::take(report)
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a text").to_string()
}
