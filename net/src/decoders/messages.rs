//! One message at a time, there and back.

use bytes::{BufMut, Bytes, BytesMut};
use seedlog_core::api::{ProduceRequest, Request, Response};
use seedlog_core::limits::Limits;

use crate::apis::{find, Api, API_VERSIONS};
use crate::messages::{blank_request, key_of};
use crate::{client, server};

pub(super) fn server_side() -> server::Connection {
    server::Connection::new("broker".into(), 9092, Limits::DEFAULT)
}

/// The API of a key that is served, and the version that this byte chooses.
pub(super) fn version_of(key: i16, byte: u8) -> (&'static Api, i16) {
    let api = find(key).unwrap_or_else(|| panic!("API {key} is served"));
    let versions = i16::from(byte) % (api.max - api.min + 1);
    (api, api.min + versions)
}

/// A request that expects an answer.
pub(super) fn asking(key: i16) -> Option<Request> {
    match key {
        0 => Some(Request::Produce(ProduceRequest {
            acks: 1,
            ..ProduceRequest::default()
        })),
        _ => blank_request(key),
    }
}

fn sized(frame: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + frame.len());
    out.put_i32(frame.len() as i32);
    out.put_slice(frame);
    out.freeze()
}

/// A request of the API `KEY`: the first byte is its version, what follows its header from the client id
/// on, and its body.
pub fn request<const KEY: i16>(input: &[u8]) {
    request_of(KEY, input, |_| {});
}

/// The same; `seen` is told what was decoded.
pub fn request_of(key: i16, input: &[u8], seen: impl FnOnce(&Request)) {
    let Some((byte, rest)) = input.split_first() else {
        return;
    };
    let (api, version) = version_of(key, *byte);
    let mut frame = BytesMut::new();
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_slice(rest);
    let mut broker = server_side();
    let taken = broker.arrived(&sized(&frame));
    assert!(taken.is_ok() && broker.has_frame() && broker.missing() == 0);
    let decoded = broker.decode();
    assert_eq!(broker.buffered_bytes(), 0, "a frame is taken whole");
    let call = match decoded {
        Err(_) => return,
        Ok(None) => {
            // Answered by the connection itself: ApiVersions and SASL.
            assert!([17, API_VERSIONS, 36].contains(&api.key));
            let answer = broker.take_output().concat();
            let size = answer[..4]
                .iter()
                .fold(0, |n, byte| n << 8 | usize::from(*byte));
            assert_eq!((size, broker.pending_calls()), (answer.len() - 4, 0));
            return;
        }
        Ok(Some(call)) => call,
    };
    assert!(call.held >= frame.len() as u64);
    seen(&call.request);
    assert_eq!(key_of(&call.request), key);
    assert_eq!(resent(key, version, &call.request), call.request);
}

/// The request as it comes out once a client has sent it.
fn resent(key: i16, version: i16, request: &Request) -> Request {
    let mut client = client::Connection::new("");
    client.set_version(key, version);
    let (_, frame) = client.request(request);
    let mut broker = server_side();
    let call = broker.arrived(&frame).and_then(|()| broker.decode());
    match call {
        Ok(Some(call)) => call.request,
        other => panic!("{other:?} instead of {request:?}"),
    }
}

/// A response of the API `KEY` to a client that asked: the first byte is the version asked with, what
/// follows the response from its header's tagged fields on.
pub fn response<const KEY: i16>(input: &[u8]) {
    let Some((byte, rest)) = input.split_first() else {
        return;
    };
    let (_, version) = version_of(KEY, *byte);
    let (mut client, correlation, _) = asked(KEY, version);
    let frame = [&correlation.to_be_bytes()[..], rest].concat();
    let Ok(mut responses) = client.receive(sized(&frame)) else {
        return;
    };
    let Some((answered, response)) = responses.pop() else {
        panic!("a whole response was not taken");
    };
    assert!(answered == correlation && responses.is_empty());
    assert_eq!(sent_back(KEY, version, &response), response);
}

/// A client that has asked: its correlation id, and the frame of its request.
fn asked(key: i16, version: i16) -> (client::Connection, i32, Bytes) {
    let mut client = client::Connection::new("");
    client.set_version(key, version);
    let request = asking(key).unwrap_or_else(|| panic!("API {key} has a request"));
    let (correlation, frame) = client.request(&request);
    (client, correlation, frame)
}

/// The response as it comes out once a broker has answered with it.
fn sent_back(key: i16, version: i16, response: &Response) -> Response {
    let (mut client, _, frame) = asked(key, version);
    let mut broker = server_side();
    let call = broker.arrived(&frame).and_then(|()| broker.decode());
    let Ok(Some(call)) = call else {
        panic!("{call:?} instead of a call");
    };
    broker.reply(call.call, response.clone());
    let bytes = broker.take_output().concat();
    match client.receive(bytes.into()).as_deref() {
        Ok([(_, again)]) => again.clone(),
        other => panic!("{other:?} instead of {response:?}"),
    }
}
