//! The world: one broker, its disk, its clients and the links between them, stepped event by event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use seedlog_core::api::Response;
use seedlog_core::contract::{Effects, Input, Knobs, Note};
use seedlog_core::disk::{DiskOp, DiskRequest};
use seedlog_core::ids::{CallId, ConnId, ShardId};
use seedlog_core::shard::Shard;
use seedlog_core::time::{Instant, Now};
use seedlog_core::work::{self, WorkJob};

use crate::check::history::{History, Part};
use crate::check::troubles::Troubles;
use crate::disk::{path_of, SimDisk};
use crate::draws::{number_of, Draws};
use crate::load::client::Client;
use crate::plan::{Fault, Plan};
use crate::report::Report;
use crate::run::Watch;
use crate::trace::stray::{self, Stray};
use crate::trace::{short, words, Actor, Kind, Trace};
use links::Link;

/// A run that is not over by then is undecided.
const END_US: u64 = 60_000_000;
/// What a disk that is not slow takes at most for an operation.
const SLOWEST_US: u64 = 2_000;
/// A shard's task takes its turn at most about this late.
const TASK_LATE_US: u64 = 300;
/// A planted divergence keeps to the plan until then.
const STRAY_FROM_US: u64 = 500_000;
const WALL_START_MS: i64 = 1_700_000_000_000;

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The run is over.
    Over,
    /// Nothing is due before a shard's task has taken its turn.
    Idle,
    /// An event happened after so many microseconds.
    Passed(u64),
}

/// Something that will happen.
#[derive(Clone, Debug)]
enum Event {
    Turn {
        life: u64,
        shard: usize,
    },
    Timer {
        life: u64,
        shard: usize,
        at: u64,
    },
    Disk {
        life: u64,
        shard: usize,
        op: DiskOp,
    },
    Neighbour {
        life: u64,
        shard: usize,
        input: Input,
    },
    Work {
        life: u64,
        shard: usize,
        job: WorkJob,
    },
    ToServer {
        conn: ConnId,
    },
    ToClient {
        conn: ConnId,
    },
    /// The broker's end notices that nobody is at the other one.
    LinkDies {
        conn: ConnId,
    },
    Act {
        client: usize,
    },
    /// The newest request of a client should have been answered.
    Timeout {
        client: usize,
        attempt: u64,
    },
    Fault(Fault),
    DiskFreed,
    FolderMended,
    Ending,
    Rest,
    /// A clean stop must be over, and its answers have arrived.
    Stopped {
        life: u64,
    },
    Restart,
}

struct Broker {
    shards: Vec<Shard>,
    inboxes: Vec<VecDeque<Input>>,
    scheduled: Vec<bool>,
    /// There was no room for Produce or for other requests when its last turn began.
    full: Vec<bool>,
    /// When each shard's next deadline is set to fire; `u64::MAX` for none.
    timers: Vec<u64>,
    conns: BTreeMap<ConnId, Link>,
    /// Per shard: the connection that is read although no more may arrive.
    lent: Vec<Option<ConnId>>,
    /// Operations that a fault made fail, by who asked for them: a shard may halt for its own.
    failed: Vec<(usize, DiskRequest)>,
    /// Side files that were read, by who asked for them, until their rows are judged.
    rows_given: Vec<(usize, String)>,
    /// Partitions move to other shards, and how many shards are over since all have moved.
    moving: bool,
    over: usize,
    /// A clean stop is asked for: clients are heard no more.
    stopping: bool,
    /// It heard them before: a broker that is stopped while it starts owes no answers.
    served: bool,
    /// When that was, microseconds.
    asked_us: u64,
}

/// The whole simulated world.
pub struct World {
    plan: Plan,
    knobs: Knobs,
    now_us: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    broker: Option<Broker>,
    /// Shards that the next start, and this one, is told to have.
    wanted: u16,
    wanted_before: u16,
    life: u64,
    disk: SimDisk,
    last_done: BTreeMap<String, u64>,
    stalled_until: u64,
    /// Until then operations take so many times as long.
    slow: (u64, u64),
    paused_until: u64,
    clients: Vec<Client>,
    /// Connections that each client has made.
    connections: Vec<u64>,
    link_free: BTreeMap<(ConnId, bool), u64>,
    created: bool,
    audit: Option<BTreeMap<Part, Audit>>,
    troubles: Troubles,
    /// When the broker began to start, if it does not serve yet.
    starts_since: Option<u64>,
    /// Files that a fault took away.
    lost: BTreeSet<String>,
    /// Files that decayed, and that a write meant for another one has reached.
    changed: BTreeSet<String>,
    /// Files of which a read brought, or could bring, something else than was written, or nothing.
    misread: BTreeSet<String>,
    strays: strays::Strays,
    rest: rest::Rest,
    ending: endings::State,
    /// Shards whose tasks have yet to take a turn. Empty if the world takes turns itself.
    owed: BTreeSet<usize>,
    monitor: monitor::Monitor,
    prompt: prompt::Prompt,
    /// A start has said that records may be gone, of a topic that opted out of syncing.
    loss_told: bool,
    /// A sync of these shards' journals failed, and the broker may not have heard of it yet.
    sync_lost: BTreeSet<ShardId>,
    watch: Watch,
    draws: Draws,
    /// Moves that are yet to be cut: (how many, the fault's value).
    cuts: (u64, u64),
    acks_at_oracle: u64,
    trace: Trace,
    traced: traced::State,
    /// What clients did and saw.
    pub history: History,
    report: Report,
}

/// The last reader's progress on one partition.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    start: i64,
    next: i64,
    end: Option<i64>,
    tries: u32,
    found: BTreeSet<i64>,
    faulty: BTreeSet<i64>,
}

impl World {
    /// This world, with its shards as tasks of the runtime.
    pub fn with_tasks(mut self) -> World {
        self.report.tasks = true;
        self
    }

    /// Who may judge the run.
    pub fn watch(&mut self, watch: Watch) {
        self.watch = watch;
    }

    /// Shards that run.
    pub fn shards(&self) -> usize {
        self.broker.as_ref().map_or(0, |broker| broker.shards.len())
    }

    /// The world of a plan, before its first event.
    pub fn new(plan: Plan, knobs: Knobs) -> World {
        let seed = plan.seed;
        let mut history = History::default();
        for (number, topic) in plan.topics.iter().enumerate() {
            for index in 0..topic.partitions {
                let part = history.part((number, index as i32));
                part.retention = topic.has_retention();
                part.young_ms = topic.young_ms();
                let kept = topic.config("retention.bytes");
                part.kept_bytes = kept.and_then(|bytes| u64::try_from(bytes).ok());
            }
        }
        let partitions = plan.topics.iter().map(|topic| u64::from(topic.partitions));
        let partitions: u64 = partitions.sum();
        let report = Report {
            seed,
            size: [u64::from(plan.shards), partitions, plan.clients as u64, 0],
            ..Report::default()
        };
        let mut world = World {
            clients: clients::of(&plan),
            knobs,
            now_us: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            broker: None,
            wanted: plan.shards,
            wanted_before: plan.shards,
            life: 0,
            disk: SimDisk::default(),
            last_done: BTreeMap::new(),
            stalled_until: 0,
            slow: (0, 1),
            paused_until: 0,
            connections: vec![0; plan.clients + 1],
            link_free: BTreeMap::new(),
            created: false,
            audit: None,
            troubles: Troubles::default(),
            starts_since: None,
            lost: BTreeSet::new(),
            changed: BTreeSet::new(),
            misread: BTreeSet::new(),
            strays: strays::Strays::default(),
            rest: rest::Rest::Before,
            ending: endings::State::of(&plan),
            owed: BTreeSet::new(),
            monitor: monitor::Monitor::default(),
            prompt: prompt::Prompt::default(),
            loss_told: false,
            sync_lost: BTreeSet::new(),
            watch: Watch::All,
            draws: Draws::new(seed),
            cuts: (0, 0),
            acks_at_oracle: 0,
            trace: Trace::new(seed),
            traced: traced::State::default(),
            history,
            report,
            plan,
        };
        world.at(0, Event::Restart);
        for client in 0..world.clients.len() {
            world.at(1000 + client as u64, Event::Act { client });
        }
        for fault in world.plan.faults.clone() {
            world.at(fault.at_us, Event::Fault(fault));
        }
        world
    }

    fn at(&mut self, time_us: u64, event: Event) {
        self.queue
            .insert((time_us.max(self.now_us), self.next_event), event);
        self.next_event += 1;
    }

    fn now(&self) -> Now {
        let mut wall_ms = WALL_START_MS + (self.now_us / 1000) as i64;
        if self.traced.stray == Some(Stray::ClockRead) && self.now_us > STRAY_FROM_US {
            wall_ms += stray::machine_ms();
        }
        Now {
            mono: Instant((self.now_us + 1) * 1000),
            wall_ms,
        }
    }

    fn step_once(&mut self) -> Step {
        let read = self.all_is_read();
        let rested = self.rest == rest::Rest::Over;
        if self.ending.is_over() || (read && rested && !self.ending.begins()) {
            return Step::Over;
        }
        match read {
            true if rested => self.begin_ending(),
            true => self.come_to_rest(),
            false => {}
        }
        let next = self
            .queue
            .first_key_value()
            .map(|((time_us, _), _)| *time_us);
        if !self.owed.is_empty() && next.is_none_or(|at| at > self.now_us + TASK_LATE_US) {
            return Step::Idle;
        }
        let Some(((time_us, _), event)) = self.queue.pop_first() else {
            return Step::Over;
        };
        if time_us > END_US {
            self.report.undecided = true;
            return Step::Over;
        }
        let passed = time_us - self.now_us;
        self.now_us = time_us;
        self.trace.at(time_us);
        let panics = self.traced.stray == Some(Stray::Panic) && time_us > STRAY_FROM_US;
        assert!(!panics, "planted");
        self.happen(event);
        Step::Passed(passed)
    }

    /// For tasks: the broker's life, if it lives.
    pub fn life(&self) -> Option<u64> {
        self.broker.as_ref().map(|_| self.life)
    }

    /// For tasks: the shards that have yet to take a turn.
    pub fn owed(&self) -> impl Iterator<Item = usize> + '_ {
        self.owed.iter().copied()
    }

    fn turn_or_owe(&mut self, shard: usize) {
        if self.report.tasks {
            self.owed.insert(shard);
        } else {
            self.turn(shard);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { life, shard } if life == self.life => self.turn_or_owe(shard),
            Event::Disk { life, shard, op } if life == self.life => self.disk_op(shard, &op),
            Event::Neighbour { life, shard, input } if life == self.life => {
                self.deliver(shard, input)
            }
            Event::Work { life, shard, job } if life == self.life => {
                self.mark("work");
                let result = work::run(&job.request);
                self.deliver(shard, Input::Work { id: job.id, result });
            }
            Event::Timer { life, shard, at } if life == self.life => self.timer(shard, at),
            Event::Stopped { life } if life == self.life => self.stopped(),
            // Of a life that is over.
            Event::Turn { .. }
            | Event::Timer { .. }
            | Event::Neighbour { .. }
            | Event::Work { .. }
            | Event::Disk { .. }
            | Event::Stopped { .. } => {}
            Event::ToServer { conn } => self.at_server(conn),
            Event::LinkDies { conn } => self.reset_link(conn, 0),
            Event::ToClient { conn } => self.at_client_end(conn),
            Event::Act { client } => self.act(client),
            Event::Timeout { client, attempt } => self.timed_out(client, attempt),
            Event::Fault(fault) => self.fault(fault),
            Event::DiskFreed => self.disk.room = None,
            Event::FolderMended => self.disk.broken = None,
            Event::Ending => self.ending(),
            Event::Rest => self.look_for_rest(),
            Event::Restart => self.start_broker(),
        }
    }

    fn deliver(&mut self, shard: usize, input: Input) {
        let mut draw = self.draws.of("wake", shard as u64);
        let delay = draw.below(200);
        if self.traced.stray == Some(Stray::ExtraDraw) && self.now_us > STRAY_FROM_US {
            self.draws.of("wake", shard as u64);
        }
        let Some(broker) = &mut self.broker else {
            return;
        };
        broker.inboxes[shard].push_back(input);
        if !std::mem::replace(&mut broker.scheduled[shard], true) {
            let life = self.life;
            self.at(self.now_us + delay, Event::Turn { life, shard });
        }
    }

    fn timer(&mut self, shard: usize, at: u64) {
        let Some(broker) = &mut self.broker else {
            return;
        };
        // A timer that was set again for an earlier time is void.
        if broker.timers[shard] == at {
            broker.timers[shard] = u64::MAX;
            self.turn_or_owe(shard);
        }
    }

    /// One turn of a shard: some of its inputs, settle, and the lanes handed out.
    fn turn(&mut self, shard: usize) {
        if self.paused_until > self.now_us {
            let life = self.life;
            return self.at(self.paused_until, Event::Turn { life, shard });
        }
        let now = self.now();
        let mut draw = self.draws.of("turn", shard as u64);
        let size = match draw.chance(1, 3) {
            true => 1,
            false => draw.between(1, 16),
        };
        let Some(broker) = &mut self.broker else {
            return;
        };
        broker.scheduled[shard] = false;
        let room = broker.shards[shard].appetite();
        self.prompt.look(self.now_us, shard, &broker.shards[shard]);
        broker.full[shard] = room.produce_bytes == 0 || room.request_bytes == 0;
        let mut out = Effects::default();
        for _ in 0..size {
            let Some(input) = broker.inboxes[shard].pop_front() else {
                break;
            };
            let actor = Actor::Shard(shard as u16);
            self.trace
                .event(actor, Kind::Input, &input, || short(&input));
            self.prompt.given(self.now_us, &input);
            broker.shards[shard].handle(now, input, &mut out);
            self.report.events += 1;
        }
        broker.shards[shard].settle(now, &mut out);
        // What a cut may take of an opted-out topic is known from here, whoever judges.
        let losses = self.monitor.losses;
        let looked = self
            .monitor
            .look(self.now_us, ShardId(shard as u16), &broker.shards[shard]);
        self.prompt.look(self.now_us, shard, &broker.shards[shard]);
        if self.watch == Watch::All {
            broker.shards[shard].check();
            if let Some((rule, text)) = looked {
                self.history.violate(rule, text);
            }
            if self.monitor.losses > losses && !self.loss_told {
                let text = "acknowledged records are gone, and no start has said so";
                self.history.violate("lossy-restart", text.to_string());
            }
        }
        let life = self.life;
        let deadline = broker.shards[shard].next_deadline();
        let deadline = deadline.map(|at| (at.0 / 1000).max(self.now_us + 1));
        let timer = deadline.filter(|at| *at < broker.timers[shard]);
        if let Some(at) = timer {
            broker.timers[shard] = at;
        }
        let more = !broker.inboxes[shard].is_empty();
        broker.scheduled[shard] |= more;
        if more {
            self.at(self.now_us + 1, Event::Turn { life, shard });
        }
        if let Some(at) = timer {
            self.at(at, Event::Timer { life, shard, at });
        }
        let silent = out.replies.is_empty() && out.neighbours.is_empty();
        if silent && out.notes.contains(&Note::DuplicateSequence) {
            self.mark("parked-duplicate");
        }
        self.carry_out(shard, out);
        self.look_after_turn(shard);
    }

    fn look_after_turn(&mut self, shard: usize) {
        self.close_damage(shard);
        self.look_at_rows(shard);
        self.look_at_waiting_links(shard);
        self.look_at_ending();
    }

    /// The disk takes its time over each operation, and those of one file end in their order.
    fn give_to_disk(&mut self, shard: usize, op: DiskOp) {
        let life = self.life;
        let path = path_of(&op.request);
        let times = match self.now_us < self.slow.0 {
            true => self.slow.1,
            false => 1,
        };
        let mut draw = self.draws.of("disk-time", number_of(path));
        let latency = draw.between(50, SLOWEST_US) * times;
        let start = self.now_us.max(self.stalled_until);
        let done = match self.last_done.get_mut(path) {
            Some(free) => {
                *free = (start + latency).max(*free + 1);
                *free
            }
            None => {
                self.last_done.insert(path.to_string(), start + latency);
                start + latency
            }
        };
        self.at(done, Event::Disk { life, shard, op });
    }

    fn carry_out(&mut self, shard: usize, out: Effects) {
        let life = self.life;
        let actor = Actor::Shard(shard as u16);
        if out != Effects::default() {
            self.trace.event(actor, Kind::Effects, &out, || short(&out));
        }
        for op in out.disk {
            self.give_to_disk(shard, op);
        }
        for job in out.work {
            let took = self.draws.of("work-time", shard as u64).between(20, 3_000);
            let done = self.now_us + took;
            self.at(done, Event::Work { life, shard, job });
        }
        for (to, message) in out.neighbours {
            let from = ShardId(shard as u16);
            let key = (
                ConnId(u64::MAX - from.0 as u64 * 64 - u64::from(to.0)),
                true,
            );
            let time = self.in_order("neighbour", key, (1, 60));
            let input = Input::Neighbour { from, message };
            self.at(
                time,
                Event::Neighbour {
                    life,
                    shard: usize::from(to.0),
                    input,
                },
            );
        }
        for note in out.notes {
            self.trace
                .event(actor, Kind::Note, (), || words::noted(&note));
            self.note(&note);
        }
        for (conn, call, response) in out.replies {
            self.judge_promptness(shard, (conn, call), &response);
            self.reply((conn, call), response);
        }
        for (conn, why) in out.closes {
            self.closed_by_broker(conn, why);
        }
        if let Some(halt) = out.halt {
            self.trace.event(actor, Kind::Halt, (), || short(&halt));
            self.halted(shard, halt);
        }
    }

    /// An answer goes on its way to its client.
    fn reply(&mut self, (conn, call): (ConnId, CallId), response: Response) {
        let broker = self.broker.as_mut();
        let Some(link) = broker.and_then(|broker| broker.conns.get_mut(&conn)) else {
            return;
        };
        let held = response.held_bytes();
        let said = self.trace.keeps().then(|| words::told(&response));
        link.server.reply(call, response);
        let bytes = Bytes::from(link.server.take_output().concat());
        let to = Actor::Client(link.client as u16);
        self.trace
            .event(to, Kind::Reply, &bytes, || said.unwrap_or_default());
        self.answer_on_link(conn, bytes, held);
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Ready => {
                self.mark("ready");
                self.serves();
            }
            Note::Resharding => self.resharding(),
            Note::SegmentRolled => self.mark("segment-rolled"),
            Note::CannotRemove { .. } => self.mark("cannot-remove"),
            Note::Quarantined { dir } => self.quarantined(dir),
            Note::SetAside { .. } => self.mark("set-aside"),
            Note::Carried => self.mark("carried"),
            Note::CannotWrite { dir } => self.cannot_write(dir),
            Note::Retained { .. } => self.mark("retained"),
            Note::DuplicateSequence => self.mark("duplicate-sequence"),
            Note::TornTail { .. } => self.mark("torn-tail"),
            Note::FaultyRange { .. } => self.mark("faulty-range"),
            Note::SegmentsGrow => self.mark("segments-grow"),
            Note::DiskFull => self.mark("disk-full-seen"),
            Note::DiskFullOver => self.mark("disk-full-over"),
            Note::LossyRestart => {
                self.mark("lossy-restart");
                self.loss_told = true;
            }
        }
    }

    /// No fault of a plan takes metadata back: a partition that metadata does not know is deleted, or
    /// metadata is lost.
    fn quarantined(&mut self, dir: &str) {
        self.history.violate("quarantine", dir.to_string());
    }

    /// A time after the last message on this link: links do not reorder.
    fn in_order(
        &mut self,
        site: &'static str,
        link: (ConnId, bool),
        (low, high): (u64, u64),
    ) -> u64 {
        let time = self.now_us + self.draws.of(site, link.0 .0).between(low, high);
        let free = self.link_free.entry(link).or_default();
        *free = time.max(*free + 1);
        *free
    }
}

pub(crate) use traced::panic_text;

mod audit;
mod broker;
mod clients;
mod derived;
mod endings;
mod faults;
mod links;
mod monitor;
mod prompt;
mod rest;
mod rows;
mod stopping;
mod strays;
mod traced;
mod troubles;
