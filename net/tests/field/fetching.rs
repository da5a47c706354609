//! Cases 5, 14 and 21: how much a Fetch brings, when it is answered, and what stands where nothing is.

use bytes::Bytes;
use seedlog_core::api::{FetchResponse, PartitionFetched, Response, TopicRef};
use seedlog_core::error_code::ErrorCode;
use seedlog_core::limits::Limits;
use seedlog_net::server::Connection;

use super::batches::{at, of, sized, stored, NOW};
use super::broker::Broker;
use super::calls::{fetch, fetched, fetched_topics, named, Patience, Topic, Wanted, PATIENT};
use super::frames::In;
use super::topics::{told, New};

/// A broker with topic `a` of so many partitions, and a connection.
fn with_topic(shards: u16, partitions: i32) -> (Broker, u64) {
    let mut broker = Broker::start(shards);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", partitions));
    (broker, conn)
}

#[test]
fn max_bytes_holds_for_the_whole_request_in_its_order() {
    // Case 5: batches of 10,072 bytes.
    let one = sized(10_000);
    assert_eq!(one.len(), 10_072);
    for shards in [1, 2, 3] {
        let (mut broker, conn) = with_topic(shards, 6);
        for index in 0..6 {
            assert_eq!(broker.append(conn, ("a", index), &one), (0, 0));
        }
        let all = [0, 1, 2, 3, 4, 5];
        for (order, max_bytes, each, given) in [
            (&all[..], 1, 1 << 20, &[0][..]),
            (&all[..], 25_000, 1 << 20, &[0, 1]),
            (&all[..], 100_000, 1 << 20, &all),
            (&all[..], 50 << 20, 1, &[0]),
            (&[1, 0], 1, 1 << 20, &[1]),
        ] {
            let wanted = order.iter().map(|index| Wanted {
                max_bytes: each,
                ..Wanted::from(*index, 0)
            });
            let wanted: Vec<Wanted> = wanted.collect();
            let patience = Patience {
                max_bytes,
                ..PATIENT
            };
            let answer = broker.ask(conn, &fetch(11, patience, &[(named("a"), &wanted)]));
            let parts = fetched(11, answer);
            assert_eq!(parts.len(), order.len(), "every partition is answered");
            let full = parts.iter().filter(|part| !part.records.is_empty());
            let full: Vec<i32> = full.map(|part| part.index).collect();
            assert_eq!(full, given, "{shards} shards, {max_bytes}, {each}");
            for part in parts.iter().filter(|part| !part.records.is_empty()) {
                assert_eq!(part.records[61..], one[61..]);
            }
        }
    }
}

/// Send a Fetch and tell whether it was answered at once.
fn at_once(
    broker: &mut Broker,
    conn: u64,
    patience: Patience,
    topics: &[(Topic, &[Wanted])],
) -> bool {
    broker.send(conn, &fetch(11, patience, topics).frame());
    !broker.waits(conn)
}

#[test]
fn a_fetch_that_cannot_get_better_is_answered_at_once() {
    // Case 14.
    for shards in [1, 2] {
        let (mut broker, conn) = with_topic(shards, 8);
        broker.append(conn, ("a", 0), &sized(10));
        let end = Wanted::from(0, 1);
        let epoch = broker.metadata(conn, Some(&["a"]), false)[0].epoch;
        assert!(at_once(&mut broker, conn, PATIENT, &[]), "no partition");
        assert_eq!(fetched(11, broker.wait(conn)), []);
        for (other, error) in [
            (Wanted::from(1, 9), 1),
            (
                Wanted {
                    epoch: epoch - 1,
                    ..Wanted::from(1, 0)
                },
                74,
            ),
            (
                Wanted {
                    epoch: epoch + 1,
                    ..Wanted::from(1, 0)
                },
                75,
            ),
        ] {
            let topics = [(named("a"), &[end, other][..])];
            assert!(at_once(&mut broker, conn, PATIENT, &topics), "{error}");
            let parts = fetched(11, broker.wait(conn));
            assert_eq!((parts[0].error, parts[1].error), (0, error));
        }
        let topics = [(named("no"), &[Wanted::from(0, 0)][..])];
        assert!(at_once(&mut broker, conn, PATIENT, &topics), "unknown only");
        assert_eq!(fetched(11, broker.wait(conn))[0].error, 3);
        // Kafka waits here; that something is wrong may as well be told at once.
        for topics in [
            [
                (named("a"), &[end][..]),
                (named("no"), &[Wanted::from(0, 0)][..]),
            ],
            [
                (named("a"), &[end, Wanted::from(8, 0)][..]),
                (named("a"), &[][..]),
            ],
        ] {
            assert!(at_once(&mut broker, conn, PATIENT, &topics));
            let parts = fetched(11, broker.wait(conn));
            assert_eq!((parts[0].error, parts[1].error), (0, 3));
        }
        let none = Patience {
            min_bytes: 0,
            ..PATIENT
        };
        assert!(at_once(&mut broker, conn, none, &[(named("a"), &[end])]));
        assert_eq!(fetched(11, broker.wait(conn))[0].error, 0);
    }
}

#[test]
fn a_fetch_waits_until_there_is_enough_and_no_longer() {
    // Case 14.
    for shards in [1, 2] {
        let (mut broker, conn) = with_topic(shards, 8);
        let other = broker.connect();
        let all: Vec<Wanted> = (0..8).map(|index| Wanted::from(index, 0)).collect();
        assert!(!at_once(&mut broker, conn, PATIENT, &[(named("a"), &all)]));
        broker.pass(2_999);
        assert!(broker.waits(conn));
        broker.pass(1);
        let parts = fetched(11, broker.wait(conn));
        assert!(parts
            .iter()
            .all(|part| part.error == 0 && part.records.is_empty()));
        assert!(!at_once(&mut broker, conn, PATIENT, &[(named("a"), &all)]));
        broker.append(other, ("a", 5), &of(&[at(NOW)]));
        assert!(!broker.waits(conn), "data has come");
        let parts = fetched(11, broker.wait(conn));
        let full = parts.iter().filter(|part| !part.records.is_empty());
        assert_eq!(full.map(|part| part.index).collect::<Vec<_>>(), [5]);
        // More is asked for than is there, or than a partition may give: all of the time, then data.
        let small = Wanted {
            max_bytes: 10,
            ..all[5]
        };
        for (min_bytes, wanted) in [(1_000, all[5]), (1_000, small)] {
            let patience = Patience {
                min_bytes,
                ..PATIENT
            };
            assert!(!at_once(
                &mut broker,
                conn,
                patience,
                &[(named("a"), &[wanted])]
            ));
            broker.pass(2_999);
            assert!(broker.waits(conn), "{min_bytes}");
            broker.pass(1);
            let parts = fetched(11, broker.wait(conn));
            assert_eq!(stored(&parts[0].records).len(), 1);
        }
    }
}

#[test]
fn a_deleted_topic_ends_the_wait_for_its_records() {
    // Case 14.
    for shards in [1, 2] {
        let (mut broker, conn) = with_topic(shards, 2);
        let other = broker.connect();
        let wanted = [Wanted::from(0, 0), Wanted::from(1, 0)];
        assert!(!at_once(
            &mut broker,
            conn,
            PATIENT,
            &[(named("a"), &wanted)]
        ));
        assert_eq!(broker.delete(other, &["a"]), told(&[("a", 0)]));
        assert!(!broker.waits(conn));
        let parts = fetched(11, broker.wait(conn));
        assert!(parts.iter().any(|part| part.error == 3), "{parts:?}");
    }
}

/// A broker whose topic `a` has a record in its first partition, and a topic that it does not have.
fn with_a_record() -> (Broker, u64, [Topic<'static>; 2]) {
    let (mut broker, conn) = with_topic(2, 3);
    let [id] = broker.ids(conn, ["a"]);
    broker.append(conn, ("a", 0), &sized(10));
    let known = Topic { name: "a", id };
    let unknown = Topic {
        name: "no",
        id: [9; 16],
    };
    (broker, conn, [known, unknown])
}

#[test]
fn where_no_records_are_their_length_is_0_and_never_null() {
    // Case 21: librdkafka refuses the whole answer otherwise.
    let (mut broker, conn, [known, unknown]) = with_a_record();
    let patience = Patience {
        wait_ms: 0,
        ..PATIENT
    };
    for version in 4..=18 {
        let wanted = [
            Wanted::from(0, 1),
            Wanted::from(1, 0),
            Wanted::from(2, 5),
            Wanted::from(7, 0),
        ];
        let stranger = [Wanted::from(0, 0)];
        let topics = [(known, &wanted[..]), (unknown, &stranger[..])];
        let answer = broker.ask(conn, &fetch(version, patience, &topics));
        let topics = fetched_topics(version, answer);
        let parts: Vec<_> = topics.iter().flat_map(|(_, parts)| parts).collect();
        assert!(parts.iter().all(|part| part.records.is_empty()));
        // An id that nobody has is another error than a name that nobody has.
        let no_topic = if version >= 13 { 100 } else { 3 };
        let errors: Vec<i16> = parts.iter().map(|part| part.error).collect();
        assert_eq!(errors, [0, 0, 1, 3, no_topic], "version {version}");
        for part in parts {
            let marks = (part.high_watermark, part.last_stable, part.log_start);
            let start = if version >= 5 { 0 } else { -1 };
            match (part.error, part.index) {
                (0, 0) => assert_eq!(marks, (1, 1, start)),
                (0, _) => assert_eq!(marks, (0, 0, start)),
                _ => assert_eq!(marks, (-1, -1, -1)),
            }
        }
        let names: Vec<&[u8]> = topics.iter().map(|(name, _)| &name[..]).collect();
        match version {
            13.. => assert_eq!(names, [&known.id[..], &[9; 16]]),
            _ => assert_eq!(names, [b"a", &b"no"[..]]),
        }
    }
}

#[test]
fn the_last_bytes_of_an_answer_are_where_kafka_has_them() {
    // The whole of an answer at the end of the log, by hand.
    let (mut broker, conn) = with_topic(1, 1);
    let patience = Patience {
        wait_ms: 0,
        ..PATIENT
    };
    let request = fetch(11, patience, &[(named("a"), &[Wanted::from(0, 0)])]);
    broker.send(conn, &request.frame());
    let answer = broker.answer(conn).expect("at once");
    let wanted = [
        &super::frames::CORRELATION.to_be_bytes()[..],
        &[0; 4],
        &[0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 1, 0, 1, b'a'],
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        &[0; 24],
        // Null for aborted transactions, and no other replica to read from.
        &[0xff; 8],
        &[0, 0, 0, 0],
    ];
    assert_eq!(answer, wanted.concat());
}

#[test]
fn aborted_transactions_are_null_or_none_as_kafka_has_them() {
    // Null where uncommitted records were read and where reading failed, a list where committed ones were
    // read and where nobody looked: no such topic.
    let (mut broker, conn, [known, unknown]) = with_a_record();
    let wanted = [Wanted::from(0, 0), Wanted::from(0, 1), Wanted::from(1, 9)];
    for version in 4..=18 {
        for (isolation, read) in [(0, false), (1, true)] {
            for (topic, wanted, error, lists) in [
                (known, wanted[0], 0, read),
                (known, wanted[1], 0, read),
                (known, wanted[2], 1, false),
                (known, Wanted::from(7, 0), 3, true),
                (
                    unknown,
                    wanted[0],
                    if version >= 13 { 100 } else { 3 },
                    true,
                ),
            ] {
                let patience = Patience {
                    wait_ms: 0,
                    ..PATIENT
                };
                let mut request = fetch(version, patience, &[(topic, &[wanted])]);
                // Key, version, correlation, client, no tags, replica, three numbers, and it.
                let at = 23 + if version >= 12 { 1 } else { 0 } + if version <= 14 { 4 } else { 0 };
                assert_eq!(request.0[at], 0);
                request.0[at] = isolation;
                let part = fetched(version, broker.ask(conn, &request)).remove(0);
                let told = (part.error, part.lists_aborted);
                assert_eq!(told, (error, lists), "v{version} {isolation} {wanted:?}");
            }
        }
    }
}

#[test]
fn a_reader_that_went_another_way_is_told_where_at_once() {
    // As Kafka 4.3 answered: two records of one epoch, another of a later one.
    for shards in [1, 2] {
        let (mut broker, conn) = with_topic(shards, 1);
        broker.append(conn, ("a", 0), &sized(10));
        broker.append(conn, ("a", 0), &sized(10));
        let old = broker.metadata(conn, Some(&["a"]), false)[0].epoch;
        broker.kill();
        broker.kill();
        let conn = broker.connect();
        broker.append(conn, ("a", 0), &sized(10));
        let new = broker.metadata(conn, Some(&["a"]), false)[0].epoch;
        assert!(new > old + 1);
        let [id] = broker.ids(conn, ["a"]);
        for (last, offset, error, diverging, count) in [
            (-1, 1, 0, None, 2),
            (-7, 1, 0, None, 2),
            (old, 1, 0, None, 2),
            (old, 2, 0, None, 1),
            (old, 3, 0, Some((old, 2)), 0),
            (old + 1, 1, 0, Some((old, 2)), 0),
            (old + 1, 9, 0, Some((old, 2)), 0),
            (new, 2, 0, None, 1),
            (new, 5, 0, Some((new, 3)), 0),
            (new + 1, 2, 1, None, 0),
            (old, -5, 1, None, 0),
        ] {
            for version in [12, 13, 16, 18] {
                let wanted = Wanted {
                    last_epoch: last,
                    ..Wanted::from(0, offset)
                };
                let topic = Topic { name: "a", id };
                let request = fetch(version, PATIENT, &[(topic, &[wanted])]);
                broker.send(conn, &request.frame());
                assert!(!broker.waits(conn), "{last} at {offset}");
                let part = fetched(version, broker.wait(conn)).remove(0);
                let told = (part.error, part.diverging, stored(&part.records).len());
                assert_eq!(told, (error, diverging, count), "{last} at {offset}");
                let marks = (part.high_watermark, part.last_stable, part.log_start);
                assert_eq!(marks, if error == 0 { (3, 3, 0) } else { (-1, -1, -1) });
            }
        }
        // At the end of the log nothing is told, so it waits.
        let wanted = Wanted {
            last_epoch: new,
            ..Wanted::from(0, 3)
        };
        broker.send(
            conn,
            &fetch(12, PATIENT, &[(named("a"), &[wanted])]).frame(),
        );
        assert!(broker.waits(conn));
    }
}

#[test]
fn who_asks_of_an_old_epoch_is_told_who_leads() {
    // The bytes behind the topic's id, as Kafka 4.3 answered them in its second life, but for its node,
    // epoch and port.
    let (mut broker, conn) = with_topic(2, 1);
    let [id] = broker.ids(conn, ["a"]);
    let old = broker.metadata(conn, Some(&["a"]), false)[0].epoch;
    broker.kill();
    let conn = broker.connect();
    let new = broker.metadata(conn, Some(&["a"]), false)[0].epoch;
    let failed = |error| {
        [
            &[2, 0, 0, 0, 0, 0, error][..],
            &[0xff; 24],
            &[0, 0xff, 0xff, 0xff, 0xff, 1],
        ]
        .concat()
    };
    let unled = |error| [failed(error), vec![0, 0, 0]].concat();
    let leader = [&[1, 1, 9, 0, 0, 0, 0][..], &new.to_be_bytes(), &[0]].concat();
    let address = b"\x02\0\0\0\0\x0alocalhost\0\0\x23\x84\0\0";
    let led = |error| {
        let node = [&[0, 1, 0, address.len() as u8][..], address].concat();
        [failed(error), leader.clone(), node].concat()
    };
    for version in 13..=18 {
        let fenced = if version >= 16 { led(74) } else { unled(74) };
        for (epoch, wanted) in [(old, fenced), (new + 1, unled(75))] {
            let wanted_part = Wanted {
                epoch,
                ..Wanted::from(0, 0)
            };
            let request = fetch(
                version,
                PATIENT,
                &[(Topic { name: "a", id }, &[wanted_part])],
            );
            let mut answer = broker.ask(conn, &request);
            let head = answer.take(12);
            assert_eq!(head, [&[0; 11][..], &[2]].concat());
            assert_eq!(answer.uuid(), id);
            assert_eq!(answer.take(wanted.len()), wanted, "v{version} {epoch}");
            answer.end();
        }
    }
    // A follower is told the same: there is none.
    let mut request = fetch(
        16,
        PATIENT,
        &[(Topic { name: "a", id }, &[Wanted::from(0, 0)])],
    );
    assert_eq!(request.0.pop(), Some(0));
    let request = request.u8(1).u8(1).u8(13).i32(3).i64(7).u8(0);
    let mut answer = broker.ask(conn, &request);
    answer.take(28);
    let wanted = led(6);
    assert_eq!(answer.take(wanted.len()), wanted);
    answer.end();
}

#[test]
fn more_than_an_answer_may_hold_is_not_waited_for() {
    // `KafkaApis.handleFetchRequest`: the least is no more than the most.
    for shards in [1, 2] {
        let (mut broker, conn) = with_topic(shards, 1);
        broker.append(conn, ("a", 0), &sized(130));
        let topics = [(named("a"), &[Wanted::from(0, 0)][..])];
        for max_bytes in [100, 1, 0, -1] {
            let patience = Patience {
                min_bytes: 1_000,
                max_bytes,
                ..PATIENT
            };
            assert!(at_once(&mut broker, conn, patience, &topics), "{max_bytes}");
            let parts = fetched(11, broker.wait(conn));
            assert_eq!(parts[0].records.len(), 200, "one batch is always given");
        }
        // Less than that is waited for.
        let patience = Patience {
            min_bytes: 1_000,
            max_bytes: 400,
            ..PATIENT
        };
        assert!(!at_once(&mut broker, conn, patience, &topics));
        let other = broker.connect();
        broker.append(other, ("a", 0), &sized(130));
        assert!(!broker.waits(conn), "both are there");
    }
}

#[test]
fn every_negative_epoch_of_a_fetch_is_none() {
    // `FetchRequest.optionalEpoch`; ListOffsets and OffsetForLeaderEpoch know -1 alone.
    let (mut broker, conn) = with_topic(1, 1);
    broker.append(conn, ("a", 0), &sized(10));
    for epoch in [-1, -2, i32::MIN] {
        for version in [9, 11, 12] {
            let wanted = Wanted {
                epoch,
                ..Wanted::from(0, 0)
            };
            let request = fetch(version, PATIENT, &[(named("a"), &[wanted])]);
            let part = fetched(version, broker.ask(conn, &request)).remove(0);
            assert_eq!((part.error, stored(&part.records).len()), (0, 1), "{epoch}");
        }
    }
}

#[test]
fn old_consumers_are_told_of_another_leader_where_a_disk_fails() {
    // `KafkaApis.maybeDownConvertStorageError`: KAFKA_STORAGE_ERROR came with Fetch v6.
    for (version, code) in [(4, 6), (5, 6), (6, 56), (11, 56), (12, 56)] {
        let mut server = Connection::new("localhost".into(), 9092, Limits::DEFAULT);
        let request = fetch(version, PATIENT, &[(named("a"), &[Wanted::from(0, 0)])]);
        server.receive(Bytes::from(request.frame())).expect("whole");
        let call = server.next_call().expect("a call");
        let failed = |index, error| PartitionFetched::failed(index, error);
        let topic = TopicRef {
            name: "a".into(),
            ..TopicRef::default()
        };
        let parts = vec![
            failed(0, ErrorCode::KafkaStorageError),
            failed(1, ErrorCode::OffsetOutOfRange),
        ];
        let response = FetchResponse {
            topics: vec![(topic, parts)],
            ..FetchResponse::default()
        };
        server.reply(call.call, Response::Fetch(response));
        let mut answer = In::new(server.take_output().concat());
        answer.take(8);
        let parts = fetched(version, answer);
        let errors: Vec<i16> = parts.iter().map(|part| part.error).collect();
        assert_eq!(errors, [code, 1], "version {version}");
    }
}

/// `DelayedFetch.scala` counts what could be read, also what the answer has no more room for.
#[test]
fn a_batch_that_does_not_fit_counts_towards_the_least() {
    for shards in [1, 2] {
        let (mut broker, conn) = with_topic(shards, 1);
        let topics = [(named("a"), &[Wanted::from(0, 0)][..])];
        let patience = Patience {
            min_bytes: 500,
            max_bytes: 500,
            ..PATIENT
        };
        assert!(!at_once(&mut broker, conn, patience, &topics));
        let other = broker.connect();
        for count in 1..=3 {
            assert!(broker.waits(conn), "{count} batches of 200 bytes");
            broker.append(other, ("a", 0), &sized(130));
        }
        assert!(!broker.waits(conn), "there are 600");
        assert_eq!(fetched(11, broker.wait(conn))[0].records.len(), 400);
        assert!(at_once(&mut broker, conn, patience, &topics));
        broker.wait(conn);
        // What the client takes of one partition is less than it waits for: of that there is no more.
        let one = Wanted {
            max_bytes: 300,
            ..Wanted::from(0, 0)
        };
        let topics = [(named("a"), &[one][..])];
        assert!(!at_once(&mut broker, conn, patience, &topics));
    }
}
