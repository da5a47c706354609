//! At rest: what must be so once clients have stopped and the disk works. For checkers.

use super::{Shard, Stage};
use crate::partition::Replica;

impl Shard {
    /// Why this shard is not at rest, if it is not. At rest nothing is held of what clients asked for,
    /// nothing is on its way to the disk, and no file is left that may go.
    pub fn unrest(&self) -> Option<String> {
        if self.stage != Stage::Ready || self.image.is_none() {
            return Some("it does not serve".into());
        }
        let pools = &self.pools;
        let pools = [
            ("frames", pools.frames),
            ("produces", pools.produces),
            ("requests", pools.requests),
            ("parked fetches", pools.parked),
            ("fetches", pools.fetches),
            ("replies", pools.replies),
            ("large replies", pools.large_replies),
        ];
        let held = pools
            .iter()
            .map(|(name, pool)| (*name, pool.held() as usize));
        let journal = &self.journal;
        let rows = [
            ("disk operations", self.ops.len()),
            ("work", self.work.len()),
            ("lookups", self.lookups.len() + self.looking),
            ("calls", self.calls.len()),
            ("asks", self.asks.len()),
            (
                "stalled calls",
                self.stalled.len() + self.stalled_admin.len(),
            ),
            ("interests", self.interests.len()),
            ("waits", self.waits.values().map(|waits| waits.len()).sum()),
            ("messages to itself", self.mailbox.len()),
            ("staged frames", journal.marks.len()),
            ("blocks in flight", usize::from(journal.in_flight.is_some())),
            ("manifests owed", self.owed.len()),
            (
                "folders to be removed",
                usize::from(!journal.dropping.is_empty()),
            ),
        ];
        let mut all = held.chain(rows);
        if let Some((name, count)) = all.find(|(_, count)| *count > 0) {
            return Some(format!("{count} {name}"));
        }
        let busy = |replica: &&Replica| {
            !replica.is_idle() || !replica.doomed.is_empty() || !replica.gone.is_empty()
        };
        let busy = self.replicas.values().find(busy)?;
        let (dir, job) = (&busy.dir, &busy.job);
        let (doomed, gone) = (&busy.doomed, &busy.gone);
        Some(format!("{dir}: {job:?}, to go: {doomed:?} and {gone:?}"))
    }
}
