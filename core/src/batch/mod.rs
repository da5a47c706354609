//! Kafka's record batch, magic 2, seen through its 61-byte head.
//!
//! Base offset and partition leader epoch lie outside the CRC, so a batch is placed in a log by
//! patching 12 bytes of a small head; the body is never touched unless the topic demands it.

mod build;
mod records;

pub use build::{build_batch, BatchSpec};
pub use records::{
    check_records, get_varint, narrow, put_varint, take_record, Checked, Headers, RawRecord, Tally,
    TimeBounds, NAMED_MAX,
};

use bytes::{Bytes, BytesMut};

/// Bytes of a batch before its records.
pub const HEAD_LEN: usize = 61;
/// Where the bytes covered by the batch's CRC begin.
pub const CRC_START: usize = 21;
/// Attribute bits: which compression, 0 for none.
pub const ATTRIBUTE_COMPRESSION: i16 = 0x07;
/// Attribute bit: timestamps were set by the broker.
pub const ATTRIBUTE_LOG_APPEND_TIME: i16 = 0x08;
/// Attribute bit: part of a transaction.
pub const ATTRIBUTE_TRANSACTIONAL: i16 = 0x10;
/// Attribute bit: a control batch.
pub const ATTRIBUTE_CONTROL: i16 = 0x20;

/// The fields of a batch head (`DefaultRecordBatch.java`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchHead {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes of the whole batch, head included.
    pub size: usize,
    /// Leader epoch under which it was appended.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression (low 3 bits) and flags.
    pub attributes: i16,
    /// Offset of the last record less the base offset.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, ms.
    pub base_timestamp: i64,
    /// Largest timestamp, ms.
    pub max_timestamp: i64,
    /// Producer id; -1 for none.
    pub producer_id: i64,
    /// Producer epoch; -1 for none.
    pub producer_epoch: i16,
    /// Sequence of the first record; -1 for none.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHead {
    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Sequence of the last record; wraps at 2^31 as Kafka's does (KAFKA-7692).
    pub fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.last_offset_delta)
    }

    /// True for an idempotent producer's batch.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }
}

/// `sequence` moved on by `delta`, wrapping from 2^31 - 1 to 0.
pub fn sequence_after(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) + i64::from(delta)) % (i64::from(i32::MAX) + 1)) as i32
}

/// Why bytes are not a batch that can be appended or served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Fewer bytes than the head or the length field say.
    Truncated,
    /// Magic 0 or 1: a format that Kafka 4 no longer takes (KIP-724).
    OldMagic,
    /// A magic that no Kafka has.
    UnknownMagic,
    /// A length that cannot be.
    Malformed,
    /// Counts or offsets that cannot be; the CRC is not looked at.
    BadCounts,
    /// The CRC does not match.
    BadCrc,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Read the head at the start of `bytes`, which may hold more after the batch. Checks lengths, not
/// the CRC.
pub fn parse_head(bytes: &[u8]) -> Result<BatchHead, BatchError> {
    let head = head_alone(bytes)?;
    match head.size > bytes.len() {
        true => Err(BatchError::Truncated),
        false => Ok(head),
    }
}

/// Read a head whose records are kept elsewhere.
pub fn head_alone(bytes: &[u8]) -> Result<BatchHead, BatchError> {
    if bytes.len() < HEAD_LEN {
        return Err(BatchError::Truncated);
    }
    let length = i32::from_be_bytes(array(bytes, 8));
    if length < (HEAD_LEN - 12) as i32 {
        return Err(BatchError::Malformed);
    }
    match bytes[16] {
        2 => {}
        0 | 1 => return Err(BatchError::OldMagic),
        _ => return Err(BatchError::UnknownMagic),
    }
    let head = BatchHead {
        base_offset: i64::from_be_bytes(array(bytes, 0)),
        size: length as usize + 12,
        leader_epoch: i32::from_be_bytes(array(bytes, 12)),
        crc: u32::from_be_bytes(array(bytes, 17)),
        attributes: i16::from_be_bytes(array(bytes, 21)),
        last_offset_delta: i32::from_be_bytes(array(bytes, 23)),
        base_timestamp: i64::from_be_bytes(array(bytes, 27)),
        max_timestamp: i64::from_be_bytes(array(bytes, 35)),
        producer_id: i64::from_be_bytes(array(bytes, 43)),
        producer_epoch: i16::from_be_bytes(array(bytes, 51)),
        base_sequence: i32::from_be_bytes(array(bytes, 53)),
        record_count: i32::from_be_bytes(array(bytes, 57)),
    };
    let past = i64::from(head.last_offset_delta) + 1;
    let negative = head.last_offset_delta < 0 || head.record_count < 0 || head.base_offset < 0;
    match negative || head.base_offset.checked_add(past).is_none() {
        true => Err(BatchError::BadCounts),
        false => Ok(head),
    }
}

/// True if the CRC of the batch of `size` bytes that `bytes` start with holds, whatever else is in
/// its head.
pub fn crc_holds(bytes: &[u8], size: usize) -> bool {
    size >= HEAD_LEN
        && bytes.len() >= size
        && crc32c::crc32c(&bytes[CRC_START..size]) == u32::from_be_bytes(array(bytes, 17))
}

/// Read and verify the one batch that `bytes` start with: lengths and CRC.
pub fn verify(bytes: &[u8]) -> Result<BatchHead, BatchError> {
    let head = parse_head(bytes)?;
    if crc32c::crc32c(&bytes[CRC_START..head.size]) != head.crc {
        return Err(BatchError::BadCrc);
    }
    Ok(head)
}

/// Give a batch whose other bytes all stand its length and its CRC.
pub fn complete(batch: &mut [u8]) {
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// What a batch in the log says of its time, where that is not what its producer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// All its records are of `max_timestamp` (`message.timestamp.type=LogAppendTime`). Else they
    /// have their own, whatever the producer's attributes said.
    pub log_append_time: bool,
    /// The youngest record is of this time, ms.
    pub max_timestamp: i64,
}

/// The verified batch placed at `base_offset` under `leader_epoch`: a patched head and the untouched
/// rest. A stamp is inside the CRC, so that is made anew.
pub fn place(
    batch: &Bytes,
    base_offset: i64,
    leader_epoch: i32,
    stamp: Option<Stamp>,
) -> (BatchHead, Bytes, Bytes) {
    let mut head = BytesMut::from(&batch[..HEAD_LEN]);
    let rest = batch.slice(HEAD_LEN..);
    head[0..8].copy_from_slice(&base_offset.to_be_bytes());
    head[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    if let Some(stamp) = stamp {
        let before = crc32c::crc32c(&head[CRC_START..]);
        let flag = match stamp.log_append_time {
            true => ATTRIBUTE_LOG_APPEND_TIME,
            false => 0,
        };
        let attributes = i16::from_be_bytes(array(&head, 21)) & !ATTRIBUTE_LOG_APPEND_TIME | flag;
        head[21..23].copy_from_slice(&attributes.to_be_bytes());
        head[35..43].copy_from_slice(&stamp.max_timestamp.to_be_bytes());
        // A CRC is linear: the change of the head's, moved on over the length of the rest, is the
        // change of the whole. So the rest is not read once more.
        let change = before ^ crc32c::crc32c(&head[CRC_START..]);
        let whole = u32::from_be_bytes(array(&head, 17));
        // Over nothing the combination forgets one of the two.
        let crc = match rest.is_empty() {
            true => change ^ whole,
            false => crc32c::crc32c_combine(change, whole, rest.len()),
        };
        head[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let head = head.freeze();
    let fields =
        head_alone(&head).unwrap_or_else(|error| panic!("a verified head is readable: {error:?}"));
    (fields, head, rest)
}
