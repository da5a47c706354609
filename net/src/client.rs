//! A client's side of a connection: typed requests to frames, frames to typed responses.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use seedlog_core::api::{Request, Response};
use seedlog_core::codec::{Codec, Malformed, Reader, Writer};

use crate::apis::find;
use crate::messages::{self, Address};
use crate::server::Close;

/// One connection, as a client sees it.
#[derive(Clone, Debug)]
pub struct Connection {
    client_id: String,
    input: BytesMut,
    next_correlation: i32,
    pending: BTreeMap<i32, (i16, i16)>,
    versions: BTreeMap<i16, i16>,
}

impl Connection {
    /// A connection under this client id, at the highest versions this build knows.
    pub fn new(client_id: &str) -> Connection {
        Connection {
            client_id: client_id.to_string(),
            input: BytesMut::new(),
            next_correlation: 0,
            pending: BTreeMap::new(),
            versions: BTreeMap::new(),
        }
    }

    /// Use this version of the API `key`.
    pub fn set_version(&mut self, key: i16, version: i16) {
        self.versions.insert(key, version);
    }

    /// The frame for a request and its correlation id. Produce with acks=0 expects no answer.
    pub fn request(&mut self, request: &Request) -> (i32, Bytes) {
        let key = messages::key_of(request);
        let (highest, flexible_from) = find(key).map_or((0, 0), |api| (api.max, api.flexible));
        // Topic ids on the wire need the ids; names always work.
        let by_name = match request {
            Request::Produce(_) | Request::Fetch(_) => 12,
            _ => highest,
        };
        let version = self
            .versions
            .get(&key)
            .copied()
            .unwrap_or(highest.min(by_name));
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        let mut head = BytesMut::new();
        head.put_i16(key);
        head.put_i16(version);
        head.put_i32(correlation);
        head.put_i16(self.client_id.len() as i16);
        head.put_slice(self.client_id.as_bytes());
        let mut writer = Writer::new(version, version >= flexible_from);
        let written = writer
            .tags()
            .and_then(|()| messages::request(&mut writer, &mut request.clone()));
        debug_assert_eq!(written, Ok(()), "writing cannot fail");
        let pieces = writer.finish();
        let size: usize = pieces.iter().map(Bytes::len).sum::<usize>() + head.len();
        let mut frame = BytesMut::with_capacity(4 + size);
        frame.put_i32(size as i32);
        frame.put_slice(&head);
        pieces.iter().for_each(|piece| frame.put_slice(piece));
        if !matches!(request, Request::Produce(produce) if produce.acks == 0) {
            self.pending.insert(correlation, (key, version));
        }
        (correlation, frame.freeze())
    }

    /// Take bytes from the socket; whole responses come out with their correlation ids.
    pub fn receive(&mut self, chunk: Bytes) -> Result<Vec<(i32, Response)>, Close> {
        self.input.extend_from_slice(&chunk);
        let mut responses = Vec::new();
        while self.input.len() >= 4 {
            let mut size = [0; 4];
            size.copy_from_slice(&self.input[..4]);
            let size = usize::try_from(i32::from_be_bytes(size))
                .map_err(|_| Malformed("a response has a negative size"))?;
            if self.input.len() < 4 + size {
                break;
            }
            self.input.advance(4);
            let frame = self.input.split_to(size).freeze();
            responses.push(self.response(frame)?);
        }
        Ok(responses)
    }

    fn response(&mut self, mut frame: Bytes) -> Result<(i32, Response), Close> {
        let correlation = frame
            .try_get_i32()
            .map_err(|_| Malformed("a response has no header"))?;
        let (key, version) = self
            .pending
            .remove(&correlation)
            .ok_or(Malformed("a response to nothing that was asked"))?;
        let flexible = find(key).is_some_and(|api| version >= api.flexible);
        let mut reader = Reader::new(frame, version, flexible);
        reader.tags()?;
        let mut response =
            messages::blank_response(key).ok_or(Malformed("a response of an unknown API"))?;
        messages::response(&mut reader, &mut response, &Address::default())?;
        if reader.remaining() > 0 {
            return Err(Malformed("bytes follow the message").into());
        }
        Ok((correlation, response))
    }
}
