//! Cases 18, 19 (partitions), 28, 32, 38, and topics that a request names twice.

use super::batches::{at, of, NOW};
use super::broker::Broker;
use super::frames::Out;
use super::topics::{told, New};

#[test]
fn odd_configs_are_judged_as_kafka_does() {
    // Case 18.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    let rows: [(&[(&str, Option<&str>)], i16); 30] = [
        (&[("retention.ms", None)], 40),
        (&[("no.such.key", Some("1"))], 40),
        (&[("", Some("1"))], 40),
        (&[("retention.ms", Some("abc"))], 40),
        (&[("retention.ms", Some(""))], 40),
        (&[("retention.ms", Some(" 5 "))], 0),
        (&[("segment.bytes", Some("1000"))], 40),
        (&[("segment.bytes", Some("1048576"))], 0),
        (&[("message.format.version", Some("2.0"))], 40),
        (&[("message.timestamp.difference.max.ms", Some("1"))], 40),
        (&[("message.downconversion.enable", Some("true"))], 40),
        (&[("cleanup.policy", Some("delete,delete"))], 0),
        (&[("cleanup.policy", Some(""))], 0),
        (&[("cleanup.policy", Some("purge"))], 40),
        (&[("compression.gzip.level", Some("0"))], 40),
        (&[("compression.gzip.level", Some("1"))], 0),
        (&[("compression.gzip.level", Some("-1"))], 0),
        (&[("retention.bytes", Some("-2"))], 0),
        (&[("min.cleanable.dirty.ratio", Some(".5"))], 0),
        (&[("min.cleanable.dirty.ratio", Some("1e-1"))], 0),
        (&[("min.cleanable.dirty.ratio", Some("11e-1"))], 40),
        (
            &[
                ("min.compaction.lag.ms", Some("10")),
                ("max.compaction.lag.ms", Some("9")),
            ],
            40,
        ),
        (
            &[
                ("max.compaction.lag.ms", Some("10")),
                ("min.compaction.lag.ms", Some("10")),
            ],
            0,
        ),
        (&[("max.compaction.lag.ms", Some("1"))], 0),
        (&[("min.compaction.lag.ms", Some("9223372036854775807"))], 0),
        // Of a key that is named twice the last counts, but none may be null.
        (
            &[("retention.ms", Some("1")), ("retention.ms", Some("2"))],
            0,
        ),
        (
            &[("retention.ms", Some("abc")), ("retention.ms", Some("2"))],
            0,
        ),
        (
            &[("retention.ms", Some("2")), ("retention.ms", Some("abc"))],
            40,
        ),
        (&[("retention.ms", None), ("retention.ms", Some("2"))], 40),
        (&[("retention.ms", Some("2")), ("retention.ms", None)], 40),
    ];
    for (at, (configs, error)) in rows.into_iter().enumerate() {
        let name = format!("t{at}");
        let outcome = broker.create(conn, &[New::of(&name, 1).with(configs)]);
        assert_eq!(outcome, told(&[(&name, error)]), "{configs:?}");
        let described = broker.metadata(conn, Some(&[&name]), false);
        assert_eq!(described[0].error, if error == 0 { 0 } else { 3 });
    }
}

#[test]
fn a_bad_topic_fails_alone_and_a_doubled_one_once() {
    // Case 18.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    let (a, b, c) = (New::of("a", 1), New::of("b", 0), New::of("c", 2));
    let outcome = broker.create(conn, &[a, b, c]);
    assert_eq!(outcome, told(&[("a", 0), ("b", 37), ("c", 0)]));
    let (d, e) = (New::of("d", 1), New::of("e", 1));
    let outcome = broker.create(conn, &[d, New::of("d", 2), e, d]);
    assert_eq!(outcome, told(&[("d", 42), ("e", 0)]));
    assert_eq!(broker.metadata(conn, Some(&["d"]), false)[0].error, 3);
    // A name that is bad, or taken, is doubled all the same.
    let bad = New::of("a b", 1);
    let outcome = broker.create(conn, &[bad, bad, a, a]);
    assert_eq!(outcome, told(&[("a b", 42), ("a", 42)]));
    broker.topic(conn, New::of("x.y", 1));
    assert_eq!(
        broker.create(conn, &[New::of("x_y", 1)]),
        told(&[("x_y", 17)])
    );
    let log = New::of("__cluster_metadata", 1);
    assert_eq!(broker.create(conn, &[log]), told(&[(log.name, 42)]));
}

#[test]
fn an_error_text_quotes_no_more_of_a_request_than_an_answer_can_bear() {
    // The longest text of a request, in an answer that has the same 16 bits for a text and more to say.
    let (long, wide) = ("x".repeat(32_767), "\u{4e16}".repeat(10_922));
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    for word in [&long[..], &wide] {
        assert_eq!(
            broker.create(conn, &[New::of(word, 1)]),
            told(&[(word, 17)])
        );
        for (key, value) in [(word, "1"), (word, word), ("retention.ms", word)] {
            let configs = [(key, Some(value))];
            let topic = New::of("a", 1).with(&configs);
            assert_eq!(broker.create(conn, &[topic]), told(&[("a", 40)]));
        }
        let configs = [(word, None)];
        let topic = New::of("a", 1).with(&configs);
        assert_eq!(broker.create(conn, &[topic]), told(&[("a", 40)]));
        assert_eq!(broker.grow(conn, &[(word, 3)], false), told(&[(word, 3)]));
        let described = broker.metadata(conn, Some(&[word]), true);
        assert_eq!((described.len(), described[0].error), (1, 17));
    }
}

#[test]
fn counts_are_judged_as_kafka_does() {
    // Case 18.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    let with = |partitions, replicas| New {
        replicas,
        ..New::of("n", partitions)
    };
    for (partitions, replicas, error) in [
        (0, 1, 37),
        (-2, 1, 37),
        (1, 0, 38),
        (1, 2, 38),
        (1, -2, 38),
        (0, 0, 38),
        (-2, -2, 38),
        (0, 2, 37),
    ] {
        let outcome = broker.create(conn, &[with(partitions, replicas)]);
        assert_eq!(outcome, told(&[("n", error)]), "{partitions} {replicas}");
    }
    for version in [2, 3, 4] {
        let outcome = broker.create_at(version, conn, &[with(-1, -1)], false);
        assert_eq!(outcome, told(&[("n", 0)]));
        assert_eq!(
            broker.metadata(conn, Some(&["n"]), false)[0].partitions,
            [0]
        );
        assert_eq!(broker.delete(conn, &["n"]), told(&[("n", 0)]));
    }
    let outcome = broker.create_at(4, conn, &[with(1, 1)], true);
    assert_eq!(outcome, told(&[("n", 0)]));
    assert_eq!(broker.metadata(conn, Some(&["n"]), false)[0].error, 3);
    broker.topic(conn, with(1, 1));
    let outcome = broker.create_at(4, conn, &[with(1, 1)], true);
    assert_eq!(outcome, told(&[("n", 36)]));
}

/// The code of a CreateTopics v4 of `n` with these brokers for its one partition, and a config.
fn assigned(broker: &mut Broker, conn: u64, brokers: &[i32], config: (&str, &str)) -> i16 {
    let out = Out::request(19, 4).i32(1).str(Some("n")).i32(-1).i16(-1);
    let out = out.i32(1).i32(0).list(brokers, |out, node| out.i32(*node));
    let out = out.i32(1).str(Some(config.0)).str(Some(config.1));
    let mut answer = broker.ask(conn, &out.i32(5_000).u8(1));
    assert_eq!((answer.i32(), answer.i32()), (0, 1));
    assert_eq!(answer.str().as_deref(), Some("n"));
    answer.i16()
}

#[test]
fn configs_are_judged_before_counts_and_a_null_before_both() {
    // The order of `ReplicationControlManager.createTopics`.
    let mut broker = Broker::start(1);
    let conn = broker.connect();
    let bad = [("retention.ms", Some("abc"))];
    for (partitions, replicas) in [(0, 1), (1, 2), (0, 0), (1, 1)] {
        for configs in [&bad[..], &[("retention.ms", None)]] {
            let topic = New {
                replicas,
                configs,
                ..New::of("n", partitions)
            };
            assert_eq!(broker.create(conn, &[topic]), told(&[("n", 40)]));
        }
    }
    for (brokers, value, code) in [
        (&[0][..], "abc", 40),
        (&[7], "abc", 40),
        (&[7], "5", 39),
        (&[0], "5", 0),
    ] {
        let outcome = assigned(&mut broker, conn, brokers, ("retention.ms", value));
        assert_eq!(outcome, code, "{brokers:?} {value}");
    }
    // The name goes before all of it.
    let topic = New::of("a b", 0).with(&bad);
    assert_eq!(broker.create(conn, &[topic]), told(&[("a b", 17)]));
}

#[test]
fn doubled_topics_are_not_counted_among_the_partitions_of_a_request() {
    // `ControllerApis.createTopics` takes them out; 10,000 are the most.
    let mut broker = Broker::start(1);
    let conn = broker.connect();
    let (d, e) = (New::of("d", 6_000), New::of("e", 2));
    let outcome = broker.create(conn, &[d, e, d]);
    assert_eq!(outcome, told(&[("d", 42), ("e", 0)]));
    let outcome = broker.create(conn, &[d, New::of("f", 6_000)]);
    assert_eq!(outcome, told(&[("d", 44), ("f", 44)]));
}

#[test]
fn partitions_are_only_added() {
    // Case 19, its last line, and the other counts that Kafka 4.3 was asked for.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 3));
    broker.topic(conn, New::of("b", 1));
    for (total, error) in [(3, 37), (2, 37), (0, 37), (-1, 37)] {
        for validate in [false, true] {
            let outcome = broker.grow(conn, &[("a", total)], validate);
            assert_eq!(outcome, told(&[("a", error)]), "{total}");
        }
    }
    assert_eq!(broker.grow(conn, &[("a", 4)], true), told(&[("a", 0)]));
    assert_eq!(
        broker.metadata(conn, Some(&["a"]), false)[0]
            .partitions
            .len(),
        3
    );
    assert_eq!(broker.grow(conn, &[("no", 4)], false), told(&[("no", 3)]));
    let outcome = broker.grow(conn, &[("a", 5), ("a", 6), ("b", 2)], false);
    assert_eq!(outcome, told(&[("a", 42), ("b", 0)]));
    let outcome = broker.grow(conn, &[("no", 5), ("no", 5)], false);
    assert_eq!(outcome, told(&[("no", 42)]));
    let described = broker.metadata(conn, Some(&["a", "b"]), false);
    let counts: Vec<usize> = described
        .iter()
        .map(|topic| topic.partitions.len())
        .collect();
    assert_eq!(counts, [3, 2]);
}

const NONE: [u8; 16] = [0; 16];

#[test]
fn a_topic_that_a_deletion_names_twice_stays() {
    // As Kafka 4.3 answered, which gives the refusals in another order.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for name in names {
        broker.topic(conn, New::of(name, 1));
    }
    let [a, _, c, d, e, f, g, h] = broker.ids(conn, names);
    let some = |name: &str| Some(name.to_string());
    let by_both = [(some("a"), a, 42)];
    let refs = [(None, a), (Some("a"), NONE)];
    assert_eq!(broker.delete_refs(conn, &refs), by_both);
    let refs = [(Some("a"), NONE), (None, a)];
    assert_eq!(broker.delete_refs(conn, &refs), by_both);
    let refs = [(Some("b"), NONE), (Some("b"), NONE), (Some("b"), NONE)];
    assert_eq!(broker.delete_refs(conn, &refs), [(some("b"), NONE, 42)]);
    let refs = [(None, c), (None, c)];
    assert_eq!(broker.delete_refs(conn, &refs), [(None, c, 42)]);
    // The doubled id is in the way of the name, but a doubled name is in nobody's way.
    let refs = [(None, c), (Some("d"), NONE), (None, c), (Some("c"), NONE)];
    let outcome = broker.delete_refs(conn, &refs);
    assert_eq!(
        outcome,
        [(None, c, 42), (some("d"), d, 0), (some("c"), c, 42)]
    );
    let refs = [(Some("e"), NONE), (Some("e"), NONE), (None, e)];
    let outcome = broker.delete_refs(conn, &refs);
    assert_eq!(outcome, [(some("e"), NONE, 42), (some("e"), e, 0)]);
    // Neither or both of name and id: refused, each time, and in nobody's way.
    let refs = [(None, NONE), (None, NONE)];
    assert_eq!(
        broker.delete_refs(conn, &refs),
        [(None, NONE, 42), (None, NONE, 42)]
    );
    let refs = [(Some("f"), f), (Some("f"), f), (Some("f"), NONE)];
    let outcome = broker.delete_refs(conn, &refs);
    let both = (some("f"), f, 42);
    assert_eq!(outcome, [both.clone(), both, (some("f"), f, 0)]);
    let no = [7; 16];
    let refs = [
        (None, no),
        (None, no),
        (Some("no"), NONE),
        (Some("no"), NONE),
    ];
    let outcome = broker.delete_refs(conn, &refs);
    assert_eq!(outcome, [(None, no, 42), (some("no"), NONE, 42)]);
    let refs = [(None, no), (Some("no"), NONE), (None, g), (Some("h"), NONE)];
    let outcome = broker.delete_refs(conn, &refs);
    let unknown = [(None, no, 100), (some("no"), NONE, 3)];
    assert_eq!(outcome[..2], unknown);
    assert_eq!(outcome[2..], [(some("g"), g, 0), (some("h"), h, 0)]);
    let left = broker.metadata(conn, None, false).into_iter();
    let left: Vec<String> = left.filter_map(|topic| topic.name).collect();
    assert_eq!(left, ["a", "b", "c"]);
    assert_eq!(
        broker.delete(conn, &["a", "b", "a"]),
        told(&[("a", 42), ("b", 0)])
    );
}

#[test]
fn topics_are_there_at_once_and_gone_at_once() {
    // Case 28: stricter than Kafka, which sometimes answers 3 or 6 at first.
    let mut broker = Broker::start(3);
    let conn = broker.connect();
    for _ in 0..30 {
        broker.topic(conn, New::of("a", 4));
        let described = broker.metadata(conn, Some(&["a"]), false);
        assert_eq!(
            (described[0].error, &described[0].partitions[..]),
            (0, &[0, 1, 2, 3][..])
        );
        for index in 0..4 {
            assert_eq!(broker.append(conn, ("a", index), &of(&[at(NOW)])), (0, 0));
        }
        assert_eq!(broker.delete(conn, &["a"]), told(&[("a", 0)]));
        assert_eq!(broker.metadata(conn, Some(&["a"]), false)[0].error, 3);
        assert_eq!(broker.append(conn, ("a", 0), &of(&[at(NOW)])), (3, -1));
    }
    let described = broker.metadata(conn, Some(&["new"]), true);
    assert_eq!(
        (described[0].error, &described[0].partitions[..]),
        (0, &[0][..])
    );
    assert_eq!(broker.append(conn, ("new", 0), &of(&[at(NOW)])), (0, 0));
}

#[test]
fn records_are_deleted_up_to_where_there_are_any() {
    // Case 32.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 2));
    let to = ("a", 0);
    for _ in 0..3 {
        broker.append(conn, to, &of(&[at(NOW), at(NOW), at(NOW)]));
    }
    assert_eq!(broker.trim(conn, to, 4), (0, 4));
    assert_eq!(broker.trim(conn, to, 2), (0, 4), "below the start");
    let cut = broker.fetch(conn, to, 4);
    assert_eq!((cut.error, cut.log_start, cut.high_watermark), (0, 4, 9));
    let whole = super::batches::stored(&cut.records);
    assert_eq!(
        (whole[0].base, whole[0].head.count),
        (3, 3),
        "the whole batch"
    );
    assert_eq!(broker.fetch(conn, to, 3).error, 1);
    assert_eq!(broker.trim(conn, to, 10), (1, -1), "above the end");
    assert_eq!(broker.trim(conn, to, -2), (1, -1));
    assert_eq!(broker.trim(conn, to, -1), (0, 9));
    assert_eq!(broker.trim(conn, to, 9), (0, 9));
    assert_eq!(broker.trim(conn, ("a", 2), 0), (3, -1));
    assert_eq!(broker.trim(conn, ("no", 0), 0), (3, -1));
    let empty = broker.fetch(conn, to, 9);
    assert_eq!(
        (empty.error, empty.log_start, empty.records.len()),
        (0, 9, 0)
    );
}

#[test]
fn metadata_names_each_topic_once_and_judges_its_name() {
    // Case 38.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1));
    broker.topic(conn, New::of("x.y", 1));
    let (long, fine) = ("n".repeat(250), "n".repeat(249));
    let names = ["", ".", "..", "a b", "a/b", &long, &fine, "x_y"];
    let described = broker.metadata(conn, Some(&names), true);
    let errors: Vec<i16> = described.iter().map(|topic| topic.error).collect();
    assert_eq!(errors, [17, 17, 17, 17, 17, 17, 0, 3]);
    let again = described.iter().filter_map(|topic| topic.name.as_deref());
    assert_eq!(again.collect::<Vec<_>>(), names);
    let errors = |described: Vec<super::topics::Described>| -> Vec<i16> {
        described.into_iter().map(|topic| topic.error).collect()
    };
    let doubled = broker.metadata(conn, Some(&["a", "a", "no", "no"]), false);
    assert_eq!(errors(doubled), [0, 3]);
    assert_eq!(errors(broker.metadata(conn, Some(&[]), false)), []);
    assert_eq!(errors(broker.metadata(conn, None, false)), [0, 0, 0]);
    let [id] = broker.ids(conn, ["a"]);
    let known = vec![(0, Some("a".to_string()), id)];
    let refs = [(None, id), (Some("a"), NONE), (None, id), (Some("a"), id)];
    assert_eq!(broker.metadata_refs(conn, &refs), known);
    let no = [5; 16];
    let refs = [(None, no), (None, no)];
    assert_eq!(broker.metadata_refs(conn, &refs), [(100, None, no)]);
}
