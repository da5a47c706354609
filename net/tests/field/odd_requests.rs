//! Requests that ask for what no partition, topic or producer can give: as Apache Kafka 4.3 answered,
//! or as it is said where the answer is another.

use super::batches::{at, batch, of, plain, Head, NOW};
use super::broker::Broker;
use super::calls::{
    fetch, fetched, fetched_topics, named, produce, produce_by_id, produced, Topic, Wanted, PATIENT,
};
use super::frames::{In, Out};
use super::topics::New;

const NONE: [u8; 16] = [0; 16];

/// A broker with topics `a` and `b` of three partitions, and a connection.
pub fn start() -> (Broker, u64) {
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 3));
    broker.topic(conn, New::of("b", 3));
    (broker, conn)
}

/// Topics and partitions, each with an error, as an answer gives them.
pub type Rows = Vec<(String, Vec<(i32, i16)>)>;

pub fn rows(wanted: &[(&str, &[(i32, i16)])]) -> Rows {
    let wanted = wanted.iter();
    wanted
        .map(|(name, parts)| (name.to_string(), parts.to_vec()))
        .collect()
}

/// A Produce v8 of these topics, partitions and records.
pub fn produce_all(
    acks: i16,
    transactional: Option<&str>,
    topics: &[(&str, &[(i32, &[u8])])],
) -> Out {
    let out = Out::request(0, 8).str(transactional).i16(acks).i32(5_000);
    out.list(topics, |out, (name, parts)| {
        out.str(Some(name)).list(parts, |out, (index, records)| {
            out.i32(*index).i32(records.len() as i32).raw(records)
        })
    })
}

/// Read the answer to [`produce_all`].
pub fn produced_all(mut answer: In) -> Rows {
    let topics = answer.list(false, |answer| {
        let name = answer.str().expect("a name");
        let parts = answer.list(false, |answer| {
            let told = (answer.i32(), answer.i16());
            answer.take(24);
            assert_eq!(answer.i32(), 0, "no record is at fault");
            answer.str();
            told
        });
        (name, parts)
    });
    assert_eq!(answer.i32(), 0, "no throttling");
    answer.end();
    topics
}

/// A Fetch v11 up to its topics.
fn fetch_head(replica: i32, isolation: u8, (session, epoch): (i32, i32)) -> Out {
    let out = Out::request(1, 11).i32(replica).i32(500).i32(1);
    out.i32(1 << 20).u8(isolation).i32(session).i32(epoch)
}

/// The rest of a Fetch v11: topics and partitions, from the start of each.
fn fetch_rest(out: Out, topics: &[(&str, &[i32])]) -> Out {
    let out = out.list(topics, |out, (name, parts)| {
        out.str(Some(name)).list(parts, |out, index| {
            out.i32(*index).i32(-1).i64(0).i64(-1).i32(1 << 20)
        })
    });
    out.i32(0).str(Some(""))
}

/// Read the answer to a Fetch v11 that brings no records: its error, and its rows. `committed` if it asked
/// for what is committed.
fn fetched_nothing(mut answer: In, committed: bool) -> (i16, Rows) {
    assert_eq!(answer.i32(), 0, "no throttling");
    let error = answer.i16();
    assert_eq!(answer.i32(), 0, "no session");
    let topics = answer.list(false, |answer| {
        let name = answer.str().expect("a name");
        let parts = answer.list(false, |answer| {
            let told = (answer.i32(), answer.i16());
            answer.take(24);
            // Aborted transactions: none where committed records are read and where nobody looked.
            let listed = [3, 42].contains(&told.1) || (told.1 == 0 && committed);
            let aborted = if listed { 0 } else { -1 };
            let rest = (answer.i32(), answer.i32(), answer.i32());
            assert_eq!(rest, (aborted, -1, 0));
            told
        });
        (name, parts)
    });
    answer.end();
    (error, topics)
}

#[test]
fn who_calls_itself_a_follower_follows_nothing_here() {
    let (mut broker, conn) = start();
    let topics: [(&str, &[i32]); 2] = [("a", &[0, 7]), ("no", &[0])];
    for replica in [0, 1, 5, i32::MAX] {
        let request = fetch_rest(fetch_head(replica, 0, (0, -1)), &topics);
        broker.send(conn, &request.frame());
        assert!(!broker.waits(conn), "at once");
        let wanted = rows(&[("a", &[(0, 6), (7, 3)]), ("no", &[(0, 3)])]);
        let answer = broker.wait(conn);
        assert_eq!(fetched_nothing(answer, false), (0, wanted), "{replica}");
    }
    // Those that ask to debug, and what is no broker, read like a consumer.
    for replica in [-2, -3] {
        let request = fetch_rest(fetch_head(replica, 0, (0, -1)), &[("a", &[0])]);
        let answer = broker.ask(conn, &request);
        assert_eq!(
            fetched_nothing(answer, false),
            (0, rows(&[("a", &[(0, 0)])]))
        );
    }
}

/// Fetch from v15 on of a topic by its id, with this in the tagged fields of the request.
fn fetch_with_tags(version: i16, id: [u8; 16], tags: &Out) -> Out {
    let wanted = [Wanted::from(0, 0)];
    let topic = Topic { name: "a", id };
    let mut out = fetch(version, PATIENT, &[(topic, &wanted)]);
    assert_eq!(out.0.pop(), Some(0), "no tagged fields");
    out.raw(&tags.0)
}

#[test]
fn who_calls_itself_a_follower_in_a_tagged_field_follows_nothing_here_either() {
    // From v15 on `FetchRequest.replicaId` is in the replica state, which has tag 1.
    let (mut broker, conn) = start();
    broker.append(conn, ("a", 0), &of(&[at(NOW)]));
    let [id] = broker.ids(conn, ["a"]);
    let state = |replica: i32| Out::default().i32(replica).i64(3).u8(0);
    for version in 15..=18 {
        for (replica, code) in [(0, 6), (5, 6), (i32::MAX, 6), (-1, 0), (-2, 0)] {
            let state = state(replica);
            let one = Out::default().u8(1).u8(1).u8(state.0.len() as u8);
            let one = one.raw(&state.0);
            let more = Out::default().u8(3).u8(0).u8(2).raw(&[2, b'c']);
            let more = more.u8(1).u8(state.0.len() as u8).raw(&state.0);
            let more = more.u8(9).u8(1).u8(7);
            for tags in [one, more] {
                let request = fetch_with_tags(version, id, &tags);
                let answer = broker.ask(conn, &request);
                let part = fetched(version, answer).remove(0);
                assert_eq!(part.error, code, "{replica}, version {version}");
                assert_eq!(part.records.is_empty(), code != 0);
                assert_eq!(part.leader.is_some(), code != 0 && version >= 16);
            }
        }
        // It is cut off.
        let conn = broker.connect();
        let short = Out::default().u8(1).u8(1).u8(4).i32(0);
        broker.send(conn, &fetch_with_tags(version, id, &short).frame());
        assert!(broker.closed_without_a_byte(conn));
    }
}

#[test]
fn an_isolation_level_that_nobody_knows_is_refused() {
    // Kafka 4.3 answers -1 in the same places.
    let (mut broker, conn) = start();
    let topics: [(&str, &[i32]); 2] = [("a", &[0, 7]), ("no", &[0])];
    for level in [2, 0xff] {
        let request = fetch_rest(fetch_head(-1, level, (0, -1)), &topics);
        let answer = broker.ask(conn, &request);
        let wanted = rows(&[("a", &[(0, 42), (7, 42)]), ("no", &[(0, 42)])]);
        assert_eq!(fetched_nothing(answer, false), (42, wanted));
        let out = Out::request(2, 2)
            .i32(-1)
            .u8(level)
            .list(&topics, |out, topic| {
                out.str(Some(topic.0))
                    .list(topic.1, |out, index| out.i32(*index).i64(-1))
            });
        let mut answer = broker.ask(conn, &out);
        assert_eq!((answer.i32(), answer.i32()), (0, 2));
        for (name, parts) in topics {
            assert_eq!(answer.str().as_deref(), Some(name));
            let told = answer.list(false, |answer| {
                let told = (answer.i32(), answer.i16());
                assert_eq!((answer.i64(), answer.i64()), (-1, -1));
                told
            });
            let wanted: Vec<_> = parts.iter().map(|index| (*index, 42)).collect();
            assert_eq!(told, wanted);
        }
        answer.end();
    }
    let request = fetch_rest(fetch_head(-1, 1, (0, -1)), &[("a", &[0])]);
    let answer = broker.ask(conn, &request);
    assert_eq!(
        fetched_nothing(answer, true),
        (0, rows(&[("a", &[(0, 0)])]))
    );
}

#[test]
fn a_fetch_goes_on_with_a_session_at_every_epoch_but_two() {
    let (mut broker, conn) = start();
    for session in [(0, -2), (0, i32::MIN), (5, -2), (0, 5), (5, 1)] {
        let request = fetch_rest(fetch_head(-1, 0, session), &[("a", &[0])]);
        broker.send(conn, &request.frame());
        assert!(!broker.waits(conn), "at once");
        let answer = broker.wait(conn);
        assert_eq!(fetched_nothing(answer, false), (70, vec![]), "{session:?}");
    }
    for session in [(0, -1), (9, -1), (0, 0), (5, 0)] {
        let request = fetch_rest(fetch_head(-1, 0, session), &[("a", &[0])]);
        let answer = broker.ask(conn, &request);
        let wanted = rows(&[("a", &[(0, 0)])]);
        assert_eq!(fetched_nothing(answer, false), (0, wanted), "{session:?}");
    }
}

#[test]
fn the_id_of_no_topic_is_an_unknown_id() {
    let (mut broker, conn) = start();
    for version in 13..=18 {
        let wanted = [Wanted::from(0, 0)];
        let answer = broker.ask(conn, &fetch(version, PATIENT, &[(named(""), &wanted)]));
        let told = fetched_topics(version, answer);
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0].0[..], told[0].1[0].error), (&NONE[..], 100));
    }
    // An empty name is an unknown name.
    let answer = broker.ask(
        conn,
        &fetch(12, PATIENT, &[(named(""), &[Wanted::from(0, 0)])]),
    );
    assert_eq!(fetched_topics(12, answer)[0].1[0].error, 3);
    let records = of(&[at(NOW)]);
    assert_eq!(produce_by_id(&mut broker, conn, NONE, &records), 100);
    let told = produced(
        8,
        ("", 0),
        broker.ask(conn, &produce(8, -1, ("", 0), &records)),
    );
    assert_eq!(told.error, 3);
}

#[test]
fn one_batch_of_a_transaction_refuses_the_whole_produce() {
    let (mut broker, conn) = start();
    let good = of(&[at(NOW)]);
    let head = Head {
        attributes: 0x10,
        producer: (5, 0, 0),
        ..Head::default()
    };
    let bad = batch(head, &plain(NOW, &[at(NOW)]));
    let topics: [(&str, &[(i32, &[u8])]); 2] =
        [("a", &[(0, &good), (7, &good)]), ("no", &[(0, &bad)])];
    let wanted = rows(&[("a", &[(0, 53), (7, 53)]), ("no", &[(0, 53)])]);
    for acks in [-1, 1, 2] {
        let answer = broker.ask(conn, &produce_all(acks, None, &topics));
        assert_eq!(produced_all(answer), wanted, "{acks}");
    }
    let silent = broker.connect();
    broker.send(silent, &produce_all(0, None, &topics).frame());
    assert!(broker.closed_without_a_byte(silent));
    // The bit of an older format means nothing: the format is what is refused.
    let mut old = bad.clone();
    old[16] = 1;
    let old: [(&str, &[(i32, &[u8])]); 1] = [("a", &[(0, &old), (1, &good)])];
    let answer = broker.ask(conn, &produce_all(-1, None, &old));
    assert_eq!(produced_all(answer), rows(&[("a", &[(0, 87), (1, 0)])]));
    assert_eq!(broker.fetch(conn, ("a", 0), 0).high_watermark, 0);
}

#[test]
fn plain_batches_beside_a_transactional_id_are_appended() {
    // `RequestUtils.hasTransactionalRecords` looks at the batches, not at the id.
    let (mut broker, conn) = start();
    let good = of(&[at(NOW)]);
    let topics: [(&str, &[(i32, &[u8])]); 2] =
        [("a", &[(0, &good), (7, &good)]), ("b", &[(1, &good)])];
    for round in 1..=2 {
        let answer = broker.ask(conn, &produce_all(-1, Some("t"), &topics));
        let wanted = rows(&[("a", &[(0, 0), (7, 3)]), ("b", &[(1, 0)])]);
        assert_eq!(produced_all(answer), wanted);
        assert_eq!(broker.fetch(conn, ("b", 1), 0).high_watermark, round);
    }
    let head = Head {
        attributes: 0x10,
        producer: (5, 0, 0),
        ..Head::default()
    };
    let bad = batch(head, &plain(NOW, &[at(NOW)]));
    let topics: [(&str, &[(i32, &[u8])]); 1] = [("a", &[(0, &good), (1, &bad)])];
    let answer = broker.ask(conn, &produce_all(-1, Some("t"), &topics));
    assert_eq!(produced_all(answer), rows(&[("a", &[(0, 53), (1, 53)])]));
}

#[test]
fn acknowledgements_that_kafka_does_not_have_are_refused_where_there_is_a_partition() {
    let (mut broker, conn) = start();
    let good = of(&[at(NOW)]);
    let topics: [(&str, &[(i32, &[u8])]); 2] = [
        ("a", &[(0, &good), (7, &good), (-1, &good)]),
        ("no", &[(0, &good)]),
    ];
    for acks in [2, -2, i16::MAX] {
        let answer = broker.ask(conn, &produce_all(acks, None, &topics));
        let wanted = rows(&[("a", &[(0, 21), (7, 3), (-1, 3)]), ("no", &[(0, 3)])]);
        assert_eq!(produced_all(answer), wanted, "{acks}");
    }
    // Bytes that are not one batch are seen before (`ProduceRequest.validateRecords`), a CRC is not.
    let (mut old, mut strange, mut broken) = (good.clone(), good.clone(), good.clone());
    (old[16], strange[16]) = (1, 3);
    *broken.last_mut().expect("bytes") ^= 1;
    let two = [&good[..], &good[..]].concat();
    let topics: [(&str, &[(i32, &[u8])]); 1] = [(
        "a",
        &[(0, &old), (1, &two), (2, &[]), (7, &old), (-1, &two)],
    )];
    let answer = broker.ask(conn, &produce_all(2, None, &topics));
    let wanted = rows(&[("a", &[(0, 87), (1, 87), (2, 87), (7, 3), (-1, 3)])]);
    assert_eq!(produced_all(answer), wanted);
    let topics: [(&str, &[(i32, &[u8])]); 1] = [("a", &[(0, &strange), (1, &broken)])];
    let answer = broker.ask(conn, &produce_all(2, None, &topics));
    assert_eq!(produced_all(answer), rows(&[("a", &[(0, 2), (1, 21)])]));
}

#[test]
fn a_producer_that_asks_for_an_id_says_all_or_nothing_of_its_own() {
    let (mut broker, conn) = start();
    let mut ask = |transactional: Option<&str>, id: i64, epoch: i16| {
        let out = Out::flexible(22, 3).compact(transactional).i32(60_000);
        let mut answer = broker.ask(conn, &out.i64(id).i16(epoch).u8(0));
        answer.tags(true);
        assert_eq!(answer.i32(), 0, "no throttling");
        let told = (answer.i16(), answer.i64(), answer.i16());
        answer.tags(true);
        answer.end();
        told
    };
    for (id, epoch) in [(-1, 0), (5, -1), (-5, -1), (0, -1), (-1, -2)] {
        assert_eq!(ask(None, id, epoch), (42, -1, -1), "{id} {epoch}");
    }
    assert_eq!(ask(Some(""), -1, -1), (42, -1, -1));
    assert_eq!(ask(Some("t"), -1, -1), (53, -1, -1));
    let mut last = -1;
    for (id, epoch) in [(-1, -1), (5, 0), (i64::MIN, i16::MIN)] {
        let (error, new, new_epoch) = ask(None, id, epoch);
        assert_eq!((error, new_epoch), (0, 0), "{id} {epoch}");
        assert!(new > last, "a new id: {new}");
        last = new;
    }
    let mut answer = broker.ask(conn, &Out::request(22, 1).str(Some("")).i32(60_000));
    assert_eq!((answer.i32(), answer.i16()), (0, 42));
    assert_eq!((answer.i64(), answer.i16()), (-1, -1));
    answer.end();
}

#[test]
fn only_groups_and_transactions_are_asked_for_a_coordinator() {
    let (mut broker, conn) = start();
    for (key_type, error) in [(0, 15), (1, 15), (2, 42), (9, 42), (0xff, 42)] {
        for version in 1..=2 {
            let request = Out::request(10, version).str(Some("g:x:0")).u8(key_type);
            let mut answer = broker.ask(conn, &request);
            assert_eq!((answer.i32(), answer.i16()), (0, error), "{key_type}");
            assert!(answer.str().is_some(), "why");
            assert_eq!((answer.i32(), answer.str()), (-1, Some(String::new())));
            assert_eq!(answer.i32(), -1);
            answer.end();
        }
        let request = Out::flexible(10, 4).u8(key_type).varint(3);
        let request = request.compact(Some("g")).compact(Some("h")).u8(0);
        let mut answer = broker.ask(conn, &request);
        answer.tags(true);
        assert_eq!(answer.i32(), 0, "no throttling");
        let told = answer.list(true, |answer| {
            let key = answer.compact().expect("a key");
            assert_eq!((answer.i32(), answer.compact()), (-1, Some(String::new())));
            assert_eq!(answer.i32(), -1);
            let error = answer.i16();
            assert!(answer.compact().is_some(), "why");
            answer.tags(true);
            (key, error)
        });
        assert_eq!(told, [("g".to_string(), error), ("h".to_string(), error)]);
        answer.tags(true);
        answer.end();
    }
}

/// Metadata v10 or v11 that may create topics: error, name and id of each.
fn describe(
    broker: &mut Broker,
    conn: u64,
    version: i16,
    topics: &[(Option<&str>, [u8; 16])],
) -> Vec<(i16, String, [u8; 16])> {
    let out = Out::flexible(3, version)
        .compact_list(topics, |out, (name, id)| out.raw(id).compact(*name));
    let out = out.u8(1).u8(0);
    let out = if version == 10 { out.u8(0) } else { out };
    let mut answer = broker.ask(conn, &out.u8(0));
    answer.tags(true);
    assert_eq!((answer.i32(), answer.count(true), answer.i32()), (0, 1, 0));
    assert_eq!(answer.compact().as_deref(), Some("localhost"));
    assert_eq!((answer.i32(), answer.compact()), (9092, None));
    answer.tags(true);
    assert_eq!((answer.compact().is_some(), answer.i32()), (true, 0));
    let topics = answer.list(true, |answer| {
        let error = answer.i16();
        let (name, id) = (answer.compact().expect("never null"), answer.uuid());
        assert_eq!(answer.u8(), 0, "not internal");
        let partitions = answer.list(true, |answer| {
            answer.take(14);
            for _ in 0..3 {
                answer.list(true, |answer| answer.i32());
            }
            answer.tags(true);
        });
        assert_eq!(partitions.is_empty(), error != 0);
        assert_eq!(answer.i32(), i32::MIN);
        answer.tags(true);
        (error, name, id)
    });
    if version == 10 {
        assert_eq!(answer.i32(), i32::MIN);
    }
    answer.tags(true);
    answer.end();
    topics
}

#[test]
fn metadata_10_and_11_have_ids_and_null_names_and_take_neither() {
    let (mut broker, conn) = start();
    let [id] = broker.ids(conn, ["a"]);
    for version in [10, 11] {
        for bad in [
            (None, NONE),
            (Some("a"), id),
            (None, id),
            (Some("b"), [7; 16]),
        ] {
            let topics = [(Some("new"), NONE), bad, (Some("b"), NONE)];
            let told = describe(&mut broker, conn, version, &topics);
            assert!(told.iter().all(|(error, ..)| *error == 42), "{told:?}");
            let wanted = [("new", NONE), (bad.0.unwrap_or(""), bad.1)];
            for (told, wanted) in told.iter().zip(wanted) {
                assert_eq!((&told.1[..], told.2), wanted, "version {version}");
            }
        }
        assert_eq!(broker.metadata(conn, Some(&["new"]), false)[0].error, 3);
        let told = describe(
            &mut broker,
            conn,
            version,
            &[(Some("a"), NONE), (Some(""), NONE)],
        );
        assert_eq!(told[0], (0, "a".to_string(), id));
        assert_eq!(told[1], (17, String::new(), NONE));
    }
    // Later versions know both; an empty name is told as such.
    let refs = [(Some(""), NONE), (Some("a"), NONE)];
    let wanted = [
        (17, Some(String::new()), NONE),
        (0, Some("a".to_string()), id),
    ];
    assert_eq!(broker.metadata_refs(conn, &refs), wanted);
}

#[test]
fn where_metadata_is_asked_for_an_id_only_ids_count() {
    // `KafkaApis.handleTopicMetadataRequest`, `useTopicId`.
    let (mut broker, conn) = start();
    let [a] = broker.ids(conn, ["a"]);
    let no = [7; 16];
    let (known, unknown) = ((0, Some("a".to_string()), a), (100, None, no));
    for (refs, wanted) in [
        (&[(Some("b"), NONE), (None, a)][..], vec![&known]),
        (&[(Some("a"), NONE), (Some("b"), a)], vec![&known]),
        (&[(Some("new"), NONE), (None, no)], vec![&unknown]),
        (
            &[(Some("b"), no), (Some(""), NONE), (None, a), (None, no)],
            vec![&unknown, &known],
        ),
    ] {
        let told = broker.metadata_refs(conn, refs);
        assert_eq!(told.iter().collect::<Vec<_>>(), wanted, "{refs:?}");
    }
    // Nor is a topic created for a name beside them.
    let out = Out::flexible(3, 12);
    let topics = [(Some("new"), NONE), (None, a)];
    let out = out.compact_list(&topics, |out, (name, id)| out.raw(id).compact(*name));
    broker.ask(conn, &out.u8(1).u8(0).u8(0));
    assert_eq!(broker.metadata(conn, Some(&["new"]), false)[0].error, 3);
}

#[test]
fn an_empty_name_is_deleted_like_one_that_no_topic_has() {
    let (mut broker, conn) = start();
    let [a, b] = broker.ids(conn, ["a", "b"]);
    for version in 1..=5 {
        let out = Out::request(20, version).list(&["", "a b"], |out, name| out.str(Some(name)));
        let mut answer = broker.ask(conn, &out_of_time(version, out));
        answer.tags(version >= 4);
        assert_eq!(answer.i32(), 0, "no throttling");
        let told = answer.list(version >= 4, |answer| {
            let told = (answer.string(version >= 4), answer.i16());
            if version >= 5 {
                assert!(answer.compact().is_some(), "why");
            }
            answer.tags(version >= 4);
            told
        });
        let wanted = [(Some(String::new()), 3), (Some("a b".to_string()), 3)];
        assert_eq!(told, wanted, "version {version}");
    }
    let some = |name: &str| Some(name.to_string());
    let refs = [
        (Some(""), NONE),
        (None, NONE),
        (Some(""), a),
        (None, b),
        (Some("no"), NONE),
    ];
    let told = broker.delete_refs(conn, &refs);
    assert_eq!(told[..2], [(some(""), NONE, 3), (None, NONE, 42)]);
    // Kafka tells the empty name of the third back; nobody is helped by it.
    assert_eq!(
        told[2..],
        [(None, a, 42), (some("b"), b, 0), (some("no"), NONE, 3)]
    );
    assert_eq!(broker.ids(conn, ["a"]), [a]);
}

/// DeleteTopics up to v5 ends in how long the client waits; names are compact from v4 on.
fn out_of_time(version: i16, plain: Out) -> Out {
    match version {
        4.. => {
            let names = ["", "a b"];
            let out = Out::flexible(20, version).varint(names.len() as u64 + 1);
            let out = names.iter().fold(out, |out, name| out.compact(Some(name)));
            out.i32(5_000).u8(0)
        }
        _ => plain.i32(5_000),
    }
}
