//! Checking the records of a compressed batch, as `LogValidator.java` does: they are read through once,
//! in a small buffer, and nothing of them is kept.

use std::io::{self, ErrorKind, Read};

use super::compression::open;
use super::WorkResult;
use crate::batch::{narrow, BatchHead, Tally, TimeBounds, ATTRIBUTE_COMPRESSION};
use crate::codec::Malformed;

/// Records up to this size are looked at where they stand in the buffer, larger ones piece by piece.
const BUFFER: usize = 64 << 10;

/// Read through a compressed batch of which no more than `plain_max` bytes come out.
pub(super) fn check_batch(
    head: &BatchHead,
    records: &[u8],
    bounds: TimeBounds,
    plain_max: u64,
) -> WorkResult {
    if head.attributes & ATTRIBUTE_COMPRESSION == 3 && !is_one_whole_frame(records) {
        return WorkResult::Unreadable;
    }
    let plain = match open(head.attributes, records, plain_max) {
        Ok(plain) => plain,
        Err(error) => return told(Stopped::Read(error)),
    };
    let mut walk = Walk::new(plain, plain_max, BUFFER);
    let mut tally = Tally::new(head, bounds);
    match walk.all(&mut tally) {
        Ok(()) => WorkResult::Checked(tally.done()),
        Err(stopped) => told(stopped),
    }
}

/// An lz4 frame ends with an empty block, and a checksum if its flags say so. Our decoder takes the end
/// of the bytes for that as well; Kafka's fails there, and so would every consumer. Nor does Kafka's
/// read blocks that lean on those before them (`Lz4BlockInputStream`), as other writers make by default:
/// no Java consumer would get past them. The blocks are passed over by their lengths; whether they hold
/// what they should the decoder sees.
fn is_one_whole_frame(frame: &[u8]) -> bool {
    const INDEPENDENT_BLOCKS: u8 = 1 << 5;
    const BLOCK_CHECKSUM: u8 = 1 << 4;
    const CONTENT_SIZE: u8 = 1 << 3;
    const CONTENT_CHECKSUM: u8 = 1 << 2;
    const DICTIONARY_ID: u8 = 1;
    const STORED_PLAIN: u32 = 1 << 31;
    let Some(flags) = frame
        .get(4)
        .filter(|flags| **flags & INDEPENDENT_BLOCKS != 0)
    else {
        return false;
    };
    let if_set = |flag: u8, size: usize| if flags & flag != 0 { size } else { 0 };
    // Magic, flags, block size, what the flags add, and the header's own checksum.
    let head = 4 + 1 + 1 + if_set(CONTENT_SIZE, 8) + if_set(DICTIONARY_ID, 4) + 1;
    let mut rest = frame.get(head..).unwrap_or_default();
    while let Some((size, blocks)) = rest.split_first_chunk() {
        let size = (u32::from_le_bytes(*size) & !STORED_PLAIN) as usize;
        if size == 0 {
            return blocks.len() == if_set(CONTENT_CHECKSUM, 4);
        }
        let block = size.saturating_add(if_set(BLOCK_CHECKSUM, 4));
        rest = blocks.get(block..).unwrap_or_default();
    }
    false
}

fn told(stopped: Stopped) -> WorkResult {
    match stopped {
        Stopped::TooLarge => WorkResult::TooLarge,
        Stopped::Read(error) if error.kind() == ErrorKind::FileTooLarge => WorkResult::TooLarge,
        Stopped::Read(_) => WorkResult::Unreadable,
        Stopped::Shape(malformed) => WorkResult::Malformed(malformed.0),
    }
}

/// Why a walk did not come to its end.
enum Stopped {
    /// More comes out than may.
    TooLarge,
    /// It is not what its codec writes.
    Read(io::Error),
    /// It is not records.
    Shape(Malformed),
}

impl From<Malformed> for Stopped {
    fn from(malformed: Malformed) -> Stopped {
        Stopped::Shape(malformed)
    }
}

const CUT_OFF: Stopped = Stopped::Shape(Malformed("the records end early"));

/// What comes out of a codec, seen through a buffer.
struct Walk<R> {
    plain: R,
    /// Bytes that may yet come out.
    left: u64,
    buffer: Vec<u8>,
    /// What is in the buffer and not taken.
    from: usize,
    to: usize,
    /// Bytes taken one by one.
    taken: u64,
}

impl<R: Read> Walk<R> {
    fn new(plain: R, plain_max: u64, buffer: usize) -> Walk<R> {
        Walk {
            plain,
            left: plain_max,
            buffer: vec![0; buffer],
            from: 0,
            to: 0,
            taken: 0,
        }
    }

    /// All records, and nothing after them.
    fn all(&mut self, tally: &mut Tally) -> Result<(), Stopped> {
        while tally.wants_more() {
            self.record(tally)?;
        }
        // One codec says twice that it is at its end: what follows its first frame must be nothing too.
        if self.from < self.to || self.fill()? > 0 || self.fill()? > 0 {
            return Err(Malformed("bytes follow the last record").into());
        }
        Ok(())
    }

    /// Read on into the buffer; 0 at the end.
    fn fill(&mut self) -> Result<usize, Stopped> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buffer.len() {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let room = &mut self.buffer[self.to..];
        let size = loop {
            match self.plain.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(Stopped::Read)?,
            }
        };
        self.left = match self.left.checked_sub(size as u64) {
            Some(left) => left,
            None => return Err(Stopped::TooLarge),
        };
        self.to += size;
        Ok(size)
    }

    fn byte(&mut self) -> Result<u8, Stopped> {
        if self.from == self.to && self.fill()? == 0 {
            return Err(CUT_OFF);
        }
        self.from += 1;
        self.taken += 1;
        Ok(self.buffer[self.from - 1])
    }

    fn varint(&mut self) -> Result<i64, Stopped> {
        let mut value: u64 = 0;
        for index in 0..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
            }
        }
        Err(Malformed("a varint is too long").into())
    }

    /// A number of 32 bits.
    fn narrow_varint(&mut self) -> Result<i64, Stopped> {
        let before = self.taken;
        let value = self.varint()?;
        Ok(narrow(value, (self.taken - before) as usize)?)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Stopped> {
        while count > 0 {
            if self.from == self.to && self.fill()? == 0 {
                return Err(CUT_OFF);
            }
            let taken = count.min((self.to - self.from) as u64);
            self.from += taken as usize;
            count -= taken;
        }
        Ok(())
    }

    fn record(&mut self, tally: &mut Tally) -> Result<(), Stopped> {
        let length = u64::try_from(self.narrow_varint()?);
        let length = length.map_err(|_| Malformed("a record's length is negative"))?;
        if length > self.buffer.len() as u64 {
            return self.large_record(length, tally);
        }
        let length = length as usize;
        if self.buffer.len() - self.from < length {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        while self.to - self.from < length {
            if self.fill()? == 0 {
                return Err(CUT_OFF);
            }
        }
        tally.take(&self.buffer[self.from..self.from + length])?;
        self.from += length;
        Ok(())
    }

    /// A record of `left` bytes that does not fit into the buffer: what [`Tally::take`] looks at, one
    /// field after the other.
    fn large_record(&mut self, left: u64, tally: &mut Tally) -> Result<(), Stopped> {
        let mut record = Large { walk: self, left };
        record.skip(1)?;
        let (time_delta, offset_delta) = (record.varint()?, record.narrow_varint()?);
        record.field()?;
        record.field()?;
        let headers = record.narrow_varint()?;
        if headers < 0 {
            return Err(Malformed("the number of headers is negative").into());
        }
        for _ in 0..headers {
            if !record.field()? {
                return Err(Malformed("a header has no name").into());
            }
            record.field()?;
        }
        if record.left > 0 {
            return Err(Malformed("a record has bytes after its headers").into());
        }
        Ok(tally.note(time_delta, offset_delta)?)
    }
}

/// A record that is read piece by piece.
struct Large<'a, R> {
    walk: &'a mut Walk<R>,
    left: u64,
}

impl<R: Read> Large<'_, R> {
    fn spend(&mut self, bytes: u64) -> Result<(), Stopped> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(Malformed("a record is cut off"))?;
        Ok(())
    }

    fn varint(&mut self) -> Result<i64, Stopped> {
        let before = self.walk.taken;
        let value = self.walk.varint()?;
        self.spend(self.walk.taken - before)?;
        Ok(value)
    }

    fn narrow_varint(&mut self) -> Result<i64, Stopped> {
        let before = self.left;
        let value = self.varint()?;
        Ok(narrow(value, (before - self.left) as usize)?)
    }

    fn skip(&mut self, count: u64) -> Result<(), Stopped> {
        self.spend(count)?;
        self.walk.skip(count)
    }

    /// A nullable field; false if it is null.
    fn field(&mut self) -> Result<bool, Stopped> {
        match self.narrow_varint()? {
            -1 => Ok(false),
            length => {
                let length = u64::try_from(length).map_err(|_| Malformed("a field's length"))?;
                self.skip(length)?;
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;
    use crate::batch::{build_batch, head_alone, put_varint, BatchSpec, Checked, HEAD_LEN};
    use crate::work::samples::KINDS;

    const PLENTY: u64 = 1 << 20;

    /// A record's body.
    fn record(index: i64, time_delta: i64, value: &[u8], headers: &[u8]) -> Vec<u8> {
        let mut body = BytesMut::from(&[0][..]);
        put_varint(&mut body, time_delta);
        put_varint(&mut body, index);
        put_varint(&mut body, -1);
        put_varint(&mut body, value.len() as i64);
        body.put_slice(value);
        body.put_slice(headers);
        body.to_vec()
    }

    fn records(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for body in bodies {
            put_varint(&mut out, body.len() as i64);
            out.put_slice(body);
        }
        out.to_vec()
    }

    /// The head of so many records from time 1000 on.
    fn head(attributes: i16, record_count: i32) -> BatchHead {
        let built = build_batch(BatchSpec::plain(1000), &[(None, &b"x"[..])]);
        BatchHead {
            attributes,
            record_count,
            last_offset_delta: record_count - 1,
            ..head_alone(&built[..HEAD_LEN]).expect("a head")
        }
    }

    fn youngest(youngest: i64) -> WorkResult {
        let outside = Vec::new();
        WorkResult::Checked(Checked { youngest, outside })
    }

    fn check(attributes: i16, count: i32, records: &[u8]) -> WorkResult {
        check_batch(&head(attributes, count), records, TimeBounds::NONE, PLENTY)
    }

    #[test]
    fn good_records_pass_in_every_compression_and_tell_the_youngest() {
        // Among them one that no buffer holds, and headers with and without values, a doubled and an
        // empty name (field case 23).
        let headers = [
            10, 0, 1, 2, b'h', 0, 2, b'h', 2, b'2', 2, 0xff, 1, 2, b'x', 1,
        ];
        let bodies = [
            record(0, 0, b"", &[0]),
            record(1, 700, &vec![7; 3 * BUFFER], &headers),
            record(2, -4, &vec![8; BUFFER - 40], &headers),
            record(3, 2, b"abc", &headers),
        ];
        let plain = records(&bodies);
        for (attributes, compress) in KINDS {
            let bytes = compress(&plain);
            assert_eq!(check(attributes, 4, &bytes), youngest(1700), "{attributes}");
            let bounds = TimeBounds {
                oldest: 1000,
                youngest: 1100,
            };
            let told = check_batch(&head(attributes, 4), &bytes, bounds, PLENTY);
            let outside = vec![(1, 1700), (2, 996)];
            let youngest = 1700;
            assert_eq!(told, WorkResult::Checked(Checked { youngest, outside }));
        }
    }

    #[test]
    fn what_is_no_batch_of_records_is_refused_in_every_compression() {
        let good = [record(0, 0, b"a", &[0]), record(1, 1, b"b", &[0])];
        let long = |headers: &[u8]| record(0, 0, &vec![7; 2 * BUFFER], headers);
        for (attributes, compress) in KINDS {
            let refused = |count, bodies: &[Vec<u8>]| {
                let told = check(attributes, count, &compress(&records(bodies)));
                assert!(
                    matches!(told, WorkResult::Malformed(_)),
                    "{attributes}: {told:?}"
                );
            };
            // Field case 8: three records announced and two there; one more than announced.
            refused(3, &good);
            refused(1, &good);
            refused(2, &[record(0, 0, b"a", &[0]), record(2, 1, b"b", &[0])]);
            for bad in [
                vec![1],
                vec![2, 1, 0],
                vec![2, 2, b'h', 3],
                vec![0, 0],
                vec![],
            ] {
                refused(1, &[record(0, 0, b"a", &bad)]);
                refused(1, &[long(&bad)]);
            }
            // A value that is longer than its record.
            let mut overlong = long(&[0]);
            overlong.truncate(BUFFER + 50);
            refused(1, &[overlong]);
            let mut trailing = records(&good);
            trailing.push(0);
            let told = check(attributes, 2, &compress(&trailing));
            assert!(
                matches!(told, WorkResult::Malformed(_)),
                "{attributes}: {told:?}"
            );
        }
    }

    #[test]
    fn garbage_and_a_stream_that_is_cut_off_or_goes_on_are_refused() {
        let plain = records(&[record(0, 0, &[9; 300], &[0]), record(1, 1, b"b", &[0])]);
        for (attributes, compress) in KINDS {
            if attributes > 0 {
                // Field case 8.
                let told = check(attributes, 1, b"garbage");
                assert!(
                    matches!(told, WorkResult::Unreadable),
                    "{attributes}: {told:?}"
                );
            }
            let good = compress(&plain);
            for cut in 0..good.len() {
                let told = check(attributes, 2, &good[..cut]);
                assert!(
                    !matches!(told, WorkResult::Checked(_)),
                    "{attributes}@{cut}"
                );
            }
            let more = [&good[..], &good[..]].concat();
            let told = check(attributes, 2, &more);
            assert!(
                !matches!(told, WorkResult::Checked(_)),
                "{attributes}: {told:?}"
            );
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0xff;
                check(attributes, 2, &bad);
            }
        }
        assert_eq!(check(5, 2, &plain), WorkResult::Unreadable);
    }

    #[test]
    fn an_lz4_frame_whose_blocks_lean_on_each_other_is_refused() {
        use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
        use std::io::Write as _;
        let plain = records(&[record(0, 0, &[9; 300_000], &[0])]);
        for (mode, wanted) in [
            (BlockMode::Independent, youngest(1000)),
            (BlockMode::Linked, WorkResult::Unreadable),
        ] {
            let info = FrameInfo::new().block_mode(mode);
            let mut out = FrameEncoder::with_frame_info(info, Vec::new());
            out.write_all(&plain).expect("memory");
            assert_eq!(check(3, 1, &out.finish().expect("memory")), wanted);
        }
    }

    #[test]
    fn no_more_comes_out_than_may() {
        let plain = records(&[record(0, 0, &vec![0; 300_000], &[0])]);
        for (attributes, compress) in KINDS {
            let bytes = compress(&plain);
            let told = |max| check_batch(&head(attributes, 1), &bytes, TimeBounds::NONE, max);
            let size = plain.len() as u64;
            assert_eq!(told(size), youngest(1000), "{attributes}");
            assert_eq!(told(size - 1), WorkResult::TooLarge, "{attributes}");
            assert_eq!(told(1_000), WorkResult::TooLarge, "{attributes}");
        }
        // A snappy block that claims to be 4 GB, and holds nothing.
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert!(matches!(
            check(2, 1, &claim),
            WorkResult::TooLarge | WorkResult::Unreadable
        ));
    }

    #[test]
    fn a_small_buffer_sees_the_same() {
        let headers = [4, 2, b'h', 4, b'v', b'v', 0, 1];
        let bodies: Vec<Vec<u8>> = (0..40)
            .map(|index| {
                record(
                    index,
                    index * 3 % 7,
                    &vec![b'v'; index as usize * 5],
                    &headers,
                )
            })
            .collect();
        let plain = records(&bodies);
        let head = head(0, 40);
        for buffer in [1, 2, 9, 30, 64, 100, 1 << 16] {
            let walk = |plain: &[u8]| {
                let mut tally = Tally::new(&head, TimeBounds::NONE);
                let walked = Walk::new(plain, PLENTY, buffer).all(&mut tally);
                walked.ok().map(|()| tally.done().youngest)
            };
            assert_eq!(walk(&plain), Some(1006), "{buffer}");
            for at in 0..plain.len() {
                let mut bad = plain.clone();
                bad[at] ^= 1;
                let here = crate::batch::check_records(&head, &bad, TimeBounds::NONE);
                assert_eq!(
                    walk(&bad),
                    here.ok().map(|checked| checked.youngest),
                    "{buffer}@{at}"
                );
            }
        }
    }
}
