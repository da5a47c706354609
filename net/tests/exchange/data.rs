//! Produce and Fetch in the crate's words.

use bytes::Bytes;
use kafka_protocol::messages as k;
use kafka_protocol::messages::{
    fetch_request as fq, fetch_response as fr, produce_request as pq, produce_response as pr,
};
use proptest::option;
use proptest::prelude::*;
use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{NodeId, Uuid};

use crate::values::*;
use crate::{Api, HOST, PORT};

/// Produce (0).
pub struct Produce;

impl Api for Produce {
    type Ask = ProduceRequest;
    type Answer = ProduceResponse;
    type TheirAsk = k::ProduceRequest;
    type TheirAnswer = k::ProduceResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::Produce, Response::Produce);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let batches = few((number(), option::of(records())));
        let topics =
            few((topic(), batches)
                .prop_map(|(topic, partitions)| TopicProduce { topic, partitions }));
        // acks=0 is not answered: the client would take an answer for a stray one.
        let acks = any::<i16>().prop_map(|acks| if acks == 0 { -1 } else { acks });
        let ask = (some_text(), acks, number(), topics);
        let ask = ask.prop_map(
            |(transactional_id, acks, timeout_ms, topics)| ProduceRequest {
                transactional_id,
                acks,
                timeout_ms,
                zstd_allowed: true,
                by_id: false,
                topics,
            },
        );
        let offsets = (long(), long(), long());
        let records = few((number(), some_text()));
        let part = (number(), error(), offsets, records, some_text());
        let part = part.prop_map(|(index, error, offsets, record_errors, error_message)| {
            let (base_offset, log_append_time_ms, log_start_offset) = offsets;
            PartitionProduced {
                index,
                error,
                base_offset,
                log_append_time_ms,
                log_start_offset,
                record_errors,
                error_message,
            }
        });
        let answer = few((topic(), few(part))).prop_map(|topics| ProduceResponse { topics });
        (ask, answer).boxed()
    }

    fn ask_to(version: i16, ask: &ProduceRequest, noise: &Noise) -> k::ProduceRequest {
        let part = |(index, records): &(i32, Option<Bytes>)| {
            pq::PartitionProduceData::default()
                .with_index(*index)
                .with_records(records.clone())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let topic = |topic: &TopicProduce| {
            let told = pq::TopicProduceData::default()
                .with_partition_data(topic.partitions.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone());
            match version {
                13.. => told.with_topic_id(their_id(topic.topic.id)),
                _ => told.with_name(name_of(&topic.topic)),
            }
        };
        k::ProduceRequest::default()
            .with_transactional_id(nullable(&ask.transactional_id).map(k::TransactionalId))
            .with_acks(ask.acks)
            .with_timeout_ms(ask.timeout_ms)
            .with_topic_data(ask.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn ask_from(version: i16, ask: k::ProduceRequest) -> ProduceRequest {
        let part = |part: pq::PartitionProduceData| (part.index, part.records);
        let topic = |topic: pq::TopicProduceData| TopicProduce {
            topic: topic_from(Some(topic.name), topic.topic_id.into_bytes()),
            partitions: topic.partition_data.into_iter().map(part).collect(),
        };
        ProduceRequest {
            transactional_id: text_from(ask.transactional_id.map(|id| id.0)),
            acks: ask.acks,
            timeout_ms: ask.timeout_ms,
            zstd_allowed: version >= 7,
            by_id: version >= 13,
            topics: ask.topic_data.into_iter().map(topic).collect(),
        }
    }

    fn answer_to(version: i16, answer: &ProduceResponse, noise: &Noise) -> k::ProduceResponse {
        let part = |part: &PartitionProduced| produced(version, part, noise);
        let topic = |(topic, parts): &(TopicRef, Vec<PartitionProduced>)| {
            let told = pr::TopicProduceResponse::default()
                .with_partition_responses(parts.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone());
            match version {
                13.. => told.with_topic_id(their_id(topic.id)),
                _ => told.with_name(name_of(topic)),
            }
        };
        let mut told = k::ProduceResponse::default()
            .with_responses(answer.topics.iter().map(topic).collect())
            .with_throttle_time_ms(noise.number(0))
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 10 {
            told.node_endpoints = noise.list(|port| pr::NodeEndpoint::default().with_port(port));
        }
        told
    }

    fn answer_from(_: i16, answer: k::ProduceResponse) -> ProduceResponse {
        let part = |part: pr::PartitionProduceResponse| PartitionProduced {
            index: part.index,
            error: code(part.error_code),
            base_offset: part.base_offset,
            log_append_time_ms: part.log_append_time_ms,
            log_start_offset: part.log_start_offset,
            record_errors: part.record_errors.into_iter().map(bad_record).collect(),
            error_message: text_from(part.error_message),
        };
        let topic = |topic: pr::TopicProduceResponse| {
            let parts = topic.partition_responses.into_iter().map(part).collect();
            (
                topic_from(Some(topic.name), topic.topic_id.into_bytes()),
                parts,
            )
        };
        let topics = answer.responses.into_iter().map(topic).collect();
        ProduceResponse { topics }
    }
}

fn produced(version: i16, part: &PartitionProduced, noise: &Noise) -> pr::PartitionProduceResponse {
    let mut told = pr::PartitionProduceResponse::default()
        .with_index(part.index)
        .with_error_code(part.error.code())
        .with_base_offset(part.base_offset)
        .with_log_append_time_ms(part.log_append_time_ms)
        .with_error_message(None)
        .with_unknown_tagged_fields(noise.tags.clone());
    if version >= 5 {
        told.log_start_offset = part.log_start_offset;
    }
    if version >= 8 {
        told.error_message = nullable(&part.error_message);
        let bad_record = |(index, text): &(i32, Option<String>)| {
            pr::BatchIndexAndErrorMessage::default()
                .with_batch_index(*index)
                .with_batch_index_error_message(nullable(text))
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        told.record_errors = part.record_errors.iter().map(bad_record).collect();
    }
    if version >= 10 {
        told.current_leader.leader_epoch = noise.number(-1);
    }
    told
}

fn bad_record(record: pr::BatchIndexAndErrorMessage) -> (i32, Option<String>) {
    let text = text_from(record.batch_index_error_message);
    (record.batch_index, text)
}

/// Fetch (1).
pub struct Fetch;

impl Api for Fetch {
    type Ask = FetchRequest;
    type Answer = FetchResponse;
    type TheirAsk = k::FetchRequest;
    type TheirAnswer = k::FetchResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::Fetch, Response::Fetch);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        (fetches(), fetched()).boxed()
    }

    fn ask_to(version: i16, ask: &FetchRequest, noise: &Noise) -> k::FetchRequest {
        let topic = |topic: &TopicFetch| {
            let part = |part: &PartitionFetch| fetch(version, part, noise);
            let told = fq::FetchTopic::default()
                .with_partitions(topic.partitions.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone());
            match version {
                13.. => told.with_topic_id(their_id(topic.topic.id)),
                _ => told.with_topic(name_of(&topic.topic)),
            }
        };
        let mut told = k::FetchRequest::default()
            .with_max_wait_ms(ask.max_wait_ms)
            .with_min_bytes(ask.min_bytes)
            .with_max_bytes(ask.max_bytes)
            .with_isolation_level(ask.isolation)
            .with_topics(ask.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 7 {
            told.session_id = ask.session_id;
            told.session_epoch = ask.session_epoch;
            told.forgotten_topics_data = noise.list(|index| {
                let gone = fq::ForgottenTopic::default().with_partitions(vec![index, 0]);
                let gone = gone.with_unknown_tagged_fields(noise.tags.clone());
                match version {
                    13.. => gone.with_topic_id(their_id(Uuid([7; 16]))),
                    _ => gone.with_topic(k::TopicName(noise.plain_text(""))),
                }
            });
        }
        if version >= 11 {
            told.rack_id = noise.plain_text("");
        }
        if version >= 12 {
            told.cluster_id = noise.text(None);
        }
        match version {
            15.. => {
                told.replica_state.replica_id = noise.broker(-1);
                told.replica_state.replica_epoch = noise.long(-1);
            }
            _ => told.replica_id = noise.broker(-1),
        }
        told
    }

    fn ask_from(version: i16, ask: k::FetchRequest) -> FetchRequest {
        let part = |part: fq::FetchPartition| PartitionFetch {
            index: part.partition,
            current_leader_epoch: part.current_leader_epoch,
            fetch_offset: part.fetch_offset,
            last_fetched_epoch: part.last_fetched_epoch,
            max_bytes: part.partition_max_bytes,
        };
        let topic = |topic: fq::FetchTopic| TopicFetch {
            topic: topic_from(Some(topic.topic), topic.topic_id.into_bytes()),
            partitions: topic.partitions.into_iter().map(part).collect(),
        };
        FetchRequest {
            max_wait_ms: ask.max_wait_ms,
            min_bytes: ask.min_bytes,
            max_bytes: ask.max_bytes,
            session_id: ask.session_id,
            session_epoch: ask.session_epoch,
            by_id: version >= 13,
            from_replica: ask.replica_id.0 >= 0 || ask.replica_state.replica_id.0 >= 0,
            isolation: ask.isolation_level,
            topics: ask.topics.into_iter().map(topic).collect(),
        }
    }

    fn answer_to(version: i16, answer: &FetchResponse, noise: &Noise) -> k::FetchResponse {
        let topic = |(topic, parts): &(TopicRef, Vec<PartitionFetched>)| {
            let part = |part: &PartitionFetched| fetched_part(version, part, noise);
            let told = fr::FetchableTopicResponse::default()
                .with_partitions(parts.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone());
            match version {
                13.. => told.with_topic_id(their_id(topic.id)),
                _ => told.with_topic(name_of(topic)),
            }
        };
        let mut told = k::FetchResponse::default()
            .with_throttle_time_ms(noise.number(0))
            .with_responses(answer.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 7 {
            told.error_code = answer.error.code();
            told.session_id = answer.session_id;
        }
        if version >= 16 {
            let node = |(node, address): &(NodeId, Option<(String, u16)>)| {
                let (host, port) = address.clone().unwrap_or((HOST.into(), PORT));
                fr::NodeEndpoint::default()
                    .with_node_id(k::BrokerId(node.0))
                    .with_host(str_bytes(&host))
                    .with_port(port.into())
                    .with_rack(noise.text(None))
                    .with_unknown_tagged_fields(noise.tags.clone())
            };
            told.node_endpoints = answer.endpoints.iter().map(node).collect();
        }
        told
    }

    fn answer_from(version: i16, answer: k::FetchResponse) -> FetchResponse {
        let default = fr::PartitionData::default();
        let part = |part: fr::PartitionData| PartitionFetched {
            index: part.partition_index,
            error: code(part.error_code),
            high_watermark: part.high_watermark,
            last_stable_offset: part.last_stable_offset,
            log_start_offset: part.log_start_offset,
            diverging: (part.diverging_epoch != default.diverging_epoch)
                .then_some((part.diverging_epoch.epoch, part.diverging_epoch.end_offset)),
            leader: (version >= 16 && part.current_leader != default.current_leader).then_some((
                NodeId(part.current_leader.leader_id.0),
                part.current_leader.leader_epoch,
            )),
            lists_aborted: part.aborted_transactions.is_some(),
            records: part.records.into_iter().collect(),
            ends_early: false,
        };
        let topic = |topic: fr::FetchableTopicResponse| {
            let parts = topic.partitions.into_iter().map(part).collect();
            (
                topic_from(Some(topic.topic), topic.topic_id.into_bytes()),
                parts,
            )
        };
        let node = |node: fr::NodeEndpoint| {
            let address = (node.host.to_string(), node.port as u16);
            (NodeId(node.node_id.0), Some(address))
        };
        FetchResponse {
            error: code(answer.error_code),
            session_id: answer.session_id,
            topics: answer.responses.into_iter().map(topic).collect(),
            endpoints: answer.node_endpoints.into_iter().map(node).collect(),
        }
    }
}

fn fetches() -> impl Strategy<Value = FetchRequest> {
    let part = (number(), number(), long(), number(), number());
    let part = part.prop_map(|(index, current, offset, last, max_bytes)| PartitionFetch {
        index,
        current_leader_epoch: current,
        fetch_offset: offset,
        last_fetched_epoch: last,
        max_bytes,
    });
    let topic =
        (topic(), few(part)).prop_map(|(topic, partitions)| TopicFetch { topic, partitions });
    let numbers = (number(), number(), number(), number(), number());
    let numbers = (numbers, any::<i8>());
    (numbers, few(topic)).prop_map(|((numbers, isolation), topics)| FetchRequest {
        max_wait_ms: numbers.0,
        min_bytes: numbers.1,
        max_bytes: numbers.2,
        session_id: numbers.3,
        session_epoch: numbers.4,
        by_id: false,
        from_replica: false,
        isolation,
        topics,
    })
}

fn fetched() -> impl Strategy<Value = FetchResponse> {
    let marks = (long(), long(), long(), option::of((number(), long())));
    let leader = option::of((node(), number()));
    let part = (
        number(),
        error(),
        marks,
        leader,
        any::<bool>(),
        few(records()),
    );
    let part =
        part.prop_map(
            |(index, error, marks, leader, lists_aborted, records)| PartitionFetched {
                index,
                error,
                high_watermark: marks.0,
                last_stable_offset: marks.1,
                log_start_offset: marks.2,
                diverging: marks.3,
                leader,
                lists_aborted,
                records,
                ends_early: false,
            },
        );
    let topics = few((topic(), few(part)));
    let endpoints = few((node(), option::of((text(), any::<u16>()))));
    let parts = (error(), number(), topics, endpoints);
    parts.prop_map(|(error, session_id, topics, endpoints)| FetchResponse {
        error,
        session_id,
        topics,
        endpoints,
    })
}

fn fetch(version: i16, part: &PartitionFetch, noise: &Noise) -> fq::FetchPartition {
    let mut told = fq::FetchPartition::default()
        .with_partition(part.index)
        .with_fetch_offset(part.fetch_offset)
        .with_partition_max_bytes(part.max_bytes)
        .with_unknown_tagged_fields(noise.tags.clone());
    if version >= 5 {
        told.log_start_offset = noise.long(-1);
    }
    if version >= 9 {
        told.current_leader_epoch = part.current_leader_epoch;
    }
    if version >= 12 {
        told.last_fetched_epoch = part.last_fetched_epoch;
    }
    told
}

fn fetched_part(version: i16, part: &PartitionFetched, noise: &Noise) -> fr::PartitionData {
    let aborted = noise.list(|id| {
        fr::AbortedTransaction::default()
            .with_producer_id(k::ProducerId(id.into()))
            .with_first_offset(noise.long(0))
            .with_unknown_tagged_fields(noise.tags.clone())
    });
    let mut told = fr::PartitionData::default()
        .with_partition_index(part.index)
        .with_error_code(match part.error {
            // Versions that do not know it tell another.
            ErrorCode::KafkaStorageError if version <= 5 => 6,
            error => error.code(),
        })
        .with_high_watermark(part.high_watermark)
        .with_last_stable_offset(part.last_stable_offset)
        .with_aborted_transactions(part.lists_aborted.then_some(aborted))
        .with_records(Some(Bytes::from(part.records.concat())))
        .with_unknown_tagged_fields(noise.tags.clone());
    if version >= 5 {
        told.log_start_offset = part.log_start_offset;
    }
    if version >= 11 {
        told.preferred_read_replica = noise.broker(-1);
    }
    if version >= 12 {
        if let Some((epoch, end)) = part.diverging {
            (told.diverging_epoch.epoch, told.diverging_epoch.end_offset) = (epoch, end);
        }
        // Told since v16, and passed over before.
        let (leader, epoch) = match part.leader {
            Some((leader, epoch)) if version >= 16 => (leader.0, epoch),
            None if version >= 16 => (-1, -1),
            _ => (-1, noise.number(-1)),
        };
        told.current_leader.leader_id = k::BrokerId(leader);
        told.current_leader.leader_epoch = epoch;
        told.snapshot_id.epoch = noise.number(-1);
    }
    // Null, as brokers before Kafka 2.0 and some proxies answer where there is nothing.
    if part.records.is_empty() && noise.flag() {
        told.records = None;
    }
    told
}
