//! Storage: the journal ring that is the authority, and Kafka segments written behind it.
//!
//! A shard has one journal. Each turn's frames go out as one block, a whole number of 4 KiB pages,
//! with one sync; at most one such write is in flight and appends wait for it, which is group
//! commit without a linger timer. Segments are written behind from memory and synced at
//! checkpoints; a manifest frame in the journal then says what they hold, and journal space before
//! the oldest frame still needed is recycled.

pub mod frame;
pub mod journal;
pub mod recovery;
pub mod rows;
