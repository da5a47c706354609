//! Partitions that are gone from this journal, until it durably says so. Until then a restart may find
//! their batches, and needs the block with their first frame or manifest to make sense of them.

use std::collections::BTreeMap;

use super::journaling::Mark;
use super::Shard;
use crate::ids::PartitionId;
use crate::log::frame::Frame;
use crate::partition::Replica;

/// The oldest block that each of them needs; 0 while that is only staged.
pub(super) type Dropping = BTreeMap<PartitionId, u64>;

impl Shard {
    /// The partition is gone: the journal says so next.
    pub(super) fn stage_drop(&mut self, replica: &Replica, mark: Mark) {
        let partition = replica.id;
        let journal = &mut self.journal;
        journal.dropping.insert(partition, replica.oldest_seq());
        journal.stage([Frame::Drop { partition }.encode()], mark);
    }

    /// Its first frame was still staged, and is in this block now.
    pub(super) fn note_dropping(&mut self, id: PartitionId, seq: u64) {
        if let Some(oldest) = self.journal.dropping.get_mut(&id) {
            *oldest = seq;
        }
    }

    /// It durably says so: nothing of the partition is needed any more.
    pub(super) fn drop_durable(&mut self, id: PartitionId) {
        self.journal.dropping.remove(&id);
    }

    /// The oldest block that one of them needs.
    pub(super) fn oldest_dropping(&self) -> Option<u64> {
        let staged = |seq: &u64| *seq > 0;
        self.journal.dropping.values().copied().filter(staged).min()
    }
}
