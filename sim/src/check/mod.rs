//! Checks that see only what clients see, and what the plan's faults explain.

pub mod answers;
pub mod history;
pub mod troubles;
