//! Frames: what a journal block holds. Every structural change of a partition is one.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ids::{PartitionId, Uuid};

const HEADER_LEN: usize = 26;
/// Folder of all partitions' folders, below the data folder.
pub const TOPICS: &str = "topics";
/// No log comes near this offset: one that does was not written by a broker, and sums with it would
/// overflow.
pub const OFFSET_MAX: i64 = i64::MAX / 2;

/// One fact in the journal.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The partition exists on this shard from here on; its segments lie in the named folder.
    Create {
        /// The partition.
        partition: PartitionId,
        /// Metadata offset at which its topic was seen: see [`crate::partition::Replica::seen`].
        seen: i64,
        /// Folder below the data folder.
        dir: String,
    },
    /// A record batch was appended. `seal` binds it to its place.
    Batch {
        /// The partition.
        partition: PartitionId,
        /// See [`seal`].
        seal: u32,
        /// The whole batch.
        batch: Bytes,
    },
    /// The log now starts at this offset.
    LogStart {
        /// The partition.
        partition: PartitionId,
        /// First offset kept.
        offset: i64,
    },
    /// What the partition's segments durably hold; opaque here, see `partition::manifest`.
    Manifest {
        /// The partition.
        partition: PartitionId,
        /// Encoded manifest.
        body: Bytes,
    },
    /// All batches after the segments follow once more, from this offset on, and then a manifest: what
    /// earlier blocks hold of them does not count.
    Carried {
        /// The partition.
        partition: PartitionId,
        /// First offset of the first batch.
        base: i64,
    },
    /// The partition is gone from this journal.
    Drop {
        /// The partition.
        partition: PartitionId,
        /// Folder to be removed with all that is in it; empty if the partition moved to another
        /// journal and its files are in use there.
        dir: String,
    },
    /// Records of the metadata ledger, one atomic batch.
    Ledger {
        /// Offset of the batch in the ledger's log.
        offset: i64,
        /// Encoded records.
        body: Bytes,
    },
    /// The ledger's whole hard state up to `offset`, excluded.
    LedgerSnapshot {
        /// Next offset of the ledger's log.
        offset: i64,
        /// Encoded records that fold to the state.
        body: Bytes,
    },
}

/// Bytes that cannot be a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadFrame;

/// A check over a batch's identity: who it belongs to and where it stands. Kafka's CRC covers
/// neither base offset nor epoch nor the topic, so a misdirected write passes it.
pub fn seal(cluster: Uuid, partition: PartitionId, base_offset: i64, epoch: i32, crc: u32) -> u32 {
    let mut identity = [0u8; 52];
    identity[0..16].copy_from_slice(&cluster.0);
    identity[16..32].copy_from_slice(&partition.topic.0);
    identity[32..36].copy_from_slice(&partition.index.to_be_bytes());
    identity[36..44].copy_from_slice(&base_offset.to_be_bytes());
    identity[44..48].copy_from_slice(&epoch.to_be_bytes());
    identity[48..52].copy_from_slice(&crc.to_be_bytes());
    crc32c::crc32c(&identity)
}

fn header(kind: u8, partition: PartitionId, body_len: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEADER_LEN + 16);
    out.put_u8(kind);
    out.put_u8(0);
    out.put_slice(&partition.topic.0);
    out.put_u32(partition.index);
    out.put_u32(body_len as u32);
    out
}

/// A batch frame in pieces: a small head with the patched batch head, then the untouched records.
pub fn batch_pieces(partition: PartitionId, seal: u32, head: &[u8], rest: Bytes) -> [Bytes; 2] {
    let mut out = header(2, partition, 4 + head.len() + rest.len());
    out.put_u32(seal);
    out.put_slice(head);
    [out.freeze(), rest]
}

/// A partition's folder: one level below [`TOPICS`]. What is in it is written and removed, so that a
/// forged one must not lead elsewhere.
pub fn folder(bytes: &[u8]) -> Option<String> {
    let name = bytes.strip_prefix(TOPICS.as_bytes())?.strip_prefix(b"/")?;
    let leads_elsewhere = matches!(name, b"" | b"." | b"..") || name.contains(&b'/');
    if leads_elsewhere || name.contains(&0) {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}

fn offset(bytes: &mut Bytes) -> Result<i64, BadFrame> {
    let offset = bytes.try_get_i64().map_err(|_| BadFrame)?;
    match bytes.is_empty() && (0..=OFFSET_MAX).contains(&offset) {
        true => Ok(offset),
        false => Err(BadFrame),
    }
}

/// A ledger's frame has its offset where others have their partition.
fn ledger_offset(partition: PartitionId) -> Result<i64, BadFrame> {
    let offset = i64::try_from(u128::from_be_bytes(partition.topic.0)).map_err(|_| BadFrame)?;
    match partition.index == 0 && offset <= OFFSET_MAX {
        true => Ok(offset),
        false => Err(BadFrame),
    }
}

impl Frame {
    /// The frame's bytes.
    pub fn encode(&self) -> Bytes {
        let ledger = |offset: &i64| PartitionId {
            topic: Uuid((*offset as u128).to_be_bytes()),
            index: 0,
        };
        let (kind, partition, body): (u8, PartitionId, Bytes) = match self {
            Frame::Create {
                partition,
                seen,
                dir,
            } => {
                let mut body = BytesMut::with_capacity(8 + dir.len());
                body.put_i64(*seen);
                body.put_slice(dir.as_bytes());
                (1, *partition, body.freeze())
            }
            Frame::Batch {
                partition,
                seal,
                batch,
            } => {
                let mut body = BytesMut::with_capacity(4 + batch.len());
                body.put_u32(*seal);
                body.put_slice(batch);
                (2, *partition, body.freeze())
            }
            Frame::LogStart { partition, offset } => {
                (3, *partition, Bytes::copy_from_slice(&offset.to_be_bytes()))
            }
            Frame::Carried { partition, base } => {
                (8, *partition, Bytes::copy_from_slice(&base.to_be_bytes()))
            }
            Frame::Manifest { partition, body } => (4, *partition, body.clone()),
            Frame::Drop { partition, dir } => {
                (5, *partition, Bytes::copy_from_slice(dir.as_bytes()))
            }
            Frame::Ledger { offset, body } => (6, ledger(offset), body.clone()),
            Frame::LedgerSnapshot { offset, body } => (7, ledger(offset), body.clone()),
        };
        let mut out = header(kind, partition, body.len());
        out.put_slice(&body);
        out.freeze()
    }

    /// The frame at the start of `bytes`, which move on past it.
    pub fn decode(bytes: &mut Bytes) -> Result<Frame, BadFrame> {
        if bytes.len() < HEADER_LEN {
            return Err(BadFrame);
        }
        let kind = bytes.get_u8();
        if bytes.get_u8() != 0 {
            return Err(BadFrame);
        }
        let mut topic = [0; 16];
        bytes.copy_to_slice(&mut topic);
        let partition = PartitionId {
            topic: Uuid(topic),
            index: bytes.get_u32(),
        };
        let len = bytes.get_u32() as usize;
        if len > bytes.len() {
            return Err(BadFrame);
        }
        let mut body = bytes.split_to(len);
        Ok(match kind {
            1 if body.len() >= 8 => Frame::Create {
                partition,
                seen: body.get_i64(),
                dir: folder(&body).ok_or(BadFrame)?,
            },
            2 if body.len() >= 4 => Frame::Batch {
                partition,
                seal: body.get_u32(),
                batch: body,
            },
            3 => Frame::LogStart {
                partition,
                offset: offset(&mut body)?,
            },
            4 => Frame::Manifest { partition, body },
            5 => Frame::Drop {
                partition,
                dir: match body.is_empty() {
                    true => String::new(),
                    false => folder(&body).ok_or(BadFrame)?,
                },
            },
            6 => Frame::Ledger {
                offset: ledger_offset(partition)?,
                body,
            },
            7 => Frame::LedgerSnapshot {
                offset: ledger_offset(partition)?,
                body,
            },
            8 => Frame::Carried {
                partition,
                base: offset(&mut body)?,
            },
            _ => return Err(BadFrame),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went_in() {
        let partition = PartitionId {
            topic: Uuid([7; 16]),
            index: 3,
        };
        let frames = [
            Frame::Create {
                partition,
                seen: 17,
                dir: "topics/a-3".into(),
            },
            Frame::Batch {
                partition,
                seal: 9,
                batch: Bytes::from_static(b"batch"),
            },
            Frame::LogStart {
                partition,
                offset: 12,
            },
            Frame::Manifest {
                partition,
                body: Bytes::from_static(b"m"),
            },
            Frame::Drop {
                partition,
                dir: "topics/a-3".into(),
            },
            Frame::Drop {
                partition,
                dir: String::new(),
            },
            Frame::Carried { partition, base: 7 },
            Frame::Ledger {
                offset: 5,
                body: Bytes::from_static(b"r"),
            },
            Frame::LedgerSnapshot {
                offset: 6,
                body: Bytes::from_static(b"s"),
            },
        ];
        for frame in frames {
            let mut bytes = frame.encode();
            assert_eq!(Frame::decode(&mut bytes.clone()), Ok(frame));
            for cut in 0..bytes.len() {
                assert_eq!(Frame::decode(&mut bytes.slice(..cut)), Err(BadFrame));
            }
            bytes.clear();
        }
    }

    #[test]
    fn forged_offsets_and_folders_are_bad_frames() {
        let partition = PartitionId {
            topic: Uuid([7; 16]),
            index: 3,
        };
        let bad = |frame: Frame| Frame::decode(&mut frame.encode()) == Err(BadFrame);
        for offset in [-1, i64::MIN, OFFSET_MAX + 1, i64::MAX] {
            let body = Bytes::new();
            let base = offset;
            assert!(bad(Frame::LogStart { partition, offset }), "{offset}");
            assert!(bad(Frame::Carried { partition, base }), "{offset}");
            assert!(bad(Frame::Ledger {
                offset,
                body: body.clone()
            }));
            assert!(bad(Frame::LedgerSnapshot { offset, body }));
        }
        for dir in [
            "",
            "topics",
            "topics/",
            "topics/..",
            "topics/.",
            "topics/a/b",
            "topics/../x",
            "/etc",
            "journal/a",
            "topics/a\0",
        ] {
            let (seen, dir) = (1, dir.to_string());
            let drop = dir.clone();
            assert!(
                bad(Frame::Create {
                    partition,
                    seen,
                    dir
                }),
                "{drop}"
            );
            let dir = drop;
            let moved = dir.is_empty();
            assert_ne!(bad(Frame::Drop { partition, dir }), moved);
        }
    }

    #[test]
    fn a_seal_names_its_place() {
        let partition = PartitionId {
            topic: Uuid([7; 16]),
            index: 3,
        };
        let good = seal(Uuid([1; 16]), partition, 10, 2, 77);
        assert_ne!(good, seal(Uuid([1; 16]), partition, 11, 2, 77));
        assert_ne!(good, seal(Uuid([1; 16]), partition, 10, 3, 77));
        assert_ne!(good, seal(Uuid([2; 16]), partition, 10, 2, 77));
        assert_ne!(
            good,
            seal(
                Uuid([1; 16]),
                PartitionId {
                    index: 4,
                    ..partition
                },
                10,
                2,
                77
            )
        );
    }
}
