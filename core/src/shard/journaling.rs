//! The shard's side of its journal: frames staged by a turn, one block in flight, and what its
//! completion releases. What frees the ring is in `checkpoints.rs`.
//!
//! The shape of design.md section 3 in the real broker (14f50fe, 2026-11-27; two cores, two shards, ext4
//! on a shared virtual disk; a Python client that sends one 1 KiB batch per partition and request, 8
//! requests in flight; `.ci/power/flushes.py BROKER --table`). Last column: the same day with a sync per
//! segment file at checkpoints, beside another job:
//!
//! | partitions | batches/s | MB/s | batches per device flush | batches/s, a sync per file |
//! |---|---|---|---|---|
//! | 1 | 11,491 | 11.8 | 3.6 | 6,825 |
//! | 100 | 230,277 | 236 | 138 | 128,098 |
//! | 5,000 | 142,015 | 145 | 2,381 | 39,360 (14 per flush) |
//!
//! 200 requests of one batch for each of 5,000 partitions, one in flight, on one shard: 273 flushes,
//! checkpoints included; of one partition: 200 (the same script without `--table`, in `.ci/run`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::dropping::Dropping;
use super::ledger::Ledger;
use super::{Purpose, Shard, Stage};
use crate::contract::{Effects, Halt, Note};
use crate::disk::{DiskDone, DiskError, DiskRequest, DiskResult, Path};
use crate::ids::{PartitionId, ShardId};
use crate::log::journal::{pages_for, Ring, BLOCK_HEADER, PAGE};
use crate::partition::Replica;
use crate::time::{Instant, Now};

/// An idle shard attests its last block after this long.
const ATTEST_AFTER_MS: u64 = 20;
/// Write-behind jobs at a time: so many, and one more for so many pages of the ring, as all their
/// manifests must fit into its last eighth.
const JOBS_MIN: usize = 32;
const PAGES_PER_JOB: u64 = 64;
/// A block holds at most this many bytes of frames, and at most a part of the ring, so that a sync
/// never grows without bound; but always one frame.
const BLOCK_BYTES_MAX: usize = 8 << 20;
const BLOCKS_PER_RING: u64 = 16;
/// After a failed write-behind or growth the next try waits this long.
pub(super) const RETRY_AFTER_MS: u64 = 500;
/// What a journal's name ends with while it is being made.
pub(super) const DRAFT: &str = ".new";

/// What a staged frame changes once its block is durable.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    /// Batches up to this offset.
    Batches(PartitionId, i64),
    /// The partition's first frame.
    Created(PartitionId),
    /// A manifest.
    Manifest {
        /// Which partition's.
        id: PartitionId,
        /// Batches below it are in segments, or below the log start.
        end: i64,
        /// It completes a write-behind.
        job: bool,
        /// Segments that it does not list any more.
        dropped: Vec<i64>,
    },
    /// A new log start, and the ask that waits for it.
    LogStart(PartitionId, i64, Option<(u64, u32)>),
    /// The partition's tail once more, and a manifest.
    Carried {
        /// Which partition's.
        id: PartitionId,
        /// From this offset on.
        base: i64,
        /// Up to this one.
        end: i64,
        /// Segments that the manifest does not list any more.
        dropped: Vec<i64>,
    },
    /// The partition came from another shard.
    Arrived(PartitionId),
    /// The partition went to another shard.
    MovedOut(PartitionId),
    /// The partition is gone; its folder may go.
    Dropped(PartitionId),
    /// The journal's first block: it exists from here on.
    Founded,
    /// Ledger records below this offset.
    Ledger(i64),
    /// A ledger snapshot.
    Snapshot,
}

impl Mark {
    /// The partition whose frames these are, if they are one's.
    fn partition(&self) -> Option<PartitionId> {
        match self {
            Mark::Batches(id, _)
            | Mark::Created(id)
            | Mark::Manifest { id, .. }
            | Mark::LogStart(id, ..)
            | Mark::Carried { id, .. }
            | Mark::Arrived(id)
            | Mark::MovedOut(id)
            | Mark::Dropped(id) => Some(*id),
            Mark::Founded | Mark::Ledger(_) | Mark::Snapshot => None,
        }
    }
}

/// A block on its way to the disk.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    seq: u64,
    tail: u64,
    synced: bool,
    marks: Vec<Mark>,
}

/// The journal as the shard drives it.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub path: Path,
    pub ring: Ring,
    pub staged: Vec<Bytes>,
    pub staged_bytes: usize,
    /// What each staged frame changes, with its pieces and bytes.
    pub marks: VecDeque<(Mark, usize, usize)>,
    pub in_flight: Option<InFlight>,
    pub growing: bool,
    pub no_growth_until: Instant,
    pub no_jobs_until: Instant,
    /// Partitions of which the last write-behind failed, and not for want of space.
    pub failing: BTreeSet<PartitionId>,
    pub tail: u64,
    /// Blocks before this one are being freed.
    pub horizon: u64,
    pub attested: u64,
    pub attest_at: Option<Instant>,
    /// Written and acknowledged, not synced: of topics that opted out.
    pub unsynced: BTreeMap<PartitionId, i64>,
    pub dropping: Dropping,
    /// When that must be synced (`flush.ms`).
    pub flush_at: Option<Instant>,
    pub jobs: usize,
    /// Jobs whose files wait to be synced together.
    pub written: Vec<PartitionId>,
    pub disk_full: bool,
    /// So many segments may yet be begun: the manifests have room for no more.
    pub rolls_left: u64,
    /// There were none when that was last looked at.
    pub segments_grow: bool,
}

impl Journal {
    pub fn new(path: Path, ring: Ring) -> Journal {
        let tail = ring.live.front().map_or(1, |block| block.seq);
        Journal {
            path,
            ring,
            staged: Vec::new(),
            staged_bytes: 0,
            marks: VecDeque::new(),
            in_flight: None,
            growing: false,
            no_growth_until: Instant(0),
            no_jobs_until: Instant(0),
            failing: BTreeSet::new(),
            tail,
            horizon: 0,
            attested: 0,
            attest_at: None,
            unsynced: BTreeMap::new(),
            dropping: Dropping::default(),
            flush_at: None,
            jobs: 0,
            written: Vec::new(),
            disk_full: false,
            rolls_left: u64::MAX,
            segments_grow: false,
        }
    }

    pub fn stage(&mut self, pieces: impl IntoIterator<Item = Bytes>, mark: Mark) {
        let (before, size) = (self.staged.len(), self.staged_bytes);
        for piece in pieces {
            self.staged_bytes += piece.len();
            self.staged.push(piece);
        }
        let (pieces, bytes) = (self.staged.len() - before, self.staged_bytes - size);
        self.marks.push_back((mark, pieces, bytes));
    }

    /// Manifests of these partitions go first: what frees the ring's oldest block must not stand behind frames
    /// that take its last pages. A manifest speaks of all that its partition has appended, so it never goes
    /// before a frame of its own.
    fn bring_first(&mut self, holds: impl Fn(PartitionId) -> bool) {
        let mut before = BTreeSet::new();
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        let mut staged = std::mem::take(&mut self.staged).into_iter();
        for (mark, pieces, bytes) in std::mem::take(&mut self.marks) {
            let frames: Vec<Bytes> = staged.by_ref().take(pieces).collect();
            let of = mark.partition();
            let goes =
                matches!(mark, Mark::Manifest { id, .. } if holds(id) && !before.contains(&id));
            before.extend(of.filter(|_| !goes));
            let list = if goes { &mut first } else { &mut rest };
            list.push(((mark, pieces, bytes), frames));
        }
        for (mark, frames) in first.into_iter().chain(rest) {
            self.marks.push_back(mark);
            self.staged.extend(frames);
        }
    }

    /// The staged frames, from the first on, that fit into a block of `limit` bytes.
    pub(super) fn take_staged(&mut self, limit: usize) -> (Vec<Bytes>, Vec<Mark>) {
        let (mut count, mut size, mut marks) = (0, 0, Vec::new());
        while let Some((_, pieces, bytes)) = self.marks.front() {
            if size + bytes > limit {
                break;
            }
            count += pieces;
            size += bytes;
            marks.extend(self.marks.pop_front().map(|(mark, ..)| mark));
        }
        self.staged_bytes -= size;
        let rest = self.staged.split_off(count);
        (std::mem::replace(&mut self.staged, rest), marks)
    }

    pub(super) fn block_bytes_max(&self) -> usize {
        BLOCK_BYTES_MAX.min((self.ring.capacity * PAGE / BLOCKS_PER_RING) as usize)
    }

    /// Bytes of frames that the next block is to hold.
    fn next_block_bytes(&self) -> usize {
        let first = self.marks.front().map_or(0, |(_, _, bytes)| *bytes);
        self.staged_bytes.min(self.block_bytes_max()).max(first)
    }

    /// Pages of the next block where few are left, of the `whole` that is staged: at the ring's head
    /// while the first frame fits there, so that none are lost before its end; and not the very last
    /// page, which is for telling what others have freed, unless this block tells so itself.
    fn last_pages(&self, whole: u64) -> u64 {
        let (at_head, at_start) = self.ring.runs();
        let first = self.marks.front().map_or(0, |(_, _, bytes)| *bytes);
        let kept = u64::from(!self.owes_tail());
        let head = at_head.saturating_sub(kept.saturating_sub(at_start));
        match pages_for(first as u64) <= head {
            true => whole.min(head),
            false => whole.min(at_start.saturating_sub(kept)),
        }
    }

    /// Room for client batches now. A reserve is kept back for manifests, starts and metadata:
    /// without it a full ring could never be freed. Room that the ring may yet grow by does not count.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        let pages = pages_for((self.staged_bytes + bytes) as u64);
        self.ring.leaves(pages, self.ring.capacity / 4)
    }

    /// Room for what an administrator asks for: it may use half of the reserve.
    pub fn has_room_for_admin(&self) -> bool {
        let pages = pages_for(self.staged_bytes as u64);
        self.ring.leaves(pages, self.ring.capacity / 8)
    }

    /// What is staged is on its way; more of it would only wait behind it.
    pub(super) fn is_crowded(&self) -> bool {
        self.staged_bytes > self.block_bytes_max() / 2
    }

    pub(super) fn jobs_max(&self) -> usize {
        JOBS_MIN + (self.ring.capacity / PAGES_PER_JOB) as usize
    }

    /// Pages that no block can take now. Those behind a ring's end that it grew by when it had wrapped
    /// already are among them: none is reached before the oldest block is free.
    pub(super) fn used(&self) -> u64 {
        let (at_head, at_start) = self.ring.runs();
        self.ring.capacity.saturating_sub(at_head + at_start)
    }

    /// More than half of the ring is in use: it is time to free or grow it.
    pub fn is_pressed(&self) -> bool {
        self.used() * 2 > self.ring.capacity
    }

    /// Blocks that hold nothing needed any more are not yet said to be free.
    fn owes_tail(&self) -> bool {
        let freed = self.ring.live.front();
        freed.is_some_and(|oldest| oldest.seq < self.tail)
    }
}

impl Shard {
    /// Send the staged frames as one block with one sync, unless one is in flight.
    pub(super) fn write_block(&mut self, now: Now, out: &mut Effects) {
        if self.journal.in_flight.is_some() || self.stage != Stage::Ready {
            return;
        }
        self.take_back_carries();
        let journal = &self.journal;
        let whole = pages_for(journal.next_block_bytes() as u64);
        let mut pages = whole.min(journal.ring.largest_block());
        let mut limit = ((pages * PAGE) as usize).saturating_sub(BLOCK_HEADER);
        let tight = !journal.ring.leaves(pages, journal.ring.capacity / 8);
        let oldest = if tight { self.move_tail() } else { u64::MAX };
        let journal = &self.journal;
        // With nothing to write, a block of its own tells that room is free: who waits needs it.
        let waited_for = self.is_stalled() || journal.is_pressed() || tight;
        let telling = (journal.owes_tail() && waited_for) || self.wants_flush(now);
        if journal.marks.is_empty() && !telling {
            return self.attest(now, out);
        }
        if tight {
            // The last pages are for blocks that free others, or tell which are free.
            pages = 0;
            if self.block_frees(oldest) {
                let replicas = &self.replicas;
                let holds = |id| {
                    replicas
                        .get(&id)
                        .is_some_and(|it| it.oldest_seq() == oldest)
                };
                self.journal.bring_first(holds);
                pages = self.journal.last_pages(whole);
            }
            limit = ((pages * PAGE) as usize).saturating_sub(BLOCK_HEADER);
            pages = pages.max(u64::from(telling));
        }
        let journal = &mut self.journal;
        if let Some(page) = journal.ring.room_for(pages).filter(|_| pages > 0) {
            let (frames, marks) = journal.take_staged(limit);
            if telling || !marks.is_empty() {
                if self.stopping.asked && marks.is_empty() {
                    self.journal.ring.loose = false;
                }
                let sync = self.must_sync(&marks) || telling;
                return self.put_block(now, page, frames, marks, sync, out);
            }
        }
        self.grow(now, whole, out);
    }

    /// The oldest block that somebody needs is the tail from now on, which every block tells. Returns
    /// its sequence, [`u64::MAX`] if none is needed.
    pub(super) fn move_tail(&mut self) -> u64 {
        let replicas = self.replicas.values().map(Replica::oldest_seq);
        let ledger = self.ledger.as_ref().map(|ledger| ledger.oldest_seq);
        let needed = replicas.chain(ledger).filter(|seq| *seq > 0);
        let dropping = self.journal.dropping.oldest();
        let needed = needed.chain(dropping.filter(|_| !self.config.knobs.has(101)));
        let oldest = needed.min().unwrap_or(u64::MAX);
        let journal = &mut self.journal;
        journal.tail = oldest.min(journal.ring.next_seq).max(journal.tail);
        oldest
    }

    /// The staged frames, once durable, let the oldest block go: whoever holds it has a manifest or
    /// a snapshot among them, and no write-behind that could add to them is still running.
    fn block_frees(&self, oldest: u64) -> bool {
        let waits = self.replicas.values().any(|replica| {
            (replica.is_writing() && !self.config.knobs.has(100))
                || (replica.oldest_seq() == oldest && !replica.manifest_pending)
        });
        let waits = waits || self.journal.dropping.holds(oldest);
        let snapshot = |ledger: &Ledger| ledger.oldest_seq != oldest || ledger.snapshot_staged;
        !waits && self.ledger.as_ref().is_none_or(snapshot)
    }

    fn put_block(
        &mut self,
        now: Now,
        page: u64,
        frames: Vec<Bytes>,
        marks: Vec<Mark>,
        sync: bool,
        out: &mut Effects,
    ) {
        let journal = &mut self.journal;
        let tail = journal.tail;
        journal.attested = journal.ring.durable_seq;
        let (seq, pieces) = journal.ring.next_block(page, frames, tail, now.wall_ms);
        let request = DiskRequest::Write {
            file: journal.path.clone(),
            offset: page * PAGE,
            pieces,
            sync,
        };
        for mark in &marks {
            self.note_block(mark, seq);
        }
        self.journal.in_flight = Some(InFlight {
            seq,
            tail,
            synced: sync,
            marks,
        });
        self.journal.attest_at = None;
        self.disk(request, Purpose::Block, out);
        if self.config.knobs.ack_before_sync {
            // M1: what waits for the sync is released by the write being asked for.
            let marks = self
                .journal
                .in_flight
                .as_ref()
                .map(|block| block.marks.clone());
            for mark in marks.unwrap_or_default() {
                if let Mark::Batches(id, end) = mark {
                    self.batches_durable(id, end, out);
                }
            }
        }
    }

    /// The frames of this mark are in block `seq` now.
    fn note_block(&mut self, mark: &Mark, seq: u64) {
        match mark {
            Mark::Batches(id, end) => {
                if let Some(replica) = self.replicas.get_mut(id) {
                    let staged = replica.tail.iter_mut().rev();
                    let staged = staged.skip_while(|batch| batch.row.next > *end);
                    let fresh = staged.take_while(|batch| batch.seq == 0);
                    fresh.for_each(|batch| batch.seq = seq);
                }
            }
            Mark::Created(id) | Mark::Arrived(id) => match self.replicas.get_mut(id) {
                Some(replica) => replica.manifest_seq = seq,
                None => self.note_dropping(*id, seq),
            },
            Mark::Carried { id, end, .. } => self.note_carried(*id, *end, seq),
            Mark::Ledger(_) => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.oldest_seq = ledger.oldest_seq.min(seq);
                }
            }
            Mark::Manifest { .. }
            | Mark::LogStart(..)
            | Mark::Dropped(..)
            | Mark::MovedOut(_)
            | Mark::Founded
            | Mark::Snapshot => {}
        }
    }

    fn attest(&mut self, now: Now, out: &mut Effects) {
        if self.journal.attested >= self.journal.ring.durable_seq || self.config.knobs.has(102) {
            return;
        }
        let at = *self
            .journal
            .attest_at
            .get_or_insert(now.mono.plus_millis(ATTEST_AFTER_MS));
        if now.mono < at && !self.stopping.asked {
            return;
        }
        // The reserve is for manifests, which free the ring, not for attestations.
        let roomy = self.journal.ring.largest_block() > self.journal.ring.capacity / 8;
        match self.journal.ring.room_for(1).filter(|_| roomy) {
            Some(page) => self.put_block(now, page, Vec::new(), Vec::new(), false, out),
            None => self.journal.attested = self.journal.ring.durable_seq,
        }
    }

    pub(super) fn grow(&mut self, now: Now, pages: u64, out: &mut Effects) {
        let journal = &mut self.journal;
        let max = self.config.journal_max_bytes / PAGE;
        let able =
            !journal.growing && journal.ring.can_grow() && now.mono >= journal.no_growth_until;
        if !able || journal.ring.capacity >= max {
            return;
        }
        let wanted = (journal.ring.capacity * 2)
            .max(journal.ring.head + pages + 1)
            .min(max);
        journal.growing = true;
        if self.config.knobs.has(110) {
            journal.ring.capacity = wanted;
        }
        let request = DiskRequest::Allocate {
            file: journal.path.clone(),
            len: wanted * PAGE,
        };
        self.disk(request, Purpose::Grow(wanted), out);
    }

    /// The growth ended; a full disk only means that the ring stays as it is.
    pub(super) fn grown(&mut self, now: Now, capacity: u64, result: DiskResult, out: &mut Effects) {
        self.journal.growing = false;
        match result {
            Ok(_) => {
                self.journal.ring.capacity = capacity;
                self.set_disk_full(false, out);
            }
            Err(DiskError::NoSpace) if !self.config.knobs.has(88) => {
                self.journal.no_growth_until = now.mono.plus_millis(RETRY_AFTER_MS);
                self.set_disk_full(true, out);
            }
            Err(error) => self.halt(
                format!("{}: growing failed: {error:?}", self.journal.path),
                out,
            ),
        }
    }

    pub(super) fn set_disk_full(&mut self, full: bool, out: &mut Effects) {
        if self.journal.disk_full != full {
            self.journal.disk_full = full;
            out.notes.push(if full {
                Note::DiskFull
            } else {
                Note::DiskFullOver
            });
        }
    }

    pub(super) fn halt(&mut self, reason: String, out: &mut Effects) {
        self.stage = Stage::Halted;
        out.halt = Some(Halt::Fatal(reason));
    }

    /// The block's write (and sync) ended. A failure is never retried: the node stops, and the next
    /// start reads what the disk really has (ATC'20, "fsyncgate").
    pub(super) fn block_done(&mut self, now: Now, result: DiskResult, out: &mut Effects) {
        let Some(mut block) = self.journal.in_flight.take() else {
            return;
        };
        if self.config.knobs.durable_mark_goes_back {
            // M10: completions are applied out of order, and the mark is set instead of raised.
            block.marks.reverse();
        }
        if let Err(error) = result {
            let knobs = self.config.knobs;
            let retried = knobs.trust_retried_sync && error == DiskError::Io;
            if !retried && !knobs.ignore_write_errors {
                return self.halt(
                    format!("{}: write failed: {error:?}", self.journal.path),
                    out,
                );
            }
        }
        if !block.synced && !self.config.knobs.has(111) {
            return self.written_unsynced(now, block.marks, out);
        }
        self.journal.ring.durable_seq = self.journal.ring.durable_seq.max(block.seq);
        if !self.config.knobs.has(104) {
            self.journal.ring.release(block.tail);
        }
        self.journal.attest_at = Some(now.mono.plus_millis(ATTEST_AFTER_MS));
        self.journal.flush_at = None;
        for (id, end) in std::mem::take(&mut self.journal.unsynced) {
            self.batches_durable(id, end, out);
        }
        for mark in block.marks {
            self.release_mark(mark, block.seq, out);
        }
    }

    fn release_mark(&mut self, mark: Mark, seq: u64, out: &mut Effects) {
        match mark {
            Mark::Batches(id, end) => self.batches_durable(id, end, out),
            Mark::Created(_) => {}
            Mark::Manifest {
                id,
                end,
                job,
                dropped,
            } => self.manifest_durable(id, (end, seq), &dropped, job),
            Mark::Carried {
                id, base, dropped, ..
            } => self.manifest_durable(id, (base, seq), &dropped, false),
            Mark::LogStart(id, offset, reply) => self.log_start_durable(id, offset, reply, out),
            Mark::Arrived(id) => self.arrived(id, out),
            Mark::MovedOut(id) => self.moved_out(id, seq),
            Mark::Dropped(id) => {
                self.drop_durable(id, seq);
                self.arrived(id, out);
            }
            Mark::Founded => self.tell_opened(false, out),
            Mark::Ledger(offset) => self.ledger_durable(offset, out),
            Mark::Snapshot => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.oldest_seq = seq;
                    ledger.snapshot_staged = false;
                }
            }
        }
    }

    fn manifest_durable(
        &mut self,
        id: PartitionId,
        (end, seq): (i64, u64),
        dropped: &[i64],
        job: bool,
    ) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        replica.manifest_pending = false;
        self.journal.jobs -= usize::from(job);
        replica.manifest_durable(end, seq, dropped, job);
        if replica.manifest_owed {
            self.owed.insert(id);
        }
        self.unlinking.go_again(id, dropped);
        self.wants_unlinking(id);
    }

    /// Sync what recovery read, before anything is promised on it: the file's name too, as the start
    /// that made it may have died before it did.
    pub(super) fn open_journal(&mut self, fresh: bool, out: &mut Effects) {
        self.stage = Stage::Opening { fresh };
        let (mut files, dirs) = (vec![self.journal.path.clone()], vec!["journal".into()]);
        files.retain(|_| !self.config.knobs.has(83));
        self.disk(DiskRequest::SyncMany { files, dirs }, Purpose::Open, out);
    }

    /// The journal is synced: recovery may promise.
    pub(super) fn journal_open(&mut self, result: DiskResult, out: &mut Effects) {
        let Stage::Opening { fresh } = self.stage else {
            return;
        };
        if let Err(error) = result {
            let reason = format!("{}: cannot be synced: {error:?}", self.journal.path);
            return self.halt(reason, out);
        }
        self.journal.ring.durable_seq = self.journal.ring.next_seq - 1;
        for replica in self.replicas.values_mut() {
            replica.durable_end = replica.log_end;
            replica.high_watermark = replica.log_end;
            // A manifest may say that the log starts among the batches that follow it, and the frame that
            // said so first may be gone: until a manifest takes them out, nothing is written behind.
            replica.knobs = self.config.knobs;
            replica.read_back();
            replica.drop_passed();
            if replica.manifest_owed {
                self.owed.insert(replica.id);
            }
        }
        let all: Vec<PartitionId> = self.replicas.keys().copied().collect();
        all.into_iter().for_each(|id| self.wants_unlinking(id));
        self.stage = Stage::Ready;
        self.tell_opened(fresh, out);
    }

    fn tell_opened(&mut self, fresh: bool, out: &mut Effects) {
        let holds = !self.replicas.is_empty();
        let message = super::NeighbourMessage::Opened { fresh, holds };
        self.tell(ShardId(0), message, out);
    }

    /// Set up a journal that was just made.
    pub(super) fn format_journal(&mut self, out: &mut Effects) {
        let ring = self.draw_u64();
        let pages = (self.config.journal_initial_bytes / PAGE).max(16);
        self.journal = Journal::new(self.journal.path.clone(), Ring::fresh(ring, pages));
        self.journal.ring.incarnation = self.draw_u64();
        let header = crate::log::journal::file_header(
            ring,
            self.config.cluster_id,
            self.config.directory_id,
            self.config.shard.0,
        );
        // Under its own name there is never half a journal: it is whole before it is called so.
        let file = self.draft();
        let len = pages * PAGE;
        let requests = [
            DiskRequest::Unlink { file: file.clone() },
            DiskRequest::Allocate {
                file: file.clone(),
                len,
            },
            DiskRequest::Write {
                file,
                offset: 0,
                pieces: vec![header.clone(), header],
                sync: true,
            },
        ];
        self.stage = Stage::Formatting { left: 5 };
        for request in requests {
            self.disk(request, Purpose::Format, out);
        }
    }

    /// The name of a journal that is being made.
    pub(super) fn draft(&self) -> Path {
        format!("{}{DRAFT}", self.journal.path).into()
    }

    /// Whether a completed operation carries a listing or data is the driver's promise.
    pub(super) fn wrong_kind(&mut self, done: &DiskDone, out: &mut Effects) {
        self.halt(
            format!("{}: the driver answered {done:?}", self.journal.path),
            out,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::journal::{BlockPlace, FIRST_PAGE};

    /// A journal of 64 pages whose needed blocks begin at a page, the next one to be written at another.
    fn journal(oldest: u64, head: u64) -> Journal {
        let mut ring = Ring::fresh(9, 64);
        ring.hold(BlockPlace {
            seq: 7,
            page: oldest,
            pages: 1,
            written_ms: 0,
        });
        ring.head = head;
        Journal::new("journal/shard-0.ring".into(), ring)
    }

    #[test]
    fn what_frees_goes_first_but_never_before_frames_of_its_own_partition() {
        let id = |index| PartitionId {
            topic: crate::ids::Uuid([7; 16]),
            index,
        };
        let manifest = |index| Mark::Manifest {
            id: id(index),
            end: 1,
            job: false,
            dropped: Vec::new(),
        };
        let mut journal = journal(9, 60);
        let piece = |byte: u8| Bytes::from(vec![byte; usize::from(byte)]);
        journal.stage([piece(1), piece(2)], Mark::Batches(id(1), 5));
        journal.stage([piece(3)], manifest(2));
        journal.stage([piece(4)], Mark::Batches(id(3), 5));
        journal.stage([piece(5)], manifest(3));
        journal.stage([piece(6)], manifest(4));
        let before = journal.staged_bytes;
        for _ in 0..2 {
            journal.bring_first(|of| of == id(3) || of == id(4));
            let staged: Vec<usize> = journal.staged.iter().map(Bytes::len).collect();
            assert_eq!(staged, [6, 1, 2, 3, 4, 5]);
            let marks = journal.marks.iter();
            let marks: Vec<_> = marks
                .map(|(mark, n, b)| (mark.partition(), *n, *b))
                .collect();
            let of = |index, pieces, bytes| (Some(id(index)), pieces, bytes);
            let expected = [
                of(4, 1, 6),
                of(1, 2, 3),
                of(2, 1, 3),
                of(3, 1, 4),
                of(3, 1, 5),
            ];
            assert_eq!(marks, expected);
        }
        assert_eq!(journal.staged_bytes, before);
    }

    #[test]
    fn pages_that_are_not_reached_before_the_oldest_block_is_free_count_as_used() {
        // The ring grew from 32 pages to 64 after it had wrapped.
        let wrapped = journal(9, 4);
        assert!(wrapped.ring.free_pages() > 32);
        assert_eq!(wrapped.used(), 60);
        assert!(wrapped.is_pressed());
        let straight = journal(4, 9);
        assert_eq!(straight.used(), 64 - 55 - (4 - FIRST_PAGE - 1));
        assert!(!straight.is_pressed());
    }

    #[test]
    fn the_very_last_page_tells_what_is_free_and_none_are_lost_at_the_end() {
        // The oldest block and the head, pages of the first frame and of all, and pages of the block if
        // it tells of freed ones, and if not.
        for (oldest, head, first, whole, telling, other) in [
            (9, 60, 1, 9, 4, 4),
            (9, 60, 4, 9, 4, 4),
            // The first frame fits at the start alone.
            (9, 60, 5, 9, 6, 5),
            (9, 60, 5, 5, 5, 5),
            (9, 60, 6, 9, 6, 5),
            // Only the head is left, or only the start.
            (3, 60, 1, 9, 4, 3),
            (3, 63, 1, 9, 1, 0),
            (9, 64, 1, 9, 6, 5),
            (4, 64, 1, 9, 1, 0),
            (9, 7, 1, 9, 1, 0),
            (FIRST_PAGE, 64, 1, 1, 0, 0),
        ] {
            let mut journal = journal(oldest, head);
            let bytes = (first * PAGE) as usize - BLOCK_HEADER;
            journal.stage([Bytes::from(vec![0; bytes])], Mark::Snapshot);
            let of = |journal: &Journal| journal.last_pages(whole);
            assert_eq!(of(&journal), other, "{oldest} {head} {first} {whole}");
            journal.tail = 8;
            assert_eq!(of(&journal), telling, "{oldest} {head} {first} {whole}");
        }
    }
}
