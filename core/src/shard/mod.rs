//! The shard: one thread's worth of broker. It routes and decides nothing.
//!
//! `boot` asks the disk what is there; `handle` changes one machine; `settle` ends the turn: due
//! deadlines, checkpoints, and the one journal block that makes the turn's promises durable.

mod ahead;
mod asked;
mod boot;
mod carrying;
mod checkpoints;
mod connections;
mod dropping;
mod epochs;
mod fetching;
mod flushing;
mod gateway;
mod host;
mod intake;
mod interests;
mod journaling;
mod ledger;
mod lookups;
mod message;
mod parked;
mod parts;
mod produce;
mod reads;
mod resharding;
mod rest;
mod retention;
mod runnable;
mod stopping;
mod unlinking;

pub use message::{Answer, Ask, NeighbourMessage, Part, PartAsk};
pub use resharding::shards_to_run;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::contract::{Config, Effects, Input};
use crate::disk::{DiskOp, DiskRequest, DiskResult};
use crate::ids::{ConnId, OpId, PartitionId, ShardId, Uuid, WorkId};
use crate::log::journal::Ring;
use crate::metadata::Image;
use crate::partition::Replica;
use crate::pools::Pools;
use crate::time::{Instant, Now};

use ahead::AheadAsks;
use connections::Conn;
use gateway::Call;
use host::AskRow;
use intake::Intake;
use interests::Interests;
use journaling::{Journal, Mark};
use ledger::Ledger;
use lookups::{Looking, Lookups};
use parked::Parked;
use reads::ReadRow;
use resharding::{Arrivals, Leaving, Settling};
use runnable::Runnable;
use stopping::Stopping;
use unlinking::Unlinking;

/// Calls that one input, or the end of a turn, begins at most; the rest begin in the next turn.
const CALLS_AT_ONCE: usize = 1_024;
/// How often retention and producer expiry are looked at.
const RETENTION_EVERY_MS: u64 = 5_000;

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Looking for the journal file.
    Listing,
    /// Reading it.
    Reading,
    /// Making a new one: so many operations are left.
    Formatting { left: usize },
    /// Syncing what was recovered, before anything is promised on it.
    Opening { fresh: bool },
    /// The journal takes frames. Clients are served once metadata is there.
    Ready,
    /// Over.
    Halted,
}

/// What a disk operation was for.
#[derive(Clone, Debug)]
enum Purpose {
    ListJournal,
    ReadJournal,
    Format,
    Open,
    Block,
    Grow(u64),
    Job(PartitionId, u64),
    /// A folder that may hold files nobody lists.
    Strays(PartitionId, u64),
    /// A journal that was never whole.
    Draft,
    SyncJobs(Vec<(PartitionId, u64)>),
    Read(ReadRow),
    Found {
        named: bool,
    },
    Leave,
    /// The folder of a partition that is gone.
    Remove(PartitionId),
    SyncRemoved(Vec<PartitionId>),
    /// Files of dropped segments.
    Unlink(PartitionId),
}

/// One shard of a broker: a pure function of (config, seed, inputs).
#[derive(Clone, Debug)]
pub struct Shard {
    config: Config,
    stage: Stage,
    rng: ChaCha8Rng,
    next_op: u64,
    ops: BTreeMap<OpId, Purpose>,
    next_work: u64,
    work: BTreeMap<WorkId, Looking>,
    /// Lookups by time that have not begun, and how many have.
    lookups: Lookups,
    looking: usize,
    /// Compressed batches that are being looked into.
    intake: Intake,
    journal: Journal,
    replicas: BTreeMap<PartitionId, Replica>,
    owed: BTreeSet<PartitionId>,
    /// Committed metadata in force here; `None` until shard 0 has told.
    image: Option<Image>,
    ledger: Option<Ledger>,
    /// What clients make this shard hold.
    pools: Pools,
    /// Fetches that wait for records.
    parked: Parked,
    conns: BTreeMap<ConnId, Conn>,
    runnable: Runnable,
    /// When each connection is looked at, to see whether it is stalled or idle.
    conn_deadlines: BTreeSet<(Instant, ConnId)>,
    /// A pool is nearly used up, and the longest stalled that hold some of it give it back then.
    pressed_until: Option<Instant>,
    /// When the next turn is due, and no earlier than the last one.
    awaited: Option<Instant>,
    /// No connection is given up before.
    sparing_until: Instant,
    /// The last turn.
    turned_at: Instant,
    /// After one that came long after the one before it: no connection is given up before.
    looks_again_at: Instant,
    /// Some connection was not, for that reason.
    spared: bool,
    calls: BTreeMap<u64, Call>,
    call_deadlines: BTreeSet<(Instant, u64)>,
    next_token: u64,
    /// What this shard says to itself.
    mailbox: VecDeque<NeighbourMessage>,
    ahead: AheadAsks,
    asks: BTreeMap<u64, AskRow>,
    next_ask: u64,
    waits: BTreeMap<PartitionId, VecDeque<host::Wait>>,
    /// What waits for room in the journal, in order.
    stalled: VecDeque<host::Stalled>,
    /// The same for what takes little and may use the reserve: it does not wait behind batches.
    stalled_admin: VecDeque<host::Stalled>,
    interests: Interests,
    producer_ids: (i64, i64),
    retention_at: Instant,
    settling: Option<Settling>,
    arrivals: Arrivals,
    leaving: Option<Leaving>,
    stopping: Stopping,
    unlinking: Unlinking,
}

impl Shard {
    /// Start a shard. It asks the disk for what is there; recovery is a stage of its own.
    /// `seed` is fresh for every incarnation.
    pub fn boot(config: Config, seed: [u8; 32], now: Now, out: &mut Effects) -> Shard {
        let path = format!("journal/shard-{}.ring", config.shard.0).into();
        let ledger =
            (config.shard == ShardId(0)).then(|| Ledger::new(config.shards, config.running));
        let pools = Pools::new(&config.limits);
        let mut shard = Shard {
            config,
            stage: Stage::Listing,
            rng: ChaCha8Rng::from_seed(seed),
            next_op: 0,
            ops: BTreeMap::new(),
            next_work: 0,
            work: BTreeMap::new(),
            lookups: Lookups::default(),
            looking: 0,
            intake: Intake::default(),
            journal: Journal::new(path, Ring::fresh(0, 0)),
            replicas: BTreeMap::new(),
            owed: BTreeSet::new(),
            image: None,
            ledger,
            pools,
            conns: BTreeMap::new(),
            parked: Parked::default(),
            runnable: Runnable::default(),
            conn_deadlines: BTreeSet::new(),
            pressed_until: None,
            awaited: None,
            sparing_until: Instant(0),
            turned_at: Instant(0),
            looks_again_at: Instant(0),
            spared: false,
            calls: BTreeMap::new(),
            call_deadlines: BTreeSet::new(),
            next_token: 0,
            mailbox: VecDeque::new(),
            ahead: AheadAsks::new(),
            asks: BTreeMap::new(),
            next_ask: 0,
            waits: BTreeMap::new(),
            stalled: VecDeque::new(),
            stalled_admin: VecDeque::new(),
            interests: Interests::default(),
            producer_ids: (0, 0),
            retention_at: now.mono.plus_millis(RETENTION_EVERY_MS),
            settling: None,
            arrivals: Arrivals::new(),
            leaving: None,
            stopping: Stopping::default(),
            unlinking: Unlinking::default(),
        };
        shard.disk(
            DiskRequest::List {
                dir: "journal".into(),
            },
            Purpose::ListJournal,
            out,
        );
        shard
    }

    /// Take one input: change one machine and mark it dirty.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Effects) {
        if self.stage == Stage::Halted {
            return;
        }
        match input {
            Input::Connect { conn } => self.connect(now, conn),
            Input::Receiving { conn, bytes, whole } => self.receiving(now, conn, bytes, whole),
            Input::Client {
                conn,
                call,
                request,
                held,
            } => self.client(now, conn, call, request, held),
            Input::Sent { conn, bytes } => self.sent(now, conn, bytes),
            Input::Leaving { conn } => self.leaving(now, conn, out),
            Input::Hangup { conn } => self.hangup(conn, out),
            Input::Neighbour { from, message } => self.neighbour(now, from, message, out),
            Input::Disk { op, result } => self.disk_done(now, op, result, out),
            Input::Work { id, result } => self.work_done(now, id, result, out),
            Input::Shutdown => self.stopping.asked = true,
        }
        self.run_pending(now, out);
    }

    /// Do what has become possible: hear what this shard said to itself, look things up, begin calls.
    /// Each in a loop, never one inside the other: what clients send is as long as they like.
    fn run_pending(&mut self, now: Now, out: &mut Effects) {
        let mut calls = 0;
        loop {
            if let Some(message) = self.mailbox.pop_front() {
                self.neighbour(now, self.config.shard, message, out);
            } else if self.start_lookup(out) {
            } else if calls < CALLS_AT_ONCE && self.run_next_conn(now, out) {
                calls += 1;
            } else {
                return;
            }
        }
    }

    /// End a turn: due deadlines, then the dirty machines: appends, sync, releases.
    pub fn settle(&mut self, now: Now, out: &mut Effects) {
        if self.stage == Stage::Halted {
            return;
        }
        self.note_lateness(now);
        self.allow_large();
        self.take_turn(now, out);
        // What is left for the next turn is due now, however early its deadline says.
        self.awaited = self.next_deadline().map(|due| due.max(now.mono));
    }

    fn take_turn(&mut self, now: Now, out: &mut Effects) {
        self.due_calls(now, out);
        self.due_conns(now, out);
        self.run_pending(now, out);
        if self.stage == Stage::Ready && now.mono >= self.retention_at {
            self.retention_at = now.mono.plus_millis(RETENTION_EVERY_MS);
            // Until metadata is there, no topic's retention is known.
            if self.image.is_some() {
                self.retain(now, out);
            }
        }
        for until in [
            &mut self.journal.no_growth_until,
            &mut self.journal.no_jobs_until,
        ] {
            // A pause that is over is no deadline any more.
            if *until <= now.mono {
                *until = Instant(0);
            }
        }
        if self.leaving.is_some() {
            return self.leave(now, out);
        }
        self.resume_stalled(now, out);
        self.move_on(now, out);
        self.remove_folders(now, out);
        self.unlink_gone(now, out);
        self.run_pending(now, out);
        self.checkpoint(now, out);
        self.write_block(now, out);
        if self.stopping.asked {
            self.tell_drained(now, out);
            self.run_pending(now, out);
            self.shut_down(out);
        }
        self.run_pending(now, out);
    }

    /// When to call `settle` next even without input.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.stage == Stage::Halted || self.leaving.is_some() {
            return None;
        }
        if self.has_runnable() {
            return Some(Instant(0));
        }
        let call = self.call_deadlines.first().map(|(at, _)| *at);
        let conn = self.conn_deadlines.first().map(|(at, _)| *at);
        let [conn, pressed] = [conn, self.pressed_until].map(|at| at.map(|at| self.turn_for(at)));
        let retention =
            (self.stage == Stage::Ready && !self.replicas.is_empty()).then_some(self.retention_at);
        let journal = &self.journal;
        let owed = journal.attested < journal.ring.durable_seq && journal.staged.is_empty();
        let attest = journal
            .attest_at
            .filter(|_| owed && journal.in_flight.is_none());
        let pause = |until: Instant| Some(until).filter(|until| until.0 > 0);
        let (growth, jobs) = (pause(journal.no_growth_until), pause(journal.no_jobs_until));
        let flush = self.flush_deadline();
        let removes = self.stage == Stage::Ready && !self.stopping.asked;
        let folders = journal.dropping.deadline().filter(|_| removes);
        let removes = removes && self.image.is_some();
        let files = self.unlinking.deadline().filter(|_| removes);
        let drains = self.stopping.asked && !self.stopping.drained;
        let sockets = drains.then(|| self.sockets_waited_for().min()).flatten();
        let clients = [call, conn, pressed, sockets];
        let storage = [retention, attest, flush, growth, jobs, folders, files];
        clients.into_iter().chain(storage).flatten().min()
    }

    /// Assert the invariants; after `settle`, each turn in the simulator, sampled in the node.
    pub fn check(&self) {
        if self.stage != Stage::Ready {
            return;
        }
        self.check_pools();
        for replica in self.replicas.values() {
            replica.check();
        }
        for (id, waits) in &self.waits {
            assert!(
                waits.is_empty() || self.replicas.contains_key(id),
                "{id:?}: waits without a log"
            );
        }
        let jobs = self
            .replicas
            .values()
            .filter(|replica| replica.job.is_some())
            .count();
        assert_eq!(jobs, self.journal.jobs, "write-behind jobs are miscounted");
        let read_for =
            |purpose: &&Purpose| matches!(purpose, Purpose::Read(row) if row.is_lookup());
        let looking = self.work.len() + self.ops.values().filter(read_for).count();
        assert_eq!(looking, self.looking, "lookups are miscounted");
        self.intake.check();
    }

    /// True once clients are served.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready && self.image.is_some()
    }

    /// How far this shard is, for reports.
    pub fn stage_name(&self) -> String {
        format!(
            "{:?}, {} of {} pages free",
            self.stage,
            self.journal.ring.free_pages(),
            self.journal.ring.capacity
        )
    }

    /// The replicas hosted here: for checkers.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    /// Committed metadata in force here, once shard 0 has told: for checkers.
    pub fn image(&self) -> Option<&Image> {
        self.image.as_ref()
    }

    fn disk(&mut self, request: DiskRequest, purpose: Purpose, out: &mut Effects) {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.ops.insert(op, purpose);
        out.disk.push(DiskOp { op, request });
    }

    fn disk_done(&mut self, now: Now, op: OpId, result: DiskResult, out: &mut Effects) {
        match self.ops.remove(&op) {
            None => {}
            Some(Purpose::ListJournal) => self.journal_listed(result, out),
            Some(Purpose::ReadJournal) => self.journal_read(now, result, out),
            Some(Purpose::Format) => self.formatted(result, out),
            Some(Purpose::Open) => self.journal_open(result, out),
            Some(Purpose::Block) => self.block_done(now, result, out),
            Some(Purpose::Grow(capacity)) => self.grown(now, capacity, result, out),
            Some(Purpose::Job(id, number)) => self.job_step(now, (id, number), result, out),
            Some(Purpose::Strays(id, number)) => self.look_step(now, (id, number), result, out),
            // If it cannot be removed, the next start tries again.
            Some(Purpose::Draft) => {}
            Some(Purpose::SyncJobs(jobs)) => {
                for job in jobs {
                    self.job_step(now, job, result.clone(), out);
                }
            }
            Some(Purpose::Found { named }) => self.founded(named, result, out),
            Some(Purpose::Leave) => self.left(result, out),
            Some(Purpose::Remove(id)) => self.removal_step(now, id, result, out),
            Some(Purpose::SyncRemoved(ids)) => self.removed_synced(now, ids, result, out),
            Some(Purpose::Unlink(id)) => self.unlink_step(now, id, result, out),
            Some(Purpose::Read(row)) => self.read_done(row, result, out),
        }
    }

    /// Speak to a shard of this broker. What it says to itself is heard in order, and not from within
    /// what it is doing.
    fn tell(&mut self, to: ShardId, message: NeighbourMessage, out: &mut Effects) {
        if to == self.config.shard {
            self.mailbox.push_back(message);
        } else {
            out.neighbours.push((to, message));
        }
    }

    fn neighbour(&mut self, now: Now, from: ShardId, message: NeighbourMessage, out: &mut Effects) {
        match message {
            NeighbourMessage::Ask {
                token,
                metadata,
                ask,
            } => self.asked(now, (from, token), metadata, ask, out),
            NeighbourMessage::Answer { token, answer } => self.answered(now, token, answer, out),
            NeighbourMessage::Wake { token } => self.woken(now, token, out),
            NeighbourMessage::Cancel { token } => self.cancelled(from, token, out),
            NeighbourMessage::Found => self.journal.stage([], Mark::Founded),
            NeighbourMessage::Opened { fresh, holds } => self.shard_opened(from, fresh, holds, out),
            NeighbourMessage::Published {
                first,
                offset,
                records,
            } => self.published(now, first, offset, &records, out),
            NeighbourMessage::Settle => self.begin_settling(),
            NeighbourMessage::Settled => self.shard_settled(from, out),
            NeighbourMessage::Move {
                partition,
                manifest,
            } => self.arrives(from, partition, manifest, out),
            NeighbourMessage::MoveRemoval { partition, dir } => {
                self.removal_arrives(from, partition, dir, out);
            }
            NeighbourMessage::Moved { partition } => self.moved(partition),
            NeighbourMessage::Again => self.leaving = Some(Leaving::Asked),
            NeighbourMessage::Drained => self.heard_drained(from),
            NeighbourMessage::Applied { offset, removing } => {
                self.shard_applied(from, (offset, removing), out);
            }
        }
    }

    fn draw_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }
}

fn draw_uuid(rng: &mut ChaCha8Rng) -> Uuid {
    let mut id = [0; 16];
    rng.fill_bytes(&mut id);
    Uuid(id)
}
