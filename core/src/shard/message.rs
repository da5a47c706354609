//! What shards of one broker tell each other.

use bytes::Bytes;

use crate::api::*;
use crate::disk::Path;
use crate::ids::PartitionId;
use crate::metadata::Record;

/// One shard to another: lossless, in order per pair.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum NeighbourMessage {
    /// Work on partitions of the receiver, or for the ledger. `token` is the asker's.
    Ask {
        /// The asker's name for it.
        token: u64,
        /// Offset of the metadata that the asker acts on; the receiver catches up with it first.
        metadata: i64,
        /// What is asked.
        ask: Ask,
    },
    /// The outcome of an [`NeighbourMessage::Ask`].
    Answer {
        /// The asker's name for it.
        token: u64,
        /// The outcome.
        answer: Answer,
    },
    /// A partition of a parked fetch moved.
    Wake {
        /// The fetch.
        token: u64,
    },
    /// The parked fetch is over: forget its interest.
    Cancel {
        /// The fetch.
        token: u64,
    },
    /// From shard 0: the broker is new, so that a journal without a block may begin.
    Found,
    /// To shard 0: this shard's journal is open.
    Opened {
        /// It has no block yet: it was just made, or its first start did not get further.
        fresh: bool,
        /// It holds partitions.
        holds: bool,
    },
    /// From shard 0: committed metadata records; `first` resets the image.
    Published {
        /// Start from nothing.
        first: bool,
        /// Offset after these records.
        offset: i64,
        /// The records.
        records: Vec<Record>,
    },
    /// From shard 0: partitions that are not at home move there.
    Settle,
    /// To shard 0: none is left here that is not at home.
    Settled,
    /// A partition moves to the receiver.
    Move {
        /// Which.
        partition: PartitionId,
        /// All there is to know of it.
        manifest: Bytes,
    },
    /// The folder of a partition that is gone is the receiver's to remove.
    MoveRemoval {
        /// Which.
        partition: PartitionId,
        /// The folder.
        dir: Path,
    },
    /// The partition, or the removal, is durable in the other's journal.
    Moved {
        /// Which.
        partition: PartitionId,
    },
    /// From shard 0: all have settled; the broker is booted again.
    Again,
    /// The broker stops, and this shard owes its clients no answer any more.
    Drained,
    /// To shard 0: metadata up to this offset is in force here.
    Applied {
        /// The offset.
        offset: i64,
        /// Partitions that are gone and whose folders wait here to be removed.
        removing: u64,
    },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Ask {
    /// Things to do to partitions; `slot` names each in the asker's answer.
    Parts {
        /// (slot, partition, what).
        parts: Vec<(u32, PartitionId, PartAsk)>,
        /// For a fetch: bytes in all.
        max_bytes: usize,
        /// For a fetch that will wait: wake the asker once there are so many bytes for it, or nearly.
        interest: Option<u64>,
    },
    /// For the ledger on shard 0.
    Admin(Request),
}

/// What to do to one partition.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum PartAsk {
    /// Append a batch.
    Produce(Bytes),
    /// Read.
    Fetch(PartitionFetch),
    /// Find an offset.
    Offset(PartitionOffsetQuery),
    /// Where an epoch ends: (current leader epoch, asked epoch).
    Epoch(i32, i32),
    /// Move the log start; -1 for the high watermark.
    Delete(i64),
}

/// The outcome for one partition.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Part {
    /// Of a produce.
    Produced(PartitionProduced),
    /// Of a fetch.
    Fetched(PartitionFetched),
    /// Of an offset query.
    Offset(PartitionOffset),
    /// Of an epoch query.
    Epoch(EpochEnd),
    /// Of a delete: (index, low watermark, outcome).
    Deleted(i32, i64, crate::error_code::ErrorCode),
}

/// The outcome of an [`Ask`].
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Answer {
    /// Per slot.
    Parts(Vec<(u32, Part)>),
    /// From the ledger.
    Admin(Response),
}

impl Part {
    /// Bytes of records.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Part::Fetched(part) => part.bytes() as u64,
            _ => 0,
        }
    }

    /// The outcome.
    pub fn error(&self) -> crate::error_code::ErrorCode {
        match self {
            Part::Produced(part) => part.error,
            Part::Fetched(part) => part.error,
            Part::Offset(part) => part.error,
            Part::Epoch(part) => part.error,
            Part::Deleted(_, _, error) => *error,
        }
    }
}

impl PartAsk {
    /// The outcome that is this error and nothing else.
    pub fn failed(
        &self,
        index: i32,
        error: crate::error_code::ErrorCode,
        text: Option<&str>,
    ) -> Part {
        match self {
            PartAsk::Produce(_) => Part::Produced(PartitionProduced {
                index,
                error,
                base_offset: -1,
                log_append_time_ms: -1,
                log_start_offset: -1,
                record_errors: Vec::new(),
                error_message: text.map(str::to_string),
            }),
            PartAsk::Fetch(_) => Part::Fetched(PartitionFetched::failed(index, error)),
            PartAsk::Offset(_) => Part::Offset(PartitionOffset::none(index, error)),
            PartAsk::Epoch(..) => Part::Epoch(EpochEnd {
                index,
                error,
                leader_epoch: -1,
                end_offset: -1,
            }),
            PartAsk::Delete(_) => Part::Deleted(index, -1, error),
        }
    }
}
