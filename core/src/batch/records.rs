//! Looking inside an uncompressed batch, for ListOffsets by timestamp.

use super::{BatchHead, ATTRIBUTE_LOG_APPEND_TIME, HEAD_LEN};

/// The first record of the batch whose timestamp is at least `timestamp`: (offset, timestamp).
///
/// A compressed batch answers with its first record: an earlier offset than Kafka's, never a later
/// one, so a reader that starts there misses nothing.
pub fn first_record_at_or_after(head: &BatchHead, batch: &[u8], timestamp: i64) -> (i64, i64) {
    let start = (head.base_offset, head.base_timestamp);
    if head.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0 {
        return (head.base_offset, head.max_timestamp);
    }
    if head.attributes & 0x07 != 0 {
        return start;
    }
    let mut at = HEAD_LEN;
    for _ in 0..head.record_count {
        let Some((length, body)) = varint(batch, at) else {
            return start;
        };
        let fields = varint(batch, body + 1).and_then(|(time, next)| {
            varint(batch, next).map(|(offset_delta, _)| (time, offset_delta))
        });
        let Some((time_delta, offset_delta)) = fields else {
            return start;
        };
        let time = head.base_timestamp.saturating_add(time_delta);
        if time >= timestamp {
            return (head.base_offset.saturating_add(offset_delta), time);
        }
        let Some(next) = usize::try_from(length)
            .ok()
            .and_then(|len| body.checked_add(len))
        else {
            return start;
        };
        at = next;
    }
    start
}

fn varint(bytes: &[u8], mut at: usize) -> Option<(i64, usize)> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((((value >> 1) as i64) ^ -((value & 1) as i64), at));
        }
    }
    None
}
