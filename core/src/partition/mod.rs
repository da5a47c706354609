//! One replica of a partition: its log as the journal and the segments hold it.
//!
//! High watermark, leader epoch and "durable" are three things. With one replica the high watermark
//! is the durable end; nothing else here assumes that.

mod append;
mod epochs;
mod manifest;
mod producers;
mod read;
mod retain;
mod strays;
mod write_behind;
mod youngest;

pub use append::{
    admit_checked, is_compressed, is_transactional, is_zstd, unfit_at_sight, Admitted, AppendError,
    Appended,
};
pub use manifest::SEGMENT_BYTES;
pub use producers::{Producers, Verdict, PRODUCERS_MAX, PRODUCER_WINDOW};
pub use read::{ColdRead, Found, Place};
pub use retain::Retention;
pub use strays::{Aside, Looked, SET_ASIDE};
pub use write_behind::Job;

use bytes::Bytes;
use std::collections::VecDeque;

use crate::contract::Knobs;
use crate::disk::Path;
use crate::ids::{PartitionId, Uuid};
use crate::log::rows::Row;
use crate::metadata::TopicConfig;

/// A batch that is in memory and in the journal, and not yet known to be in a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct TailBatch {
    /// Where it will stand and its seal; `position` is set when it is written behind.
    pub row: Row,
    /// Leader epoch.
    pub epoch: i32,
    /// Journal block that holds it; 0 while it is only staged.
    pub seq: u64,
    /// Whole batch in two pieces: patched head, untouched records.
    pub pieces: [Bytes; 2],
}

/// A segment file and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Base offset: the file's name.
    pub base: i64,
    /// Offset after the last batch written to it.
    pub end: i64,
    /// Bytes written to it.
    pub size: u64,
    /// Rows in its side file.
    pub row_count: u64,
    /// Largest timestamp, ms.
    pub max_timestamp: i64,
    /// Wall time when its first batch was appended, ms.
    pub begun_ms: i64,
    /// Wall time when its last batch was appended, ms. With `begun_ms` it bounds what a producer's
    /// clock can do to retention (KIP-937).
    pub last_ms: i64,
    /// Rows, when loaded.
    pub rows: Option<Vec<Row>>,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Which partition.
    pub id: PartitionId,
    /// Cluster, for seals.
    pub cluster: Uuid,
    /// Its folder below the data folder.
    pub dir: String,
    /// The topic's configs.
    pub config: TopicConfig,
    /// Epoch under which this broker leads.
    pub leader_epoch: i32,
    /// First offset kept.
    pub log_start: i64,
    /// Next offset to give out.
    pub log_end: i64,
    /// Everything below is durable here.
    pub durable_end: i64,
    /// Everything below may be seen by consumers.
    pub high_watermark: i64,
    /// Batches after the last checkpoint, oldest first.
    pub tail: VecDeque<TailBatch>,
    /// Bytes in `tail`.
    pub tail_bytes: u64,
    /// Segments, oldest first.
    pub segments: Vec<Segment>,
    /// (epoch, first offset), oldest first.
    pub epochs: Vec<(i32, i64)>,
    /// Idempotent producers.
    pub producers: Producers,
    /// Journal block that holds the newest manifest (or the Create frame).
    pub manifest_seq: u64,
    /// A write-behind in progress.
    pub job: Option<Job>,
    /// The next write-behind begins a new segment: after boot, and after a failed write, a file is
    /// never appended to again.
    pub roll_next: bool,
    /// Segments roll by size and age; not while they are too many for the journal to list.
    pub rolls: bool,
    /// In this life its folder was looked through for files that no manifest lists ([`Looked`]): before
    /// anything is written there, and before a tail that was read back leaves otherwise, as files are
    /// compared with it.
    pub listed: bool,
    /// Base offsets of dropped segments, and of files that no manifest knew, until a manifest that says
    /// so is durable.
    pub doomed: Vec<i64>,
    /// Base offsets of dropped segments whose files may still be there: manifests name them until the
    /// files are durably gone.
    pub gone: Vec<i64>,
    /// Metadata offset at which its topic was last seen by this replica: only metadata that is further
    /// says, by not having the topic, that it was deleted (design.md section 4). `i64::MAX` once the
    /// topic was missed in metadata that was not further: no later metadata can say so any more.
    pub seen: i64,
    /// No committed metadata knows it, and none says that it was deleted: it is kept and not served.
    pub quarantined: bool,
    /// A manifest is owed though no data was written (segments dropped).
    pub manifest_owed: bool,
    /// A manifest is staged or in flight.
    pub manifest_pending: bool,
    /// A log start on its way to the journal: manifests staged after it must not undo it.
    pub pending_start: i64,
    /// While the journal is read back: records below this offset are in a manifest yet to come.
    pub awaits_manifest: Option<i64>,
    /// Number of the newest write-behind; completions of an older one are ignored.
    pub job_number: u64,
    /// Planted bugs, as the shard's config has them.
    pub knobs: Knobs,
}

impl Replica {
    /// A replica without a record.
    pub fn empty(id: PartitionId, cluster: Uuid, dir: String) -> Replica {
        Replica {
            id,
            cluster,
            dir,
            config: TopicConfig::default(),
            leader_epoch: -1,
            log_start: 0,
            log_end: 0,
            durable_end: 0,
            high_watermark: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            segments: Vec::new(),
            epochs: Vec::new(),
            producers: Producers::default(),
            manifest_seq: 0,
            job: None,
            roll_next: true,
            rolls: true,
            listed: false,
            doomed: Vec::new(),
            gone: Vec::new(),
            seen: -1,
            quarantined: false,
            manifest_owed: false,
            manifest_pending: false,
            pending_start: 0,
            awaits_manifest: None,
            job_number: 0,
            knobs: Knobs::default(),
        }
    }

    /// The journal goes on at `base`: everything before it must be in segments, as a later manifest
    /// will say.
    pub fn skip_to(&mut self, base: i64) {
        self.tail.clear();
        self.tail_bytes = 0;
        self.log_end = base;
        self.awaits_manifest = Some(base);
    }

    /// Batches at the front of the tail that the log start has passed: they go with the next manifest.
    pub fn passed(&self) -> usize {
        let start = self.log_start - i64::from(self.knobs.has(90));
        self.tail.partition_point(|batch| batch.row.next <= start)
    }

    /// Offset from which on the tail alone holds the log, when no write-behind is in progress.
    pub fn covered_end(&self) -> i64 {
        let first = self.tail.get(self.passed());
        first.map_or(self.log_end, |batch| batch.row.base)
    }

    /// The segment file with this base offset, in Kafka's naming.
    pub fn segment_path(&self, base: i64) -> Path {
        format!("{}/{base:020}.log", self.dir).into()
    }

    /// The side file of that segment.
    pub fn rows_path(&self, base: i64) -> Path {
        format!("{}/{base:020}.seal", self.dir).into()
    }

    /// Everything below `end` is durable now. With one replica that moves the high watermark too.
    /// True if it moved.
    pub fn made_durable(&mut self, end: i64, may_go_back: bool) -> bool {
        let before = self.high_watermark;
        if may_go_back {
            self.durable_end = end;
        } else {
            self.durable_end = self.durable_end.max(end);
        }
        self.high_watermark = match may_go_back {
            true => self.durable_end,
            false => before.max(self.durable_end),
        };
        self.high_watermark != before
    }

    /// Everything below `end` is written, and the topic lets it be seen before it is synced. True if
    /// the high watermark moved.
    pub fn made_visible(&mut self, end: i64) -> bool {
        let before = self.high_watermark;
        self.high_watermark = before.max(end);
        self.high_watermark != before
    }

    /// Bytes of batches that were appended and cannot be seen yet.
    pub fn hidden_bytes(&self) -> u64 {
        let hidden = self.tail.iter().rev();
        let hidden = hidden.take_while(|batch| batch.row.next > self.high_watermark);
        hidden.map(|batch| u64::from(batch.row.size)).sum()
    }

    /// A block with batches up to `end` must be synced before they are acknowledged.
    pub fn must_sync(&self, end: i64) -> bool {
        !self.config.opts_out_of_syncing() || end - self.durable_end >= self.config.flush_messages
    }

    /// Rows of closed segments can be read again; those a write-behind may have to take back cannot.
    fn forget_sealed_rows(&mut self) {
        let covered = self.covered_end();
        let sealed = self.segments.len().saturating_sub(1);
        for segment in self.segments[..sealed]
            .iter_mut()
            .filter(|s| s.end <= covered)
        {
            segment.rows = None;
        }
    }

    /// Nothing of it is on its way to its files or the journal's manifest.
    pub fn is_idle(&self) -> bool {
        self.job.is_none() && !self.manifest_pending
    }

    /// A write-behind has not come to its manifest yet.
    pub fn is_writing(&self) -> bool {
        matches!(
            self.job,
            Some(Job::Looking(_) | Job::Writing { .. } | Job::Written { .. } | Job::Syncing { .. })
        )
    }

    /// A manifest that is owed would let a block go: one that only drops segments leaves the batches
    /// of the tail where they are.
    pub fn would_free(&self) -> bool {
        self.tail.is_empty() || self.passed() > 0
    }

    /// Oldest journal block this replica still needs.
    pub fn oldest_seq(&self) -> u64 {
        match self.tail.front() {
            Some(batch) if batch.seq > 0 => batch.seq.min(self.manifest_seq),
            _ => self.manifest_seq,
        }
    }

    /// Panics if an invariant is broken (P1, P2 of `failures.md`).
    pub fn check(&self) {
        assert!(
            self.log_start <= self.high_watermark,
            "{:?}: log start above watermark",
            self.id
        );
        // What opted out of syncing may be seen before it is durable, up to `flush.messages` of it.
        let unsynced = self.high_watermark - self.durable_end;
        let allowed = match self.config.opts_out_of_syncing() {
            true => self.config.flush_messages - 1,
            false => 0,
        };
        assert!(
            unsynced <= allowed,
            "{:?}: {unsynced} records below the watermark are not durable",
            self.id
        );
        assert!(
            self.durable_end <= self.log_end,
            "{:?}: durable beyond the end",
            self.id
        );
        if let Some(fault) = self.fault() {
            panic!("{:?}: {fault}", self.id);
        }
    }

    /// What in this replica does not fit together, if anything: segments, tail, epochs and the ends of
    /// the log. What a journal holds is held against it before it serves.
    pub fn fault(&self) -> Option<String> {
        if self.log_start > self.log_end {
            let (start, end) = (self.log_start, self.log_end);
            return Some(format!("the log starts at {start} and ends at {end}"));
        }
        let mut next = self.segments.first().map(|segment| segment.base);
        for segment in &self.segments {
            if Some(segment.base) != next || segment.end < segment.base {
                return Some("segments leave a gap".into());
            }
            next = Some(segment.end);
            let mut dropped = self.doomed.iter().chain(&self.gone);
            if dropped.any(|base| *base == segment.base) {
                return Some("a listed segment is to be unlinked".into());
            }
        }
        if let (Some(end), Some(front)) = (next, self.tail.front()) {
            let follows = end == front.row.base || (self.job.is_some() && end > front.row.base);
            if !follows {
                return Some("tail does not follow the segments".into());
            }
        }
        // A block is freed with the oldest batch in it: later ones must not stand before it.
        let placed = self.tail.iter().map(|batch| batch.seq);
        let placed = placed.map(|seq| if seq == 0 { u64::MAX } else { seq });
        if !placed.is_sorted() {
            return Some("tail out of order".into());
        }
        // P1: the log ends where its last batch does.
        let end = self.tail.back().map(|batch| batch.row.next).or(next);
        if end.is_some_and(|end| end != self.log_end) {
            return Some(format!("end {end:?} and {}", self.log_end));
        }
        let mut pairs = self.epochs.windows(2);
        let ascend = pairs.all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1);
        (!ascend).then(|| format!("epochs {:?}", self.epochs))
    }
}
