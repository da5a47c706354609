//! What a record holds follows from the first bytes of its value, so that every byte of it can be checked
//! when it is read, and nothing has to be kept for that.

use bytes::Bytes;
use seedlog_core::batch::{complete, verify, BatchHead, ATTRIBUTE_LOG_APPEND_TIME, HEAD_LEN};
use seedlog_core::codec::Malformed;
use seedlog_core::work::plain;
use seedlog_net::records::{self, Borrowed, Record};

/// Bytes of a value before its filling: its number, its timestamp, its size.
pub const PREFIX: usize = 20;

/// A record as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it stands.
    pub offset: i64,
    /// The number of its value.
    pub value: u64,
    /// Its timestamp as the topic has it, ms.
    pub time: i64,
}

fn filling(number: u64, len: usize) -> Vec<u8> {
    let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..len).map(|at| word[at % 8] ^ (at / 8) as u8).collect()
}

fn key_of(number: u64) -> Option<Vec<u8>> {
    match number % 4 {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(filling(number ^ 1, 3 + number as usize % 20)),
    }
}

/// Some names twice, some empty, some without a value.
fn headers_of(number: u64) -> Vec<(String, Option<Vec<u8>>)> {
    let header = |at: u64| {
        let name = ["", "h", "trace"][(number + at) as usize % 3].to_string();
        let value = match (number / 5 + at) % 3 {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(filling(number ^ 2, 7)),
        };
        (name, value)
    };
    (0..number / 7 % 4).map(header).collect()
}

/// The record of this number, with a value of `size` bytes, [`PREFIX`] at least.
pub fn record(number: u64, timestamp: i64, size: usize) -> Record {
    let size = size.max(PREFIX);
    let mut value = number.to_be_bytes().to_vec();
    value.extend_from_slice(&timestamp.to_be_bytes());
    value.extend_from_slice(&(size as u32).to_be_bytes());
    value.extend(filling(number, size - PREFIX));
    let headers = headers_of(number).into_iter();
    Record {
        offset: 0,
        timestamp,
        key: key_of(number).map(Bytes::from),
        value: Some(Bytes::from(value)),
        headers: headers
            .map(|(name, value)| (name, value.map(Bytes::from)))
            .collect(),
    }
}

/// The number of a record, if every byte of it is as it was sent.
fn number_of(record: &Borrowed) -> Result<u64, Malformed> {
    let wrong = Malformed("a record is not what was sent");
    let value = record.value.ok_or(wrong)?;
    let (number, rest) = value.split_first_chunk().ok_or(wrong)?;
    let (time, rest) = rest.split_first_chunk().ok_or(wrong)?;
    let (size, fill) = rest.split_first_chunk().ok_or(wrong)?;
    let number = u64::from_be_bytes(*number);
    let headers = headers_of(number);
    let same = u32::from_be_bytes(*size) as usize == value.len()
        && i64::from_be_bytes(*time) == record.timestamp
        && fill == filling(number, fill.len())
        && record.key == key_of(number).as_deref()
        && record.headers.len() == headers.len()
        && record
            .headers
            .iter()
            .zip(&headers)
            .all(|((name, value), (known, other))| name == known && *value == other.as_deref());
    same.then_some(number).ok_or(wrong)
}

/// The records in fetched bytes from `from` on, checked as a client would, and byte for byte; `head` is
/// told of each batch's head.
pub fn read_batches(
    pieces: &[Bytes],
    from: i64,
    head: &mut dyn FnMut(&BatchHead),
) -> Result<Vec<Seen>, String> {
    let mut found = Vec::new();
    let bytes = Bytes::from(pieces.concat());
    for (outer, batch) in records::batches(bytes).map_err(|bad| bad.0.to_string())? {
        head(&verify(&batch).map_err(|bad| format!("{bad:?}"))?);
        let plain = plain(outer.attributes, &batch.slice(HEAD_LEN..), 1 << 20)
            .map_err(|_| "a batch cannot be decompressed")?;
        let by_broker = outer.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0;
        let each = records::each(&outer, &plain, |record| {
            let value = number_of(&record)?;
            if record.offset >= from {
                found.push(Seen {
                    offset: record.offset,
                    value,
                    time: match by_broker {
                        true => outer.max_timestamp,
                        false => record.timestamp,
                    },
                });
            }
            Ok(())
        });
        each.map_err(|bad| bad.0.to_string())?;
    }
    Ok(found)
}

/// The offsets and numbers in fetched bytes from `from` on, checked in the same way.
pub fn values(pieces: &[Bytes], from: i64) -> Result<Vec<(i64, u64)>, String> {
    let seen = read_batches(pieces, from, &mut |_| {})?;
    Ok(numbers(&seen))
}

/// Offsets and numbers alone.
pub fn numbers(seen: &[Seen]) -> Vec<(i64, u64)> {
    seen.iter().map(|one| (one.offset, one.value)).collect()
}

/// The batch as lz4 would have it, its block stored as it is: hashes cover no compressor's output.
pub fn stored(batch: Bytes) -> Bytes {
    /// Magic, version 1 with independent blocks, blocks of 64 KiB, and the descriptor's checksum.
    const FRAME: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
    const LZ4: u8 = 3;
    const UNCOMPRESSED: u32 = 1 << 31;
    let (head, records) = batch.split_at(HEAD_LEN);
    let block = records.len() as u32 | UNCOMPRESSED;
    let mut out = [head, &FRAME, &block.to_le_bytes(), records, &[0; 4]].concat();
    out[22] |= LZ4;
    complete(&mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_in_a_record_is_seen() {
        for number in 0..40u64 {
            let sent: Vec<Record> = (0..2).map(|n| record(number + n, 7, 60)).collect();
            let batch = records::build(&sent, None);
            let seen = read_batches(std::slice::from_ref(&batch), 0, &mut |_| {});
            let seen = seen.expect("as it was sent");
            assert_eq!(numbers(&seen), [(0, number), (1, number + 1)]);
            assert_eq!(
                read_batches(&[stored(batch.clone())], 0, &mut |_| {}),
                Ok(seen)
            );
            let mut other = sent.clone();
            other[1].timestamp += 1;
            let mut key = sent.clone();
            key[0].key = Some(Bytes::from_static(b"another"));
            let mut header = sent.clone();
            header[1].headers.push(("h".to_string(), None));
            for doctored in [other, key, header] {
                let batch = records::build(&doctored, None);
                assert!(read_batches(&[batch], 0, &mut |_| {}).is_err());
            }
            // Any byte of a value, under a CRC that is right again.
            for value in sent.iter().filter_map(|record| record.value.as_ref()) {
                let mut places = batch.windows(value.len());
                let from = places
                    .position(|bytes| bytes == &value[..])
                    .expect("it is there");
                for at in from..from + value.len() {
                    let mut bytes = batch.to_vec();
                    bytes[at] ^= 1;
                    complete(&mut bytes);
                    let read = read_batches(&[bytes.into()], 0, &mut |_| {});
                    let wanted = [(0, number), (1, number + 1)];
                    assert!(!read.is_ok_and(|read| numbers(&read) == wanted), "{at}");
                }
            }
        }
    }
}
