//! Compressed batches, as the CPU jobs look into them.

use bytes::{Bytes, BytesMut};

use super::Script;
use crate::batch::{check_records, head_alone, BatchHead, TimeBounds, HEAD_LEN};
use crate::work::{plain, run, WorkRequest, WorkResult};

/// Bytes that may come out.
const PLAIN_MAX: u64 = 1 << 20;
/// Attributes that name lz4.
const LZ4: i16 = 3;

/// Every codec over the same bytes: no more comes out than may, and what checks a batch sees the records
/// that a reader would.
pub fn decompression(input: &[u8]) {
    let mut script = Script::new(input);
    let attributes = i16::from(script.byte() % 6);
    let (count, from, time) = (script.number() as i32, script.signed(), script.signed());
    let youngest = script.byte() % 2 == 1;
    let records = Bytes::copy_from_slice(script.all());
    let Some(head) = head(attributes, count) else {
        return;
    };
    let bounds = TimeBounds::NONE;
    let unpacked = plain(attributes, &records, PLAIN_MAX).ok();
    if let Some(unpacked) = &unpacked {
        assert!(attributes == 0 || unpacked.len() as u64 <= PLAIN_MAX);
    }
    let told = run(&WorkRequest::CheckBatch {
        head,
        records: records.clone(),
        bounds,
        plain_max: PLAIN_MAX,
    });
    let seen = unpacked.and_then(|unpacked| check_records(&head, &unpacked, bounds).ok());
    match (&told, &seen) {
        (WorkResult::Checked(told), _) => assert_eq!(seen.as_ref(), Some(told), "one saw more"),
        // An lz4 frame without its end is refused although all of it can be read.
        (_, Some(_)) => assert_eq!(attributes, LZ4, "{told:?} of good records"),
        _ => {}
    }
    let found = run(&WorkRequest::FindTimestamp {
        head,
        records,
        from,
        timestamp: time,
        youngest,
    });
    match found {
        WorkResult::Found { offset, timestamp } => {
            assert!(offset >= from && timestamp >= time, "{found:?}");
        }
        WorkResult::Nothing | WorkResult::Unreadable => {}
        other => panic!("{other:?} is no answer to a search"),
    }
}

/// The head of a batch of so many records, if there can be one.
fn head(attributes: i16, count: i32) -> Option<BatchHead> {
    let built =
        crate::batch::build_batch(crate::batch::BatchSpec::plain(1000), &[(None, &b"x"[..])]);
    let mut front = BytesMut::from(&built[..HEAD_LEN]);
    front[21..23].copy_from_slice(&attributes.to_be_bytes());
    front[23..27].copy_from_slice(&count.wrapping_sub(1).to_be_bytes());
    front[57..61].copy_from_slice(&count.to_be_bytes());
    head_alone(&front).ok()
}
