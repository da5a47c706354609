//! Null where the schema has none, and what is read as null or mended: as Kafka 4.3 did.

use super::broker::Broker;
use super::frames::{In, Out};
use super::topics::New;

fn start() -> (Broker, u64) {
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1));
    (broker, conn)
}

/// A Fetch v11 up to its topics.
fn fetch() -> Out {
    let out = Out::request(1, 11).i32(-1).i32(0).i32(1).i32(1_000);
    out.u8(0).i32(0).i32(-1)
}

/// A CreateTopics v4 of `b` up to its assignments.
fn create() -> Out {
    let out = Out::request(19, 4).i32(1).str(Some("b"));
    out.i32(1).i16(1)
}

#[test]
fn an_array_that_may_not_be_null_closes_the_connection() {
    let (mut broker, _) = start();
    let one_topic = |out: Out| out.i32(1).str(Some("a"));
    let produce = || Out::request(0, 8).str(None).i16(1).i32(1_000);
    let lookup = || Out::request(2, 2).i32(-1).u8(0);
    let epoch = || Out::request(23, 3).i32(-1);
    for (name, request) in [
        ("produce", produce().i32(-1)),
        ("produce's partitions", one_topic(produce()).i32(-1)),
        ("fetch", fetch().i32(-1).i32(0).str(Some(""))),
        (
            "fetch's partitions",
            one_topic(fetch()).i32(-1).i32(0).str(Some("")),
        ),
        ("fetch's forgotten", fetch().i32(0).i32(-1).str(Some(""))),
        ("fetch's rack", fetch().i32(0).i32(0).str(None)),
        ("list offsets", lookup().i32(-1)),
        ("list offsets' partitions", one_topic(lookup()).i32(-1)),
        ("epochs", epoch().i32(-1)),
        ("epochs' partitions", one_topic(epoch()).i32(-1)),
        ("create", Out::request(19, 4).i32(-1).i32(1_000).u8(0)),
        ("assignments", create().i32(-1).i32(0).i32(1_000).u8(1)),
        ("configs", create().i32(0).i32(-1).i32(1_000).u8(1)),
        (
            "brokers of an assignment",
            create().i32(1).i32(0).i32(-1).i32(0).i32(1_000).u8(1),
        ),
        ("delete", Out::request(20, 3).i32(-1).i32(1_000)),
        ("delete v6", Out::flexible(20, 6).u8(0).i32(1_000).u8(0)),
        ("delete records", Out::request(21, 1).i32(-1).i32(1_000)),
        (
            "delete records' partitions",
            one_topic(Out::request(21, 1)).i32(-1).i32(1_000),
        ),
        ("grow", Out::request(37, 1).i32(-1).i32(1_000).u8(0)),
        (
            "brokers of a new partition",
            one_topic(Out::request(37, 1))
                .i32(2)
                .i32(1)
                .i32(-1)
                .i32(1_000)
                .u8(1),
        ),
        ("coordinators", Out::flexible(10, 4).u8(0).u8(0).u8(0)),
        ("metadata v0", Out::request(3, 0).i32(-1)),
        ("metadata v0, -2", Out::request(3, 0).i32(-2)),
        ("a client's SASL bytes", Out::request(36, 0).i32(-1)),
        (
            "a client's SASL bytes, v2",
            Out::flexible(36, 2).u8(0).u8(0),
        ),
    ] {
        let conn = broker.connect();
        broker.send(conn, &request.frame());
        assert!(broker.closed_without_a_byte(conn), "{name}");
    }
}

/// How many topics a Metadata v1 tells of, and name and error of the first.
fn topics(mut answer: In) -> (usize, Option<(i16, Option<String>)>) {
    assert_eq!((answer.i32(), answer.i32()), (1, 0));
    assert_eq!(
        (answer.str().as_deref(), answer.i32()),
        (Some("localhost"), 9092)
    );
    assert_eq!((answer.str(), answer.i32()), (None, 0));
    let count = answer.count(false);
    let first = (count > 0).then(|| (answer.i16(), answer.str()));
    (count, first)
}

#[test]
fn a_negative_length_is_null_where_null_may_be() {
    let (mut broker, conn) = start();
    for count in [-1, -2, i32::MIN] {
        let answer = broker.ask(conn, &Out::request(3, 1).i32(count));
        assert_eq!(topics(answer).0, 1, "all topics: {count}");
    }
    // Lengths with more than 32 bits are cut to them: -2, and -1.
    for count in [&b"\xff\xff\xff\xff\x0f"[..], b"\x80\x80\x80\x80\x10"] {
        let request = Out::flexible(3, 12).raw(count).u8(0).u8(0).u8(0);
        let mut answer = broker.ask(conn, &request);
        answer.tags(true);
        assert_eq!((answer.i32(), answer.count(true)), (0, 1));
    }
    // Tagged fields: none.
    for count in [&b"\xff\xff\xff\xff\x0f"[..], b"\x80\x80\x80\x80\x70"] {
        let request = Out::flexible(3, 12).u8(1).u8(0).u8(0).raw(count);
        broker.ask(conn, &request);
        let request = Out::request(3, 12).raw(count).u8(1).u8(0).u8(0).u8(0);
        broker.ask(conn, &request);
    }
    // A client id.
    let head = Out::default().i16(3).i16(1).i32(super::frames::CORRELATION);
    let answer = broker.ask(conn, &head.i16(-2).i32(0));
    assert_eq!(topics(answer), (0, None));
    for request in [
        Out::flexible(3, 12)
            .u8(1)
            .u8(0)
            .u8(0)
            .u8(1)
            .u8(5)
            .raw(b"\xff\xff\xff\xff\x0f"),
        Out::flexible(3, 12)
            .raw(b"\x80\x80\x80\x80\x80\0")
            .u8(0)
            .u8(0)
            .u8(0),
    ] {
        let conn = broker.connect();
        broker.send(conn, &request.frame());
        assert!(broker.closed_without_a_byte(conn));
    }
}

#[test]
fn what_is_not_utf_8_is_replaced() {
    let (mut broker, conn) = start();
    let head = Out::default().i16(3).i16(1).i32(super::frames::CORRELATION);
    let answer = broker.ask(conn, &head.i16(2).raw(b"\xff\xfe").i32(0));
    assert_eq!(topics(answer), (0, None));
    let named = |name: &[u8]| Out::request(3, 1).i32(1).i16(name.len() as i16).raw(name);
    let answer = broker.ask(conn, &named(b"a\xff\xfe"));
    let mended = Some("a\u{fffd}\u{fffd}".to_string());
    assert_eq!(topics(answer), (1, Some((17, mended))));
    // The longest that can be told back; Kafka fails at one byte more, too.
    let answer = broker.ask(conn, &named(&[0xff; 10_922]));
    assert_eq!(topics(answer).1.map(|(error, _)| error), Some(17));
    for name in [vec![0xff; 10_923], vec![0xff; 32_767]] {
        let conn = broker.connect();
        broker.send(conn, &named(&name).frame());
        assert!(broker.closed_without_a_byte(conn));
    }
    // Nor is a compact string longer.
    let conn = broker.connect();
    let id = Out::flexible(3, 12).u8(2).raw(&[0; 16]);
    let long = "n".repeat(32_768);
    let request = id.compact(Some(&long)).u8(0).u8(0).u8(0).u8(0);
    broker.send(conn, &request.frame());
    assert!(broker.closed_without_a_byte(conn));
}
