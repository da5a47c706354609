//! Client and server sides of the codec against each other, for every API and version of the table,
//! and against bytes that are cut, flipped or hostile.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use proptest::sample::Index;
use seedlog_core::api::*;
use seedlog_core::limits::Limits;
use seedlog_net::apis;
use seedlog_net::client;
use seedlog_net::server::{self, Call};

#[path = "wire/samples.rs"]
mod samples;

use samples::{answer, answer_read, frame, request, served, served_by_core};

fn server() -> server::Connection {
    server::Connection::new("h".into(), 9, Limits::default())
}

#[test]
fn both_sides_agree_at_every_version_that_is_served() {
    let mut exchanged = 0;
    for (api, version) in served_by_core() {
        let mut client = client::Connection::new("test");
        client.set_version(api.key, version);
        let mut server = server();
        let meant = request(api, version);
        let (correlation, frame) = client.request(&meant);
        // Byte by byte: a frame may come in any pieces.
        for byte in frame.chunks(1) {
            server
                .receive(Bytes::copy_from_slice(byte))
                .expect("understood");
        }
        let Call { call, request, .. } = server.next_call().expect("a call");
        assert_eq!(request, meant, "{} v{version}", api.name);
        server.reply(call, answer(api));
        let bytes = Bytes::from(server.take_output().concat());
        let answers = client.receive(bytes).expect("understood");
        let read = answer_read(api, version);
        assert_eq!(answers, [(correlation, read)], "{} v{version}", api.name);
        exchanged += 1;
    }
    assert!(exchanged > 80, "{exchanged} exchanges");
}

#[test]
fn the_comparison_covers_the_whole_table() {
    for (api, version) in served() {
        let mut server = server();
        server.receive(frame(api, version)).expect("understood");
        let answered = !server.take_output().is_empty();
        let call = server.next_call().is_some();
        assert_ne!(call, answered, "{} v{version}", api.name);
        let by_core = served_by_core().any(|row| row == (api, version));
        assert_eq!(call, by_core, "{} v{version}", api.name);
    }
}

#[test]
fn answers_leave_in_the_order_of_the_calls() {
    let mut client = client::Connection::new("test");
    let mut server = server();
    let api = apis::find(2).expect("served");
    let (request, response) = (request(api, api.max), answer(api));
    for _ in 0..3 {
        server
            .receive(client.request(&request).1)
            .expect("understood");
    }
    let calls: Vec<_> = std::iter::from_fn(|| server.next_call())
        .map(|call| call.call)
        .collect();
    for call in [calls[2], calls[1]] {
        server.reply(call, response.clone());
        assert!(server.take_output().is_empty());
    }
    server.reply(calls[0], response);
    let answers = client
        .receive(Bytes::from(server.take_output().concat()))
        .expect("understood");
    assert_eq!(
        answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

/// What librdkafka 2.16.1 sends to ask for every topic: Metadata v13 with three bytes left over.
#[test]
fn bytes_after_a_request_are_ignored() {
    let mut frame = vec![0, 0, 0, 25, 0, 3, 0, 13, 0, 0, 0, 3, 0, 7];
    frame.extend_from_slice(b"rdkafka");
    frame.extend_from_slice(&[0; 8]);
    let mut server = server();
    assert!(server.receive(frame.into()).is_ok());
    let request = server.next_call().expect("a call").request;
    assert!(matches!(request, Request::Metadata(_)), "{request:?}");
}

#[test]
fn what_is_not_served_closes_and_unknown_api_versions_are_told() {
    let frame = |key: i16, version: i16| {
        let mut out = BytesMut::new();
        out.put_i32(10);
        out.put_i16(key);
        out.put_i16(version);
        out.put_i32(5);
        out.put_i16(-1);
        out.freeze()
    };
    for (key, version) in [(0, 2), (3, 14), (11, 5), (-1, 0)] {
        let mut server = server();
        assert!(
            server.receive(frame(key, version)).is_err(),
            "{key} v{version}"
        );
    }
    let mut server = server();
    server.receive(frame(18, 99)).expect("answered");
    let answer = server.take_output().concat();
    assert_eq!(
        answer[8..10],
        35i16.to_be_bytes(),
        "UNSUPPORTED_VERSION in v0"
    );
    assert!(
        server.receive(Bytes::from_static(&[0x7f; 4])).is_err(),
        "a frame over the limit"
    );
}

/// A frame cut at a byte, its length told rightly, or with one bit of it turned.
fn damaged(frame: &[u8], at: usize, bit: Option<u8>) -> Bytes {
    let mut bytes = frame.to_vec();
    match bit {
        Some(bit) => bytes[at] ^= 1 << bit,
        None => {
            bytes.truncate(at);
            let size = (bytes.len() - 4) as i32;
            bytes[..4].copy_from_slice(&size.to_be_bytes());
        }
    }
    bytes.into()
}

/// A request of the table's key and version, with this body.
fn with_body(key: i16, version: i16, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(body.len() as i32 + 10);
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    frame.put_slice(body);
    frame.freeze()
}

#[test]
fn a_request_that_is_cut_anywhere_never_panics() {
    let mut closed = 0;
    for (api, version) in served() {
        let whole = frame(api, version);
        for at in 12..whole.len() {
            let read = server().receive(damaged(&whole, at, None));
            closed += usize::from(read.is_err());
        }
    }
    assert!(closed > 3_000, "{closed} cuts were seen");
}

proptest! {
    #[test]
    fn no_body_makes_the_server_panic(which in any::<Index>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let rows: Vec<_> = served().collect();
        let (api, version) = rows[which.index(rows.len())];
        let _ = server().receive(with_body(api.key, version, &body));
    }

    #[test]
    fn no_key_and_version_make_the_server_panic(key in any::<i16>(), version in any::<i16>(), body in prop::collection::vec(any::<u8>(), 0..50)) {
        let read = server().receive(with_body(key, version, &body));
        let known = apis::find(key).is_some_and(|api| (api.min..=api.max).contains(&version));
        // An ApiVersions of a version to come is answered.
        prop_assert!(known || key == apis::API_VERSIONS || read.is_err());
    }

    #[test]
    fn a_damaged_request_never_panics(which in any::<Index>(), at in any::<Index>(), bit in 0u8..8) {
        let rows: Vec<_> = served().collect();
        let (api, version) = rows[which.index(rows.len())];
        let whole = frame(api, version);
        let at = 4 + at.index(whole.len() - 4);
        let _ = server().receive(damaged(&whole, at, Some(bit)));
    }

    #[test]
    fn a_damaged_answer_never_panics(which in any::<Index>(), at in any::<Index>(), bit in prop::option::of(0u8..8)) {
        let rows: Vec<_> = served_by_core().collect();
        let (api, version) = rows[which.index(rows.len())];
        let mut client = client::Connection::new("test");
        client.set_version(api.key, version);
        let mut server = server();
        server.receive(client.request(&request(api, version)).1).expect("understood");
        let call = server.next_call().expect("a call").call;
        server.reply(call, answer(api));
        let whole = server.take_output().concat();
        let at = 8 + at.index(whole.len() - 8);
        let _ = client.receive(damaged(&whole, at, bit));
    }
}
