//! Carrying forward: a tail that cannot be written behind goes into the journal's head once more, with
//! a manifest, so that its old blocks are free (design.md section 3).
//!
//! A partition whose files cannot be written does not hold up the others of its shard: it is carried,
//! and refuses batches before its tail is too large for that.
//!
//! Departure from the design: small tails that can be written are not carried. Tried with tails of up
//! to 16 KiB, an eighth of the ring in a pass: 200 requests to 5,000 partitions took 285-320 flushes
//! instead of 262-266 and were no faster (`.ci/power/flushes.py`), as one `syncfs` already covers a
//! whole round of small segments.

use super::journaling::{Journal, Mark};
use super::Shard;
use crate::contract::{Effects, Note};
use crate::ids::PartitionId;
use crate::log::frame::Frame;
use crate::log::journal::{pages_for, PAGE};
use crate::partition::Replica;

impl Journal {
    /// Room to carry so many bytes, in one block: half of what is kept for blocks that free others
    /// stays.
    fn has_room_to_carry(&self, bytes: u64) -> bool {
        let pages = pages_for(self.staged_bytes as u64 + bytes) + 1;
        let fits = self.ring.room_for(pages).is_some();
        fits && self.ring.leaves(pages, self.ring.capacity / 16)
    }

    /// Partitions whose files cannot be written take no batch that would make their tails larger than
    /// this together.
    fn failing_bytes_max(&self) -> u64 {
        self.ring.capacity * PAGE / 8
    }
}

impl Shard {
    /// So many bytes more would be too much to carry for a partition that cannot be written behind.
    pub(super) fn is_too_much_to_carry(&self, id: PartitionId, bytes: usize) -> bool {
        let failing = |replica: &&Replica| replica.failing;
        if self.replicas.get(&id).filter(failing).is_none() {
            return false;
        }
        let tails = self.replicas.values().filter(failing);
        let carried: u64 = tails.map(|replica| replica.tail_bytes).sum();
        carried + bytes as u64 > self.journal.failing_bytes_max()
    }

    /// Carry a partition's tail forward, if there is room.
    pub(super) fn carry(&mut self, id: PartitionId, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        if !self.journal.has_room_to_carry(replica.tail_bytes) {
            return;
        }
        let end = replica.log_end;
        let covered = replica.covered_end();
        let begun = Frame::Carried {
            partition: id,
            base: covered,
        };
        let mut frames = vec![begun.encode()];
        for batch in replica.tail.range(replica.passed()..) {
            frames.extend(replica.frame_of(batch));
        }
        frames.push(replica.manifest_frame(covered, self.config.listed_bytes_max()));
        replica.manifest_owed = false;
        replica.manifest_pending = true;
        let mark = Mark::Carried {
            id,
            base: covered,
            end,
            dropped: replica.doomed.clone(),
        };
        self.journal.stage(frames, mark);
        out.notes.push(Note::Carried);
    }

    /// The tail up to `end` is in block `seq` now, whatever of it was in others: what was only staged
    /// was staged before.
    pub(super) fn note_carried(&mut self, id: PartitionId, end: i64, seq: u64) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            let carried = replica.tail.iter_mut();
            let carried = carried.take_while(|batch| batch.row.next <= end);
            carried.for_each(|batch| batch.seq = seq);
        }
    }
}
