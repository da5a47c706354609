//! Record batches: heads, checksums, the records in them.

use bytes::{Bytes, BytesMut};

use super::Script;
use crate::batch::{
    check_records, complete, crc_holds, head_alone, parse_head, place, put_varint, take_record,
    verify, BatchHead, RawRecord, Stamp, TimeBounds, CRC_START, HEAD_LEN,
};
use crate::codec::Malformed;

/// A batch as it is, or with the length, the magic and the checksum that make it one; then its records.
pub fn records(input: &[u8]) {
    let mut script = Script::new(input);
    let (how, base, time) = (script.byte(), script.signed(), script.signed());
    let mut batch = BytesMut::from(script.all());
    if how & 1 == 1 && batch.len() >= HEAD_LEN {
        batch[16] = 2;
        complete(&mut batch);
    }
    let batch = batch.freeze();
    let _ = head_alone(&batch);
    let Ok(head) = parse_head(&batch) else {
        return;
    };
    assert!(head.size >= HEAD_LEN && head.size <= batch.len());
    assert!(head.next_offset() > head.last_offset());
    let _ = head.last_sequence();
    let whole = batch.slice(..head.size);
    assert_eq!(verify(&batch).is_ok(), crc_holds(&batch, head.size));
    walk(&head, &whole[HEAD_LEN..], time);
    if let Ok(head) = verify(&whole) {
        let stamp = (how & 2 == 2).then_some(Stamp {
            log_append_time: how & 4 == 4,
            max_timestamp: time,
        });
        placed(&whole, &head, base, stamp);
    }
}

/// What checks records and what reads them are of one mind, and nothing is read twice.
fn walk(head: &BatchHead, records: &[u8], time: i64) {
    let bounds = TimeBounds {
        oldest: time,
        youngest: time.saturating_add(1000),
    };
    let checked = check_records(head, records, bounds);
    let mut rest = records;
    let mut taken = 0;
    let mut youngest = -1;
    while taken < head.record_count {
        let before = rest.len();
        let Ok(record) = take_record(&mut rest) else {
            break;
        };
        assert!(rest.len() < before, "a record of no bytes");
        youngest = youngest.max(head.base_timestamp.wrapping_add(record.time_delta));
        let headers = headers(record);
        if checked.is_ok() {
            assert_ne!(headers, Err(Malformed("a header has no name")));
        }
        taken += 1;
    }
    if let Ok(checked) = checked {
        assert_eq!((taken, rest.len()), (head.record_count, 0));
        assert_eq!(checked.youngest, youngest);
    }
}

fn headers(record: RawRecord) -> Result<usize, Malformed> {
    let mut count = 0;
    for header in record.headers {
        header?;
        count += 1;
    }
    Ok(count)
}

/// A verified batch is placed at any offset that a log can have.
fn placed(batch: &Bytes, head: &BatchHead, base: i64, stamp: Option<Stamp>) {
    let base = base & (i64::MAX >> 1);
    let (stands, front, rest) = place(batch, base, 3, stamp);
    let whole = [&front[..], &rest[..]].concat();
    assert_eq!(verify(&whole), Ok(stands));
    assert_eq!((stands.base_offset, stands.size), (base, head.size));
    if stamp.is_none() {
        assert_eq!(whole[CRC_START..], batch[CRC_START..]);
    }
    let mut varint = BytesMut::new();
    put_varint(&mut varint, base);
    assert_eq!(crate::batch::get_varint(&mut &varint[..]).ok(), Some(base));
}
