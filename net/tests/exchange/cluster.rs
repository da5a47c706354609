//! Metadata and FindCoordinator in the crate's words.

use kafka_protocol::messages as k;
use kafka_protocol::messages::{
    find_coordinator_response as cr, metadata_request as mq, metadata_response as mr,
};
use proptest::option;
use proptest::prelude::*;
use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{NodeId, Uuid};

use crate::values::*;
use crate::{Api, HOST, PORT};

/// Metadata (3).
pub struct Metadata;

impl Api for Metadata {
    type Ask = MetadataRequest;
    type Answer = MetadataResponse;
    type TheirAsk = k::MetadataRequest;
    type TheirAnswer = k::MetadataResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::Metadata, Response::Metadata);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let flags = any::<(bool, bool, bool)>();
        // v0 says as little of none as of null: few requests ask for all.
        let ask = (option::weighted(0.8, few(topic())), flags);
        let ask = ask.prop_map(|(topics, (allow, of_topics, of_cluster))| MetadataRequest {
            topics,
            allow_auto_topic_creation: allow,
            badly_named: false,
            topic_operations: of_topics,
            cluster_operations: of_cluster,
        });
        let brokers = few((node(), option::of((text(), any::<u16>()))));
        let nodes = (brokers, id(), node());
        let answer = (nodes, few(topic_told()), option::of(number()));
        let answer = answer.prop_map(|(nodes, topics, operations)| MetadataResponse {
            brokers: nodes.0,
            cluster_id: nodes.1,
            controller: nodes.2,
            topics,
            operations,
        });
        (ask, answer).boxed()
    }

    fn ask_to(version: i16, ask: &MetadataRequest, noise: &Noise) -> k::MetadataRequest {
        let topic = |topic: &TopicRef| {
            let told =
                mq::MetadataRequestTopic::default().with_unknown_tagged_fields(noise.tags.clone());
            match version {
                10.. => told
                    .with_topic_id(their_id(topic.id))
                    .with_name(nullable_name(topic)),
                _ => told.with_name(Some(name_of(topic))),
            }
        };
        let topics = ask.topics.as_ref();
        let topics = topics.map(|topics| topics.iter().map(topic).collect());
        let mut told = k::MetadataRequest::default()
            .with_topics(topics)
            .with_unknown_tagged_fields(noise.tags.clone());
        if version == 0 {
            // It has no null: an empty list means all topics.
            told.topics = told.topics.or(Some(Vec::new()));
        }
        if version >= 4 {
            told.allow_auto_topic_creation = ask.allow_auto_topic_creation;
        }
        if version >= 8 {
            told.include_topic_authorized_operations = ask.topic_operations;
        }
        if (8..=10).contains(&version) {
            told.include_cluster_authorized_operations = ask.cluster_operations;
        }
        told
    }

    fn ask_from(version: i16, ask: k::MetadataRequest) -> MetadataRequest {
        let topic =
            |topic: mq::MetadataRequestTopic| topic_from(topic.name, topic.topic_id.into_bytes());
        let topics = ask
            .topics
            .filter(|topics| version > 0 || !topics.is_empty());
        let mut all = topics.iter().flatten();
        let badly_named = (10..12).contains(&version)
            && all.any(|topic| topic.name.is_none() || !topic.topic_id.is_nil());
        MetadataRequest {
            topics: topics.map(|topics| topics.into_iter().map(topic).collect()),
            allow_auto_topic_creation: ask.allow_auto_topic_creation,
            badly_named,
            topic_operations: ask.include_topic_authorized_operations,
            cluster_operations: ask.include_cluster_authorized_operations,
        }
    }

    fn answer_to(version: i16, answer: &MetadataResponse, noise: &Noise) -> k::MetadataResponse {
        let broker = |(node, address): &(NodeId, Option<(String, u16)>)| {
            let (host, port) = address.clone().unwrap_or((HOST.into(), PORT));
            let told = mr::MetadataResponseBroker::default()
                .with_node_id(k::BrokerId(node.0))
                .with_host(str_bytes(&host))
                .with_port(port.into())
                .with_unknown_tagged_fields(noise.tags.clone());
            match version {
                1.. => told.with_rack(noise.text(None)),
                _ => told,
            }
        };
        let topic = |topic: &TopicMetadata| topic_to(version, topic, noise);
        let mut told = k::MetadataResponse::default()
            .with_brokers(answer.brokers.iter().map(broker).collect())
            .with_topics(answer.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 1 {
            told.controller_id = k::BrokerId(answer.controller.0);
        }
        if version >= 2 {
            told.cluster_id = noise.text(Some(&answer.cluster_id.to_base64()));
        }
        if version >= 3 {
            told.throttle_time_ms = noise.number(0);
        }
        if (8..=10).contains(&version) {
            told.cluster_authorized_operations = answer.operations.unwrap_or(i32::MIN);
        }
        if version >= 13 {
            told.error_code = noise.byte(0).into();
        }
        told
    }

    fn answer_from(_: i16, answer: k::MetadataResponse) -> MetadataResponse {
        let broker = |broker: mr::MetadataResponseBroker| {
            let address = (broker.host.to_string(), broker.port as u16);
            (NodeId(broker.node_id.0), Some(address))
        };
        let part = |part: mr::MetadataResponsePartition| PartitionMetadata {
            error: code(part.error_code),
            index: part.partition_index,
            leader: NodeId(part.leader_id.0),
            leader_epoch: part.leader_epoch,
            replicas: nodes(part.replica_nodes),
            isr: nodes(part.isr_nodes),
        };
        let topic = |topic: mr::MetadataResponseTopic| TopicMetadata {
            error: code(topic.error_code),
            topic: topic_from(topic.name, topic.topic_id.into_bytes()),
            is_internal: topic.is_internal,
            partitions: topic.partitions.into_iter().map(part).collect(),
            operations: operations(topic.topic_authorized_operations),
        };
        MetadataResponse {
            brokers: answer.brokers.into_iter().map(broker).collect(),
            // Text on the wire, of which our client makes no use.
            cluster_id: Uuid::ZERO,
            controller: NodeId(answer.controller_id.0),
            topics: answer.topics.into_iter().map(topic).collect(),
            operations: operations(answer.cluster_authorized_operations),
        }
    }
}

/// The smallest number says nothing.
fn operations(bits: i32) -> Option<i32> {
    Some(bits).filter(|bits| *bits != i32::MIN)
}

fn topic_told() -> impl Strategy<Value = TopicMetadata> {
    let part = (
        (error(), number(), node(), number()),
        few(node()),
        few(node()),
    );
    let part =
        part.prop_map(
            |((error, index, leader, leader_epoch), replicas, isr)| PartitionMetadata {
                error,
                index,
                leader,
                leader_epoch,
                replicas,
                isr,
            },
        );
    let operations = option::of(number());
    let topic = (error(), topic(), any::<bool>(), few(part), operations);
    topic.prop_map(
        |(error, topic, is_internal, partitions, operations)| TopicMetadata {
            error,
            topic,
            is_internal,
            partitions,
            operations,
        },
    )
}

fn topic_to(version: i16, topic: &TopicMetadata, noise: &Noise) -> mr::MetadataResponseTopic {
    let part = |part: &PartitionMetadata| {
        let mut told = mr::MetadataResponsePartition::default()
            .with_error_code(part.error.code())
            .with_partition_index(part.index)
            .with_leader_id(k::BrokerId(part.leader.0))
            .with_replica_nodes(brokers(&part.replicas))
            .with_isr_nodes(brokers(&part.isr))
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 5 {
            told.offline_replicas = noise.list(k::BrokerId);
        }
        if version >= 7 {
            told.leader_epoch = part.leader_epoch;
        }
        told
    };
    let mut told = mr::MetadataResponseTopic::default()
        .with_error_code(topic.error.code())
        .with_name(Some(name_of(&topic.topic)))
        .with_partitions(topic.partitions.iter().map(part).collect())
        .with_unknown_tagged_fields(noise.tags.clone());
    if version >= 1 {
        told.is_internal = topic.is_internal;
    }
    if version >= 8 {
        told.topic_authorized_operations = topic.operations.unwrap_or(i32::MIN);
    }
    if version >= 10 {
        told.topic_id = their_id(topic.topic.id);
    }
    if version >= 12 {
        told.name = nullable_name(&topic.topic);
    }
    told
}

/// FindCoordinator (10).
pub struct FindCoordinator;

/// What the broker says to a key for now.
fn no_coordinator(error: ErrorCode) -> Option<&'static str> {
    match error {
        ErrorCode::InvalidRequest => Some("there are no coordinators of this type"),
        _ => Some("this broker serves no groups or transactions yet"),
    }
}

impl Api for FindCoordinator {
    type Ask = FindCoordinatorRequest;
    type Answer = FindCoordinatorResponse;
    type TheirAsk = k::FindCoordinatorRequest;
    type TheirAnswer = k::FindCoordinatorResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::FindCoordinator, Response::FindCoordinator);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let ask = (any::<i8>(), few(text()))
            .prop_map(|(key_type, keys)| FindCoordinatorRequest { key_type, keys });
        let answer = few((text(), error())).prop_map(|keys| FindCoordinatorResponse { keys });
        (ask, answer).boxed()
    }

    fn ask_to(version: i16, ask: &Self::Ask, noise: &Noise) -> Self::TheirAsk {
        let mut told =
            k::FindCoordinatorRequest::default().with_unknown_tagged_fields(noise.tags.clone());
        match version {
            4.. => told.coordinator_keys = ask.keys.iter().map(|key| str_bytes(key)).collect(),
            // One key; of several, the last.
            _ => told.key = str_bytes(ask.keys.last().map_or("", String::as_str)),
        }
        if version >= 1 {
            told.key_type = ask.key_type;
        }
        told
    }

    fn ask_from(version: i16, ask: Self::TheirAsk) -> Self::Ask {
        let keys = match version {
            4.. => ask.coordinator_keys,
            _ => vec![ask.key],
        };
        FindCoordinatorRequest {
            key_type: ask.key_type,
            keys: keys.into_iter().map(|key| key.to_string()).collect(),
        }
    }

    fn answer_to(version: i16, answer: &Self::Answer, noise: &Noise) -> Self::TheirAnswer {
        let mut told =
            k::FindCoordinatorResponse::default().with_unknown_tagged_fields(noise.tags.clone());
        if version >= 1 {
            told.throttle_time_ms = noise.number(0);
        }
        if version <= 3 {
            let error = answer
                .keys
                .last()
                .map_or(ErrorCode::None, |(_, error)| *error);
            told.error_code = error.code();
            told.node_id = noise.broker(-1);
            told.host = noise.plain_text("");
            told.port = noise.number(-1);
            if version >= 1 {
                told.error_message = noise.text(no_coordinator(error));
            }
            return told;
        }
        let coordinator = |(key, error): &(String, ErrorCode)| {
            cr::Coordinator::default()
                .with_key(str_bytes(key))
                .with_node_id(noise.broker(-1))
                .with_host(noise.plain_text(""))
                .with_port(noise.number(-1))
                .with_error_code(error.code())
                .with_error_message(noise.text(no_coordinator(*error)))
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        told.coordinators = answer.keys.iter().map(coordinator).collect();
        told
    }

    fn answer_from(version: i16, answer: Self::TheirAnswer) -> Self::Answer {
        let many = answer.coordinators.into_iter();
        let keys = match version {
            4.. => many
                .map(|told| (told.key.to_string(), code(told.error_code)))
                .collect(),
            // The key is not answered.
            _ => vec![(String::new(), code(answer.error_code))],
        };
        FindCoordinatorResponse { keys }
    }
}
