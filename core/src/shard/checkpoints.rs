//! Checkpoints, which free the ring: tails of the oldest partitions written behind, into their
//! segments, and manifests and snapshots carried forward (design.md section 3).

use super::journaling::{Mark, RETRY_AFTER_MS};
use super::{Purpose, Shard, Stage};
use crate::contract::{Effects, Note};
use crate::disk::{DiskError, DiskRequest, DiskResult};
use crate::ids::PartitionId;
use crate::partition::{Job, Looked, Replica, PRODUCERS_MAX, SEGMENT_BYTES};
use crate::time::Now;

impl Shard {
    /// Free the ring: carry manifests forward, write the oldest partitions behind.
    pub(super) fn checkpoint(&mut self, now: Now, out: &mut Effects) {
        if self.stage != Stage::Ready {
            return;
        }
        self.sync_written(out);
        self.try_failing(now, out);
        let waited_for = self.is_stalled();
        let journal = &self.journal;
        if !journal.is_pressed() && !waited_for && !journal.disk_full {
            return self.owed_manifests(now, out);
        }
        self.grow(now, 0, out);
        let journal = &self.journal;
        let growing = journal.growing && !waited_for;
        if growing && journal.used() * 8 < journal.ring.capacity * 5 {
            return self.owed_manifests(now, out);
        }
        let mut oldest: Vec<(u64, PartitionId)> = self
            .replicas
            .values()
            .map(|replica| (replica.oldest_seq(), replica.id))
            .filter(|(seq, _)| *seq > 0)
            .collect();
        oldest.sort();
        let ledger = self
            .ledger
            .as_ref()
            .map_or(u64::MAX, |ledger| ledger.oldest_seq);
        let oldest_of_all = self.move_tail();
        // Only the older half is moved on, and the next half once that is free: moving more would
        // fill the ring with manifests while one partition cannot be written.
        let journal = &mut self.journal;
        if journal.tail >= journal.horizon {
            let live = &journal.ring.live;
            journal.horizon = live.get(live.len() / 2).map_or(0, |block| block.seq);
            self.bound_manifests(out);
        }
        let horizon = self.journal.horizon;
        if ledger < horizon {
            self.stage_snapshot();
        }
        self.carry_drops(horizon, oldest_of_all);
        for (seq, id) in oldest {
            let holds_the_tail = seq == oldest_of_all;
            let enough = self.journal.jobs >= self.journal.jobs_max() && !holds_the_tail;
            if seq >= horizon || enough {
                break;
            }
            self.checkpoint_one(now, id, holds_the_tail, out);
        }
        if self.journal.disk_full {
            self.try_disk(now, out);
        }
        self.owed_manifests(now, out);
    }

    /// All partitions' manifests stand in the ring: their lists of segments take a sixteenth of it at
    /// most, their producers an eighth, or nothing could be freed any more. Beyond that segments grow
    /// instead of rolling, and fewer producers are remembered, where there are most of them.
    pub(super) fn bound_manifests(&mut self, out: &mut Effects) {
        let most = self.config.listed_bytes_max();
        let replicas = || self.replicas.values();
        let listed: u64 = replicas().map(Replica::manifest_bytes).sum();
        let tables = |max: usize| -> u64 {
            let each = replicas().map(|replica| replica.producers.bytes(max));
            each.sum()
        };
        let mut max = PRODUCERS_MAX;
        while max > 1 && tables(max) > self.config.batch_bytes_max() {
            max /= 2;
        }
        let left = most.saturating_sub(listed) / SEGMENT_BYTES;
        self.journal.rolls_left = left;
        if !std::mem::replace(&mut self.journal.segments_grow, left == 0) && left == 0 {
            out.notes.push(Note::SegmentsGrow);
        }
        for replica in self.replicas.values_mut() {
            replica.rolls = left > 0;
            replica.producers.keep(max);
        }
    }

    /// Partitions that could not be written behind are tried again, whether or not the ring needs it: what
    /// they hold is bounded meanwhile, and batches beyond that are refused.
    fn try_failing(&mut self, now: Now, out: &mut Effects) {
        for id in self.journal.failing.clone() {
            let Some(replica) = self.replicas.get_mut(&id) else {
                self.journal.failing.remove(&id);
                continue;
            };
            if replica.tail.len() == replica.passed() && replica.listed {
                self.journal.failing.remove(&id);
            } else if replica.is_idle() && self.may_start_job(now) {
                self.start_job(now, id, out);
            }
        }
    }

    /// The disk was full: find out whether it still is, though nothing has to be written behind.
    fn try_disk(&mut self, now: Now, out: &mut Effects) {
        let journal = &self.journal;
        if journal.jobs > 0 || journal.growing || now.mono < journal.no_jobs_until {
            return;
        }
        let waiting = |replica: &&Replica| !replica.tail.is_empty() && !replica.manifest_pending;
        match self
            .replicas
            .values()
            .find(waiting)
            .map(|replica| replica.id)
        {
            Some(id) => self.start_job(now, id, out),
            None => self.set_disk_full(false, out),
        }
    }

    fn checkpoint_one(
        &mut self,
        now: Now,
        id: PartitionId,
        holds_the_tail: bool,
        out: &mut Effects,
    ) {
        let Some(replica) = self.replicas.get_mut(&id).filter(|it| it.is_idle()) else {
            return;
        };
        if replica.tail.len() == replica.passed() {
            if self.must_look_first(id) {
                return self.look_for_strays(now, id, out);
            }
            // In a nearly full ring nothing goes out until whatever holds its oldest block is staged.
            if holds_the_tail || !self.journal.is_crowded() {
                self.stage_manifest(id, None);
            }
            return;
        }
        // Whether files can be written again shows only by trying.
        let failing = self.journal.failing.contains(&id);
        match self.may_start_job(now) {
            true => self.start_job(now, id, out),
            false if failing => self.carry(id, out),
            false => {}
        }
    }

    pub(super) fn may_start_job(&self, now: Now) -> bool {
        let journal = &self.journal;
        now.mono >= journal.no_jobs_until && journal.jobs < journal.jobs_max()
    }

    /// Begin to write a partition's durable tail behind.
    pub(super) fn start_job(&mut self, now: Now, id: PartitionId, out: &mut Effects) {
        if !self.journal.written.is_empty() {
            // The next round begins once this one is being synced.
            return;
        }
        // While its folder is looked through a second look would lose count of the first, and files that a
        // staged manifest drops must not be begun anew: they are unlinked once it is durable.
        let idle = |replica: &&mut Replica| replica.is_idle();
        let Some(replica) = self.replicas.get_mut(&id).filter(idle) else {
            return;
        };
        if !replica.listed {
            return self.look_for_strays(now, id, out);
        }
        let mut rolled = 0;
        let ring = &self.journal.ring;
        let written = |seq: u64| ring.written_ms(seq).unwrap_or(now.wall_ms);
        let left = self.journal.rolls_left;
        let requests = replica.begin_write_behind(&written, left, &mut rolled);
        if requests.is_empty() {
            return;
        }
        self.journal.jobs += 1;
        self.journal.rolls_left = left.saturating_sub(rolled);
        (0..rolled).for_each(|_| out.notes.push(Note::SegmentRolled));
        let number = replica.job_number;
        for request in requests {
            self.disk(request, Purpose::Job(id, number), out);
        }
    }

    /// No manifest says that its tail is gone before its folder is looked through, unless that fails: then
    /// the ring must not wait for it, and what is found later is set aside, copy or not.
    fn must_look_first(&self, id: PartitionId) -> bool {
        let replica = self.replicas.get(&id);
        let open = replica.is_some_and(|it| !it.listed && !it.tail.is_empty());
        open && !self.journal.failing.contains(&id)
    }

    /// This partition's folder may hold files of segments that no manifest lists.
    fn look_for_strays(&mut self, now: Now, id: PartitionId, out: &mut Effects) {
        if !self.may_start_job(now) {
            return;
        }
        if let Some(replica) = self.replicas.get_mut(&id) {
            self.journal.jobs += 1;
            let request = replica.begin_look();
            let purpose = Purpose::Strays(id, replica.job_number);
            self.disk(request, purpose, out);
        }
    }

    /// An operation of a look ended.
    pub(super) fn look_step(
        &mut self,
        now: Now,
        job: (PartitionId, u64),
        result: DiskResult,
        out: &mut Effects,
    ) {
        let Some(replica) = self.working(job) else {
            return;
        };
        match replica.look_on(result) {
            Looked::Ask(request) => self.disk(request, Purpose::Strays(job.0, job.1), out),
            Looked::Over(aside) => {
                let (owed, dir) = (replica.manifest_owed, replica.dir.clone());
                self.journal.jobs -= 1;
                if aside.files > 0 {
                    out.notes.push(Note::SetAside { dir, aside });
                }
                if owed {
                    self.owed.insert(job.0);
                } else {
                    self.start_job(now, job.0, out);
                }
            }
            Looked::Wrong(done) => self.wrong_kind(&done, out),
            Looked::Failed(error) => self.cannot_write(now, job.0, error, out),
        }
    }

    /// The replica that this job is at work for, if it still is.
    fn working(&mut self, (id, number): (PartitionId, u64)) -> Option<&mut Replica> {
        let replica = self.replicas.get_mut(&id);
        replica.filter(|it| it.job_number == number && it.job.is_some())
    }

    /// A write-behind failed: its batches stay in the journal, and it is tried again.
    fn cannot_write(&mut self, now: Now, id: PartitionId, error: DiskError, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        if self.config.knobs.has(113) {
            replica.job = None;
        } else {
            replica.job_failed();
        }
        self.journal.jobs -= 1;
        self.journal.no_jobs_until = now.mono.plus_millis(RETRY_AFTER_MS);
        // What was begun takes room that is wanted elsewhere, and nothing else may be written here for long.
        replica.manifest_owed |= error == DiskError::NoSpace && !replica.doomed.is_empty();
        if replica.manifest_owed {
            self.owed.insert(id);
        }
        match error {
            DiskError::NoSpace => self.set_disk_full(true, out),
            _ if self.journal.failing.insert(id) => {
                let dir = replica.dir.clone();
                out.notes.push(Note::CannotWrite { dir });
            }
            _ => {}
        }
    }

    /// An operation of a write-behind ended.
    pub(super) fn job_step(
        &mut self,
        now: Now,
        (id, number): (PartitionId, u64),
        result: DiskResult,
        out: &mut Effects,
    ) {
        let knobs = self.config.knobs;
        let Some(replica) = self.working((id, number)) else {
            return;
        };
        match result {
            Err(error) if !knobs.ignore_file_errors => {
                return self.cannot_write(now, id, error, out);
            }
            _ => {}
        }
        replica.advance_job(&knobs);
        match replica.job {
            Some(Job::Manifest { end }) => {
                self.journal.failing.remove(&id);
                self.set_disk_full(false, out);
                self.stage_manifest(id, Some(end));
            }
            Some(Job::Written { .. }) => self.journal.written.push(id),
            _ => {}
        }
    }

    /// Once every job of the round is written, one operation syncs what all of them wrote.
    fn sync_written(&mut self, out: &mut Effects) {
        let writing = |replica: &Replica| matches!(replica.job, Some(Job::Writing { .. }));
        if self.journal.written.is_empty() || self.replicas.values().any(writing) {
            return;
        }
        let (mut files, mut dirs, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        for id in std::mem::take(&mut self.journal.written) {
            let Some(replica) = self.replicas.get_mut(&id) else {
                continue;
            };
            let Some((written, dir)) = replica.begin_sync() else {
                continue;
            };
            files.extend(written);
            dirs.extend(dir.filter(|_| !self.config.knobs.no_folder_sync));
            jobs.push((id, replica.job_number));
        }
        if !jobs.is_empty() {
            let request = DiskRequest::SyncMany { files, dirs };
            self.disk(request, Purpose::SyncJobs(jobs), out);
        }
    }

    fn stage_manifest(&mut self, id: PartitionId, job_end: Option<i64>) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        replica.manifest_owed = false;
        replica.manifest_pending = true;
        let end = job_end.unwrap_or_else(|| replica.covered_end());
        let frame = replica.manifest_frame(end, self.config.listed_bytes_max());
        let end = end + i64::from(self.config.knobs.has(105) && job_end.is_some());
        let mark = Mark::Manifest {
            id,
            end,
            job: job_end.is_some(),
            dropped: replica.doomed.clone(),
        };
        self.journal.stage([frame], mark);
    }

    /// Manifests that only drop segments or note a new log start.
    fn owed_manifests(&mut self, now: Now, out: &mut Effects) {
        let owed: Vec<PartitionId> = std::mem::take(&mut self.owed).into_iter().collect();
        for id in owed {
            // Nearly full, the ring is for what frees it: a write-behind's manifest says the same and
            // does. Each manifest staged leaves less room for the next.
            let roomy = self.journal.has_room_for_admin();
            match self.replicas.get(&id) {
                Some(replica) if !replica.is_idle() => {
                    self.owed.insert(id);
                }
                Some(replica) if replica.manifest_owed && self.must_look_first(id) => {
                    self.owed.insert(id);
                    self.look_for_strays(now, id, out);
                }
                Some(replica) if replica.manifest_owed && !roomy && !replica.would_free() => {
                    self.owed.insert(id);
                }
                Some(replica) if replica.manifest_owed => self.stage_manifest(id, None),
                _ => {}
            }
        }
    }
}
