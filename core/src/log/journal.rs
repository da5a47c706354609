//! The journal ring: where blocks go, and which room is free.
//!
//! The file is two header pages and then a ring of 4 KiB pages. A block is a 72-byte header and
//! frames, padded to whole pages, and never wraps. A block that holds a frame still needed is never
//! overwritten. The ring starts small and grows at its end while it is not wrapped.

use bytes::{BufMut, Bytes, BytesMut};
use std::collections::VecDeque;

use crate::ids::Uuid;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// First page of the ring: pages 0 and 1 are two copies of the file's header.
pub const FIRST_PAGE: u64 = 2;
/// Bytes of a block's header.
pub const BLOCK_HEADER: usize = 72;
/// Marks a block.
pub const BLOCK_MAGIC: u32 = 0x5ed1_0b10;
/// Marks the file's header page.
pub const FILE_MAGIC: u64 = 0x5345_4544_4c4f_474a;
/// Version of the journal's format. 2: a manifest says when each segment was last written to. 3: a
/// block says whether later ones may be acknowledged without a sync. 4: the ledger counts journals,
/// and a partition's tail may be carried forward. 5: a block says when it was written, a partition's first
/// frame and its manifest at which metadata offset its topic was seen, a manifest which dropped segments
/// may still have files, and the frame that drops a partition which folder is to be removed. 6: a block
/// names the one before it by its header's checksum. 7: the rows beside a segment say whose they are.
pub const FORMAT_VERSION: u32 = 7;

/// Where a live block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// Sequence, one up per block.
    pub seq: u64,
    /// First page.
    pub page: u64,
    /// Pages.
    pub pages: u64,
    /// Wall time when it was written, ms: what it holds was appended no later, and hardly sooner.
    pub written_ms: i64,
}

/// The header of a block, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Which ring: drawn at random when the file was made.
    pub ring: u64,
    /// Sequence.
    pub seq: u64,
    /// Payload bytes after the header.
    pub payload: u32,
    /// Checksum of the payload.
    pub payload_crc: u32,
    /// The previous block's [`BlockHeader::link`].
    pub previous: u32,
    /// Drawn anew at every start: a block that was cut off by an earlier recovery never links to one
    /// written since, even if both look the same otherwise.
    pub incarnation: u64,
    /// Every block up to this sequence was durable when this one was written.
    pub attested: u64,
    /// Blocks before this sequence are no longer needed.
    pub tail: u64,
    /// Blocks after this one may hold what was acknowledged without a sync, for a topic that opted
    /// out. A clean stop ends with a block that says no.
    pub loose: bool,
    /// See [`BlockPlace::written_ms`].
    pub written_ms: i64,
}

impl BlockHeader {
    /// Its bytes.
    pub fn encode(&self) -> [u8; BLOCK_HEADER] {
        let mut out = BytesMut::with_capacity(BLOCK_HEADER);
        out.put_u32(BLOCK_MAGIC);
        out.put_u64(self.ring);
        out.put_u64(self.seq);
        out.put_u32(self.payload);
        out.put_u32(self.payload_crc);
        out.put_u32(self.previous);
        out.put_u64(self.incarnation);
        out.put_u64(self.attested);
        out.put_u64(self.tail);
        out.put_u8(u8::from(self.loose));
        out.put_i64(self.written_ms);
        out.put_bytes(0, BLOCK_HEADER - 4 - out.len());
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        let mut bytes = [0; BLOCK_HEADER];
        bytes.copy_from_slice(&out);
        bytes
    }

    /// The header at the start of a page, or `None` if there is none.
    pub fn decode(page: &[u8]) -> Option<BlockHeader> {
        use bytes::Buf;
        let mut bytes = page.get(..BLOCK_HEADER)?;
        let (fields, crc) = bytes.split_at(BLOCK_HEADER - 4);
        // Most pages are not the first of a block: the magic tells so at once.
        if bytes.get_u32() != BLOCK_MAGIC || crc != crc32c::crc32c(fields).to_be_bytes() {
            return None;
        }
        Some(BlockHeader {
            ring: bytes.get_u64(),
            seq: bytes.get_u64(),
            payload: bytes.get_u32(),
            payload_crc: bytes.get_u32(),
            previous: bytes.get_u32(),
            incarnation: bytes.get_u64(),
            attested: bytes.get_u64(),
            tail: bytes.get_u64(),
            loose: bytes.get_u8() == 1,
            written_ms: bytes.get_i64(),
        })
    }

    /// What the next block says to name this one as its predecessor: the header's checksum. One over
    /// the header and that checksum tells little: it has 65,536 values.
    pub fn link(&self) -> u32 {
        let bytes = self.encode();
        let (_, crc) = bytes.split_at(BLOCK_HEADER - 4);
        crc.iter()
            .fold(0, |link, byte| link << 8 | u32::from(*byte))
    }

    /// Pages the block takes.
    pub fn pages(&self) -> u64 {
        pages_for(u64::from(self.payload))
    }
}

/// Pages of a block with this much payload.
pub fn pages_for(payload: u64) -> u64 {
    (payload + BLOCK_HEADER as u64).div_ceil(PAGE)
}

/// The file's header page.
pub fn file_header(ring: u64, cluster: Uuid, directory: Uuid, shard: u16) -> Bytes {
    let mut out = BytesMut::with_capacity(PAGE as usize);
    out.put_u64(FILE_MAGIC);
    out.put_u32(FORMAT_VERSION);
    out.put_u64(ring);
    out.put_slice(&cluster.0);
    out.put_slice(&directory.0);
    out.put_u16(shard);
    let crc = crc32c::crc32c(&out);
    out.put_u32(crc);
    out.put_bytes(0, PAGE as usize - out.len());
    out.freeze()
}

/// The write side of the ring.
#[derive(Clone, Debug)]
pub struct Ring {
    /// Which ring.
    pub ring: u64,
    /// Pages of the file, headers included.
    pub capacity: u64,
    /// Next page to write.
    pub head: u64,
    /// Sequence of the next block.
    pub next_seq: u64,
    /// The last block's link.
    pub previous: u32,
    /// See [`BlockHeader::incarnation`].
    pub incarnation: u64,
    /// Highest sequence known to be durable.
    pub durable_seq: u64,
    /// See [`BlockHeader::loose`]: what the next block says.
    pub loose: bool,
    /// Live blocks, oldest first; they come by [`Ring::hold`] and go by [`Ring::release`].
    pub live: VecDeque<BlockPlace>,
    /// Pages of the live blocks. Asked for several times a turn, where live blocks may be many
    /// thousand.
    used: u64,
}

impl Ring {
    /// A ring just made, `capacity` pages long.
    pub fn fresh(ring: u64, capacity: u64) -> Ring {
        Ring {
            ring,
            capacity,
            head: FIRST_PAGE,
            next_seq: 1,
            previous: 0,
            incarnation: 0,
            durable_seq: 0,
            loose: false,
            live: VecDeque::new(),
            used: 0,
        }
    }

    /// A block is live from now on: the newest.
    pub fn hold(&mut self, block: BlockPlace) {
        self.used += block.pages;
        self.live.push_back(block);
    }

    /// Pages that hold nothing needed; a block may still not fit, as it never wraps.
    pub fn free_pages(&self) -> u64 {
        (self.capacity - FIRST_PAGE).saturating_sub(self.used)
    }

    /// Free pages in a row: at the head, and those reached by going on at the ring's start.
    pub fn runs(&self) -> (u64, u64) {
        let Some(oldest) = self.live.front() else {
            return (self.capacity - FIRST_PAGE, 0);
        };
        // One page stays free so that a full ring is never taken for an empty one.
        if self.head > oldest.page {
            let wrapped = (oldest.page - FIRST_PAGE).saturating_sub(1);
            return (self.capacity.saturating_sub(self.head), wrapped);
        }
        ((oldest.page - self.head).saturating_sub(1), 0)
    }

    /// Pages of the largest block that can be written now.
    pub fn largest_block(&self) -> u64 {
        let (at_head, at_start) = self.runs();
        at_head.max(at_start)
    }

    /// True if blocks of `pages` in all, cut anywhere between frames, leave `reserve` pages free.
    pub fn leaves(&self, pages: u64, reserve: u64) -> bool {
        let (at_head, at_start) = self.runs();
        let at_once = pages <= at_head && at_head - pages + at_start >= reserve;
        at_once || pages + reserve <= at_start
    }

    /// The page where a block of `pages` can go now.
    pub fn room_for(&self, pages: u64) -> Option<u64> {
        let Some(oldest) = self.live.front() else {
            // Nothing is needed: anywhere will do, but not over the newest attestation.
            let at = if self.head + pages <= self.capacity {
                self.head
            } else {
                FIRST_PAGE
            };
            return (at + pages <= self.capacity).then_some(at);
        };
        if self.head > oldest.page {
            if self.head + pages <= self.capacity {
                return Some(self.head);
            }
            // One page stays free so that a full ring is never taken for an empty one.
            return (FIRST_PAGE + pages < oldest.page).then_some(FIRST_PAGE);
        }
        (self.head + pages < oldest.page).then_some(self.head)
    }

    /// True if growing at the end makes room now.
    pub fn can_grow(&self) -> bool {
        self.live
            .front()
            .is_none_or(|oldest| self.head > oldest.page)
    }

    /// When this block was written, if it is still live (wall time, ms).
    pub fn written_ms(&self, seq: u64) -> Option<i64> {
        let at = self.live.partition_point(|block| block.seq < seq);
        let block = self.live.get(at).filter(|block| block.seq == seq);
        block.map(|block| block.written_ms)
    }

    /// Build the next block at `page` from frames, at the wall time `now_ms`; the ring moves past it.
    pub fn next_block(
        &mut self,
        page: u64,
        frames: Vec<Bytes>,
        tail: u64,
        now_ms: i64,
    ) -> (u64, Vec<Bytes>) {
        let mut crc = 0;
        let mut payload = 0;
        for piece in &frames {
            crc = crc32c::crc32c_append(crc, piece);
            payload += piece.len();
        }
        let header = BlockHeader {
            ring: self.ring,
            seq: self.next_seq,
            payload: payload as u32,
            payload_crc: crc,
            previous: self.previous,
            incarnation: self.incarnation,
            attested: self.durable_seq,
            tail,
            loose: self.loose,
            written_ms: now_ms,
        };
        let pages = header.pages();
        let padding = pages * PAGE - (BLOCK_HEADER + payload) as u64;
        let mut pieces = Vec::with_capacity(frames.len() + 2);
        pieces.push(Bytes::copy_from_slice(&header.encode()));
        pieces.extend(frames);
        pieces.push(Bytes::from(vec![0; padding as usize]));
        self.hold(BlockPlace {
            seq: header.seq,
            page,
            pages,
            written_ms: now_ms,
        });
        self.head = page + pages;
        self.next_seq += 1;
        self.previous = header.link();
        (header.seq, pieces)
    }

    /// Blocks before `tail` are no longer needed.
    pub fn release(&mut self, tail: u64) {
        while let Some(block) = self.live.front().filter(|block| block.seq < tail) {
            self.used -= block.pages;
            self.live.pop_front();
        }
    }
}
