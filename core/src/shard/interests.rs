//! Which fetches wait for which partitions, and for how many bytes more.
//!
//! A fetch that has too little is looked at again when so much has been appended that it may have enough.
//! Looking at it after each batch would read all of what it waits for again and again.
//!
//! Where it asks several shards, none knows what the others have. If all have enough together then one of
//! them has its part of what was missing in the round before.

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
    /// Bytes of them that are enough to look again, less what was read and what has been appended since.
    missing: i64,
    /// What there was to read has been read.
    read: bool,
    /// More could be seen before it was.
    moved: bool,
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

    /// More of this partition can be seen. Fetches that wait for it and may have enough.
    fn moved(&mut self, id: PartitionId) -> Vec<Fetch> {
        let mut due = Vec::new();
        for fetch in self.of_partition.get(&id).into_iter().flatten() {
            let Some(interest) = self.of_fetch.get_mut(fetch) else {
                continue;
            };
            match interest.missing <= 0 {
                true => due.push(*fetch),
                false => interest.moved |= !interest.read,
            }
        }
        due
    }

    /// So much was read for a fetch. True if it may have enough after all: there is more than it knew of,
    /// or more could be seen meanwhile.
    fn read(&mut self, fetch: Fetch, enough: u64, bytes: u64) -> bool {
        let Some(interest) = self.of_fetch.get_mut(&fetch) else {
            return false;
        };
        interest.read = true;
        interest.missing = interest.missing.saturating_sub_unsigned(bytes);
        bytes >= enough || (interest.moved && interest.missing <= 0)
    }
}

impl Shard {
    /// A fetch waits until these partitions have so many bytes for it. What is appended and not to be seen
    /// yet counts towards them.
    pub(super) fn note_interest(
        &mut self,
        (from, token): Fetch,
        ids: impl Iterator<Item = PartitionId>,
        enough: u64,
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
        let missing = i64::try_from(enough).unwrap_or(i64::MAX);
        let interest = Interest {
            partitions,
            missing: missing.saturating_sub_unsigned(hidden),
            read: false,
            moved: false,
        };
        self.interests.of_fetch.insert((from, token), interest);
    }

    /// More of this partition can be seen.
    pub(super) fn wake(&mut self, id: PartitionId, out: &mut Effects) {
        let due = self.interests.moved(id);
        self.look_again(due, out);
    }

    /// This partition is gone.
    pub(super) fn wake_all(&mut self, id: PartitionId, out: &mut Effects) {
        let waiting = self.interests.of_partition.get(&id);
        let waiting = waiting.into_iter().flatten().copied().collect();
        self.look_again(waiting, out);
    }

    /// What there was for a fetch is read, and it has been told.
    pub(super) fn has_read(&mut self, fetch: Fetch, enough: u64, bytes: u64, out: &mut Effects) {
        if self.interests.read(fetch, enough, bytes) {
            self.look_again(vec![fetch], out);
        }
    }

    fn look_again(&mut self, fetches: Vec<Fetch>, out: &mut Effects) {
        for (shard, token) in fetches {
            self.interests.forget(shard, token);
            self.tell(shard, NeighbourMessage::Wake { token }, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uuid;

    /// One fetch that waits for 100 bytes of two partitions.
    fn waiting(missing: i64) -> (Interests, [PartitionId; 2]) {
        let ids = [0, 1].map(|index| PartitionId {
            topic: Uuid([1; 16]),
            index,
        });
        let mut interests = Interests::default();
        for id in ids {
            interests.of_partition.insert(id, BTreeSet::from([FETCH]));
        }
        let interest = Interest {
            partitions: ids.to_vec(),
            missing,
            read: false,
            moved: false,
        };
        interests.of_fetch.insert(FETCH, interest);
        (interests, ids)
    }

    const FETCH: Fetch = (ShardId(1), 7);

    #[test]
    fn a_fetch_is_due_once_enough_can_be_seen() {
        let (mut interests, [first, second]) = waiting(100);
        assert!(!interests.read(FETCH, 100, 40));
        interests.appended(first, 30);
        assert_eq!(interests.moved(first), []);
        interests.appended(second, 30);
        assert_eq!(interests.moved(second), [FETCH], "40, 30 and 30");
        interests.forget(FETCH.0, FETCH.1);
        assert_eq!((interests.len(), interests.moved(second)), (0, vec![]));
    }

    #[test]
    fn what_moved_while_there_was_something_to_read_is_not_missed() {
        let (mut interests, [first, _]) = waiting(100);
        interests.appended(first, 60);
        assert_eq!(interests.moved(first), [], "it is not known what was read");
        assert!(interests.read(FETCH, 100, 40));
        // Nothing moved: what was appended cannot be seen yet.
        let (mut interests, [first, _]) = waiting(100);
        interests.appended(first, 60);
        assert!(!interests.read(FETCH, 100, 40));
        assert_eq!(interests.moved(first), [FETCH]);
        // There is more than the round before knew of.
        let (mut interests, _) = waiting(100);
        assert!(interests.read(FETCH, 100, 100));
    }
}
