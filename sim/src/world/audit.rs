//! The end of a run: a healed world, one last reader of everything; and the power-cut oracle, which
//! forks the disk, never the world.

use std::collections::{BTreeMap, VecDeque};

use seedlog_core::api::{PartitionFetched, Request, Response};
use seedlog_core::batch::BatchHead;
use seedlog_core::contract::{Effects, Halt, Input};
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{CallId, ConnId, ShardId};
use seedlog_core::shard::Shard;
use seedlog_core::time::Instant;

use super::broker::{config, shards_to_run, ORACLE_LIMITS};
use super::derived::{replica, Fold};
use super::{Audit, World};
use crate::check::history::Part;
use crate::load::client::Client;
use crate::load::ops::{fetch_request, Op};
use crate::load::records::{numbers, read_batches};
use crate::load::Role;
use crate::plan::Choices;
use crate::run::Watch;

impl World {
    /// Once every client is done, faults end and client 0 reads everything.
    pub(super) fn maybe_audit(&mut self) {
        if self.audit.is_some() || !self.clients.iter().all(Client::is_done) {
            return;
        }
        self.disk.heal();
        self.troubles.heal(self.now_us);
        self.clients[0].role = Role::Consumer;
        self.begin_audit();
    }

    /// Client 0 reads everything.
    pub(super) fn begin_audit(&mut self) {
        let parts = self.history.partitions.keys().map(|part| {
            (
                *part,
                Audit {
                    start: -1,
                    next: -1,
                    ..Audit::default()
                },
            )
        });
        self.audit = Some(parts.collect());
        self.at(self.now_us + 1000, super::Event::Act { client: 0 });
    }

    /// The last reader is done.
    pub(super) fn all_is_read(&self) -> bool {
        let open = |part: &Audit| part.end.is_none_or(|end| part.next < end);
        let audit = self.audit.as_ref();
        audit.is_some_and(|audit| !audit.values().any(open))
    }

    /// What the last reader asks next.
    pub(super) fn audit_op(&mut self) -> Op {
        let open = |part: &Audit| part.end.is_none_or(|end| part.next < end);
        let next = self.audit.iter().flatten().find(|(_, part)| open(part));
        let (part, offset) = next.map_or(((0, 0), 0), |(part, audit)| (*part, audit.next));
        Op::Audit { part, offset }
    }

    /// Take what the last reader was given.
    pub(super) fn audit_progress(&mut self, client: usize) {
        let Some((part, offset, fetched)) = self.clients[client].audited.take() else {
            return;
        };
        if offset < 0 {
            return self.audit_start(part, &fetched);
        }
        let Some(audit) = self.audit.as_mut().and_then(|audit| audit.get_mut(&part)) else {
            return;
        };
        match fetched.error {
            ErrorCode::None => {
                audit.tries = 0;
                audit.end = Some(fetched.high_watermark);
                audit.start = audit.start.max(fetched.log_start_offset);
                let found = match read_batches(&fetched.records, offset, &mut |_| {}) {
                    Ok(found) => found,
                    Err(reason) => {
                        return self
                            .history
                            .violate("H2", format!("{part:?}@{offset}: {reason}"))
                    }
                };
                audit.found.extend(found.iter().map(|one| one.offset));
                audit.next = found.last().map_or(audit.next, |last| last.offset + 1);
                self.history.read(part, offset, &found);
            }
            // The log starts further on: ask where.
            ErrorCode::OffsetOutOfRange => audit.next = -1,
            ErrorCode::KafkaStorageError if audit.tries < 3 => audit.tries += 1,
            ErrorCode::KafkaStorageError => {
                audit.faulty.insert(offset);
                audit.next += 1;
                audit.start = audit.start.max(0);
            }
            code => self.history.violate(
                "unexpected-error",
                format!("{part:?}: audit {}", code.name()),
            ),
        }
    }

    /// The last reader was told where the log starts.
    fn audit_start(&mut self, part: Part, found: &PartitionFetched) {
        let Some(audit) = self.audit.as_mut().and_then(|audit| audit.get_mut(&part)) else {
            return;
        };
        match found.error {
            ErrorCode::None => {
                audit.next = found.log_start_offset;
                audit.start = audit.start.max(found.log_start_offset);
            }
            code => {
                let text = format!("{part:?}: audit start {}", code.name());
                self.history.violate("unexpected-error", text);
            }
        }
    }

    /// Judge what the last reader found, and what the shards made of it.
    pub(super) fn keep_audit(&mut self) {
        self.compare_at_rest();
        for (part, audit) in self.audit.take().unwrap_or_default() {
            let Some(end) = audit.end else { continue };
            let damaged = |offset: &&i64| self.troubles.is_damaged(part, **offset);
            if let Some(offset) = audit.faulty.iter().find(|offset| !damaged(offset)) {
                self.history.violate(
                    "storage-error",
                    format!("{part:?}@{offset}: no fault was placed there"),
                );
            }
            self.history
                .audit(part, audit.start.max(0), end, &audit.found, &audit.faulty);
        }
    }

    /// The run is over: judge it.
    pub(super) fn last_checks(&mut self) {
        if !self.report.undecided {
            self.keep_audit();
        }
        if self.plan.faults.is_empty() {
            self.history.all_unanswered_are_there();
        }
        if self.plan.faults.is_empty() && self.history.unknown > 0 {
            let text = format!("{} outcomes", self.history.unknown);
            self.history.violate("unknown-without-fault", text);
        }
        let kept = self.clients.iter().map(|client| &client.churn);
        let (again, back) = kept.fold((0, 0), |(again, back), churn| {
            (again + churn.made_again, back + churn.read_back)
        });
        self.report.marks.insert("topic-made-again", again);
        self.report.marks.insert("keeper-read", back);
        self.report.marks.insert("loose-lost", self.monitor.losses);
        let marks = std::mem::take(&mut self.history.marks);
        self.report.marks.extend(marks);
    }

    /// 2.6: cut the power of a copy of the disk now, boot fresh shards on it, and look for everything
    /// that was acknowledged or seen.
    pub(super) fn power_cut_oracle(&mut self) {
        if self.watch == Watch::ClientsOnly {
            return;
        }
        self.mark("power-cut-oracle");
        let disk = self.fork_disk(&mut self.draws_of("oracle", self.history.acks), true);
        let mut fork = Fork::boot(self, disk);
        if let Some(reason) = fork.fatal.take() {
            return self.history.violate("power-cut", reason);
        }
        let loose = self.monitor.loose(None);
        let parts = self.history.partitions.keys().copied();
        for reading in fork.read_all(parts) {
            if let Some(text) = self.judge_reading(&reading, &loose) {
                return self.history.violate("power-cut", text);
            }
            if let Some(text) = fork.tables_differ(&reading) {
                return self.history.violate("P7", text);
            }
        }
    }

    /// What is wrong with a partition as it was read after a power cut; those that opted out of syncing
    /// are owed up to where they are durable.
    fn judge_reading(&mut self, reading: &Reading, loose: &BTreeMap<Part, i64>) -> Option<String> {
        let Reading {
            part, start, end, ..
        } = *reading;
        let durable = loose.get(&part).copied().unwrap_or(i64::MAX);
        let damaged = |at: &i64| self.troubles.is_damaged(part, *at);
        let known = self.history.part(part);
        let value = |offset: &i64| {
            let at = reading.found.binary_search_by_key(offset, |(at, _)| *at);
            at.ok().map(|at| reading.found[at].1)
        };
        let wrong = |offset: &i64| match value(offset) {
            Some(value) => known.at.get(offset) != Some(&value),
            None => !damaged(offset),
        };
        if let Some(offset) = known
            .owed_from(start)
            .filter(|at| *at < durable)
            .find(wrong)
        {
            let told = value(&offset).map_or("gone".to_string(), |value| value.to_string());
            return Some(format!(
                "{part:?}@{offset} is {told} after a power cut ({start}..{end})"
            ));
        }
        let may_start = known.retention || start <= known.deleted_to.max(0);
        (!may_start).then(|| format!("{part:?} starts at {start} after a power cut"))
    }
}

/// A partition as a fork reads it.
struct Reading {
    part: Part,
    /// Offsets and values, in order.
    found: Vec<(i64, u64)>,
    start: i64,
    end: i64,
    next: i64,
    fold: Fold,
    faulty: bool,
    over: bool,
}

impl Reading {
    fn of(part: Part, from: i64) -> Reading {
        Reading {
            part,
            found: Vec::new(),
            start: 0,
            end: 0,
            next: from,
            fold: Fold::default(),
            faulty: false,
            over: false,
        }
    }

    fn take(&mut self, fetched: &PartitionFetched) {
        match fetched.error {
            ErrorCode::None => {
                (self.start, self.end) = (fetched.log_start_offset, fetched.high_watermark);
                let fold = &mut |head: &BatchHead| self.fold.take(head);
                let read = read_batches(&fetched.records, self.next, fold).unwrap_or_default();
                match read.last() {
                    Some(last) => self.next = last.offset + 1,
                    None => self.over = true,
                }
                self.found.extend(numbers(&read));
            }
            ErrorCode::KafkaStorageError => {
                self.faulty = true;
                self.next += 1;
            }
            _ => self.over = true,
        }
        self.over |= self.next > 50_000;
    }
}

/// Bytes of a partition that a fork is asked for at once.
const FORK_FETCH_BYTES: i32 = 256 << 10;

/// Fresh shards on a copy of the disk, stepped plainly.
pub(super) struct Fork {
    pub shards: Vec<Shard>,
    disk: crate::disk::SimDisk,
    inputs: VecDeque<(usize, Input)>,
    replies: Vec<Response>,
    now: seedlog_core::time::Now,
    calls: u64,
    /// Shards that want to be booted again.
    over: usize,
    pub fatal: Option<String>,
}

impl Fork {
    pub fn boot(world: &World, disk: crate::disk::SimDisk) -> Fork {
        let mut fork = Fork {
            shards: Vec::new(),
            disk,
            inputs: VecDeque::new(),
            replies: Vec::new(),
            now: world.now(),
            calls: 0,
            over: 0,
            fatal: None,
        };
        let mut seeds = Choices::new(world.plan.seed, "fork", world.history.acks);
        let running = shards_to_run(world.wanted, &fork.disk);
        for shard in 0..running {
            let mut out = Effects::default();
            let mut config = config((world.wanted, running), shard, world.knobs);
            config.limits = ORACLE_LIMITS;
            fork.shards
                .push(Shard::boot(config, seeds.seed(), fork.now, &mut out));
            fork.carry_out(usize::from(shard), out);
        }
        fork.inputs
            .push_back((0, Input::Connect { conn: ConnId(1) }));
        fork.run();
        if fork.over == fork.shards.len() {
            // Its partitions have moved to as many shards as are wanted.
            return Fork::boot(world, fork.disk);
        }
        if fork.fatal.is_none() && !fork.shards.iter().all(Shard::is_ready) {
            fork.fatal = Some(format!(
                "a shard does not come up: {:?}",
                fork.shards
                    .iter()
                    .map(Shard::stage_name)
                    .collect::<Vec<_>>()
            ));
        }
        fork
    }

    fn carry_out(&mut self, shard: usize, out: Effects) {
        for op in out.disk {
            let result = self.disk.run(&op.request);
            self.inputs
                .push_back((shard, Input::Disk { op: op.op, result }));
        }
        for job in out.work {
            let result = seedlog_core::work::run(&job.request);
            self.inputs
                .push_back((shard, Input::Work { id: job.id, result }));
        }
        for (to, message) in out.neighbours {
            let from = ShardId(shard as u16);
            self.inputs
                .push_back((usize::from(to.0), Input::Neighbour { from, message }));
        }
        for (conn, _, response) in out.replies {
            let bytes = response.held_bytes();
            self.inputs.push_back((shard, Input::Sent { conn, bytes }));
            self.replies.push(response);
        }
        match out.halt {
            Some(Halt::Fatal(reason)) => self.fatal = Some(reason),
            Some(Halt::Again) => self.over += 1,
            Some(Halt::Clean) | None => {}
        }
    }

    fn run(&mut self) {
        loop {
            let next = self.inputs.pop_front();
            let idle = next.is_none();
            let turns = match &next {
                Some((shard, _)) => *shard..*shard + 1,
                None => 0..self.shards.len(),
            };
            if let Some((shard, input)) = next {
                let mut out = Effects::default();
                self.shards[shard].handle(self.now, input, &mut out);
                self.carry_out(shard, out);
            }
            for shard in turns {
                let mut out = Effects::default();
                self.shards[shard].settle(self.now, &mut out);
                self.carry_out(shard, out);
            }
            if idle && self.inputs.is_empty() {
                return;
            }
        }
    }

    /// Everything there is in these partitions, much at a time: reading it all again is the oracle's
    /// greatest cost.
    fn read_all(&mut self, parts: impl Iterator<Item = Part>) -> Vec<Reading> {
        // What is below a log start is asked for by the last reader, not here.
        let start = |part| replica(&self.shards, part).map_or(0, |replica| replica.log_start);
        let mut readings: Vec<Reading> = parts.map(|part| Reading::of(part, start(part))).collect();
        loop {
            let mut open: Vec<&mut Reading> = readings
                .iter_mut()
                .filter(|reading| !reading.over)
                .collect();
            if open.is_empty() {
                return readings;
            }
            let fetched = self.fetch(&open);
            let mut fetched = fetched.iter();
            for reading in &mut open {
                match fetched.next() {
                    Some(fetched) => reading.take(fetched),
                    None => reading.over = true,
                }
            }
        }
    }

    /// P7 of a partition that was read whole.
    fn tables_differ(&self, reading: &Reading) -> Option<String> {
        let whole = !reading.faulty && reading.next == reading.end;
        let replica = replica(&self.shards, reading.part).filter(|_| whole)?;
        let text = reading.fold.differs(replica)?;
        Some(format!("{:?} after a power cut: {text}", reading.part))
    }

    fn fetch(&mut self, readings: &[&mut Reading]) -> Vec<PartitionFetched> {
        self.calls += 1;
        let mut request = fetch_request((0, 0), 0, 0);
        request.max_bytes = i32::MAX;
        request.topics.clear();
        for reading in readings {
            let one = fetch_request(reading.part, reading.next, 0);
            request.topics.extend(one.topics);
        }
        for topic in &mut request.topics {
            topic.partitions[0].max_bytes = FORK_FETCH_BYTES;
        }
        let input = Input::Client {
            conn: ConnId(1),
            call: CallId(self.calls),
            request: Request::Fetch(request),
            held: 1_000,
        };
        self.inputs.push_back((0, input));
        self.now.mono = Instant(self.now.mono.0 + 1);
        self.run();
        match self.replies.pop() {
            Some(Response::Fetch(response)) => {
                let topics = response.topics.into_iter();
                topics.flat_map(|(_, parts)| parts).collect()
            }
            _ => Vec::new(),
        }
    }
}
