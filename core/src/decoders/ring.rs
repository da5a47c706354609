//! Recovery over the image of a ring. Checksums guard every block, so that random bytes are never one:
//! the input is a script by which blocks are made, and then bent.

use bytes::{Bytes, BytesMut};

use super::Script;
use crate::batch::{build_batch, place, BatchSpec};
use crate::ids::{PartitionId, Uuid};
use crate::log::frame::{seal, Frame};
use crate::log::journal::{file_header, BlockHeader, BLOCK_HEADER, FIRST_PAGE, PAGE};
use crate::log::recovery::{recover, Found, Owner, RecoveryKnobs};
use crate::metadata::{encode_records, Record};

const OWNER: Owner = Owner {
    cluster: Uuid([1; 16]),
    directory: Uuid([2; 16]),
    shard: 0,
};
const RING: u64 = 9;
const BLOCKS_MAX: usize = 40;
const FRAMES_MAX: u8 = 8;
/// Pages of the largest image.
const PAGES_MAX: u64 = 48;

/// `recover` over an image by this script, or over the bytes themselves.
pub fn recovery(input: &[u8]) {
    recovery_of(input, |_| {});
}

/// The same; `seen` is told what was recovered.
pub fn recovery_of(input: &[u8], seen: impl FnOnce(&Found)) {
    let mut script = Script::new(input);
    let file = match script.byte() {
        0xff => Bytes::copy_from_slice(script.all()),
        _ => image(&mut script),
    };
    let found = recover(&file, OWNER, RecoveryKnobs::default());
    seen(&found);
    let Found::Journal(recovered) = found else {
        return;
    };
    let ring = &recovered.ring;
    assert!(recovered.frames.is_sorted_by_key(|(seq, _)| *seq));
    assert!(ring
        .live
        .iter()
        .all(|block| block.page + block.pages <= ring.capacity));
    assert!(ring.durable_seq < ring.next_seq && ring.head <= ring.capacity);
    goes_on(&file, recovered.ring.clone(), recovered.frames);
}

/// A block is written where the ring says that there is room: all frames are there once more, and its own.
fn goes_on(file: &Bytes, mut ring: crate::log::journal::Ring, mut frames: Vec<(u64, Frame)>) {
    let Some(page) = ring.room_for(1) else {
        return;
    };
    let frame = Frame::LogStart {
        partition: partition(0),
        offset: 17,
    };
    let tail = ring.live.front().map_or(ring.next_seq, |block| block.seq);
    ring.incarnation = 77;
    let (seq, pieces) = ring.next_block(page, vec![frame.encode()], tail, 5);
    let mut bytes = BytesMut::from(&file[..]);
    let at = (page * PAGE) as usize;
    let block = pieces.concat();
    bytes[at..at + block.len()].copy_from_slice(&block);
    frames.push((seq, frame));
    match recover(&bytes.freeze(), OWNER, RecoveryKnobs::default()) {
        Found::Journal(again) => assert_eq!(again.frames, frames),
        other => panic!("a ring that was gone on from: {other:?}"),
    }
}

fn partition(index: u8) -> PartitionId {
    PartitionId {
        topic: Uuid([7; 16]),
        index: u32::from(index % 3),
    }
}

/// A ring's image.
fn image(script: &mut Script) -> Bytes {
    let pages = FIRST_PAGE + 1 + script.number() % (PAGES_MAX - FIRST_PAGE);
    let mut file = vec![0; (pages * PAGE) as usize];
    let header = file_header(RING, OWNER.cluster, OWNER.directory, OWNER.shard);
    let damaged = script.byte();
    for copy in 0..FIRST_PAGE {
        if damaged & (1 << copy) == 0 {
            let at = (copy * PAGE) as usize;
            file[at..at + header.len()].copy_from_slice(&header);
        }
    }
    let mut last = None;
    for _ in 0..BLOCKS_MAX {
        if script.is_over() {
            break;
        }
        last = Some(block(script, &mut file, last));
    }
    file.into()
}

/// The next block, one that follows on the last or one that says what it likes, and where it ends.
fn block(
    script: &mut Script,
    file: &mut [u8],
    last: Option<(BlockHeader, u64)>,
) -> (BlockHeader, u64) {
    let how = script.byte();
    let before = last.unwrap_or((blank(), FIRST_PAGE));
    let mut payload = BytesMut::new();
    for _ in 0..script.byte() % FRAMES_MAX {
        payload.extend_from_slice(&frame(script));
    }
    let mut header = BlockHeader {
        seq: before.0.seq.wrapping_add(1),
        previous: last.map_or(0, |(header, _)| header.link()),
        attested: before.0.seq,
        tail: before.0.tail.max(1),
        payload: payload.len() as u32,
        payload_crc: crc32c::crc32c(&payload),
        ..before.0
    };
    let mut page = before.1;
    if how & 1 == 1 {
        bend(script, &mut header, &mut page);
    }
    let pages = header.pages();
    let bytes = [&header.encode()[..], &payload[..]].concat();
    let room = (file.len() as u64 / PAGE).saturating_sub(FIRST_PAGE).max(1);
    page = FIRST_PAGE + page.saturating_sub(FIRST_PAGE) % room;
    let at = (page * PAGE) as usize;
    for (to, from) in file[at..].iter_mut().zip(&bytes) {
        *to = *from;
    }
    if how & 2 == 2 {
        let at = at + script.number() as usize % (BLOCK_HEADER + payload.len());
        if let Some(byte) = file.get_mut(at) {
            *byte ^= script.byte();
        }
    }
    (header, page.saturating_add(pages))
}

fn blank() -> BlockHeader {
    BlockHeader {
        ring: RING,
        seq: 0,
        payload: 0,
        payload_crc: 0,
        previous: 0,
        incarnation: 5,
        attested: 0,
        tail: 1,
        loose: false,
        written_ms: 7,
    }
}

/// Fields of a block that do not follow from the one before it.
fn bend(script: &mut Script, header: &mut BlockHeader, page: &mut u64) {
    let which = script.byte();
    let mut field = |bit: u8, value: &mut u64| {
        if which & (1 << bit) != 0 {
            *value = script.number();
        }
    };
    field(0, &mut header.seq);
    field(1, &mut header.attested);
    field(2, &mut header.tail);
    field(3, page);
    field(4, &mut header.incarnation);
    field(5, &mut header.ring);
    let mut payload = u64::from(header.payload);
    field(6, &mut payload);
    header.payload = payload as u32;
    let mut previous = u64::from(header.previous);
    field(7, &mut previous);
    header.previous = previous as u32;
}

/// The bytes of a frame.
fn frame(script: &mut Script) -> Bytes {
    let (kind, partition) = (script.byte(), partition(script.byte()));
    let frame = match kind % 10 {
        0 => Frame::Create {
            partition,
            seen: script.signed(),
            dir: "topics/a-0".into(),
        },
        1 => batch(script, partition),
        2 => Frame::LogStart {
            partition,
            offset: script.signed(),
        },
        3 => {
            let len = script.byte();
            let body = Bytes::copy_from_slice(script.take(usize::from(len)));
            Frame::Manifest { partition, body }
        }
        4 => Frame::Carried {
            partition,
            base: script.signed(),
        },
        5 => Frame::Drop {
            partition,
            dir: "topics/a-0".into(),
        },
        6 => Frame::Ledger {
            offset: script.signed(),
            body: encode_records(&records(script)),
        },
        7 => Frame::LedgerSnapshot {
            offset: script.signed(),
            body: encode_records(&records(script)),
        },
        _ => {
            let len = script.byte();
            return Bytes::copy_from_slice(script.take(usize::from(len)));
        }
    };
    frame.encode()
}

/// A batch that verifies, at any offset, mostly with its own seal.
fn batch(script: &mut Script, partition: PartitionId) -> Frame {
    let spec = BatchSpec {
        timestamp: script.signed(),
        producer_id: script.signed(),
        producer_epoch: script.number() as i16,
        base_sequence: script.number() as i32,
    };
    let (base, epoch) = (script.signed(), script.number() as i32);
    let built = build_batch(spec, &[(None, b"a"), (None, b"b")]);
    // No broker places a batch where it would leave no offset after it.
    let base = base & i64::MAX;
    let base = base.min(i64::MAX - 2);
    let (head, front, rest) = place(&built, base, epoch, None);
    let seal =
        seal(OWNER.cluster, partition, base, epoch, head.crc) ^ u32::from(script.byte() == 9);
    Frame::Batch {
        partition,
        seal,
        batch: [front, rest].concat().into(),
    }
}

fn records(script: &mut Script) -> Vec<Record> {
    let id = |script: &mut Script| Uuid([7 + script.byte() % 3; 16]);
    let one = |script: &mut Script| match script.byte() % 6 {
        0 => Record::Incarnation {
            number: script.number() as i32,
        },
        1 => Record::Shards {
            journals: script.number() as u16,
            home: script.number() as u16,
        },
        2 => Record::ProducerIds {
            next: script.signed(),
        },
        3 => Record::Topic {
            id: id(script),
            name: "abc".chars().skip(usize::from(script.byte() % 3)).collect(),
            partitions: script.number() as u32,
            configs: Vec::new(),
        },
        4 => Record::Partitions {
            id: id(script),
            total: script.number() as u32,
        },
        _ => Record::RemoveTopic { id: id(script) },
    };
    (0..script.byte() % 5).map(|_| one(script)).collect()
}
