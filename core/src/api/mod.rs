//! Client requests and responses as the core sees them: typed and free of API versions.
//!
//! `net` turns a Kafka frame of any supported version into a [`Request`] and a [`Response`] into a
//! frame of the version that asked. A field that a version lacks has its documented default.

mod admin;
mod data;

pub use admin::*;
pub use data::*;

/// A request that reaches the core. ApiVersions never does: `net` answers it by itself.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Request {
    /// Metadata (3).
    Metadata(MetadataRequest),
    /// Produce (0).
    Produce(ProduceRequest),
    /// Fetch (1).
    Fetch(FetchRequest),
    /// ListOffsets (2).
    ListOffsets(ListOffsetsRequest),
    /// OffsetForLeaderEpoch (23).
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest),
    /// InitProducerId (22).
    InitProducerId(InitProducerIdRequest),
    /// CreateTopics (19).
    CreateTopics(CreateTopicsRequest),
    /// DeleteTopics (20).
    DeleteTopics(DeleteTopicsRequest),
    /// CreatePartitions (37).
    CreatePartitions(CreatePartitionsRequest),
    /// DeleteRecords (21).
    DeleteRecords(DeleteRecordsRequest),
    /// FindCoordinator (10).
    FindCoordinator(FindCoordinatorRequest),
}

/// The answer to a [`Request`]; the variant is always the request's.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Response {
    /// Produce with acks=0: nothing is sent.
    Nothing,
    /// Metadata (3).
    Metadata(MetadataResponse),
    /// Produce (0).
    Produce(ProduceResponse),
    /// Fetch (1).
    Fetch(FetchResponse),
    /// ListOffsets (2).
    ListOffsets(ListOffsetsResponse),
    /// OffsetForLeaderEpoch (23).
    OffsetForLeaderEpoch(OffsetForLeaderEpochResponse),
    /// InitProducerId (22).
    InitProducerId(InitProducerIdResponse),
    /// CreateTopics (19).
    CreateTopics(CreateTopicsResponse),
    /// DeleteTopics (20).
    DeleteTopics(DeleteTopicsResponse),
    /// CreatePartitions (37).
    CreatePartitions(CreatePartitionsResponse),
    /// DeleteRecords (21).
    DeleteRecords(DeleteRecordsResponse),
    /// FindCoordinator (10).
    FindCoordinator(FindCoordinatorResponse),
}
