//! Files of segments that retention dropped, or that a write-behind began and did not end: unlinked
//! until they are durably gone.
//!
//! A manifest names them until then, so that a start after a crash, or after a clean stop, goes on.
//! A name that retention dropped never comes again, as the log start has passed its offset. One that a
//! write-behind began may: then it is not named any more, and as the disk keeps the order of what is
//! asked of one file, an unlink under way comes before what is written to it anew.

use std::collections::{BTreeMap, BTreeSet};

use super::{Purpose, Shard, Stage};
use crate::contract::{Effects, Note};
use crate::disk::{DiskRequest, DiskResult};
use crate::ids::PartitionId;
use crate::time::{Instant, Now};

/// Partitions whose files are being unlinked at a time.
const ACTIVE_MAX: usize = 8;
/// Segments of one partition being unlinked at a time.
const SEGMENTS_MAX: usize = 32;
/// After a failure the next try waits this long.
const RETRY_AFTER_MS: u64 = 5_000;

/// A partition whose files are being unlinked.
#[derive(Clone, Debug)]
struct Row {
    bases: Vec<i64>,
    /// Operations still out.
    left: usize,
    failed: bool,
    /// The folder's entries are being made durable.
    syncing: bool,
}

/// All of them, and those to come.
#[derive(Clone, Debug, Default)]
pub(super) struct Unlinking {
    waiting: BTreeSet<(Instant, PartitionId)>,
    active: BTreeMap<PartitionId, Row>,
    /// An operator knows that these files cannot be removed.
    told: BTreeSet<PartitionId>,
}

impl Unlinking {
    /// When the next try is due.
    pub fn deadline(&self) -> Option<Instant> {
        let room = self.active.len() < ACTIVE_MAX;
        let first = self.waiting.first().filter(|_| room);
        first.map(|(at, _)| *at)
    }

    /// These may go from now on, maybe once more: a write-behind that failed had begun them anew since an
    /// unlink of theirs was asked for, so that its end says nothing of them.
    pub fn go_again(&mut self, id: PartitionId, bases: &[i64]) {
        if let Some(row) = self.active.get_mut(&id) {
            row.bases.retain(|base| !bases.contains(base));
        }
    }
}

impl Shard {
    /// The partition has files that may go.
    pub(super) fn wants_unlinking(&mut self, id: PartitionId) {
        let gone = |replica: &&crate::partition::Replica| !replica.gone.is_empty();
        if self.replicas.get(&id).filter(gone).is_some() {
            self.unlinking.waiting.insert((Instant(0), id));
        }
    }

    /// Go on with the files that may go. Not before clients are served: until then a partition may
    /// stand in two journals.
    pub(super) fn unlink_gone(&mut self, now: Now, out: &mut Effects) {
        if self.stage != Stage::Ready || self.image.is_none() || self.stopping.asked {
            return;
        }
        while let Some((at, id)) = self.unlinking.waiting.first().copied() {
            if at > now.mono || self.unlinking.active.len() >= ACTIVE_MAX {
                return;
            }
            self.unlinking.waiting.remove(&(at, id));
            if !self.unlinking.active.contains_key(&id) {
                self.begin_unlinking(id, out);
            }
        }
    }

    fn begin_unlinking(&mut self, id: PartitionId, out: &mut Effects) {
        let Some(replica) = self.replicas.get(&id).filter(|it| !it.gone.is_empty()) else {
            return;
        };
        let bases: Vec<i64> = replica.gone.iter().copied().take(SEGMENTS_MAX).collect();
        let paths = |base: &i64| [replica.segment_path(*base), replica.rows_path(*base)];
        let files: Vec<_> = bases.iter().flat_map(paths).collect();
        let row = Row {
            bases,
            left: files.len(),
            failed: false,
            syncing: false,
        };
        self.unlinking.active.insert(id, row);
        for file in files {
            self.disk(DiskRequest::Unlink { file }, Purpose::Unlink(id), out);
        }
    }

    /// An operation of these ended.
    pub(super) fn unlink_step(
        &mut self,
        now: Now,
        id: PartitionId,
        result: DiskResult,
        out: &mut Effects,
    ) {
        let Some(row) = self.unlinking.active.get_mut(&id) else {
            return;
        };
        row.left -= 1;
        row.failed |= result.is_err();
        if row.left > 0 {
            return;
        }
        let (failed, synced) = (row.failed, row.syncing);
        let replica = self.replicas.get_mut(&id);
        match replica {
            Some(replica) if !failed && !synced && !self.config.knobs.has(106) => {
                (row.left, row.syncing) = (1, true);
                let dir = replica.dir.as_str().into();
                return self.disk(DiskRequest::SyncDir { dir }, Purpose::Unlink(id), out);
            }
            Some(replica) if !failed => replica.gone.retain(|base| !row.bases.contains(base)),
            Some(replica) => {
                if self.unlinking.told.insert(id) {
                    let dir = replica.dir.clone();
                    out.notes.push(Note::CannotRemove { dir });
                }
                let at = now.mono.plus_millis(RETRY_AFTER_MS);
                self.unlinking.waiting.insert((at, id));
            }
            // Its folder goes as a whole.
            None => {}
        }
        self.unlinking.active.remove(&id);
        if !failed {
            self.unlinking.told.remove(&id);
            self.wants_unlinking(id);
        }
    }
}
