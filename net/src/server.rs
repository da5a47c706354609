//! A broker's side of a client connection: frames in, typed calls out; typed answers in, bytes out
//! in the order of the calls.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use seedlog_core::api::{Request, Response};
use seedlog_core::codec::{Codec, Malformed, Reader, Writer};
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::CallId;
use seedlog_core::limits::Limits;

use crate::apis::{find, API_VERSIONS, PRODUCE};
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
    /// What a Produce holds.
    held: u64,
    answer: Option<Vec<Bytes>>,
}

/// Bytes of memory that an element of a decoded request is charged with, beside its frame.
const ITEM_BYTES: u64 = 96;

/// An ApiVersions waits behind no more calls than this: its answer is made at once, and charged to nobody
/// until its turn comes.
const HELLOS_MAX: usize = 16;
/// Frames that are cut out of what arrived before one of them is wanted, and more if they have so many
/// bytes each: a read may bring thousands of small ones, and each costs memory beside its bytes.
const FRAMES_AT_ONCE: usize = 16;
const FRAME_BYTES: usize = 1 << 10;
/// A frame's room is taken at once up to this size; a larger one's grows as its bytes arrive, so that
/// announcing them costs nobody memory.
const ROOM_AT_ONCE: usize = 8 << 20;

/// A whole request that waits to be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// It brings records: it is charged to a pool of its own.
    pub produce: bool,
}

/// A decoded request.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its place on the connection.
    pub call: CallId,
    /// What it asks.
    pub request: Request,
    /// Bytes that it takes in memory.
    pub held: u64,
}

/// One connection, as the broker sees it.
#[derive(Clone, Debug)]
pub struct Connection {
    address: Address,
    limits: Limits,
    /// Whole frames, not decoded, without their lengths.
    frames: VecDeque<Bytes>,
    frame_bytes: usize,
    /// What arrived behind them and is not cut yet, and the memory that it keeps.
    uncut: Bytes,
    uncut_bytes: usize,
    /// What came after the last whole frame is none.
    bad: Option<Close>,
    /// The length of the frame that is arriving, as far as that has come.
    length: Length,
    /// Its bytes, and how many of them are missing.
    partial: BytesMut,
    missing: usize,
    calls: VecDeque<Call>,
    slots: VecDeque<Slot>,
    /// Produce requests among them that are not answered, and what they hold.
    produces: usize,
    produce_bytes: u64,
    output: Vec<Bytes>,
    next_call: u64,
}

/// Up to four bytes of a length.
#[derive(Clone, Copy, Debug, Default)]
struct Length {
    bytes: [u8; 4],
    len: usize,
}

impl Connection {
    /// A connection that reached the broker at this address.
    pub fn new(host: String, port: u16, limits: Limits) -> Connection {
        Connection {
            address: Address { host, port },
            limits,
            frames: VecDeque::new(),
            frame_bytes: 0,
            uncut: Bytes::new(),
            uncut_bytes: 0,
            bad: None,
            produces: 0,
            produce_bytes: 0,
            length: Length::default(),
            partial: BytesMut::new(),
            missing: 0,
            calls: VecDeque::new(),
            slots: VecDeque::new(),
            output: Vec::new(),
            next_call: 0,
        }
    }

    /// Take bytes from the socket. They are cut into frames here, a few at a time, and decoded by
    /// [`Connection::decode`] one at a time.
    ///
    /// # Errors
    /// If the first that is not decoded is no request.
    pub fn arrived(&mut self, bytes: &[u8]) -> Result<(), Close> {
        if self.uncut.is_empty() {
            let rest = self.cut(bytes);
            self.keep_uncut(Bytes::copy_from_slice(rest));
        } else {
            self.keep_uncut([&self.uncut, bytes].concat().into());
        }
        match self.bad.take_if(|_| self.frames.is_empty()) {
            Some(bad) => Err(bad),
            None => Ok(()),
        }
    }

    fn keep_uncut(&mut self, bytes: Bytes) {
        self.uncut_bytes = bytes.len();
        self.uncut = bytes;
    }

    /// Cut frames out of these bytes, until some are there. Returns what is left.
    fn cut<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() && self.bad.is_none() && !self.has_frames_enough() {
            if self.missing > 0 {
                let (now, later) = bytes.split_at(bytes.len().min(self.missing));
                self.make_room();
                self.partial.extend_from_slice(now);
                self.missing -= now.len();
                bytes = later;
                self.end_frame();
                continue;
            }
            let (byte, later) = (bytes[0], &bytes[1..]);
            self.length.bytes[self.length.len] = byte;
            self.length.len += 1;
            bytes = later;
            if self.length.len == 4 {
                self.bad = self.begin_frame().err();
            }
        }
        match self.bad {
            // Nobody reads on behind that.
            Some(_) => &[],
            None => bytes,
        }
    }

    fn has_frames_enough(&self) -> bool {
        let count = self.frames.len();
        count >= FRAMES_AT_ONCE && self.frame_bytes < count * FRAME_BYTES
    }

    fn cut_on(&mut self) {
        let uncut = std::mem::take(&mut self.uncut);
        let left = self.cut(&uncut).len();
        match left {
            0 => self.uncut_bytes = 0,
            left => self.uncut = uncut.slice(uncut.len() - left..),
        }
    }

    /// Bytes that the frame which is arriving still lacks; 0 if none has begun.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Room for bytes of the frame that is arriving, so that they need not be copied; how many came is
    /// told by [`Connection::filled`].
    pub fn room(&mut self) -> bytes::buf::Limit<&mut BytesMut> {
        self.make_room();
        let missing = self.missing;
        (&mut self.partial).limit(missing)
    }

    /// So many bytes were put into [`Connection::room`].
    pub fn filled(&mut self, bytes: usize) {
        self.missing -= bytes;
        self.end_frame();
    }

    fn begin_frame(&mut self) -> Result<(), Close> {
        let size = i32::from_be_bytes(std::mem::take(&mut self.length).bytes);
        let allowed = |size: &usize| (8..=self.limits.request_max_bytes).contains(size);
        self.missing = usize::try_from(size)
            .ok()
            .filter(allowed)
            .ok_or_else(|| Close {
                reason: format!("a request of {size} bytes"),
            })?;
        Ok(())
    }

    fn make_room(&mut self) {
        let here = self.partial.len();
        if self.partial.capacity() == here {
            let whole = here + self.missing;
            let room = whole.min(ROOM_AT_ONCE.max(here * 2));
            self.partial.reserve(room - here);
        }
    }

    fn end_frame(&mut self) {
        if self.missing == 0 {
            let frame = std::mem::take(&mut self.partial).freeze();
            self.frame_bytes += frame.len();
            self.frames.push_back(frame);
        }
    }

    /// Bytes that have arrived and are not decoded.
    pub fn buffered_bytes(&self) -> usize {
        self.frame_bytes + self.uncut_bytes + self.partial.len() + self.length.len
    }

    /// The next whole request that waits to be decoded, unless too many of this connection's are
    /// unanswered.
    pub fn waiting(&self) -> Option<Waiting> {
        let produce = match self.frames.front() {
            Some(frame) => frame.starts_with(&[0, 0]),
            // Decoding it tells.
            None => self.bad.as_ref().map(|_| false)?,
        };
        // ApiVersions is answered here, and its answer kept behind those of calls before it.
        let hello = self
            .frames
            .front()
            .is_some_and(|it| it.starts_with(&[0, 18]));
        let full = self.slots.len() >= self.limits.calls_per_connection
            || (hello && self.slots.len() >= HELLOS_MAX)
            || (produce && self.has_produces_enough());
        (!full).then_some(Waiting { produce })
    }

    fn has_produces_enough(&self) -> bool {
        self.produces >= self.limits.produces_per_connection
            || self.produce_bytes >= self.limits.produce_bytes_per_connection
    }

    /// True if a whole request waits, whether or not it may be decoded now.
    pub fn has_frame(&self) -> bool {
        !self.frames.is_empty() || self.bad.is_some()
    }

    /// Decode the next whole request. `None` if it needed no call: ApiVersions is answered here.
    ///
    /// # Errors
    /// If what came next is no request.
    pub fn decode(&mut self) -> Result<Option<Call>, Close> {
        let Some(frame) = self.frames.pop_front() else {
            return self.bad.take().map_or(Ok(None), Err);
        };
        self.frame_bytes -= frame.len();
        if self.frames.is_empty() {
            self.cut_on();
        }
        self.frame(frame)
    }

    /// Take bytes from the socket and decode all requests that are whole; [`Connection::next_call`]
    /// gives them.
    pub fn receive(&mut self, bytes: Bytes) -> Result<(), Close> {
        self.arrived(&bytes)?;
        while self.has_frame() {
            let call = self.decode()?;
            self.calls.extend(call);
        }
        Ok(())
    }

    fn frame(&mut self, mut frame: Bytes) -> Result<Option<Call>, Close> {
        let size = frame.len() as u64;
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
            held: 0,
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
        let mut reader =
            Reader::new(frame, version, false).with_items(self.limits.items_per_request);
        reader.nullable_string(&mut None)?;
        let mut reader = reader.with_flexible(flexible);
        reader.tags()?;
        self.slots.push_back(slot);
        if key == API_VERSIONS {
            let error = messages::api_versions_request(&mut reader)?;
            return self.answer_versions(error);
        }
        if let Some(answer) = messages::refuse_sasl(key, &mut reader)? {
            if let Some(slot) = self.slots.back_mut() {
                slot.answer = Some(answer);
            }
            self.flush();
            return Ok(None);
        }
        let mut request = messages::blank_request(key).ok_or_else(unknown)?;
        messages::request(&mut reader, &mut request)?;
        // What follows the message is ignored, as Kafka does: librdkafka 2.16 leaves three bytes of a
        // longer array count behind in a Metadata request for all topics.
        let held = size + ITEM_BYTES * u64::from(reader.items());
        if let Some(slot) = self.slots.back_mut().filter(|slot| slot.key == PRODUCE) {
            slot.held = held;
            self.produces += 1;
            self.produce_bytes += held;
        }
        Ok(Some(Call {
            call,
            request,
            held,
        }))
    }

    /// Answer the newest call, an ApiVersions.
    fn answer_versions(&mut self, error: ErrorCode) -> Result<Option<Call>, Close> {
        if let Some(slot) = self.slots.back_mut() {
            let mut writer = Writer::new(slot.version, slot.version >= 3);
            messages::api_versions_response(&mut writer, error)?;
            slot.answer = Some(writer.finish());
        }
        self.flush();
        Ok(None)
    }

    /// The next call of those that [`Connection::receive`] decoded.
    pub fn next_call(&mut self) -> Option<Call> {
        self.calls.pop_front()
    }

    /// The core's answer to a call.
    pub fn reply(&mut self, call: CallId, mut response: Response) {
        let address = self.address.clone();
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.call == call) else {
            return;
        };
        let flexible = find(slot.key).is_some_and(|api| slot.version >= api.flexible);
        if slot.key == PRODUCE && slot.answer.is_none() {
            self.produces -= 1;
            self.produce_bytes -= slot.held;
        }
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
            // Requests and what a Fetch may answer are bounded far below 2 GiB.
            debug_assert!(i32::try_from(size + 4).is_ok(), "the length of an answer");
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
}
