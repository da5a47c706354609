//! Plain records inside a batch (`DefaultRecord.java`): their numbers, taking one after the other, and
//! whether they have the shape that every client will expect of them.

use std::io::{self, Read};

use bytes::{BufMut, BytesMut};

use super::{BatchError, BatchHead};
use crate::codec::Malformed;

/// Write a zigzag varint, as records have them.
pub fn put_varint(out: &mut BytesMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.put_u8((zigzag as u8 & 0x7f) | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag as u8);
}

/// Read a zigzag varint: from a slice, which moves on, or from whatever else is read through.
pub fn get_varint(bytes: &mut impl Read) -> io::Result<i64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        bytes.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// A record where it stands; its headers are not looked at yet.
#[derive(Clone, Debug)]
pub struct RawRecord<'a> {
    /// Its timestamp less the batch's base timestamp, ms.
    pub time_delta: i64,
    /// Its offset less the batch's base offset.
    pub offset_delta: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: Headers<'a>,
}

/// The headers of a record, to be gone through: name and value.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    left: i64,
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    fn next_header(&mut self) -> Result<(&'a str, Option<&'a [u8]>), Malformed> {
        let name = field(&mut self.rest)?.ok_or(Malformed("a header has no name"))?;
        let name = std::str::from_utf8(name).map_err(|_| Malformed("a header's name"))?;
        Ok((name, field(&mut self.rest)?))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<(&'a str, Option<&'a [u8]>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        Some(self.next_header())
    }
}

/// Take the first record off `plain`, the uncompressed records of a batch.
pub fn take_record<'a>(plain: &mut &'a [u8]) -> Result<RawRecord<'a>, Malformed> {
    let length = usize::try_from(varint(plain)?);
    let length = length.map_err(|_| Malformed("a record's length is negative"))?;
    let mut body = split(plain, length)?;
    split(&mut body, 1)?;
    Ok(RawRecord {
        time_delta: varint(&mut body)?,
        offset_delta: varint(&mut body)?,
        key: field(&mut body)?,
        value: field(&mut body)?,
        headers: Headers {
            left: varint(&mut body)?,
            rest: body,
        },
    })
}

fn varint(bytes: &mut &[u8]) -> Result<i64, Malformed> {
    get_varint(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Malformed("a varint is cut off"),
        _ => Malformed("a varint is too long"),
    })
}

fn split<'a>(bytes: &mut &'a [u8], size: usize) -> Result<&'a [u8], Malformed> {
    let cut_off = Malformed("a record is cut off");
    let (taken, rest) = bytes.split_at_checked(size).ok_or(cut_off)?;
    *bytes = rest;
    Ok(taken)
}

/// A nullable field.
fn field<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    match varint(bytes)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| Malformed("a field's length"))?;
            split(bytes, length).map(Some)
        }
    }
}

/// Walk the uncompressed records of a batch: every length fits, offsets go up by one, and nothing is
/// left over. One malformed record would stop each reader at its offset for ever. Returns the
/// timestamps of the oldest and of the youngest.
pub fn check_records(head: &BatchHead, records: &[u8]) -> Result<(i64, i64), BatchError> {
    walk(head, records).ok_or(BatchError::Malformed)
}

fn walk(head: &BatchHead, mut rest: &[u8]) -> Option<(i64, i64)> {
    let (mut oldest, mut youngest) = (i64::MAX, i64::MIN);
    for index in 0..i64::from(head.record_count) {
        let mut record = take_record(&mut rest).ok()?;
        let time = head.base_timestamp.checked_add(record.time_delta)?;
        (oldest, youngest) = (oldest.min(time), youngest.max(time));
        let counted = record.headers.left >= 0;
        if record.offset_delta != index || !counted || !record.headers.all(|header| header.is_ok())
        {
            return None;
        }
        if !record.headers.rest.is_empty() {
            return None;
        }
    }
    rest.is_empty().then_some((oldest, youngest))
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
