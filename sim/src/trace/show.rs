//! A run as a timeline: one row for each change of state, what each shard is at in a column of its own,
//! the broken rules last.

use std::collections::BTreeMap;

use super::file::Recorded;
use super::{Actor, Event, Kind};
use crate::planted;

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
    /// What campaigns count, gathered while no time passes.
    marks: BTreeMap<String, u64>,
    /// Faults of the plan that struck at this moment: their marks say nothing new.
    struck: Vec<String>,
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
        marks: BTreeMap::new(),
        struck: Vec::new(),
        at_us: 0,
        text: head(recorded),
    };
    timeline.header();
    for event in &recorded.events {
        timeline.take(event);
    }
    timeline.flush();
    timeline.text + &tail(recorded)
}

fn head(recorded: &Recorded) -> String {
    let plan = recorded.plan.lines();
    let shape: Vec<&str> = plan
        .filter(|line| !line.starts_with("at ") && !line.starts_with("sim "))
        .collect();
    let mut text = wrapped("plan: ", &shape.join(", "));
    if let Some(name) = &recorded.bug {
        let bug = planted::all().into_iter().find(|bug| bug.name == name);
        let what = bug.map_or("", |bug| bug.what);
        text.push_str(&wrapped("planted bug: ", &format!("{name}, {what}")));
    }
    text.push_str(
        "shards: . not running, s starting, | serving, X halted; FAULT is the plan's doing\n\n",
    );
    text
}

fn tail(recorded: &Recorded) -> String {
    let mut text = String::from("\n");
    for (rule, what) in &recorded.violations {
        text.push_str(&wrapped(&format!("FAILED {rule}: "), what));
    }
    if recorded.violations.is_empty() {
        text.push_str(&format!("verdict: {}\n", recorded.verdict));
    }
    text
}

/// Lines no wider than a row, those after the first indented.
fn wrapped(first: &str, text: &str) -> String {
    let mut out = String::new();
    let mut line = first.to_string();
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
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn row(&mut self, text: &str) {
        let mut line = format!("{:>6}.{:03}  ", self.at_us / 1000, self.at_us % 1000);
        for at in &self.shards {
            line.push_str(&format!("{:<2}", at.sign()));
        }
        line.push(' ');
        let room = WIDTH - line.len();
        line.extend(text.chars().take(room));
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// What was counted at one moment is one row.
    fn flush(&mut self) {
        for name in std::mem::take(&mut self.struck) {
            self.marks.remove(&name);
        }
        let marks = std::mem::take(&mut self.marks);
        let told = marks.into_iter().filter(|(name, _)| !is_quiet(name));
        let words: Vec<String> = told
            .map(|(name, count)| match count {
                1 => name,
                _ => format!("{name} x{count}"),
            })
            .collect();
        if !words.is_empty() {
            self.row(&format!("      counted: {}", words.join(", ")));
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
            (Kind::Start, _) => self.row(&format!("broker: {}", event.what)),
            (Kind::Stop, _) => {
                self.shards.fill(At::Down);
                self.row("broker: its process is gone");
            }
            (Kind::Input | Kind::Effects, Actor::Shard(shard)) => {
                // Seen at work for the first time in this life.
                if self.shards.get(usize::from(shard)) == Some(&At::Down) {
                    self.set(shard, At::Starting);
                }
            }
            (Kind::Note, Actor::Shard(shard)) => {
                if event.what == "Ready" {
                    self.set(shard, At::Serving);
                }
                self.row(&format!("shard {shard}: {}", event.what));
            }
            (Kind::Halt, Actor::Shard(shard)) => {
                self.set(shard, At::Halted);
                self.row(&format!("shard {shard} halts: {}", event.what));
            }
            (Kind::Fault, _) => {
                let name = event.what.split_whitespace().next().unwrap_or("");
                self.struck.push(name.to_string());
                self.row(&format!("FAULT {}: {}", event.what, meaning(name)));
            }
            (Kind::Damage, _) => self.row(&format!("disk: {}", event.what)),
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

/// Counted often, or told by a row of its own.
fn is_quiet(name: &str) -> bool {
    const QUIET: [&str; 6] = [
        "work",
        "ready",
        "segment-rolled",
        "power-cut-oracle",
        "replayed",
        "retained",
    ];
    QUIET.contains(&name)
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
