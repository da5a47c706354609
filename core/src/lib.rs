//! Seedlog's core: every decision that can lose or reorder a record, as deterministic state
//! machines that do no I/O and read no clock.
//!
//! Start at [`shard::Shard`] (the hall: routes, decides nothing) and [`contract`] (what goes in and
//! comes out). Rooms are nouns a Kafka user knows: [`log`], [`partition`], [`metadata`].

pub mod api;
pub mod batch;
pub mod codec;
pub mod contract;
#[doc(hidden)]
pub mod decoders;
pub mod disk;
pub mod error_code;
pub mod ids;
pub mod limits;
pub mod log;
pub mod metadata;
pub mod partition;
pub mod pools;
pub mod shard;
pub mod time;
pub mod work;
