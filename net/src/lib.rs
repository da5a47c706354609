//! Kafka's wire protocol to and from the core's version-free types. Sans-IO: bytes in, bytes out.
//!
//! [`server::Connection`] is a broker's side of a connection, [`client::Connection`] a client's.
//! Which APIs are served, and at which versions, stands in [`apis`] alone.

pub mod apis;
pub mod client;
#[doc(hidden)]
pub mod decoders;
mod messages;
pub mod records;
pub mod server;
