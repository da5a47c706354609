//! Writes the first inputs for the fuzz targets, of what the core itself encodes:
//! `cargo run -p seedlog-core --example fuzz_seeds -- FOLDER`.

#![allow(
    clippy::disallowed_methods,
    reason = "a tool of the fuzzers writes its files"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use seedlog_core::batch::{build_batch, parse_head, BatchSpec, HEAD_LEN};
use seedlog_core::ids::{PartitionId, Uuid};
use seedlog_core::log::frame::Frame;
use seedlog_core::log::journal::Ring;
use seedlog_core::log::rows::{Owner, Row};
use seedlog_core::metadata::{encode_records, Record};
use seedlog_core::partition::{Replica, Segment};

const PARTITION: PartitionId = PartitionId {
    topic: Uuid([7; 16]),
    index: 0,
};

fn write(folder: &Path, target: &str, name: &str, input: &[&[u8]]) {
    let folder = folder.join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), input.concat()).expect("a file");
}

fn batch() -> Bytes {
    let spec = BatchSpec {
        timestamp: 70,
        producer_id: 4,
        producer_epoch: 0,
        base_sequence: 0,
    };
    build_batch(spec, &[(Some(b"key"), b"value"), (None, b"w")])
}

fn frames() -> Vec<(&'static str, Frame)> {
    let (partition, dir) = (PARTITION, "topics/a-0".to_string());
    let (seal, batch, body, offset) = (9, batch(), Bytes::from_static(b"body"), 5);
    vec![
        (
            "create",
            Frame::Create {
                partition,
                seen: 1,
                dir: dir.clone(),
            },
        ),
        (
            "batch",
            Frame::Batch {
                partition,
                seal,
                batch,
            },
        ),
        ("log-start", Frame::LogStart { partition, offset }),
        (
            "manifest",
            Frame::Manifest {
                partition,
                body: body.clone(),
            },
        ),
        (
            "carried",
            Frame::Carried {
                partition,
                base: offset,
            },
        ),
        ("drop", Frame::Drop { partition, dir }),
        (
            "ledger",
            Frame::Ledger {
                offset,
                body: body.clone(),
            },
        ),
        ("snapshot", Frame::LedgerSnapshot { offset, body }),
    ]
}

fn replica() -> Replica {
    let mut replica = Replica::empty(PARTITION, Uuid([1; 16]), "topics/a-0".into());
    for base in [0, 10, 20] {
        replica.segments.push(Segment {
            base,
            end: base + 10,
            size: 1_000,
            row_count: 5,
            max_timestamp: 7,
            begun_ms: 5,
            last_ms: 6,
            rows: None,
        });
    }
    replica.epochs = vec![(1, 0), (2, 15)];
    replica.log_end = 30;
    replica.gone = vec![30, 40];
    let head = parse_head(&batch()).expect("a head");
    replica.producers.record(&head, 5);
    replica
}

fn records() -> Vec<(&'static str, Record)> {
    let id = Uuid([3; 16]);
    vec![
        ("incarnation", Record::Incarnation { number: 2 }),
        (
            "shards",
            Record::Shards {
                journals: 3,
                home: 2,
            },
        ),
        ("producer-ids", Record::ProducerIds { next: 1000 }),
        (
            "topic",
            Record::Topic {
                id,
                name: "abc".into(),
                partitions: 1,
                configs: vec![("retention.ms".into(), "5".into())],
            },
        ),
        ("partitions", Record::Partitions { id, total: 3 }),
        ("remove", Record::RemoveTopic { id }),
    ]
}

/// Bytes in each of Kafka's compressions, with the attributes that name it.
fn compressed(plain: &[u8]) -> [(&'static str, u8, Vec<u8>); 5] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(plain).expect("memory");
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(plain).expect("memory");
    let snappy = snap::raw::Encoder::new().compress_vec(plain);
    [
        ("none", 0, plain.to_vec()),
        ("gzip", 1, gzip.finish().expect("memory")),
        ("snappy", 2, snappy.expect("memory")),
        ("lz4", 3, lz4.finish().expect("memory")),
        ("zstd", 4, zstd::encode_all(plain, 3).expect("memory")),
    ]
}

fn journals(folder: &Path) {
    for (name, frame) in frames() {
        write(folder, "journal", name, &[&[0], &frame.encode()]);
    }
    let mut ring = Ring::fresh(9, 64);
    let (_, pieces) = ring.next_block(2, vec![frames()[0].1.encode()], 1, 7);
    write(folder, "journal", "block", &[&[1], &pieces[0]]);
    let mut rows = BytesMut::new();
    let row = Row {
        base: 5,
        next: 9,
        position: 100,
        size: 77,
        max_timestamp: 3,
        seal: 8,
    };
    let partition = PartitionId {
        topic: Uuid([7; 16]),
        index: 0,
    };
    let owner = Owner::of(Uuid([1; 16]), partition);
    (0..3).for_each(|_| row.encode(owner, &mut rows));
    write(folder, "journal", "rows", &[&[2, 3, 0], &rows]);
    // Scripts: the size, whole headers, then blocks of frames by kind.
    for kind in 0..10 {
        let block = [0, 2, kind, 0, 5, 6, 7, 8, 9, 1, kind, 0, 5, 6, 7, 8, 9, 1];
        let bent = [1, 1, 2, 0, 3, 0xff, 4, 3, 2, 1, 0, 0, 0];
        let script = [&[0, 20, 0][..], &block, &block, &bent].concat();
        write(folder, "recovery", &format!("blocks-{kind}"), &[&script]);
    }
}

fn main() {
    let folder = &PathBuf::from(std::env::args().nth(1).expect("a folder"));
    journals(folder);
    let replica = replica();
    write(
        folder,
        "manifest",
        "manifest",
        &[&[0], &replica.manifest(30)],
    );
    let mut table = BytesMut::new();
    replica.producers.encode(&mut table);
    write(folder, "manifest", "producers", &[&[1, 4, 0, 2], &table]);
    let all: Vec<Record> = records().into_iter().map(|(_, record)| record).collect();
    write(folder, "metadata", "all", &[&encode_records(&all)]);
    for (name, record) in records() {
        write(folder, "metadata", name, &[&encode_records(&[record])]);
    }
    for how in 0..8 {
        write(
            folder,
            "records",
            &format!("batch-{how}"),
            &[&[how, 5, 7], &batch()],
        );
    }
    for (name, attributes, bytes) in compressed(&batch()[HEAD_LEN..]) {
        let input: [&[u8]; 2] = [&[attributes, 2, 0, 0, 0], &bytes];
        write(folder, "decompression", name, &input);
    }
}
