//! Building a batch: for the metadata ledger's records and for tests.

use bytes::{BufMut, Bytes, BytesMut};

use super::{complete, put_varint, HEAD_LEN};

/// What the head of a new batch says. Offsets are patched when it is placed.
#[derive(Clone, Copy, Debug)]
pub struct BatchSpec {
    /// Timestamp of every record, ms.
    pub timestamp: i64,
    /// Producer id; -1 for none.
    pub producer_id: i64,
    /// Producer epoch; -1 for none.
    pub producer_epoch: i16,
    /// First sequence; -1 for none.
    pub base_sequence: i32,
}

impl BatchSpec {
    /// A batch without a producer.
    pub fn plain(timestamp: i64) -> BatchSpec {
        BatchSpec {
            timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

/// An uncompressed batch of (key, value) records at offset 0.
pub fn build_batch(spec: BatchSpec, records: &[(Option<&[u8]>, &[u8])]) -> Bytes {
    let mut body = BytesMut::new();
    for (index, (key, value)) in records.iter().enumerate() {
        let mut record = BytesMut::new();
        record.put_i8(0);
        put_varint(&mut record, 0);
        put_varint(&mut record, index as i64);
        match key {
            Some(key) => {
                put_varint(&mut record, key.len() as i64);
                record.put_slice(key);
            }
            None => put_varint(&mut record, -1),
        }
        put_varint(&mut record, value.len() as i64);
        record.put_slice(value);
        put_varint(&mut record, 0);
        put_varint(&mut body, record.len() as i64);
        body.put_slice(&record);
    }
    let mut batch = BytesMut::with_capacity(HEAD_LEN + body.len());
    batch.put_i64(0);
    batch.put_i32(0);
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(0);
    batch.put_i16(0);
    batch.put_i32(records.len() as i32 - 1);
    batch.put_i64(spec.timestamp);
    batch.put_i64(spec.timestamp);
    batch.put_i64(spec.producer_id);
    batch.put_i16(spec.producer_epoch);
    batch.put_i32(spec.base_sequence);
    batch.put_i32(records.len() as i32);
    batch.put_slice(&body);
    complete(&mut batch);
    batch.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{place, verify, BatchError, Stamp, ATTRIBUTE_LOG_APPEND_TIME};

    #[test]
    fn a_built_batch_verifies_and_a_flipped_byte_does_not() {
        let batch = build_batch(BatchSpec::plain(7), &[(Some(b"k"), b"v"), (None, b"w")]);
        let head = verify(&batch).expect("whole");
        assert_eq!(
            (
                head.record_count,
                head.last_offset_delta,
                head.max_timestamp
            ),
            (2, 1, 7)
        );
        let mut bad = batch.to_vec();
        *bad.last_mut().expect("bytes") ^= 1;
        assert_eq!(verify(&bad), Err(BatchError::BadCrc));
        assert_eq!(
            verify(&batch[..batch.len() - 1]),
            Err(BatchError::Truncated)
        );
    }

    #[test]
    fn placing_keeps_the_crc_unless_the_broker_sets_the_time() {
        for size in [0, 1, 7, 4096, 100_000] {
            let batch = build_batch(BatchSpec::plain(7), &[(None, &vec![b'v'; size])]);
            let mut flagged = batch.to_vec();
            flagged[22] |= ATTRIBUTE_LOG_APPEND_TIME as u8;
            complete(&mut flagged);
            let stamp = |log_append_time| Stamp {
                log_append_time,
                max_timestamp: 99,
            };
            for batch in [batch, flagged.into()] {
                for stamp in [None, Some(stamp(true)), Some(stamp(false))] {
                    let (head, front, rest) = place(&batch, 41, 5, stamp);
                    let whole = [&front[..], &rest[..]].concat();
                    assert_eq!(verify(&whole), Ok(head));
                    assert_eq!((head.base_offset, head.leader_epoch), (41, 5));
                    assert_eq!(head.max_timestamp, stamp.map_or(7, |_| 99));
                    let by_broker = head.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0;
                    let was = batch[22] & ATTRIBUTE_LOG_APPEND_TIME as u8 != 0;
                    assert_eq!(by_broker, stamp.map_or(was, |stamp| stamp.log_append_time));
                }
            }
        }
    }

    #[test]
    fn a_batch_that_is_a_head_alone_is_placed_with_its_crc() {
        let mut batch = build_batch(BatchSpec::plain(7), &[(None, b"v")])[..HEAD_LEN].to_vec();
        complete(&mut batch);
        let stamp = Stamp {
            log_append_time: true,
            max_timestamp: 99,
        };
        let (head, front, rest) = place(&batch.into(), 41, 5, Some(stamp));
        assert_eq!((verify(&front), rest.len()), (Ok(head), 0));
    }
}
