//! Asks from a shard whose metadata is ahead of ours: they wait until it is in force here too
//! (design.md section 4). Without that a shard that has not heard of this life's epoch yet would
//! append under none, and one that has not heard of a topic would deny it.
//!
//! They are few: clients' pools bound what a shard may ask, and shard 0 publishes to all at once.

use std::collections::VecDeque;

use super::{Ask, Shard};
use crate::contract::Effects;
use crate::ids::ShardId;
use crate::time::Now;

/// An ask that acted on metadata not in force here.
#[derive(Clone, Debug)]
pub(super) struct Ahead {
    from: ShardId,
    token: u64,
    metadata: i64,
    ask: Ask,
}

/// In order of arrival: a sender's metadata never goes back, so its own order is kept.
pub(super) type AheadAsks = VecDeque<Ahead>;

impl Shard {
    /// Offset of the metadata in force here; -1 before there is any.
    pub(super) fn metadata_offset(&self) -> i64 {
        self.image.as_ref().map_or(-1, |image| image.offset)
    }

    /// Another shard asks, on metadata up to this offset.
    pub(super) fn asked(
        &mut self,
        now: Now,
        (from, token): (ShardId, u64),
        metadata: i64,
        ask: Ask,
        out: &mut Effects,
    ) {
        if metadata <= self.metadata_offset() || self.config.knobs.has(126) {
            return self.ask(now, from, token, ask, out);
        }
        self.ahead.push_back(Ahead {
            from,
            token,
            metadata,
            ask,
        });
    }

    /// Newer metadata is in force: go on with what waited for it.
    pub(super) fn catch_up(&mut self, now: Now, out: &mut Effects) {
        for Ahead {
            from,
            token,
            metadata,
            ask,
        } in std::mem::take(&mut self.ahead)
        {
            self.asked(now, (from, token), metadata, ask, out);
        }
    }

    /// A fetch that may not have been looked at yet is over: when it is, nobody is to be woken. Nor is
    /// anything looked up for who is gone.
    pub(super) fn cancelled(&mut self, from: ShardId, token: u64, out: &mut Effects) {
        for ahead in &mut self.ahead {
            if let Ask::Parts { interest, .. } = &mut ahead.ask {
                interest.take_if(|_| (ahead.from, ahead.token) == (from, token));
            }
        }
        self.interests.forget(from, token);
        self.drop_lookups(from, token, out);
    }
}
