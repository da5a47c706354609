//! Idempotent producers: what each one appended last, so that a resent batch is recognised
//! (KIP-98, `ProducerStateManager.java`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::batch::{sequence_after, BatchHead};
use crate::error_code::ErrorCode;

/// Batches remembered per producer: as many as a client keeps in flight.
pub const PRODUCER_WINDOW: usize = 5;

/// Producers remembered per partition, or fewer while all partitions' together are too many
/// ([`Producers::keep`]). Each costs its client one batch and us some 200 bytes in memory
/// and in every manifest; Kafka has no bound but time. One that is forgotten is taken back at any
/// sequence, so only a batch sent again after so many other producers could be written twice.
pub const PRODUCERS_MAX: usize = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Appended {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    next_offset: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    last_seen_ms: i64,
    window: VecDeque<Appended>,
}

/// What the table says of a batch that wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Next,
    /// It is here already, at these offsets (first, after the last).
    Duplicate(i64, i64),
    /// Refuse it.
    Refused(ErrorCode),
}

/// Bytes of a producer in a manifest, at most.
const PRODUCER_BYTES: u64 = 19 + 24 * PRODUCER_WINDOW as u64;

/// The producer table of one partition: a fold of its batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    table: BTreeMap<i64, Producer>,
    max: usize,
}

impl Default for Producers {
    fn default() -> Producers {
        Producers {
            table: BTreeMap::new(),
            max: PRODUCERS_MAX,
        }
    }
}

impl Producers {
    /// May this batch be appended? (`ProducerAppendInfo.checkSequence`; Kafka 4.3 never answers
    /// DUPLICATE_SEQUENCE_NUMBER.)
    pub fn judge(&self, head: &BatchHead) -> Verdict {
        // Of a producer that idled past its expiry, or whose topic is a new one of its old name, any
        // sequence is the next: it has no way to know, and refused it would never come back.
        let Some(producer) = self.table.get(&head.producer_id) else {
            return Verdict::Next;
        };
        let first = head.base_sequence;
        let fits = match head.producer_epoch.cmp(&producer.epoch) {
            Ordering::Less => return Verdict::Refused(ErrorCode::InvalidProducerEpoch),
            Ordering::Greater => first == 0,
            Ordering::Equal => {
                let same = |batch: &&Appended| {
                    batch.first_sequence == first && batch.last_sequence == head.last_sequence()
                };
                if let Some(batch) = producer.window.iter().find(same) {
                    return Verdict::Duplicate(batch.base_offset, batch.next_offset);
                }
                let last = producer.window.back();
                last.is_none_or(|batch| sequence_after(batch.last_sequence, 1) == first)
            }
        };
        // A gap; a repeat that is no longer remembered; or a part of it is old and a part is new, and
        // a client that is told of a duplicate would count the new part as written.
        match fits {
            true => Verdict::Next,
            false => Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber),
        }
    }

    /// A batch was appended.
    pub fn record(&mut self, head: &BatchHead, now_ms: i64) {
        let producer = self.table.entry(head.producer_id).or_default();
        if producer.epoch != head.producer_epoch {
            producer.window.clear();
            producer.epoch = head.producer_epoch;
        }
        producer.last_seen_ms = now_ms;
        if producer.window.len() == PRODUCER_WINDOW {
            producer.window.pop_front();
        }
        producer.window.push_back(Appended {
            first_sequence: head.base_sequence,
            last_sequence: head.last_sequence(),
            base_offset: head.base_offset,
            next_offset: head.next_offset(),
        });
        self.forget_beyond(self.max);
    }

    /// Remember so many from now on.
    pub fn keep(&mut self, max: usize) {
        self.max = max;
        self.forget_beyond(max);
    }

    /// Forget the oldest until the table fits into so many bytes.
    pub fn fit(&mut self, bytes: u64) {
        self.forget_beyond(usize::try_from(bytes / PRODUCER_BYTES).unwrap_or(usize::MAX));
    }

    /// Bytes of a table in a manifest, at most, where so many are remembered.
    pub fn bytes(&self, max: usize) -> u64 {
        self.table.len().min(max) as u64 * PRODUCER_BYTES
    }

    /// Where there are more than `max`, keep the nine tenths of it that appended last. By offset and not
    /// by time, so that a replay from any manifest forgets the same ones.
    fn forget_beyond(&mut self, max: usize) {
        if self.table.len() <= max {
            return;
        }
        let last = |producer: &Producer| producer.window.back().map(|batch| batch.base_offset);
        let mut offsets: Vec<Option<i64>> = self.table.values().map(last).collect();
        let surplus = offsets.len().saturating_sub((max - max / 10).max(1));
        let (_, oldest_kept, _) = offsets.select_nth_unstable(surplus);
        let oldest_kept = *oldest_kept;
        self.table
            .retain(|_, producer| last(producer) >= oldest_kept);
    }

    /// Forget producers not seen since `before_ms` (`producer.id.expiration.ms`).
    pub fn expire(&mut self, before_ms: i64) {
        self.table
            .retain(|_, producer| producer.last_seen_ms >= before_ms);
    }

    /// Each producer's id, epoch and batches remembered, oldest first, as (first sequence, last
    /// sequence, base offset, offset after it): for checkers.
    pub fn remembered(
        &self,
    ) -> impl Iterator<Item = (i64, i16, impl Iterator<Item = (i32, i32, i64, i64)> + '_)> + '_
    {
        self.table.iter().map(|(id, producer)| {
            let batches = producer.window.iter().map(|batch| {
                let (first, last) = (batch.first_sequence, batch.last_sequence);
                (first, last, batch.base_offset, batch.next_offset)
            });
            (*id, producer.epoch, batches)
        })
    }

    /// The table's bytes, for a manifest.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.table.len() as u32);
        for (id, producer) in &self.table {
            out.put_i64(*id);
            out.put_i16(producer.epoch);
            out.put_i64(producer.last_seen_ms);
            out.put_u8(producer.window.len() as u8);
            for batch in &producer.window {
                out.put_i32(batch.first_sequence);
                out.put_i32(batch.last_sequence);
                out.put_i64(batch.base_offset);
                out.put_i64(batch.next_offset);
            }
        }
    }

    /// Read a table back; `None` if the bytes are short or not what [`Producers::encode`] writes.
    pub fn decode(bytes: &mut Bytes) -> Option<Producers> {
        let mut table = BTreeMap::new();
        for _ in 0..bytes.try_get_u32().ok()? {
            let id = bytes.try_get_i64().ok()?;
            let epoch = bytes.try_get_i16().ok()?;
            let last_seen_ms = bytes.try_get_i64().ok()?;
            let mut window = VecDeque::new();
            let remembered = bytes.try_get_u8().ok()?;
            // A larger window would never be cut to its size again.
            if usize::from(remembered) > PRODUCER_WINDOW {
                return None;
            }
            // Ids go up: a second entry would take the first one's place.
            if table.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return None;
            }
            for _ in 0..remembered {
                window.push_back(Appended {
                    first_sequence: bytes.try_get_i32().ok()?,
                    last_sequence: bytes.try_get_i32().ok()?,
                    base_offset: bytes.try_get_i64().ok()?,
                    next_offset: bytes.try_get_i64().ok()?,
                });
            }
            table.insert(
                id,
                Producer {
                    epoch,
                    last_seen_ms,
                    window,
                },
            );
        }
        Some(Producers {
            table,
            max: PRODUCERS_MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, parse_head, BatchSpec};

    fn head(epoch: i16, sequence: i32, offset: i64) -> BatchHead {
        let spec = BatchSpec {
            timestamp: 0,
            producer_id: 4,
            producer_epoch: epoch,
            base_sequence: sequence,
        };
        let batch = build_batch(spec, &[(None, b"a"), (None, b"b")]);
        BatchHead {
            base_offset: offset,
            ..parse_head(&batch).expect("head")
        }
    }

    const GAP: Verdict = Verdict::Refused(ErrorCode::OutOfOrderSequenceNumber);

    /// The head with so many records instead of two.
    fn of(records: i32, head: BatchHead) -> BatchHead {
        BatchHead {
            record_count: records,
            last_offset_delta: records - 1,
            ..head
        }
    }

    #[test]
    fn a_window_of_five_batches() {
        let mut producers = Producers::default();
        for index in 0..6 {
            let batch = head(0, index * 2, i64::from(index) * 2);
            assert_eq!(producers.judge(&batch), Verdict::Next);
            producers.record(&batch, 1);
        }
        assert_eq!(producers.judge(&head(0, 10, 0)), Verdict::Duplicate(10, 12));
        assert_eq!(producers.judge(&head(0, 2, 0)), Verdict::Duplicate(2, 4));
        assert_eq!(producers.judge(&head(0, 0, 0)), GAP, "no longer remembered");
        assert_eq!(producers.judge(&head(0, 14, 0)), GAP);
        assert_eq!(
            producers.judge(&head(1, 2, 0)),
            GAP,
            "a new epoch begins at 0"
        );
        assert_eq!(producers.judge(&head(1, 12, 0)), GAP);
        assert_eq!(producers.judge(&head(1, 0, 0)), Verdict::Next);
        producers.record(&head(1, 0, 12), 2);
        let fenced = Verdict::Refused(ErrorCode::InvalidProducerEpoch);
        assert_eq!(producers.judge(&head(0, 12, 0)), fenced);
    }

    #[test]
    fn any_first_sequence_of_an_unknown_producer_is_taken() {
        // Field case 1: 55, 56, then 60.
        let mut producers = Producers::default();
        for (sequence, verdict) in [(55, Verdict::Next), (56, Verdict::Next), (60, GAP)] {
            let batch = of(1, head(0, sequence, 0));
            assert_eq!(producers.judge(&batch), verdict, "{sequence}");
            if verdict == Verdict::Next {
                producers.record(&batch, 1);
            }
        }
        // Expired, it is unknown once more.
        producers.expire(2);
        assert_eq!(producers.judge(&of(1, head(0, 99, 0))), Verdict::Next);
    }

    #[test]
    fn an_overlap_is_out_of_order_and_never_a_duplicate() {
        // Field case 3: 0 to 6 one by one; 6 and 7; 1; 7 to 9; 8 alone.
        let mut producers = Producers::default();
        for sequence in 0..7 {
            producers.record(&of(1, head(0, sequence, i64::from(sequence))), 1);
        }
        assert_eq!(producers.judge(&head(0, 6, 0)), GAP);
        assert_eq!(producers.judge(&of(1, head(0, 1, 0))), GAP);
        let three = of(3, head(0, 7, 7));
        assert_eq!(producers.judge(&three), Verdict::Next);
        producers.record(&three, 1);
        assert_eq!(producers.judge(&of(1, head(0, 8, 0))), GAP);
        assert_eq!(producers.judge(&three), Verdict::Duplicate(7, 10));
        // 3 and 4 are the oldest of the five that are still known.
        assert_eq!(
            producers.judge(&of(1, head(0, 3, 0))),
            Verdict::Duplicate(3, 4)
        );
        assert_eq!(producers.judge(&of(1, head(0, 2, 0))), GAP);
    }

    #[test]
    fn too_many_producers_are_forgotten_oldest_first_and_a_replay_forgets_the_same() {
        let (max, mut offset) = (20, 0);
        let mut batches = Vec::new();
        for round in 0..300_i64 {
            // Producer 1 goes on all the time; each other appends twice, and a while later once more.
            for id in [1, 1_000 + round, 1_000 + round, 1_000 - 3 + round] {
                let spec = head(0, offset as i32, offset);
                batches.push(BatchHead {
                    producer_id: id,
                    ..spec
                });
                offset += 2;
            }
        }
        let fold = |mut producers: Producers, batches: &[BatchHead]| {
            for batch in batches {
                producers.keep(max);
                producers.record(batch, 7);
                assert!(producers.table.len() <= max);
            }
            producers
        };
        let whole = fold(Producers::default(), &batches);
        assert!(whole.table.len() >= max - max / 10);
        assert!(whole.table.contains_key(&1) && whole.table.contains_key(&1_299));
        assert!(!whole.table.contains_key(&1_000));
        for cut in 0..batches.len() {
            // The table as a manifest holds it, and the batches that follow it in the journal.
            let mut out = BytesMut::new();
            fold(Producers::default(), &batches[..cut]).encode(&mut out);
            let manifest = Producers::decode(&mut out.freeze()).expect("a table");
            assert_eq!(fold(manifest, &batches[cut..]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut producers = Producers::default();
        let across = of(3, head(0, i32::MAX - 1, 0));
        producers.record(&across, 1);
        assert_eq!(across.last_sequence(), 0);
        assert_eq!(producers.judge(&across), Verdict::Duplicate(0, 3));
        assert_eq!(producers.judge(&head(0, 1, 0)), Verdict::Next);
        assert_eq!(producers.judge(&head(0, 0, 0)), GAP);
        let mut up_to = Producers::default();
        up_to.record(&head(0, i32::MAX - 1, 0), 1);
        assert_eq!(up_to.judge(&head(0, 0, 2)), Verdict::Next);
        assert_eq!(up_to.judge(&head(0, i32::MAX, 2)), GAP);
    }

    #[test]
    fn the_table_comes_back_and_expires() {
        let mut producers = Producers::default();
        producers.record(&head(3, 0, 9), 1_000);
        let mut out = BytesMut::new();
        producers.encode(&mut out);
        let mut bytes = out.freeze();
        assert_eq!(
            Producers::decode(&mut bytes.clone()).as_ref(),
            Some(&producers)
        );
        assert_eq!(Producers::decode(&mut bytes.split_to(20)), None);
        producers.expire(1_001);
        assert_eq!(producers, Producers::default());
    }

    #[test]
    fn a_table_that_was_never_written_is_refused() {
        let table = |ids: &[i64], window: u8| {
            let mut out = BytesMut::new();
            out.put_u32(ids.len() as u32);
            for id in ids {
                out.put_i64(*id);
                out.put_i16(0);
                out.put_i64(7);
                out.put_u8(window);
                out.put_bytes(0, usize::from(window) * 24);
            }
            Producers::decode(&mut out.freeze()).is_some()
        };
        assert!(table(&[4, 5], 5));
        assert!(!table(&[4, 5], 6), "a window of six");
        assert!(!table(&[4, 4], 1) && !table(&[5, 4], 1), "ids in disorder");
    }
}
