//! Topics and coordinators: CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords,
//! FindCoordinator.

use seedlog_core::api::*;
use seedlog_core::codec::{Codec, Visit};
use seedlog_core::error_code::ErrorCode;

use super::since;

pub fn create_topics_request<C: Codec>(c: &mut C, m: &mut CreateTopicsRequest) -> Visit {
    c.array(&mut m.topics, |c, topic| {
        c.string(&mut topic.name)?;
        c.i32(&mut topic.partitions)?;
        c.i16(&mut topic.replication_factor)?;
        c.array(&mut topic.assignments, |c, (index, brokers)| {
            c.i32(index)?;
            c.array(brokers, |c, node| c.node(node))?;
            c.tags()
        })?;
        c.array(&mut topic.configs, |c, (name, value)| {
            c.string(name)?;
            c.nullable_string(value)?;
            c.tags()
        })?;
        c.tags()
    })?;
    c.i32(&mut m.timeout_ms)?;
    c.bool(&mut m.validate_only)?;
    c.tags()
}

pub fn create_topics_response<C: Codec>(c: &mut C, m: &mut CreateTopicsResponse) -> Visit {
    let v = c.version();
    c.fixed_i32(0)?;
    c.array(&mut m.topics, |c, topic| {
        c.string(&mut topic.name)?;
        if v >= 7 {
            c.uuid(&mut topic.id)?;
        }
        c.error(&mut topic.error)?;
        c.nullable_string(&mut topic.error_message)?;
        since(5, c, &mut topic.partitions, C::i32)?;
        since(5, c, &mut topic.replication_factor, C::i16)?;
        if v >= 5 {
            c.array_or_null(&mut topic.configs, |c, (name, value, default)| {
                c.string(name)?;
                c.nullable_string(value)?;
                c.bool(&mut false)?;
                // DescribeConfigs' sources: 1 set on the topic, 5 the default.
                let mut source = if *default { 5 } else { 1 };
                c.i8(&mut source)?;
                *default = source == 5;
                c.bool(&mut false)?;
                c.tags()
            })?;
        }
        c.tags()
    })?;
    c.tags()
}

pub fn delete_topics_request<C: Codec>(c: &mut C, m: &mut DeleteTopicsRequest) -> Visit {
    let v = c.version();
    let (misnamed, mut place) = (&mut m.misnamed, 0);
    c.array(&mut m.topics, |c, topic| {
        if v < 6 {
            return c.string(&mut topic.name);
        }
        let is_misnamed = misnamed.binary_search(&place).is_ok();
        let mut name = Some(std::mem::take(&mut topic.name));
        name = name.filter(|name| !name.is_empty() || topic.id.is_zero() != is_misnamed);
        c.nullable_string(&mut name)?;
        c.uuid(&mut topic.id)?;
        let is_misnamed = match name.as_deref() {
            None => topic.id.is_zero(),
            Some("") => !topic.id.is_zero(),
            Some(_) => false,
        };
        if c.reading() && is_misnamed {
            misnamed.push(place);
        }
        topic.name = name.unwrap_or_default();
        place += 1;
        c.tags()
    })?;
    c.i32(&mut m.timeout_ms)?;
    c.tags()
}

pub fn delete_topics_response<C: Codec>(c: &mut C, m: &mut DeleteTopicsResponse) -> Visit {
    let v = c.version();
    c.fixed_i32(0)?;
    c.array(&mut m.topics, |c, (topic, error, message)| {
        // Null where the topic was not asked for by a name: an empty one is no topic's.
        let by_name = topic.id.is_zero() && *error == ErrorCode::UnknownTopicOrPartition;
        let mut name = Some(std::mem::take(&mut topic.name));
        name = name.filter(|name| v < 6 || by_name || !name.is_empty());
        c.nullable_string(&mut name)?;
        topic.name = name.unwrap_or_default();
        if v >= 6 {
            c.uuid(&mut topic.id)?;
        }
        c.error(error)?;
        if v >= 5 {
            c.nullable_string(message)?;
        }
        c.tags()
    })?;
    c.tags()
}

pub fn create_partitions_request<C: Codec>(c: &mut C, m: &mut CreatePartitionsRequest) -> Visit {
    c.array(&mut m.topics, |c, (name, total, assignments)| {
        c.string(name)?;
        c.i32(total)?;
        c.nullable_array(assignments, |c, brokers| {
            c.array(brokers, |c, node| c.node(node))?;
            c.tags()
        })?;
        c.tags()
    })?;
    c.i32(&mut m.timeout_ms)?;
    c.bool(&mut m.validate_only)?;
    c.tags()
}

pub fn create_partitions_response<C: Codec>(c: &mut C, m: &mut CreatePartitionsResponse) -> Visit {
    c.fixed_i32(0)?;
    c.array(&mut m.topics, |c, (name, error, message)| {
        c.string(name)?;
        c.error(error)?;
        c.nullable_string(message)?;
        c.tags()
    })?;
    c.tags()
}

pub fn delete_records_request<C: Codec>(c: &mut C, m: &mut DeleteRecordsRequest) -> Visit {
    c.array(&mut m.topics, |c, (topic, partitions)| {
        c.string(&mut topic.name)?;
        c.array(partitions, |c, (index, offset)| {
            c.i32(index)?;
            c.i64(offset)?;
            c.tags()
        })?;
        c.tags()
    })?;
    c.i32(&mut m.timeout_ms)?;
    c.tags()
}

pub fn delete_records_response<C: Codec>(c: &mut C, m: &mut DeleteRecordsResponse) -> Visit {
    c.fixed_i32(0)?;
    c.array(&mut m.topics, |c, (topic, partitions)| {
        c.string(&mut topic.name)?;
        c.array(partitions, |c, (index, low, error)| {
            c.i32(index)?;
            c.i64(low)?;
            c.error(error)?;
            c.tags()
        })?;
        c.tags()
    })?;
    c.tags()
}

pub fn find_coordinator_request<C: Codec>(c: &mut C, m: &mut FindCoordinatorRequest) -> Visit {
    let v = c.version();
    if v <= 3 {
        let mut key = m.keys.pop().unwrap_or_default();
        c.string(&mut key)?;
        m.keys = vec![key];
    }
    if v >= 1 {
        c.i8(&mut m.key_type)?;
    }
    if v >= 4 {
        c.array(&mut m.keys, |c, key| c.string(key))?;
    }
    c.tags()
}

/// Why there is no coordinator.
fn no_coordinator(error: ErrorCode) -> Option<String> {
    let text = match error {
        ErrorCode::InvalidRequest => "there are no coordinators of this type",
        _ => "this broker serves no groups or transactions yet",
    };
    Some(text.to_string())
}

pub fn find_coordinator_response<C: Codec>(c: &mut C, m: &mut FindCoordinatorResponse) -> Visit {
    let v = c.version();
    if v >= 1 {
        c.fixed_i32(0)?;
    }
    if v <= 3 {
        let (key, mut error) = m.keys.pop().unwrap_or((String::new(), ErrorCode::None));
        c.error(&mut error)?;
        if v >= 1 {
            c.nullable_string(&mut no_coordinator(error))?;
        }
        nowhere(c)?;
        m.keys = vec![(key, error)];
        return c.tags();
    }
    c.array(&mut m.keys, |c, (key, error)| {
        c.string(key)?;
        nowhere(c)?;
        c.error(error)?;
        c.nullable_string(&mut no_coordinator(*error))?;
        c.tags()
    })?;
    c.tags()
}

/// Node, host and port of no broker.
fn nowhere<C: Codec>(c: &mut C) -> Visit {
    c.fixed_i32(-1)?;
    c.string(&mut String::new())?;
    c.fixed_i32(-1)
}
