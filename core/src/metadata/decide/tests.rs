//! The bounds of what one request may add, and what is named twice. What Kafka answers to the same
//! requests is held by the wire's own tests (`net/tests/field/admin.rs`).

use super::*;

fn config() -> Config {
    Config {
        default_partitions: 3,
        journal_max_bytes: 128 << 20,
        ..Config::of_tests()
    }
}

fn id(byte: u8) -> Uuid {
    Uuid([byte; 16])
}

/// Metadata with these topics: names and partitions; the ids count up from 1.
fn image(topics: &[(&str, u32)]) -> Image {
    let mut image = Image::default();
    for (at, (name, partitions)) in topics.iter().enumerate() {
        image.apply(&Record::Topic {
            id: id(at as u8 + 1),
            name: name.to_string(),
            partitions: *partitions,
            configs: Vec::new(),
        });
    }
    image
}

fn new(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_string(),
        partitions,
        replication_factor: -1,
        ..NewTopic::default()
    }
}

/// Codes of a CreateTopics in the order of the answer, and the partitions that are made.
fn create(image: &Image, topics: &[NewTopic], validate_only: bool) -> (Vec<i16>, Vec<u32>) {
    let request = CreateTopicsRequest {
        topics: topics.to_vec(),
        timeout_ms: 0,
        validate_only,
    };
    let request = Request::CreateTopics(request);
    let decision = decide(image, 0, &config(), &request, &mut || id(99)).expect("for the ledger");
    let made = decision.records.iter().map(|record| match record {
        Record::Topic { partitions, .. } => *partitions,
        other => panic!("{other:?}"),
    });
    let made = made.collect();
    let Response::CreateTopics(response) = decision.response else {
        panic!("another answer");
    };
    let codes = response.topics.iter().map(|topic| topic.error.code());
    (codes.collect(), made)
}

/// Codes of a CreatePartitions, and the new totals.
fn grow(image: &Image, topics: &[(&str, i32)], validate_only: bool) -> (Vec<i16>, Vec<u32>) {
    let topics = topics.iter();
    let request = CreatePartitionsRequest {
        topics: topics
            .map(|(name, total)| (name.to_string(), *total, None))
            .collect(),
        timeout_ms: 0,
        validate_only,
    };
    let request = Request::CreatePartitions(request);
    let decision = decide(image, 0, &config(), &request, &mut || id(99)).expect("for the ledger");
    let totals = decision.records.iter().map(|record| match record {
        Record::Partitions { total, .. } => *total,
        other => panic!("{other:?}"),
    });
    let totals = totals.collect();
    let Response::CreatePartitions(response) = decision.response else {
        panic!("another answer");
    };
    let codes = response.topics.iter().map(|(_, code, _)| code.code());
    (codes.collect(), totals)
}

#[test]
fn a_request_creates_so_many_partitions_or_none() {
    let image = image(&[]);
    assert_eq!(ADDED_MAX, 10_000, "as in docs/limits.md");
    let all = create(&image, &[new("a", 10_000)], false);
    assert_eq!(all, (vec![0], vec![10_000]));
    let more = create(&image, &[new("a", 10_001)], false);
    assert_eq!(more, (vec![44], vec![]));
    // Together: as Kafka, all of them.
    let both = create(&image, &[new("a", 9_998), new("b", 3)], false);
    assert_eq!(both, (vec![44, 44], vec![]));
    // The default counts, and so does an assignment; what is no count does not.
    let both = create(&image, &[new("a", 9_998), new("b", -1)], false);
    assert_eq!(both, (vec![44, 44], vec![]));
    let rows = (0..3).map(|index| (index, vec![NodeId(0)]));
    let assigned = NewTopic {
        assignments: rows.collect(),
        ..new("b", -1)
    };
    let both = create(&image, &[new("a", 9_998), assigned.clone()], false);
    assert_eq!(both, (vec![44, 44], vec![]));
    let both = create(&image, &[new("a", 9_997), assigned], false);
    assert_eq!(both, (vec![0, 0], vec![9_997, 3]));
    let both = create(&image, &[new("a", 10_000), new("b", i32::MIN)], false);
    assert_eq!(both, (vec![0, 37], vec![10_000]));
    assert_eq!(create(&image, &[new("a", 10_001)], true).0, [44]);
    assert_eq!(create(&image, &[new("a", 3)], true), (vec![0], vec![]));
}

#[test]
fn a_request_adds_so_many_partitions_and_no_more() {
    let image = image(&[("a", 1), ("b", 1)]);
    let all = grow(&image, &[("a", 10_001)], false);
    assert_eq!(all, (vec![0], vec![10_001]));
    assert_eq!(grow(&image, &[("a", 10_002)], false), (vec![44], vec![]));
    let both = grow(&image, &[("a", 9_001), ("b", 1_002)], false);
    assert_eq!(both, (vec![0, 44], vec![9_001]));
    let both = grow(&image, &[("a", 9_001), ("b", 1_001)], false);
    assert_eq!(both, (vec![0, 0], vec![9_001, 1_001]));
    // What is refused takes no room.
    let both = grow(&image, &[("a", i32::MAX), ("b", 10_001)], false);
    assert_eq!(both, (vec![44, 0], vec![10_001]));
    assert_eq!(grow(&image, &[("a", 10_002)], true).0, [44]);
    assert_eq!(grow(&image, &[("a", 10_001)], true), (vec![0], vec![]));
}

#[test]
fn the_broker_has_room_for_so_many_partitions() {
    assert_eq!(MAX_PARTITIONS, 100_000, "as in docs/limits.md");
    let image = image(&[("a", 60_000), ("b", 39_990)]);
    assert_eq!(image.partitions, 99_990);
    assert_eq!(create(&image, &[new("c", 10)], false).0, [0]);
    assert_eq!(create(&image, &[new("c", 11)], false).0, [44]);
    // Those of the request before it count.
    let made = create(&image, &[new("c", 9), new("d", 2), new("e", 1)], false);
    assert_eq!(made, (vec![0, 44, 0], vec![9, 1]));
    assert_eq!(grow(&image, &[("a", 60_010)], false).0, [0]);
    assert_eq!(grow(&image, &[("a", 60_011)], false).0, [44]);
    let both = grow(&image, &[("a", 60_006), ("b", 39_995)], false);
    assert_eq!(both, (vec![0, 44], vec![60_006]));
    // Their manifests take an eighth of all journals at most.
    let small = Config {
        journal_max_bytes: 1_280_000,
        shards: 2,
        ..config()
    };
    let empty = Image::default();
    let mut room = Room::new(&empty, 0, &small);
    assert!(room.take(2_000, 1).is_ok());
    assert!(room.take(1, 1).is_err());
}

#[test]
fn partitions_that_are_gone_count_until_they_are_removed() {
    let image = image(&[("a", 60_000)]);
    let config = config();
    let codes = |removing, partitions| {
        let mut room = Room::new(&image, removing, &config);
        let refused = room.take(partitions, 1).err();
        refused.map_or(0, |(error, _)| error.code())
    };
    assert_eq!(codes(39_000, 1_000), 0);
    assert_eq!(codes(39_000, 1_001), 89, "to be tried again");
    assert_eq!(codes(39_000, 40_001), 44, "there is never room");
    assert_eq!(codes(u64::from(u32::MAX), 1), 89);
}

#[test]
fn topics_take_an_eighth_of_the_journal_and_no_more() {
    let room = config().journal_max_bytes / 8;
    let mut image = image(&[]);
    image.topic_bytes = room - topic_bytes(&new("a", 1));
    assert_eq!(create(&image, &[new("a", 1)], false).0, [0]);
    let (a, b) = (new("a", 1), new("b", 1));
    assert_eq!(create(&image, &[a.clone(), b], false).0, [0, 44]);
    let configs = vec![("retention.ms".to_string(), Some("1".to_string()))];
    assert_eq!(create(&image, &[NewTopic { configs, ..a }], false).0, [44]);
    image.topic_bytes += 1;
    assert_eq!(create(&image, &[new("a", 1)], false).0, [44]);
}

#[test]
fn what_is_named_twice_is_told_once_and_not_done() {
    let image = image(&[("a", 1), ("b", 1)]);
    let topics = [new("x", 1), new("y", 1), new("x", 2), new("x", 1)];
    assert_eq!(create(&image, &topics, false), (vec![42, 0], vec![1]));
    // Twins in looks: the first is made.
    let topics = [new("x.y", 1), new("x_y", 1)];
    assert_eq!(create(&image, &topics, false), (vec![0, 17], vec![1]));
    let topics = [("a", 2), ("b", 2), ("a", 3)];
    assert_eq!(grow(&image, &topics, false), (vec![42, 0], vec![2]));
}

/// Entries of the answer to a DeleteTopics, and what is removed.
fn delete(image: &Image, topics: &[TopicRef]) -> (Vec<(TopicRef, i16)>, Vec<Uuid>) {
    delete_with(image, topics, &[])
}

/// The same where the entries at these places are misnamed.
fn delete_with(
    image: &Image,
    topics: &[TopicRef],
    misnamed: &[u32],
) -> (Vec<(TopicRef, i16)>, Vec<Uuid>) {
    let request = Request::DeleteTopics(DeleteTopicsRequest {
        topics: topics.to_vec(),
        misnamed: misnamed.to_vec(),
        timeout_ms: 0,
    });
    let decision = decide(image, 0, &config(), &request, &mut || id(99)).expect("for the ledger");
    let removed = decision.records.iter().map(|record| match record {
        Record::RemoveTopic { id } => *id,
        other => panic!("{other:?}"),
    });
    let removed = removed.collect();
    let Response::DeleteTopics(response) = decision.response else {
        panic!("another answer");
    };
    let rows = response.topics.into_iter();
    let rows = rows.map(|(topic, code, text)| {
        assert_eq!(text.is_some(), code != ErrorCode::None);
        (topic, code.code())
    });
    (rows.collect(), removed)
}

#[test]
fn a_deletion_removes_no_topic_twice_and_none_that_it_names_twice() {
    let image = image(&[("a", 1), ("b", 1), ("c", 1)]);
    let by_name = |name: &str| TopicRef {
        name: name.to_string(),
        id: Uuid::ZERO,
    };
    let by_id = |byte| TopicRef {
        name: String::new(),
        id: id(byte),
    };
    let both = |name: &str, byte| TopicRef {
        name: name.to_string(),
        id: id(byte),
    };
    let done = |name: &str, byte| (both(name, byte), 0);
    let told = delete(&image, &[by_name("a"), by_id(2)]);
    assert_eq!(told, (vec![done("a", 1), done("b", 2)], vec![id(1), id(2)]));
    for topics in [[by_name("a"), by_id(1)], [by_id(1), by_name("a")]] {
        assert_eq!(delete(&image, &topics), (vec![(both("a", 1), 42)], vec![]));
    }
    let topics = [by_name("a"), by_name("c"), by_name("a"), by_name("a")];
    let told = delete(&image, &topics);
    assert_eq!(told, (vec![(by_name("a"), 42), done("c", 3)], vec![id(3)]));
    let told = delete(&image, &[by_id(1), by_id(1), by_name("a")]);
    let refused = vec![(by_id(1), 42), (both("a", 1), 42)];
    assert_eq!(told, (refused, vec![]));
    let told = delete(&image, &[by_name("a"), by_name("a"), by_id(1)]);
    assert_eq!(told, (vec![(by_name("a"), 42), done("a", 1)], vec![id(1)]));
    let (none, two) = (TopicRef::default(), both("b", 2));
    let topics = [none.clone(), none.clone(), two.clone(), two.clone()];
    let told = delete_with(&image, &topics, &[0, 1]);
    let refused = vec![
        (none.clone(), 42),
        (none.clone(), 42),
        (two.clone(), 42),
        (two, 42),
    ];
    assert_eq!(told, (refused, vec![]));
    // An empty name is a name like any other, but for an id beside it.
    let topics = [none.clone(), none.clone(), by_id(1), by_id(2)];
    let told = delete_with(&image, &topics, &[1, 2]);
    let refused = [(none.clone(), 3), (none.clone(), 42), (by_id(1), 42)];
    assert_eq!(told.0, [&refused[..], &[done("b", 2)]].concat());
    assert_eq!(told.1, [id(2)]);
    let told = delete(&image, &[none.clone(), none.clone()]);
    assert_eq!(told, (vec![(none, 42)], vec![]));
    let told = delete(&image, &[by_name("no"), by_id(7), by_name("b")]);
    let rows = vec![(by_name("no"), 3), (by_id(7), 100), done("b", 2)];
    assert_eq!(told, (rows, vec![id(2)]));
}

#[test]
fn the_last_of_a_config_counts_and_none_is_null() {
    let image = image(&[]);
    let code = |configs: &[(&str, Option<&str>)]| {
        let configs = configs.iter();
        let configs = configs.map(|(name, value)| (name.to_string(), value.map(str::to_string)));
        let topic = NewTopic {
            configs: configs.collect(),
            ..new("a", 1)
        };
        create(&image, &[topic], false).0[0]
    };
    let key = "retention.ms";
    assert_eq!(code(&[(key, Some("x")), (key, Some("5"))]), 0);
    assert_eq!(code(&[(key, Some("5")), (key, Some("x"))]), 40);
    assert_eq!(code(&[(key, None), (key, Some("5"))]), 40);
    assert_eq!(code(&[("max.message.bytes", Some("16777216"))]), 0);
    assert_eq!(code(&[("max.message.bytes", Some("16777217"))]), 40);
}
