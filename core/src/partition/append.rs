//! Appending: what may enter the log, and where it goes.

use std::borrow::Cow;

use bytes::Bytes;

use super::{Replica, TailBatch, Verdict};
use crate::batch::{
    check_records, crc_holds, parse_head, place, BatchError, BatchHead, Checked, Stamp, TimeBounds,
    ATTRIBUTE_COMPRESSION, ATTRIBUTE_CONTROL, ATTRIBUTE_LOG_APPEND_TIME, ATTRIBUTE_TRANSACTIONAL,
    HEAD_LEN,
};
use crate::error_code::ErrorCode;
use crate::log::frame::{batch_pieces, seal};
use crate::log::rows::Row;

/// The last of Kafka's codecs: zstd.
const CODEC_MAX: i16 = 4;

/// A batch that is in: staged for the journal, or here already.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// It is durable once the durable end has reached this.
    pub next_offset: i64,
    /// LogAppendTime, or -1.
    pub log_append_time_ms: i64,
    /// Frames for the journal; none for a duplicate.
    pub frames: Option<[Bytes; 2]>,
}

/// Why a batch was refused; nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendError {
    /// Kafka's code.
    pub code: ErrorCode,
    /// For people.
    pub text: Cow<'static, str>,
    /// The records that are at fault, where they can be named (KIP-467): index and why.
    pub records: Vec<(i32, String)>,
    /// The log was asked, so that the answer names its start (`ReplicaManager.scala`); else the
    /// request was bad in itself.
    pub by_log: bool,
}

/// A batch that may enter the log as far as its bytes go: its producer's sequence is yet to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its head as it was sent.
    pub head: BatchHead,
    /// Timestamp of its youngest record, ms.
    youngest: i64,
}

impl AppendError {
    /// The request is bad in itself.
    pub fn of_request(code: ErrorCode, text: &'static str) -> AppendError {
        AppendError {
            code,
            text: Cow::Borrowed(text),
            records: Vec::new(),
            by_log: false,
        }
    }

    /// The log does not take it.
    pub fn of_log(code: ErrorCode, text: &'static str) -> AppendError {
        AppendError {
            by_log: true,
            ..AppendError::of_request(code, text)
        }
    }
}

fn refuse<T>(code: ErrorCode, text: &'static str) -> Result<T, AppendError> {
    Err(AppendError::of_request(code, text))
}

fn decline<T>(code: ErrorCode, text: &'static str) -> Result<T, AppendError> {
    Err(AppendError::of_log(code, text))
}

/// True if what follows the head of this batch is compressed, by whatever its attributes name.
pub fn is_compressed(records: &[u8]) -> bool {
    attributes(records) & ATTRIBUTE_COMPRESSION != 0
}

/// True if its attributes name zstd.
pub fn is_zstd(records: &[u8]) -> bool {
    attributes(records) & ATTRIBUTE_COMPRESSION == CODEC_MAX
}

/// True if its attributes say that it belongs to a transaction.
pub fn is_transactional(records: &[u8]) -> bool {
    attributes(records) & ATTRIBUTE_TRANSACTIONAL != 0
}

/// Older formats have something else there.
fn attributes(records: &[u8]) -> i16 {
    match (records.get(16), records.get(21..23)) {
        (Some(2), Some(&[high, low])) => i16::from_be_bytes([high, low]),
        _ => 0,
    }
}

impl Replica {
    /// Check one produced batch that is not compressed.
    pub fn admit(&self, records: &[u8], now_ms: i64) -> Result<Admitted, AppendError> {
        let head = self.inspect(records)?;
        let bounds = self.time_bounds(&head, now_ms);
        match check_records(&head, &records[HEAD_LEN..], bounds) {
            Ok(checked) => admit_checked(head, &checked, bounds),
            Err(malformed) => decline(ErrorCode::InvalidRecord, malformed.0),
        }
    }

    /// The timestamps that the records of a batch may have at this time of the broker.
    ///
    /// Where times are the broker's, its producer must not say that they are
    /// (`LogValidator.validateTimestamp`). Where times are the producers', Kafka reads such a batch's
    /// largest timestamp as that of every record; here each is judged by its own, which is the one that
    /// readers see, as the mark is cleared.
    pub fn time_bounds(&self, head: &BatchHead, now_ms: i64) -> TimeBounds {
        let config = &self.config;
        let claims = head.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0;
        match config.log_append_time {
            true if claims => TimeBounds::NEVER,
            true => TimeBounds::NONE,
            false => TimeBounds {
                oldest: now_ms.saturating_sub(config.before_max_ms),
                youngest: now_ms.saturating_add(config.after_max_ms),
            },
        }
    }

    /// Append an admitted batch if its producer's sequence fits. The caller stages the frames in the
    /// journal.
    pub fn append(
        &mut self,
        records: &Bytes,
        admitted: &Admitted,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        match self.judge(admitted) {
            Verdict::Next => {}
            Verdict::Refused(code) => {
                return decline(code, "the producer's sequence does not fit");
            }
            Verdict::Duplicate(base_offset, next_offset) => {
                return Ok(Appended {
                    base_offset,
                    next_offset,
                    log_append_time_ms: self.append_time_of(base_offset),
                    frames: None,
                })
            }
        }
        let stamp = self.stamp(admitted, now_ms);
        let (head, front, rest) = place(records, self.log_end, self.leader_epoch, stamp);
        let frames = self.take(&head, front, rest, now_ms);
        Ok(Appended {
            base_offset: head.base_offset,
            next_offset: head.next_offset(),
            log_append_time_ms: match self.config.log_append_time {
                true => now_ms,
                false => -1,
            },
            frames: Some(frames),
        })
    }

    fn judge(&self, admitted: &Admitted) -> Verdict {
        match admitted.head.has_producer() {
            true => self.producers.judge(&admitted.head),
            false => Verdict::Next,
        }
    }

    /// This batch is in the log already: its producer sent it again.
    pub fn has(&self, admitted: &Admitted) -> bool {
        matches!(self.judge(admitted), Verdict::Duplicate(..))
    }

    /// M63: the producer table learns of a batch that is not appended.
    pub fn note_producer_early(&mut self, records: &Bytes, admitted: &Admitted, now_ms: i64) {
        let (head, ..) = place(records, self.log_end, self.leader_epoch, None);
        if head.has_producer() && self.judge(admitted) == Verdict::Next {
            self.producers.record(&head, now_ms);
        }
    }

    /// A batch of this size is larger than a segment may be (`UnifiedLog.append`). What tests set to have
    /// small segments, `internal.segment.bytes`, counts for nothing here, though Kafka asks it too.
    pub fn overflows_segment(&self, size: usize) -> bool {
        let config = &self.config;
        size as u64 > config.segment_bytes.unsigned_abs() && !config.internal_segment
    }

    /// The broker's time of the batch at this offset, if it bears that and is still at hand, itself or the
    /// row of its segment; or -1. Kafka keeps it with the producer.
    fn append_time_of(&self, base_offset: i64) -> i64 {
        let found = self
            .tail
            .binary_search_by_key(&base_offset, |batch| batch.row.base);
        let by_broker =
            |batch: &&TailBatch| attributes(&batch.pieces[0]) & ATTRIBUTE_LOG_APPEND_TIME != 0;
        let time = match found {
            Ok(index) => {
                let batch = Some(&self.tail[index]).filter(by_broker);
                batch.map(|batch| batch.row.max_timestamp)
            }
            Err(_) => self.row_of(base_offset).map(|row| row.max_timestamp),
        };
        time.unwrap_or(-1)
    }

    /// The row of the batch at this offset, of a topic that has the broker's time: a row does not say whose
    /// time it is.
    fn row_of(&self, base_offset: i64) -> Option<&Row> {
        let later = self
            .segments
            .partition_point(|segment| segment.base <= base_offset);
        let segment = self.segments.get(later.checked_sub(1)?)?;
        let rows = segment.rows.as_ref()?;
        let at = rows.binary_search_by_key(&base_offset, |row| row.base);
        let row = at.ok().and_then(|at| rows.get(at));
        row.filter(|_| self.config.log_append_time)
    }

    /// The placed batch becomes the log's end.
    fn take(&mut self, head: &BatchHead, front: Bytes, rest: Bytes, now_ms: i64) -> [Bytes; 2] {
        let seal = seal(
            self.cluster,
            self.id,
            head.base_offset,
            head.leader_epoch,
            head.crc,
        );
        let frames = batch_pieces(self.id, seal, &front, rest.clone());
        self.push_tail(head, seal, [front, rest], 0);
        if head.has_producer() {
            self.producers.record(head, now_ms);
        }
        frames
    }

    /// The journal frame of a batch that is in the tail.
    pub fn frame_of(&self, batch: &TailBatch) -> [Bytes; 2] {
        let [front, rest] = &batch.pieces;
        batch_pieces(self.id, batch.row.seal, front, rest.clone())
    }

    /// Put a batch at the end of the tail: a new one, or one read back from the journal.
    pub fn push_tail(&mut self, head: &BatchHead, seal: u32, pieces: [Bytes; 2], seq: u64) {
        self.note_epoch(head.leader_epoch, head.base_offset);
        self.log_end = head.next_offset();
        self.tail_bytes += head.size as u64;
        let row = Row {
            base: head.base_offset,
            next: head.next_offset(),
            position: 0,
            size: head.size as u32,
            max_timestamp: head.max_timestamp,
            seal,
        };
        self.tail.push_back(TailBatch {
            row,
            epoch: head.leader_epoch,
            seq,
            pieces,
        });
    }

    /// Everything in a batch's head that can refuse it, and its CRC. Returns its head as it was sent.
    pub fn inspect(&self, records: &[u8]) -> Result<BatchHead, AppendError> {
        let head = parse_head(records).map_err(|error| unfit(error, records))?;
        if head.size != records.len() {
            return refuse(
                ErrorCode::InvalidRecord,
                "one partition takes one batch per request",
            );
        }
        if head.base_offset != 0 {
            return decline(
                ErrorCode::InvalidRecord,
                "a produced batch begins at offset 0",
            );
        }
        if head.size as i64 > self.config.max_message_bytes {
            return refuse(
                ErrorCode::MessageTooLarge,
                "the batch is larger than max.message.bytes",
            );
        }
        if !crc_holds(records, head.size) {
            return Err(unfit(BatchError::BadCrc, records));
        }
        if head.record_count < 1 || head.last_offset_delta != head.record_count - 1 {
            return decline(
                ErrorCode::InvalidRecord,
                "the record count does not fit the offsets",
            );
        }
        if head.attributes & ATTRIBUTE_COMPRESSION > CODEC_MAX {
            return decline(ErrorCode::InvalidRecord, "no such compression");
        }
        if head.attributes & (ATTRIBUTE_CONTROL | ATTRIBUTE_TRANSACTIONAL) != 0 {
            return decline(ErrorCode::InvalidRecord, "transactions are not served yet");
        }
        if head.has_producer() && (head.base_sequence < 0 || head.producer_epoch < 0) {
            return decline(
                ErrorCode::InvalidRecord,
                "a producer needs an epoch and a sequence",
            );
        }
        Ok(head)
    }

    /// What the log says of an admitted batch's time, where that is not what its producer said.
    fn stamp(&self, admitted: &Admitted, now_ms: i64) -> Option<Stamp> {
        let log_append_time = self.config.log_append_time;
        let max_timestamp = match log_append_time {
            true => now_ms,
            false => admitted.youngest,
        };
        let head = &admitted.head;
        let claims = head.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0;
        let same = claims == log_append_time && head.max_timestamp == max_timestamp;
        (!same).then_some(Stamp {
            log_append_time,
            max_timestamp,
        })
    }
}

/// A batch whose records are well formed is admitted, unless some are too old or too young.
pub fn admit_checked(
    head: BatchHead,
    checked: &Checked,
    bounds: TimeBounds,
) -> Result<Admitted, AppendError> {
    if checked.outside.is_empty() {
        let youngest = checked.youngest;
        return Ok(Admitted { head, youngest });
    }
    let (oldest, youngest) = (bounds.oldest, bounds.youngest);
    let never = bounds == TimeBounds::NEVER;
    let named = checked.outside.iter().map(|(index, time)| {
        let text = match never {
            true => "a producer does not mark records as of LogAppendTime".to_string(),
            false => format!("timestamp {time} is not within {oldest} to {youngest}"),
        };
        (*index, text)
    });
    Err(AppendError {
        code: ErrorCode::InvalidTimestamp,
        text: match never {
            true => "a producer does not mark a batch as of LogAppendTime".into(),
            false => "timestamps of records are outside the topic's bounds".into(),
        },
        records: named.collect(),
        by_log: true,
    })
}

/// Why these bytes are refused before anything is asked about their partition, as far as they are
/// looked at then (`ProduceRequest.validateRecords`): not the CRC, nor what a head says beyond them.
pub fn unfit_at_sight(records: &[u8]) -> Option<ErrorCode> {
    match parse_head(records) {
        Ok(head) if head.size != records.len() => Some(ErrorCode::InvalidRecord),
        Ok(_) | Err(BatchError::BadCounts | BatchError::BadCrc) => None,
        Err(error) => Some(unfit(error, records).code),
    }
}

/// The answer to bytes that are no batch (`ProduceRequest.java`, `ByteBufferLogInputStream.java`).
fn unfit(error: BatchError, records: &[u8]) -> AppendError {
    use ErrorCode::{CorruptMessage, InvalidRecord};
    let (code, text) = match error {
        BatchError::Truncated => (InvalidRecord, "there is no whole batch"),
        BatchError::OldMagic => (InvalidRecord, "only record batches of magic 2"),
        BatchError::UnknownMagic => (CorruptMessage, "only record batches of magic 2"),
        BatchError::Malformed => (CorruptMessage, "the batch's length cannot be"),
        BatchError::BadCounts if crc_holds(records, records.len()) => {
            return AppendError::of_log(InvalidRecord, "the batch's counts or offsets cannot be")
        }
        BatchError::BadCounts | BatchError::BadCrc => (CorruptMessage, "the CRC does not match"),
    };
    AppendError::of_request(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, complete, verify, BatchSpec};
    use crate::ids::{PartitionId, Uuid};

    /// The time at the broker, ms.
    const NOW_MS: i64 = 1_000_000;

    fn replica() -> Replica {
        let id = PartitionId {
            topic: Uuid([3; 16]),
            index: 0,
        };
        let mut replica = Replica::empty(id, Uuid([1; 16]), String::new());
        replica.leader_epoch = 4;
        replica
    }

    /// Two records of the broker's time, changed before the batch's length and CRC are set.
    fn batch(change: impl Fn(&mut [u8])) -> Bytes {
        let spec = BatchSpec {
            timestamp: NOW_MS,
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: 0,
        };
        let mut batch = build_batch(spec, &[(None, b"a"), (None, b"b")]).to_vec();
        change(&mut batch);
        complete(&mut batch);
        batch.into()
    }

    fn append(replica: &mut Replica, bytes: &Bytes) -> Result<Appended, AppendError> {
        let admitted = replica.admit(bytes, NOW_MS)?;
        replica.append(bytes, &admitted, NOW_MS)
    }

    /// What no topic takes, and the code that says so.
    fn refused_batches(whole: &Bytes) -> Vec<(ErrorCode, Bytes)> {
        use ErrorCode::{CorruptMessage, InvalidRecord};
        let set = |at: usize, bytes: &[u8]| {
            batch(|batch| batch[at..at + bytes.len()].copy_from_slice(bytes))
        };
        vec![
            // Field case 8, the uncompressed list: magic 0, 1 and 3, none, a part, two, a wrong CRC.
            (InvalidRecord, set(16, &[0])),
            (InvalidRecord, set(16, &[1])),
            (CorruptMessage, set(16, &[3])),
            (InvalidRecord, Bytes::new()),
            (InvalidRecord, whole.slice(..whole.len() - 1)),
            (
                CorruptMessage,
                [&whole[..whole.len() - 1], &[0x55]].concat().into(),
            ),
            (
                CorruptMessage,
                [&whole[..8], &[0, 0, 0, 48], &whole[12..]].concat().into(),
            ),
            (
                InvalidRecord,
                [&1i64.to_be_bytes()[..], &whole[8..]].concat().into(),
            ),
            (InvalidRecord, set(23, &(-1i32).to_be_bytes())),
            (InvalidRecord, set(57, &(-1i32).to_be_bytes())),
            (InvalidRecord, [&whole[..], &whole[..]].concat().into()),
            (InvalidRecord, set(57, &3i32.to_be_bytes())),
            (InvalidRecord, set(57, &0i32.to_be_bytes())),
            (InvalidRecord, set(23, &5i32.to_be_bytes())),
            (InvalidRecord, set(21, &ATTRIBUTE_CONTROL.to_be_bytes())),
            (
                InvalidRecord,
                set(21, &ATTRIBUTE_TRANSACTIONAL.to_be_bytes()),
            ),
            (InvalidRecord, set(51, &(-1i16).to_be_bytes())),
            (InvalidRecord, set(53, &(-1i32).to_be_bytes())),
            (InvalidRecord, set(HEAD_LEN, &[3])),
            (InvalidRecord, set(21, &5i16.to_be_bytes())),
            (InvalidRecord, set(21, &7i16.to_be_bytes())),
        ]
    }

    #[test]
    fn what_cannot_be_appended_is_refused_with_kafkas_code_and_changes_nothing() {
        use ErrorCode::{InvalidTimestamp, MessageTooLarge};
        let whole = batch(|_| {});
        let code = |config: &dyn Fn(&mut Replica), bytes: Bytes| {
            let mut replica = replica();
            config(&mut replica);
            let before = replica.clone();
            let refused = append(&mut replica, &bytes).err();
            let same = (replica.log_end, replica.tail.len(), &replica.producers)
                == (before.log_end, before.tail.len(), &before.producers);
            assert!(refused.is_none() || same);
            refused.map(|refused| refused.code)
        };
        let plain = |_: &mut Replica| {};
        assert_eq!(code(&plain, whole.clone()), None);
        for (wanted, bytes) in refused_batches(&whole) {
            assert_eq!(code(&plain, bytes), Some(wanted));
        }
        let size = whole.len() as i64;
        let bound = |max: i64| move |replica: &mut Replica| replica.config.max_message_bytes = max;
        assert_eq!(code(&bound(size), whole.clone()), None);
        assert_eq!(code(&bound(size - 1), whole.clone()), Some(MessageTooLarge));
        for (age, wanted) in [(10, None), (-10, None), (11, Some(())), (-11, Some(()))] {
            let bounds = |replica: &mut Replica| {
                (replica.config.before_max_ms, replica.config.after_max_ms) = (10, 10)
            };
            let time = (NOW_MS - age).to_be_bytes();
            let moved = batch(|batch| {
                batch[27..35].copy_from_slice(&time);
                batch[35..43].copy_from_slice(&time);
            });
            let wanted = wanted.map(|()| InvalidTimestamp);
            assert_eq!(code(&bounds, moved), wanted, "{age} ms old");
        }
    }

    #[test]
    fn the_broker_puts_in_offset_epoch_and_the_true_youngest_time() {
        let honest = batch(|_| {});
        let lying = batch(|batch| batch[35..43].copy_from_slice(&i64::MAX.to_be_bytes()));
        let appended = |config: &dyn Fn(&mut Replica), bytes: &Bytes| {
            let mut replica = replica();
            config(&mut replica);
            replica.log_end = 20;
            let told = append(&mut replica, bytes).expect("taken");
            assert_eq!((told.base_offset, told.next_offset), (20, 22));
            let tail = replica.tail.back().expect("it is there");
            let whole = tail.pieces.concat();
            let head = verify(&whole).expect("its CRC holds");
            assert_eq!((head.base_offset, head.leader_epoch), (20, 4));
            assert_eq!(tail.row.max_timestamp, head.max_timestamp);
            (head.max_timestamp, head.attributes, told.log_append_time_ms)
        };
        for bytes in [&honest, &lying] {
            assert_eq!(appended(&|_| {}, bytes), (NOW_MS, 0, -1));
        }
        let by_broker = |replica: &mut Replica| replica.config.log_append_time = true;
        let flag = crate::batch::ATTRIBUTE_LOG_APPEND_TIME;
        assert_eq!(appended(&by_broker, &honest), (NOW_MS, flag, NOW_MS));
        // What needs no change keeps its producer's CRC.
        let mut replica = replica();
        append(&mut replica, &honest).expect("taken");
        let crc = |bytes: &[u8]| verify(bytes).expect("a batch").crc;
        assert_eq!(crc(&replica.tail[0].pieces.concat()), crc(&honest));
    }
}
