//! What a run comes to.

use std::collections::BTreeMap;

use crate::plan::FaultKind;
use crate::trace::{Checkpoint, Event};

/// The outcome of one seed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Rolling hash over everything that happened: see [`crate::trace::Trace`].
    pub hash: u64,
    /// The hash every so many traced events.
    pub checkpoints: Vec<Checkpoint>,
    /// Every traced event, of a run that was asked to keep them.
    pub trace: Vec<Event>,
    /// Inputs handled by shards.
    pub events: u64,
    /// Simulated time, microseconds.
    pub simulated_us: u64,
    /// Rules broken.
    pub violations: Vec<(&'static str, String)>,
    /// True if the run did not end within its bound.
    pub undecided: bool,
    /// What happened, by name: faults fired, notes of the core.
    pub marks: BTreeMap<&'static str, u64>,
    /// Records acknowledged.
    pub acks: u64,
    /// Records read.
    pub reads: u64,
    /// Operations whose outcome the client knows.
    pub definite: u64,
    /// Operations whose outcome it never learned.
    pub unknown: u64,
    /// Shards, partitions, clients, operations: the world's size.
    pub size: [u64; 4],
    /// Its shards ran as madsim tasks.
    pub tasks: bool,
}

impl Report {
    /// What was decided: `holds`, or the rules that broke, each once and in order, and `undecided`.
    pub fn verdict(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for (rule, _) in &self.violations {
            if !names.contains(rule) {
                names.push(rule);
            }
        }
        if self.undecided {
            names.push("undecided");
        }
        if names.is_empty() {
            names.push("holds");
        }
        names.join(",")
    }

    fn count(&self, names: impl IntoIterator<Item = &'static str>) -> u64 {
        let counts = names.into_iter().filter_map(|name| self.marks.get(name));
        counts.sum()
    }

    /// Crashes and power losses.
    pub fn crashes(&self) -> u64 {
        self.count([FaultKind::Crash, FaultKind::PowerLoss].map(FaultKind::name))
    }

    /// Faults that fired, of every kind.
    pub fn faults(&self) -> u64 {
        self.count(FaultKind::ALL.iter().map(|kind| kind.name()))
    }
}
