//! Kafka's compressions (`CompressionType.java`): gzip, snappy, lz4 frames, zstd.
//!
//! Records are read through, never unpacked as a whole, and what comes out is bounded: a small batch
//! may claim to hold any number of bytes.

use std::io::{self, Cursor, Read};

use bytes::Bytes;

use crate::batch::ATTRIBUTE_COMPRESSION;

/// Decompressed bytes of a batch in the log that are read at most. What is appended today holds less
/// ([`super::PLAIN_BATCH_MAX`]); batches of before that was so may hold more.
pub(super) const PLAIN_BYTES_MAX: u64 = 1 << 30;
/// A snappy block grows to at most so many times its size: a copy of 64 bytes takes three.
const SNAPPY_GROWTH_MAX: usize = 32;
/// Log of the largest window of zstd's own tools without `--long`; the window is the memory it takes.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// What snappy-java puts before its blocks: a magic, then a version and the oldest reader (4 bytes
/// each). Clients written in C send a bare block instead, and Kafka's reader takes both.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

/// Bytes that are not what their batch's attributes say, or that hold too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCompression;

/// The records of a batch as they come out of its compression (low three bits of `attributes`). The
/// caller reads no more than `limit` of them; a codec that unpacks a whole block at once is held to it
/// here.
///
/// # Errors
/// `FileTooLarge` if a block claims to be larger than `limit`; others if the bytes are not what the
/// codec writes.
pub(super) fn open(attributes: i16, records: &[u8], limit: u64) -> io::Result<Box<dyn Read + '_>> {
    Ok(match attributes & ATTRIBUTE_COMPRESSION {
        0 => Box::new(records),
        1 => Box::new(flate2::bufread::MultiGzDecoder::new(records)),
        2 => match records.strip_prefix(XERIAL_MAGIC) {
            Some(_) => Box::new(Xerial {
                rest: records.get(XERIAL_HEADER..).ok_or_else(bad)?,
                block: Cursor::default(),
                limit,
            }),
            None => Box::new(Cursor::new(snappy_block(records, limit)?)),
        },
        3 => Box::new(lz4_flex::frame::FrameDecoder::new(records)),
        4 => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(records)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        _ => return Err(bad()),
    })
}

/// A batch's records without their compression, for who wants them all. At most `limit` bytes.
pub fn plain(attributes: i16, records: &Bytes, limit: u64) -> Result<Bytes, BadCompression> {
    if attributes & ATTRIBUTE_COMPRESSION == 0 {
        return Ok(records.clone());
    }
    let mut out = Vec::new();
    let limit = limit.min(PLAIN_BYTES_MAX);
    let read = open(attributes, records, limit)
        .and_then(|plain| plain.take(limit.saturating_add(1)).read_to_end(&mut out));
    match read {
        Ok(size) if size as u64 <= limit => Ok(out.into()),
        _ => Err(BadCompression),
    }
}

fn bad() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn snappy_block(block: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let size = snap::raw::decompress_len(block).map_err(|_| bad())?;
    if size > block.len().saturating_mul(SNAPPY_GROWTH_MAX) {
        return Err(bad());
    }
    if size as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    snap::raw::Decoder::new()
        .decompress_vec(block)
        .map_err(|_| bad())
}

/// snappy-java's stream: blocks, each with its length before it.
struct Xerial<'a> {
    rest: &'a [u8],
    block: Cursor<Vec<u8>>,
    limit: u64,
}

impl Read for Xerial<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let size = self.block.read(out)?;
            if size > 0 || out.is_empty() || self.rest.is_empty() {
                return Ok(size);
            }
            let (length, rest) = self.rest.split_first_chunk().ok_or_else(bad)?;
            let length = u32::from_be_bytes(*length) as usize;
            let (block, rest) = rest.split_at_checked(length).ok_or_else(bad)?;
            self.block = Cursor::new(snappy_block(block, self.limit)?);
            self.rest = rest;
        }
    }
}
