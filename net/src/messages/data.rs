//! The data path: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, InitProducerId.

use seedlog_core::api::*;
use seedlog_core::codec::{Codec, Visit};
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::NodeId;

use super::{since, Address};

/// A topic by name, or by id from version `by_id` on.
fn topic_ref<C: Codec>(c: &mut C, topic: &mut TopicRef, by_id: bool) -> Visit {
    match by_id {
        true => c.uuid(&mut topic.id),
        false => {
            if c.reading() {
                topic.id = Default::default();
            }
            c.string(&mut topic.name)
        }
    }
}

pub fn produce_request<C: Codec>(c: &mut C, m: &mut ProduceRequest) -> Visit {
    let v = c.version();
    c.nullable_string(&mut m.transactional_id)?;
    c.i16(&mut m.acks)?;
    c.i32(&mut m.timeout_ms)?;
    m.zstd_allowed = v >= 7;
    m.by_id = v >= 13;
    c.array(&mut m.topics, |c, topic| {
        topic_ref(c, &mut topic.topic, v >= 13)?;
        c.array(&mut topic.partitions, |c, (index, records)| {
            c.i32(index)?;
            let mut pieces = records.take().map(|records| vec![records]);
            c.records(&mut pieces)?;
            *records = pieces.and_then(|mut pieces| pieces.pop());
            c.tags()
        })?;
        c.tags()
    })?;
    c.tags()
}

pub fn produce_response<C: Codec>(c: &mut C, m: &mut ProduceResponse) -> Visit {
    let v = c.version();
    c.array(&mut m.topics, |c, (topic, partitions)| {
        topic_ref(c, topic, v >= 13)?;
        c.array(partitions, |c, part| {
            c.i32(&mut part.index)?;
            c.error(&mut part.error)?;
            c.i64(&mut part.base_offset)?;
            c.i64(&mut part.log_append_time_ms)?;
            since(5, c, &mut part.log_start_offset, C::i64)?;
            if v >= 8 {
                c.array(&mut part.record_errors, |c, (index, text)| {
                    c.i32(index)?;
                    c.nullable_string(text)?;
                    c.tags()
                })?;
                c.nullable_string(&mut part.error_message)?;
            }
            c.tags()
        })?;
        c.tags()
    })?;
    c.fixed_i32(0)?;
    c.tags()
}

pub fn fetch_request<C: Codec>(c: &mut C, m: &mut FetchRequest) -> Visit {
    let v = c.version();
    let mut replica = if m.from_replica { 0 } else { -1 };
    if v <= 14 {
        c.i32(&mut replica)?;
    }
    c.i32(&mut m.max_wait_ms)?;
    c.i32(&mut m.min_bytes)?;
    c.i32(&mut m.max_bytes)?;
    c.i8(&mut m.isolation)?;
    if v >= 7 {
        c.i32(&mut m.session_id)?;
    }
    since(7, c, &mut m.session_epoch, C::i32)?;
    m.by_id = v >= 13;
    c.array(&mut m.topics, |c, topic| {
        topic_ref(c, &mut topic.topic, v >= 13)?;
        c.array(&mut topic.partitions, |c, part| {
            c.i32(&mut part.index)?;
            since(9, c, &mut part.current_leader_epoch, C::i32)?;
            c.i64(&mut part.fetch_offset)?;
            since(12, c, &mut part.last_fetched_epoch, C::i32)?;
            if v >= 5 {
                c.i64(&mut -1)?;
            }
            c.i32(&mut part.max_bytes)?;
            c.tags()
        })?;
        c.tags()
    })?;
    if v >= 7 {
        // Forgotten topics belong to sessions, of which none is granted.
        c.array(&mut Vec::new(), |c, topic: &mut TopicRef| {
            topic_ref(c, topic, v >= 13)?;
            c.array(&mut Vec::new(), |c, index| c.i32(index))?;
            c.tags()
        })?;
    }
    if v >= 11 {
        c.string(&mut String::new())?;
    }
    if v <= 14 {
        c.tags()?;
    } else {
        c.tagged(&[(REPLICA_STATE, replica >= 0)], |c, _| {
            c.i32(&mut replica)?;
            c.i64(&mut -1)?;
            c.tags()
        })?;
    }
    m.from_replica = replica >= 0;
    Ok(())
}

/// The tag of a follower's id and epoch in Fetch, where they stand from v15 on (KIP-903,
/// `FetchRequest.json`).
const REPLICA_STATE: i32 = 1;

/// Tags of a partition in the answer to Fetch (`FetchResponse.json`), and of the answer itself.
const DIVERGING_EPOCH: i32 = 0;
const CURRENT_LEADER: i32 = 1;
const NODE_ENDPOINTS: i32 = 0;
/// Versions of Fetch in which a leader is named (`KafkaApis.handleFetchRequest`).
const LEADERS_SINCE: i16 = 16;

pub fn fetch_response<C: Codec>(c: &mut C, m: &mut FetchResponse, address: &Address) -> Visit {
    let v = c.version();
    c.fixed_i32(0)?;
    if v >= 7 {
        c.error(&mut m.error)?;
        c.i32(&mut m.session_id)?;
    }
    c.array(&mut m.topics, |c, (topic, partitions)| {
        topic_ref(c, topic, v >= 13)?;
        c.array(partitions, |c, part| {
            c.i32(&mut part.index)?;
            if !c.reading() && v <= 5 && part.error == ErrorCode::KafkaStorageError {
                // Clients of that age do not know it, and take it for a final error
                // (`KafkaApis.maybeDownConvertStorageError`).
                part.error = ErrorCode::NotLeaderOrFollower;
            }
            c.error(&mut part.error)?;
            c.i64(&mut part.high_watermark)?;
            c.i64(&mut part.last_stable_offset)?;
            since(5, c, &mut part.log_start_offset, C::i64)?;
            aborted_transactions(c, &mut part.lists_aborted)?;
            if v >= 11 {
                c.fixed_i32(-1)?;
            }
            // Empty is zero bytes, never null: librdkafka takes null for a broken broker.
            let mut records = Some(std::mem::take(&mut part.records));
            c.records(&mut records)?;
            part.records = records.unwrap_or_default();
            // No bytes are no piece, whether they came as null or as empty.
            part.records.retain(|piece| !piece.is_empty());
            fetched_tags(c, part)
        })?;
        c.tags()
    })?;
    if v < LEADERS_SINCE {
        return c.tags();
    }
    c.tagged(&[(NODE_ENDPOINTS, !m.endpoints.is_empty())], |c, _| {
        c.array(&mut m.endpoints, |c, (node, advertised)| {
            c.node(node)?;
            address.host_and_port(c, advertised)?;
            c.nullable_string(&mut None)?;
            c.tags()
        })
    })
}

/// None are served: the list is empty or null.
fn aborted_transactions<C: Codec>(c: &mut C, listed: &mut bool) -> Visit {
    let mut all = listed.then(Vec::new);
    c.nullable_array(&mut all, |c, producer: &mut i64| {
        c.i64(producer)?;
        c.i64(&mut 0)?;
        c.tags()
    })?;
    *listed = all.is_some();
    Ok(())
}

fn fetched_tags<C: Codec>(c: &mut C, part: &mut PartitionFetched) -> Visit {
    let known = [
        (DIVERGING_EPOCH, part.diverging.is_some()),
        (CURRENT_LEADER, part.leader.is_some()),
    ];
    let known = match c.version() {
        LEADERS_SINCE.. => &known[..],
        _ => &known[..1],
    };
    c.tagged(known, |c, tag| match tag {
        DIVERGING_EPOCH => {
            let (epoch, end) = part.diverging.get_or_insert((-1, -1));
            c.i32(epoch)?;
            c.i64(end)?;
            c.tags()
        }
        _ => {
            let (leader, epoch) = part.leader.get_or_insert((NodeId(-1), -1));
            c.node(leader)?;
            c.i32(epoch)?;
            c.tags()
        }
    })
}

pub fn list_offsets_request<C: Codec>(c: &mut C, m: &mut ListOffsetsRequest) -> Visit {
    let v = c.version();
    c.fixed_i32(-1)?;
    if v >= 2 {
        c.i8(&mut m.isolation)?;
    }
    c.array(&mut m.topics, |c, (topic, partitions)| {
        c.string(&mut topic.name)?;
        c.array(partitions, |c, part| {
            c.i32(&mut part.index)?;
            since(4, c, &mut part.current_leader_epoch, C::i32)?;
            c.i64(&mut part.timestamp)?;
            if c.reading() && special_time_is_unknown(part.timestamp, v) {
                part.timestamp = PartitionOffsetQuery::UNSUPPORTED;
            }
            c.tags()
        })?;
        c.tags()
    })?;
    since(10, c, &mut m.timeout_ms, C::i32)?;
    c.tags()
}

/// A negative time that means nothing at this version (`ReplicaManager`, TIMESTAMP_MIN_VERSION): the
/// partition is answered UNSUPPORTED_VERSION. Java and librdkafka ask in another way on that.
fn special_time_is_unknown(timestamp: i64, version: i16) -> bool {
    let since = match timestamp {
        0.. | -2..=-1 => return false,
        -3 => 7,
        -4 => 8,
        -5 => 9,
        -6 => 11,
        _ => return true,
    };
    version < since
}

pub fn list_offsets_response<C: Codec>(c: &mut C, m: &mut ListOffsetsResponse) -> Visit {
    let v = c.version();
    if v >= 2 {
        c.fixed_i32(0)?;
    }
    c.array(&mut m.topics, |c, (topic, partitions)| {
        c.string(&mut topic.name)?;
        c.array(partitions, |c, part| {
            c.i32(&mut part.index)?;
            c.error(&mut part.error)?;
            c.i64(&mut part.timestamp)?;
            c.i64(&mut part.offset)?;
            since(4, c, &mut part.leader_epoch, C::i32)?;
            c.tags()
        })?;
        c.tags()
    })?;
    c.tags()
}

pub fn epoch_request<C: Codec>(c: &mut C, m: &mut OffsetForLeaderEpochRequest) -> Visit {
    if c.version() >= 3 {
        c.fixed_i32(-1)?;
    }
    c.array(&mut m.topics, |c, (topic, partitions)| {
        c.string(&mut topic.name)?;
        c.array(partitions, |c, (index, current, asked)| {
            c.i32(index)?;
            c.i32(current)?;
            c.i32(asked)?;
            c.tags()
        })?;
        c.tags()
    })?;
    c.tags()
}

pub fn epoch_response<C: Codec>(c: &mut C, m: &mut OffsetForLeaderEpochResponse) -> Visit {
    c.fixed_i32(0)?;
    c.array(&mut m.topics, |c, (topic, partitions)| {
        c.string(&mut topic.name)?;
        c.array(partitions, |c, part| {
            c.error(&mut part.error)?;
            c.i32(&mut part.index)?;
            c.i32(&mut part.leader_epoch)?;
            c.i64(&mut part.end_offset)?;
            c.tags()
        })?;
        c.tags()
    })?;
    c.tags()
}

pub fn init_producer_id_request<C: Codec>(c: &mut C, m: &mut InitProducerIdRequest) -> Visit {
    c.nullable_string(&mut m.transactional_id)?;
    c.fixed_i32(i32::MAX)?;
    since(3, c, &mut m.producer_id, C::i64)?;
    since(3, c, &mut m.producer_epoch, C::i16)?;
    c.tags()
}

pub fn init_producer_id_response<C: Codec>(c: &mut C, m: &mut InitProducerIdResponse) -> Visit {
    c.fixed_i32(0)?;
    c.error(&mut m.error)?;
    c.i64(&mut m.producer_id)?;
    c.i16(&mut m.producer_epoch)?;
    c.tags()
}
