//! Time as the core sees it: a monotonic instant and a wall clock, both handed in by the driver.

/// Monotonic time of this process, in nanoseconds since an arbitrary start. Timeouts use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The instant `millis` milliseconds later; saturates at the end of time.
    pub fn plus_millis(self, millis: u64) -> Instant {
        Instant(self.0.saturating_add(millis.saturating_mul(1_000_000)))
    }

    /// The instant `millis` milliseconds earlier; saturates at the beginning of time.
    pub fn minus_millis(self, millis: u64) -> Instant {
        Instant(self.0.saturating_sub(millis.saturating_mul(1_000_000)))
    }
}

/// The two clocks of one turn, read once by the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic clock: deadlines and timeouts.
    pub mono: Instant,
    /// Wall clock in milliseconds since 1970: record timestamps, retention and expiry only.
    pub wall_ms: i64,
}
