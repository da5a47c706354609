//! What clients may make a shard hold, and that nobody who holds something stops the others: floods,
//! slow readers, a disk that does not answer. The bounds are small here, so that they are reached.

#[path = "../memory_broker/disk.rs"]
mod disk;
mod parked;
mod stalled;
#[path = "../memory_broker/turns.rs"]
mod turns;
mod unread;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use disk::Disk;
use seedlog_core::api::*;
use seedlog_core::batch::{build_batch, parse_head, BatchSpec};
use seedlog_core::contract::{CloseReason, Config, Effects, Halt, Input};
use seedlog_core::disk::{DiskOp, DiskRequest};
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{CallId, ConnId, ShardId, Uuid};
use seedlog_core::limits::Limits;
use seedlog_core::shard::{NeighbourMessage, Shard};
use seedlog_core::time::{Instant, Now};
use turns::{Host, Inputs};

const LIMITS: Limits = Limits {
    request_max_bytes: 1 << 20,
    produce_bytes: 64 << 10,
    request_bytes: 64 << 10,
    parked_bytes: 256 << 10,
    frame_bytes: 64 << 10,
    fetch_bytes: 256 << 10,
    reply_bytes: 64 << 10,
    small_answer_bytes: 1 << 10,
    pressed_pace_bytes: 100,
    fetch_max_bytes: 1 << 20,
    unsent_per_connection: 8 << 10,
    items_per_request: 1_000,
    timeout_min_ms: 1_000,
    ..Limits::DEFAULT
};

/// A broker of some shards whose sockets and journals can be held up.
struct World {
    shards: Vec<Shard>,
    disk: Disk,
    inputs: Inputs,
    /// Writes are kept back here: of files below this folder, if there is one.
    kept_back: Vec<(usize, DiskOp)>,
    stalled: Option<&'static str>,
    /// Nobody's socket takes anything.
    unread: bool,
    answers: Vec<(ConnId, CallId, Response)>,
    closes: Vec<(ConnId, CloseReason)>,
    now: Now,
    conns: BTreeSet<ConnId>,
    calls: u64,
    /// CPU jobs that were asked for.
    jobs: usize,
    /// Fetches that a shard told another to look at again.
    woken: usize,
}

impl Host for World {
    fn shards(&mut self) -> &mut Vec<Shard> {
        &mut self.shards
    }

    fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn now(&self) -> Now {
        self.now
    }

    /// Floods are long, and `check` goes through all that is held.
    fn checks_every_turn(&self) -> bool {
        false
    }

    fn carry_out(&mut self, shard: usize, out: Effects) {
        for op in out.disk {
            let held = |file: &str| self.stalled.is_some_and(|folder| file.starts_with(folder));
            let held = matches!(&op.request, DiskRequest::Write { file, .. } if held(file));
            match held {
                true => self.kept_back.push((shard, op)),
                false => self.disk_op(shard, op),
            }
        }
        self.jobs += out.work.len();
        self.inputs.extend(turns::worked(shard, out.work));
        let wake =
            |told: &&(ShardId, NeighbourMessage)| matches!(told.1, NeighbourMessage::Wake { .. });
        self.woken += out.neighbours.iter().filter(wake).count();
        self.inputs.extend(turns::told(shard, out.neighbours));
        for (conn, call, response) in out.replies {
            let bytes = response.held_bytes();
            if !self.unread {
                self.inputs.push_back((shard, Input::Sent { conn, bytes }));
            }
            self.answers.push((conn, call, response));
        }
        self.closes.extend(out.closes);
        assert!(matches!(out.halt, None | Some(Halt::Clean)));
    }
}

impl World {
    fn start(shards: u16) -> World {
        let mut world = World {
            shards: Vec::new(),
            disk: Disk::default(),
            inputs: VecDeque::new(),
            kept_back: Vec::new(),
            stalled: None,
            unread: false,
            answers: Vec::new(),
            closes: Vec::new(),
            now: Now {
                mono: Instant(1_000_000_000),
                wall_ms: 1_700_000_000_000,
            },
            conns: BTreeSet::new(),
            calls: 0,
            jobs: 0,
            woken: 0,
        };
        for shard in 0..shards {
            let config = Config {
                limits: LIMITS,
                ..turns::config(shard, shards)
            };
            let mut out = Effects::default();
            let booted = Shard::boot(config, [shard as u8; 32], world.now, &mut out);
            world.shards.push(booted);
            world.carry_out(usize::from(shard), out);
        }
        world.run();
        assert!(world.shards.iter().all(Shard::is_ready));
        world
    }

    fn disk_op(&mut self, shard: usize, op: DiskOp) {
        let result = self.disk.run(op.request);
        self.inputs
            .push_back((shard, Input::Disk { op: op.op, result }));
    }

    /// The disk answers again.
    fn unstall(&mut self) {
        self.stalled = None;
        for (shard, op) in std::mem::take(&mut self.kept_back) {
            self.disk_op(shard, op);
        }
        self.run();
    }

    fn run(&mut self) {
        turns::run(self);
    }

    /// Time passes, and every turn is taken when it is due.
    fn pass(&mut self, millis: u64) {
        let end = self.now.mono.plus_millis(millis);
        while let Some(due) = self.next_due().filter(|due| *due < end) {
            self.advance_to(due);
        }
        self.advance_to(end);
    }

    /// Time passes while the whole process is stopped.
    fn stop_for(&mut self, millis: u64) {
        let end = self.now.mono.plus_millis(millis);
        self.advance_to(end);
    }

    fn next_due(&self) -> Option<Instant> {
        let due = self.shards.iter().filter_map(Shard::next_deadline);
        due.min().filter(|due| *due > self.now.mono)
    }

    fn advance_to(&mut self, at: Instant) {
        self.now.wall_ms += (at.0 - self.now.mono.0) as i64 / 1_000_000;
        self.now.mono = at;
        self.run();
    }

    /// Send a request to the connection's shard, conn modulo shards, without waiting.
    fn send(&mut self, conn: u64, request: Request, held: u64) -> CallId {
        self.calls += 1;
        let (call, shard) = (CallId(self.calls), conn as usize % self.shards.len());
        let conn = ConnId(conn);
        if self.conns.insert(conn) {
            self.inputs.push_back((shard, Input::Connect { conn }));
        }
        let input = Input::Client {
            conn,
            call,
            request,
            held,
        };
        self.inputs.push_back((shard, input));
        call
    }

    fn answer(&mut self, call: CallId) -> Option<Response> {
        let index = self.answers.iter().position(|row| row.1 == call)?;
        Some(self.answers.remove(index).2)
    }

    /// Ask and wait; the disk must be working.
    fn ask(&mut self, conn: u64, request: Request) -> Response {
        let call = self.send(conn, request, 100);
        self.run();
        for _ in 0..100 {
            if let Some(response) = self.answer(call) {
                return response;
            }
            self.pass(10);
        }
        panic!("{call:?} was not answered");
    }

    fn topic(&mut self, name: &str, partitions: i32) {
        self.topic_of(name, partitions, &[]);
    }

    fn topic_of(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs
            .iter()
            .map(|(name, value)| (name.to_string(), Some(value.to_string())));
        let topic = NewTopic {
            name: name.into(),
            partitions,
            replication_factor: -1,
            configs: configs.collect(),
            ..NewTopic::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..CreateTopicsRequest::default()
        };
        let Response::CreateTopics(made) = self.ask(0, Request::CreateTopics(request)) else {
            panic!("an answer to something else");
        };
        assert_eq!(made.topics[0].error, ErrorCode::None);
    }

    /// A partition of a topic that this shard does not have.
    fn partition_elsewhere(&self, name: &str, shard: usize) -> i32 {
        let image = self.shards[0].image().expect("metadata");
        let topic = image.names[name];
        let others = self.shards.iter().enumerate().filter(|row| row.0 != shard);
        let mut replicas = others.flat_map(|(_, shard)| shard.replicas());
        let of_topic = replicas.find(|replica| replica.id.topic == topic);
        of_topic.expect("a partition").id.index as i32
    }

    fn held(&self) -> u64 {
        let pools = self.shards.iter().map(Shard::pools);
        pools
            .map(|pools| {
                pools.frames.held()
                    + pools.produces.held()
                    + pools.requests.held()
                    + pools.parked.held()
                    + pools.fetches.held()
                    + pools.replies.held()
                    + pools.large_replies.held()
            })
            .sum()
    }
}

fn named(name: &str) -> TopicRef {
    TopicRef {
        name: name.into(),
        id: Uuid::ZERO,
    }
}

fn batch(size: usize) -> Bytes {
    let spec = BatchSpec {
        timestamp: 1_700_000_000_000,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
    };
    build_batch(spec, &[(None, &vec![7; size][..])])
}

fn produce(topic: &str, index: i32, acks: i16, records: Bytes) -> Request {
    Request::Produce(ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 2_000,
        zstd_allowed: true,
        by_id: false,
        topics: vec![TopicProduce {
            topic: named(topic),
            partitions: vec![(index, Some(records))],
        }],
    })
}

/// From offset 0 of these partitions.
fn fetch(topic: &str, partitions: &[i32], max_bytes: i32, max_wait_ms: i32) -> FetchRequest {
    let partition = |index: &i32| PartitionFetch {
        index: *index,
        current_leader_epoch: -1,
        fetch_offset: 0,
        last_fetched_epoch: -1,
        max_bytes: 1 << 20,
    };
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes,
        session_id: 0,
        session_epoch: -1,
        by_id: false,
        from_replica: false,
        isolation: 0,
        topics: vec![TopicFetch {
            topic: named(topic),
            partitions: partitions.iter().map(partition).collect(),
        }],
    }
}

fn fetched(response: Response) -> Vec<PartitionFetched> {
    let Response::Fetch(response) = response else {
        panic!("an answer to something else");
    };
    let topics = response.topics.into_iter();
    topics.flat_map(|(_, parts)| parts).collect()
}

/// The indexes that have records, and the bytes of all.
fn with_data(parts: &[PartitionFetched]) -> (Vec<i32>, usize) {
    let parts = parts.iter().filter(|part| !part.records.is_empty());
    let size = |part: &PartitionFetched| -> usize {
        let bytes = Bytes::from(part.records.concat());
        assert!(parse_head(&bytes).is_ok(), "whole batches");
        bytes.len()
    };
    parts.fold((Vec::new(), 0), |(mut indexes, sum), part| {
        indexes.push(part.index);
        (indexes, sum + size(part))
    })
}

fn find_coordinator() -> Request {
    Request::FindCoordinator(FindCoordinatorRequest {
        key_type: 0,
        keys: vec!["group".into()],
    })
}

fn metadata() -> Request {
    Request::Metadata(MetadataRequest::default())
}

#[test]
fn calls_behind_a_parked_fetch_are_answered_in_order_without_recursion() {
    let mut world = World::start(2);
    world.topic("a", 2);
    let before = world.held();
    let waits = Request::Fetch(fetch("a", &[0, 1], 1_000, 300));
    let mut calls = vec![world.send(0, waits, 100)];
    for _ in 0..10_000 {
        calls.push(world.send(0, find_coordinator(), 1));
        calls.push(world.send(0, metadata(), 1));
    }
    world.run();
    assert_eq!(world.answers.len(), 0);
    world.pass(300);
    world.run();
    let order: Vec<CallId> = world.answers.iter().map(|row| row.1).collect();
    assert_eq!(order, calls);
    assert_eq!(world.held(), before);
}

#[test]
fn a_hangup_frees_what_waits_behind_a_fetch_that_would_wait_for_ever() {
    let mut world = World::start(1);
    world.topic("a", 2);
    let before = world.held();
    world.send(0, Request::Fetch(fetch("a", &[0], 1_000, i32::MAX)), 100);
    for _ in 0..1_000 {
        world.send(0, find_coordinator(), 1);
    }
    world.run();
    assert_eq!(world.answers.len(), 0);
    let call = world.send(1, produce("a", 1, -1, batch(100)), 200);
    world.run();
    assert!(world.answer(call).is_some(), "others go on");
    world
        .inputs
        .push_back((0, Input::Hangup { conn: ConnId(0) }));
    world.run();
    assert_eq!(world.held(), before);
    assert_eq!(world.answers.len(), 0);
}

#[test]
fn a_client_that_has_left_keeps_no_fetch_parked_and_loses_no_records() {
    let mut world = World::start(1);
    world.topic("a", 1);
    world.send(0, Request::Fetch(fetch("a", &[0], 1_000, i32::MAX)), 100);
    let sent = world.send(0, produce("a", 0, 0, batch(10)), 100);
    world.run();
    assert_eq!(world.answers.len(), 0);
    world
        .inputs
        .push_back((0, Input::Leaving { conn: ConnId(0) }));
    world.run();
    assert_eq!(world.answer(sent), Some(Response::Nothing));
    // What was heard before a hangup is done, if it brings records: also what waits behind a fetch.
    world.topic("b", 1);
    world.send(2, Request::Fetch(fetch("b", &[0], 1_000, i32::MAX)), 100);
    world.send(2, produce("a", 0, 0, batch(10)), 100);
    world.run();
    world
        .inputs
        .push_back((0, Input::Hangup { conn: ConnId(2) }));
    world.run();
    let parts = fetched(world.ask(1, Request::Fetch(fetch("a", &[0], 1 << 20, 0))));
    assert_eq!(parts[0].high_watermark, 2);
}

#[test]
fn fetches_and_metadata_go_on_while_produces_wait_for_the_disk() {
    let mut world = World::start(2);
    world.topic("a", 2);
    world.ask(0, produce("a", 0, -1, batch(100)));
    world.stalled = Some("journal/");
    let mut calls = Vec::new();
    while world.shards[0].appetite().produce_bytes > 0 {
        calls.push(world.send(0, produce("a", 0, 0, batch(1_000)), 1_100));
        world.run();
    }
    assert!(calls.len() >= 59, "{} batches", calls.len());
    assert!(world.answers.is_empty(), "acks=0 is charged until it is in");
    assert!(world.shards[0].appetite().request_bytes > 0);
    for conn in [2, 3, 4, 5] {
        let parts = fetched(world.ask(conn, Request::Fetch(fetch("a", &[0], 1 << 20, 0))));
        assert_eq!(with_data(&parts).0, [0]);
        world.ask(conn, metadata());
    }
    world.unstall();
    let answered: Vec<CallId> = world.answers.drain(..).map(|row| row.1).collect();
    assert_eq!(answered, calls);
    assert_eq!(world.held(), 0);
}

#[test]
fn a_produce_is_given_up_after_its_timeout_and_its_bytes_once_it_is_done() {
    let mut world = World::start(1);
    world.topic("a", 1);
    world.stalled = Some("journal/");
    let call = world.send(0, produce("a", 0, -1, batch(1_000)), 1_100);
    world.run();
    world.pass(1_999);
    assert_eq!(world.answer(call), None);
    world.pass(1);
    let Some(Response::Produce(response)) = world.answer(call) else {
        panic!("no answer in time");
    };
    assert_eq!(response.topics[0].1[0].error, ErrorCode::RequestTimedOut);
    assert_eq!(world.shards[0].pools().produces.held(), 1_100);
    world.unstall();
    assert_eq!(world.held(), 0);
    assert!(world.answers.is_empty(), "a call is answered once");
    let parts = fetched(world.ask(1, Request::Fetch(fetch("a", &[0], 1 << 20, 0))));
    assert_eq!(parts[0].high_watermark, 1, "it came about all the same");
}

#[test]
fn acks_0_that_fails_closes_its_connection_and_answers_nothing() {
    let mut world = World::start(2);
    world.topic("a", 1);
    let call = world.send(0, produce("a", 0, 0, batch(10)), 100);
    world.run();
    assert_eq!(world.answer(call), Some(Response::Nothing));
    assert_eq!(world.closes, []);
    let mut bad = batch(10).to_vec();
    *bad.last_mut().expect("bytes") ^= 1;
    for (conn, request) in [
        (2, produce("nowhere", 0, 0, batch(10))),
        (4, produce("a", 9, 0, batch(10))),
        (6, produce("a", 0, 0, bad.into())),
    ] {
        world.send(conn, request, 100);
        // Nothing of the connection is done any more.
        let later = world.send(conn, metadata(), 100);
        world.run();
        let reason = CloseReason::UnansweredFailure;
        assert_eq!(world.closes.pop(), Some((ConnId(conn), reason)));
        assert_eq!(world.answer(later), None);
    }
    assert_eq!(world.held(), 0);
}

/// Field case 5: Apache Kafka 4.3 gives 1, 2 and 6 partitions, then 1, then partition 1.
#[test]
fn a_fetch_keeps_to_max_bytes_over_all_shards_in_the_order_of_the_request() {
    for shards in [1, 2, 3, 6] {
        let mut world = World::start(shards);
        world.topic("a", 6);
        for index in 0..6 {
            world.ask(0, produce("a", index, -1, batch(10_000)));
        }
        let one = batch(10_000).len();
        let all = [0, 1, 2, 3, 4, 5];
        for (order, max_bytes, given) in [
            (&all[..], 1, 1),
            (&all[..], 25_000, 2),
            (&all[..], 100_000, 6),
            (&[1, 0][..], 1, 1),
            (&[5, 3, 4, 0][..], 3 * one as i32, 3),
        ] {
            let request = Request::Fetch(fetch("a", order, max_bytes, 500));
            let parts = fetched(world.ask(0, request));
            assert_eq!(parts.len(), order.len());
            let (indexes, size) = with_data(&parts);
            assert_eq!(indexes, &order[..given], "{shards} shards, {max_bytes}");
            assert_eq!(size, given * one);
        }
        let mut request = fetch("a", &all, 1 << 20, 500);
        for part in &mut request.topics[0].partitions {
            part.max_bytes = 1;
        }
        let parts = fetched(world.ask(0, Request::Fetch(request)));
        assert_eq!(with_data(&parts), (vec![0], one), "{shards} shards");
    }
}

#[test]
fn many_fetches_that_nobody_reads_share_what_there_is_and_then_let_go() {
    let mut world = World::start(2);
    world.topic("a", 2);
    for _ in 0..8 {
        for index in [0, 1] {
            world.ask(0, produce("a", index, -1, batch(20_000)));
        }
    }
    world.unread = true;
    let most = LIMITS.fetch_bytes + 21_000;
    for conn in 0..200 {
        for _ in 0..3 {
            let request = fetch("a", &[0, 1], i32::MAX, 500);
            world.send(conn, Request::Fetch(request), 100);
        }
        world.run();
        for shard in &world.shards {
            let held = shard.pools().fetches.held();
            assert!(held <= most, "{held} bytes of fetched records");
        }
    }
    world.unread = false;
    let late = world.send(1_000, Request::Fetch(fetch("a", &[0], i32::MAX, 0)), 100);
    world.run();
    assert_eq!(world.answer(late), None, "there is no room");
    world.pass(LIMITS.pressed_stall_ms);
    assert!(
        world.answer(late).is_some(),
        "those that do not read gave way"
    );
    let stalled = |row: &(ConnId, CloseReason)| row.1 == CloseReason::StalledReader;
    assert!(!world.closes.is_empty() && world.closes.iter().all(stalled));
    // The rest is given up in its own time.
    for _ in 0..200 {
        world.pass(LIMITS.pressed_stall_ms);
    }
    world.pass(LIMITS.stalled_reader_ms);
    assert_eq!(world.held(), 0);
}

#[test]
fn a_clean_stop_answers_a_call_that_waits_for_room() {
    let mut world = World::start(1);
    world.topic("a", 1);
    (0..16).for_each(|_| drop(world.ask(0, produce("a", 0, -1, batch(20_000)))));
    world.unread = true;
    let ask = || Request::Fetch(fetch("a", &[0], i32::MAX, 0));
    for conn in 0..40 {
        world.send(conn, ask(), 100);
        world.run();
    }
    world.unread = false;
    let late = world.send(1_000, ask(), 100);
    world.run();
    assert_eq!(world.answer(late), None);
    world.inputs.push_back((0, Input::Shutdown));
    world.run();
    (0..100).for_each(|_| world.pass(LIMITS.pressed_stall_ms));
    assert!(world.answer(late).is_some(), "it was heard before the stop");
}

#[test]
fn what_two_shards_may_read_for_a_fetch_is_held_until_they_have() {
    let mut world = World::start(2);
    world.topic_of("small", 4, &[("max.message.bytes", "1000")]);
    world.topic("usual", 4);
    for (topic, most) in [("small", 20_000), ("usual", 2 * 1_048_588)] {
        let request = fetch(topic, &[0, 1, 2, 3], 10_000, 0);
        let call = world.send(0, Request::Fetch(request), 100);
        let mut out = Effects::default();
        for (shard, input) in std::mem::take(&mut world.inputs) {
            world.shards[shard].handle(world.now, input, &mut out);
        }
        world.shards[0].settle(world.now, &mut out);
        assert_eq!(world.shards[0].pools().fetches.held(), most, "{topic}");
        world.carry_out(0, out);
        world.run();
        assert!(world.answer(call).is_some());
        assert_eq!(world.held(), 0);
    }
}

#[test]
fn the_next_call_waits_until_the_socket_took_the_answers_before() {
    let mut world = World::start(1);
    world.topic("a", 100);
    world.unread = true;
    for _ in 0..50 {
        world.send(0, metadata(), 100);
    }
    world.run();
    let first = world.answers.len();
    assert!((1..5).contains(&first), "{first} answers at once");
    let bytes = world.answers[0].2.held_bytes();
    world.inputs.push_back((
        0,
        Input::Sent {
            conn: ConnId(0),
            bytes,
        },
    ));
    world.run();
    assert_eq!(world.answers.len(), first + 1);
}

#[test]
fn a_folder_goes_only_after_what_may_yet_write_into_it() {
    let mut world = World::start(1);
    world.topic_of("a", 1, &[("segment.ms", "2000")]);
    world.ask(0, produce("a", 0, -1, batch(100)));
    world.stalled = Some("topics/");
    world.pass(6_000);
    assert!(!world.kept_back.is_empty(), "a write-behind is under way");
    let delete = DeleteTopicsRequest {
        topics: vec![named("a")],
        misnamed: Vec::new(),
        timeout_ms: 1_000,
    };
    world.ask(0, Request::DeleteTopics(delete));
    let of_topics = |world: &World| {
        let files = world.disk.files.keys();
        files.filter(|file| file.starts_with("topics/")).count()
    };
    for _ in 0..3 {
        world.pass(6_000);
    }
    world.unstall();
    assert!(of_topics(&world) > 0, "the disk wrote after all");
    world.pass(6_000);
    assert_eq!(of_topics(&world), 0);
}
