//! A broker's side of a client connection: frames in, typed calls out; typed answers in, bytes out
//! in the order of the calls.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use seedlog_core::api::{Request, Response};
use seedlog_core::codec::{Codec, Malformed, Reader, Writer};
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::CallId;

use crate::apis::{find, API_VERSIONS};
use crate::messages::{self, Address};

/// Why the connection must be closed. Kafka closes without an answer here, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// For the log.
    pub reason: String,
}

impl From<Malformed> for Close {
    fn from(malformed: Malformed) -> Close {
        Close {
            reason: malformed.0.to_string(),
        }
    }
}

/// A call whose answer has not been written yet.
#[derive(Clone, Debug)]
struct Slot {
    call: CallId,
    key: i16,
    version: i16,
    correlation: i32,
    answer: Option<Vec<Bytes>>,
}

/// One connection, as the broker sees it.
#[derive(Clone, Debug)]
pub struct Connection {
    address: Address,
    max_frame: usize,
    input: BytesMut,
    calls: VecDeque<(CallId, Request)>,
    slots: VecDeque<Slot>,
    output: Vec<Bytes>,
    next_call: u64,
}

impl Connection {
    /// A connection that reached the broker at this address; requests over `max_frame` bytes close
    /// it (`socket.request.max.bytes`).
    pub fn new(host: String, port: u16, max_frame: usize) -> Connection {
        Connection {
            address: Address { host, port },
            max_frame,
            input: BytesMut::new(),
            calls: VecDeque::new(),
            slots: VecDeque::new(),
            output: Vec::new(),
            next_call: 0,
        }
    }

    /// Take bytes from the socket.
    pub fn receive(&mut self, chunk: Bytes) -> Result<(), Close> {
        self.input.extend_from_slice(&chunk);
        while self.input.len() >= 4 {
            let mut size = [0; 4];
            size.copy_from_slice(&self.input[..4]);
            let size = i32::from_be_bytes(size);
            let size = usize::try_from(size)
                .ok()
                .filter(|size| *size <= self.max_frame)
                .ok_or_else(|| Close {
                    reason: format!("a request of {size} bytes"),
                })?;
            if self.input.len() < 4 + size {
                // The whole frame's room at once, so that it is not copied again and again.
                let missing = (4 + size - self.input.len()).min(1 << 20);
                self.input.reserve(missing);
                return Ok(());
            }
            self.input.advance(4);
            let frame = self.input.split_to(size).freeze();
            self.frame(frame)?;
        }
        Ok(())
    }

    fn frame(&mut self, mut frame: Bytes) -> Result<(), Close> {
        if frame.len() < 8 {
            return Err(Malformed("a request has no header").into());
        }
        let (key, version, correlation) = (frame.get_i16(), frame.get_i16(), frame.get_i32());
        let unknown = || Close {
            reason: format!("API {key} version {version} is not served"),
        };
        let api = find(key).ok_or_else(unknown)?;
        let call = CallId(self.next_call);
        self.next_call += 1;
        let mut slot = Slot {
            call,
            key,
            version,
            correlation,
            answer: None,
        };
        if !(api.min..=api.max).contains(&version) {
            if key != API_VERSIONS {
                return Err(unknown());
            }
            slot.version = 0;
            self.slots.push_back(slot);
            return self.answer_versions(ErrorCode::UnsupportedVersion);
        }
        let flexible = version >= api.flexible;
        // The client id keeps its old form in every header version.
        let mut reader = Reader::new(frame, version, false);
        reader.nullable_string(&mut None)?;
        let mut reader = reader.with_flexible(flexible);
        reader.tags()?;
        self.slots.push_back(slot);
        if key == API_VERSIONS {
            let error = messages::api_versions_request(&mut reader)?;
            return self.answer_versions(error);
        }
        if let Some(answer) = messages::refuse_sasl(key, &mut reader)? {
            self.slots
                .back_mut()
                .into_iter()
                .for_each(|slot| slot.answer = Some(answer.clone()));
            self.flush();
            return Ok(());
        }
        let mut request = messages::blank_request(key).ok_or_else(unknown)?;
        messages::request(&mut reader, &mut request)?;
        // What follows the message is ignored, as Kafka does: librdkafka 2.16 leaves three bytes of a
        // longer array count behind in a Metadata request for all topics.
        self.calls.push_back((call, request));
        Ok(())
    }

    /// Answer the newest call, an ApiVersions.
    fn answer_versions(&mut self, error: ErrorCode) -> Result<(), Close> {
        if let Some(slot) = self.slots.back_mut() {
            let mut writer = Writer::new(slot.version, slot.version >= 3);
            messages::api_versions_response(&mut writer, error)?;
            slot.answer = Some(writer.finish());
        }
        self.flush();
        Ok(())
    }

    /// The next call to hand to the core.
    pub fn next_call(&mut self) -> Option<(CallId, Request)> {
        self.calls.pop_front()
    }

    /// The core's answer to a call.
    pub fn reply(&mut self, call: CallId, mut response: Response) {
        let address = self.address.clone();
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.call == call) else {
            return;
        };
        let flexible = find(slot.key).is_some_and(|api| slot.version >= api.flexible);
        slot.answer = Some(match response {
            Response::Nothing => Vec::new(),
            _ => {
                let mut writer = Writer::new(slot.version, flexible);
                // Response header v1 ends in tagged fields.
                let written = writer
                    .tags()
                    .and_then(|()| messages::response(&mut writer, &mut response, &address));
                debug_assert_eq!(written, Ok(()), "writing cannot fail");
                writer.finish()
            }
        });
        self.flush();
    }

    /// Move answers that are due to the output.
    fn flush(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.answer.is_some()) {
            let Some(slot) = self.slots.pop_front() else {
                return;
            };
            let answer = slot.answer.unwrap_or_default();
            if answer.is_empty() {
                continue;
            }
            let size: usize = answer.iter().map(Bytes::len).sum();
            let mut head = Vec::with_capacity(8);
            head.extend_from_slice(&(size as i32 + 4).to_be_bytes());
            head.extend_from_slice(&slot.correlation.to_be_bytes());
            self.output.push(Bytes::from(head));
            self.output.extend(answer);
        }
    }

    /// Bytes for the socket, in order.
    pub fn take_output(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.output)
    }

    /// Calls not answered yet.
    pub fn pending_calls(&self) -> usize {
        self.slots.len()
    }

    /// Bytes received that are not a whole frame yet.
    pub fn buffered_bytes(&self) -> usize {
        self.input.len()
    }
}
