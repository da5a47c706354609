//! A plan: the shape of a world, its faults and what is expected of its run, as data. A seed has one, a
//! scenario file states one.
//!
//! Everything that can differ between two runs of one build stands in the plan, or is drawn from its seed
//! under a stable key (`draws.rs`). So a plan can be cut down, line by line, and what is left goes as before.

mod expect;
mod kinds;
mod shape;
mod text;

pub use expect::{Expectation, Verdict};
pub use kinds::{Ending, FaultKind};
pub use text::{TextError, VERSION};

use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A source of choices.
#[derive(Clone, Debug)]
pub struct Choices {
    rng: ChaCha8Rng,
}

impl Choices {
    /// The choices of `actor` in `stream` under `seed`.
    pub fn new(seed: u64, stream: &str, actor: u64) -> Choices {
        crate::draws::keyed(seed, stream, actor, 0)
    }

    /// The choices of this key.
    pub(crate) fn of_key(key: [u8; 32]) -> Choices {
        Choices {
            rng: ChaCha8Rng::from_seed(key),
        }
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of a plain remainder is far below what any test here can see.
        self.rng.next_u64() % bound
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `part` of `whole` cases.
    pub fn chance(&mut self, part: u64, whole: u64) -> bool {
        self.below(whole) < part
    }

    /// 32 bytes, for a shard's seed.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When, in microseconds of simulated time.
    pub at_us: u64,
    /// What.
    pub kind: FaultKind,
    /// A number the kind uses as it needs: which client, how long, which byte.
    pub value: u64,
}

/// One topic that all clients share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its partitions, at least one.
    pub partitions: u32,
    /// Its configs, as CreateTopics is given them.
    pub configs: Vec<(String, String)>,
}

impl Topic {
    /// The number that a config is set to.
    pub fn config(&self, name: &str) -> Option<i64> {
        let found = self.configs.iter().find(|(key, _)| key == name);
        found.and_then(|(_, value)| value.parse().ok())
    }

    /// The broker, not the producer, stamps its records.
    pub fn is_stamped(&self) -> bool {
        let by_broker = |(name, value): &(String, String)| {
            name == "message.timestamp.type" && value == "LogAppendTime"
        };
        self.configs.iter().any(by_broker)
    }

    /// Records may be dropped by retention.
    pub fn has_retention(&self) -> bool {
        ["retention.ms", "retention.bytes"]
            .iter()
            .any(|name| self.config(name).is_some_and(|limit| limit >= 0))
    }

    /// Where retention goes by time alone, no record goes that is younger than this, ms: it may stand in a
    /// segment that was begun `segment.ms` before it.
    pub fn young_ms(&self) -> Option<i64> {
        let by_size = self.config("retention.bytes").is_some();
        let (kept, segment) = (self.config("retention.ms")?, self.config("segment.ms")?);
        (!by_size).then_some(kept - segment)
    }
}

/// The plan of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed of everything that is drawn while the plan runs.
    pub seed: u64,
    /// Shards of the broker, at first.
    pub shards: u16,
    /// The topics that clients share.
    pub topics: Vec<Topic>,
    /// Clients: the first half produce, the others consume. A keeper of topics comes on top.
    pub clients: usize,
    /// Operations per client.
    pub operations: u64,
    /// Shards run as madsim tasks on madsim nodes.
    pub tasks: bool,
    /// Faults, by time.
    pub faults: Vec<Fault>,
    /// Damage after the end.
    pub ending: Option<(Ending, u64)>,
    /// What the run must come to, where a scenario says so.
    pub expect: Vec<Expectation>,
}

impl Plan {
    /// The topic that opts out of syncing, if one does.
    pub fn loose_topic(&self) -> Option<usize> {
        let loose = |topic: &Topic| topic.config("flush.messages").is_some();
        self.topics.iter().position(loose)
    }
}
