//! A broker on a disk in memory, stepped until nothing is left to do: for stories.

mod disk;
mod turns;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use seedlog_core::api::*;
use seedlog_core::batch::{build_batch, parse_head, BatchSpec};
use seedlog_core::contract::{Config, Effects, Halt, Input, Note};
use seedlog_core::ids::{CallId, ConnId, Uuid};
use seedlog_core::log::rows::{Owner, Row};
use seedlog_core::partition::Replica;
use seedlog_core::shard::{shards_to_run, Shard};
use seedlog_core::time::{Instant, Now};

use disk::Disk;
use turns::{Host, Inputs};

/// The broker, its disk, and the client's counters.
pub struct Broker {
    disk: Disk,
    shards: Vec<Shard>,
    inputs: Inputs,
    replies: BTreeMap<u64, Response>,
    now: Now,
    calls: u64,
    starts: u8,
    failed: Option<String>,
    /// What an operator would be told of a start, once per shard.
    told: Vec<String>,
    /// Files as they were when they were put aside.
    kept: BTreeMap<String, (String, Vec<u8>)>,
    /// Shards wanted, and how many want to be booted again.
    wanted: u16,
    again: usize,
    /// Outcomes of CPU jobs that are kept back, if they are.
    kept_back: Option<Vec<(usize, Input)>>,
}

impl Host for Broker {
    fn shards(&mut self) -> &mut Vec<Shard> {
        &mut self.shards
    }

    fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn now(&self) -> Now {
        self.now
    }

    fn carry_out(&mut self, shard: usize, out: Effects) {
        for op in out.disk {
            let result = self.disk.run(op.request);
            self.inputs
                .push_back((shard, Input::Disk { op: op.op, result }));
        }
        let worked = turns::worked(shard, out.work);
        match &mut self.kept_back {
            Some(kept) => kept.extend(worked),
            None => self.inputs.extend(worked),
        }
        self.inputs.extend(turns::told(shard, out.neighbours));
        for (conn, call, response) in out.replies {
            let bytes = response.held_bytes();
            self.inputs.push_back((shard, Input::Sent { conn, bytes }));
            self.replies.insert(call.0, response);
        }
        let moving = out.notes.contains(&Note::Resharding);
        self.told
            .extend(moving.then(|| format!("partitions move to {} shards", self.wanted)));
        for note in &out.notes {
            let (dir, what) = match note {
                Note::SetAside { dir, aside } => {
                    let dir = dir.split('.').next().unwrap_or(dir);
                    let (now, files, bytes) = (aside.now.join(" "), aside.files, aside.bytes);
                    let what = format!("{dir}: {files} files aside, {bytes} bytes, now {now}");
                    self.told.push(what);
                    continue;
                }
                Note::CannotRemove { dir } => (dir, "cannot be removed"),
                Note::Quarantined { dir } => (dir, "is quarantined"),
                _ => continue,
            };
            let dir = dir.split('.').next().unwrap_or(dir);
            self.told.push(format!("{dir}: {what}"));
        }
        let lossy = out.notes.contains(&Note::LossyRestart);
        self.told
            .extend(lossy.then(|| format!("shard {shard}: lossy restart")));
        match out.halt {
            Some(Halt::Fatal(reason)) => self.failed = Some(reason),
            Some(Halt::Again) => self.again += 1,
            Some(Halt::Clean) | None => {}
        }
    }
}

impl Broker {
    pub fn start(shards: u16) -> Broker {
        let now = Now {
            mono: Instant(1_000_000_000),
            wall_ms: 1_700_000_000_000,
        };
        let mut broker = Broker {
            disk: Disk::default(),
            shards: Vec::new(),
            inputs: VecDeque::new(),
            replies: BTreeMap::new(),
            now,
            calls: 0,
            starts: 0,
            failed: None,
            told: Vec::new(),
            kept: BTreeMap::new(),
            wanted: shards,
            again: 0,
            kept_back: None,
        };
        broker.boot(shards);
        broker
    }

    fn boot(&mut self, shards: u16) {
        self.shards.clear();
        self.inputs.clear();
        self.starts += 1;
        self.wanted = shards;
        self.again = 0;
        let mut lanes = Vec::new();
        let files = self.disk.files.keys();
        let journals = files.filter_map(|path| path.strip_prefix("journal/"));
        let running = shards_to_run(shards, journals);
        for shard in 0..running {
            let config = Config {
                shards,
                journal_initial_bytes: 128 << 10,
                journal_max_bytes: 256 << 10,
                ..turns::config(shard, running)
            };
            let mut out = Effects::default();
            self.shards.push(Shard::boot(
                config,
                [self.starts + shard as u8; 32],
                self.now,
                &mut out,
            ));
            lanes.push(out);
        }
        for (shard, out) in lanes.into_iter().enumerate() {
            self.carry_out(shard, out);
        }
        self.inputs
            .push_back((0, Input::Connect { conn: ConnId(1) }));
        turns::run(self);
        if self.again == self.shards.len() {
            return self.boot(shards);
        }
        if self.failed.is_none() {
            assert!(
                self.shards.iter().all(Shard::is_ready),
                "every shard serves"
            );
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now.mono = self.now.mono.plus_millis(millis);
        self.now.wall_ms += millis as i64;
        turns::run(self);
    }

    fn call(&mut self, request: Request) -> Response {
        self.calls += 1;
        let (conn, call) = (ConnId(1), CallId(self.calls));
        self.inputs.push_back((
            0,
            Input::Client {
                conn,
                call,
                request,
                held: 1_000,
            },
        ));
        turns::run(self);
        for _ in 0..100 {
            if let Some(response) = self.replies.remove(&self.calls) {
                return response;
            }
            self.pass(10);
        }
        panic!("call {call:?} was never answered");
    }

    /// Produce these bytes as they are.
    #[allow(dead_code, reason = "stories speak in verbs")]
    pub fn send(&mut self, at: &str, records: Bytes, zstd_allowed: bool) -> PartitionProduced {
        let request = produce_of(at, records, zstd_allowed);
        match self.call(request) {
            Response::Produce(response) => response.topics[0].1[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Produce these bytes to so many partitions of a topic at once.
    #[allow(dead_code, reason = "stories speak in verbs")]
    pub fn send_to_all(&mut self, topic: &str, partitions: i32, records: &Bytes) -> Response {
        let mut request = produce_of(&format!("{topic}/0"), records.clone(), true);
        if let Request::Produce(produce) = &mut request {
            let parts = (0..partitions).map(|index| (index, Some(records.clone())));
            produce.topics[0].partitions = parts.collect();
        }
        self.call(request)
    }

    /// Produce all of these on one connection while no CPU job comes to its end; then those end, the
    /// last one first. Offsets or errors in the order of the batches.
    #[allow(dead_code, reason = "stories speak in verbs")]
    pub fn send_with_late_jobs(&mut self, at: &str, batches: &[Bytes]) -> Vec<(i64, i16)> {
        self.kept_back = Some(Vec::new());
        let first = self.calls + 1;
        for records in batches {
            self.calls += 1;
            let (conn, call) = (ConnId(1), CallId(self.calls));
            let request = produce_of(at, records.clone(), true);
            let input = Input::Client {
                conn,
                call,
                request,
                held: 1_000,
            };
            self.inputs.push_back((0, input));
        }
        turns::run(self);
        while let Some(done) = self.kept_back.as_mut().and_then(Vec::pop) {
            self.inputs.push_back(done);
            turns::run(self);
        }
        self.kept_back = None;
        self.pass(100);
        let replies = (first..=self.calls).map(|call| self.replies.remove(&call));
        let told = replies.map(|reply| match reply {
            Some(Response::Produce(response)) => {
                let part = &response.topics[0].1[0];
                (part.base_offset, part.error.code())
            }
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    /// The partitions of all shards.
    #[allow(dead_code, reason = "stories speak in verbs")]
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.shards.iter().flat_map(Shard::replicas)
    }

    /// The batches in the tail of the partition of this index, whole.
    #[allow(dead_code, reason = "stories speak in verbs")]
    pub fn batches(&mut self, at: &str) -> Vec<Bytes> {
        let (_, index) = place(at);
        let mut out = Vec::new();
        for replica in self
            .replicas()
            .filter(|replica| replica.id.index == index as u32)
        {
            out.extend(
                replica
                    .tail
                    .iter()
                    .map(|batch| Bytes::from(batch.pieces.concat())),
            );
        }
        out
    }

    /// Carry out one line of a story.
    pub fn verb(&mut self, line: &str) -> Vec<String> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let option = |name: &str| {
            rest.iter()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_string)
        };
        match verb {
            "topic" => self.create(rest[0], option("partitions"), &rest[1..]),
            "remove" => self.remove(rest[0]),
            "produce" => self.produce(&rest, option("pid"), option("seq"), option("times")),
            "fetch" => self.fetch(rest[0], option("from")),
            "offsets" => self.offsets(rest[0], option("at")),
            "trim" => self.trim(rest[0], option("to")),
            "pass" => {
                self.pass(rest[0].parse().expect("milliseconds"));
                Vec::new()
            }
            "shards" => {
                self.boot(rest[0].parse().expect("number"));
                let journals = self
                    .disk
                    .files
                    .keys()
                    .filter(|path| path.ends_with(".ring"));
                let journals: Vec<String> = journals.cloned().collect();
                let mut told = self.what_was_told();
                told.push(journals.join(" "));
                told
            }
            "crash" => {
                self.boot(self.wanted);
                self.what_was_told()
            }
            "stop" => {
                let inputs = (0..self.shards.len()).map(|shard| (shard, Input::Shutdown));
                self.inputs.extend(inputs);
                turns::run(self);
                self.pass(100);
                self.boot(self.wanted);
                self.what_was_told()
            }
            "power-cut" => {
                self.disk.cut_power();
                self.boot(self.wanted);
                self.what_was_told()
            }
            "files" => match rest.first() {
                Some(folder) => self.files_in(folder),
                None => self.files(),
            },
            "folders" => {
                let folders = self
                    .disk
                    .dirs
                    .iter()
                    .filter_map(|dir| dir.strip_prefix("topics/"));
                folders
                    .map(|dir| dir.split('.').next().unwrap_or(dir).to_string())
                    .collect()
            }
            "told" => self.what_was_told(),
            "epoch" => self.epoch(rest[0], option("asked")),
            _ => self.disk_verb(verb, &rest, option("at"), option("as")),
        }
    }

    /// What a line of a story does to the disk.
    fn disk_verb(
        &mut self,
        verb: &str,
        rest: &[&str],
        at: Option<String>,
        label: Option<String>,
    ) -> Vec<String> {
        match verb {
            "rot" => self.rot(rest[0], at),
            "bad-sector" => {
                let at = at.expect("at=").parse().expect("number");
                self.disk.bad = Some((rest[0].to_string(), at));
                Vec::new()
            }
            "break" => {
                self.disk.broken = Some(rest[0].to_string());
                Vec::new()
            }
            "mend" => {
                self.disk.broken = None;
                Vec::new()
            }
            "keep" => {
                let label = label.expect("as=");
                let mut names = self.disk.files.keys();
                let name = names.find(|path| path.contains(rest[0])).cloned();
                let name = name.expect("a file of that name");
                let bytes = self.disk.files[&name].clone();
                self.kept.insert(label, (name, bytes));
                Vec::new()
            }
            "put-back" => {
                let (name, bytes) = self.kept[rest[0]].clone();
                self.disk.files.insert(name.clone(), bytes.clone());
                self.disk.durable.insert(name, bytes);
                Vec::new()
            }
            "stray" => {
                let path = self.stray(rest[0], rest[1]);
                self.disk.files.insert(path.clone(), b"begun".to_vec());
                self.disk.durable.insert(path, b"begun".to_vec());
                Vec::new()
            }
            "begun" => {
                let holes = rest[2..].contains(&"holes");
                self.begun(rest[0], rest[1].parse().expect("an offset"), holes);
                Vec::new()
            }
            "lose" => {
                self.disk.files.retain(|path, _| !path.contains(rest[0]));
                Vec::new()
            }
            "stick" => {
                self.disk.stuck = Some(rest[0].to_string());
                Vec::new()
            }
            "unstick" => {
                self.disk.stuck = None;
                Vec::new()
            }
            _ => panic!("unknown verb '{verb}'"),
        }
    }

    /// The path of a file in a partition's folder, or in that of the journals.
    fn stray(&self, folder: &str, name: &str) -> String {
        let mut replicas = self.replicas();
        let replica = replicas.find(|replica| replica.dir.contains(folder));
        let dir = replica.map_or(folder, |replica| replica.dir.as_str());
        format!("{dir}/{name}")
    }

    /// What a write-behind of a partition's tail from this offset on leaves if a crash cuts it short, and
    /// with holes where a power cut takes some of it as well.
    fn begun(&mut self, folder: &str, base: i64, holes: bool) {
        let mut replicas = self.replicas();
        let replica = replicas.find(|replica| replica.dir.contains(folder));
        let replica = replica.expect("a partition");
        let (mut log, mut rows) = (Vec::new(), BytesMut::new());
        for batch in replica.tail.iter().filter(|batch| batch.row.base >= base) {
            let position = log.len() as u64;
            let owner = Owner::of(replica.cluster, replica.id);
            let row = Row {
                position,
                ..batch.row
            };
            row.encode(owner, &mut rows);
            log.extend(batch.pieces.concat());
        }
        let mut files = [
            (replica.segment_path(base), log),
            (replica.rows_path(base), rows.to_vec()),
        ];
        drop(replicas);
        for (path, bytes) in &mut files {
            assert!(bytes.len() > 20, "the tail holds something");
            bytes.truncate(bytes.len() - 5);
            if holes {
                bytes[7..15].fill(0);
            }
            self.disk.files.insert(path.to_string(), bytes.clone());
            self.disk.durable.insert(path.to_string(), bytes.clone());
        }
    }

    fn rot(&mut self, name: &str, at: Option<String>) -> Vec<String> {
        let offset: usize = at.expect("at=").parse().expect("number");
        let mut files = self.disk.files.iter_mut();
        let file = files.find(|(path, _)| path.contains(name));
        file.expect("a file of that name").1[offset] ^= 0xff;
        Vec::new()
    }

    fn what_was_told(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.told);
        self.failed.iter().cloned().chain(told).collect()
    }

    fn files(&self) -> Vec<String> {
        let kept = self
            .disk
            .files
            .iter()
            .filter(|(path, _)| path.ends_with(".log"));
        kept.map(|(path, bytes)| {
            let name = path.rsplit('/').next().unwrap_or_default();
            format!("{name} {} bytes", bytes.len())
        })
        .collect()
    }

    /// Names of all files in a partition's folder, or in that of the journals.
    fn files_in(&self, folder: &str) -> Vec<String> {
        let within = self.stray(folder, "");
        let paths = self.disk.files.keys();
        let names = paths.filter_map(|path| path.strip_prefix(&within));
        names.map(str::to_string).collect()
    }

    fn create(&mut self, name: &str, partitions: Option<String>, words: &[&str]) -> Vec<String> {
        let configs = words
            .iter()
            .filter_map(|word| word.split_once('='))
            .filter(|(key, _)| *key != "partitions")
            .map(|(key, value)| (key.to_string(), Some(value.to_string())))
            .collect();
        let topic = NewTopic {
            name: name.into(),
            partitions: partitions.map_or(-1, |n| n.parse().expect("number")),
            replication_factor: -1,
            assignments: Vec::new(),
            configs,
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 0,
            validate_only: false,
        };
        match self.call(Request::CreateTopics(request)) {
            Response::CreateTopics(response) => {
                let topic = &response.topics[0];
                vec![format!(
                    "{} partitions={}",
                    topic.error.name(),
                    topic.partitions
                )]
            }
            other => panic!("{other:?}"),
        }
    }

    fn remove(&mut self, name: &str) -> Vec<String> {
        let topics = vec![TopicRef {
            name: name.into(),
            id: Uuid::ZERO,
        }];
        match self.call(Request::DeleteTopics(DeleteTopicsRequest {
            topics,
            misnamed: Vec::new(),
            timeout_ms: 30_000,
        })) {
            Response::DeleteTopics(response) => vec![response.topics[0].1.name().to_string()],
            other => panic!("{other:?}"),
        }
    }

    fn produce(
        &mut self,
        rest: &[&str],
        pid: Option<String>,
        seq: Option<String>,
        times: Option<String>,
    ) -> Vec<String> {
        let (topic, index) = place(rest[0]);
        let producer_id = pid.map_or(-1, |id| id.parse().expect("number"));
        let ago: i64 = option_of(rest, "ago").map_or(0, |ago| ago.parse().expect("milliseconds"));
        let spec = BatchSpec {
            timestamp: self.now.wall_ms - ago,
            producer_id,
            producer_epoch: if producer_id < 0 { -1 } else { 0 },
            base_sequence: seq.map_or(-1, |seq| seq.parse().expect("number")),
        };
        let batch = build_batch(spec, &[(None, rest[1].as_bytes())]);
        let times: u32 = times.map_or(1, |n| n.parse().expect("number"));
        let mut last = String::new();
        for _ in 0..times {
            let topics = vec![TopicProduce {
                topic: topic.clone(),
                partitions: vec![(index, Some(batch.clone()))],
            }];
            let request = ProduceRequest {
                transactional_id: None,
                acks: -1,
                timeout_ms: 0,
                zstd_allowed: true,
                by_id: false,
                topics,
            };
            last = match self.call(Request::Produce(request)) {
                Response::Produce(response) => {
                    let part = &response.topics[0].1[0];
                    format!("{} offset={}", part.error.name(), part.base_offset)
                }
                other => panic!("{other:?}"),
            };
        }
        vec![last]
    }

    fn fetch(&mut self, at: &str, from: Option<String>) -> Vec<String> {
        let (topic, index) = place(at);
        let partition = PartitionFetch {
            index,
            current_leader_epoch: -1,
            fetch_offset: from.map_or(0, |from| from.parse().expect("number")),
            last_fetched_epoch: -1,
            max_bytes: 1 << 20,
        };
        let request = FetchRequest {
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_id: 0,
            session_epoch: -1,
            by_id: false,
            from_replica: false,
            isolation: 0,
            topics: vec![TopicFetch {
                topic,
                partitions: vec![partition],
            }],
        };
        let Response::Fetch(response) = self.call(Request::Fetch(request)) else {
            panic!("fetch")
        };
        let part = &response.topics[0].1[0];
        let mut told = vec![format!(
            "{} start={} watermark={}",
            part.error.name(),
            part.log_start_offset,
            part.high_watermark
        )];
        let mut bytes = Bytes::from(part.records.concat());
        while !bytes.is_empty() {
            let head = parse_head(&bytes).expect("a batch");
            let batch = bytes.split_to(head.size);
            let value: String = batch[seedlog_core::batch::HEAD_LEN..]
                .iter()
                .filter(|byte| byte.is_ascii_alphanumeric())
                .map(|byte| char::from(*byte))
                .collect();
            told.push(format!(
                "offset={} epoch={} {value}",
                head.base_offset, head.leader_epoch
            ));
        }
        if told.len() > 8 {
            let cut = told.len() - 7;
            told.splice(4..4 + cut, [format!("... {cut} more")]);
        }
        told
    }

    fn offsets(&mut self, at: &str, time: Option<String>) -> Vec<String> {
        let (topic, index) = place(at);
        let timestamp = time.map_or(-1, |time| time.parse().expect("number"));
        let query = PartitionOffsetQuery {
            index,
            current_leader_epoch: -1,
            timestamp,
        };
        let request = ListOffsetsRequest {
            topics: vec![(topic, vec![query])],
            timeout_ms: 30_000,
            isolation: 0,
        };
        match self.call(Request::ListOffsets(request)) {
            Response::ListOffsets(response) => {
                let part = response.topics[0].1[0];
                vec![format!(
                    "{} offset={} time={}",
                    part.error.name(),
                    part.offset,
                    part.timestamp
                )]
            }
            other => panic!("{other:?}"),
        }
    }

    fn epoch(&mut self, at: &str, asked: Option<String>) -> Vec<String> {
        let (topic, index) = place(at);
        let asked = asked.expect("asked=").parse().expect("number");
        let request = OffsetForLeaderEpochRequest {
            topics: vec![(topic, vec![(index, -1, asked)])],
        };
        match self.call(Request::OffsetForLeaderEpoch(request)) {
            Response::OffsetForLeaderEpoch(response) => {
                let part = response.topics[0].1[0];
                let (epoch, end) = (part.leader_epoch, part.end_offset);
                vec![format!("{} epoch={epoch} end={end}", part.error.name())]
            }
            other => panic!("{other:?}"),
        }
    }

    fn trim(&mut self, at: &str, to: Option<String>) -> Vec<String> {
        let (topic, index) = place(at);
        let offset = to.map_or(-1, |to| to.parse().expect("number"));
        let request = DeleteRecordsRequest {
            topics: vec![(topic, vec![(index, offset)])],
            timeout_ms: 30_000,
        };
        match self.call(Request::DeleteRecords(request)) {
            Response::DeleteRecords(response) => {
                let (_, low, error) = response.topics[0].1[0];
                vec![format!("{} low={low}", error.name())]
            }
            other => panic!("{other:?}"),
        }
    }
}

fn option_of(words: &[&str], name: &str) -> Option<String> {
    let mut values = words.iter();
    values.find_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_string()))
}

fn produce_of(at: &str, records: Bytes, zstd_allowed: bool) -> Request {
    let (topic, index) = place(at);
    let topics = vec![TopicProduce {
        topic,
        partitions: vec![(index, Some(records))],
    }];
    Request::Produce(ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 0,
        zstd_allowed,
        topics,
        by_id: false,
    })
}

fn place(text: &str) -> (TopicRef, i32) {
    let (name, index) = text.split_once('/').expect("topic/partition");
    (
        TopicRef {
            name: name.into(),
            id: Uuid::ZERO,
        },
        index.parse().expect("index"),
    )
}
