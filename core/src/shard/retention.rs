//! Retention by time and bytes, looked at every few seconds, and producers long unseen.

use super::Shard;
use crate::contract::Effects;
use crate::time::Now;

/// Producers unseen for this long are forgotten (`producer.id.expiration.ms`, Kafka's default).
const PRODUCER_EXPIRATION_MS: i64 = 86_400_000;

impl Shard {
    /// Retention, and producers long unseen.
    pub(super) fn retain(&mut self, now: Now, out: &mut Effects) {
        let trust = self.config.knobs.trust_producer_timestamps;
        let mut starts = Vec::new();
        let mut behind = Vec::new();
        for replica in self.replicas.values_mut() {
            replica
                .producers
                .expire(now.wall_ms.saturating_sub(PRODUCER_EXPIRATION_MS));
            if let Some(start) = replica.retention_start(now.wall_ms, trust) {
                if start > replica.pending_start {
                    starts.push((replica.id, start));
                }
            }
            // Data that retention could drop must be in closed segments first.
            if replica.tail_bytes as i64 >= replica.config.segment_bytes {
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
