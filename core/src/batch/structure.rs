//! Do the plain records of a batch have the shape that every client will expect of them
//! (`DefaultRecord.java`)? One malformed record would stop each reader at its offset for ever.

use super::{BatchError, BatchHead};

/// Walk the uncompressed records of a batch: every length fits, offsets go up by one, and nothing is
/// left over. Returns the timestamps of the oldest and of the youngest.
pub fn check_records(head: &BatchHead, records: &[u8]) -> Result<(i64, i64), BatchError> {
    walk(head, records).ok_or(BatchError::Malformed)
}

fn walk(head: &BatchHead, mut rest: &[u8]) -> Option<(i64, i64)> {
    let (mut oldest, mut youngest) = (i64::MAX, i64::MIN);
    for index in 0..i64::from(head.record_count) {
        let length = take_length(&mut rest)?;
        let (mut record, after) = rest.split_at_checked(length)?;
        rest = after;
        take(&mut record, 1)?;
        let time = head.base_timestamp.checked_add(take_varint(&mut record)?)?;
        (oldest, youngest) = (oldest.min(time), youngest.max(time));
        if take_varint(&mut record)? != index {
            return None;
        }
        take_field(&mut record)?;
        take_field(&mut record)?;
        for _ in 0..take_length(&mut record)? {
            let name = take_length(&mut record)?;
            std::str::from_utf8(take(&mut record, name)?).ok()?;
            take_field(&mut record)?;
        }
        if !record.is_empty() {
            return None;
        }
    }
    rest.is_empty().then_some((oldest, youngest))
}

fn take<'a>(bytes: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(size)?;
    *bytes = rest;
    Some(taken)
}

/// A length that is not null, or a count.
fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    usize::try_from(take_varint(bytes)?).ok()
}

/// A nullable field.
fn take_field(bytes: &mut &[u8]) -> Option<()> {
    match take_varint(bytes)? {
        -1 => Some(()),
        length => take(bytes, usize::try_from(length).ok()?).map(drop),
    }
}

fn take_varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i64) ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, parse_head, BatchSpec, HEAD_LEN};

    fn batch() -> (BatchHead, Vec<u8>) {
        let batch = build_batch(
            BatchSpec::plain(70),
            &[(Some(b"key"), b"value"), (None, b"w")],
        );
        let head = parse_head(&batch).expect("a head");
        (head, batch[HEAD_LEN..].to_vec())
    }

    #[test]
    fn well_formed_records_pass_with_their_times() {
        let (head, mut records) = batch();
        assert_eq!(check_records(&head, &records), Ok((70, 70)));
        // The first record's timestamp delta.
        records[2] = 5;
        assert_eq!(check_records(&head, &records), Ok((67, 70)));
        // A header in the last record: "h" without a value.
        let tail = records.len() - 1;
        records.splice(tail.., [2, 2, b'h', 1]);
        let second = records.len() - 11;
        records[second] += 6;
        assert_eq!(check_records(&head, &records), Ok((67, 70)));
    }

    #[test]
    fn any_length_or_offset_that_does_not_fit_is_seen() {
        let (head, records) = batch();
        let refused = |records: &[u8]| check_records(&head, records) == Err(BatchError::Malformed);
        for cut in 0..records.len() {
            assert!(refused(&records[..cut]), "cut at {cut}");
        }
        assert!(refused(&[&records[..], &[0]].concat()));
        // Lengths, offset deltas, the number of headers; not attributes, times and contents.
        let second = 1 + records[0] as usize / 2;
        for at in [0, 3, 4, 8, 14, second, second + 3, second + 5] {
            for change in [1, 2, 3, 4, 0x80, 0xff] {
                let mut bad = records.clone();
                bad[at] ^= change;
                assert!(refused(&bad), "{change:#x} at {at}");
            }
        }
    }
}
