//! What happened in a run, in order: hashed as it happens, and kept as lines if asked for.
//!
//! Two runs are the same if their hashes are: everything that goes into a shard or comes out of it, what
//! a start finds on the disk, what clients send and are sent, every fault, mark and verdict is in it.

use std::fmt::{self, Write as _};
use std::hash::Hash;

use serde::{Deserialize, Serialize};

pub mod diff;
pub mod file;
pub mod rolling;
pub mod show;
pub mod stray;
pub mod words;

pub use rolling::Rolling;

/// Where the hash stood after so many traced events.
pub type Checkpoint = (u64, u64);

/// The hash is kept every so many traced events.
pub const CHECKPOINT_EVERY: u64 = 4096;

/// The longest description of an event, bytes.
const TEXT_MAX: usize = 240;

/// Who did it, or to whom it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Actor {
    /// The plan, or the judges.
    World,
    /// The broker's process.
    Broker,
    /// A shard of the broker.
    Shard(u16),
    /// A client.
    Client(u16),
    /// The broker's disk.
    Disk,
}

impl fmt::Display for Actor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Actor::World => "world".to_string(),
            Actor::Broker => "broker".to_string(),
            Actor::Shard(number) => format!("shard {number}"),
            Actor::Client(number) => format!("client {number}"),
            Actor::Disk => "disk".to_string(),
        };
        out.pad(&text)
    }
}

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The broker starts. Hashed: all that its disk holds.
    Start,
    /// The broker's process is gone.
    Stop,
    /// A shard took an input.
    Input,
    /// What a shard's turn, or its boot, asked for.
    Effects,
    /// A shard told its operator something.
    Note,
    /// A shard is over.
    Halt,
    /// A client sent these bytes.
    Request,
    /// A client was sent these bytes.
    Reply,
    /// A fault of the plan is due.
    Fault,
    /// The disk did not do what it was told, or is not what it was.
    Damage,
    /// Something that campaigns count.
    Mark,
    /// A rule is broken.
    Verdict,
    /// The run is over.
    End,
}

/// One event of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds of simulated time.
    pub at_us: u64,
    /// Who.
    pub actor: Actor,
    /// What kind.
    pub kind: Kind,
    /// What, for a reader; cut where it is long.
    pub what: String,
    /// The rolling hash up to here, this event included.
    pub hash: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, us) = (self.at_us / 1000, self.at_us % 1000);
        let kind = format!("{:?}", self.kind).to_lowercase();
        write!(
            out,
            "{ms:>6}.{us:03} ms  {:<9} {kind:<8} {:016x}  {}",
            self.actor, self.hash, self.what
        )
    }
}

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hash: Rolling,
    now_us: u64,
    count: u64,
    checkpoints: Vec<Checkpoint>,
    kept: Option<Vec<Event>>,
}

impl Trace {
    /// The trace of a run of this seed, before its first event.
    pub fn new(seed: u64) -> Trace {
        Trace {
            hash: Rolling(seed),
            now_us: 0,
            count: 0,
            checkpoints: Vec::new(),
            kept: None,
        }
    }

    /// From here on, keep every event.
    pub fn keep(&mut self) {
        self.kept.get_or_insert_default();
    }

    /// Events are kept, and so described.
    pub fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// What follows happens at this time.
    pub fn at(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    /// Take in an event. Only a run whose events are kept describes them.
    pub fn event(
        &mut self,
        actor: Actor,
        kind: Kind,
        value: impl Hash,
        what: impl FnOnce() -> String,
    ) {
        (self.now_us, actor, kind, value).hash(&mut self.hash);
        self.count += 1;
        if self.count.is_multiple_of(CHECKPOINT_EVERY) {
            self.checkpoints.push((self.count, self.hash.0));
        }
        if let Some(kept) = &mut self.kept {
            kept.push(Event {
                at_us: self.now_us,
                actor,
                kind,
                what: what(),
                hash: self.hash.0,
            });
        }
    }

    /// The hash so far, the checkpoints, and the events if they were kept.
    pub fn take(&mut self) -> (u64, Vec<Checkpoint>, Vec<Event>) {
        let checkpoints = std::mem::take(&mut self.checkpoints);
        let kept = self.kept.take().unwrap_or_default();
        (self.hash.0, checkpoints, kept)
    }
}

/// The beginning of a value's `Debug` text.
pub fn short(value: &dyn fmt::Debug) -> String {
    struct Cut(String);
    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = TEXT_MAX.saturating_sub(self.0.len());
            let end = (0..=room.min(text.len())).rev();
            let end = end
                .into_iter()
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or(0);
            self.0.push_str(&text[..end]);
            // An error ends a long value's formatting early.
            if end < text.len() {
                return Err(fmt::Error);
            }
            Ok(())
        }
    }
    let mut out = Cut(String::new());
    if write!(out, "{value:?}").is_err() {
        out.0.push_str(" ...");
    }
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_an_event_but_its_text_is_hashed() {
        let of = |at, actor, kind, value: &str, what: &'static str| {
            let mut trace = Trace::new(1);
            trace.at(at);
            trace.event(actor, kind, value, || what.to_string());
            trace.take().0
        };
        let base = of(5, Actor::Shard(1), Kind::Mark, "crash", "");
        assert_eq!(base, of(5, Actor::Shard(1), Kind::Mark, "crash", "told so"));
        assert_ne!(base, of(6, Actor::Shard(1), Kind::Mark, "crash", ""));
        assert_ne!(base, of(5, Actor::Shard(2), Kind::Mark, "crash", ""));
        assert_ne!(base, of(5, Actor::Shard(1), Kind::Note, "crash", ""));
        assert_ne!(base, of(5, Actor::Shard(1), Kind::Mark, "crush", ""));
    }

    #[test]
    fn keeping_events_changes_no_hash() {
        let run = |keep: bool| {
            let mut trace = Trace::new(7);
            if keep {
                trace.keep();
            }
            for n in 0..CHECKPOINT_EVERY * 2 + 5 {
                trace.event(Actor::World, Kind::Mark, n, || n.to_string());
            }
            trace.take()
        };
        let (kept, plain) = (run(true), run(false));
        assert_eq!((kept.0, &kept.1), (plain.0, &plain.1));
        assert_eq!(kept.1.len(), 2);
        assert_eq!(kept.2.len() as u64, CHECKPOINT_EVERY * 2 + 5);
        assert_eq!(kept.2.last().map(|event| event.hash), Some(kept.0));
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = short(&vec!["é".repeat(30); 100]);
        assert!(
            text.len() <= TEXT_MAX + 4 && text.ends_with(" ..."),
            "{text}"
        );
        assert_eq!(short(&7), "7");
    }
}
