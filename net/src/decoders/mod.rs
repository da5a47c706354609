//! Every decoder of bytes from a socket, one function for each message and direction: bytes in, and a
//! panic if the decoder breaks what it promises (see `seedlog_core::decoders`). `net/fuzz` feeds them
//! what a fuzzer thinks of, `net/tests/decoders.rs` random and damaged bytes.
//!
//! A message goes the way it goes on a connection: framed, with its header, through
//! [`server::Connection`](crate::server::Connection) or [`client::Connection`](crate::client::Connection).
//! The first byte of an input chooses the version.

mod messages;
mod streams;

pub use messages::{request, request_of, response};
pub use streams::{client_connection, fetched, server_connection};

use seedlog_core::decoders::Target;

/// A decoder of one message: Kafka's name and key of its API, and what takes the bytes.
pub type Entry = (&'static str, i16, fn(&[u8]));

/// Every request that a broker decodes.
pub const REQUESTS: [Entry; 14] = [
    ("Produce", 0, request::<0>),
    ("Fetch", 1, request::<1>),
    ("ListOffsets", 2, request::<2>),
    ("Metadata", 3, request::<3>),
    ("FindCoordinator", 10, request::<10>),
    ("SaslHandshake", 17, request::<17>),
    ("ApiVersions", 18, request::<18>),
    ("CreateTopics", 19, request::<19>),
    ("DeleteTopics", 20, request::<20>),
    ("DeleteRecords", 21, request::<21>),
    ("InitProducerId", 22, request::<22>),
    ("OffsetForLeaderEpoch", 23, request::<23>),
    ("SaslAuthenticate", 36, request::<36>),
    ("CreatePartitions", 37, request::<37>),
];

/// Every response that a client decodes.
pub const RESPONSES: [Entry; 11] = [
    ("Produce", 0, response::<0>),
    ("Fetch", 1, response::<1>),
    ("ListOffsets", 2, response::<2>),
    ("Metadata", 3, response::<3>),
    ("FindCoordinator", 10, response::<10>),
    ("CreateTopics", 19, response::<19>),
    ("DeleteTopics", 20, response::<20>),
    ("DeleteRecords", 21, response::<21>),
    ("InitProducerId", 22, response::<22>),
    ("OffsetForLeaderEpoch", 23, response::<23>),
    ("CreatePartitions", 37, response::<37>),
];

/// The fuzz targets. A field of one byte may become an element of a hundred in memory, which its list
/// moves as it grows, and here stands in up to three messages at once.
pub const TARGETS: &[Target] = &[
    Target {
        name: "requests",
        run: requests,
        memory: 64 << 10,
        memory_per_byte: 2048,
    },
    Target {
        name: "responses",
        run: responses,
        memory: 64 << 10,
        memory_per_byte: 2048,
    },
    Target {
        name: "server_connection",
        run: server_connection,
        // Two connections, each with the room that a frame may have at once.
        memory: 17 << 20,
        memory_per_byte: 2048,
    },
    Target {
        name: "client_connection",
        run: client_connection,
        memory: 64 << 10,
        memory_per_byte: 2048,
    },
];

fn one_of(entries: &[Entry], input: &[u8]) {
    let Some((which, rest)) = input.split_first() else {
        return;
    };
    let (.., decoder) = entries[usize::from(*which) % entries.len()];
    decoder(rest);
}

/// A request, by the first byte.
pub fn requests(input: &[u8]) {
    one_of(&REQUESTS, input);
}

/// A response, or the records in one, by the first byte.
pub fn responses(input: &[u8]) {
    match input.split_first() {
        Some((0xff, rest)) => fetched(rest),
        _ => one_of(&RESPONSES, input),
    }
}
