//! A clean stop: what clients were heard to ask is answered, all of it is durable, and the journal's
//! last block attests it.
//!
//! A shard that owes no client an answer any more says so to all; one that has heard it of all can be
//! asked nothing more, and ends once it is idle. Were each to end for itself, an answer to a client of
//! another would be lost.

use std::collections::BTreeSet;

use super::{NeighbourMessage, Shard, Stage};
use crate::contract::{Effects, Halt};
use crate::ids::ShardId;
use crate::time::Now;

/// How far a clean stop is.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopping {
    /// A stop is asked for: no request is heard any more.
    pub asked: bool,
    /// This shard has told that it owes no answer.
    pub drained: bool,
    /// Shards that have told so, this one among them.
    heard: BTreeSet<ShardId>,
}

impl Shard {
    /// Another shard, or this one, owes its clients nothing any more.
    pub(super) fn heard_drained(&mut self, from: ShardId) {
        self.stopping.heard.insert(from);
    }

    /// Parked calls are answered; once none is left, all shards are told.
    pub(super) fn tell_drained(&mut self, now: Now, out: &mut Effects) {
        let tokens: Vec<u64> = self.calls.keys().copied().collect();
        for token in tokens {
            self.give_up(now, token, out);
        }
        let owes = !self.calls.is_empty() || (self.is_ready() && self.has_waiting_calls(now));
        if !owes && !self.stopping.drained {
            self.stopping.drained = true;
            for shard in 0..self.config.running {
                self.tell(ShardId(shard), NeighbourMessage::Drained, out);
            }
        }
    }

    /// End, once nothing can be asked any more and all is done.
    pub(super) fn shut_down(&mut self, out: &mut Effects) {
        let journal = &self.journal;
        let quiet = journal.in_flight.is_none() && journal.staged.is_empty() && journal.jobs == 0;
        let attested = journal.attested >= journal.ring.durable_seq;
        let flushed = !journal.ring.loose && journal.unsynced.is_empty();
        let unasked = self.stopping.heard.len() == usize::from(self.config.running);
        let unasked = unasked || self.config.knobs.has(125);
        let idle = unasked && quiet && attested && flushed && self.asks.is_empty();
        if idle && (self.stage == Stage::Ready || self.ops.is_empty()) {
            self.stage = Stage::Halted;
            out.halt = Some(Halt::Clean);
        }
    }
}
