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

/// Memory that an element of an answer takes beside its texts and records, in bytes: about its size on
/// the wire and in memory.
pub(crate) const ELEMENT_BYTES: u64 = 64;

/// Bytes of topics with something about each of some partitions: their names, and [`ELEMENT_BYTES`] for
/// every element.
pub(crate) fn elements<T>(topics: &[(TopicRef, Vec<T>)]) -> u64 {
    let each = topics
        .iter()
        .map(|(topic, parts)| topic.name.len() as u64 + ELEMENT_BYTES * (1 + parts.len() as u64));
    each.sum()
}

impl Response {
    /// Bytes that the answer holds until its socket has taken them, near enough: its records and texts
    /// exactly, and [`ELEMENT_BYTES`] for every element.
    pub fn held_bytes(&self) -> u64 {
        let text = |text: &Option<String>| text.as_ref().map_or(0, |text| text.len() as u64);
        let body: u64 = match self {
            Response::Nothing => return 0,
            Response::Metadata(response) => {
                let topic = |topic: &TopicMetadata| {
                    let parts = 1 + topic.partitions.len() as u64;
                    topic.topic.name.len() as u64 + ELEMENT_BYTES * parts
                };
                response.topics.iter().map(topic).sum()
            }
            Response::Produce(response) => {
                let parts = response.topics.iter().flat_map(|(_, parts)| parts);
                let texts = parts.map(|part| {
                    let named = part.record_errors.iter();
                    let named = named.map(|(_, why)| ELEMENT_BYTES + text(why));
                    text(&part.error_message) + named.sum::<u64>()
                });
                elements(&response.topics) + texts.sum::<u64>()
            }
            Response::Fetch(response) => {
                let parts = response.topics.iter().flat_map(|(_, parts)| parts);
                let records: usize = parts.map(PartitionFetched::bytes).sum();
                elements(&response.topics) + records as u64
            }
            Response::ListOffsets(response) => elements(&response.topics),
            Response::OffsetForLeaderEpoch(response) => elements(&response.topics),
            Response::DeleteRecords(response) => elements(&response.topics),
            Response::InitProducerId(_) => 0,
            Response::CreateTopics(response) => {
                let topic = |topic: &TopicCreated| {
                    let configs = 1 + topic.configs.len() as u64;
                    topic.name.len() as u64 + text(&topic.error_message) + ELEMENT_BYTES * configs
                };
                response.topics.iter().map(topic).sum()
            }
            Response::DeleteTopics(response) => {
                let topics = response.topics.iter();
                let each = topics.map(|(topic, _, why)| topic.name.len() as u64 + text(why));
                each.map(|bytes| bytes + ELEMENT_BYTES).sum()
            }
            Response::CreatePartitions(response) => {
                let topics = response.topics.iter();
                let each = topics.map(|(name, _, why)| name.len() as u64 + text(why));
                each.map(|bytes| bytes + ELEMENT_BYTES).sum()
            }
            Response::FindCoordinator(response) => {
                let keys = response.keys.iter();
                keys.map(|(key, _)| key.len() as u64 + 2 * ELEMENT_BYTES)
                    .sum()
            }
        };
        ELEMENT_BYTES + body
    }
}
