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

use bytes::Bytes;

use super::journaling::{Journal, Mark};
use super::Shard;
use crate::contract::{Effects, Note};
use crate::ids::PartitionId;
use crate::log::frame::Frame;
use crate::log::journal::{pages_for, PAGE};

impl Journal {
    /// Room to carry so many bytes, in one block: half of what is kept for blocks that free others
    /// stays.
    fn has_room_to_carry(&self, bytes: u64) -> bool {
        let pages = pages_for(self.staged_bytes as u64 + bytes) + 1;
        let fits = self.ring.room_for(pages).is_some();
        fits && self.ring.leaves(pages, self.ring.capacity / 16)
    }

    /// The partition and the bytes of a carried tail that is staged first and does not fit into the ring
    /// with a page left for telling what it has freed.
    fn stranded_carry(&self) -> Option<(PartitionId, usize)> {
        match self.marks.front() {
            Some((Mark::Carried { id, .. }, _, bytes))
                if !self.ring.leaves(pages_for(*bytes as u64), 1) =>
            {
                Some((*id, *bytes))
            }
            _ => None,
        }
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
        let failing = &self.journal.failing;
        if !failing.contains(&id) {
            return false;
        }
        let tails = failing.iter().filter_map(|id| self.replicas.get(id));
        let carried: u64 = tails.map(|replica| replica.tail_bytes).sum();
        carried + bytes as u64 > self.journal.failing_bytes_max()
    }

    /// Carry a partition's tail forward, if there is room.
    pub(super) fn carry(&mut self, id: PartitionId, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        // It is asked for in every turn: frames are made only where there may be room.
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
        // Heads and manifest count: they may take another page.
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        if !self.journal.has_room_to_carry(bytes as u64) {
            return;
        }
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

    /// Carried tails for which there is no room any more do not go out: the frames behind them may free
    /// what they would have freed, once their partitions are written behind.
    pub(super) fn take_back_carries(&mut self) {
        while let Some((id, bytes)) = self.journal.stranded_carry() {
            self.journal.take_staged(bytes);
            if let Some(replica) = self.replicas.get_mut(&id) {
                replica.manifest_pending = false;
                // It may have been for segments that are to go.
                replica.manifest_owed = true;
                self.owed.insert(id);
            }
        }
    }

    /// The tail up to `end` is in block `seq` now, whatever of it was in others: what was only staged
    /// was staged before.
    pub(super) fn note_carried(&mut self, id: PartitionId, end: i64, seq: u64) {
        let skipped = usize::from(self.config.knobs.has(108));
        if let Some(replica) = self.replicas.get_mut(&id) {
            let carried = replica.tail.iter_mut();
            let carried = carried.take_while(|batch| batch.row.next <= end);
            carried.skip(skipped).for_each(|batch| batch.seq = seq);
        }
    }
}
