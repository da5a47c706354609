//! Writing behind: durable batches go from memory into segment files, the files are synced, and a
//! manifest frame then frees their journal blocks.

use bytes::{Bytes, BytesMut};

use super::strays::Look;
use super::{Replica, Segment};
use crate::contract::Knobs;
use crate::disk::{DiskRequest, Path};
use crate::log::rows::{Owner, ROW_LEN};

/// How far a write-behind is.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// The folder is looked through for what no manifest lists, before anything is written there.
    Looking(Look),
    /// Data and rows are being written.
    Writing {
        /// Operations still out.
        pending: usize,
        /// Offset after the last batch written.
        end: i64,
        /// Files to sync, and whether their folder has a new entry.
        files: Vec<Path>,
        /// A file was created.
        created: bool,
    },
    /// All is written; files and folder wait to be synced together with those of other partitions.
    Written {
        /// As before.
        end: i64,
        /// As before.
        files: Vec<Path>,
        /// As before.
        created: bool,
    },
    /// Files and folder are being synced.
    Syncing {
        /// As before.
        end: i64,
    },
    /// The manifest is staged or in flight.
    Manifest {
        /// As before.
        end: i64,
    },
}

impl Replica {
    /// Begin writing every durable tail batch behind. Returns the operations; none if there is
    /// nothing to do, or if a manifest must first take out what the log start has passed. Segments roll
    /// by size and age here, as if each batch had been written when it was appended: `written` says
    /// when that was, by the block it is in. No more than `most` are begun beside the first.
    pub fn begin_write_behind(
        &mut self,
        written: &dyn Fn(u64) -> i64,
        most: u64,
        rolled: &mut u64,
    ) -> Vec<DiskRequest> {
        if self.job.is_some()
            || self.passed() > 0
            || self
                .tail
                .front()
                .is_none_or(|b| b.row.next > self.durable_end)
        {
            return Vec::new();
        }
        let durable = self.durable_end;
        self.job_number += 1;
        let mut requests = Vec::new();
        let mut files = Vec::new();
        let mut created = false;
        let mut pieces: (Vec<Bytes>, BytesMut, u64, u64) = Default::default();
        let (mut end, mut known) = (0, (u64::MAX, 0));
        let owner = Owner::of(self.cluster, self.id);
        let mut batches = std::mem::take(&mut self.tail);
        for batch in batches
            .iter_mut()
            .take_while(|batch| batch.row.next <= durable)
        {
            // Batches of one block follow each other.
            if known.0 != batch.seq {
                known = (batch.seq, written(batch.seq));
            }
            let at_ms = known.1;
            self.rolls &= *rolled < most;
            if self.must_roll(batch.row.size, at_ms) {
                self.finish_pieces(&mut requests, &mut files, &mut pieces);
                *rolled += u64::from(!self.segments.is_empty());
                self.start_segment(batch.row.base, at_ms, &mut requests);
                created = true;
            }
            let Some(segment) = self.segments.last_mut() else {
                break;
            };
            if pieces.0.is_empty() {
                (pieces.2, pieces.3) = (segment.size, segment.row_count);
            }
            batch.row.position = segment.size;
            batch.row.encode(owner, &mut pieces.1);
            pieces.0.extend(batch.pieces.iter().cloned());
            segment.size += u64::from(batch.row.size);
            segment.row_count += 1;
            segment.end = batch.row.next;
            segment.last_ms = at_ms;
            segment.max_timestamp = segment.max_timestamp.max(batch.row.max_timestamp);
            if let Some(rows) = &mut segment.rows {
                rows.push(batch.row);
            }
            end = batch.row.next;
        }
        self.tail = batches;
        self.finish_pieces(&mut requests, &mut files, &mut pieces);
        self.job = Some(Job::Writing {
            pending: requests.len(),
            end,
            files,
            created,
        });
        requests
    }

    /// A batch of this size, appended at this wall time, begins a new segment.
    pub(super) fn must_roll(&self, size: u32, at_ms: i64) -> bool {
        let Some(segment) = self.segments.last() else {
            return true;
        };
        let full = segment.size + u64::from(size) > self.config.segment_bytes as u64;
        let old = at_ms.saturating_sub(segment.begun_ms) >= self.config.segment_ms;
        self.roll_next || (self.rolls && segment.size > 0 && (full || old))
    }

    fn start_segment(&mut self, base: i64, at_ms: i64, requests: &mut Vec<DiskRequest>) {
        // A write-behind that failed may have left a file of this name. What was there before this life is
        // gone or has another name since the folder was looked through.
        requests.push(DiskRequest::Unlink {
            file: self.segment_path(base),
        });
        requests.push(DiskRequest::Unlink {
            file: self.rows_path(base),
        });
        // The name is in use again: an older file of it is unlinked now, not later.
        self.doomed.retain(|dropped| *dropped != base);
        self.gone.retain(|dropped| *dropped != base);
        self.roll_next = false;
        self.segments.push(Segment {
            base,
            end: base,
            size: 0,
            row_count: 0,
            max_timestamp: -1,
            begun_ms: at_ms,
            last_ms: at_ms,
            rows: Some(Vec::new()),
        });
    }

    fn finish_pieces(
        &self,
        requests: &mut Vec<DiskRequest>,
        files: &mut Vec<Path>,
        pieces: &mut (Vec<Bytes>, BytesMut, u64, u64),
    ) {
        let Some(segment) = self.segments.last().filter(|_| !pieces.0.is_empty()) else {
            return;
        };
        let (data, rows, at, row) = std::mem::take(pieces);
        let (file, side) = (
            self.segment_path(segment.base),
            self.rows_path(segment.base),
        );
        files.extend([file.clone(), side.clone()]);
        requests.push(DiskRequest::Write {
            file,
            offset: at,
            pieces: data,
            sync: false,
        });
        let offset = row * ROW_LEN as u64;
        requests.push(DiskRequest::Write {
            file: side,
            offset,
            pieces: vec![rows.freeze()],
            sync: false,
        });
    }

    /// An operation of the job ended well. The caller has files synced when the job stands at
    /// [`Job::Written`], and stages a manifest at [`Job::Manifest`].
    pub fn advance_job(&mut self, knobs: &Knobs) {
        self.job = match self.job.take() {
            Some(Job::Writing {
                pending: 1, end, ..
            }) if knobs.manifest_before_sync => Some(Job::Manifest { end }),
            Some(Job::Writing {
                pending: 1,
                end,
                files,
                created,
            }) => Some(Job::Written {
                end,
                files,
                created,
            }),
            Some(Job::Writing {
                pending,
                end,
                files,
                created,
            }) => Some(Job::Writing {
                pending: pending - 1,
                end,
                files,
                created,
            }),
            Some(Job::Syncing { end }) => Some(Job::Manifest { end }),
            other => other,
        };
    }

    /// What a written job needs synced: its files, and its folder if that has a new entry.
    pub fn begin_sync(&mut self) -> Option<(Vec<Path>, Option<Path>)> {
        match self.job.take() {
            Some(Job::Written {
                end,
                files,
                created,
            }) => {
                self.job = Some(Job::Syncing { end });
                Some((files, created.then(|| self.dir.as_str().into())))
            }
            other => {
                self.job = other;
                None
            }
        }
    }

    /// A manifest is durable in journal block `seq`: the batches below `end` leave the tail, and the
    /// files of the segments that were `dropped` when it was staged may go. `job` if it completes a
    /// write-behind.
    pub fn manifest_durable(&mut self, end: i64, seq: u64, dropped: &[i64], job: bool) {
        if job {
            self.job = None;
        }
        self.manifest_seq = self.manifest_seq.max(seq);
        while self.tail.front().is_some_and(|batch| batch.row.next <= end) {
            if let Some(batch) = self.tail.pop_front() {
                self.tail_bytes -= u64::from(batch.row.size);
            }
        }
        self.forget_sealed_rows();
        let (gone, doomed) = std::mem::take(&mut self.doomed)
            .into_iter()
            .partition(|base| dropped.contains(base));
        self.doomed = doomed;
        let gone: Vec<i64> = gone;
        self.gone.extend(gone);
        // A write-behind that was under way when the log start passed its segment held that back.
        if self.job.is_none() {
            self.drop_passed();
        }
    }

    /// A write or sync of the job failed. The files it touched are not trusted beyond what the last
    /// manifest says; the batches are still in the journal and go to a new segment next time.
    pub fn job_failed(&mut self) {
        self.job = None;
        self.forget_begun();
        // The log start may have passed the segment that the job kept: a manifest that lists it would
        // leave a gap before the tail.
        self.drop_passed();
    }

    fn forget_begun(&mut self) {
        let Some(first) = self.tail.front().map(|batch| batch.row.base) else {
            return;
        };
        self.roll_next = true;
        // Files that were begun go, unless the next try begins them anew.
        let begun = self.segments.iter().map(|segment| segment.base);
        self.doomed.extend(begun.filter(|base| *base >= first));
        self.segments.retain(|segment| segment.base < first);
        if let Some(segment) = self
            .segments
            .last_mut()
            .filter(|segment| segment.end > first)
        {
            let rows = segment.rows.take().unwrap_or_default();
            let keep: Vec<_> = rows.into_iter().filter(|row| row.base < first).collect();
            segment.end = first;
            segment.size = keep
                .last()
                .map_or(0, |row| row.position + u64::from(row.size));
            segment.row_count = keep.len() as u64;
            segment.rows = Some(keep);
        }
    }
}
