//! Rows: one per batch of a segment, in the segment's side file (`.seal`): where the batch stands,
//! how young its records are, and the seal that binds it to its place.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ids::{PartitionId, Uuid};

/// Bytes of a row on disk.
pub const ROW_LEN: usize = 44;

/// A batch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Offset of the batch's first record.
    pub base: i64,
    /// Offset after its last record.
    pub next: i64,
    /// Where it starts in the segment file.
    pub position: u64,
    /// Its bytes.
    pub size: u32,
    /// Largest timestamp, ms.
    pub max_timestamp: i64,
    /// See [`super::frame::seal`].
    pub seal: u32,
}

/// Whose rows they are. Each row's checksum begins with it, so that rows of another partition, which a
/// misdirected write or read brings, are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u32);

impl Owner {
    /// A partition of a cluster.
    pub fn of(cluster: Uuid, partition: PartitionId) -> Owner {
        let index = partition.index.to_be_bytes();
        let identity = [&cluster.0[..], &partition.topic.0, &index].concat();
        Owner(crc32c::crc32c(&identity))
    }

    /// The checksum of a row's other bytes.
    pub(crate) fn crc(self, row: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, row)
    }
}

impl Row {
    /// The row's bytes, its own checksum last.
    pub fn encode(&self, owner: Owner, out: &mut BytesMut) {
        let start = out.len();
        out.put_i64(self.base);
        out.put_i64(self.next);
        out.put_u64(self.position);
        out.put_u32(self.size);
        out.put_i64(self.max_timestamp);
        out.put_u32(self.seal);
        let crc = owner.crc(&out[start..]);
        out.put_u32(crc);
    }
}

/// All rows of a side file that must hold exactly `count` of this owner's, or `None` if it does not.
/// `trust` is on only for M85.
pub fn decode_rows(owner: Owner, bytes: &Bytes, count: u64, trust: bool) -> Option<Vec<Row>> {
    if (bytes.len() as u64) < count.checked_mul(ROW_LEN as u64)? {
        return None;
    }
    let mut rows = Vec::with_capacity(count as usize);
    for mut chunk in bytes.chunks_exact(ROW_LEN).take(count as usize) {
        let crc = owner.crc(&chunk[..ROW_LEN - 4]);
        if chunk[ROW_LEN - 4..] != crc.to_be_bytes() && !trust {
            return None;
        }
        rows.push(Row {
            base: chunk.get_i64(),
            next: chunk.get_i64(),
            position: chunk.get_u64(),
            size: chunk.get_u32(),
            max_timestamp: chunk.get_i64(),
            seal: chunk.get_u32(),
        });
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_damage_is_seen() {
        let row = Row {
            base: 5,
            next: 9,
            position: 100,
            size: 77,
            max_timestamp: 3,
            seal: 8,
        };
        let mut out = BytesMut::new();
        let owner = |index| {
            let topic = Uuid([4; 16]);
            Owner::of(Uuid([3; 16]), PartitionId { topic, index })
        };
        row.encode(owner(1), &mut out);
        row.encode(owner(1), &mut out);
        assert_eq!(out.len(), 2 * ROW_LEN);
        let bytes = out.freeze();
        assert_eq!(
            decode_rows(owner(1), &bytes, 2, false),
            Some(vec![row, row])
        );
        assert_eq!(decode_rows(owner(2), &bytes, 2, false), None);
        assert_eq!(decode_rows(owner(1), &bytes, 3, false), None);
        let mut bad = bytes.to_vec();
        bad[50] ^= 1;
        assert_eq!(decode_rows(owner(1), &Bytes::from(bad), 2, false), None);
    }
}
