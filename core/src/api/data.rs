//! Requests on the data path: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, InitProducerId.

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::ids::{NodeId, Uuid};

/// A topic as a client named it: by name, or by id in newer versions (then `name` is empty).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicRef {
    /// Name; empty when the client sent an id.
    pub name: String,
    /// Id; zero when the client sent a name.
    pub id: Uuid,
}

/// Produce.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct ProduceRequest {
    /// Transactional id, if any: batches of a transaction are refused with it and without.
    pub transactional_id: Option<String>,
    /// 0, 1 or -1 (all). Others are answered INVALID_REQUIRED_ACKS.
    pub acks: i16,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: i32,
    /// Batches may be compressed with zstd (KIP-110).
    pub zstd_allowed: bool,
    /// True if a topic id, not a name, is how the client addresses topics.
    pub by_id: bool,
    /// Per topic.
    pub topics: Vec<TopicProduce>,
}

/// Records for the partitions of one topic.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct TopicProduce {
    /// The topic.
    pub topic: TopicRef,
    /// Per partition: index and record batches (`None`: null records).
    pub partitions: Vec<(i32, Option<Bytes>)>,
}

/// Answer to Produce.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct ProduceResponse {
    /// Per topic, in request order.
    pub topics: Vec<(TopicRef, Vec<PartitionProduced>)>,
}

/// Outcome for one partition of a Produce.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct PartitionProduced {
    /// Partition index.
    pub index: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// Offset of the first record; -1 on error.
    pub base_offset: i64,
    /// Broker timestamp under LogAppendTime; -1 otherwise.
    pub log_append_time_ms: i64,
    /// First offset of the log; -1 if unknown.
    pub log_start_offset: i64,
    /// Records at fault, where they can be named (KIP-467): index in the batch, and why.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// What went wrong, for people.
    pub error_message: Option<String>,
}

/// Fetch.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct FetchRequest {
    /// How long to wait for `min_bytes`, in milliseconds.
    pub max_wait_ms: i32,
    /// Answer once this many bytes are there.
    pub min_bytes: i32,
    /// At most this many bytes, first batch excepted (KIP-74).
    pub max_bytes: i32,
    /// Fetch session (KIP-227); 0 for none. This broker grants none yet.
    pub session_id: i32,
    /// Session epoch: 0 new, -1 none. Any other goes on with a session and is answered
    /// FETCH_SESSION_ID_NOT_FOUND.
    pub session_epoch: i32,
    /// True if a topic id, not a name, is how the client addresses topics.
    pub by_id: bool,
    /// The client calls itself a broker that follows partitions (`replica_id`, in `replica_state` from v15
    /// on, 0 or more): it is answered NOT_LEADER_OR_FOLLOWER, because no partition has another replica.
    pub from_replica: bool,
    /// 0 read uncommitted, 1 read committed, which see the same without transactions. For any other all
    /// partitions, and from v7 on the whole, are answered INVALID_REQUEST. Kafka 4.3 answers
    /// UNKNOWN_SERVER_ERROR there, which a client takes for a broken broker.
    pub isolation: i8,
    /// Per topic.
    pub topics: Vec<TopicFetch>,
}

/// What to fetch of one topic.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct TopicFetch {
    /// The topic.
    pub topic: TopicRef,
    /// Per partition.
    pub partitions: Vec<PartitionFetch>,
}

/// What to fetch of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Default, Hash)]
pub struct PartitionFetch {
    /// Partition index.
    pub index: i32,
    /// The client's view of the leader epoch; negative if unknown.
    pub current_leader_epoch: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Epoch of the last record the client has (KIP-595); negative if unknown.
    pub last_fetched_epoch: i32,
    /// At most this many bytes of this partition.
    pub max_bytes: i32,
}

/// Answer to Fetch.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct FetchResponse {
    /// Whole-request error.
    pub error: ErrorCode,
    /// Session granted; 0 for none.
    pub session_id: i32,
    /// Per topic, in request order.
    pub topics: Vec<(TopicRef, Vec<PartitionFetched>)>,
    /// Where the leaders are reached that partitions name: as [`super::MetadataResponse::brokers`].
    pub endpoints: Vec<(NodeId, Option<(String, u16)>)>,
}

/// Outcome for one partition of a Fetch.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct PartitionFetched {
    /// Partition index.
    pub index: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// High watermark; -1 on error.
    pub high_watermark: i64,
    /// Last stable offset; -1 on error.
    pub last_stable_offset: i64,
    /// First offset of the log; -1 on error.
    pub log_start_offset: i64,
    /// Where the log goes another way than the client's last epoch, if it does: the largest epoch of the
    /// log not above that, and its end (KIP-595).
    pub diverging: Option<(i32, i64)>,
    /// Who leads the partition, and its epoch, where the client asked another or of an older one (KIP-951).
    pub leader: Option<(NodeId, i32)>,
    /// The list of aborted transactions is there, and empty: none is served. Else it is null.
    pub lists_aborted: bool,
    /// Whole record batches, in pieces to be sent one after the other.
    pub records: Vec<Bytes>,
    /// Records that can be read follow: in another segment, which this read did not reach, or beyond what
    /// the whole answer may hold. Not sent.
    pub ends_early: bool,
}

impl PartitionFetched {
    /// An answer without data.
    pub fn failed(index: i32, error: ErrorCode) -> PartitionFetched {
        PartitionFetched {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            leader: None,
            lists_aborted: false,
            records: Vec::new(),
            ends_early: false,
        }
    }

    /// Bytes of its records.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// ListOffsets.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct ListOffsetsRequest {
    /// Per topic: name and partitions.
    pub topics: Vec<(TopicRef, Vec<PartitionOffsetQuery>)>,
    /// How long the client waits, in milliseconds (KIP-1075); -1 in versions that do not say. A
    /// partition that is not found by then is answered REQUEST_TIMED_OUT.
    pub timeout_ms: i32,
    /// As [`FetchRequest::isolation`], each partition for itself.
    pub isolation: i8,
}

/// One question of ListOffsets.
#[derive(Clone, Copy, Debug, PartialEq, Default, Hash)]
pub struct PartitionOffsetQuery {
    /// Partition index.
    pub index: i32,
    /// The client's view of the leader epoch; -1 if unknown.
    pub current_leader_epoch: i32,
    /// A time in ms, or -1 latest, -2 earliest, -3 max timestamp, -4 earliest local, -5 latest tiered,
    /// -6 earliest pending upload. Anything else is answered UNSUPPORTED_VERSION.
    pub timestamp: i64,
}

impl PartitionOffsetQuery {
    /// In `timestamp`: a special time that the request's version does not know yet.
    pub const UNSUPPORTED: i64 = i64::MIN;
}

/// Answer to ListOffsets.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct ListOffsetsResponse {
    /// Per topic, in request order.
    pub topics: Vec<(TopicRef, Vec<PartitionOffset>)>,
}

/// One answer of ListOffsets. `offset` -1 with no error: no record is that young.
#[derive(Clone, Copy, Debug, PartialEq, Default, Hash)]
pub struct PartitionOffset {
    /// Partition index.
    pub index: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// Timestamp of the record found; -1 for earliest and latest.
    pub timestamp: i64,
    /// Offset found; -1 if none.
    pub offset: i64,
    /// Leader epoch of the record; -1 if unknown.
    pub leader_epoch: i32,
}

impl PartitionOffset {
    /// No offset, and why; without an error, no record is that young.
    pub fn none(index: i32, error: ErrorCode) -> PartitionOffset {
        PartitionOffset {
            index,
            error,
            timestamp: -1,
            offset: -1,
            leader_epoch: -1,
        }
    }
}

/// OffsetForLeaderEpoch.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct OffsetForLeaderEpochRequest {
    /// Per topic: name and (index, current leader epoch, asked epoch).
    pub topics: Vec<(TopicRef, Vec<(i32, i32, i32)>)>,
}

/// Answer to OffsetForLeaderEpoch.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct OffsetForLeaderEpochResponse {
    /// Per topic, in request order.
    pub topics: Vec<(TopicRef, Vec<EpochEnd>)>,
}

/// The largest epoch not above the one asked, and where it ends (KIP-279).
#[derive(Clone, Copy, Debug, PartialEq, Default, Hash)]
pub struct EpochEnd {
    /// Partition index.
    pub index: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// Epoch found; -1 if none.
    pub leader_epoch: i32,
    /// Its end offset; -1 if none.
    pub end_offset: i64,
}

/// InitProducerId.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct InitProducerIdRequest {
    /// Transactional id; transactions are not served yet. An empty one is answered INVALID_REQUEST.
    pub transactional_id: Option<String>,
    /// The producer's current id, -1 for none (KIP-360). With an id that has no epoch, or the reverse,
    /// the answer is INVALID_REQUEST. With both, a producer that is not transactional gets a new id all
    /// the same: librdkafka sends those it had.
    pub producer_id: i64,
    /// The producer's current epoch, -1 for none.
    pub producer_epoch: i16,
}

/// Answer to InitProducerId.
#[derive(Clone, Copy, Debug, PartialEq, Default, Hash)]
pub struct InitProducerIdResponse {
    /// Outcome.
    pub error: ErrorCode,
    /// The id; -1 on error.
    pub producer_id: i64,
    /// The epoch; -1 on error.
    pub producer_epoch: i16,
}
