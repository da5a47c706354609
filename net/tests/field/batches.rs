//! Record batches as this test writes and reads them (magic 2).

use std::io::{Read, Write};

use super::frames::Out;

/// The broker's wall clock at its start, ms.
pub const NOW: i64 = 1_700_000_000_000;
/// Bytes before the records.
pub const HEAD: usize = 61;

/// A record to be sent. Headers by name and value.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub time: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A record of this time without a key: `x`.
pub fn at(time: i64) -> Record {
    Record {
        time,
        key: None,
        value: Some(b"x".to_vec()),
        headers: Vec::new(),
    }
}

fn zigzag(out: Out, value: i64) -> Out {
    out.varint(((value << 1) ^ (value >> 63)) as u64)
}

fn nullable(out: Out, bytes: Option<&[u8]>) -> Out {
    match bytes {
        None => zigzag(out, -1),
        Some(bytes) => zigzag(out, bytes.len() as i64).raw(bytes),
    }
}

/// The records one after the other, as they stand in a batch of this base time.
pub fn plain(base: i64, records: &[Record]) -> Vec<u8> {
    let mut all = Out::default();
    for (index, record) in records.iter().enumerate() {
        let body = zigzag(Out::default().u8(0), record.time - base);
        let body = zigzag(body, index as i64);
        let body = nullable(body, record.key.as_deref());
        let body = nullable(body, record.value.as_deref());
        let body = zigzag(body, record.headers.len() as i64);
        let body = record.headers.iter().fold(body, |body, (name, value)| {
            nullable(nullable(body, Some(name.as_bytes())), value.as_deref())
        });
        all = zigzag(all, body.0.len() as i64).raw(&body.0);
    }
    all.0
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut plain = flate2::read::GzDecoder::new(bytes);
    plain.read_to_end(&mut out).expect("gzip");
    out
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory")
}

/// What the head of a batch says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    pub attributes: i16,
    pub base_time: i64,
    pub max_time: i64,
    pub producer: (i64, i16, i32),
    pub count: i32,
}

impl Default for Head {
    fn default() -> Head {
        Head {
            attributes: 0,
            base_time: NOW,
            max_time: NOW,
            producer: (-1, -1, -1),
            count: 1,
        }
    }
}

/// A batch with this head and these bytes of records, its CRC right.
pub fn batch(head: Head, records: &[u8]) -> Vec<u8> {
    let checked = Out::default()
        .i16(head.attributes)
        .i32(head.count - 1)
        .i64(head.base_time)
        .i64(head.max_time)
        .i64(head.producer.0)
        .i16(head.producer.1)
        .i32(head.producer.2)
        .i32(head.count)
        .raw(records);
    let size = checked.0.len() as i32 + 9;
    let front = Out::default().i64(0).i32(size).i32(-1).u8(2);
    let crc = crc32c(&checked.0);
    front.i32(crc as i32).raw(&checked.0).0
}

/// An uncompressed batch of these records, as a producer makes it.
pub fn of(records: &[Record]) -> Vec<u8> {
    let base_time = records[0].time;
    let times = records.iter().map(|record| record.time);
    let head = Head {
        base_time,
        max_time: times.max().expect("a record"),
        count: records.len() as i32,
        ..Head::default()
    };
    batch(head, &plain(base_time, records))
}

/// One record with a value of so many zeroes.
pub fn sized(size: usize) -> Vec<u8> {
    let value = Some(vec![b'0'; size]);
    of(&[Record { value, ..at(NOW) }])
}

/// So many records of a producer from this sequence on, epoch 0.
pub fn sequenced(id: i64, sequence: i32, count: i32) -> Vec<u8> {
    let records = vec![at(NOW); count as usize];
    let head = Head {
        producer: (id, 0, sequence),
        count,
        ..Head::default()
    };
    batch(head, &plain(NOW, &records))
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let turned = |crc: u32| match crc & 1 {
        1 => (crc >> 1) ^ 0x82f6_3b78,
        _ => crc >> 1,
    };
    let step = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| turned(crc));
    !bytes.iter().fold(!0, step)
}

/// A batch that came back: its first offset, its head, and its records, still compressed.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub base: i64,
    pub head: Head,
    pub records: Vec<u8>,
}

/// The batches in fetched bytes, which hold nothing else; each one's CRC holds.
pub fn stored(bytes: &[u8]) -> Vec<Stored> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = int(rest, 8, 4) as usize + 12;
        let (one, later) = rest.split_at(size);
        assert_eq!(one[16], 2, "magic");
        assert_eq!(int(one, 17, 4) as u32, crc32c(&one[21..]), "CRC");
        assert_eq!(
            int(one, 23, 4) + 1,
            int(one, 57, 4),
            "last offset and count"
        );
        let head = Head {
            attributes: int(one, 21, 2) as i16,
            base_time: int(one, 27, 8),
            max_time: int(one, 35, 8),
            producer: (
                int(one, 43, 8),
                int(one, 51, 2) as i16,
                int(one, 53, 4) as i32,
            ),
            count: int(one, 57, 4) as i32,
        };
        out.push(Stored {
            base: int(one, 0, 8),
            head,
            records: one[HEAD..].to_vec(),
        });
        rest = later;
    }
    out
}

fn int(bytes: &[u8], at: usize, len: usize) -> i64 {
    let sign = match bytes[at] >= 0x80 {
        true => -1,
        false => 0,
    };
    let bytes = bytes[at..at + len].iter();
    bytes.fold(sign, |value, byte| (value << 8) | i64::from(*byte))
}

#[test]
fn the_checksum_is_crc_32c() {
    // The check value of the algorithm's catalogue.
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
