//! Whole connections: any bytes, cut anywhere, mean the same as all at once.

use bytes::{BufMut, Bytes, BytesMut};
use seedlog_core::api::Response;
use seedlog_core::batch::HEAD_LEN;
use seedlog_core::decoders::Script;

use super::messages::{asking, server_side, version_of};
use crate::apis::APIS;
use crate::messages::{blank_response, key_of};
use crate::server::Close;
use crate::{client, records, server};

/// The sizes in which a stream arrives: some bytes at the front say them, over and over.
struct Cuts<'a> {
    sizes: &'a [u8],
    at: usize,
}

impl<'a> Cuts<'a> {
    fn new(script: &mut Script<'a>) -> Cuts<'a> {
        let len = script.byte() % 8;
        Cuts {
            sizes: script.take(usize::from(len)),
            at: 0,
        }
    }

    /// The next piece of what is left.
    fn next<'b>(&mut self, rest: &mut &'b [u8]) -> &'b [u8] {
        let size = self.sizes.get(self.at % self.sizes.len().max(1));
        self.at += 1;
        let size = size.map_or(rest.len(), |size| usize::from(*size).max(1));
        let (piece, left) = rest.split_at(size.min(rest.len()));
        *rest = left;
        piece
    }
}

/// What a broker's side made of a stream.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    calls: Vec<server::Call>,
    closed: Option<Close>,
    output: Vec<u8>,
}

impl Heard {
    /// Decode what is whole, and answer it at once.
    fn decode(&mut self, broker: &mut server::Connection) {
        while self.closed.is_none() && broker.waiting().is_some() {
            match broker.decode() {
                Err(close) => self.closed = Some(close),
                Ok(None) => {}
                Ok(Some(call)) => {
                    let answer = blank_response(key_of(&call.request));
                    broker.reply(call.call, answer.unwrap_or(Response::Nothing));
                    self.calls.push(call);
                }
            }
            self.output.extend(broker.take_output().concat());
        }
    }
}

/// A broker's side of a connection: its frames' sizes are mended, unless the script says otherwise.
pub fn server_connection(input: &[u8]) {
    let mut script = Script::new(input);
    let framed = script.byte().is_multiple_of(2);
    let mut cuts = Cuts::new(&mut script);
    let stream = match framed {
        true => frames(&mut script),
        false => script.all().to_vec(),
    };
    let (mut one, mut whole) = (server_side(), Heard::default());
    whole.closed = one.arrived(&stream).err();
    // What came before the end of the stream is decoded first.
    let ended = whole.closed.take();
    whole.decode(&mut one);
    whole.closed = whole.closed.take().or(ended);
    let (mut other, mut parts) = (server_side(), Heard::default());
    let mut rest = &stream[..];
    while !rest.is_empty() && parts.closed.is_none() {
        let piece = cuts.next(&mut rest);
        let ended = arrive(&mut other, piece, cuts.at.is_multiple_of(2)).err();
        // Frames are copies: while some are left, what they were cut from counts as well.
        assert!(other.buffered_bytes() <= 2 * stream.len());
        parts.decode(&mut other);
        parts.closed = parts.closed.take().or(ended);
        // One that is closed keeps what it had not decoded, and goes.
        assert!(parts.closed.is_some() || other.buffered_bytes() <= stream.len());
    }
    assert_eq!(whole, parts);
    assert_eq!(one.pending_calls(), other.pending_calls());
    if whole.closed.is_none() {
        assert_eq!(one.buffered_bytes(), other.buffered_bytes());
        assert_eq!(one.missing(), other.missing());
    }
}

/// Bytes come as a piece, or straight into the room of the frame that they belong to.
fn arrive(broker: &mut server::Connection, piece: &[u8], by_room: bool) -> Result<(), Close> {
    let missing = broker.missing();
    if !by_room || missing == 0 {
        return broker.arrived(piece);
    }
    let (now, later) = piece.split_at(piece.len().min(missing));
    let mut room = broker.room();
    let fits = now.len().min(bytes::BufMut::remaining_mut(&room));
    room.put_slice(&now[..fits]);
    broker.filled(fits);
    broker.arrived(&now[fits..])?;
    broker.arrived(later)
}

/// Frames of requests whose headers name an API that is served, with any bytes after that.
fn frames(script: &mut Script) -> Vec<u8> {
    let mut out = BytesMut::new();
    while !script.is_over() {
        let api = APIS[usize::from(script.byte()) % APIS.len()];
        let version = i16::from(script.byte() % 20);
        let len = usize::from(script.byte());
        let body = script.take(len);
        out.put_i32(8 + body.len() as i32);
        out.put_i16(api.key);
        out.put_i16(version);
        out.put_i32(out.len() as i32);
        out.put_slice(body);
    }
    out.to_vec()
}

/// A client's side of a connection: it asks, and any bytes come back, cut anywhere.
pub fn client_connection(input: &[u8]) {
    let mut script = Script::new(input);
    let mut client = client::Connection::new("fuzz");
    for _ in 0..=script.byte() % 4 {
        let served = APIS[usize::from(script.byte()) % APIS.len()];
        let (api, version) = version_of(served.key, script.byte());
        client.set_version(api.key, version);
        if let Some(request) = asking(api.key) {
            client.request(&request);
        }
    }
    let mut cuts = Cuts::new(&mut script);
    let stream = answers(&mut script);
    let mut other = client.clone();
    let whole = client.receive(Bytes::copy_from_slice(&stream));
    let mut parts = Ok(Vec::new());
    let mut rest = &stream[..];
    while let (false, Ok(responses)) = (rest.is_empty(), &mut parts) {
        let piece = cuts.next(&mut rest);
        match other.receive(Bytes::copy_from_slice(piece)) {
            Ok(more) => responses.extend(more),
            Err(close) => parts = Err(close),
        }
    }
    // Responses before a bad one are lost if all come at once: the connection is over either way.
    assert_eq!(whole, parts);
}

/// Frames with small correlation ids, and what is left as it is.
fn answers(script: &mut Script) -> Vec<u8> {
    let mut out = BytesMut::new();
    for _ in 0..script.byte() % 5 {
        let correlation = i32::from(script.byte() % 5);
        let len = usize::from(script.byte());
        let body = script.take(len);
        out.put_i32(4 + body.len() as i32);
        out.put_i32(correlation);
        out.put_slice(body);
    }
    out.put_slice(script.all());
    out.to_vec()
}

/// The record batches in an answer to Fetch, as a client reads them.
pub fn fetched(input: &[u8]) {
    let bytes = Bytes::copy_from_slice(input);
    let Ok(batches) = records::batches(bytes) else {
        return;
    };
    let sizes: usize = batches.iter().map(|(head, _)| head.size).sum();
    assert!(sizes <= input.len(), "more batches than bytes");
    for (head, batch) in batches {
        assert_eq!(batch.len(), head.size);
        let Ok(read) = records::read(&head, batch.slice(HEAD_LEN..)) else {
            continue;
        };
        assert_eq!(read.len(), head.record_count as usize);
        // No batch of none is built.
        if read.is_empty() {
            continue;
        }
        let built = records::build(&read, None);
        let again = records::batches(built.clone()).map(|mut batches| batches.remove(0));
        let (head, batch) = again.unwrap_or_else(|error| panic!("a built batch: {error:?}"));
        let again = records::read(&head, batch.slice(HEAD_LEN..));
        let kept = |records: &[records::Record]| -> Vec<_> {
            let fields = records.iter().map(|record| {
                let record = record.clone();
                (record.timestamp, record.key, record.value, record.headers)
            });
            fields.collect()
        };
        assert_eq!(again.map(|again| kept(&again)), Ok(kept(&read)));
    }
}
