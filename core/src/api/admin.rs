//! Requests about topics and the cluster.

use super::data::TopicRef;
use crate::error_code::ErrorCode;
use crate::ids::{NodeId, Uuid};

/// Metadata.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct MetadataRequest {
    /// Topics asked for; `None` means all. (v0's empty list means all: `net` maps it.) Where one of
    /// them has an id, those without are neither told of nor created: see [`MetadataRequest::is_by_id`].
    pub topics: Option<Vec<TopicRef>>,
    /// Create topics that do not exist.
    pub allow_auto_topic_creation: bool,
    /// A topic has an id, or null for a name, in v10 or v11, which have the fields but give them no
    /// meaning: all topics are answered INVALID_REQUEST, and none is created
    /// (`KafkaApis.handleTopicMetadataRequest`).
    pub badly_named: bool,
    /// What the client may do with the topics is asked, or with the cluster (KIP-430).
    pub topic_operations: bool,
    /// See [`MetadataRequest::topic_operations`].
    pub cluster_operations: bool,
}

impl MetadataRequest {
    /// An id is given: only ids count then (`KafkaApis.handleTopicMetadataRequest`, `useTopicId`).
    pub fn is_by_id(&self) -> bool {
        let topics = self.topics.as_deref().unwrap_or_default();
        !self.badly_named && topics.iter().any(|topic| !topic.id.is_zero())
    }
}

/// Answer to Metadata. The one broker's address is the local address of the connection, put in by
/// `net`, unless `advertised` says otherwise.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct MetadataResponse {
    /// Brokers: id and, if configured, the advertised host and port.
    pub brokers: Vec<(NodeId, Option<(String, u16)>)>,
    /// Cluster id.
    pub cluster_id: Uuid,
    /// The controller.
    pub controller: NodeId,
    /// Topics.
    pub topics: Vec<TopicMetadata>,
    /// What the client may do with the cluster, one bit for each of Kafka's `AclOperation`s; `None` if it
    /// did not ask.
    pub operations: Option<i32>,
}

/// One topic of a Metadata answer.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct TopicMetadata {
    /// Outcome.
    pub error: ErrorCode,
    /// Name and id; an unknown one as the client sent it.
    pub topic: TopicRef,
    /// Internal topics are hidden from plain listings by clients.
    pub is_internal: bool,
    /// Partitions by index.
    pub partitions: Vec<PartitionMetadata>,
    /// What the client may do with the topic: see [`MetadataResponse::operations`].
    pub operations: Option<i32>,
}

/// One partition of a Metadata answer.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct PartitionMetadata {
    /// Outcome.
    pub error: ErrorCode,
    /// Index.
    pub index: i32,
    /// Leader, -1 for none.
    pub leader: NodeId,
    /// Leader epoch.
    pub leader_epoch: i32,
    /// Replicas.
    pub replicas: Vec<NodeId>,
    /// In-sync replicas.
    pub isr: Vec<NodeId>,
}

/// CreateTopics.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct CreateTopicsRequest {
    /// Topics to create.
    pub topics: Vec<NewTopic>,
    /// How long the client waits, in milliseconds. What is not decided and durable by then is
    /// answered REQUEST_TIMED_OUT, topic by topic, and may still take effect: Kafka's controller does
    /// not take back what it has appended (`ControllerRequestContext.deadlineNs`).
    pub timeout_ms: i32,
    /// Check only.
    pub validate_only: bool,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// Partitions; -1 for the broker's default.
    pub partitions: i32,
    /// Replication factor; -1 for the default.
    pub replication_factor: i16,
    /// Manual assignment, (index, brokers); empty for none.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// Configs by name.
    pub configs: Vec<(String, Option<String>)>,
}

/// Answer to CreateTopics.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct CreateTopicsResponse {
    /// Per topic, in request order.
    pub topics: Vec<TopicCreated>,
}

/// Outcome for one topic of CreateTopics.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct TopicCreated {
    /// Name.
    pub name: String,
    /// Id; zero on error.
    pub id: Uuid,
    /// Outcome.
    pub error: ErrorCode,
    /// What went wrong, for people.
    pub error_message: Option<String>,
    /// Partitions created; -1 on error.
    pub partitions: i32,
    /// Replication factor; -1 on error.
    pub replication_factor: i16,
    /// Effective configs: name, value, whether it is the default.
    pub configs: Vec<(String, Option<String>, bool)>,
}

/// DeleteTopics.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct DeleteTopicsRequest {
    /// Topics by name or id.
    pub topics: Vec<TopicRef>,
    /// Places, in rising order, of the topics that have null for a name and no id, or an empty name
    /// beside an id: each is answered INVALID_REQUEST. An empty name alone is a name that no topic has.
    pub misnamed: Vec<u32>,
    /// How long the client waits, in milliseconds; see [`CreateTopicsRequest::timeout_ms`].
    pub timeout_ms: i32,
}

/// Answer to DeleteTopics.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct DeleteTopicsResponse {
    /// Per topic, in request order.
    pub topics: Vec<(TopicRef, ErrorCode, Option<String>)>,
}

/// CreatePartitions.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct CreatePartitionsRequest {
    /// (topic, new total, manual assignment of the added ones)
    pub topics: Vec<(String, i32, Option<Vec<Vec<NodeId>>>)>,
    /// How long the client waits, in milliseconds; see [`CreateTopicsRequest::timeout_ms`].
    pub timeout_ms: i32,
    /// Check only.
    pub validate_only: bool,
}

/// Answer to CreatePartitions.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct CreatePartitionsResponse {
    /// Per topic, in request order.
    pub topics: Vec<(String, ErrorCode, Option<String>)>,
}

/// DeleteRecords.
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct DeleteRecordsRequest {
    /// Per topic: (index, first offset to keep; -1 for the high watermark).
    pub topics: Vec<(TopicRef, Vec<(i32, i64)>)>,
    /// How long the client waits, in milliseconds. A partition whose new start is not durable by then
    /// is answered REQUEST_TIMED_OUT with low watermark -1 (`DelayedDeleteRecords`), and may still be
    /// cut.
    pub timeout_ms: i32,
}

/// Answer to DeleteRecords.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct DeleteRecordsResponse {
    /// Per topic: (index, new low watermark or -1, outcome).
    pub topics: Vec<(TopicRef, Vec<(i32, i64, ErrorCode)>)>,
}

/// FindCoordinator: one or many keys (KIP-699).
#[derive(Clone, Debug, PartialEq, Default, Hash)]
pub struct FindCoordinatorRequest {
    /// 0 group, 1 transaction. Others, also share groups (2), are answered INVALID_REQUEST.
    pub key_type: i8,
    /// Keys asked for.
    pub keys: Vec<String>,
}

/// Answer to FindCoordinator. Coordinators come with groups; until then every key of a group or a
/// transaction is answered COORDINATOR_NOT_AVAILABLE.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct FindCoordinatorResponse {
    /// Per key: (key, outcome).
    pub keys: Vec<(String, ErrorCode)>,
}
