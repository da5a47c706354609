//! Pure CPU jobs: what a shard must not spend its turn on. A driver runs them wherever it likes and
//! brings the outcome back as an input; running one twice gives the same.

#[cfg(feature = "work")]
mod check;
#[cfg(feature = "work")]
mod compression;
#[cfg(feature = "work")]
mod records;
#[cfg(all(test, feature = "work"))]
mod samples;

#[cfg(feature = "work")]
pub use compression::{plain, BadCompression};
#[cfg(feature = "work")]
pub use records::run;

use bytes::Bytes;

use crate::batch::{BatchHead, Checked, TimeBounds};
use crate::ids::WorkId;

/// Bytes that may come out of a compressed batch that is produced: more, and it is refused as too
/// large, which makes Kafka's own client split it and go on. It bounds the time that a job takes.
pub const PLAIN_BATCH_MAX: u64 = 128 << 20;

/// One job, named so that its outcome can be matched.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct WorkJob {
    /// The name of this job.
    pub id: WorkId,
    /// What to do.
    pub request: WorkRequest,
}

/// What there is to compute.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum WorkRequest {
    /// Look inside a batch for its first record, from offset `from` on, that is not older than
    /// `timestamp` (ms), or for the youngest of them.
    FindTimestamp {
        /// The batch's head.
        head: BatchHead,
        /// What follows the head: records, maybe compressed.
        records: Bytes,
        /// Records below this offset are not meant.
        from: i64,
        /// Milliseconds.
        timestamp: i64,
        /// The youngest of those records instead, the first of them if several are.
        youngest: bool,
    },
    /// Look at every record of a compressed batch that is produced, before it may enter the log.
    CheckBatch {
        /// The batch's head.
        head: BatchHead,
        /// What follows the head: compressed records.
        records: Bytes,
        /// The timestamps that they may have.
        bounds: TimeBounds,
        /// Bytes that may come out of the compression, at most [`PLAIN_BATCH_MAX`].
        plain_max: u64,
    },
}

/// The outcome of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkResult {
    /// The record that was looked for.
    Found {
        /// Its offset.
        offset: i64,
        /// Its timestamp, ms.
        timestamp: i64,
    },
    /// There is none.
    Nothing,
    /// The records cannot be read, though the batch is as it was produced.
    Unreadable,
    /// The records of a batch are well formed, and this is what they say.
    Checked(Checked),
    /// They are not well formed: what is wrong, for people.
    Malformed(&'static str),
    /// More comes out of them than may.
    TooLarge,
}
