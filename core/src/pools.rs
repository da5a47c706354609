//! Pools: bytes that clients make a shard hold, each kind with a bound of its own, so that one that is
//! used up does not stop the others (design.md section 2).
//!
//! A pool gives while it has any room, so that what is larger than the whole pool passes too, alone
//! (`SimpleMemoryPool.java`): it holds less than its bound and one more taking.
//!
//! Answers have a pool with a part kept back. Who does not read what was answered can use up the rest, so
//! that part is for small answers to those that have read all before.

/// Bytes held of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    max: u64,
    held: u64,
    kept_back: u64,
}

impl Pool {
    /// An empty pool.
    pub fn new(max: u64) -> Pool {
        Pool {
            max,
            held: 0,
            kept_back: 0,
        }
    }

    /// An empty pool of which a quarter is kept back.
    pub fn of_answers(max: u64) -> Pool {
        Pool {
            kept_back: max / 4,
            ..Pool::new(max)
        }
    }

    /// Bytes held.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Bytes that are still to be had.
    pub fn room(&self) -> u64 {
        self.max.saturating_sub(self.held)
    }

    /// True if there is any room.
    pub fn has_room(&self) -> bool {
        self.held < self.max
    }

    /// Bytes that are still to be had without what is kept back.
    pub fn spare(&self) -> u64 {
        self.room().saturating_sub(self.kept_back)
    }

    /// True if less than a sixteenth is left, or only what is kept back: who holds some of it without
    /// moving must let go.
    pub fn is_pressed(&self) -> bool {
        self.spare() <= self.max / 16
    }

    /// Hold so much more.
    pub fn take(&mut self, bytes: u64) {
        self.held += bytes;
    }

    /// Hold so much less. Panics if that was not held: a charge given back twice is one that is
    /// missing elsewhere.
    pub fn give(&mut self, bytes: u64) {
        assert!(bytes <= self.held, "{bytes} given back of {}", self.held);
        self.held -= bytes;
    }
}

/// A shard's pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pools {
    /// Requests that arrived and are not decoded yet.
    pub frames: Pool,
    /// Produce requests.
    pub produces: Pool,
    /// All other requests.
    pub requests: Pool,
    /// Fetches that wait for records.
    pub parked: Pool,
    /// Records on their way to consumers.
    pub fetches: Pool,
    /// All other answers on their way to clients: small ones.
    pub replies: Pool,
    /// Large ones, so that one of them, larger than the whole pool perhaps, keeps no small one waiting.
    pub large_replies: Pool,
}

/// Kinds of answers, each with a pool: fetched records, small ones, large ones.
pub const LANES: usize = 3;

impl Pools {
    /// The pool of one of the [`LANES`].
    pub fn answers(&mut self, lane: usize) -> &mut Pool {
        match lane {
            0 => &mut self.fetches,
            1 => &mut self.replies,
            _ => &mut self.large_replies,
        }
    }

    /// Empty pools of these bounds.
    pub fn new(limits: &crate::limits::Limits) -> Pools {
        Pools {
            frames: Pool::new(limits.frame_bytes),
            produces: Pool::new(limits.produce_bytes),
            requests: Pool::new(limits.request_bytes),
            parked: Pool::new(limits.parked_bytes),
            fetches: Pool::of_answers(limits.fetch_bytes),
            replies: Pool::of_answers(limits.reply_bytes / 4),
            large_replies: Pool::new(limits.reply_bytes - limits.reply_bytes / 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_while_it_has_any_room() {
        let mut pool = Pool::new(160);
        pool.take(149);
        assert!(pool.has_room() && !pool.is_pressed());
        pool.take(1000);
        assert!(!pool.has_room() && pool.is_pressed());
        assert_eq!((pool.room(), pool.held()), (0, 1149));
        pool.give(1149);
        assert_eq!(pool.room(), 160);
    }

    #[test]
    fn a_quarter_of_a_pool_of_answers_is_kept_back() {
        let mut pool = Pool::of_answers(160);
        pool.take(109);
        assert_eq!((pool.spare(), pool.is_pressed()), (11, false));
        pool.take(1);
        assert_eq!((pool.spare(), pool.is_pressed()), (10, true));
        pool.take(10);
        assert_eq!((pool.spare(), pool.room(), pool.has_room()), (0, 40, true));
        pool.take(40);
        assert_eq!((pool.spare(), pool.room(), pool.has_room()), (0, 0, false));
    }

    #[test]
    #[should_panic(expected = "given back")]
    fn what_was_not_held_cannot_be_given_back() {
        Pool::new(10).give(1);
    }
}
