//! The shard: one thread's worth of broker. It routes and decides nothing.

use crate::contract::{Appetite, Config, Effects, Input};
use crate::time::{Instant, Now};

/// What one shard tells another of the same broker.
#[derive(Clone, Debug, PartialEq)]
pub enum NeighbourMessage {}

/// One shard of a broker: a pure function of (config, seed, inputs).
#[derive(Clone, Debug)]
pub struct Shard {
    config: Config,
}

impl Shard {
    /// Start a shard. It asks the disk for what is there; recovery is a stage of its own.
    /// `seed` is fresh for every incarnation.
    pub fn boot(config: Config, _seed: [u8; 32], _now: Now, _out: &mut Effects) -> Shard {
        Shard { config }
    }
    /// Take one input: change one machine and mark it dirty.
    pub fn handle(&mut self, _now: Now, _input: Input, _out: &mut Effects) {}
    /// End a turn: due deadlines, then the dirty machines: appends, sync, releases.
    pub fn settle(&mut self, _now: Now, _out: &mut Effects) {}
    /// When to call `settle` next even without input.
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }
    /// How much client work the shard takes now.
    pub fn appetite(&self) -> Appetite {
        Appetite { client_bytes: self.config.request_pool_bytes }
    }
    /// Assert the invariants; after `settle`, each turn in the simulator, sampled in the node.
    pub fn check(&self) {}
}
