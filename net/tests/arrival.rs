//! Bytes as they arrive: many small requests in one read, requests in pieces, and what is none.

use seedlog_core::api::{ProduceResponse, Response};
use seedlog_core::limits::Limits;
use seedlog_net::server::Connection;

/// A whole request: its length, header version 1 without a client id, and this body.
fn frame(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = (10 + body.len() as i32).to_be_bytes().to_vec();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    frame.extend([0xff; 2]);
    frame.extend(body);
    frame
}

fn api_versions(correlation: i32) -> Vec<u8> {
    frame(18, 0, correlation, &[])
}

/// Produce v3: no transaction, acks -1, no time, no topics.
fn produce(correlation: i32) -> Vec<u8> {
    let body = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    frame(0, 3, correlation, &body)
}

fn connection() -> Connection {
    Connection::new("h".into(), 9, Limits::DEFAULT)
}

/// Correlation ids of the answers that are out.
fn answered(server: &mut Connection) -> Vec<i32> {
    let bytes = server.take_output().concat();
    let mut rest = &bytes[..];
    let mut found = Vec::new();
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let (answer, later) = after.split_at(i32::from_be_bytes(*size) as usize);
        let (correlation, _) = answer.split_first_chunk().expect("a header");
        found.push(i32::from_be_bytes(*correlation));
        rest = later;
    }
    found
}

#[test]
fn requests_come_out_one_by_one_however_they_arrive() {
    let count = 1_000;
    let stream: Vec<u8> = (0..count).flat_map(api_versions).collect();
    for piece in [1, 3, 4, 13, 14, 15, 100, 4_096, stream.len()] {
        let mut server = connection();
        for bytes in stream.chunks(piece) {
            server.arrived(bytes).expect("requests");
            // As the node reads on only when nothing waits, or as the simulator does, at once.
            while piece % 2 == 0 && server.has_frame() {
                server.decode().expect("a request");
            }
        }
        while server.has_frame() {
            assert!(server.waiting().is_some());
            server.decode().expect("a request");
        }
        assert_eq!(server.buffered_bytes(), 0, "in pieces of {piece}");
        assert_eq!(answered(&mut server), (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_no_request_is_told_after_the_requests_before_it() {
    for bad in [[0, 0, 0, 7], [0xff; 4], [0x7f; 4]] {
        for good in [0, 3, 40] {
            let mut stream: Vec<u8> = (0..good).flat_map(api_versions).collect();
            stream.extend(bad);
            stream.extend(api_versions(9));
            let mut server = connection();
            let mut told = server.arrived(&stream);
            assert_eq!(told.is_err(), good == 0);
            while told.is_ok() && server.has_frame() {
                assert!(server.waiting().is_some());
                told = server.decode().map(|_| ());
            }
            assert!(told.is_err(), "{bad:?} after {good}");
            assert!(!server.has_frame());
            assert_eq!(answered(&mut server), (0..good).collect::<Vec<_>>());
        }
    }
}

#[test]
fn only_some_produces_of_a_connection_wait_for_their_answers() {
    let most = Limits::DEFAULT.produces_per_connection as i32;
    let mut server = connection();
    let stream: Vec<u8> = (0..most + 4).flat_map(produce).collect();
    server.arrived(&stream).expect("requests");
    let mut calls = Vec::new();
    while server.waiting().is_some() {
        calls.extend(server.decode().expect("a request"));
    }
    assert_eq!(calls.len() as i32, most);
    assert!(server.has_frame(), "more are there");
    // The answer that makes room may come out of turn, and an unwanted one makes none.
    let answer = || Response::Produce(ProduceResponse::default());
    for call in [calls[3].call, calls[3].call, calls[0].call] {
        server.reply(call, answer());
    }
    let mut more = 0;
    while server.waiting().is_some() {
        more += usize::from(server.decode().expect("a request").is_some());
    }
    assert_eq!(more, 2);
    assert_eq!(answered(&mut server), [0]);
}

#[test]
fn produces_under_way_may_hold_so_much() {
    let limits = Limits {
        produce_bytes_per_connection: 200,
        ..Limits::DEFAULT
    };
    let mut server = Connection::new("h".into(), 9, limits);
    let size = produce(0).len() as u64 - 4;
    server.arrived(&produce(0).repeat(60)).expect("requests");
    let mut taken = Vec::new();
    for wanted in [200_u64.div_ceil(size), 1, 1] {
        let mut calls = 0;
        while server.waiting().is_some() {
            let call = server.decode().expect("a request").expect("a call");
            assert_eq!(call.held, size);
            taken.push(call.call);
            calls += 1;
        }
        assert_eq!(calls, wanted);
        server.reply(
            taken.remove(0),
            Response::Produce(ProduceResponse::default()),
        );
    }
}

#[test]
fn few_hellos_wait_behind_other_calls() {
    let mut server = connection();
    let stream: Vec<u8> = (1..=100).flat_map(api_versions).collect();
    server.arrived(&produce(0)).expect("a request");
    server.arrived(&stream).expect("requests");
    let call = server.decode().expect("a request").expect("a call").call;
    let mut heard = 0;
    while server.waiting().is_some() {
        server.decode().expect("a request");
        heard += 1;
    }
    assert!((10..20).contains(&heard), "{heard}");
    assert!(server.has_frame());
    // They are heard once the call is answered.
    let topics = Vec::new();
    server.reply(call, Response::Produce(ProduceResponse { topics }));
    while server.waiting().is_some() {
        server.decode().expect("a request");
    }
    assert_eq!(answered(&mut server), (0..=100).collect::<Vec<_>>());
}
