//! Plain records inside a batch (`DefaultRecord.java`): their numbers, taking one after the other, and
//! whether they have the shape that every client will expect of them.

use std::io::{self, Read};

use bytes::{BufMut, BytesMut};

use super::BatchHead;
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

/// Read a zigzag varint from what is read through.
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
    let length = usize::try_from(narrow_varint(plain)?);
    let length = length.map_err(|_| Malformed("a record's length is negative"))?;
    let mut body = split(plain, length)?;
    split(&mut body, 1)?;
    Ok(RawRecord {
        time_delta: varint(&mut body)?,
        offset_delta: narrow_varint(&mut body)?,
        key: field(&mut body)?,
        value: field(&mut body)?,
        headers: Headers {
            left: narrow_varint(&mut body)?,
            rest: body,
        },
    })
}

/// [`get_varint`] from a slice; most numbers in a record are of one byte.
fn varint(bytes: &mut &[u8]) -> Result<i64, Malformed> {
    let mut value: u64 = 0;
    for (index, shift) in (0..64).step_by(7).enumerate() {
        let byte = *bytes.get(index).ok_or(Malformed("a varint is cut off"))?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
        }
    }
    Err(Malformed("a varint is too long"))
}

/// The value of a number that a record has with 32 bits (lengths, the number of headers, the offset
/// delta; `DefaultRecord.java`), written in so many bytes: at most five, and not beyond 32 bits. Kafka
/// and every client refuse more bytes, whatever they say.
pub fn narrow(value: i64, bytes: usize) -> Result<i64, Malformed> {
    match bytes <= 5 && i32::try_from(value).is_ok() {
        true => Ok(value),
        false => Err(Malformed("a varint of 32 bits is too long")),
    }
}

fn narrow_varint(bytes: &mut &[u8]) -> Result<i64, Malformed> {
    let before = bytes.len();
    let value = varint(bytes)?;
    narrow(value, before - bytes.len())
}

fn split<'a>(bytes: &mut &'a [u8], size: usize) -> Result<&'a [u8], Malformed> {
    let cut_off = Malformed("a record is cut off");
    let (taken, rest) = bytes.split_at_checked(size).ok_or(cut_off)?;
    *bytes = rest;
    Ok(taken)
}

/// A nullable field.
fn field<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    match narrow_varint(bytes)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| Malformed("a field's length"))?;
            split(bytes, length).map(Some)
        }
    }
}

/// Records of one batch that are named as being outside of its topic's time bounds; those after them
/// are refused without a name, so that an answer stays small beside its request.
pub const NAMED_MAX: usize = 1_000;

/// The timestamps that records of a topic may have, ms (`message.timestamp.before.max.ms` and
/// `message.timestamp.after.max.ms` about the broker's time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeBounds {
    /// The oldest.
    pub oldest: i64,
    /// The youngest.
    pub youngest: i64,
}

impl TimeBounds {
    /// Every timestamp will do.
    pub const NONE: TimeBounds = TimeBounds {
        oldest: i64::MIN,
        youngest: i64::MAX,
    };

    /// No record of the batch will do, whatever its timestamp.
    pub const NEVER: TimeBounds = TimeBounds {
        oldest: i64::MAX,
        youngest: i64::MIN,
    };

    /// May a record have this timestamp? -1 says that it has none (`LogValidator.java`).
    fn admit(&self, time: i64) -> bool {
        let untimed = time == -1 && *self != TimeBounds::NEVER;
        untimed || (self.oldest..=self.youngest).contains(&time)
    }
}

/// What the records of a batch say, all of them being well formed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checked {
    /// Timestamp of the youngest, ms; -1 if all are older than that.
    pub youngest: i64,
    /// Index and timestamp of those outside the bounds, in order, at most [`NAMED_MAX`].
    pub outside: Vec<(i32, i64)>,
}

/// A walk through the records of a batch, one after the other.
#[derive(Clone, Debug)]
pub struct Tally {
    base_timestamp: i64,
    count: i32,
    next: i32,
    bounds: TimeBounds,
    checked: Checked,
}

impl Tally {
    /// Before the first record of the batch with this head.
    pub fn new(head: &BatchHead, bounds: TimeBounds) -> Tally {
        Tally {
            base_timestamp: head.base_timestamp,
            count: head.record_count,
            next: 0,
            bounds,
            checked: Checked {
                youngest: -1,
                outside: Vec::new(),
            },
        }
    }

    /// The batch has more records than were told.
    pub fn wants_more(&self) -> bool {
        self.next < self.count
    }

    /// The next record has these deltas. Its offset must be one above the last, and its timestamp one
    /// that can be told.
    ///
    /// Kafka goes on with other offsets: a compressed batch it writes anew with those that count up
    /// (`LogValidator.validateMessagesAndAssignOffsetsCompressed`), for the sake of clients of an older
    /// format, and an uncompressed one it keeps as it is, so that readers see offsets of other batches.
    /// Here both are refused on purpose: what is kept is what was sent, to the byte but for its head,
    /// and no producer of this format is known to send such a batch.
    pub fn note(&mut self, time_delta: i64, offset_delta: i64) -> Result<(), Malformed> {
        if offset_delta != i64::from(self.next) {
            return Err(Malformed("offsets do not go up by one"));
        }
        let time = self.base_timestamp.checked_add(time_delta);
        let time = time.ok_or(Malformed("a timestamp is too far from the first"))?;
        let checked = &mut self.checked;
        checked.youngest = checked.youngest.max(time);
        if !self.bounds.admit(time) && checked.outside.len() < NAMED_MAX {
            checked.outside.push((self.next, time));
        }
        self.next += 1;
        Ok(())
    }

    /// Note one whole record: what follows its length. A header's name is any bytes, but not null.
    pub fn take(&mut self, mut body: &[u8]) -> Result<(), Malformed> {
        split(&mut body, 1)?;
        let (time_delta, offset_delta) = (varint(&mut body)?, narrow_varint(&mut body)?);
        field(&mut body)?;
        field(&mut body)?;
        let headers = narrow_varint(&mut body)?;
        if headers < 0 {
            return Err(Malformed("the number of headers is negative"));
        }
        for _ in 0..headers {
            field(&mut body)?.ok_or(Malformed("a header has no name"))?;
            field(&mut body)?;
        }
        match body {
            [] => self.note(time_delta, offset_delta),
            _ => Err(Malformed("a record has bytes after its headers")),
        }
    }

    /// What they say, after the last.
    pub fn done(self) -> Checked {
        self.checked
    }
}

/// Walk the uncompressed records of a batch: every length fits, offsets go up by one, and nothing is
/// left over. One malformed record would stop each reader at its offset for ever.
pub fn check_records(
    head: &BatchHead,
    mut records: &[u8],
    bounds: TimeBounds,
) -> Result<Checked, Malformed> {
    let mut tally = Tally::new(head, bounds);
    while tally.wants_more() {
        let length = usize::try_from(narrow_varint(&mut records)?);
        let length = length.map_err(|_| Malformed("a record's length is negative"))?;
        tally.take(split(&mut records, length)?)?;
    }
    match records {
        [] => Ok(tally.done()),
        _ => Err(Malformed("bytes follow the last record")),
    }
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
        let youngest = |head: &BatchHead, records: &[u8]| {
            let checked = check_records(head, records, TimeBounds::NONE).expect("well formed");
            assert_eq!(checked.outside, []);
            checked.youngest
        };
        assert_eq!(youngest(&head, &records), 70);
        // The first record's timestamp delta: -3, then 3.
        records[2] = 5;
        assert_eq!(youngest(&head, &records), 70);
        records[2] = 6;
        assert_eq!(youngest(&head, &records), 73);
        // A header in the last record: "h" without a value.
        let tail = records.len() - 1;
        records.splice(tail.., [2, 2, b'h', 1]);
        let second = records.len() - 11;
        records[second] += 6;
        assert_eq!(youngest(&head, &records), 73);
        // Without a timestamp, or with one before 1970, a batch bears -1 (`LogValidator.java`).
        let base_timestamp = -80;
        assert_eq!(
            youngest(
                &BatchHead {
                    base_timestamp,
                    ..head
                },
                &records
            ),
            -1
        );
    }

    #[test]
    fn records_outside_the_bounds_are_named_up_to_a_thousand() {
        let (head, mut records) = batch();
        records[2] = 5;
        let outside = |oldest, youngest| {
            let bounds = TimeBounds { oldest, youngest };
            check_records(&head, &records, bounds)
                .expect("well formed")
                .outside
        };
        assert_eq!(outside(67, 70), []);
        assert_eq!(outside(68, 70), [(0, 67)]);
        assert_eq!(outside(67, 69), [(1, 70)]);
        assert_eq!(outside(100, 200), [(0, 67), (1, 70)]);
        // -1 is no timestamp, any other before 1970 is one.
        let bare = BatchHead {
            base_timestamp: 2,
            ..head
        };
        let bounds = TimeBounds {
            oldest: 3,
            youngest: 9,
        };
        assert_eq!(
            check_records(&bare, &records, bounds)
                .expect("fine")
                .outside,
            [(1, 2)]
        );
        let many = build_batch(
            BatchSpec::plain(70),
            &vec![(None, &b"v"[..]); NAMED_MAX + 5],
        );
        let head = parse_head(&many).expect("a head");
        let all = check_records(&head, &many[HEAD_LEN..], bounds).expect("well formed");
        assert_eq!(all.outside.len(), NAMED_MAX);
    }

    #[test]
    fn timestamps_may_lie_further_apart_than_32_bits() {
        // Field case 22: base 0, then now, then 3.
        let now = 1_790_000_000_000;
        let mut records = BytesMut::new();
        for (index, time) in [0, now, 3].into_iter().enumerate() {
            let mut record = BytesMut::from(&[0][..]);
            put_varint(&mut record, time);
            put_varint(&mut record, index as i64);
            record.put_slice(&[1, 1, 0]);
            put_varint(&mut records, record.len() as i64);
            records.put_slice(&record);
        }
        let (head, _) = batch();
        let head = BatchHead {
            base_timestamp: 0,
            record_count: 3,
            ..head
        };
        let checked = check_records(&head, &records, TimeBounds::NONE).expect("well formed");
        assert_eq!(checked.youngest, now);
        let beyond = BatchHead {
            base_timestamp: i64::MAX - 2,
            ..head
        };
        assert!(check_records(&beyond, &records, TimeBounds::NONE).is_err());
    }

    #[test]
    fn any_length_or_offset_that_does_not_fit_is_seen() {
        let (head, records) = batch();
        let refused = |records: &[u8]| check_records(&head, records, TimeBounds::NONE).is_err();
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
