//! A seed's plan: the shape of its world and its faults, as data.
//!
//! Every choice has a stable key (stream, actor, n-th use) and its own ChaCha stream, so that adding a
//! choice moves no other.

use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A source of choices for one stream and actor.
#[derive(Clone, Debug)]
pub struct Choices {
    rng: ChaCha8Rng,
}

impl Choices {
    /// The choices of `actor` in `stream` under `seed`.
    pub fn new(seed: u64, stream: &str, actor: u64) -> Choices {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&actor.to_le_bytes());
        for (index, byte) in stream.bytes().enumerate() {
            key[16 + index % 16] ^= byte.rotate_left((index / 16) as u32);
        }
        Choices::of_key(key)
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

/// An enum whose kinds have names in plans and reports.
macro_rules! kinds {
    ($(#[$doc:meta])* $kind:ident { $($(#[$what:meta])* $name:ident = $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $kind { $($(#[$what])* $name),* }

        impl $kind {
            /// Every kind.
            pub const ALL: &'static [$kind] = &[$($kind::$name),*];
            /// Its name in plans and reports.
            pub fn name(self) -> &'static str { match self { $($kind::$name => $text),* } }
            /// The kind of this name.
            pub fn from_name(name: &str) -> Option<$kind> {
                $kind::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}

kinds! {
    /// What can go wrong.
    FaultKind {
    /// The process dies; the page cache lives.
    Crash = "crash";
    /// Power is lost: unsynced bytes survive in part, torn at sectors, in any order.
    PowerLoss = "power-loss";
    /// The process stands still for a while.
    Pause = "pause";
    /// A client's connection breaks.
    Disconnect = "disconnect";
    /// A write fails with EIO.
    WriteError = "write-error";
    /// A sync fails once; afterwards the pages count as clean.
    SyncError = "sync-error";
    /// A write takes only part of the bytes.
    ShortWrite = "short-write";
    /// No space for a while.
    DiskFull = "disk-full";
    /// The disk answers late.
    Stall = "stall";
    /// A bit of a segment flips.
    BitRot = "bit-rot";
    /// A read of a segment fails.
    ReadError = "read-error";
    /// A read of a segment brings fewer bytes.
    ShortRead = "short-read";
    /// A read of a segment brings another segment's bytes.
    MisdirectedRead = "misdirected-read";
    /// A sector of a segment cannot be read until it is written again.
    LatentSector = "latent-sector-error";
    /// A write to a segment lands in another segment.
    MisdirectedWrite = "misdirected-write";
    /// The next start cannot read a journal, once.
    BootReadError = "boot-read-error";
    /// The files of one partition cannot be written for a while.
    BrokenFolder = "broken-folder";
    /// The broker is stopped, and started with another number of shards from now on.
    Reshard = "reshard";
    /// The operator stops the broker, and starts it again.
    CleanStop = "clean-stop";
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

kinds! {
    /// Damage beyond what one replica can bear, placed after the last reader is done: the broker
    /// must refuse loudly, or still have everything.
    Ending {
    /// A bit of a journal flips.
    JournalRot = "journal-rot";
    /// A journal is gone.
    JournalLost = "journal-lost";
    /// A journal was written by a newer build.
    NewerFormat = "newer-format";
    }
}

/// The plan of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed of everything that is not a fault.
    pub seed: u64,
    /// Shards of the broker, at first.
    pub shards: u16,
    /// Partitions of each topic.
    pub topics: Vec<u32>,
    /// Clients: the first half produce, the others consume.
    pub clients: usize,
    /// Operations per client.
    pub operations: u64,
    /// Shards run as madsim tasks on madsim nodes.
    pub tasks: bool,
    /// Faults, by time.
    pub faults: Vec<Fault>,
    /// Damage after the end.
    pub ending: Option<(Ending, u64)>,
}

/// Faults happen in this span, microseconds.
const CHAOS_FROM_US: u64 = 200_000;
const CHAOS_TO_US: u64 = 4_000_000;

impl Plan {
    /// The plan of a seed. One seed in sixteen has no faults, one in thirty-two runs as tasks, one in
    /// four ends with damage beyond the bound.
    pub fn of(seed: u64) -> Plan {
        let mut shape = Choices::new(seed, "shape", 0);
        let topics = (0..shape.between(2, 3))
            .map(|_| shape.between(3, 5) as u32)
            .collect();
        let mut faults = Vec::new();
        if seed % 16 != 15 {
            for kind in FaultKind::ALL {
                let mut choice = Choices::new(seed, kind.name(), 0);
                let count = match kind {
                    FaultKind::Crash | FaultKind::PowerLoss => choice.between(1, 3),
                    FaultKind::Disconnect => choice.between(4, 10),
                    FaultKind::Reshard | FaultKind::BrokenFolder => choice.below(3),
                    FaultKind::WriteError
                    | FaultKind::SyncError
                    | FaultKind::ShortWrite
                    | FaultKind::BootReadError
                    | FaultKind::MisdirectedWrite => choice.below(2),
                    _ => choice.between(1, 3),
                };
                faults.extend((0..count).map(|_| Fault {
                    at_us: choice.between(CHAOS_FROM_US, CHAOS_TO_US),
                    kind: *kind,
                    value: choice.below(1 << 32),
                }));
            }
        }
        let mut last = Choices::new(seed, "ending", 0);
        let ending = (seed % 16 != 15 && last.chance(1, 4)).then(|| {
            let kind = last.below(Ending::ALL.len() as u64) as usize;
            (Ending::ALL[kind], last.below(1 << 32))
        });
        faults.sort_by_key(|fault| (fault.at_us, fault.kind));
        Plan {
            seed,
            shards: shape.between(2, 4) as u16,
            topics,
            clients: shape.between(4, 8) as usize,
            operations: shape.between(350, 500),
            tasks: seed % 32 == 9,
            faults,
            ending,
        }
    }

    /// The topic that opts out of syncing, if one does: the third, where a client produces to it that
    /// is not idempotent. A lost batch would end the session of one that is.
    pub fn loose_topic(&self) -> Option<usize> {
        (self.topics.len() > 2 && self.clients > 4).then_some(2)
    }

    /// The plan as event lines (`.sim`).
    pub fn to_text(&self) -> String {
        let topics: Vec<String> = self.topics.iter().map(u32::to_string).collect();
        let mut text = format!(
            "sim 1\nseed {}\nshards {}\ntopics {}\nclients {}\noperations {}\n",
            self.seed,
            self.shards,
            topics.join(","),
            self.clients,
            self.operations
        );
        if self.tasks {
            text.push_str("tasks\n");
        }
        for fault in &self.faults {
            text.push_str(&format!(
                "at {}us {} {}\n",
                fault.at_us,
                fault.kind.name(),
                fault.value
            ));
        }
        if let Some((kind, value)) = self.ending {
            text.push_str(&format!("ending {} {value}\n", kind.name()));
        }
        text
    }

    /// Read event lines. An unknown word is an error with its line and column.
    pub fn from_text(text: &str) -> Result<Plan, String> {
        let mut plan = Plan {
            faults: Vec::new(),
            tasks: false,
            ending: None,
            ..Plan::of(0)
        };
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let bad = |word: usize, why: &str| {
                let column = words.get(word).map_or(line.len(), |word| {
                    word.as_ptr() as usize - line.as_ptr() as usize
                });
                format!("line {}, column {}: {why}", index + 1, column + 1)
            };
            let number = |word: usize| -> Result<u64, String> {
                let text = words
                    .get(word)
                    .ok_or_else(|| bad(word, "a number is missing"))?;
                text.trim_end_matches("us")
                    .parse()
                    .map_err(|_| bad(word, "not a number"))
            };
            match words.first().copied() {
                None => {}
                Some(word) if word.starts_with('#') => {}
                Some("sim") if number(1)? == 1 => {}
                Some("sim") => return Err(bad(1, "only version 1 is known")),
                Some("seed") => plan.seed = number(1)?,
                Some("shards") => plan.shards = number(1)?.clamp(1, 16) as u16,
                Some("clients") => plan.clients = number(1)?.clamp(2, 64) as usize,
                Some("operations") => plan.operations = number(1)?,
                Some("topics") => {
                    let list = words
                        .get(1)
                        .ok_or_else(|| bad(1, "partitions are missing"))?;
                    let parse = |n: &str| n.parse().map_err(|_| bad(1, "not a number"));
                    plan.topics = list.split(',').map(parse).collect::<Result<_, _>>()?;
                }
                Some("tasks") => plan.tasks = true,
                Some("ending") => {
                    let kind = words.get(1).and_then(|name| Ending::from_name(name));
                    let kind = kind.ok_or_else(|| bad(1, "an unknown ending"))?;
                    plan.ending = Some((kind, number(2)?));
                }
                Some("at") => {
                    let kind = words.get(2).and_then(|name| FaultKind::from_name(name));
                    let kind = kind.ok_or_else(|| bad(2, "an unknown fault"))?;
                    plan.faults.push(Fault {
                        at_us: number(1)?,
                        kind,
                        value: number(3)?,
                    });
                }
                Some(_) => return Err(bad(0, "an unknown word")),
            }
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_from_its_lines() {
        for seed in 0..200 {
            let plan = Plan::of(seed);
            assert!(plan.faults.len() >= 15 || seed % 16 == 15);
            assert_eq!(Plan::from_text(&plan.to_text()), Ok(plan));
        }
        let refusal = Plan::from_text("sim 1\nat 5us flood 3\n");
        assert_eq!(
            refusal,
            Err("line 2, column 8: an unknown fault".to_string())
        );
        assert!(Plan::from_text("sim 2\n").is_err());
    }
}
