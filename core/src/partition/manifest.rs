//! Manifests: what a partition's segments durably hold, as a frame in the journal. Boot reads
//! them and nothing else: no segment is scanned.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Producers, Replica, Segment};
use crate::log::frame::Frame;

/// 2: where the topic was seen, and dropped segments.
const VERSION: u8 = 2;

impl Replica {
    /// The manifest for the segments as they are and `end`, the offset after their last batch.
    pub fn manifest(&self, end: i64) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.put_i64(self.log_start.max(self.pending_start));
        out.put_i64(end);
        out.put_i64(self.seen);
        out.put_u16(self.dir.len() as u16);
        out.put_slice(self.dir.as_bytes());
        out.put_u32(self.segments.len() as u32);
        for segment in &self.segments {
            out.put_i64(segment.base);
            out.put_i64(segment.end);
            out.put_u64(segment.size);
            out.put_u64(segment.row_count);
            out.put_i64(segment.max_timestamp);
            out.put_i64(segment.begun_ms);
            out.put_i64(segment.last_ms);
        }
        out.put_u32(self.epochs.len() as u32);
        for (epoch, start) in &self.epochs {
            out.put_i32(*epoch);
            out.put_i64(*start);
        }
        out.put_u32((self.gone.len() + self.doomed.len()) as u32);
        for base in self.gone.iter().chain(&self.doomed) {
            out.put_i64(*base);
        }
        self.producers.encode(&mut out);
        out.freeze()
    }

    /// That manifest as a frame of the journal.
    pub fn manifest_frame(&self, end: i64) -> Bytes {
        let (partition, body) = (self.id, self.manifest(end));
        Frame::Manifest { partition, body }.encode()
    }

    /// Take over a manifest read from the journal; batches after it follow. `None` if it is bad.
    pub fn adopt_manifest(&mut self, mut bytes: Bytes, seq: u64) -> Option<()> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        self.log_start = bytes.try_get_i64().ok()?.max(self.log_start);
        let end = bytes.try_get_i64().ok()?;
        self.seen = bytes.try_get_i64().ok()?;
        let dir_len = bytes.try_get_u16().ok()? as usize;
        if bytes.len() < dir_len {
            return None;
        }
        self.dir = String::from_utf8(bytes.split_to(dir_len).to_vec()).ok()?;
        self.segments.clear();
        for _ in 0..bytes.try_get_u32().ok()? {
            self.segments.push(Segment {
                base: bytes.try_get_i64().ok()?,
                end: bytes.try_get_i64().ok()?,
                size: bytes.try_get_u64().ok()?,
                row_count: bytes.try_get_u64().ok()?,
                max_timestamp: bytes.try_get_i64().ok()?,
                begun_ms: bytes.try_get_i64().ok()?,
                last_ms: bytes.try_get_i64().ok()?,
                rows: None,
            });
        }
        let mut epochs = Vec::new();
        for _ in 0..bytes.try_get_u32().ok()? {
            epochs.push((bytes.try_get_i32().ok()?, bytes.try_get_i64().ok()?));
        }
        self.epochs = epochs;
        let mut dropped = Vec::new();
        for _ in 0..bytes.try_get_u32().ok()? {
            dropped.push(bytes.try_get_i64().ok()?);
        }
        // They were written down while the log start they are listed with was on its way.
        self.trim_epochs();
        self.producers = Producers::decode(&mut bytes)?;
        while self.tail.front().is_some_and(|batch| batch.row.base < end) {
            if let Some(batch) = self.tail.pop_front() {
                self.tail_bytes -= u64::from(batch.row.size);
            }
        }
        self.log_end = self.log_end.max(end);
        self.awaits_manifest = self.awaits_manifest.filter(|base| *base > end);
        self.manifest_seq = seq;
        // A log start read back on its own may have dropped a segment that a write-behind was just
        // adding to when it was staged: this manifest lists it, so its files stay.
        let listed: Vec<i64> = self.segments.iter().map(|segment| segment.base).collect();
        let passed = |base: &i64| !listed.contains(base) && !dropped.contains(base);
        self.doomed.retain(passed);
        self.gone = dropped;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionId, Uuid};

    fn replica(end: i64) -> Replica {
        let id = PartitionId {
            topic: Uuid([7; 16]),
            index: 0,
        };
        let mut replica = Replica::empty(id, Uuid([1; 16]), "topics/a-0".into());
        replica.segments.push(Segment {
            base: 0,
            end,
            size: 100,
            row_count: 1,
            max_timestamp: 5,
            begun_ms: 5,
            last_ms: 5,
            rows: None,
        });
        replica
    }

    #[test]
    fn a_segment_that_a_later_manifest_lists_keeps_its_files() {
        let (early, late) = (replica(10).manifest(10), replica(15).manifest(15));
        let mut read_back = Replica {
            segments: Vec::new(),
            ..replica(0)
        };
        read_back.adopt_manifest(early, 1).expect("a manifest");
        assert_eq!(read_back.start_at(10), 1);
        assert_eq!(read_back.doomed, [0]);
        read_back.adopt_manifest(late, 2).expect("a manifest");
        assert_eq!((read_back.log_start, read_back.log_end), (10, 15));
        assert!(read_back.doomed.is_empty(), "{:?}", read_back.doomed);
    }
}
