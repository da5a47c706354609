//! Manifests: what a partition's segments durably hold, as a frame in the journal. Boot reads
//! them and nothing else: no segment is scanned.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Producers, Replica, Segment};
use crate::batch::HEAD_LEN;
use crate::log::frame::{folder, Frame, OFFSET_MAX};

/// 2: where the topic was seen, and dropped segments.
const VERSION: u8 = 2;

/// Bytes of a segment in a manifest.
pub const SEGMENT_BYTES: u64 = 56;

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

    /// Bytes of a manifest, its producers apart, near enough.
    pub fn manifest_bytes(&self) -> u64 {
        let dropped = self.gone.len() + self.doomed.len();
        let rest = 100 + self.dir.len() + self.epochs.len() * 12 + dropped * 8;
        self.segments.len() as u64 * SEGMENT_BYTES + rest as u64
    }

    /// That manifest as a frame of the journal, after the oldest producers beyond so many bytes are
    /// forgotten.
    pub fn manifest_frame(&mut self, end: i64, producers_bytes: u64) -> Bytes {
        self.producers.fit(producers_bytes);
        let (partition, body) = (self.id, self.manifest(end));
        Frame::Manifest { partition, body }.encode()
    }

    /// This manifest lists what this replica has, all of it. Producers apart: who holds a table forgets
    /// the oldest of it in its own time.
    pub fn is_listed_by(&self, manifest: &Bytes) -> bool {
        let listed = Manifest::decode(manifest.clone());
        listed.is_some_and(|listed| {
            let producers = listed.producers;
            let same = Replica {
                producers,
                ..self.clone()
            };
            same.manifest(self.log_end) == *manifest
        })
    }

    /// Take over a manifest read from the journal; batches after it follow. `None` if it is bad, and
    /// then nothing has changed.
    pub fn adopt_manifest(&mut self, bytes: Bytes, seq: u64) -> Option<()> {
        let read = Manifest::decode(bytes)?;
        let end = read.end;
        self.log_start = read.log_start.max(self.log_start);
        (self.seen, self.dir) = (read.seen, read.dir);
        (self.segments, self.epochs) = (read.segments, read.epochs);
        self.producers = read.producers;
        // They were written down while the log start they are listed with was on its way.
        self.trim_epochs();
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
        let passed = |base: &i64| !listed.contains(base) && !read.dropped.contains(base);
        self.doomed.retain(passed);
        self.gone = read.dropped;
        Some(())
    }
}

/// A manifest's fields. Each is held against what a broker can have written: sums are made with them,
/// files named by them, and memory taken for them.
struct Manifest {
    log_start: i64,
    end: i64,
    seen: i64,
    dir: String,
    segments: Vec<Segment>,
    epochs: Vec<(i32, i64)>,
    dropped: Vec<i64>,
    producers: Producers,
}

impl Manifest {
    fn decode(mut bytes: Bytes) -> Option<Manifest> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let (log_start, end) = (offset(&mut bytes)?, offset(&mut bytes)?);
        let seen = bytes.try_get_i64().ok()?;
        let dir_len = usize::from(bytes.try_get_u16().ok()?);
        if bytes.len() < dir_len {
            return None;
        }
        let dir = folder(&bytes.split_to(dir_len))?;
        let mut segments = Vec::new();
        for _ in 0..bytes.try_get_u32().ok()? {
            segments.push(segment(&mut bytes)?);
        }
        let mut epochs = Vec::new();
        for _ in 0..bytes.try_get_u32().ok()? {
            epochs.push((bytes.try_get_i32().ok()?, offset(&mut bytes)?));
        }
        let mut dropped = Vec::new();
        for _ in 0..bytes.try_get_u32().ok()? {
            dropped.push(offset(&mut bytes)?);
        }
        let producers = Producers::decode(&mut bytes)?;
        let follow = segments.windows(2).all(|pair| pair[0].end == pair[1].base);
        let ascend = epochs
            .windows(2)
            .all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1);
        let listed = |base: &i64| {
            let at = segments.binary_search_by_key(base, |segment| segment.base);
            at.is_ok()
        };
        let sizes = segments.iter().map(|segment| segment.size);
        let summed = sizes.into_iter().try_fold(0, u64::checked_add);
        let fits = summed.is_some_and(|size| size <= BYTES_MAX);
        let sound = follow && ascend && fits && !dropped.iter().any(listed);
        (sound && bytes.is_empty()).then_some(Manifest {
            log_start,
            end,
            seen,
            dir,
            segments,
            epochs,
            dropped,
            producers,
        })
    }
}

/// No disk holds as many bytes.
const BYTES_MAX: u64 = u64::MAX / 4;

fn offset(bytes: &mut Bytes) -> Option<i64> {
    let offset = bytes.try_get_i64().ok()?;
    (0..=OFFSET_MAX).contains(&offset).then_some(offset)
}

/// A segment: every row of it stands for a batch, that has a head at least.
fn segment(bytes: &mut Bytes) -> Option<Segment> {
    let segment = Segment {
        base: offset(bytes)?,
        end: offset(bytes)?,
        size: bytes.try_get_u64().ok()?,
        row_count: bytes.try_get_u64().ok()?,
        max_timestamp: bytes.try_get_i64().ok()?,
        begun_ms: bytes.try_get_i64().ok()?,
        last_ms: bytes.try_get_i64().ok()?,
        rows: None,
    };
    let rows = segment.row_count <= segment.size / HEAD_LEN as u64;
    (rows && segment.base <= segment.end).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, parse_head, BatchHead, BatchSpec};
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

    #[test]
    fn producers_that_one_shard_forgot_make_no_difference() {
        let spec = |producer_id| BatchSpec {
            timestamp: 5,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
        };
        let mut here = replica(10);
        here.log_end = 10;
        for id in 0..10 {
            let batch = build_batch(spec(id), &[(None, b"a")]);
            let head = BatchHead {
                base_offset: id,
                ..parse_head(&batch).expect("a head")
            };
            here.producers.record(&head, 7);
        }
        let sent = here.manifest(10);
        assert!(here.is_listed_by(&sent));
        here.producers.keep(5);
        assert_ne!(here.manifest(10), sent);
        assert!(here.is_listed_by(&sent));
        here.log_start = 1;
        assert!(!here.is_listed_by(&sent));
        assert!(!here.is_listed_by(&sent.slice(1..)));
    }

    #[test]
    fn a_manifest_that_no_broker_wrote_is_refused_and_changes_nothing() {
        // Version, log start, end, where the topic was seen, the folder's length and name, then the
        // count of segments and the first one's base, end, size and rows.
        let good = replica(10).manifest(10);
        let adopt = |bytes: Vec<u8>| {
            let mut read_back = Replica {
                segments: Vec::new(),
                ..replica(0)
            };
            let adopted = read_back.adopt_manifest(bytes.into(), 1);
            assert!(adopted.is_some() || read_back.segments.is_empty());
            adopted.is_some()
        };
        let with = |at: usize, value: i64| {
            let mut bytes = good.to_vec();
            bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
            bytes
        };
        assert!(adopt(good.to_vec()));
        const FIRST: usize = 1 + 8 + 8 + 8 + 2 + 10 + 4;
        for at in [1, 9, FIRST, FIRST + 8] {
            for value in [-1, i64::MIN, OFFSET_MAX + 1, i64::MAX] {
                assert!(!adopt(with(at, value)), "{value} at {at}");
            }
        }
        assert!(
            !adopt(with(FIRST, 11)),
            "a segment that ends before it begins"
        );
        assert!(!adopt(with(FIRST + 16, -1)), "a size");
        assert!(!adopt(with(FIRST + 24, i64::MAX)), "rows");
        assert!(
            !adopt(with(FIRST + 24, 2)),
            "more rows than fit into 100 bytes"
        );
        assert!(!adopt([&good[..], &[0]].concat()), "bytes follow");
        for cut in 0..good.len() {
            assert!(!adopt(good[..cut].to_vec()), "cut at {cut}");
        }
        let of = |change: &dyn Fn(&mut Replica)| {
            let mut doctored = replica(10);
            change(&mut doctored);
            adopt(doctored.manifest(10).to_vec())
        };
        let second = |base, end, size| {
            move |replica: &mut Replica| {
                let first = replica.segments[0].clone();
                replica.segments.push(Segment {
                    base,
                    end,
                    size,
                    ..first
                })
            }
        };
        assert!(of(&second(10, 12, 100)));
        assert!(!of(&second(11, 12, 100)), "a gap");
        assert!(!of(&second(9, 12, 100)), "an overlap");
        assert!(!of(&second(10, 12, BYTES_MAX)), "a sum of sizes");
        assert!(!of(&|replica| replica.gone = vec![0]), "listed and dropped");
        assert!(!of(&|replica| replica.epochs = vec![(2, 0), (1, 5)]));
        assert!(!of(&|replica| replica.epochs = vec![(1, 5), (2, 5)]));
        for dir in ["", "topics/..", "topics/a/b", "../a", "/a"] {
            assert!(!of(&|replica| replica.dir = dir.into()), "{dir}");
        }
    }
}
