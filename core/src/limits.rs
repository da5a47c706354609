//! What a broker lets clients make it hold, and for how long: every bound in one place, with Kafka's
//! name and default where Kafka has one.
//!
//! Bytes are charged from the moment they arrive until they are gone ([`crate::pools`]). Bounds of
//! bytes that are queued are a whole broker's, shared out evenly among its shards by [`Limits::for_shards`].

use crate::partition::PRODUCERS_MAX;
use crate::work::PLAIN_BATCH_MAX;

/// Bounds on what clients may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `socket.request.max.bytes`: the largest request, its four bytes of length not counted. A larger
    /// one closes its connection. 100 MiB, as in Kafka.
    pub request_max_bytes: usize,
    /// `queued.max.request.bytes`: Produce requests that wait or are being worked on, in bytes. One
    /// more is taken while there is any room, as Kafka's `SimpleMemoryPool` does. Kafka's default is no
    /// bound; here 128 MiB for the broker.
    pub produce_bytes: u64,
    /// The same for all other requests, so that they go on while produces wait. 32 MiB for the broker.
    pub request_bytes: u64,
    /// Fetches that wait for records, as requests in memory, in bytes: apart from requests that are
    /// worked on, which would wait for room until somebody else's records come. Beyond this the one that
    /// has waited longest is answered with what there is. 128 MiB for the broker. Kafka's purgatory has no
    /// such bound.
    pub parked_bytes: u64,
    /// Bytes of requests that have arrived and are not decoded yet, unfinished ones among them.
    /// 128 MiB for the broker. Kafka counts these in `queued.max.request.bytes`.
    pub frame_bytes: u64,
    /// Bytes of records on their way to consumers: being read, or waiting for their sockets. 128 MiB
    /// for the broker. Kafka has no such bound, as its sockets read from the page cache.
    pub fetch_bytes: u64,
    /// Bytes of all other answers that wait for their sockets. 32 MiB for the broker.
    pub reply_bytes: u64,
    /// An answer of no more than this is small. Small ones have a quarter of [`Limits::reply_bytes`] to
    /// themselves, and a part of it is kept for clients that have read all that was answered before.
    /// Larger ones begin one in a turn. 64 KiB: a socket takes that at once.
    pub small_answer_bytes: u64,
    /// `fetch.max.bytes` of the broker: no answer to a Fetch holds more, its first batch excepted.
    /// 55 MiB, as in Kafka.
    pub fetch_max_bytes: usize,
    /// Calls of one connection that are not answered yet; the next is not read before. Kafka reads one
    /// at a time.
    pub calls_per_connection: usize,
    /// Produce requests among them. Kafka has one at a time; more than some would only fill the queues
    /// that others' batches stand in, too.
    pub produces_per_connection: usize,
    /// One more is taken while they hold less than this, in bytes.
    pub produce_bytes_per_connection: u64,
    /// Bytes of answers that one connection has not taken; its next call is not begun before.
    pub unsent_per_connection: u64,
    /// Elements of all arrays of one request together: an empty string takes a byte on the wire and
    /// 24 in memory. More of them close the connection.
    pub items_per_request: u32,
    /// `connections.max.idle.ms`: a connection without a byte either way for so long is closed, a
    /// parked Fetch notwithstanding. 10 minutes, as in Kafka.
    pub idle_ms: u64,
    /// A request that has begun and gets no byte more for so long closes its connection.
    pub stalled_request_ms: u64,
    /// A client that takes no byte of an answer for so long loses its connection.
    pub stalled_reader_ms: u64,
    /// Where a pool is used up, whoever holds some of it and has not moved for so long loses its
    /// connection, the longest stalled first: it must not hold up those that move.
    pub pressed_stall_ms: u64,
    /// There, to take or to send less than this in that time is to stand still: a byte now and then
    /// would keep the room of many. 16 KiB.
    pub pressed_pace_bytes: u64,
    /// A Produce, and what changes topics, is answered REQUEST_TIMED_OUT after its own `timeout_ms`,
    /// but not sooner than this: Kafka's clock starts after its write, which waits for no disk.
    pub timeout_min_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

impl Limits {
    /// A broker's bounds if nobody says otherwise.
    pub const DEFAULT: Limits = Limits {
        request_max_bytes: 100 << 20,
        produce_bytes: 128 << 20,
        request_bytes: 32 << 20,
        parked_bytes: 128 << 20,
        frame_bytes: 128 << 20,
        fetch_bytes: 128 << 20,
        reply_bytes: 32 << 20,
        small_answer_bytes: 64 << 10,
        fetch_max_bytes: 55 << 20,
        calls_per_connection: 256,
        produces_per_connection: 16,
        produce_bytes_per_connection: 4 << 20,
        unsent_per_connection: 1 << 20,
        items_per_request: 100_000,
        idle_ms: 600_000,
        stalled_request_ms: 30_000,
        stalled_reader_ms: 30_000,
        pressed_stall_ms: 500,
        pressed_pace_bytes: 16 << 10,
        timeout_min_ms: 5_000,
    };

    /// Every bound by name, as an operator reads it: Kafka's name where Kafka has it, and the value.
    pub fn list(&self) -> [(&'static str, u64); 22] {
        [
            ("socket.request.max.bytes", self.request_max_bytes as u64),
            ("queued.max.request.bytes", self.produce_bytes),
            ("queued.max.other.request.bytes", self.request_bytes),
            ("queued.max.parked.fetch.bytes", self.parked_bytes),
            ("queued.max.frame.bytes", self.frame_bytes),
            ("queued.max.fetch.response.bytes", self.fetch_bytes),
            ("queued.max.other.response.bytes", self.reply_bytes),
            ("small.response.bytes", self.small_answer_bytes),
            ("fetch.max.bytes", self.fetch_max_bytes as u64),
            ("max.calls.per.connection", self.calls_per_connection as u64),
            (
                "max.produces.per.connection",
                self.produces_per_connection as u64,
            ),
            (
                "max.produce.bytes.per.connection",
                self.produce_bytes_per_connection,
            ),
            (
                "max.unsent.bytes.per.connection",
                self.unsent_per_connection,
            ),
            ("max.request.elements", u64::from(self.items_per_request)),
            ("connections.max.idle.ms", self.idle_ms),
            ("stalled.request.ms", self.stalled_request_ms),
            ("stalled.reader.ms", self.stalled_reader_ms),
            ("stalled.pressed.ms", self.pressed_stall_ms),
            ("stalled.pressed.bytes", self.pressed_pace_bytes),
            ("request.timeout.min.ms", self.timeout_min_ms),
            ("max.producers.per.partition", PRODUCERS_MAX as u64),
            ("max.uncompressed.batch.bytes", PLAIN_BATCH_MAX),
        ]
    }

    /// One shard's part of a broker's bounds.
    pub fn for_shards(self, shards: u16) -> Limits {
        let shards = u64::from(shards.max(1));
        Limits {
            produce_bytes: self.produce_bytes / shards,
            request_bytes: self.request_bytes / shards,
            parked_bytes: self.parked_bytes / shards,
            frame_bytes: self.frame_bytes / shards,
            fetch_bytes: self.fetch_bytes / shards,
            reply_bytes: self.reply_bytes / shards,
            ..self
        }
    }
}
