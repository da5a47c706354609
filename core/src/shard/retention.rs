//! Retention by time and bytes, looked at every few seconds, and producers long unseen.

use super::Shard;
use crate::contract::Effects;
use crate::time::Now;

/// Producers unseen for this long are forgotten (`producer.id.expiration.ms`, Kafka's default).
const PRODUCER_EXPIRATION_MS: i64 = 86_400_000;

impl Shard {
    /// Retention, and producers long unseen.
    pub(super) fn retain(&mut self, now: Now, out: &mut Effects) {
        self.bound_manifests(out);
        let trust = self.config.knobs.trust_producer_timestamps;
        let ring = &self.journal.ring;
        let written = |seq: u64| ring.written_ms(seq).unwrap_or(now.wall_ms);
        let mut starts = Vec::new();
        let mut behind = Vec::new();
        let expiration = match self.config.knobs.has(103) {
            true => PRODUCER_EXPIRATION_MS / 86_400,
            false => PRODUCER_EXPIRATION_MS,
        };
        for replica in self.replicas.values_mut() {
            replica
                .producers
                .expire(now.wall_ms.saturating_sub(expiration));
            let due = replica.retention(now.wall_ms, &written, trust);
            let start = due.start.filter(|start| *start > replica.pending_start);
            starts.extend(start.map(|start| (replica.id, start)));
            if due.write_behind && !replica.manifest_pending {
                behind.push(replica.id);
            }
        }
        for (id, start) in starts {
            self.stage_log_start(id, start, None);
        }
        for id in behind {
            self.start_job(now, id, out);
        }
    }
}
