//! Planted divergences: each makes a run depend on something that is not in its plan. They show that
//! hashes catch it, and that a diff names where it began.

/// What strays from the plan. Each is one branch at one place of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// A client connects to whichever shard comes first in a hash map with a random state.
    HashOrder,
    /// One choice more is drawn than before, of a stream that others draw from.
    ExtraDraw,
    /// The wall clock that the broker is told is the machine's, in part.
    ClockRead,
    /// No divergence: a broken invariant, as core's own would be.
    Panic,
}

/// The same numbers, in an order that is another one in every run.
#[allow(
    clippy::disallowed_types,
    reason = "its order that differs between runs is what is planted"
)]
pub fn by_hash(numbers: Vec<usize>) -> Vec<usize> {
    let set: std::collections::HashSet<usize> = numbers.into_iter().collect();
    set.into_iter().collect()
}

/// Milliseconds of the machine's clock, modulo a second: never the same in two runs that differ.
pub fn machine_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| i64::from(time.subsec_nanos() % 997))
}
