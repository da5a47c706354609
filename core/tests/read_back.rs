//! Starts from a journal that a test writes block by block: what such a start keeps in memory, and what
//! makes it refuse before it touches anything.

#[path = "memory_broker/disk.rs"]
mod disk;
#[path = "memory_broker/turns.rs"]
mod turns;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use disk::Disk;
use seedlog_core::batch::{build_batch, place, BatchSpec};
use seedlog_core::contract::{Effects, Halt, Input};
use seedlog_core::disk::{DiskDone, DiskRequest};
use seedlog_core::ids::{PartitionId, Uuid};
use seedlog_core::log::frame::{seal, Frame};
use seedlog_core::log::journal::{file_header, Ring, FIRST_PAGE, PAGE};
use seedlog_core::metadata::{encode_records, Record};
use seedlog_core::partition::Replica;
use seedlog_core::shard::Shard;
use seedlog_core::time::{Instant, Now};
use turns::{Host, Inputs};

const JOURNAL: &str = "journal/shard-0.ring";
const PAGES: u64 = 64;
const PARTITION: PartitionId = PartitionId {
    topic: Uuid([7; 16]),
    index: 0,
};

/// A broker of one shard that starts from this journal. The first read of it is of the very memory that the
/// test has, so that the test sees who keeps it.
struct Start {
    shards: Vec<Shard>,
    inputs: Inputs,
    disk: Disk,
    image: Option<Bytes>,
    /// What would change the disk.
    changes: Vec<DiskRequest>,
    halt: Option<Halt>,
}

impl Host for Start {
    fn shards(&mut self) -> &mut Vec<Shard> {
        &mut self.shards
    }

    fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn now(&self) -> Now {
        Now {
            mono: Instant(1_000_000_000),
            wall_ms: 1_700_000_000_000,
        }
    }

    fn carry_out(&mut self, shard: usize, out: Effects) {
        for op in out.disk {
            let result = match (&op.request, self.image.take()) {
                (DiskRequest::Read { file, .. }, Some(image)) => {
                    assert_eq!(&**file, JOURNAL);
                    Ok(DiskDone::Data(image))
                }
                (request, image) => {
                    self.image = image;
                    let reads =
                        matches!(request, DiskRequest::Read { .. } | DiskRequest::List { .. });
                    self.changes.extend((!reads).then(|| request.clone()));
                    self.disk.run(op.request)
                }
            };
            let input = Input::Disk { op: op.op, result };
            self.inputs.push_back((shard, input));
        }
        self.inputs.extend(turns::worked(shard, out.work));
        self.inputs.extend(turns::told(shard, out.neighbours));
        self.halt = self.halt.take().or(out.halt);
    }

    fn is_over(&self) -> bool {
        self.halt.is_some()
    }
}

impl Start {
    fn from(image: Bytes) -> Start {
        let mut start = Start {
            shards: Vec::new(),
            inputs: VecDeque::new(),
            disk: Disk::default(),
            image: None,
            changes: Vec::new(),
            halt: None,
        };
        start.disk.files.insert(JOURNAL.into(), image.to_vec());
        start.image = Some(image);
        let mut out = Effects::default();
        let config = turns::config(0, 1);
        let shard = Shard::boot(config, [3; 32], start.now(), &mut out);
        start.shards.push(shard);
        start.carry_out(0, out);
        turns::run(&mut start);
        start
    }

    fn replica(&self) -> &Replica {
        let mut replicas = self.shards[0].replicas();
        replicas.next().expect("a partition")
    }

    /// It serves, with the partition.
    fn serves(&self) -> &Replica {
        assert_eq!(self.halt, None);
        assert!(self.shards[0].is_ready());
        self.replica()
    }

    /// It did not begin: the reason. The disk is as it was.
    fn refused(&self) -> &str {
        assert!(!self.shards[0].is_ready());
        assert_eq!(self.changes, [], "nothing is written and nothing removed");
        match &self.halt {
            Some(Halt::Fatal(reason)) => reason,
            other => panic!("it goes on: {other:?}"),
        }
    }
}

/// A journal of these blocks, the last of which says that those before `tail` are not needed.
fn journal(blocks: &[Vec<Frame>], tail: u64) -> Vec<u8> {
    let config = turns::config(0, 1);
    let mut file = vec![0; (PAGES * PAGE) as usize];
    let header = file_header(9, config.cluster_id, config.directory_id, 0);
    for at in [0, header.len()] {
        file[at..at + header.len()].copy_from_slice(&header);
    }
    let mut ring = Ring::fresh(9, PAGES);
    ring.incarnation = 5;
    for (at, frames) in blocks.iter().enumerate() {
        let page = ring.room_for(1).expect("room");
        let frames = frames.iter().map(Frame::encode).collect();
        let tail = if at + 1 < blocks.len() { 1 } else { tail };
        let (seq, pieces) = ring.next_block(page, frames, tail, 7);
        ring.durable_seq = seq;
        let (bytes, at) = (pieces.concat(), (page * PAGE) as usize);
        file[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    file
}

fn ledger(offset: i64, records: &[Record]) -> Frame {
    let body = encode_records(records);
    Frame::Ledger { offset, body }
}

fn shards() -> Record {
    let (journals, home) = (1, 1);
    Record::Shards { journals, home }
}

fn topic(configs: &[(&str, &str)]) -> Record {
    let configs = configs.iter();
    Record::Topic {
        id: PARTITION.topic,
        name: "a".into(),
        partitions: 1,
        configs: configs
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
    }
}

fn create() -> Frame {
    Frame::Create {
        partition: PARTITION,
        seen: 3,
        dir: "topics/a-0".into(),
    }
}

fn batch(base: i64) -> Frame {
    let spec = BatchSpec {
        timestamp: 1_700_000_000_000,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
    };
    let built = build_batch(spec, &[(None, b"some value")]);
    let (head, front, rest) = place(&built, base, 1, None);
    let mut batch = BytesMut::from(&front[..]);
    batch.extend_from_slice(&rest);
    Frame::Batch {
        partition: PARTITION,
        seal: seal(turns::config(0, 1).cluster_id, PARTITION, base, 1, head.crc),
        batch: batch.freeze(),
    }
}

/// Blocks of metadata with a topic of these configs, and then of its partition.
fn whole(configs: &[(&str, &str)]) -> Vec<Vec<Frame>> {
    vec![
        vec![ledger(0, &[shards(), Record::Incarnation { number: 1 }])],
        vec![ledger(1, &[topic(configs)]), create()],
        vec![batch(0), batch(1)],
        vec![ledger(2, &[Record::ProducerIds { next: 1_000 }])],
    ]
}

#[test]
fn records_read_back_do_not_keep_the_journal_in_memory() {
    let image = Bytes::from(journal(&whole(&[]), 1));
    let within = image.as_ptr_range();
    let start = Start::from(image.clone());
    let tail = &start.serves().tail;
    assert_eq!(tail.len(), 2);
    for piece in tail.iter().flat_map(|batch| &batch.pieces) {
        assert!(!within.contains(&piece.as_ptr()), "a part of the journal");
    }
    assert!(image.is_unique(), "something else keeps the journal");
}

/// What a later build wrote. Its default in place of it would be another promise: `compact` as `delete`
/// removes what was to be kept.
#[test]
fn a_config_that_this_build_does_not_know_is_refused_at_the_start() {
    for (key, value) in [
        ("seedlog.from.tomorrow", "on"),
        ("cleanup.policy", "tomorrow"),
        ("retention.ms", "a while"),
    ] {
        let configs = [("retention.ms", "5"), (key, value)];
        let start = Start::from(journal(&whole(&configs), 1).into());
        let reason = start.refused();
        let named =
            format!("{JOURNAL}: topic 'a': config {key}={value} is unknown to this build: ");
        assert!(reason.starts_with(&named), "{reason}");
        assert_eq!(start.replica().tail.len(), 2, "the records are there");
    }
    // The same journal with what it knows.
    let known = [("retention.ms", "5"), ("cleanup.policy", "delete")];
    let start = Start::from(journal(&whole(&known), 1).into());
    assert_eq!(start.serves().config.retention_ms, 5);
    // A topic that is gone needs no config any more.
    let mut gone = whole(&[("seedlog.from.tomorrow", "on")]);
    let id = PARTITION.topic;
    gone.push(vec![ledger(3, &[Record::RemoveTopic { id }])]);
    let start = Start::from(journal(&gone, 1).into());
    assert_eq!(start.halt, None);
    assert!(start.shards[0].is_ready());
}

/// A start from this journal is refused for this reason.
fn refused_for(image: Vec<u8>, reason: &str) {
    let start = Start::from(image.into());
    let found = start.refused();
    assert_eq!(found, format!("{JOURNAL}: {reason}"));
}

/// A start with less would take the topics that are not there for deleted ones, and remove their records.
#[test]
fn metadata_whose_first_records_are_missing_is_refused_at_the_start() {
    let lost = "the metadata's first records are missing, and no snapshot holds them";
    let begun = Record::Incarnation { number: 2 };
    // The last block says that the first one is not needed any more.
    let mut blocks = whole(&[]);
    blocks.push(vec![ledger(3, std::slice::from_ref(&begun))]);
    refused_for(journal(&blocks, 2), lost);
    // All that is left are records after those of the topic.
    let late = |offset| vec![ledger(offset, std::slice::from_ref(&begun))];
    refused_for(journal(&[late(8), late(9)], 1), lost);
    refused_for(journal(&[late(8), vec![create(), batch(0)]], 1), lost);
    // A snapshot holds all that came before it.
    let snapshot = Frame::LedgerSnapshot {
        offset: 3,
        body: encode_records(&[shards(), begun.clone(), topic(&[])]),
    };
    blocks.insert(4, vec![snapshot]);
    let start = Start::from(journal(&blocks, 2).into());
    assert_eq!(start.serves().tail.len(), 2);
    // The first block is needed, and damaged or gone.
    for byte in 0..2 {
        let mut image = journal(&whole(&[]), 1);
        let page = (FIRST_PAGE * PAGE) as usize;
        match byte {
            0 => image[page..page + PAGE as usize].fill(0),
            _ => image[page + 100] ^= 1,
        }
        let gone = "block 1 is damaged or missing, though it was durable (attested up to 3)";
        refused_for(image, gone);
    }
    // Records are missing in the middle.
    let mut blocks = whole(&[]);
    blocks.push(vec![ledger(4, &[begun])]);
    refused_for(journal(&blocks, 1), "block 5: metadata offset 4 follows 3");
}
