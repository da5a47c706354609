//! Partitions that are gone from this journal, until nothing is left of them.
//!
//! Until the journal durably says that one is gone, a restart may find its batches, and needs the block
//! with its first frame or manifest to make sense of them. From then on the frame that says so names the
//! folder to be removed, and its block stays until that is durably done: a crash, or a clean stop, in
//! between leaves it to the next start. A folder bears its topic's id, so no later partition uses it.
//! They count as partitions of the broker until then: new ones are refused where there are too many.

use std::collections::{BTreeMap, BTreeSet};

use super::journaling::Mark;
use super::{NeighbourMessage, Purpose, Shard, Stage};
use crate::contract::{Effects, Note};
use crate::disk::{DiskDone, DiskRequest, DiskResult, Path};
use crate::ids::{PartitionId, ShardId};
use crate::log::frame::{Frame, TOPICS};
use crate::partition::Replica;
use crate::time::{Instant, Now};

/// Folders being removed at a time.
const ACTIVE_MAX: usize = 8;
/// Files of one folder being unlinked at a time.
const UNLINKS_MAX: usize = 64;
/// After a failure the next try waits this long.
const RETRY_AFTER_MS: u64 = 5_000;

/// How far the removal of a folder is.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// It has not begun, or begins again.
    Waiting,
    /// It is being given to another shard.
    SentOff,
    /// Looking for what is in it.
    Listing,
    /// So many files are being unlinked; one of them may have failed.
    Unlinking { left: usize, failed: bool },
    /// It is empty and goes.
    Removing,
    /// It is gone; that is to be made durable.
    Removed,
}

/// A partition that is gone.
#[derive(Clone, Debug)]
struct Dropped {
    /// Folder to be removed; `None` if the partition moved, with its files.
    dir: Option<Path>,
    /// The oldest block needed; 0 while that is only staged.
    oldest: u64,
    /// The frame that says so is durable.
    durable: bool,
    /// It is staged or in flight.
    staged: bool,
    step: Step,
    /// An operator knows that the folder cannot be removed.
    told: bool,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Dropping {
    rows: BTreeMap<PartitionId, Dropped>,
    /// Folders whose removal may begin, and from when on.
    waiting: BTreeSet<(Instant, PartitionId)>,
    active: usize,
    removed: Vec<PartitionId>,
    syncing: bool,
}

impl Dropping {
    /// Read back from the journal: the partition is gone, and its folder is to be.
    pub fn replay(&mut self, id: PartitionId, dir: String, seq: u64) {
        if dir.is_empty() {
            return;
        }
        let row = Dropped {
            dir: Some(dir.into()),
            oldest: seq,
            durable: true,
            staged: false,
            step: Step::Waiting,
            told: false,
        };
        self.rows.insert(id, row);
        self.waiting.insert((Instant(0), id));
    }

    /// The oldest block that one of them needs.
    pub fn oldest(&self) -> Option<u64> {
        let oldest = self.rows.values().map(|row| row.oldest);
        oldest.filter(|seq| *seq > 0).min()
    }

    /// A frame that frees this block, once durable, is not even staged.
    pub fn holds(&self, seq: u64) -> bool {
        let holds = |row: &Dropped| row.oldest == seq && !row.staged;
        self.rows.values().any(holds)
    }

    /// No folder is left to be removed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Partitions of which something is left.
    pub fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Folders that another shard is to remove; those being worked on follow if that fails.
    pub fn send_off(&mut self) -> Vec<(PartitionId, Path)> {
        let mut sent = Vec::new();
        for (_, id) in std::mem::take(&mut self.waiting) {
            if let Some(row) = self.rows.get_mut(&id) {
                row.step = Step::SentOff;
                sent.extend(row.dir.clone().map(|dir| (id, dir)));
            }
        }
        sent
    }

    /// This journal durably says that the folder is to be removed.
    pub fn is_durable(&self, id: PartitionId) -> bool {
        self.rows.get(&id).is_some_and(|row| row.durable)
    }

    /// The removal is durable elsewhere.
    pub fn forget(&mut self, id: PartitionId) {
        let sent = |row: &Dropped| row.step == Step::SentOff;
        if self.rows.get(&id).is_some_and(sent) {
            self.rows.remove(&id);
        }
    }

    /// When a removal is to be tried again.
    pub fn deadline(&self) -> Option<Instant> {
        let room = self.active < ACTIVE_MAX;
        let first = self.waiting.first().filter(|_| room);
        first.map(|(at, _)| *at)
    }
}

impl Shard {
    /// Shard 0 is told how far this one follows its metadata, and how much of what is gone is left.
    pub(super) fn tell_applied(&mut self, out: &mut Effects) {
        let Some(offset) = self.image.as_ref().map(|image| image.offset) else {
            return;
        };
        let removing = self.journal.dropping.count();
        let message = NeighbourMessage::Applied { offset, removing };
        self.tell(ShardId(0), message, out);
    }

    /// The partition is gone: the journal says so next. `moved` if its files are in use elsewhere.
    pub(super) fn stage_drop(&mut self, replica: &Replica, moved: bool) {
        let dir = (!moved).then(|| replica.dir.as_str().into());
        self.stage_gone(replica.id, dir, replica.oldest_seq());
    }

    /// The folder is to be removed, of a partition that was never in this journal.
    pub(super) fn stage_removal(&mut self, id: PartitionId, dir: Path) {
        self.stage_gone(id, Some(dir), 0);
    }

    fn stage_gone(&mut self, id: PartitionId, dir: Option<Path>, oldest: u64) {
        let row = Dropped {
            dir,
            oldest,
            durable: false,
            staged: false,
            step: Step::Waiting,
            told: false,
        };
        self.journal.dropping.rows.insert(id, row);
        self.stage_drop_frame(id);
    }

    fn stage_drop_frame(&mut self, id: PartitionId) {
        let Some(row) = self.journal.dropping.rows.get_mut(&id) else {
            return;
        };
        row.staged = true;
        let dir = row.dir.as_deref().unwrap_or_default().to_string();
        let mark = match row.dir {
            Some(_) => Mark::Dropped(id),
            None => Mark::MovedOut(id),
        };
        let frame = Frame::Drop { partition: id, dir };
        self.journal.stage([frame.encode()], mark);
    }

    /// Its first frame was still staged, and is in this block now.
    pub(super) fn note_dropping(&mut self, id: PartitionId, seq: u64) {
        if let Some(row) = self.journal.dropping.rows.get_mut(&id) {
            row.oldest = seq;
        }
    }

    /// Block `seq` durably says so: nothing else of the partition is needed any more, and not that
    /// either if no folder is to be removed.
    pub(super) fn drop_durable(&mut self, id: PartitionId, seq: u64) {
        let dropping = &mut self.journal.dropping;
        let Some(row) = dropping.rows.get_mut(&id) else {
            return;
        };
        if row.dir.is_none() {
            dropping.rows.remove(&id);
            return;
        }
        (row.oldest, row.staged) = (seq, false);
        if !std::mem::replace(&mut row.durable, true) {
            dropping.waiting.insert((Instant(0), id));
        }
    }

    /// Folders that take their time do not hold up the ring: their frames go into its head once more.
    /// `oldest`: the block that keeps the ring from being freed, for which nothing waits.
    pub(super) fn carry_drops(&mut self, horizon: u64, oldest: u64) {
        let rows = self.journal.dropping.rows.iter();
        let old = rows.filter(|(_, row)| row.durable && !row.staged && row.oldest < horizon);
        let old: Vec<(PartitionId, u64)> = old.map(|(id, row)| (*id, row.oldest)).collect();
        for (id, seq) in old {
            if seq == oldest || !self.journal.is_crowded() {
                self.stage_drop_frame(id);
            }
        }
    }

    /// Go on with the folders that are to be removed.
    pub(super) fn remove_folders(&mut self, now: Now, out: &mut Effects) {
        if self.stage != Stage::Ready || self.stopping.asked {
            return;
        }
        while let Some((at, id)) = self.journal.dropping.waiting.first().copied() {
            let dropping = &mut self.journal.dropping;
            if at > now.mono || dropping.active >= ACTIVE_MAX {
                break;
            }
            dropping.waiting.remove(&(at, id));
            // A write-behind that was given to the disk may yet write, and would make the folder anew.
            let writes = |purpose: &Purpose| matches!(purpose, Purpose::Job(of, _) if *of == id);
            if self.ops.values().any(writes) {
                self.removal_waits(now, id);
                continue;
            }
            self.journal.dropping.active += 1;
            self.list_folder(id, out);
        }
        let dropping = &mut self.journal.dropping;
        if self.config.knobs.has(107) {
            for id in std::mem::take(&mut dropping.removed) {
                dropping.rows.remove(&id);
            }
        }
        if !dropping.syncing && !dropping.removed.is_empty() {
            dropping.syncing = true;
            let removed = std::mem::take(&mut dropping.removed);
            let dir = TOPICS.into();
            self.disk(
                DiskRequest::SyncDir { dir },
                Purpose::SyncRemoved(removed),
                out,
            );
        }
    }

    fn removal_waits(&mut self, now: Now, id: PartitionId) {
        let at = now.mono.plus_millis(RETRY_AFTER_MS);
        self.journal.dropping.waiting.insert((at, id));
    }

    fn list_folder(&mut self, id: PartitionId, out: &mut Effects) {
        let Some(row) = self.journal.dropping.rows.get_mut(&id) else {
            return;
        };
        row.step = Step::Listing;
        let dir = row.dir.clone().unwrap_or_else(|| TOPICS.into());
        self.disk(DiskRequest::List { dir }, Purpose::Remove(id), out);
    }

    /// An operation of a removal ended.
    pub(super) fn removal_step(
        &mut self,
        now: Now,
        id: PartitionId,
        result: DiskResult,
        out: &mut Effects,
    ) {
        let Some(row) = self.journal.dropping.rows.get_mut(&id) else {
            return;
        };
        let Some(dir) = row.dir.clone() else {
            return;
        };
        match (&mut row.step, result) {
            (Step::Listing, Ok(DiskDone::Listing(files))) if files.is_empty() => {
                row.step = Step::Removing;
                self.disk(DiskRequest::RemoveDir { dir }, Purpose::Remove(id), out);
            }
            (Step::Listing, Ok(DiskDone::Listing(files))) => {
                let left = files.len().min(UNLINKS_MAX);
                row.step = Step::Unlinking {
                    left,
                    failed: false,
                };
                for (name, _) in files.into_iter().take(UNLINKS_MAX) {
                    let file = format!("{dir}/{name}").into();
                    self.disk(DiskRequest::Unlink { file }, Purpose::Remove(id), out);
                }
            }
            (Step::Unlinking { left, failed }, result) => {
                *left -= 1;
                *failed |= result.is_err();
                match (*left, *failed) {
                    (0, true) => self.removal_failed(now, id, out),
                    // What was beyond the limit, or came since, shows when it is looked at again.
                    (0, false) => self.list_folder(id, out),
                    _ => {}
                }
            }
            (Step::Removing, Ok(_)) => {
                row.step = Step::Removed;
                let dropping = &mut self.journal.dropping;
                dropping.active -= 1;
                dropping.removed.push(id);
            }
            (Step::Waiting | Step::SentOff | Step::Removed, _) => {}
            (Step::Listing | Step::Removing, _) => self.removal_failed(now, id, out),
        }
    }

    fn removal_failed(&mut self, now: Now, id: PartitionId, out: &mut Effects) {
        self.journal.dropping.active -= 1;
        self.removal_again(now, id, out);
    }

    fn removal_again(&mut self, now: Now, id: PartitionId, out: &mut Effects) {
        if let Some(row) = self.journal.dropping.rows.get_mut(&id) {
            row.step = Step::Waiting;
            let dir = row.dir.as_deref().unwrap_or_default().to_string();
            if !std::mem::replace(&mut row.told, true) {
                out.notes.push(Note::CannotRemove { dir });
            }
        }
        self.removal_waits(now, id);
    }

    /// The folders are durably gone, and with that the last trace of their partitions may go.
    pub(super) fn removed_synced(
        &mut self,
        now: Now,
        removed: Vec<PartitionId>,
        result: DiskResult,
        out: &mut Effects,
    ) {
        self.journal.dropping.syncing = false;
        for id in removed {
            match result {
                Ok(_) => drop(self.journal.dropping.rows.remove(&id)),
                Err(_) => self.removal_again(now, id, out),
            }
        }
        // There is room for others.
        self.tell_applied(out);
    }
}
