//! Open files: how many the process may have, and who may use them.
//!
//! Kafka's advice is a limit of 100,000 and more, as it keeps every segment open. Here a segment is open
//! while it is used and somewhat longer, so the limit is divided once, at the start:
//!
//! | part of `RLIMIT_NOFILE` | for |
//! |---|---|
//! | [`PROCESS`] | stamps, lock, listener, standard streams, the runtime that accepts |
//! | [`PER_SHARD`] for each shard | its runtime, a handle on the data folder for each disk thread, the journal twice (direct and not), the file that is being synced |
//! | a quarter of the rest, [`SEGMENTS_MAX`] at most | segments and side files kept open, an even share for each thread that opens them |
//! | what is left | clients' sockets |

use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use crate::disk::BACKGROUND;

/// Descriptors of the process itself.
const PROCESS: u64 = 32;
/// Descriptors of a shard: 3 of its runtime, 5 of its disk threads and the job that syncs, 2 of the
/// journal, and some to spare.
const PER_SHARD: u64 = 16;
/// More segments kept open than this save no time that was ever measured.
const SEGMENTS_MAX: u64 = 8_192;
/// The limit is raised no further: every descriptor has a price in the kernel, and no broker has a
/// million clients.
const RAISED_MAX: u64 = 1 << 20;

/// The process's descriptors, divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// `RLIMIT_NOFILE` as it is now.
    pub limit: u64,
    /// Segments and side files that each of a shard's background threads keeps open.
    pub per_thread: usize,
    /// What is left for clients' sockets.
    pub sockets: u64,
}

impl Descriptors {
    /// Divide `limit` descriptors for so many shards. A thread keeps one file open at least, even if no
    /// socket is left then.
    pub fn divide(limit: u64, shards: u16) -> Descriptors {
        let shards = u64::from(shards);
        let rest = limit.saturating_sub(PROCESS + PER_SHARD * shards);
        let threads = shards * BACKGROUND as u64;
        let per_thread = ((rest / 4).min(SEGMENTS_MAX) / threads.max(1)).max(1);
        Descriptors {
            limit,
            per_thread: per_thread as usize,
            sockets: rest.saturating_sub(per_thread * threads),
        }
    }
}

/// Raise the soft limit on open files to the hard one. Returns what it is then; a system that refuses
/// leaves it as it was.
pub fn raise_open_files() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let (soft, hard) = (
        now.current.unwrap_or(RAISED_MAX),
        now.maximum.unwrap_or(RAISED_MAX),
    );
    let wanted = hard.min(RAISED_MAX);
    if soft >= wanted {
        return soft;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: now.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => soft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_divided_without_one_left_over() {
        for (limit, shards, per_thread, sockets) in [
            (1 << 20, 2, 2_048, 1_040_320),
            (1_024, 2, 60, 720),
            (256, 2, 12, 144),
            (256, 14, 1, 0),
            (10, 2, 1, 0),
        ] {
            let divided = Descriptors::divide(limit, shards);
            assert_eq!(
                (divided.limit, divided.per_thread, divided.sockets),
                (limit, per_thread, sockets),
                "{limit} for {shards} shards"
            );
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_open_files();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, Some(limit));
        let hard = now.maximum.unwrap_or(RAISED_MAX).min(RAISED_MAX);
        assert!(limit >= hard, "{limit} of {hard}");
    }
}
