//! A slow disk, for tests: writes of all shards together take no less time than they would on a device
//! of so many bytes a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Shared by all threads that write.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    bytes_per_second: Option<u64>,
    /// When the device is free again.
    free_at: Arc<Mutex<Option<Instant>>>,
}

impl Throttle {
    /// A device of this speed; `None` is the real one's.
    pub fn new(bytes_per_second: Option<u64>) -> Throttle {
        Throttle {
            bytes_per_second: bytes_per_second.filter(|rate| *rate > 0),
            free_at: Arc::default(),
        }
    }

    /// Wait as long as the device takes for so many bytes, after those that came before.
    pub fn wait(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        let now = Instant::now();
        let until = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let from = free_at.unwrap_or(now).max(now);
            let until = from + Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate);
            *free_at = Some(until);
            until
        };
        thread::sleep(until - now);
    }
}
