//! Cases 1, 2, 3, 26 and 27: producers and their sequences, and what a Produce that fails tells.

use super::batches::{at, of, sequenced, sized, Record, NOW};
use super::broker::{Broker, Fault};
use super::calls::{produce, produced};
use super::frames::Out;
use super::topics::{told, New};

/// A broker with topic `a`, and a connection.
fn with_topic(configs: &[(&str, Option<&str>)]) -> (Broker, u64) {
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 2).with(configs));
    (broker, conn)
}

const A: (&str, i32) = ("a", 0);

/// A new producer's id: InitProducerId v1.
fn producer_id(broker: &mut Broker, conn: u64) -> i64 {
    let mut answer = broker.ask(conn, &Out::request(22, 1).str(None).i32(60_000));
    assert_eq!((answer.i32(), answer.i16()), (0, 0));
    let id = answer.i64();
    assert_eq!(answer.i16(), 0, "epoch");
    answer.end();
    id
}

#[test]
fn a_producer_that_is_not_known_may_begin_anywhere() {
    // Case 1.
    let (mut broker, conn) = with_topic(&[]);
    let id = producer_id(&mut broker, conn);
    for (sequence, wanted) in [(55, (0, 0)), (56, (0, 1)), (60, (45, -1)), (57, (0, 2))] {
        let told = broker.append(conn, A, &sequenced(id, sequence, 1));
        assert_eq!(told, wanted, "{sequence}");
    }
    // An id that was never given out.
    let unknown = sequenced(id + 500_000, 0, 1);
    assert_eq!(broker.append(conn, A, &unknown), (0, 3));
    // What DeleteRecords leaves: everything but the records.
    assert_eq!(broker.trim(conn, A, -1), (0, 4));
    assert_eq!(broker.append(conn, A, &sequenced(id, 57, 1)), (0, 2));
    assert_eq!(broker.append(conn, A, &sequenced(id, 59, 1)), (45, -1));
    assert_eq!(broker.append(conn, A, &sequenced(id, 58, 1)), (0, 4));
}

#[test]
fn a_batch_that_is_too_large_takes_no_sequence() {
    // Case 1, the variant.
    let (mut broker, conn) = with_topic(&[("max.message.bytes", Some("100"))]);
    let large = |sequence| sequenced(7, sequence, 20);
    assert_eq!(broker.append(conn, A, &large(0)), (10, -1));
    assert_eq!(broker.append(conn, A, &sequenced(7, 1, 1)), (0, 0));
    assert_eq!(broker.append(conn, A, &large(2)), (10, -1));
    assert_eq!(broker.append(conn, A, &sequenced(7, 3, 1)), (45, -1));
    assert_eq!(broker.append(conn, A, &sequenced(7, 2, 1)), (0, 1));
}

#[test]
fn a_batch_that_no_segment_would_hold_takes_no_sequence() {
    // As Kafka 4.3 answered: 18, no log start; a time that is refused goes before it, 10 does too.
    let (mut broker, conn) = with_topic(&[
        ("segment.bytes", Some("1048576")),
        ("max.message.bytes", Some("1500000")),
    ]);
    let of_size = |size: usize, time| {
        let value = Some(vec![b'0'; size - 72]);
        of(&[Record { value, ..at(time) }])
    };
    let (limit, late) = (1_048_576, NOW + 7_200_000);
    let large = of_size(limit + 1, NOW);
    assert_eq!(large.len(), limit + 1);
    let refused = produced(8, A, broker.ask(conn, &produce(8, -1, A, &large)));
    assert_eq!((refused.error, refused.base), (18, -1));
    assert_eq!((refused.log_start, refused.message), (-1, true));
    assert_eq!(broker.append(conn, A, &of_size(limit + 1, late)), (32, -1));
    assert_eq!(broker.append(conn, A, &of_size(1_500_001, NOW)), (10, -1));
    assert_eq!(broker.append(conn, A, &of_size(limit, NOW)), (0, 0));
    // Thirty thousand records of a producer, 9 bytes each at least.
    assert_eq!(broker.append(conn, A, &sequenced(7, 0, 120_000)), (18, -1));
    assert_eq!(broker.append(conn, A, &sequenced(7, 0, 1)), (0, 1));
}

#[test]
fn a_repeat_is_told_when_its_first_sending_was_appended() {
    // As Kafka 4.3 answered, however long ago that was. On a topic of the producers' times it told theirs,
    // a quirk not worth copying: -1 is right there.
    for (by, broker_time) in [("LogAppendTime", true), ("CreateTime", false)] {
        let segment_ms = ("segment.ms", Some("1000"));
        let (mut broker, conn) = with_topic(&[("message.timestamp.type", Some(by)), segment_ms]);
        let send = |broker: &mut Broker, sequence| {
            let sent = produce(8, -1, A, &sequenced(7, sequence, 2));
            let told = produced(8, A, broker.ask(conn, &sent));
            assert_eq!(told.error, 0);
            (told.base, told.time)
        };
        let time = |broker: &Broker| if broker_time { broker.wall_ms() } else { -1 };
        let first = (0, time(&broker));
        assert_eq!(send(&mut broker, 0), first);
        broker.pass(50);
        let second = (2, time(&broker));
        assert_eq!(send(&mut broker, 2), second);
        for _ in 0..20 {
            assert_eq!(send(&mut broker, 0), first, "{by}");
            assert_eq!(send(&mut broker, 2), second, "{by}");
            // They go into a segment meanwhile.
            broker.pass(1_000);
        }
    }
}

#[test]
fn what_is_in_part_old_is_out_of_order_and_what_is_old_is_acknowledged() {
    // Case 3.
    let (mut broker, conn) = with_topic(&[]);
    for sequence in 0..7 {
        let told = broker.append(conn, A, &sequenced(7, sequence, 1));
        assert_eq!(told, (0, i64::from(sequence)));
    }
    let mut send = |sequence, count| broker.append(conn, A, &sequenced(7, sequence, count));
    assert_eq!(send(6, 2), (45, -1), "6 is old, 7 is new");
    assert_eq!(send(1, 1), (45, -1), "older than five batches");
    for sequence in 2..7 {
        assert_eq!(send(sequence, 1), (0, i64::from(sequence)), "one of five");
    }
    assert_eq!(send(7, 3), (0, 7));
    assert_eq!(send(8, 1), (45, -1), "inside that batch");
    assert_eq!(send(7, 3), (0, 7));
    assert_eq!(broker.fetch(conn, A, 10).high_watermark, 10);
}

#[test]
fn a_produce_that_nobody_waits_for_closes_its_connection_if_it_fails() {
    // Case 2.
    let (mut broker, conn) = with_topic(&[]);
    let versions = Out::request(18, 0).frame();
    let good = of(&[at(NOW)]);
    let mut bad = good.clone();
    *bad.last_mut().expect("bytes") ^= 1;
    for (topic, records) in [(("no", 0), &good), (("a", 7), &good), (A, &bad)] {
        for version in [3, 8] {
            for shard in 0..2 {
                let mut conn = broker.connect();
                if conn % 2 != shard {
                    conn = broker.connect();
                }
                let sent = produce(version, 0, topic, records).frame();
                broker.send(conn, &[&sent[..], &versions].concat());
                assert!(broker.closed_without_a_byte(conn), "{topic:?}");
            }
        }
    }
    let sent = produce(8, 0, A, &good).i32(0).frame();
    broker.send(conn, &[&sent[..], &versions].concat());
    // The next bytes are the next answer, of ApiVersions v0: no error, an array of six-byte rows.
    let mut answer = broker.wait(conn);
    assert_eq!(answer.i16(), 0);
    let rows = answer.list(false, |answer| answer.take(6));
    assert!(rows.contains(&vec![0, 18, 0, 0, 0, 4]), "itself");
    answer.end();
    assert!(broker.waits(conn));
    assert_eq!(broker.fetch(conn, A, 0).high_watermark, 1);
}

#[test]
fn a_write_that_may_be_durable_is_never_refused_for_good() {
    // Case 26: -1, 87 and the like would make a producer send the batch again under a new sequence.
    for (fault, acks) in [
        (Fault::Lost, -1),
        (Fault::Lost, 1),
        (Fault::DoneAllTheSame, -1),
        (Fault::DoneAllTheSame, 1),
        (Fault::DoneAllTheSame, 0),
    ] {
        let (mut broker, conn) = with_topic(&[]);
        assert_eq!(broker.append(conn, A, &sequenced(7, 0, 1)), (0, 0));
        broker.set_fault(fault);
        let request = produce(8, acks, A, &sequenced(7, 1, 2));
        broker.send(conn, &request.frame());
        broker.pass(60_000);
        match broker.answer(conn) {
            // What is retried under the same sequence: REQUEST_TIMED_OUT, KAFKA_STORAGE_ERROR.
            Some(answer) => {
                let mut answer = super::frames::In::new(answer);
                answer.i32();
                let code = produced(8, A, answer).error;
                assert!([7, 56].contains(&code), "{code} after {fault:?}");
            }
            None => assert!(broker.closed_without_a_byte(conn), "{fault:?}"),
        }
        broker.kill();
        let conn = broker.connect();
        // The producer sends it again, and again, and goes on: it is there once.
        assert_eq!(broker.append(conn, A, &sequenced(7, 1, 2)), (0, 1));
        assert_eq!(broker.append(conn, A, &sequenced(7, 1, 2)), (0, 1));
        assert_eq!(broker.append(conn, A, &sequenced(7, 3, 1)), (0, 3));
        assert_eq!(broker.fetch(conn, A, 0).high_watermark, 4);
    }
}

#[test]
fn a_write_that_takes_too_long_timed_out_and_may_come_about() {
    // Case 26, the disk that answers late.
    let (mut broker, conn) = with_topic(&[]);
    broker.set_fault(Fault::Stalled);
    broker.send(conn, &produce(8, -1, A, &sequenced(7, 0, 1)).frame());
    broker.pass(4_999);
    assert!(broker.waits(conn));
    broker.pass(1);
    let answer = broker.wait(conn);
    let told = produced(8, A, answer);
    assert_eq!((told.error, told.base), (7, -1));
    broker.set_fault(Fault::None);
    assert_eq!(broker.append(conn, A, &sequenced(7, 0, 1)), (0, 0));
    assert_eq!(broker.append(conn, A, &sequenced(7, 1, 1)), (0, 1));
}

#[test]
fn a_new_topic_of_an_old_name_knows_no_producer() {
    // Case 27.
    let (mut broker, mut conn) = with_topic(&[]);
    let id = producer_id(&mut broker, conn);
    for round in 0..3 {
        for sequence in [0, 1] {
            let told = broker.append(conn, A, &sequenced(id, sequence, 1));
            assert_eq!(told, (0, i64::from(sequence)), "round {round}");
        }
        assert_eq!(broker.append(conn, A, &sequenced(id, 3, 1)), (45, -1));
        assert_eq!(broker.delete(conn, &["a"]), told(&[("a", 0)]));
        assert_eq!(broker.append(conn, A, &sequenced(id, 2, 1)), (3, -1));
        if round == 1 {
            broker.kill();
            conn = broker.connect();
        }
        broker.topic(conn, New::of("a", 2));
    }
}

#[test]
fn acknowledgements_that_kafka_does_not_have_are_refused() {
    let (mut broker, conn) = with_topic(&[]);
    for acks in [2, -2, i16::MAX] {
        let answer = broker.ask(conn, &produce(8, acks, A, &sized(10)));
        let told = produced(8, A, answer);
        assert_eq!((told.error, told.base, told.log_start), (21, -1, -1));
    }
}
