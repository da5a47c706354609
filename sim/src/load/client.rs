//! Simulated clients: they speak encoded Kafka bytes, several operations at a time, and write history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use seedlog_core::api::PartitionFetched;
use seedlog_core::ids::ConnId;
use seedlog_net::client::Connection;

use super::batches::{build, sizes, Flaw, Sent, BATCH_MAX};
use super::hello::Hello;
use super::keeper::Churn;
use super::ops::{Asked, Epoch, Op, Reading};
use super::shared::used;
use super::Role;
use crate::check::history::{History, Part};
use crate::draws::Draws;
use crate::plan::{Choices, Plan, Topic};

/// Batches an idempotent producer has in flight at most, as Kafka's clients do.
const IN_FLIGHT_MAX: usize = 5;
/// An offset beyond any end.
const FAR: i64 = 1_000_000;

/// An operation whose answer has not come.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The correlation of its answer.
    pub correlation: i32,
    /// What was asked.
    pub op: Op,
    /// When it was sent, microseconds.
    pub sent_us: u64,
    /// How long its answer may take, microseconds, and what the world had stood still by then.
    pub within_us: u64,
    /// See [`crate::check::troubles::Troubles::idle_us`].
    pub idle_us: u64,
}

/// Batches that are not answered: since when, in microseconds, and whether one of them is bad. Then the
/// client waits for its connection to be closed; see [`Waiting`] for `idle_us`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are what the lines above say")]
pub struct Silent {
    pub since_us: u64,
    pub bad: bool,
    pub idle_us: u64,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// What it is for.
    pub role: Role,
    /// Its connection, if it has one.
    pub conn: Option<ConnId>,
    /// Its codec on that connection.
    pub codec: Connection,
    /// What it waits for, in order.
    pub waiting: VecDeque<Waiting>,
    /// Produces to send again, by their order.
    pub again: BTreeMap<u64, Sent>,
    /// Operations still to do.
    pub left: u64,
    /// What the audit was given: partition, offset asked for, answer.
    pub audited: Option<(Part, i64, PartitionFetched)>,
    /// Counts requests, so that only the newest one's timer counts.
    pub attempt: u64,
    /// Batches were sent on this connection that are not answered: if one fails, the broker closes it.
    pub silent: Option<Silent>,
    /// It read nothing for so long in all, microseconds.
    pub slow_us: u64,
    /// Its connection has died in one direction.
    pub cut: bool,
    /// What it said first on its connection, if that is not answered yet.
    pub hello: Option<Hello>,
    /// Log ends that answers on this connection have told, or implied: a call begins when the one before it
    /// has ended, so none of those after it may tell less.
    pub told_ends: BTreeMap<Part, i64>,
    pub(super) number: u64,
    pub(super) producer: Option<(i64, i16)>,
    next_order: u64,
    pub(super) sequences: BTreeMap<Part, i32>,
    /// Per partition, the first of its batches that was acknowledged under its producer id and epoch.
    pub(super) first_acked: BTreeMap<Part, u64>,
    /// Where to read on; true if a read led there.
    pub(super) positions: BTreeMap<Part, (i64, bool)>,
    draws: Draws,
    next_value: u64,
    /// What it keeps, if it is a keeper.
    pub churn: Churn,
    loose: Option<usize>,
    /// Topics whose records the broker stamps.
    pub(super) stamped: Vec<bool>,
}

impl Client {
    /// Client `number` of a plan's world.
    pub fn new(plan: &Plan, number: u64, role: Role, left: u64) -> Client {
        let seed = plan.seed;
        Client {
            role,
            conn: None,
            codec: Connection::new("sim"),
            waiting: VecDeque::new(),
            again: BTreeMap::new(),
            left,
            audited: None,
            attempt: 0,
            silent: None,
            slow_us: 0,
            cut: false,
            hello: None,
            told_ends: BTreeMap::new(),
            number,
            producer: None,
            next_order: 0,
            sequences: BTreeMap::new(),
            first_acked: BTreeMap::new(),
            positions: BTreeMap::new(),
            draws: Draws::new(seed),
            next_value: (number + 1) << 32,
            churn: Churn::new(seed),
            loose: plan.loose_topic(),
            stamped: plan.topics.iter().map(Topic::is_stamped).collect(),
        }
    }

    /// Time to think before the next operation, microseconds.
    pub fn think_us(&mut self) -> u64 {
        if self.audited.is_some() {
            return 100;
        }
        self.draw("think").between(100, 16_000)
    }

    /// Its next choice at this site.
    fn draw(&mut self, site: &'static str) -> Choices {
        self.draws.of(site, self.number)
    }

    /// Offsets of a partition from `durable` on are void.
    pub fn rewind(&mut self, part: Part, durable: i64) {
        if let Some(position) = self.positions.get_mut(&part) {
            *position = (position.0.min(durable), false);
        }
    }

    /// True if it is done.
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.waiting.is_empty() && self.again.is_empty()
    }

    /// True if it sends a batch again until it knows.
    pub fn is_idempotent(&self) -> bool {
        self.role == Role::Producer { idempotent: true }
    }

    /// The next operations, sent in one go: what has to be sent again, in its order; now and then
    /// several of any kind; else one.
    pub fn next_ops(&mut self, topics: &[u32], history: &mut History, wall_ms: i64) -> Vec<Op> {
        if !self.again.is_empty() {
            let mut ops = Vec::new();
            while ops.len() < IN_FLIGHT_MAX {
                let Some((_, one)) = self.again.pop_first() else {
                    break;
                };
                ops.push(Op::Produce {
                    acks: -1,
                    by_id: false,
                    sent: vec![one],
                });
            }
            return ops;
        }
        if let Some(op) = self.alone(history) {
            self.left -= 1;
            return vec![op];
        }
        let mut choice = self.draw("at-once");
        let many = self.role != Role::Keeper && choice.chance(1, 6);
        let count = match many {
            true => choice.between(2, 6).min(self.left),
            false => 1,
        };
        let (mut ops, mut batches) = (Vec::new(), 0);
        let mut reads = BTreeSet::new();
        for _ in 0..count {
            let mut op = self.next_op(topics, history, wall_ms, &mut reads);
            // The broker closes the connection for it: nothing else is under way then.
            let closes = op.is_silently_wrong();
            if let (true, false, Op::Produce { acks, .. }) = (closes, ops.is_empty(), &mut op) {
                *acks = 1;
            }
            batches += match &op {
                Op::Produce { sent, .. } => sent.len(),
                _ => 0,
            };
            ops.push(op);
            if closes || batches + 3 > IN_FLIGHT_MAX {
                break;
            }
        }
        self.left -= ops.len() as u64;
        if ops.len() > 1 {
            history.mark("pipelined");
        }
        ops
    }

    /// What a producer does while nothing else of it is under way: gets an id, or another one, or begins
    /// a new epoch of the one it has (KIP-360).
    fn alone(&mut self, history: &mut History) -> Option<Op> {
        if !self.is_idempotent() {
            return None;
        }
        let Some((id, epoch)) = self.producer else {
            return Some(Op::InitProducerId(None));
        };
        match self.draw("producer").below(120) {
            0 => Some(Op::InitProducerId(Some((id, epoch)))),
            1 => {
                self.producer = Some((id, epoch + 1));
                self.sequences.clear();
                self.first_acked.clear();
                history.mark("epoch-bumped");
                None
            }
            _ => None,
        }
    }

    /// A partition, with its topic drawn first.
    fn some_part(&self, choice: &mut Choices, topics: &[u32]) -> Part {
        let topic = choice.below(topics.len() as u64) as usize;
        (topic, choice.below(u64::from(topics[topic])) as i32)
    }

    fn next_op(
        &mut self,
        topics: &[u32],
        history: &mut History,
        wall_ms: i64,
        reads: &mut BTreeSet<Part>,
    ) -> Op {
        if self.role == Role::Keeper {
            let step = self.churn.next_step(history);
            let request = self.churn.request(&step);
            return Op::Keep(step, request);
        }
        let mut choice = self.draw("operation");
        if !self.is_idempotent() && choice.chance(1, 25) {
            let value = self.next_value;
            self.next_value += 1;
            let writes = choice.chance(2, 3);
            let name = history.shared.name;
            return Op::Share(name, used(name, value, writes));
        }
        let produces = matches!(self.role, Role::Producer { .. }) && choice.chance(14, 15);
        if produces {
            return self.produce(&mut choice, topics, history, wall_ms);
        }
        match choice.below(40) {
            0 => self.trim(&mut choice, topics, history),
            1..=3 => self.offsets(&mut choice, topics, history, wall_ms),
            4 => Op::Describe {
                topic: match choice.below(8) {
                    0 => None,
                    _ => Some(choice.below(topics.len() as u64) as usize),
                },
                by_id: choice.chance(1, 2),
            },
            5 => Op::EpochEnd {
                part: self.some_part(&mut choice, topics),
                asked: choice.below(history.epoch.0.max(0) as u64 + 2) as i32,
                epoch: some_epoch(&mut choice, history),
            },
            _ => self.fetch(&mut choice, topics, history, reads),
        }
    }

    fn trim(&mut self, choice: &mut Choices, topics: &[u32], history: &mut History) -> Op {
        let part = self.some_part(choice, topics);
        let known = history.part(part);
        let known_end = known.max_end;
        // Now and then everything that was there when it asked.
        let bound = known_end.max(0) as u64;
        let (to, far) = match choice.below(8) {
            0 => (FAR, true),
            1 | 2 => (bound as i64, false),
            _ => (choice.below(bound / 2 + 1) as i64, false),
        };
        if !far {
            // It may take effect even if its answer is never heard.
            known.deleted_to = known.deleted_to.max(to);
        }
        Op::Trim {
            part,
            to,
            known_end,
            far,
        }
    }

    fn offsets(
        &mut self,
        choice: &mut Choices,
        topics: &[u32],
        history: &mut History,
        wall_ms: i64,
    ) -> Op {
        let count = if choice.chance(1, 4) { 3 } else { 1 };
        let mut parts: BTreeSet<Part> = BTreeSet::new();
        parts.extend((0..count).map(|_| self.some_part(choice, topics)));
        let asked = parts.into_iter().map(|part| {
            let timestamp = match choice.below(8) {
                0..=2 => -1,
                3 => -2,
                4 => -4,
                _ => some_time(choice, wall_ms),
            };
            let epoch = some_epoch(choice, history);
            let known = history.part(part);
            Asked {
                part,
                timestamp,
                known_end: known.max_end,
                acked: known.max_acked,
                epoch,
            }
        });
        Op::Offsets(asked.collect())
    }

    fn fetch(
        &mut self,
        choice: &mut Choices,
        topics: &[u32],
        history: &mut History,
        under_way: &mut BTreeSet<Part>,
    ) -> Op {
        let count = match choice.below(4) {
            0 => choice.between(2, 4),
            _ => 1,
        };
        let mut parts: BTreeSet<Part> = BTreeSet::new();
        parts.extend((0..count).map(|_| self.some_part(choice, topics)));
        let mut reads = Vec::new();
        for part in parts {
            let epoch = some_epoch(choice, history);
            let known = history.part(part);
            let far = choice.chance(1, 200);
            if choice.chance(1, 12) {
                self.positions.insert(part, (known.deleted_to, false));
            }
            let (offset, read) = self.positions.get(&part).copied().unwrap_or_default();
            let first = under_way.insert(part);
            reads.push(Reading {
                part,
                offset: if far { FAR } else { offset },
                known_end: known.max_end,
                started: known.started.0,
                // A second read before the first is answered begins where that one did.
                sought: !read || !first,
                far,
                epoch,
            });
        }
        let ids = reads
            .iter()
            .all(|one| history.ids.contains_key(&one.part.0));
        let by_id = ids && choice.chance(1, 4);
        if by_id {
            history.mark("by-id");
        }
        if reads.len() > 1 {
            history.mark("multi-partition");
        }
        let wait_ms = [0, 200, 200, 400][choice.below(4) as usize];
        // Most take what there is; some wait for a few batches, or for more than comes in time.
        let min_bytes = match choice.below(8) {
            0 => choice.between(2, 2_000) as i32,
            1 => choice.between(2_000, 12_000) as i32,
            _ => 1,
        };
        Op::Fetch {
            reads,
            by_id,
            min_bytes,
            wait_ms,
        }
    }

    fn produce(
        &mut self,
        choice: &mut Choices,
        topics: &[u32],
        history: &mut History,
        wall_ms: i64,
    ) -> Op {
        let count = if choice.chance(1, 6) { 3 } else { 1 };
        let mut parts: BTreeSet<Part> = BTreeSet::new();
        for _ in 0..count {
            let part = self.some_part(choice, topics);
            let other = usize::from(part.0 == 0);
            parts.insert(match self.loose {
                Some(loose) if self.is_idempotent() && loose == part.0 => {
                    (other, part.1 % topics[other] as i32)
                }
                // Few write to it.
                Some(loose) if !self.is_idempotent() && choice.chance(1, 2) => {
                    (loose, part.1 % topics[loose] as i32)
                }
                _ => part,
            });
        }
        let acks = match self.is_idempotent() {
            true => -1,
            false => [-1, -1, 1, 0][choice.below(4) as usize],
        };
        let flawed = choice.chance(1, 40);
        let sent: Vec<Sent> = parts
            .into_iter()
            .map(|part| {
                let flaw = flawed.then(|| Flaw::draw(choice, self.stamped[part.0]));
                self.batch(part, flaw, history, wall_ms)
            })
            .collect();
        let ids = sent.iter().all(|one| history.ids.contains_key(&one.part.0));
        let by_id = ids && choice.chance(1, 4);
        for (name, is) in [
            ("by-id", by_id),
            ("multi-partition", sent.len() > 1),
            ("bad-batch", flawed),
            ("acks-0", acks == 0),
            ("acks-1", acks == 1),
        ] {
            if is {
                history.mark(name);
            }
        }
        Op::Produce { acks, by_id, sent }
    }

    fn batch(
        &mut self,
        part: Part,
        flaw: Option<Flaw>,
        history: &mut History,
        sent_ms: i64,
    ) -> Sent {
        let mut choice = self.draw("batch");
        let sizes = match flaw {
            Some(Flaw::TooLarge) => vec![BATCH_MAX],
            _ => sizes(&mut choice),
        };
        // One batch in twelve brings in old records, or comes from a clock that is a little ahead;
        // one partition in three of the first topic is filled with old records only.
        let import = part.0 == 0 && part.1 % 3 == 1;
        let base = match (flaw, choice.below(24)) {
            (Some(Flaw::Future), _) => sent_ms + 2 * 3_600_000,
            (_, old) if import || old == 0 => sent_ms - 30 * 86_400_000,
            (_, 1) => sent_ms + 60_000,
            _ => sent_ms,
        };
        let values: Vec<u64> = (self.next_value..).take(sizes.len()).collect();
        self.next_value += sizes.len() as u64;
        // Neither all the same, nor in order.
        let times = values.iter().map(|value| base + (value * 7 % 5) as i64);
        let times: Vec<i64> = times.collect();
        let producer = self.producer.filter(|_| flaw.is_none());
        let producer = producer.map(|(id, epoch)| {
            let next = self.sequences.entry(part).or_default();
            let sequence = *next;
            *next += values.len() as i32;
            (id, epoch, sequence)
        });
        self.next_order += 1;
        let batch = build((&values, &times, &sizes), producer, flaw);
        if batch.len() == BATCH_MAX {
            history.mark("batch-of-limit");
        }
        let known = history.part(part);
        let acked_before = known.max_acked;
        match flaw {
            None => known.sent_bytes += batch.len() as u64,
            // Nothing of it may ever be seen.
            Some(_) => history.failed(part, &values),
        }
        Sent {
            part,
            batch,
            values,
            times,
            acked_before,
            order: self.next_order,
            sent_ms,
            flaw,
        }
    }
}

/// A time of the run, or one that imported records have, or the youngest (-3).
fn some_time(choice: &mut Choices, wall_ms: i64) -> i64 {
    let ago = choice.below(10_000) as i64;
    match choice.below(6) {
        0 => -3,
        1 | 2 => wall_ms - 30 * 86_400_000 - ago,
        3 => wall_ms + 60_000 - ago,
        _ => wall_ms - ago,
    }
}

/// Mostly none; else the one that was told last; now and then one before it, or one that never was.
fn some_epoch(choice: &mut Choices, history: &History) -> Epoch {
    let (told, life) = history.epoch;
    let named = match choice.below(24) {
        _ if told < 1 => -1,
        0..=4 => told,
        5 => told - 1,
        6 => told + FAR as i32,
        _ => -1,
    };
    Epoch { named, told, life }
}
