//! What one Metadata request may create, and what a request names twice.

use super::*;
use crate::contract::{Config, Effects};
use crate::ids::Uuid;
use crate::metadata::Record;
use crate::time::{Instant, Now};

/// A shard whose metadata are topics `a`, `b` and `c` of two partitions.
fn shard(default_partitions: u32) -> Shard {
    let config = Config {
        default_partitions,
        ..Config::of_tests()
    };
    let now = Now {
        mono: Instant(1),
        wall_ms: 1,
    };
    let mut shard = Shard::boot(config, [0; 32], now, &mut Effects::default());
    let mut image = Image::default();
    for (byte, name) in (1..).zip(["a", "b", "c"]) {
        image.apply(&Record::Topic {
            id: Uuid([byte; 16]),
            name: name.into(),
            partitions: 2,
            configs: Default::default(),
        });
    }
    shard.image = Some(image);
    shard
}

fn by_name(name: &str) -> TopicRef {
    TopicRef {
        name: name.into(),
        id: Uuid::ZERO,
    }
}

fn by_id(byte: u8) -> TopicRef {
    TopicRef {
        name: String::new(),
        id: Uuid([byte; 16]),
    }
}

fn asks(topics: Vec<TopicRef>) -> MetadataRequest {
    MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    }
}

#[test]
fn one_request_creates_a_thousand_partitions_at_most() {
    assert_eq!(AUTO_CREATED_PARTITIONS, 1_000, "as in docs/limits.md");
    let names = (0..2_000).map(|at| by_name(&format!("new-{at:04}")));
    let request = asks(names.collect());
    for (default_partitions, count) in [(1, 1_000), (3, 333), (1_000, 1), (5_000, 1)] {
        let names = shard(default_partitions).topics_to_create(&request);
        assert_eq!(names.len(), count, "{default_partitions}");
        assert_eq!(names[0], "new-0000");
    }
}

#[test]
fn only_what_may_exist_and_does_not_is_created_once() {
    let mut shard = shard(1);
    let topics = ["b", "x", "", "a b", "x", "y"].map(by_name);
    let request = asks(topics.to_vec());
    assert_eq!(shard.topics_to_create(&request), ["x", "y"]);
    for id in [1, 9] {
        let beside = asks([&topics[..], &[by_id(id)]].concat());
        assert!(shard.topics_to_create(&beside).is_empty(), "only ids count");
    }
    let quiet = MetadataRequest {
        allow_auto_topic_creation: false,
        ..request.clone()
    };
    assert!(shard.topics_to_create(&quiet).is_empty());
    let all = MetadataRequest {
        topics: None,
        ..request.clone()
    };
    assert!(shard.topics_to_create(&all).is_empty());
    shard.config.auto_create_topics = false;
    assert!(shard.topics_to_create(&request).is_empty());
}

#[test]
fn metadata_lists_a_topic_once_however_it_is_named() {
    let told = |topics: &[TopicRef]| -> Vec<(String, u8, i16)> {
        let told = shard(1).describe(&asks(topics.to_vec())).topics;
        let told = told.into_iter();
        told.map(|topic| (topic.topic.name, topic.topic.id.0[0], topic.error.code()))
            .collect()
    };
    let row = |name: &str, id, code| (name.to_string(), id, code);
    let names = ["b", "a", "no", "b", "no"].map(by_name);
    let wanted = [row("b", 2, 0), row("a", 1, 0), row("no", 0, 3)];
    assert_eq!(told(&names), wanted);
    let both = |name: &str, byte| TopicRef {
        name: name.into(),
        ..by_id(byte)
    };
    let ids = [both("b", 1), by_id(2), by_name("b"), both("no", 9)];
    let ids = [&ids[..], &[by_id(9), by_id(1), both("a", 2)]].concat();
    let wanted = [row("a", 1, 0), row("b", 2, 0), row("", 9, 100)];
    assert_eq!(told(&ids), wanted);
}

fn query(index: i32, timestamp: i64) -> PartitionOffsetQuery {
    PartitionOffsetQuery {
        index,
        current_leader_epoch: -1,
        timestamp,
    }
}

/// What a ListOffsets answers before anybody is asked, by topic; -1 where somebody is.
fn listed(topics: &[(&str, &[(i32, i64)])]) -> Vec<(String, Vec<(i32, i16)>)> {
    let topics = topics.iter().map(|(name, parts)| {
        let parts = parts.iter().map(|(index, time)| query(*index, *time));
        (by_name(name), parts.collect())
    });
    let request = ListOffsetsRequest {
        topics: topics.collect(),
        timeout_ms: -1,
        isolation: 0,
    };
    let (mut layout, asks) = shard(1).lay_out(Request::ListOffsets(request));
    let asked: Vec<u32> = asks.iter().map(|(slot, _, _)| *slot).collect();
    for slot in asked {
        let index = layout.slots[slot as usize].0;
        let found = PartitionOffset {
            offset: 5,
            ..PartitionOffset::none(index, ErrorCode::None)
        };
        layout.put(slot, Part::Offset(found));
    }
    let Response::ListOffsets(response) = layout.take() else {
        panic!("another answer");
    };
    let topics = response.topics.into_iter();
    topics
        .map(|(topic, parts)| {
            let parts = parts.iter().map(|part| match part.offset {
                5 => (part.index, -1),
                _ => (part.index, part.error.code()),
            });
            (topic.name, parts.collect())
        })
        .collect()
}

#[test]
fn a_partition_that_list_offsets_names_twice_is_refused_once_and_not_looked_up() {
    let row = |name: &str, parts: &[(i32, i16)]| (name.to_string(), parts.to_vec());
    let told = listed(&[("a", &[(0, -1), (1, -1), (0, -2), (0, -1)])]);
    assert_eq!(told, [row("a", &[(0, 42), (1, -1)])]);
    // Also over two entries of the topic, which are answered in one, and where nobody has the
    // partition or knows the time.
    let told = listed(&[
        ("a", &[(0, -1)]),
        ("b", &[(0, -1)]),
        ("a", &[(0, -1), (1, 0)]),
    ]);
    let first = row("a", &[(0, 42), (1, -1)]);
    assert_eq!(told, [first, row("b", &[(0, -1)])]);
    let told = listed(&[("no", &[(0, -1), (0, -1)]), ("a", &[(1, -9), (1, -9)])]);
    assert_eq!(told, [row("no", &[(0, 42)]), row("a", &[(1, 42)])]);
    let told = listed(&[("no", &[(0, -1)]), ("a", &[(1, -9), (7, -1)])]);
    assert_eq!(told, [row("no", &[(0, 3)]), row("a", &[(1, 35), (7, 3)])]);
}

/// The topics and partitions that are answered, and what is asked of each.
type Shown = (Vec<(String, Vec<i32>)>, Vec<PartAsk>);

fn shown(request: Request) -> Shown {
    let (layout, asks) = shard(1).lay_out(request);
    let mut slots = layout.slots.iter().map(|(index, _)| *index);
    let topics = layout.topics.iter();
    let topics = topics.map(|(topic, count)| {
        let parts = slots.by_ref().take(*count).collect();
        (topic.name.clone(), parts)
    });
    (
        topics.collect(),
        asks.into_iter().map(|(.., ask)| ask).collect(),
    )
}

fn deletes(topics: &[(&str, &[(i32, i64)])]) -> Shown {
    let topics = topics.iter();
    let topics = topics.map(|(name, parts)| (by_name(name), parts.to_vec()));
    shown(Request::DeleteRecords(DeleteRecordsRequest {
        topics: topics.collect(),
        timeout_ms: 0,
    }))
}

fn row(name: &str, parts: &[i32]) -> (String, Vec<i32>) {
    (name.to_string(), parts.to_vec())
}

#[test]
fn of_a_partition_that_is_named_twice_the_last_question_counts() {
    let (topics, asks) = deletes(&[("a", &[(1, 5), (0, 7), (1, 6)]), ("b", &[])]);
    assert_eq!(topics, [row("a", &[1, 0])]);
    assert_eq!(asks, [PartAsk::Delete(6), PartAsk::Delete(7)]);
    let (topics, asks) = deletes(&[
        ("b", &[]),
        ("a", &[(1, 5)]),
        ("b", &[(0, 1)]),
        ("a", &[(0, 2), (1, 6)]),
    ]);
    assert_eq!(topics, [row("a", &[1, 0]), row("b", &[0])]);
    assert_eq!(asks, [6, 2, 1].map(PartAsk::Delete));
    // In another order than that of their numbers they are still once each.
    let (topics, asks) = deletes(&[("b", &[(1, 5), (0, 6)]), ("a", &[(0, 1)])]);
    assert_eq!(topics, [row("b", &[1, 0]), row("a", &[0])]);
    assert_eq!(asks, [5, 6, 1].map(PartAsk::Delete));
}

#[test]
fn a_fetch_keeps_the_order_in_which_it_reads() {
    let part = |index, fetch_offset| PartitionFetch {
        index,
        fetch_offset,
        ..PartitionFetch::default()
    };
    let of = |topic: TopicRef, partitions: &[PartitionFetch]| TopicFetch {
        topic,
        partitions: partitions.to_vec(),
    };
    for by in [by_name as fn(&str) -> TopicRef, |name: &str| {
        by_id(name.as_bytes()[0] - b'a' + 1)
    }] {
        let (topics, asks) = shown(Request::Fetch(FetchRequest {
            by_id: !by("a").id.is_zero(),
            topics: vec![
                of(by("a"), &[part(0, 1)]),
                of(by("a"), &[part(1, 2)]),
                of(by("b"), &[part(0, 3)]),
                of(by("c"), &[]),
                of(by("b"), &[part(0, 4), part(1, 5)]),
                of(by("a"), &[part(1, 6), part(7, 7)]),
            ],
            ..FetchRequest::default()
        }));
        let last = row("a", &[7]);
        assert_eq!(topics, [row("a", &[0, 1]), row("b", &[0, 1]), last]);
        let asked = [part(0, 1), part(1, 6), part(0, 4), part(1, 5)];
        assert_eq!(asks, asked.map(PartAsk::Fetch));
    }
}

#[test]
fn an_offset_for_a_leader_epoch_is_answered_as_often_as_it_is_asked() {
    let request = OffsetForLeaderEpochRequest {
        topics: vec![
            (by_name("a"), vec![(0, -1, 0), (0, -1, 1)]),
            (by_name("b"), vec![]),
            (by_name("a"), vec![(0, -1, 0)]),
        ],
    };
    let (topics, asks) = shown(Request::OffsetForLeaderEpoch(request));
    assert_eq!(topics, [row("a", &[0, 0]), row("b", &[]), row("a", &[0])]);
    assert_eq!(asks.len(), 3);
}
