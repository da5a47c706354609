//! A partition that a request names twice, and a topic that stands in two entries: as Apache Kafka 4.3
//! answered.

use super::batches::{at, of, sequenced, stored, NOW};
use super::calls::{fetch, fetched_topics, Patience, Topic, Wanted, PATIENT};
use super::frames::Out;
use super::odd_requests::{produce_all, produced_all, rows, start};

#[test]
fn a_produce_that_names_a_partition_twice_appends_the_last_records_once() {
    let (mut broker, conn) = start();
    let [one, two, three] = [1, 2, 3].map(|count| of(&vec![at(NOW); count]));
    for (topics, wanted) in [
        (
            &[("a", &[(1, &one[..]), (0, &three), (1, &two)][..])][..],
            rows(&[("a", &[(1, 0), (0, 0)])]),
        ),
        (
            &[
                ("b", &[][..]),
                ("a", &[(1, &three)]),
                ("b", &[(2, &one), (7, &one)]),
                ("a", &[(1, &two), (0, &three)]),
                ("no", &[(0, &one), (0, &two)]),
            ],
            rows(&[
                ("a", &[(1, 0), (0, 0)]),
                ("b", &[(2, 0), (7, 3)]),
                ("no", &[(0, 3)]),
            ]),
        ),
    ] {
        let answer = broker.ask(conn, &produce_all(-1, None, topics));
        assert_eq!(produced_all(answer), wanted);
    }
    let ends: Vec<i64> = [("a", 0), ("a", 1), ("a", 2), ("b", 2)]
        .map(|at| broker.fetch(conn, at, 0).high_watermark)
        .to_vec();
    assert_eq!(ends, [6, 4, 0, 1]);
    // So a producer's sequence that stands there twice does not fail.
    let (first, second) = (sequenced(7, 0, 1), sequenced(7, 5, 2));
    let topics: [(&str, &[(i32, &[u8])]); 1] = [("a", &[(2, &first), (2, &second)])];
    let answer = broker.ask(conn, &produce_all(-1, None, &topics));
    assert_eq!(produced_all(answer), rows(&[("a", &[(2, 0)])]));
    assert_eq!(broker.append(conn, ("a", 2), &sequenced(7, 7, 1)), (0, 2));
    // Nobody waits for an answer: the records are the same, and nothing is wrong.
    let request = produce_all(0, None, &[("b", &[(0, &one), (0, &two)])]);
    broker.send(conn, &request.frame());
    assert!(broker.waits(conn));
    assert_eq!(broker.fetch(conn, ("b", 0), 0).high_watermark, 2);
}

#[test]
fn a_fetch_that_names_a_partition_twice_reads_it_once() {
    let (mut broker, conn) = start();
    for _ in 0..3 {
        broker.append(conn, ("a", 0), &of(&[at(NOW)]));
        broker.append(conn, ("b", 0), &of(&[at(NOW)]));
    }
    let patience = Patience {
        wait_ms: 0,
        ..PATIENT
    };
    let [a, b] = broker.ids(conn, ["a", "b"]);
    for version in [4, 11, 12, 13, 18] {
        let of_topic = |name, id| Topic { name, id };
        let topics = [
            (
                of_topic("a", a),
                &[Wanted::from(1, 0), Wanted::from(0, 0)][..],
            ),
            (of_topic("b", b), &[][..]),
            (of_topic("a", a), &[Wanted::from(0, 1)]),
            (of_topic("b", b), &[Wanted::from(0, 0)]),
            (of_topic("a", a), &[Wanted::from(0, 2), Wanted::from(2, 0)]),
        ];
        let answer = broker.ask(conn, &fetch(version, patience, &topics));
        let told = fetched_topics(version, answer);
        let shown: Vec<Vec<(i32, Vec<i64>)>> = told
            .iter()
            .map(|(_, parts)| {
                let parts = parts.iter();
                let bases = |records: &[u8]| stored(records).iter().map(|one| one.base).collect();
                parts
                    .map(|part| (part.index, bases(&part.records)))
                    .collect()
            })
            .collect();
        // `a` stands there again after `b`, as in Kafka, whose clients build such requests.
        let wanted = [
            vec![(1, vec![]), (0, vec![2])],
            vec![(0, vec![0, 1, 2])],
            vec![(2, vec![])],
        ];
        assert_eq!(shown, wanted, "version {version}");
        assert_eq!(told[0].0, told[2].0);
    }
}

#[test]
fn a_deletion_of_records_that_names_a_partition_twice_is_answered_once() {
    let (mut broker, conn) = start();
    for _ in 0..3 {
        broker.append(conn, ("a", 2), &of(&[at(NOW)]));
    }
    let topics: [(&str, &[(i32, i64)]); 4] = [
        ("a", &[(2, 3), (9, 0)]),
        ("b", &[]),
        ("no", &[(0, 0), (0, 1)]),
        ("a", &[(1, 0), (2, 1)]),
    ];
    let out = Out::request(21, 1).list(&topics, |out, (name, parts)| {
        out.str(Some(name))
            .list(parts, |out, (index, offset)| out.i32(*index).i64(*offset))
    });
    let mut answer = broker.ask(conn, &out.i32(5_000));
    assert_eq!(answer.i32(), 0, "no throttling");
    let told = answer.list(false, |answer| {
        let name = answer.str().expect("a name");
        let parts = answer.list(false, |answer| (answer.i32(), answer.i64(), answer.i16()));
        (name, parts)
    });
    answer.end();
    let a = ("a".to_string(), vec![(2, 1, 0), (9, -1, 3), (1, 0, 0)]);
    assert_eq!(told, [a, ("no".to_string(), vec![(0, -1, 3)])]);
    assert_eq!(broker.fetch(conn, ("a", 2), 1).log_start, 1);
}

#[test]
fn offsets_of_a_topic_in_two_entries_are_answered_in_one_and_epochs_as_they_are_asked() {
    let (mut broker, conn) = start();
    let topics: [(&str, &[i32]); 4] = [("a", &[2]), ("b", &[]), ("b", &[0]), ("a", &[1, 2])];
    let out = Out::request(2, 1)
        .i32(-1)
        .list(&topics, |out, (name, parts)| {
            out.str(Some(name))
                .list(parts, |out, index| out.i32(*index).i64(-1))
        });
    let mut answer = broker.ask(conn, &out);
    let told = answer.list(false, |answer| {
        let name = answer.str().expect("a name");
        let parts = answer.list(false, |answer| {
            let told = (answer.i32(), answer.i16());
            answer.take(16);
            told
        });
        (name, parts)
    });
    answer.end();
    assert_eq!(told, rows(&[("a", &[(2, 42), (1, 0)]), ("b", &[(0, 0)])]));
    let out = Out::request(23, 3)
        .i32(-1)
        .list(&topics, |out, (name, parts)| {
            out.str(Some(name))
                .list(parts, |out, index| out.i32(*index).i32(-1).i32(0))
        });
    let mut answer = broker.ask(conn, &out);
    assert_eq!(answer.i32(), 0, "no throttling");
    let told = answer.list(false, |answer| {
        let name = answer.str().expect("a name");
        let parts = answer.list(false, |answer| {
            assert_eq!(answer.i16(), 0);
            let index = answer.i32();
            answer.take(12);
            index
        });
        (name, parts)
    });
    answer.end();
    let wanted = topics.map(|(name, parts)| (name.to_string(), parts.to_vec()));
    assert_eq!(told, wanted);
}
