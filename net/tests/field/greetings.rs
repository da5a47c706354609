//! Cases 12, 13 and 38: what a connection begins with, good and bad.

use seedlog_core::api::{MetadataResponse, Response};
use seedlog_core::ids::NodeId;
use seedlog_core::limits::Limits;
use seedlog_net::server::Connection;

use super::broker::Broker;
use super::frames::{In, Out, CORRELATION};

/// The head of a request, whatever the key: client id null.
fn head(key: i16, version: i16) -> Out {
    Out::default()
        .i16(key)
        .i16(version)
        .i32(CORRELATION)
        .i16(-1)
}

/// The connection still answers ApiVersions v0.
fn goes_on(broker: &mut Broker, conn: u64) {
    let mut answer = broker.ask(conn, &Out::request(18, 0));
    assert_eq!(answer.i16(), 0);
    let keys = answer.list(false, |answer| {
        let key = answer.i16();
        assert!(answer.i16() <= answer.i16());
        key
    });
    answer.end();
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
    for key in [0, 1, 2, 3, 18] {
        assert!(keys.contains(&key), "{key}");
    }
}

#[test]
fn sasl_is_refused_with_a_word_and_the_connection_goes_on() {
    // Case 12.
    let mut broker = Broker::start(1);
    for version in [0, 1] {
        let conn = broker.connect();
        let request = Out::request(17, version).str(Some("PLAIN"));
        let mut answer = broker.ask(conn, &request);
        assert_eq!((answer.i16(), answer.i32()), (34, 0), "no mechanisms");
        answer.end();
        goes_on(&mut broker, conn);
    }
    for version in [0, 1] {
        let conn = broker.connect();
        let request = Out::request(36, version).i32(3).raw(b"\0u\0");
        let mut answer = broker.ask(conn, &request);
        assert_eq!(answer.i16(), 34);
        assert!(answer.str().is_some(), "a message");
        assert_eq!(answer.i32(), 0, "no bytes");
        if version == 1 {
            assert_eq!(answer.i64(), 0, "no lifetime");
        }
        answer.end();
        goes_on(&mut broker, conn);
    }
    let conn = broker.connect();
    let request = Out::flexible(36, 2).varint(4).raw(b"\0u\0").u8(0);
    let mut answer = broker.ask(conn, &request);
    answer.tags(true);
    assert_eq!(answer.i16(), 34);
    assert!(answer.compact().is_some(), "a message");
    assert_eq!((answer.count(true), answer.i64()), (0, 0));
    answer.tags(true);
    answer.end();
    goes_on(&mut broker, conn);
}

/// The body of ApiVersions v3 and v4.
fn greeting(name: &str, version: &str) -> Out {
    let out = Out::default().compact(Some(name)).compact(Some(version));
    out.u8(0)
}

#[test]
fn an_api_versions_of_the_future_is_told_what_there_is() {
    // Case 13: an answer in version 0 with exactly one key.
    let mut broker = Broker::start(1);
    let conn = broker.connect();
    for version in [5, 99, i16::MAX, -1] {
        let request = Out::flexible(18, version).raw(&greeting("client", "1.0").0);
        let mut answer = broker.ask(conn, &request);
        assert_eq!(answer.take(12), [0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
        answer.end();
        goes_on(&mut broker, conn);
    }
}

#[test]
fn a_client_says_what_it_is_in_letters_digits_dots_and_hyphens() {
    // Case 13.
    let mut broker = Broker::start(1);
    let conn = broker.connect();
    for version in [3, 4] {
        let mut ask = |name: &str, software: &str| {
            let request = Out::flexible(18, version).raw(&greeting(name, software).0);
            let mut answer = broker.ask(conn, &request);
            // The header of an ApiVersions answer never has tagged fields.
            let error = answer.i16();
            let keys = answer.list(true, |answer| {
                let row = (answer.i16(), answer.i16(), answer.i16());
                answer.tags(true);
                row
            });
            assert_eq!(answer.i32(), 0, "no throttling");
            answer.tags(true);
            answer.end();
            assert_eq!(keys.is_empty(), error != 0);
            error
        };
        for name in ["my client", "a_b", "", "-a", "a.", "ü"] {
            assert_eq!(ask(name, "1.0"), 42, "{name}");
            assert_eq!(ask("a", name), 42, "{name}");
        }
        for name in ["a", "a-b.c", "7", "apache-kafka-java"] {
            assert_eq!(ask(name, "1.0"), 0, "{name}");
        }
        goes_on(&mut broker, conn);
    }
}

#[test]
fn what_follows_and_what_is_not_known_is_passed_over() {
    // Case 13: client ids, tagged fields, and bytes behind the body.
    let mut broker = Broker::start(1);
    let conn = broker.connect();
    let body = greeting("a", "1").0;
    let tagged = [&body[..body.len() - 1], &[1, 77, 2, 9, 9]].concat();
    for request in [
        head(18, 3).u8(0).raw(&body),
        Out::default()
            .i16(18)
            .i16(3)
            .i32(CORRELATION)
            .i16(0)
            .u8(0)
            .raw(&body),
        Out::request(18, 3).raw(&[1, 42, 3, 1, 2, 3]).raw(&body),
        Out::flexible(18, 3).raw(&tagged),
        Out::flexible(18, 3).raw(&body).raw(&[1, 2, 3, 4, 5]),
    ] {
        let mut answer = broker.ask(conn, &request);
        assert_eq!(answer.i16(), 0);
        assert!(answer.count(true) > 5);
    }
    goes_on(&mut broker, conn);
}

#[test]
fn what_is_no_request_closes_the_connection_without_a_byte() {
    // Case 38.
    let mut broker = Broker::start(2);
    let tls = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut bad: Vec<Vec<u8>> = vec![tls.to_vec(), http.to_vec()];
    let sizes = [0, -1, 3, 200 << 20, i32::MAX, i32::MIN];
    bad.extend(sizes.map(|size| [&size.to_be_bytes()[..], &[0; 3]].concat()));
    for (key, version) in [
        (-1, 0),
        (4, 0),
        (999, 0),
        (i16::MAX, 0),
        (0, 2),
        (0, 14),
        (1, 3),
        (1, 19),
        (2, 0),
        (3, 14),
        (3, -1),
        (17, 2),
        (36, 3),
    ] {
        bad.push(head(key, version).raw(&[0; 20]).frame());
    }
    // A body that ends too soon, or says more than there is.
    bad.push(head(3, 4).frame());
    bad.push(head(3, 4).i32(5).frame());
    bad.push(head(3, 4).i32(1).i16(100).raw(b"short").frame());
    bad.push(head(3, 4).i32(i32::MAX).frame());
    bad.push(head(3, 4).i32(1).i16(-2).u8(0).frame());
    for bytes in bad {
        let conn = broker.connect();
        broker.send(conn, &bytes);
        assert!(broker.closed_without_a_byte(conn), "{bytes:02x?}");
        // In any pieces.
        let conn = broker.connect();
        bytes.iter().for_each(|byte| broker.send(conn, &[*byte]));
        assert!(broker.closed_without_a_byte(conn), "{bytes:02x?}");
    }
    let conn = broker.connect();
    goes_on(&mut broker, conn);
}

#[test]
fn an_ipv6_address_is_told_as_it_is() {
    // Case 38: clients put the brackets themselves.
    let local = ("::1".to_string(), 9092);
    let advertised = ("2001:db8::5".to_string(), 19092);
    for (version, named) in [(4, None), (7, None), (7, Some(&advertised))] {
        let mut server = Connection::new(local.0.clone(), local.1, Limits::DEFAULT);
        let request = Out::request(3, version).i32(0).u8(0);
        server.receive(request.frame().into()).expect("whole");
        let call = server.next_call().expect("a call");
        let response = MetadataResponse {
            brokers: vec![(NodeId(0), named.cloned())],
            ..MetadataResponse::default()
        };
        server.reply(call.call, Response::Metadata(response));
        let mut answer = In::new(server.take_output().concat());
        answer.take(12);
        assert_eq!((answer.i32(), answer.i32()), (1, 0), "one broker");
        let (host, port) = named.unwrap_or(&local).clone();
        assert_eq!((answer.str(), answer.i32()), (Some(host), port.into()));
    }
}
