//! Values for both sides of the oracle: generators, and small turns from one side's types to the
//! other's.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use seedlog_core::api::TopicRef;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{NodeId, Uuid};

/// What the crate puts into fields that our side does not keep. `None` is the one value our own
/// encoder writes there.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    number: Option<i32>,
    text: Option<Option<String>>,
    /// Unknown tagged fields, for every structure.
    pub tags: BTreeMap<i32, Bytes>,
}

impl Noise {
    /// A number, or what our encoder writes.
    pub fn number(&self, ours: i32) -> i32 {
        self.number.unwrap_or(ours)
    }

    /// A long number, or what our encoder writes.
    pub fn long(&self, ours: i64) -> i64 {
        self.number.map_or(ours, |number| i64::from(number) << 31)
    }

    /// A small number, or what our encoder writes.
    pub fn byte(&self, ours: i8) -> i8 {
        self.number.map_or(ours, |number| number as i8)
    }

    /// A flag; our encoder never sets one.
    pub fn flag(&self) -> bool {
        self.number.is_some_and(|number| number % 2 == 0)
    }

    /// Text or null, or what our encoder writes.
    pub fn text(&self, ours: Option<&str>) -> Option<StrBytes> {
        match &self.text {
            None => ours.map(str_bytes),
            Some(text) => text.as_deref().map(str_bytes),
        }
    }

    /// Text that cannot be null, or what our encoder writes.
    pub fn plain_text(&self, ours: &str) -> StrBytes {
        self.text(Some(ours)).unwrap_or_default()
    }

    /// A broker's id, or what our encoder writes.
    pub fn broker(&self, ours: i32) -> BrokerId {
        BrokerId(self.number(ours))
    }

    /// A list that our encoder leaves empty.
    pub fn list<T>(&self, item: impl Fn(i32) -> T) -> Vec<T> {
        self.number.map(item).into_iter().collect()
    }
}

/// Noise of any kind.
pub fn noise() -> impl Strategy<Value = Noise> {
    let tags = prop::collection::btree_map(
        prop_oneof![100..130i32, Just(16_384), Just(i32::MAX)],
        vec(any::<u8>(), 0..200).prop_map(Bytes::from),
        0..3,
    );
    (number(), option::of(text()), tags).prop_map(|(number, text, tags)| Noise {
        number: Some(number),
        text: Some(text),
        tags,
    })
}

/// Any number, the remarkable ones often.
pub fn number() -> impl Strategy<Value = i32> {
    prop_oneof![
        Just(-1),
        Just(0),
        Just(i32::MAX),
        Just(i32::MIN),
        any::<i32>()
    ]
}

/// Any long number, the remarkable ones often.
pub fn long() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(-1),
        Just(-2),
        -6..-2i64,
        Just(i64::MAX),
        Just(i64::MIN),
        any::<i64>()
    ]
}

/// Text: empty, plain, beyond ASCII, and long enough for lengths of two bytes.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z]{1,12}",
        Just("тема-\u{1F980}-価格".to_string()),
        "\\PC{1,9}",
        "[a-z]{130,300}",
    ]
}

/// Text or null.
pub fn some_text() -> impl Strategy<Value = Option<String>> {
    option::of(text())
}

/// Few or no items.
pub fn few<S: Strategy>(item: S) -> impl Strategy<Value = Vec<S::Value>>
where
    S::Value: 'static,
{
    vec(item, 0..4)
}

/// Any id, zero often.
pub fn id() -> impl Strategy<Value = Uuid> {
    prop_oneof![Just(Uuid::ZERO), any::<[u8; 16]>().prop_map(Uuid)]
}

/// A topic with name and id; a message carries what its version knows.
pub fn topic() -> impl Strategy<Value = TopicRef> {
    (text(), id()).prop_map(|(name, id)| TopicRef { name, id })
}

/// Any broker.
pub fn node() -> impl Strategy<Value = NodeId> {
    number().prop_map(NodeId)
}

/// Any error code that the core knows.
pub fn error() -> impl Strategy<Value = ErrorCode> {
    let known: Vec<ErrorCode> = (-1..200).filter_map(ErrorCode::from_code).collect();
    prop::sample::select(known)
}

/// Bytes that stand for record batches: none, small, and large enough for a piece of their own.
pub fn records() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 500..900)].prop_map(Bytes::from)
}

/// The crate's text.
pub fn str_bytes(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

/// The crate's text, or null.
pub fn nullable(text: &Option<String>) -> Option<StrBytes> {
    text.as_deref().map(str_bytes)
}

/// The crate's name of a topic.
pub fn name_of(topic: &TopicRef) -> TopicName {
    TopicName(str_bytes(&topic.name))
}

/// The crate's name of a topic where an empty one beside an id is null.
pub fn nullable_name(topic: &TopicRef) -> Option<TopicName> {
    (!topic.name.is_empty() || topic.id.is_zero()).then(|| name_of(topic))
}

/// The crate's id, whose type is of a crate that is not ours to name.
pub fn their_id<T: TryFrom<Vec<u8>>>(id: Uuid) -> T {
    T::try_from(id.0.to_vec()).unwrap_or_else(|_| panic!("16 bytes are an id"))
}

/// Our topic from what the crate has of it.
pub fn topic_from(name: Option<TopicName>, id: [u8; 16]) -> TopicRef {
    TopicRef {
        name: name.map(|name| name.0.to_string()).unwrap_or_default(),
        id: Uuid(id),
    }
}

/// Our topic from the crate's name.
pub fn named(name: TopicName) -> TopicRef {
    topic_from(Some(name), [0; 16])
}

/// Our text from the crate's.
pub fn text_from(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// The code for a number. Every number of these tests is of a known code.
pub fn code(number: i16) -> ErrorCode {
    ErrorCode::from_code(number).expect("a code that was generated")
}

/// Brokers' ids.
pub fn brokers(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|node| BrokerId(node.0)).collect()
}

/// Brokers' ids.
pub fn nodes(brokers: Vec<BrokerId>) -> Vec<NodeId> {
    brokers.into_iter().map(|broker| NodeId(broker.0)).collect()
}
