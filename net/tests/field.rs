//! Cases of the field, bytes in and bytes out: requests written by hand go through the codec into a
//! running core, and the bytes of its answers are read to the last one. What they must say is what
//! Apache Kafka 4.3 answered to the same bytes, or what is better where it stands beside it; the
//! numbers are those of the field's report. `core/tests/produce.rs` has the same at the core's level
//! for every compression.

#[path = "field/admin.rs"]
mod admin;
#[path = "field/batches.rs"]
mod batches;
#[path = "field/broker.rs"]
mod broker;
#[path = "field/calls.rs"]
mod calls;
#[path = "../../core/tests/memory_broker/disk.rs"]
mod disk;
#[path = "field/doubles.rs"]
mod doubles;
#[path = "field/fetching.rs"]
mod fetching;
#[path = "field/frames.rs"]
mod frames;
#[path = "field/greetings.rs"]
mod greetings;
#[path = "field/internal.rs"]
mod internal;
#[path = "field/nulls.rs"]
mod nulls;
#[path = "field/odd_requests.rs"]
mod odd_requests;
#[path = "field/offsets.rs"]
mod offsets;
#[path = "field/operations.rs"]
mod operations;
#[path = "field/producing.rs"]
mod producing;
#[path = "field/records.rs"]
mod records;
#[path = "field/retaining.rs"]
mod retaining;
#[path = "field/topics.rs"]
mod topics;
#[path = "../../core/tests/memory_broker/turns.rs"]
mod turns;
