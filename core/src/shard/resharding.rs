//! A start with another number of shards: every partition moves to the journal of its new home
//! before any client is served, and then the broker is booted again.
//!
//! The ledger counts the journals that may hold something, and says for how many shards everything
//! is at home. Before the first move it says "all that run, nothing is at home"; after the last,
//! "as many as wanted". In between a partition stands in one journal or in two, never in none: it is
//! written behind, its manifest becomes durable in the new journal, and only then does a frame drop
//! it from the old one. Nothing is appended meanwhile, so of two copies either will do, whatever
//! number of shards the next start wants.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::journaling::Mark;
use super::{NeighbourMessage, Purpose, Shard, Stage};
use crate::contract::{Effects, Halt};
use crate::disk::{DiskRequest, DiskResult, Path};
use crate::ids::{PartitionId, ShardId};
use crate::log::frame::Frame;
use crate::metadata::shard_of;
use crate::partition::Replica;
use crate::time::Now;

/// How many shards must run where `wanted` are wanted and the folder `journal` holds these files:
/// each journal needs one, if only to be emptied.
pub fn shards_to_run<'a>(wanted: u16, journals: impl IntoIterator<Item = &'a str>) -> u16 {
    let number = |name: &str| {
        let number = name.strip_prefix("shard-")?.strip_suffix(".ring")?;
        number.parse::<u16>().ok()?.checked_add(1)
    };
    let held = journals.into_iter().filter_map(number).max();
    held.unwrap_or(0).max(wanted)
}

/// What moves out of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct Settling {
    /// Partitions still here.
    here: BTreeSet<PartitionId>,
    /// Those whose new home has been told.
    told: BTreeSet<PartitionId>,
    done: bool,
}

/// How far a shard is that is to end because the broker is booted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// What is under way ends first.
    Asked,
    /// The journal of a shard that is not wanted any more is being unlinked.
    Unlinking,
    /// That is being made durable.
    Syncing,
}

impl Shard {
    /// Shard 0 says: what is not at home moves.
    pub(super) fn begin_settling(&mut self) {
        let (shards, me) = (self.config.shards, self.config.shard.0);
        let strangers = self.replicas.keys().copied();
        self.settling = Some(Settling {
            here: strangers.filter(|id| shard_of(*id, shards) != me).collect(),
            ..Settling::default()
        });
    }

    /// Go on with what moves out.
    pub(super) fn move_on(&mut self, now: Now, out: &mut Effects) {
        let Some(settling) = &self.settling else {
            return;
        };
        let waiting: Vec<PartitionId> = settling.here.difference(&settling.told).copied().collect();
        for id in waiting {
            let Some(replica) = self.replicas.get(&id) else {
                continue;
            };
            let busy = replica.job.is_some() || replica.manifest_pending;
            if busy || self.owed.contains(&id) {
                continue;
            }
            if replica.tail.is_empty() {
                self.send_home(id, out);
            } else if self.may_start_job(now) {
                self.start_job(now, id, out);
            }
        }
        // A journal that goes takes its frames with it. A folder that cannot be removed must not hold
        // up the start: a shard that stays goes on trying.
        let unwanted = self.config.shard.0 >= self.config.shards;
        if unwanted {
            self.send_removals(out);
        }
        let owes = unwanted && !self.journal.dropping.is_empty();
        let settled =
            |settling: &&mut Settling| settling.here.is_empty() && !settling.done && !owes;
        if let Some(settling) = self.settling.as_mut().filter(settled) {
            settling.done = true;
            self.tell(ShardId(0), NeighbourMessage::Settled, out);
        }
    }

    fn send_home(&mut self, id: PartitionId, out: &mut Effects) {
        let (Some(replica), Some(settling)) = (self.replicas.get_mut(&id), &mut self.settling)
        else {
            return;
        };
        settling.told.insert(id);
        // It must fit into the other journal as well.
        replica.producers.fit(self.config.listed_bytes_max());
        let home = ShardId(shard_of(id, self.config.shards));
        let manifest = replica.manifest(replica.log_end);
        let message = NeighbourMessage::Move {
            partition: id,
            manifest,
        };
        self.tell(home, message, out);
    }

    /// A partition comes home.
    pub(super) fn arrives(
        &mut self,
        from: ShardId,
        id: PartitionId,
        manifest: Bytes,
        out: &mut Effects,
    ) {
        let path = self.journal.path.clone();
        if let Some(here) = self.replicas.get(&id) {
            if !here.tail.is_empty() || !here.is_listed_by(&manifest) {
                let other = from.0;
                let text = format!(
                    "{path}: {id:?} also stands in journal/shard-{other}.ring, and they differ"
                );
                return self.halt(text, out);
            }
            return match self.arrivals.get_mut(&id) {
                Some(senders) => senders.push(from),
                None => self.tell(from, NeighbourMessage::Moved { partition: id }, out),
            };
        }
        let mut replica = Replica::empty(id, self.config.cluster_id, String::new());
        if replica.adopt_manifest(manifest.clone(), 0).is_none() {
            let text = format!("{path}: {id:?} comes with a bad manifest");
            return self.halt(text, out);
        }
        replica.durable_end = replica.log_end;
        replica.high_watermark = replica.log_end;
        replica.manifest_pending = true;
        self.replicas.insert(id, replica);
        self.arrivals.insert(id, vec![from]);
        if self.config.knobs.has(123) {
            self.tell(from, NeighbourMessage::Moved { partition: id }, out);
            self.arrivals.remove(&id);
        }
        let frame = Frame::Manifest {
            partition: id,
            body: manifest,
        };
        self.journal.stage([frame.encode()], Mark::Arrived(id));
    }

    /// The partition is durable in this journal: whoever sent it may drop it.
    pub(super) fn arrived(&mut self, id: PartitionId, out: &mut Effects) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.manifest_pending = false;
        }
        for sender in self.arrivals.remove(&id).unwrap_or_default() {
            self.tell(sender, NeighbourMessage::Moved { partition: id }, out);
        }
    }

    fn send_removals(&mut self, out: &mut Effects) {
        for (id, dir) in self.journal.dropping.send_off() {
            let home = ShardId(shard_of(id, self.config.shards));
            let message = NeighbourMessage::MoveRemoval { partition: id, dir };
            self.tell(home, message, out);
        }
    }

    /// A folder is this shard's to remove from now on.
    pub(super) fn removal_arrives(
        &mut self,
        from: ShardId,
        id: PartitionId,
        dir: Path,
        out: &mut Effects,
    ) {
        if self.journal.dropping.is_durable(id) {
            return self.tell(from, NeighbourMessage::Moved { partition: id }, out);
        }
        let senders = self.arrivals.entry(id).or_default();
        senders.push(from);
        if senders.len() == 1 {
            self.stage_removal(id, dir);
        }
    }

    /// A partition is durable in its new home: this journal forgets it. Its files stay. Or a removal.
    pub(super) fn moved(&mut self, id: PartitionId) {
        match self.replicas.remove(&id) {
            Some(replica) => self.stage_drop(&replica, !self.config.knobs.has(124)),
            None => self.journal.dropping.forget(id),
        }
    }

    pub(super) fn moved_out(&mut self, id: PartitionId, seq: u64) {
        self.drop_durable(id, seq);
        if let Some(settling) = &mut self.settling {
            settling.here.remove(&id);
        }
    }

    /// All have settled: this shard ends, and takes its journal with it if that is not wanted any
    /// more. What is under way ends first.
    pub(super) fn leave(&mut self, now: Now, out: &mut Effects) {
        if !self.journal.marks.is_empty() {
            // What the ring has no room for, as nothing frees it any more, was promised to nobody: the
            // next boot finds the journal as after a crash. All that moved is durable where it went.
            self.write_block(now, out);
        }
        if self.journal.in_flight.is_some() || !self.ops.is_empty() {
            return;
        }
        let unwanted = self.config.shard.0 >= self.config.shards;
        let file = self.journal.path.clone();
        match self.leaving {
            Some(Leaving::Asked) if unwanted => {
                self.leaving = Some(Leaving::Unlinking);
                self.disk(DiskRequest::Unlink { file }, Purpose::Leave, out);
            }
            Some(Leaving::Unlinking) => {
                self.leaving = Some(Leaving::Syncing);
                let dir = "journal".into();
                self.disk(DiskRequest::SyncDir { dir }, Purpose::Leave, out);
            }
            Some(Leaving::Asked | Leaving::Syncing) => {
                self.stage = Stage::Halted;
                out.halt = Some(Halt::Again);
            }
            None => {}
        }
    }

    pub(super) fn left(&mut self, result: DiskResult, out: &mut Effects) {
        if let Err(error) = result {
            let path = &self.journal.path;
            self.halt(format!("{path}: cannot be removed: {error:?}"), out);
        }
    }
}

/// Who waits to hear that a partition is durable here.
pub(super) type Arrivals = BTreeMap<PartitionId, Vec<ShardId>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_journal_needs_a_shard() {
        assert_eq!(shards_to_run(2, []), 2);
        assert_eq!(shards_to_run(2, ["shard-0.ring", "shard-4.ring"]), 5);
        assert_eq!(shards_to_run(4, ["shard-0.ring", "shard-x.ring"]), 4);
        assert_eq!(shards_to_run(1, ["shard-65535.ring", "notes"]), 1);
    }
}
