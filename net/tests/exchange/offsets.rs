//! ListOffsets, OffsetForLeaderEpoch and InitProducerId in the crate's words.

use kafka_protocol::messages as k;
use kafka_protocol::messages::{
    list_offsets_request as lq, list_offsets_response as lr, offset_for_leader_epoch_request as eq,
    offset_for_leader_epoch_response as er,
};
use proptest::prelude::*;
use seedlog_core::api::*;

use crate::values::*;
use crate::Api;

/// ListOffsets (2).
pub struct ListOffsets;

impl Api for ListOffsets {
    type Ask = ListOffsetsRequest;
    type Answer = ListOffsetsResponse;
    type TheirAsk = k::ListOffsetsRequest;
    type TheirAnswer = k::ListOffsetsResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::ListOffsets, Response::ListOffsets);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let query = (number(), number(), long());
        let query = query.prop_map(|(index, epoch, timestamp)| PartitionOffsetQuery {
            index,
            current_leader_epoch: epoch,
            timestamp,
        });
        let found = (number(), error(), long(), long(), number());
        let found = found.prop_map(|(index, error, timestamp, offset, epoch)| PartitionOffset {
            index,
            error,
            timestamp,
            offset,
            leader_epoch: epoch,
        });
        let ask = (few((topic(), few(query))), number(), any::<i8>());
        let ask = ask.prop_map(|(topics, timeout_ms, isolation)| ListOffsetsRequest {
            topics,
            timeout_ms,
            isolation,
        });
        let answer = few((topic(), few(found))).prop_map(|topics| ListOffsetsResponse { topics });
        (ask, answer).boxed()
    }

    fn ask_to(version: i16, ask: &ListOffsetsRequest, noise: &Noise) -> k::ListOffsetsRequest {
        let part = |part: &PartitionOffsetQuery| {
            let mut told = lq::ListOffsetsPartition::default()
                .with_partition_index(part.index)
                .with_timestamp(part.timestamp)
                .with_unknown_tagged_fields(noise.tags.clone());
            if version >= 4 {
                told.current_leader_epoch = part.current_leader_epoch;
            }
            told
        };
        let topic = |(topic, parts): &(TopicRef, Vec<PartitionOffsetQuery>)| {
            lq::ListOffsetsTopic::default()
                .with_name(name_of(topic))
                .with_partitions(parts.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let mut told = k::ListOffsetsRequest::default()
            .with_replica_id(noise.broker(-1))
            .with_topics(ask.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 2 {
            told.isolation_level = ask.isolation;
        }
        if version >= 10 {
            told.timeout_ms = ask.timeout_ms;
        }
        told
    }

    fn ask_from(version: i16, ask: k::ListOffsetsRequest) -> ListOffsetsRequest {
        let part = |part: lq::ListOffsetsPartition| PartitionOffsetQuery {
            index: part.partition_index,
            current_leader_epoch: part.current_leader_epoch,
            timestamp: match part.timestamp {
                0.. | -2..=-1 => part.timestamp,
                -3 if version >= 7 => -3,
                -4 if version >= 8 => -4,
                -5 if version >= 9 => -5,
                _ => PartitionOffsetQuery::UNSUPPORTED,
            },
        };
        let topic = |topic: lq::ListOffsetsTopic| {
            let parts = topic.partitions.into_iter().map(part).collect();
            (named(topic.name), parts)
        };
        let topics = ask.topics.into_iter().map(topic).collect();
        ListOffsetsRequest {
            topics,
            timeout_ms: if version >= 10 { ask.timeout_ms } else { -1 },
            isolation: ask.isolation_level,
        }
    }

    fn answer_to(
        version: i16,
        answer: &ListOffsetsResponse,
        noise: &Noise,
    ) -> k::ListOffsetsResponse {
        let part = |part: &PartitionOffset| {
            let mut told = lr::ListOffsetsPartitionResponse::default()
                .with_partition_index(part.index)
                .with_error_code(part.error.code())
                .with_timestamp(part.timestamp)
                .with_offset(part.offset)
                .with_unknown_tagged_fields(noise.tags.clone());
            if version >= 4 {
                told.leader_epoch = part.leader_epoch;
            }
            told
        };
        let topic = |(topic, parts): &(TopicRef, Vec<PartitionOffset>)| {
            lr::ListOffsetsTopicResponse::default()
                .with_name(name_of(topic))
                .with_partitions(parts.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let mut told = k::ListOffsetsResponse::default()
            .with_topics(answer.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 2 {
            told.throttle_time_ms = noise.number(0);
        }
        told
    }

    fn answer_from(_: i16, answer: k::ListOffsetsResponse) -> ListOffsetsResponse {
        let part = |part: lr::ListOffsetsPartitionResponse| PartitionOffset {
            index: part.partition_index,
            error: code(part.error_code),
            timestamp: part.timestamp,
            offset: part.offset,
            leader_epoch: part.leader_epoch,
        };
        let topic = |topic: lr::ListOffsetsTopicResponse| {
            let parts = topic.partitions.into_iter().map(part).collect();
            (named(topic.name), parts)
        };
        let topics = answer.topics.into_iter().map(topic).collect();
        ListOffsetsResponse { topics }
    }
}

/// OffsetForLeaderEpoch (23).
pub struct LeaderEpoch;

impl Api for LeaderEpoch {
    type Ask = OffsetForLeaderEpochRequest;
    type Answer = OffsetForLeaderEpochResponse;
    type TheirAsk = k::OffsetForLeaderEpochRequest;
    type TheirAnswer = k::OffsetForLeaderEpochResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) = (
        Request::OffsetForLeaderEpoch,
        Response::OffsetForLeaderEpoch,
    );

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let end = (number(), error(), number(), long());
        let end = end.prop_map(|(index, error, leader_epoch, end_offset)| EpochEnd {
            index,
            error,
            leader_epoch,
            end_offset,
        });
        let ask = few((topic(), few((number(), number(), number()))));
        let answer = few((topic(), few(end)));
        (
            ask.prop_map(|topics| OffsetForLeaderEpochRequest { topics }),
            answer.prop_map(|topics| OffsetForLeaderEpochResponse { topics }),
        )
            .boxed()
    }

    fn ask_to(version: i16, ask: &Self::Ask, noise: &Noise) -> Self::TheirAsk {
        let part = |(index, current, asked): &(i32, i32, i32)| {
            eq::OffsetForLeaderPartition::default()
                .with_partition(*index)
                .with_current_leader_epoch(*current)
                .with_leader_epoch(*asked)
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let topic = |(topic, parts): &(TopicRef, Vec<(i32, i32, i32)>)| {
            eq::OffsetForLeaderTopic::default()
                .with_topic(name_of(topic))
                .with_partitions(parts.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let mut told = k::OffsetForLeaderEpochRequest::default()
            .with_topics(ask.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 3 {
            told.replica_id = noise.broker(-1);
        }
        told
    }

    fn ask_from(_: i16, ask: Self::TheirAsk) -> Self::Ask {
        let part = |part: eq::OffsetForLeaderPartition| {
            (part.partition, part.current_leader_epoch, part.leader_epoch)
        };
        let topic = |topic: eq::OffsetForLeaderTopic| {
            let parts = topic.partitions.into_iter().map(part).collect();
            (named(topic.topic), parts)
        };
        let topics = ask.topics.into_iter().map(topic).collect();
        OffsetForLeaderEpochRequest { topics }
    }

    fn answer_to(_: i16, answer: &Self::Answer, noise: &Noise) -> Self::TheirAnswer {
        let part = |part: &EpochEnd| {
            er::EpochEndOffset::default()
                .with_partition(part.index)
                .with_error_code(part.error.code())
                .with_leader_epoch(part.leader_epoch)
                .with_end_offset(part.end_offset)
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        let topic = |(topic, parts): &(TopicRef, Vec<EpochEnd>)| {
            er::OffsetForLeaderTopicResult::default()
                .with_topic(name_of(topic))
                .with_partitions(parts.iter().map(part).collect())
                .with_unknown_tagged_fields(noise.tags.clone())
        };
        k::OffsetForLeaderEpochResponse::default()
            .with_throttle_time_ms(noise.number(0))
            .with_topics(answer.topics.iter().map(topic).collect())
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn answer_from(_: i16, answer: Self::TheirAnswer) -> Self::Answer {
        let part = |part: er::EpochEndOffset| EpochEnd {
            index: part.partition,
            error: code(part.error_code),
            leader_epoch: part.leader_epoch,
            end_offset: part.end_offset,
        };
        let topic = |topic: er::OffsetForLeaderTopicResult| {
            let parts = topic.partitions.into_iter().map(part).collect();
            (named(topic.topic), parts)
        };
        let topics = answer.topics.into_iter().map(topic).collect();
        OffsetForLeaderEpochResponse { topics }
    }
}

/// InitProducerId (22).
pub struct InitProducerId;

impl Api for InitProducerId {
    type Ask = InitProducerIdRequest;
    type Answer = InitProducerIdResponse;
    type TheirAsk = k::InitProducerIdRequest;
    type TheirAnswer = k::InitProducerIdResponse;
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response) =
        (Request::InitProducerId, Response::InitProducerId);

    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)> {
        let ask = (some_text(), long(), any::<i16>()).prop_map(|(transactional_id, id, epoch)| {
            InitProducerIdRequest {
                transactional_id,
                producer_id: id,
                producer_epoch: epoch,
            }
        });
        let answer =
            (error(), long(), any::<i16>()).prop_map(|(error, id, epoch)| InitProducerIdResponse {
                error,
                producer_id: id,
                producer_epoch: epoch,
            });
        (ask, answer).boxed()
    }

    fn ask_to(version: i16, ask: &Self::Ask, noise: &Noise) -> Self::TheirAsk {
        let mut told = k::InitProducerIdRequest::default()
            .with_transactional_id(nullable(&ask.transactional_id).map(k::TransactionalId))
            .with_transaction_timeout_ms(noise.number(i32::MAX))
            .with_unknown_tagged_fields(noise.tags.clone());
        if version >= 3 {
            told.producer_id = k::ProducerId(ask.producer_id);
            told.producer_epoch = ask.producer_epoch;
        }
        told
    }

    fn ask_from(_: i16, ask: Self::TheirAsk) -> Self::Ask {
        InitProducerIdRequest {
            transactional_id: text_from(ask.transactional_id.map(|id| id.0)),
            producer_id: ask.producer_id.0,
            producer_epoch: ask.producer_epoch,
        }
    }

    fn answer_to(_: i16, answer: &Self::Answer, noise: &Noise) -> Self::TheirAnswer {
        k::InitProducerIdResponse::default()
            .with_throttle_time_ms(noise.number(0))
            .with_error_code(answer.error.code())
            .with_producer_id(k::ProducerId(answer.producer_id))
            .with_producer_epoch(answer.producer_epoch)
            .with_unknown_tagged_fields(noise.tags.clone())
    }

    fn answer_from(_: i16, answer: Self::TheirAnswer) -> Self::Answer {
        InitProducerIdResponse {
            error: code(answer.error_code),
            producer_id: answer.producer_id.0,
            producer_epoch: answer.producer_epoch,
        }
    }
}
