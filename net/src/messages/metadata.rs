//! Metadata (3), versions 0-13.

use seedlog_core::api::*;
use seedlog_core::codec::{Codec, Visit};
use seedlog_core::ids::Uuid;

use super::since;

/// Host and port by which this connection reached the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// Host and port of a broker: as it says, or this address.
    pub(super) fn host_and_port<C: Codec>(
        &self,
        c: &mut C,
        advertised: &mut Option<(String, u16)>,
    ) -> Visit {
        let (mut host, port) = advertised
            .take()
            .unwrap_or_else(|| (self.host.clone(), self.port));
        let mut port = i32::from(port);
        c.string(&mut host)?;
        c.i32(&mut port)?;
        *advertised = Some((host, port as u16));
        Ok(())
    }
}

pub fn request<C: Codec>(c: &mut C, m: &mut MetadataRequest) -> Visit {
    let v = c.version();
    if v == 0 {
        // It has no null: an empty list means all topics.
        let mut topics = m.topics.take().unwrap_or_default();
        c.array(&mut topics, |c, topic| c.string(&mut topic.name))?;
        m.topics = Some(topics).filter(|topics| !topics.is_empty());
    } else {
        let badly_named = &mut m.badly_named;
        c.nullable_array(&mut m.topics, |c, topic| wanted(c, topic, badly_named))?;
    }
    if c.reading() && v < 4 {
        m.allow_auto_topic_creation = true;
    }
    if v >= 4 {
        c.bool(&mut m.allow_auto_topic_creation)?;
    }
    if (8..=10).contains(&v) {
        c.bool(&mut m.cluster_operations)?;
    }
    if v >= 8 {
        c.bool(&mut m.topic_operations)?;
    }
    c.tags()
}

/// A topic that is asked for, from v1 on; `badly_named` if its version has the id or the null that it
/// bears, but no meaning for it.
fn wanted<C: Codec>(c: &mut C, topic: &mut TopicRef, badly_named: &mut bool) -> Visit {
    let v = c.version();
    if v >= 10 {
        c.uuid(&mut topic.id)?;
        let mut name = Some(std::mem::take(&mut topic.name));
        name = name.filter(|name| !name.is_empty() || (topic.id.is_zero() && !*badly_named));
        c.nullable_string(&mut name)?;
        if c.reading() && v < 12 {
            *badly_named |= name.is_none() || !topic.id.is_zero();
        }
        topic.name = name.unwrap_or_default();
    } else {
        c.string(&mut topic.name)?;
    }
    c.tags()
}

pub fn response<C: Codec>(c: &mut C, m: &mut MetadataResponse, address: &Address) -> Visit {
    let v = c.version();
    if v >= 3 {
        c.fixed_i32(0)?;
    }
    c.array(&mut m.brokers, |c, (node, advertised)| {
        c.node(node)?;
        address.host_and_port(c, advertised)?;
        if v >= 1 {
            c.nullable_string(&mut None)?;
        }
        c.tags()
    })?;
    if v >= 2 {
        // The id on the wire is text; only its presence matters to a client of ours.
        let mut text = Some(m.cluster_id.to_base64());
        c.nullable_string(&mut text)?;
    }
    since(1, c, &mut m.controller.0, C::i32)?;
    c.array(&mut m.topics, |c, topic| self::topic(c, topic))?;
    if (8..=10).contains(&v) {
        operations(c, &mut m.operations)?;
    }
    if v >= 13 {
        c.i16(&mut 0)?;
    }
    c.tags()
}

/// What a client may do: the smallest number where that was not asked.
fn operations<C: Codec>(c: &mut C, allowed: &mut Option<i32>) -> Visit {
    let mut bits = allowed.unwrap_or(i32::MIN);
    c.i32(&mut bits)?;
    *allowed = Some(bits).filter(|bits| *bits != i32::MIN);
    Ok(())
}

fn topic<C: Codec>(c: &mut C, topic: &mut TopicMetadata) -> Visit {
    let v = c.version();
    c.error(&mut topic.error)?;
    if v >= 12 {
        // Null where the topic was asked for by an id that nobody has.
        let mut name = Some(std::mem::take(&mut topic.topic.name));
        name = name.filter(|name| !name.is_empty() || topic.topic.id.is_zero());
        c.nullable_string(&mut name)?;
        topic.topic.name = name.unwrap_or_default();
    } else {
        c.string(&mut topic.topic.name)?;
    }
    if v >= 10 {
        c.uuid(&mut topic.topic.id)?;
    } else if !c.reading() {
        topic.topic.id = Uuid::ZERO;
    }
    if v >= 1 {
        c.bool(&mut topic.is_internal)?;
    }
    c.array(&mut topic.partitions, |c, partition| {
        c.error(&mut partition.error)?;
        c.i32(&mut partition.index)?;
        c.node(&mut partition.leader)?;
        since(7, c, &mut partition.leader_epoch, C::i32)?;
        c.array(&mut partition.replicas, |c, node| c.node(node))?;
        c.array(&mut partition.isr, |c, node| c.node(node))?;
        if v >= 5 {
            c.array(&mut Vec::new(), |c, node| c.i32(node))?;
        }
        c.tags()
    })?;
    if v >= 8 {
        operations(c, &mut topic.operations)?;
    }
    c.tags()
}
