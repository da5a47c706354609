//! Appending: what may enter the log, and where it goes.

use bytes::Bytes;

use super::{Replica, TailBatch, Verdict};
use crate::batch::{
    check_records, place, verify, BatchError, BatchHead, Stamp, ATTRIBUTE_COMPRESSION,
    ATTRIBUTE_CONTROL, ATTRIBUTE_TRANSACTIONAL, HEAD_LEN,
};
use crate::error_code::ErrorCode;
use crate::log::frame::{batch_pieces, seal};
use crate::log::rows::Row;

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
    pub text: &'static str,
}

fn refuse<T>(code: ErrorCode, text: &'static str) -> Result<T, AppendError> {
    Err(AppendError { code, text })
}

impl Replica {
    /// Check one produced batch and append it. The caller stages the frames in the journal.
    pub fn append(&mut self, records: &Bytes, now_ms: i64) -> Result<Appended, AppendError> {
        let (head, stamp) = self.admit(records, now_ms)?;
        if head.has_producer() {
            match self.producers.judge(&head) {
                Verdict::Next => {}
                Verdict::Refused(code) => {
                    return refuse(code, "the producer's sequence does not fit")
                }
                Verdict::Duplicate(base_offset, next_offset) => {
                    return Ok(Appended {
                        base_offset,
                        next_offset,
                        log_append_time_ms: -1,
                        frames: None,
                    })
                }
            }
        }
        let (head, front, rest) = place(records, self.log_end, self.leader_epoch, stamp);
        let frames = self.take(&head, front, rest, now_ms);
        Ok(Appended {
            base_offset: head.base_offset,
            next_offset: head.next_offset(),
            log_append_time_ms: match stamp {
                Some(Stamp::LogAppendTime(time)) => time,
                Some(Stamp::Youngest(_)) | None => -1,
            },
            frames: Some(frames),
        })
    }

    /// This batch is in the log already: its producer sent it again.
    pub fn has(&self, records: &Bytes, now_ms: i64) -> bool {
        let duplicate = |head: BatchHead| {
            head.has_producer() && matches!(self.producers.judge(&head), Verdict::Duplicate(..))
        };
        self.admit(records, now_ms)
            .is_ok_and(|(head, _)| duplicate(head))
    }

    /// M63: the producer table learns of a batch that is not appended.
    pub fn note_producer_early(&mut self, records: &Bytes, now_ms: i64) {
        if self.admit(records, now_ms).is_ok() {
            let (head, ..) = place(records, self.log_end, self.leader_epoch, None);
            if head.has_producer() && self.producers.judge(&head) == Verdict::Next {
                self.producers.record(&head, now_ms);
            }
        }
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

    /// Everything that can refuse a batch but its sequence. Returns its head as it was sent, and what
    /// the broker has to say of its time.
    fn admit(
        &self,
        records: &Bytes,
        now_ms: i64,
    ) -> Result<(BatchHead, Option<Stamp>), AppendError> {
        let head = match verify(records) {
            Ok(head) => head,
            Err(BatchError::UnsupportedMagic) => {
                return refuse(
                    ErrorCode::UnsupportedForMessageFormat,
                    "only record batches of magic 2",
                )
            }
            Err(_) => {
                return refuse(
                    ErrorCode::CorruptMessage,
                    "the batch is malformed or its CRC is wrong",
                )
            }
        };
        if head.size != records.len() {
            return refuse(
                ErrorCode::InvalidRecord,
                "one partition takes one batch per request",
            );
        }
        if head.size as i64 > self.config.max_message_bytes {
            return refuse(
                ErrorCode::MessageTooLarge,
                "the batch is larger than max.message.bytes",
            );
        }
        if head.record_count < 1 || head.last_offset_delta != head.record_count - 1 {
            return refuse(
                ErrorCode::InvalidRecord,
                "the record count does not fit the offsets",
            );
        }
        if head.attributes & (ATTRIBUTE_CONTROL | ATTRIBUTE_TRANSACTIONAL) != 0 {
            return refuse(ErrorCode::InvalidRecord, "transactions are not served yet");
        }
        if head.has_producer() && (head.base_sequence < 0 || head.producer_epoch < 0) {
            return refuse(
                ErrorCode::InvalidRecord,
                "a producer needs an epoch and a sequence",
            );
        }
        // What is compressed is passed through as it is.
        let times = match head.attributes & ATTRIBUTE_COMPRESSION {
            0 => match check_records(&head, &records[HEAD_LEN..]) {
                Ok(times) => times,
                Err(_) => return refuse(ErrorCode::InvalidRecord, "a record is malformed"),
            },
            _ => (head.base_timestamp, head.max_timestamp),
        };
        self.stamp(&head, times, now_ms).map(|stamp| (head, stamp))
    }

    /// What the broker has to say of a batch whose oldest and youngest record are of these times.
    fn stamp(
        &self,
        head: &BatchHead,
        (oldest, youngest): (i64, i64),
        now_ms: i64,
    ) -> Result<Option<Stamp>, AppendError> {
        let config = &self.config;
        if config.log_append_time {
            return Ok(Some(Stamp::LogAppendTime(now_ms)));
        }
        let late = now_ms.saturating_sub(config.before_max_ms);
        let early = now_ms.saturating_add(config.after_max_ms);
        let outside = |time: i64| time >= 0 && !(late..=early).contains(&time);
        if outside(oldest) || outside(youngest) {
            return refuse(
                ErrorCode::InvalidTimestamp,
                "a timestamp is outside the topic's bounds",
            );
        }
        Ok((youngest != head.max_timestamp).then_some(Stamp::Youngest(youngest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, complete, BatchSpec};
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

    #[test]
    fn what_cannot_be_appended_is_refused_with_kafkas_code_and_changes_nothing() {
        use ErrorCode::{
            CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge, UnknownProducerId,
            UnsupportedForMessageFormat,
        };
        let whole = batch(|_| {});
        let code = |config: &dyn Fn(&mut Replica), bytes: Bytes| {
            let mut replica = replica();
            config(&mut replica);
            let before = replica.clone();
            let refused = replica.append(&bytes, NOW_MS).err();
            let same = (replica.log_end, replica.tail.len(), &replica.producers)
                == (before.log_end, before.tail.len(), &before.producers);
            assert!(refused.is_none() || same);
            refused.map(|refused| refused.code)
        };
        let plain = |_: &mut Replica| {};
        let set = |at: usize, bytes: &[u8]| {
            batch(|batch| batch[at..at + bytes.len()].copy_from_slice(bytes))
        };
        assert_eq!(code(&plain, whole.clone()), None);
        for (wanted, bytes) in [
            (UnsupportedForMessageFormat, set(16, &[1])),
            (CorruptMessage, whole.slice(..whole.len() - 1)),
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
            (UnknownProducerId, set(53, &2i32.to_be_bytes())),
        ] {
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
            let told = replica.append(bytes, NOW_MS).expect("taken");
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
        replica.append(&honest, NOW_MS).expect("taken");
        let crc = |bytes: &[u8]| verify(bytes).expect("a batch").crc;
        assert_eq!(crc(&replica.tail[0].pieces.concat()), crc(&honest));
    }
}
