//! Pure CPU jobs: what a shard must not spend its turn on. A driver runs them wherever it likes and
//! brings the outcome back as an input; running one twice gives the same.

#[cfg(feature = "work")]
mod compression;
#[cfg(feature = "work")]
mod records;

#[cfg(feature = "work")]
pub use compression::{plain, BadCompression};
#[cfg(feature = "work")]
pub use records::run;

use bytes::Bytes;

use crate::batch::BatchHead;
use crate::ids::WorkId;

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
}

/// The outcome of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}
