//! Carrying forward: a small tail goes into the journal's head once more, with a manifest, instead of
//! into segment files, and its old blocks are free (design.md section 3).
//!
//! So thousands of partitions with little in each cost no files at a checkpoint, and a partition whose
//! files cannot be written does not hold up the others: it is carried, and refuses batches before its
//! tail is too large for that.

use super::journaling::{Journal, Mark};
use super::Shard;
use crate::contract::{Effects, Note};
use crate::ids::PartitionId;
use crate::log::frame::Frame;
use crate::log::journal::{pages_for, PAGE};

/// Bytes of a tail that is rather carried than written behind.
const SMALL_MAX: u64 = 16 << 10;

impl Journal {
    /// Bytes of the ring.
    fn bytes(&self) -> u64 {
        self.ring.capacity * PAGE
    }

    /// Largest tail to carry: a small one, or, as it cannot be written, one that leaves room for others.
    fn carries(&self, failing: bool) -> u64 {
        match failing {
            true => self.bytes() / 16,
            false => SMALL_MAX.min(self.bytes() / 256),
        }
    }

    /// The ring's last eighth is for blocks that free others, and these must fit whatever else comes:
    /// only who cannot be written behind may use half of it.
    fn has_room_to_carry(&self, bytes: u64, failing: bool) -> bool {
        let pages = pages_for(self.staged_bytes as u64 + bytes) + 1;
        let reserve = if failing { 16 } else { 8 };
        self.ring.leaves(pages, self.ring.capacity / reserve)
    }

    /// A partition whose files cannot be written takes no batch beyond this.
    pub(super) fn failing_tail_max(&self) -> u64 {
        self.bytes() / 32
    }
}

impl Shard {
    /// Carry a partition's tail forward if that is better than to write it behind. True if it is
    /// staged.
    pub(super) fn carry(&mut self, id: PartitionId, out: &mut Effects) -> bool {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return false;
        };
        let limit = self.journal.carries(replica.failing);
        // In one pass over the ring no more is carried than leaves most of it to be freed.
        let room = self.journal.carried + replica.tail_bytes <= self.journal.bytes() / 8;
        let fits = self
            .journal
            .has_room_to_carry(replica.tail_bytes, replica.failing);
        if replica.tail_bytes > limit || !room || !fits {
            return false;
        }
        self.journal.carried += replica.tail_bytes;
        let end = replica.log_end;
        let covered = replica.covered_end();
        let begun = Frame::Carried {
            partition: id,
            base: covered,
        };
        let mut frames = vec![begun.encode()];
        for batch in &replica.tail {
            frames.extend(replica.frame_of(batch));
        }
        let manifest = Frame::Manifest {
            partition: id,
            body: replica.manifest(covered),
        };
        frames.push(manifest.encode());
        replica.manifest_owed = false;
        replica.manifest_pending = true;
        self.journal.stage(frames, Mark::Carried(id, end));
        out.notes.push(Note::Carried);
        true
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
