//! Which fetches wait for which partitions, and for how many bytes more.
//!
//! A fetch that has too little is looked at again when so much has been appended that it may have enough.
//! Looking at it after each batch would read all of what it waits for again and again.

use std::collections::{BTreeMap, BTreeSet};

use super::{NeighbourMessage, Shard};
use crate::contract::Effects;
use crate::ids::{PartitionId, ShardId};

/// A fetch, by the shard that its client is connected to and its token there.
type Fetch = (ShardId, u64);

/// What one fetch waits for.
#[derive(Clone, Debug)]
struct Interest {
    partitions: Vec<PartitionId>,
    /// Bytes that are still to be appended to them, less what has been since.
    missing: i64,
}

/// Fetches that wait for partitions of this shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Interests {
    of_partition: BTreeMap<PartitionId, BTreeSet<Fetch>>,
    of_fetch: BTreeMap<Fetch, Interest>,
}

impl Interests {
    /// Rows, for reports.
    pub fn len(&self) -> usize {
        self.of_partition.len() + self.of_fetch.len()
    }

    /// A fetch waits no longer.
    pub fn forget(&mut self, from: ShardId, token: u64) {
        let interest = self.of_fetch.remove(&(from, token));
        for id in interest.map_or(Vec::new(), |interest| interest.partitions) {
            if let Some(fetches) = self.of_partition.get_mut(&id) {
                fetches.remove(&(from, token));
                if fetches.is_empty() {
                    self.of_partition.remove(&id);
                }
            }
        }
    }

    /// So much was appended.
    pub fn appended(&mut self, id: PartitionId, bytes: u64) {
        for fetch in self.of_partition.get(&id).into_iter().flatten() {
            if let Some(interest) = self.of_fetch.get_mut(fetch) {
                interest.missing = interest.missing.saturating_sub_unsigned(bytes);
            }
        }
    }

    /// Fetches that wait for this partition and may have enough, or all of them.
    fn waiting(&self, id: PartitionId, all: bool) -> Vec<Fetch> {
        let fetches = self.of_partition.get(&id).into_iter().flatten();
        let due = |fetch: &&Fetch| all || self.of_fetch[*fetch].missing <= 0;
        fetches.filter(due).copied().collect()
    }
}

impl Shard {
    /// A fetch waits for `missing` bytes more in these partitions. What is appended and not to be seen yet
    /// counts towards them.
    pub(super) fn note_interest(
        &mut self,
        (from, token): Fetch,
        ids: impl Iterator<Item = PartitionId>,
        missing: u64,
    ) {
        let mut partitions: Vec<PartitionId> = ids.collect();
        if self.config.knobs.has(120) && partitions.len() > 1 {
            partitions.remove(0);
        }
        let mut hidden = 0;
        for id in &partitions {
            let replica = self.replicas.get(id);
            hidden += replica.map_or(0, |replica| replica.hidden_bytes());
            let fetches = self.interests.of_partition.entry(*id).or_default();
            fetches.insert((from, token));
        }
        let missing = i64::try_from(missing).unwrap_or(i64::MAX);
        let interest = Interest {
            partitions,
            missing: missing.saturating_sub_unsigned(hidden),
        };
        self.interests.of_fetch.insert((from, token), interest);
    }

    /// More of this partition can be seen, or, for `all`, it is gone.
    pub(super) fn wake(&mut self, id: PartitionId, all: bool, out: &mut Effects) {
        for (shard, token) in self.interests.waiting(id, all) {
            self.interests.forget(shard, token);
            self.tell(shard, NeighbourMessage::Wake { token }, out);
        }
    }
}
