//! The world: one broker, its disk, its clients and the links between them, stepped event by event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use seedlog_core::contract::{Config, Effects, Halt, Input, Knobs, Note};
use seedlog_core::disk::{DiskError, DiskOp, DiskRequest};
use seedlog_core::ids::{ConnId, NodeId, ShardId, Uuid};
use seedlog_core::shard::Shard;
use seedlog_core::time::{Instant, Now};
use seedlog_net::server::Connection as Server;

use crate::client::{Client, Op, Role};
use crate::disk::{BadRead, SimDisk};
use crate::history::{History, Part};
use crate::plan::{Choices, Fault, FaultKind, Plan};
use crate::report::{Hash, Report};

const OP_TIMEOUT_US: u64 = 1_500_000;
/// A run that is not over by then is undecided.
const END_US: u64 = 60_000_000;
const WALL_START_MS: i64 = 1_700_000_000_000;

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
    ToServer {
        conn: ConnId,
        bytes: Bytes,
    },
    ToClient {
        client: usize,
        conn: ConnId,
        bytes: Bytes,
    },
    Act {
        client: usize,
    },
    Timeout {
        client: usize,
        attempt: u64,
    },
    Fault(Fault),
    DiskFreed,
    Restart,
}

struct Broker {
    shards: Vec<Shard>,
    inboxes: Vec<VecDeque<Input>>,
    scheduled: Vec<bool>,
    /// When each shard's next deadline is set to fire; `u64::MAX` for none.
    timers: Vec<u64>,
    conns: BTreeMap<ConnId, (usize, usize, Server)>,
    /// I/O faults hit this incarnation: it may halt for them.
    excused: bool,
}

/// The whole simulated world.
pub struct World {
    plan: Plan,
    knobs: Knobs,
    now_us: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    broker: Option<Broker>,
    life: u64,
    disk: SimDisk,
    last_done: BTreeMap<String, u64>,
    stalled_until: u64,
    paused_until: u64,
    clients: Vec<Client>,
    next_conn: u64,
    link_free: BTreeMap<(ConnId, bool), u64>,
    topics: Vec<(u32, Vec<(String, Option<String>)>)>,
    created: bool,
    audit: Option<BTreeMap<Part, Audit>>,
    /// Faulty reads were placed, so a range may be unreadable.
    damaged: bool,
    choices: Choices,
    latency: Choices,
    oracle: Choices,
    acks_at_oracle: u64,
    hash: Hash,
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
    /// The world of a plan, before its first event.
    pub fn new(plan: Plan, knobs: Knobs) -> World {
        let seed = plan.seed;
        let topics: Vec<_> = plan
            .topics
            .iter()
            .enumerate()
            .map(|(n, p)| (*p, configs(n)))
            .collect();
        let mut history = History::default();
        for (topic, (partitions, _)) in topics.iter().enumerate() {
            for index in 0..*partitions {
                history.part((topic, index as i32)).retention = topic == 0;
            }
        }
        let clients = (0..plan.clients).map(|number| {
            let role = match (number * 2 < plan.clients, number % 3) {
                (true, 2) => Role::Producer { idempotent: false },
                (true, _) => Role::Producer { idempotent: true },
                (false, _) => Role::Consumer,
            };
            Client::new(seed, number as u64, role, plan.operations)
        });
        let partitions: u64 = plan.topics.iter().map(|n| u64::from(*n)).sum();
        let report = Report {
            seed,
            size: [u64::from(plan.shards), partitions, plan.clients as u64, 0],
            ..Report::default()
        };
        let mut world = World {
            clients: clients.collect(),
            knobs,
            now_us: 0,
            queue: BTreeMap::new(),
            next_event: 0,
            broker: None,
            life: 0,
            disk: SimDisk::default(),
            last_done: BTreeMap::new(),
            stalled_until: 0,
            paused_until: 0,
            next_conn: 0,
            link_free: BTreeMap::new(),
            topics,
            created: false,
            audit: None,
            damaged: false,
            choices: Choices::new(seed, "world", 0),
            latency: Choices::new(seed, "latency", 0),
            oracle: Choices::new(seed, "oracle", 0),
            acks_at_oracle: 0,
            hash: Hash(seed),
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

    fn mark(&mut self, name: &'static str) {
        *self.report.marks.entry(name).or_default() += 1;
    }

    fn now(&self) -> Now {
        let wall_ms = WALL_START_MS + (self.now_us / 1000) as i64;
        Now {
            mono: Instant((self.now_us + 1) * 1000),
            wall_ms,
        }
    }

    /// Step one event. `None` when the run is over; otherwise the time that passed, microseconds.
    pub fn step(&mut self) -> Option<u64> {
        let over = self.audit.as_ref().is_some_and(|audit| {
            audit
                .values()
                .all(|part| part.end.is_some_and(|end| part.next >= end))
        });
        if over {
            return None;
        }
        let ((time_us, _), event) = self.queue.pop_first()?;
        if time_us > END_US {
            self.report.undecided = true;
            return None;
        }
        let passed = time_us - self.now_us;
        self.now_us = time_us;
        self.happen(event);
        Some(passed)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { life, shard } if life == self.life => self.turn(shard),
            Event::Disk { life, shard, op } if life == self.life => self.disk_op(shard, &op),
            Event::Neighbour { life, shard, input } if life == self.life => {
                self.deliver(shard, input)
            }
            Event::Timer { life, shard, at } if life == self.life => self.timer(shard, at),
            Event::Turn { .. } | Event::Timer { .. } | Event::Neighbour { .. } => {}
            Event::Disk { .. } => {}
            Event::ToServer { conn, bytes } => self.at_server(conn, bytes),
            Event::ToClient {
                client,
                conn,
                bytes,
            } => self.at_client(client, conn, bytes),
            Event::Act { client } => self.act(client),
            Event::Timeout { client, attempt } => {
                if self.clients[client].attempt == attempt && self.clients[client].waiting.is_some()
                {
                    self.lose_connection(client);
                }
            }
            Event::Fault(fault) => self.fault(fault),
            Event::DiskFreed => self.disk.full = false,
            Event::Restart => self.start_broker(),
        }
    }

    fn start_broker(&mut self) {
        if self.broker.is_some() {
            return;
        }
        self.life += 1;
        let count = usize::from(self.plan.shards);
        let mut seeds = Choices::new(self.plan.seed, "incarnation", self.life);
        self.broker = Some(Broker {
            shards: Vec::new(),
            inboxes: vec![VecDeque::new(); count],
            scheduled: vec![false; count],
            timers: vec![u64::MAX; count],
            conns: BTreeMap::new(),
            excused: false,
        });
        for shard in 0..count {
            let config = config(self.plan.shards, shard as u16, self.knobs);
            let mut out = Effects::default();
            let booted = Shard::boot(config, seeds.seed(), self.now(), &mut out);
            if let Some(broker) = &mut self.broker {
                broker.shards.push(booted);
            }
            self.carry_out(shard, out);
        }
    }

    fn stop_broker(&mut self) {
        if self.broker.take().is_none() {
            return;
        }
        self.life += 1;
        self.end_disk_ops();
        for client in 0..self.clients.len() {
            self.lose_connection(client);
        }
        let after = self.choices.between(10_000, 200_000);
        self.at(self.now_us + after, Event::Restart);
    }

    /// The process is gone: the kernel ends what it was given, or was not given it any more, before
    /// another process can open the folder.
    fn end_disk_ops(&mut self) {
        let open = |event: &Event| matches!(event, Event::Disk { .. });
        let keys: Vec<(u64, u64)> = self
            .queue
            .iter()
            .filter(|(_, event)| open(event))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let Some(Event::Disk { op, .. }) = self.queue.remove(&key) else {
                continue;
            };
            let reads = matches!(
                op.request,
                DiskRequest::Read { .. } | DiskRequest::List { .. }
            );
            if !reads && self.choices.chance(1, 2) {
                let _ = self.disk.run(&op.request);
            }
        }
    }

    fn deliver(&mut self, shard: usize, input: Input) {
        let delay = self.latency.below(200);
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
            self.turn(shard);
        }
    }

    /// One turn of a shard: some of its inputs, settle, and the lanes handed out.
    fn turn(&mut self, shard: usize) {
        if self.paused_until > self.now_us {
            let life = self.life;
            return self.at(self.paused_until, Event::Turn { life, shard });
        }
        let now = self.now();
        let size = if self.choices.chance(1, 3) {
            1
        } else {
            self.choices.between(1, 16)
        };
        let Some(broker) = &mut self.broker else {
            return;
        };
        broker.scheduled[shard] = false;
        let mut out = Effects::default();
        for _ in 0..size {
            let Some(input) = broker.inboxes[shard].pop_front() else {
                break;
            };
            self.hash.word(self.now_us);
            self.hash.word(shard as u64);
            let _ = write!(self.hash, "{input:?}");
            broker.shards[shard].handle(now, input, &mut out);
            self.report.events += 1;
            if self.report.events.is_multiple_of(1024) {
                self.report
                    .checkpoints
                    .push((self.report.events, self.hash.0));
            }
        }
        broker.shards[shard].settle(now, &mut out);
        broker.shards[shard].check();
        let _ = write!(self.hash, "{out:?}");
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
        self.carry_out(shard, out);
    }

    fn carry_out(&mut self, shard: usize, out: Effects) {
        let life = self.life;
        for op in out.disk {
            let path = path_of(&op.request).to_string();
            let latency = self.latency.between(50, 2_000);
            let start = self.now_us.max(self.stalled_until);
            let free = self.last_done.get(&path).copied().unwrap_or(0);
            let done = (start + latency).max(free + 1);
            self.last_done.insert(path, done);
            self.at(done, Event::Disk { life, shard, op });
        }
        for (to, message) in out.neighbours {
            let from = ShardId(shard as u16);
            let key = (
                ConnId(u64::MAX - from.0 as u64 * 64 - u64::from(to.0)),
                true,
            );
            let time = self.in_order(key, 1, 60);
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
            self.note(&note);
        }
        for (conn, call, response) in out.replies {
            let Some(broker) = &mut self.broker else {
                return;
            };
            let Some((client, _, server)) = broker.conns.get_mut(&conn) else {
                continue;
            };
            server.reply(call, response);
            let (client, bytes) = (*client, Bytes::from(server.take_output().concat()));
            let time = self.in_order((conn, true), 50, 1_500);
            self.at(
                time,
                Event::ToClient {
                    client,
                    conn,
                    bytes,
                },
            );
        }
        if let Some(halt) = out.halt {
            self.halted(halt);
        }
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Ready => self.mark("ready"),
            Note::SegmentRolled => self.mark("segment-rolled"),
            Note::Retained { .. } => self.mark("retained"),
            Note::DuplicateSequence => self.mark("duplicate-sequence"),
            Note::TornTail { .. } => self.mark("torn-tail"),
            Note::FaultyRange { .. } => self.mark("faulty-range"),
            Note::DiskFull => self.mark("disk-full-seen"),
            Note::DiskFullOver => self.mark("disk-full-over"),
        }
    }

    fn halted(&mut self, halt: Halt) {
        let excused = self.broker.as_ref().is_some_and(|broker| broker.excused);
        match halt {
            Halt::Fatal(_) if excused => self.mark("halt"),
            halt => self.history.violate("halt", format!("{halt:?}")),
        }
        self.stop_broker();
    }

    /// A time after the last message on this link: links do not reorder.
    fn in_order(&mut self, link: (ConnId, bool), low: u64, high: u64) -> u64 {
        let time = self.now_us + self.latency.between(low, high);
        let free = self.link_free.entry(link).or_default();
        *free = time.max(*free + 1);
        *free
    }

    fn disk_op(&mut self, shard: usize, op: &DiskOp) {
        if self.stalled_until > self.now_us {
            let (life, op) = (self.life, op.clone());
            return self.at(self.stalled_until, Event::Disk { life, shard, op });
        }
        let result = self.disk.run(&op.request);
        let fired = std::mem::take(&mut self.disk.fired);
        for name in fired {
            if let Some(broker) = &mut self.broker {
                broker.excused |= matches!(
                    name,
                    "write-error" | "sync-error" | "short-write" | "disk-full"
                );
            }
            self.mark(name);
        }
        self.deliver(shard, Input::Disk { op: op.op, result });
    }

    fn at_server(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(broker) = &mut self.broker else {
            return;
        };
        let Some((_, shard, server)) = broker.conns.get_mut(&conn) else {
            return;
        };
        let shard = *shard;
        if let Err(close) = server.receive(bytes) {
            return self.history.violate("wire", close.reason);
        }
        let mut calls = Vec::new();
        while let Some(call) = server.next_call() {
            calls.push(call);
        }
        for (call, request) in calls {
            self.deliver(
                shard,
                Input::Client {
                    conn,
                    call,
                    request,
                },
            );
        }
    }

    fn at_client(&mut self, number: usize, conn: ConnId, bytes: Bytes) {
        let client = &mut self.clients[number];
        if client.conn != Some(conn) {
            return;
        }
        let responses = match client.codec.receive(bytes) {
            Ok(responses) => responses,
            Err(close) => return self.history.violate("wire", close.reason),
        };
        for (correlation, response) in responses {
            let client = &mut self.clients[number];
            let waiting = client.waiting.take();
            let Some((_, op)) = waiting.filter(|(waiting, _)| *waiting == correlation) else {
                continue;
            };
            self.created |= matches!(op, Op::Create);
            client.answered(op, response, &mut self.history);
            let think = client.think_us();
            self.at(self.now_us + think, Event::Act { client: number });
        }
        self.audit_progress(number);
        if self.history.acks >= self.acks_at_oracle + 200 {
            self.acks_at_oracle = self.history.acks;
            self.power_cut_oracle();
        }
    }

    fn act(&mut self, number: usize) {
        if self.clients[number].waiting.is_some() {
            return;
        }
        let auditing = self.audit.is_some() && number == 0;
        if !auditing && self.clients[number].left == 0 && self.clients[number].again.is_none() {
            return self.maybe_audit();
        }
        if self.clients[number].conn.is_none() && !self.connect(number) {
            let later = self.choices.between(5_000, 50_000);
            return self.at(self.now_us + later, Event::Act { client: number });
        }
        let now = self.now();
        let op = match (auditing, self.created) {
            (true, _) => self.audit_op(),
            (false, true) => {
                let client = &mut self.clients[number];
                let topics: Vec<u32> = self
                    .topics
                    .iter()
                    .map(|(partitions, _)| *partitions)
                    .collect();
                if client.again.is_none() {
                    client.left -= 1;
                    self.report.size[3] += 1;
                }
                client.next_op(&topics, &mut self.history, now.wall_ms)
            }
            (false, false) if number == 0 => Op::Create,
            (false, false) => return self.at(self.now_us + 10_000, Event::Act { client: number }),
        };
        self.send(number, op);
    }

    fn send(&mut self, number: usize, op: Op) {
        let request = Client::request(&op, &self.topics);
        let client = &mut self.clients[number];
        let (correlation, bytes) = client.codec.request(&request);
        client.waiting = Some((correlation, op));
        client.attempt += 1;
        let attempt = client.attempt;
        if let Some(conn) = client.conn {
            let time = self.in_order((conn, false), 50, 1_500);
            self.at(time, Event::ToServer { conn, bytes });
        }
        self.at(
            self.now_us + OP_TIMEOUT_US,
            Event::Timeout {
                client: number,
                attempt,
            },
        );
    }

    fn connect(&mut self, number: usize) -> bool {
        let shard = self.choices.below(u64::from(self.plan.shards)) as usize;
        let conn = ConnId(self.next_conn);
        let Some(broker) = &mut self.broker else {
            return false;
        };
        self.next_conn += 1;
        broker.conns.insert(
            conn,
            (number, shard, Server::new("sim".into(), 9092, 1 << 20)),
        );
        self.clients[number].conn = Some(conn);
        self.clients[number].codec = seedlog_net::client::Connection::new("sim");
        self.deliver(shard, Input::Connect { conn });
        true
    }

    /// The connection breaks. What was on its way to the broker may still arrive.
    fn lose_connection(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(conn) = client.conn.take() else {
            return;
        };
        let waiting = client.waiting.take();
        let retries = client.role == (Role::Producer { idempotent: true });
        match waiting {
            Some((_, op @ Op::Produce { .. })) if retries => client.again = Some(op),
            None | Some((_, Op::Create)) => {}
            Some(_) => self.history.unknown += 1,
        }
        self.at(self.now_us + 5_000, Event::Act { client: number });
        let shard = self
            .broker
            .as_ref()
            .and_then(|broker| broker.conns.get(&conn))
            .map(|row| row.1);
        let late = self.choices.chance(1, 2);
        if let Some(shard) = shard {
            // Half of the time the broker learns of it only after it took what was in flight.
            if !late {
                if let Some(broker) = &mut self.broker {
                    broker.conns.remove(&conn);
                }
            }
            self.deliver(shard, Input::Hangup { conn });
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.audit.is_some() {
            return;
        }
        match fault.kind {
            FaultKind::Crash if self.broker.is_some() => {
                self.mark("crash");
                self.stop_broker();
            }
            FaultKind::PowerLoss if self.broker.is_some() => {
                self.mark("power-loss");
                self.stop_broker();
                self.disk
                    .power_loss(&mut Choices::new(fault.value, "cut", self.plan.seed));
            }
            FaultKind::Crash | FaultKind::PowerLoss => {}
            FaultKind::Pause => {
                self.mark("pause");
                self.paused_until = self.now_us + 20_000 + fault.value % 400_000;
            }
            FaultKind::Disconnect => {
                self.mark("disconnect");
                let client = fault.value as usize % self.clients.len();
                self.lose_connection(client);
            }
            FaultKind::WriteError => self.disk.fail_write = Some(DiskError::Io),
            FaultKind::ShortWrite => self.disk.fail_write = Some(DiskError::Short(0)),
            FaultKind::SyncError => self.disk.fail_sync = true,
            FaultKind::DiskFull => {
                self.disk.full = true;
                self.at(
                    self.now_us + 100_000 + fault.value % 700_000,
                    Event::DiskFreed,
                );
            }
            FaultKind::Stall => {
                self.mark("stall");
                self.stalled_until = self.now_us + 10_000 + fault.value % 300_000;
            }
            FaultKind::BitRot => {
                if self.disk.rot(fault.value) {
                    self.damaged = true;
                    self.mark("bit-rot");
                }
            }
            FaultKind::ReadError => self.disk.bad_read = Some(BadRead::Error),
            FaultKind::ShortRead => self.disk.bad_read = Some(BadRead::Short),
            FaultKind::MisdirectedRead => self.disk.bad_read = Some(BadRead::Misdirected),
        }
    }
}

fn path_of(request: &DiskRequest) -> &str {
    match request {
        DiskRequest::List { dir } | DiskRequest::SyncDir { dir } => dir,
        DiskRequest::Read { file, .. }
        | DiskRequest::Write { file, .. }
        | DiskRequest::Sync { file }
        | DiskRequest::Allocate { file, .. }
        | DiskRequest::Truncate { file, .. }
        | DiskRequest::Unlink { file } => file,
        DiskRequest::Rename { from, .. } => from,
    }
}

fn configs(topic: usize) -> Vec<(String, Option<String>)> {
    let mut configs = vec![("segment.bytes".to_string(), Some("12000".to_string()))];
    if topic == 0 {
        configs.push(("retention.bytes".to_string(), Some("40000".to_string())));
    }
    configs
}

/// The config of a simulated shard.
pub fn config(shards: u16, shard: u16, knobs: Knobs) -> Config {
    Config {
        node: NodeId(0),
        cluster_id: Uuid([1; 16]),
        directory_id: Uuid([2; 16]),
        shard: ShardId(shard),
        shards,
        advertised: None,
        auto_create_topics: false,
        default_partitions: 1,
        request_pool_bytes: 1 << 20,
        journal_initial_bytes: 128 << 10,
        journal_max_bytes: 256 << 10,
        knobs,
    }
}

mod audit;
