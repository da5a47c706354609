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

    /// Oldest block that a partition needs which is here, or was: the ledger's apart.
    pub(super) fn oldest_needed(&self) -> Option<u64> {
        let here = self.replicas.values().map(Replica::oldest_seq);
        let gone = self.journal.dropping.values().copied();
        here.chain(gone).filter(|seq| *seq > 0).min()
    }
}
