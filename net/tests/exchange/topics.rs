//! CreateTopics, DeleteTopics, CreatePartitions and DeleteRecords in the crate's words.

use kafka_protocol::messages as k;
use kafka_protocol::messages::{
    create_partitions_request as pq, create_partitions_response as pr, create_topics_request as cq,
    create_topics_response as cr, delete_records_request as rq, delete_records_response as rr,
    delete_topics_request as dq, delete_topics_response as dr,
};
use proptest::option;
use proptest::prelude::*;
use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{NodeId, Uuid};

use crate::values::*;
use crate::Api;

/// DescribeConfigs' name for a default.
const DEFAULT_CONFIG: i8 = 5;
/// DescribeConfigs' name for a config set on the topic.
const TOPIC_CONFIG: i8 = 1;

/// CreateTopics (19).
pub struct CreateTopics;

impl Api for CreateTopics {
    type Ask = CreateTopicsRequest;
    type Answer = CreateTopicsResponse;
    type TheirAsk = k::CreateTopicsRequest;
    type TheirAnswer = k::CreateTopicsResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::CreateTopics, Response::CreateTopics);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        (
            new_topics(),
            created().prop_map(|topics| CreateTopicsResponse { topics }),
        )
            .boxed()
    }

    fn ask_to(_: i16, ask: &CreateTopicsRequest, noise: &Noise) -> k::CreateTopicsRequest {
        let assigned = |(index, nodes): &(i32, Vec<NodeId>)| {
            cq::CreatableReplicaAssignment::default()
                .with_partition_index(*index)
                .with_broker_ids(brokers(nodes))
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let config = |(name, value): &(String, Option<String>)| {
            cq::CreatableTopicConfig::default()
                .with_name(str_bytes(name))
                .with_value(nullable(value))
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let topic = |topic: &NewTopic| {
            cq::CreatableTopic::default()
                .with_name(k::TopicName(str_bytes(&topic.name)))
                .with_num_partitions(topic.partitions)
                .with_replication_factor(topic.replication_factor)
                .with_assignments(topic.assignments.iter().map(assigned).collect())
                .with_configs(topic.configs.iter().map(config).collect())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        k::CreateTopicsRequest::default()
            .with_topics(ask.topics.iter().map(topic).collect())
            .with_timeout_ms(ask.timeout_ms)
            .with_validate_only(ask.validate_only)
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn ask_from(_: i16, ask: k::CreateTopicsRequest) -> CreateTopicsRequest {
        let assigned =
            |told: cq::CreatableReplicaAssignment| (told.partition_index, nodes(told.broker_ids));
        let config =
            |told: cq::CreatableTopicConfig| (told.name.to_string(), text_from(told.value));
        let topic = |topic: cq::CreatableTopic| NewTopic {
            name: topic.name.0.to_string(),
            partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
            assignments: topic.assignments.into_iter().map(assigned).collect(),
            configs: topic.configs.into_iter().map(config).collect(),
        };
        CreateTopicsRequest {
            topics: ask.topics.into_iter().map(topic).collect(),
            timeout_ms: ask.timeout_ms,
            validate_only: ask.validate_only,
        }
    }

    fn answer_to(version: i16, answer: &Self::Answer, noise: &Noise) -> Self::TheirAnswer {
        let topic = |topic: &TopicCreated| created_to(version, topic, noise);
        k::CreateTopicsResponse::default()
            .with_throttle_time_ms(noise.number(0))
            .with_topics(answer.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn answer_from(_: i16, answer: Self::TheirAnswer) -> Self::Answer {
        let config = |told: cr::CreatableTopicConfigs| {
            let default = told.config_source == DEFAULT_CONFIG;
            (told.name.to_string(), text_from(told.value), default)
        };
        let topic = |topic: cr::CreatableTopicResult| TopicCreated {
            name: topic.name.0.to_string(),
            id: Uuid(topic.topic_id.into_bytes()),
            error: code(topic.error_code),
            error_message: text_from(topic.error_message),
            partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
            configs: topic.configs.into_iter().flatten().map(config).collect(),
        };
        let topics = answer.topics.into_iter().map(topic).collect();
        CreateTopicsResponse { topics }
    }
}

fn new_topics() -> impl Strategy<Value = CreateTopicsRequest> {
    let assignments = few((number(), few(node())));
    let configs = few((text(), some_text()));
    let topic = (text(), number(), any::<i16>(), assignments, configs);
    let topic = topic.prop_map(
        |(name, partitions, factor, assignments, configs)| NewTopic {
            name,
            partitions,
            replication_factor: factor,
            assignments,
            configs,
        },
    );
    (few(topic), number(), any::<bool>()).prop_map(|(topics, timeout_ms, validate_only)| {
        CreateTopicsRequest {
            topics,
            timeout_ms,
            validate_only,
        }
    })
}

fn created() -> impl Strategy<Value = Vec<TopicCreated>> {
    let configs = few((text(), some_text(), any::<bool>()));
    let outcome = (error(), some_text());
    let topic = (text(), id(), outcome, number(), any::<i16>(), configs);
    few(topic.prop_map(
        |(name, id, (error, error_message), partitions, replication_factor, configs)| {
            TopicCreated {
                name,
                id,
                error,
                error_message,
                partitions,
                replication_factor,
                configs,
            }
        },
    ))
}

fn created_to(version: i16, topic: &TopicCreated, noise: &Noise) -> cr::CreatableTopicResult {
    let config = |(name, value, default): &(String, Option<String>, bool)| {
        cr::CreatableTopicConfigs::default()
            .with_name(str_bytes(name))
            .with_value(nullable(value))
            .with_read_only(noise.flag())
            .with_config_source(match default {
                true => DEFAULT_CONFIG,
                false => TOPIC_CONFIG,
            })
            .with_is_sensitive(noise.flag())
            .with_unknown_tagged_fields(noise.tags.clone())
    };
    let mut told = cr::CreatableTopicResult::default()
        .with_name(k::TopicName(str_bytes(&topic.name)))
        .with_error_code(topic.error.code())
        .with_error_message(nullable(&topic.error_message))
        .with_unknown_tagged_fields(noise.tags.clone());
    if version >= 5 {
        told.num_partitions = topic.partitions;
        told.replication_factor = topic.replication_factor;
        told.configs = Some(topic.configs.iter().map(config).collect());
        told.topic_config_error_code = noise.byte(0).into();
        if topic.configs.is_empty() && noise.flag() {
            told.configs = None;
        }
    }
    if version >= 7 {
        told.topic_id = their_id(topic.id);
    }
    told
}

/// DeleteTopics (20).
pub struct DeleteTopics;

impl Api for DeleteTopics {
    type Ask = DeleteTopicsRequest;
    type Answer = DeleteTopicsResponse;
    type TheirAsk = k::DeleteTopicsRequest;
    type TheirAnswer = k::DeleteTopicsResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::DeleteTopics, Response::DeleteTopics);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let ask = (few(topic()), number()).prop_map(|(topics, timeout_ms)| DeleteTopicsRequest {
            topics,
            misnamed: Vec::new(),
            timeout_ms,
        });
        let answer = few((topic(), error(), some_text()));
        let answer = answer.prop_map(|topics| DeleteTopicsResponse { topics });
        (ask, answer).boxed()
    }

    fn ask_to(version: i16, ask: &Self::Ask, noise: &Noise) -> Self::TheirAsk {
        let topic = |topic: &TopicRef| {
            dq::DeleteTopicState::default()
                .with_name(nullable_name(topic))
                .with_topic_id(their_id(topic.id))
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let told = k::DeleteTopicsRequest::default()
            .with_timeout_ms(ask.timeout_ms)
            .with_unknown_tagged_fields(noise.tags.clone());
        match version {
            6.. => told.with_topics(ask.topics.iter().map(topic).collect()),
            _ => told.with_topic_names(ask.topics.iter().map(name_of).collect()),
        }
    }

    fn ask_from(_: i16, ask: Self::TheirAsk) -> Self::Ask {
        let by_name = ask.topic_names.into_iter().map(named);
        let topics = ask.topics.into_iter();
        let topics = topics.map(|topic| topic_from(topic.name, topic.topic_id.into_bytes()));
        DeleteTopicsRequest {
            topics: by_name.chain(topics).collect(),
            misnamed: Vec::new(),
            timeout_ms: ask.timeout_ms,
        }
    }

    fn answer_to(version: i16, answer: &Self::Answer, noise: &Noise) -> Self::TheirAnswer {
        let topic = |(topic, error, message): &(TopicRef, ErrorCode, Option<String>)| {
            let mut told = dr::DeletableTopicResult::default()
                .with_name(Some(name_of(topic)))
                .with_error_code(error.code())
                .with_error_message(None)
                .with_unknown_tagged_fields(noise.tags.clone());
            if version >= 5 {
                told.error_message = nullable(message);
            }
            if version >= 6 {
                let by_name = topic.id.is_zero() && *error == ErrorCode::UnknownTopicOrPartition;
                let named = by_name || !topic.name.is_empty();
                told.name = named.then(|| name_of(topic));
                told.topic_id = their_id(topic.id);
            }
            told
        };
        k::DeleteTopicsResponse::default()
            .with_throttle_time_ms(noise.number(0))
            .with_responses(answer.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn answer_from(_: i16, answer: Self::TheirAnswer) -> Self::Answer {
        let topic = |told: dr::DeletableTopicResult| {
            let topic = topic_from(told.name, told.topic_id.into_bytes());
            (topic, code(told.error_code), text_from(told.error_message))
        };
        let topics = answer.responses.into_iter().map(topic).collect();
        DeleteTopicsResponse { topics }
    }
}

/// CreatePartitions (37).
pub struct CreatePartitions;

impl Api for CreatePartitions {
    type Ask = CreatePartitionsRequest;
    type Answer = CreatePartitionsResponse;
    type TheirAsk = k::CreatePartitionsRequest;
    type TheirAnswer = k::CreatePartitionsResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::CreatePartitions, Response::CreatePartitions);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let topics = few((text(), number(), option::of(few(few(node())))));
        let ask =
            (topics, number(), any::<bool>()).prop_map(|(topics, timeout_ms, validate_only)| {
                CreatePartitionsRequest {
                    topics,
                    timeout_ms,
                    validate_only,
                }
            });
        let answer = few((text(), error(), some_text()));
        let answer = answer.prop_map(|topics| CreatePartitionsResponse { topics });
        (ask, answer).boxed()
    }

    fn ask_to(_: i16, ask: &Self::Ask, noise: &Noise) -> Self::TheirAsk {
        let assigned = |nodes: &Vec<NodeId>| {
            pq::CreatePartitionsAssignment::default()
                .with_broker_ids(brokers(nodes))
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let topic = |(name, count, assignments): &(String, i32, Option<Vec<Vec<NodeId>>>)| {
            let assignments = assignments.as_ref();
            pq::CreatePartitionsTopic::default()
                .with_name(k::TopicName(str_bytes(name)))
                .with_count(*count)
                .with_assignments(assignments.map(|all| all.iter().map(assigned).collect()))
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        k::CreatePartitionsRequest::default()
            .with_topics(ask.topics.iter().map(topic).collect())
            .with_timeout_ms(ask.timeout_ms)
            .with_validate_only(ask.validate_only)
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn ask_from(_: i16, ask: Self::TheirAsk) -> Self::Ask {
        let assigned = |told: pq::CreatePartitionsAssignment| nodes(told.broker_ids);
        let topic = |topic: pq::CreatePartitionsTopic| {
            let assignments = topic.assignments;
            let assignments = assignments.map(|all| all.into_iter().map(assigned).collect());
            (topic.name.0.to_string(), topic.count, assignments)
        };
        CreatePartitionsRequest {
            topics: ask.topics.into_iter().map(topic).collect(),
            timeout_ms: ask.timeout_ms,
            validate_only: ask.validate_only,
        }
    }

    fn answer_to(_: i16, answer: &Self::Answer, noise: &Noise) -> Self::TheirAnswer {
        let topic = |(name, error, message): &(String, ErrorCode, Option<String>)| {
            pr::CreatePartitionsTopicResult::default()
                .with_name(k::TopicName(str_bytes(name)))
                .with_error_code(error.code())
                .with_error_message(nullable(message))
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        k::CreatePartitionsResponse::default()
            .with_throttle_time_ms(noise.number(0))
            .with_results(answer.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn answer_from(_: i16, answer: Self::TheirAnswer) -> Self::Answer {
        let topic = |told: pr::CreatePartitionsTopicResult| {
            let message = text_from(told.error_message);
            (told.name.0.to_string(), code(told.error_code), message)
        };
        let topics = answer.results.into_iter().map(topic).collect();
        CreatePartitionsResponse { topics }
    }
}

/// DeleteRecords (21).
pub struct DeleteRecords;

impl Api for DeleteRecords {
    type Ask = DeleteRecordsRequest;
    type Answer = DeleteRecordsResponse;
    type TheirAsk = k::DeleteRecordsRequest;
    type TheirAnswer = k::DeleteRecordsResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::DeleteRecords, Response::DeleteRecords);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let ask = (few((topic(), few((number(), long())))), number());
        let answer = few((topic(), few((number(), long(), error()))));
        (
            ask.prop_map(|(topics, timeout_ms)| DeleteRecordsRequest { topics, timeout_ms }),
            answer.prop_map(|topics| DeleteRecordsResponse { topics }),
        )
            .boxed()
    }

    fn ask_to(_: i16, ask: &Self::Ask, noise: &Noise) -> Self::TheirAsk {
        let part = |(index, offset): &(i32, i64)| {
            rq::DeleteRecordsPartition::default()
                .with_partition_index(*index)
                .with_offset(*offset)
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let topic = |(topic, parts): &(TopicRef, Vec<(i32, i64)>)| {
            rq::DeleteRecordsTopic::default()
                .with_name(name_of(topic))
                .with_partitions(parts.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        k::DeleteRecordsRequest::default()
            .with_topics(ask.topics.iter().map(topic).collect())
            .with_timeout_ms(ask.timeout_ms)
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn ask_from(_: i16, ask: Self::TheirAsk) -> Self::Ask {
        let part = |part: rq::DeleteRecordsPartition| (part.partition_index, part.offset);
        let topic = |topic: rq::DeleteRecordsTopic| {
            let parts = topic.partitions.into_iter().map(part).collect();
            (named(topic.name), parts)
        };
        let topics = ask.topics.into_iter().map(topic).collect();
        DeleteRecordsRequest {
            topics,
            timeout_ms: ask.timeout_ms,
        }
    }

    fn answer_to(_: i16, answer: &Self::Answer, noise: &Noise) -> Self::TheirAnswer {
        let part = |(index, low, error): &(i32, i64, ErrorCode)| {
            rr::DeleteRecordsPartitionResult::default()
                .with_partition_index(*index)
                .with_low_watermark(*low)
                .with_error_code(error.code())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let topic = |(topic, parts): &(TopicRef, Vec<(i32, i64, ErrorCode)>)| {
            rr::DeleteRecordsTopicResult::default()
                .with_name(name_of(topic))
                .with_partitions(parts.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        k::DeleteRecordsResponse::default()
            .with_throttle_time_ms(noise.number(0))
            .with_topics(answer.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn answer_from(_: i16, answer: Self::TheirAnswer) -> Self::Answer {
        let part = |part: rr::DeleteRecordsPartitionResult| {
            let error = code(part.error_code);
            (part.partition_index, part.low_watermark, error)
        };
        let topic = |topic: rr::DeleteRecordsTopicResult| {
            let parts = topic.partitions.into_iter().map(part).collect();
            (named(topic.name), parts)
        };
        let topics = answer.topics.into_iter().map(topic).collect();
        DeleteRecordsResponse { topics }
    }
}
