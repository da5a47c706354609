//! A run as a timeline: one row for each change of state, what each shard is at in a column of its own,
//! the broken rules last.

use std::collections::{BTreeMap, BTreeSet};

use super::file::Recorded;
use super::{Actor, Event, Kind};
use crate::planted;

mod clients;

/// No row is wider.
const WIDTH: usize = 120;

/// What a shard is at, as its column shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Down,
    Starting,
    Serving,
    Halted,
}

impl At {
    fn sign(self) -> &'static str {
        match self {
            At::Down => ".",
            At::Starting => "s",
            At::Serving => "|",
            At::Halted => "X",
        }
    }
}

struct Timeline {
    shards: Vec<At>,
    starts: u64,
    /// What campaigns count, gathered while no time passes.
    marks: BTreeMap<String, u64>,
    /// Counts told since the broker started: again, they are no change.
    known: BTreeSet<String>,
    /// Faults of this moment: their counts say nothing new.
    struck: BTreeSet<String>,
    at_us: u64,
    text: String,
}

/// The timeline of a run, for a reader who knows no code.
pub fn timeline(recorded: &Recorded) -> String {
    let shard = |event: &Event| match event.actor {
        Actor::Shard(number) => usize::from(number) + 1,
        _ => 0,
    };
    let shards = recorded.events.iter().map(shard).max().unwrap_or(0);
    let mut timeline = Timeline {
        shards: vec![At::Down; shards],
        starts: 0,
        marks: BTreeMap::new(),
        known: BTreeSet::new(),
        struck: BTreeSet::new(),
        at_us: 0,
        text: head(recorded),
    };
    timeline.header();
    for event in &recorded.events {
        timeline.take(event);
    }
    timeline.flush();
    timeline.text + &clients::of(recorded) + &tail(recorded)
}

fn head(recorded: &Recorded) -> String {
    let plan = recorded.plan.lines();
    let shape: Vec<&str> = plan
        .filter(|line| !line.starts_with("at ") && !line.starts_with("sim "))
        .collect();
    let mut text = wrapped("plan: ", &shape.join(", "));
    if let Some(name) = &recorded.bug {
        let bug = planted::by_name(name);
        let what = bug.map_or("", |bug| bug.what);
        text.push_str(&wrapped("planted bug: ", &format!("{name}, {what}")));
    }
    text.push_str(
        "shards: . not running, s starting, | serving, X halted; D, the disk: ! not as it was told; FAULT: by the plan\n\n",
    );
    text
}

fn tail(recorded: &Recorded) -> String {
    let mut text = String::from("\n");
    for (rule, what) in &recorded.violations {
        let (first, meaning) = (format!("FAILED {rule}:"), breach(rule));
        let colon = if meaning.is_empty() { "" } else { ". " };
        text.push_str(&wrapped(&first, &format!("{meaning}{colon}{what}")));
    }
    if recorded.violations.is_empty() {
        text.push_str(&format!("verdict: {}\n", recorded.verdict));
    }
    text
}

/// Lines no wider than a row, those after the first indented.
fn wrapped(first: &str, text: &str) -> String {
    let mut out = String::new();
    let mut line = format!("{} ", first.trim_end());
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && line.len() + word.len() + 1 > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = " ".repeat(8);
        }
        let room = WIDTH - line.len();
        line.extend(word.chars().take(room.max(1) - 1));
        line.push(' ');
        empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

impl Timeline {
    fn header(&mut self) {
        let mut line = format!("{:>10}  ", "ms");
        for number in 0..self.shards.len() {
            line.push_str(&format!("{number:<2}"));
        }
        line.push('D');
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn row(&mut self, text: &str) {
        self.row_of(text, false);
    }

    /// A row; `disk` if it is the disk that did not do as it was told.
    fn row_of(&mut self, text: &str, disk: bool) {
        let mut line = format!("{:>6}.{:03}  ", self.at_us / 1000, self.at_us % 1000);
        for at in &self.shards {
            line.push_str(&format!("{:<2}", at.sign()));
        }
        line.push_str(if disk { "!  " } else { "|  " });
        let room = WIDTH - line.len();
        line.extend(text.chars().take(room));
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// What was counted at one moment is one row.
    fn flush(&mut self) {
        let mut marks = std::mem::take(&mut self.marks);
        for name in std::mem::take(&mut self.struck) {
            marks.remove(&name);
        }
        let news = marks
            .into_iter()
            .filter(|(name, _)| !QUIET.contains(&&name[..]) && self.known.insert(name.clone()));
        let words: Vec<String> = news
            .map(|(name, count)| match count {
                1 => name,
                _ => format!("{name} x{count}"),
            })
            .collect();
        if !words.is_empty() {
            let of_disk = |word: &String| OF_DISK.iter().any(|name| word.starts_with(name));
            let disk = words.iter().any(of_disk);
            self.row_of(&format!("    seen: {}", words.join(", ")), disk);
        }
    }

    fn set(&mut self, shard: u16, at: At) {
        if let Some(known) = self.shards.get_mut(usize::from(shard)) {
            *known = at;
        }
    }

    fn take(&mut self, event: &Event) {
        if event.at_us != self.at_us {
            self.flush();
            self.at_us = event.at_us;
        }
        match (event.kind, event.actor) {
            (Kind::Start, _) => {
                self.starts += 1;
                self.known.clear();
                self.row(&format!("broker: start {}", self.starts));
            }
            (Kind::Stop, _) => {
                self.shards.fill(At::Down);
                self.row("broker: its process is gone");
            }
            // Seen at work for the first time in this life.
            (Kind::Input | Kind::Effects, Actor::Shard(shard))
                if self.shards.get(usize::from(shard)) == Some(&At::Down) =>
            {
                self.set(shard, At::Starting);
            }
            (Kind::Note, Actor::Shard(shard)) => {
                if event.what == "serves" {
                    self.set(shard, At::Serving);
                }
                let text = format!("shard {shard}: {}", event.what);
                let busy = BUSY.iter().any(|name| event.what.starts_with(name));
                if !busy && self.known.insert(text.clone()) {
                    self.row(&text);
                }
            }
            (Kind::Halt, Actor::Shard(shard)) => {
                self.set(shard, At::Halted);
                self.row(&format!("shard {shard} halts: {}", event.what));
            }
            (Kind::Fault, _) => {
                let name = event.what.split_whitespace().next().unwrap_or("");
                self.known.remove(name);
                self.struck.insert(name.to_string());
                self.row(&format!("FAULT {}: {}", event.what, meaning(name)));
            }
            (Kind::Damage, _) => self.row_of(&format!("disk: {}", event.what), true),
            (Kind::Mark, _) => *self.marks.entry(event.what.clone()).or_default() += 1,
            (Kind::Verdict, _) => {
                self.flush();
                self.row(&format!("FAILED {}", event.what));
            }
            (Kind::End, _) => self.row(&event.what),
            _ => {}
        }
    }
}

/// Counts that say nothing of their own: too often, or told by a row already.
const QUIET: [&str; 14] = [
    "cannot-write",
    "carried",
    "disk-full-over",
    "disk-full-seen",
    "duplicate-sequence",
    "faulty-range",
    "halt",
    "power-cut-oracle",
    "ready",
    "replayed",
    "retained",
    "segment-rolled",
    "torn-tail",
    "work",
];

/// How counts of what the disk did begin.
const OF_DISK: [&str; 18] = [
    "bit-rot",
    "boot-read",
    "broken-folder",
    "disk-full",
    "entry-",
    "journal-",
    "latent-",
    "misdirected-",
    "newer-format",
    "read-error",
    "short-",
    "slow-",
    "stall",
    "sync-error",
    "torn-",
    "unsynced-",
    "write-error",
    "writes-reordered",
];

/// Notes of work as usual.
const BUSY: [&str; 3] = ["SegmentRolled", "Retained", "Carried"];

/// What it means that a rule broke; nothing for one that is not known here.
fn breach(rule: &str) -> &'static str {
    match rule {
        "H1" | "lost-write" => "a record that was acknowledged is not there",
        "H2" => "what is read is not what was written",
        "H5" => "a log end that clients were told went back",
        "P2" => "a log start or a high watermark went back",
        "P7" => "what the broker makes of its files is not what it held, or what its log says",
        "power-cut" => {
            "cut the power now, start on what is left of the disk, and something is missing"
        }
        "halt" => "the broker stops, and nothing that happened to it is a reason",
        "invariant" => "the broker's own check of itself failed",
        "inconsistent-offsets" => "one offset has two values",
        "retained-too-short" => "a record is gone before its time",
        "late-fetch" => "a fetch was answered later than there was something for it",
        "wrong-time" => "a lookup by time gives another record",
        "format" => "a file of a newer format was read as if it were known",
        "refusal" => "damage was not refused as it must be",
        "unexpected-error" => "an error that nothing explains",
        "storage-error" => "a range cannot be read, and no fault touched it",
        "wire" => "an answer that does not fit what was asked",
        _ => "",
    }
}

/// What a fault of this name does; nothing for one that is not known here.
fn meaning(name: &str) -> &'static str {
    match name {
        "crash" => "the process dies, what it wrote stays",
        "power-loss" => "power is cut: what was not synced survives in part",
        "pause" => "the process stands still for a while",
        "disconnect" => "a client's connection breaks",
        "write-error" => "the next write fails",
        "sync-error" => "the next sync fails, once",
        "short-write" => "the next write takes only part of its bytes",
        "disk-full" => "nothing can grow for a while",
        "stall" => "the disk answers late",
        "bit-rot" => "a stored bit flips",
        "read-error" => "the next read of a segment fails",
        "short-read" => "the next read of a segment brings too little",
        "misdirected-read" => "the next read of a segment brings another's bytes",
        "latent-sector-error" => "a sector cannot be read until it is written again",
        "misdirected-write" => "the next write to a segment lands in another",
        "boot-read-error" => "the next start cannot read a journal, once",
        "broken-folder" => "one partition's files cannot be written for a while",
        "reshard" => "started again with another number of shards",
        "clean-stop" => "the operator stops the broker",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_us: u64, actor: Actor, kind: Kind, what: &str) -> Event {
        Event {
            at_us,
            actor,
            kind,
            what: what.into(),
            hash: 0,
        }
    }

    #[test]
    fn a_timeline_shows_changes_of_state_and_the_failed_check_last() {
        let shard = Actor::Shard(0);
        let long = format!("(1, 2)@9 {}", "word ".repeat(60));
        let told = "topic-1/2 acknowledged from 7 on";
        let recorded = Recorded {
            plan: "sim 1\nseed 4\nat 5us crash 0\n".into(),
            bug: Some("M1".into()),
            violations: vec![("H1".into(), long.clone())],
            events: vec![
                event(0, Actor::Broker, Kind::Start, "life 1 starts"),
                event(10, shard, Kind::Input, "x"),
                event(20, shard, Kind::Note, "serves"),
                event(30, Actor::World, Kind::Mark, "work"),
                event(40, Actor::World, Kind::Mark, "torn-prefix"),
                event(40, Actor::World, Kind::Mark, "torn-prefix"),
                event(50, Actor::World, Kind::Fault, "crash 0"),
                event(50, Actor::World, Kind::Mark, "crash"),
                event(50, Actor::Broker, Kind::Stop, "gone"),
                event(60, Actor::Client(2), Kind::Reply, told),
                event(70, Actor::World, Kind::Verdict, &format!("H1: {long}")),
            ],
            ..Recorded::default()
        };
        let text = timeline(&recorded);
        let narrow = |line: &str| line.chars().count() <= WIDTH;
        assert!(text.lines().all(narrow), "{text}");
        for wanted in [
            "seed 4",
            "M1, acknowledge once appended",
            "     0.020  | |  shard 0: serves",
            "     0.040  | !      seen: torn-prefix x2",
            "FAULT crash 0: the process dies",
            "     0.050  . |  broker: its process is gone",
            "client 2 is told: topic-1/2 acknowledged from 7 on",
            "FAILED H1: a record that was acknowledged is not there. (1, 2)@9",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        assert!(
            !text.contains("work\n") && !text.contains("seen: crash"),
            "{text}"
        );
    }
}
