//! Checks that see only what clients see.

pub mod history;
