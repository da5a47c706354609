//! Topics that opt out of syncing (`flush.messages`, `flush.ms`, Kafka's `TopicConfig.java`): their
//! batches are acknowledged once written, and synced with the next block that must be.
//!
//! The first such block is synced and says that what follows may be loose; a clean stop ends with a
//! block that takes it back. So a start knows whether it may have lost something acknowledged, even
//! if no trace of that is left.

use super::journaling::Mark;
use super::Shard;
use crate::contract::Effects;
use crate::ids::PartitionId;
use crate::time::{Instant, Now};

impl Shard {
    /// A block of these marks is synced before any of them is released.
    pub(super) fn must_sync(&mut self, marks: &[Mark]) -> bool {
        let mut sync = self.journal.is_pressed();
        let mut loose = false;
        for mark in marks {
            let replica = match mark {
                Mark::Batches(id, end) => self.replicas.get(id).map(|replica| (replica, *end)),
                _ => None,
            };
            let late = i64::from(self.config.knobs.has(112));
            sync |= replica.is_none_or(|(replica, end)| replica.must_sync(end - late));
            loose |= replica.is_some_and(|(replica, _)| replica.config.opts_out_of_syncing());
        }
        if loose && !self.journal.ring.loose {
            self.journal.ring.loose = true;
            return true;
        }
        sync
    }

    /// Something acknowledged waits for a sync that no batch brings about.
    pub(super) fn wants_flush(&self, now: Now) -> bool {
        let journal = &self.journal;
        let due = journal.flush_at.is_some_and(|at| at <= now.mono);
        let needed = journal.is_pressed() || journal.disk_full || self.is_stalled();
        let waiting = !journal.unsynced.is_empty();
        (waiting && (due || needed)) || (self.stopping.asked && (waiting || journal.ring.loose))
    }

    /// When the next flush is due, if it could be done then.
    pub(super) fn flush_deadline(&self) -> Option<Instant> {
        let able = self.journal.in_flight.is_none() && self.journal.ring.room_for(1).is_some();
        self.journal.flush_at.filter(|_| able)
    }

    /// A block is written and was not to be synced: its batches are acknowledged.
    pub(super) fn written_unsynced(&mut self, now: Now, marks: Vec<Mark>, out: &mut Effects) {
        for mark in marks {
            if let Mark::Batches(id, end) = mark {
                self.let_wait(now, id, end);
                self.batches_visible(id, end, out);
            }
        }
    }

    fn let_wait(&mut self, now: Now, id: PartitionId, end: i64) {
        let Some(replica) = self.replicas.get(&id) else {
            return;
        };
        self.journal.unsynced.insert(id, end);
        if let Ok(wait) = u64::try_from(replica.config.flush_ms) {
            let at = Instant(now.mono.0.saturating_add(wait.saturating_mul(1_000_000)));
            let sooner = self.journal.flush_at.is_none_or(|before| at < before);
            if sooner && wait < i64::MAX as u64 {
                self.journal.flush_at = Some(at);
            }
        }
    }
}
