//! Reading: where an offset's batches are, and whether bytes from a disk are the right ones.

use bytes::Bytes;

use super::{Replica, Segment};
use crate::batch::{head_alone, verify, BatchHead, HEAD_LEN};
use crate::disk::{DiskRequest, Path};
use crate::error_code::ErrorCode;
use crate::log::frame::seal;
use crate::log::rows::{decode_rows, Owner, Row, ROW_LEN};

/// A read that needs the disk.
#[derive(Clone, Debug, PartialEq)]
pub enum ColdRead {
    /// The segment's rows first; then ask again.
    Rows {
        /// The segment.
        base: i64,
        /// Rows it must have.
        count: u64,
        /// The side file.
        file: Path,
    },
    /// These batches.
    Data {
        /// The segment file.
        file: Path,
        /// The batches wanted, adjacent.
        rows: Vec<Row>,
    },
}

impl ColdRead {
    /// The disk operation.
    pub fn request(&self) -> DiskRequest {
        match self {
            ColdRead::Rows { count, file, .. } => DiskRequest::Read {
                file: file.clone(),
                offset: 0,
                len: count * ROW_LEN as u64,
                past_cache: false,
            },
            ColdRead::Data { file, rows } => DiskRequest::Read {
                file: file.clone(),
                offset: rows.first().map_or(0, |row| row.position),
                len: rows.iter().map(|row| u64::from(row.size)).sum(),
                past_cache: false,
            },
        }
    }

    /// After a failure: the same read of its first batch alone, so that a bad place further on does
    /// not take what stands before it. `None` if it is one batch already, or rows.
    pub fn first_alone(&self) -> Option<ColdRead> {
        match self {
            ColdRead::Data { file, rows } if rows.len() > 1 => Some(ColdRead::Data {
                file: file.clone(),
                rows: rows[..1].to_vec(),
            }),
            ColdRead::Data { .. } | ColdRead::Rows { .. } => None,
        }
    }
}

/// Where a reader's offset leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Nothing (yet).
    Empty,
    /// Whole batches.
    Records(Vec<Bytes>),
    /// The disk must be read.
    Cold(ColdRead),
}

/// Where a timestamp leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// No record is that young.
    Nowhere,
    /// A batch that may hold it: its head and its records.
    Inside(BatchHead, Bytes),
    /// The disk must be read.
    Cold(ColdRead),
}

impl Replica {
    /// Bytes of batches that this read gives at most, if no more than `limit` are wanted.
    pub fn expected_bytes(&self, read: &ColdRead, limit: usize) -> usize {
        match read {
            ColdRead::Data { rows, .. } => rows.iter().map(|row| row.size as usize).sum(),
            ColdRead::Rows { base, .. } => {
                let segment = self.segments.iter().find(|segment| segment.base == *base);
                let size = segment.map_or(u64::MAX, |segment| segment.size);
                limit.min(usize::try_from(size).unwrap_or(usize::MAX))
            }
        }
    }

    /// Batches from the one that holds `offset` on, up to the high watermark and about `max_bytes`:
    /// with `whole`, at least one whole batch if there is one (KIP-74).
    pub fn read(&self, offset: i64, max_bytes: usize, whole: bool) -> Result<Found, ErrorCode> {
        if offset < self.log_start || offset > self.log_end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset >= self.high_watermark {
            return Ok(Found::Empty);
        }
        if self
            .tail
            .front()
            .is_some_and(|batch| batch.row.base <= offset)
        {
            let records = self.read_tail(offset, max_bytes, whole);
            return Ok(Found::Records(records));
        }
        let index = self
            .segments
            .partition_point(|segment| segment.end <= offset);
        match self.segments.get(index) {
            Some(segment) if segment.base <= offset => {
                Ok(self.plan(segment, offset, max_bytes, whole))
            }
            _ => Err(ErrorCode::KafkaStorageError),
        }
    }

    fn read_tail(&self, offset: i64, max_bytes: usize, whole: bool) -> Vec<Bytes> {
        let from = self.tail.partition_point(|batch| batch.row.next <= offset);
        let mut records = Vec::new();
        let mut size = 0;
        for batch in self.tail.range(from..) {
            size += batch.row.size as usize;
            let over = size > max_bytes && !(whole && records.is_empty());
            let hidden = batch.row.next > self.high_watermark && !self.knobs.has(94);
            if over || hidden {
                break;
            }
            records.extend(batch.pieces.iter().cloned());
        }
        records
    }

    pub(super) fn rows_first(&self, segment: &Segment) -> ColdRead {
        let file = self.rows_path(segment.base);
        ColdRead::Rows {
            base: segment.base,
            count: segment.row_count,
            file,
        }
    }

    fn plan(&self, segment: &Segment, offset: i64, max_bytes: usize, whole: bool) -> Found {
        if max_bytes == 0 && !whole {
            return Found::Empty;
        }
        let Some(all) = &segment.rows else {
            return Found::Cold(self.rows_first(segment));
        };
        let from = all.partition_point(|row| row.next <= offset);
        let mut size = 0;
        let mut rows = Vec::new();
        for row in &all[from..] {
            size += row.size as usize;
            let over = size > max_bytes && !(whole && rows.is_empty());
            if over || row.next > self.high_watermark {
                break;
            }
            rows.push(*row);
        }
        if rows.is_empty() {
            return Found::Empty;
        }
        Found::Cold(ColdRead::Data {
            file: self.segment_path(segment.base),
            rows,
        })
    }

    /// What can be read goes on behind these rows of a segment: they are its last, or `limited`.
    pub fn ends_early(&self, rows: &[Row], limited: bool) -> bool {
        let end = rows.last().map_or(0, |row| row.next);
        let is_end = |segment: &Segment| segment.end == end;
        end < self.high_watermark && (limited || self.segments.iter().any(is_end))
    }

    /// What can be read goes on in memory behind these batches, which were read there from `offset` on.
    pub fn follows(&self, offset: i64, batches: &[Bytes]) -> bool {
        let from = self.tail.partition_point(|batch| batch.row.next <= offset);
        let next = self.tail.get(from + batches.len() / 2);
        next.is_some_and(|batch| batch.row.next <= self.high_watermark)
    }

    /// Rows came from the disk. False if they are damaged. Only one old segment's rows are kept.
    pub fn rows_loaded(&mut self, base: i64, count: u64, bytes: &Bytes) -> bool {
        let owner = Owner::of(self.cluster, self.id);
        let Some(rows) = decode_rows(owner, bytes, count, self.knobs.has(85)) else {
            return false;
        };
        self.forget_sealed_rows();
        let segment = self
            .segments
            .iter_mut()
            .find(|segment| segment.base == base);
        match segment {
            Some(segment) if !lead_through(segment, &rows) => return false,
            Some(segment) if segment.row_count == count => segment.rows = Some(rows),
            _ => {}
        }
        true
    }

    /// The whole, right batches at the front of what the disk gave for `rows`. Fewer than asked
    /// means that the next one is damaged or of another place. `check_seal` is off only for M47.
    pub fn sift(&self, rows: &[Row], bytes: &Bytes, check_seal: bool) -> Vec<Bytes> {
        let mut good = Vec::new();
        let mut at = 0;
        for row in rows {
            let end = at + row.size as usize;
            if end > bytes.len() {
                break;
            }
            let batch = bytes.slice(at..end);
            let Ok(head) = verify(&batch) else { break };
            let found = seal(
                self.cluster,
                self.id,
                head.base_offset,
                head.leader_epoch,
                head.crc,
            );
            let right =
                head.size == batch.len() && head.base_offset == row.base && found == row.seal;
            if check_seal && !right {
                break;
            }
            good.push(batch);
            at = end;
        }
        good
    }

    /// Where the first record may stand, from offset `from` on, whose timestamp is at least
    /// `timestamp`. `from` moves past the segments that do not hold it: only one old segment's rows
    /// are kept, so each must be looked at once.
    pub fn locate_time(&self, timestamp: i64, from: &mut i64) -> Place {
        *from = self.log_start.max(*from);
        let front = self.tail.front().map_or(i64::MAX, |batch| batch.row.base);
        for segment in &self.segments {
            if segment.max_timestamp < timestamp || segment.end <= *from {
                continue;
            }
            let Some(all) = &segment.rows else {
                return Place::Cold(self.rows_first(segment));
            };
            let young = |row: &&Row| row.max_timestamp >= timestamp && row.next > *from;
            let row = all.iter().find(|row| young(row) && row.base < front);
            if let Some(row) = row.filter(|row| row.next <= self.high_watermark) {
                let file = self.segment_path(segment.base);
                return Place::Cold(ColdRead::Data {
                    file,
                    rows: vec![*row],
                });
            }
            *from = segment.end.min(front);
        }
        let batch = self.tail.iter().find(|batch| {
            let row = &batch.row;
            row.max_timestamp >= timestamp && row.next > *from && row.next <= self.high_watermark
        });
        batch.map_or(Place::Nowhere, |batch| {
            let [front, records] = &batch.pieces;
            Self::inside(front, records.clone())
        })
    }

    /// A batch that was read whole.
    pub fn inside_whole(batch: &Bytes) -> Place {
        Self::inside(batch, batch.slice(HEAD_LEN.min(batch.len())..))
    }

    pub(super) fn inside(front: &[u8], records: Bytes) -> Place {
        // It was verified when it came in, or when it was read.
        head_alone(front).map_or(Place::Nowhere, |head| Place::Inside(head, records))
    }

    /// True if this is the name of a file of a segment that is listed.
    pub fn lists(&self, file: &Path) -> bool {
        let names = |segment: &Segment| {
            *file == self.segment_path(segment.base) || *file == self.rows_path(segment.base)
        };
        self.segments.iter().any(names)
    }
}

/// Rows lead through this segment from its beginning on. Those of another segment of the partition do
/// not: a reader would find nothing where something stands.
fn lead_through(segment: &Segment, rows: &[Row]) -> bool {
    let (mut next, mut position) = (segment.base, 0);
    for row in rows {
        let begins = row.position == position && row.base >= next && row.next > row.base;
        if !begins || (position == 0 && row.base != next) {
            return false;
        }
        (next, position) = (row.next, position + u64::from(row.size));
    }
    let whole = rows.len() as u64 == segment.row_count;
    let reaches = next <= segment.end && position <= segment.size;
    reaches && (!whole || (next, position) == (segment.end, segment.size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionId, Uuid};
    use bytes::BytesMut;

    const CLUSTER: Uuid = Uuid([1; 16]);
    const ID: PartitionId = PartitionId {
        topic: Uuid([7; 16]),
        index: 0,
    };

    fn row(base: i64, next: i64, max_timestamp: i64) -> Row {
        Row {
            base,
            next,
            position: 0,
            size: 100,
            max_timestamp,
            seal: 0,
        }
    }

    fn segment(rows: &[Row]) -> (Segment, Bytes) {
        let mut side = BytesMut::new();
        for (row, nth) in rows.iter().zip(0..) {
            let row = Row {
                position: 100 * nth,
                ..*row
            };
            row.encode(Owner::of(CLUSTER, ID), &mut side);
        }
        let segment = Segment {
            base: rows[0].base,
            end: rows[rows.len() - 1].next,
            size: 100 * rows.len() as u64,
            row_count: rows.len() as u64,
            max_timestamp: rows.iter().map(|row| row.max_timestamp).max().unwrap_or(0),
            begun_ms: 0,
            last_ms: 0,
            rows: None,
        };
        (segment, side.freeze())
    }

    /// A misdirected write, or read, brings another segment's rows.
    #[test]
    fn rows_of_another_segment_are_damage() {
        let mut replica = Replica::empty(ID, CLUSTER, "topics/a-0".into());
        let (first, first_side) = segment(&[row(0, 5, 100), row(5, 10, 50)]);
        let (second, second_side) = segment(&[row(10, 20, 100), row(20, 30, 100)]);
        replica.segments = vec![first, second];
        for (base, own, other) in [
            (0, &first_side, &second_side),
            (10, &second_side, &first_side),
        ] {
            assert!(!replica.rows_loaded(base, 2, other), "{base}");
            assert!(replica
                .segments
                .iter()
                .all(|segment| segment.rows.is_none()));
            assert!(replica.rows_loaded(base, 2, own), "{base}");
            replica.segments.iter_mut().for_each(|it| it.rows = None);
        }
        let broken: [fn(&mut Row); 4] = [
            |row| row.base += 1,
            |row| row.next = row.base,
            |row| row.position += 1,
            |row| row.size += 1,
        ];
        for change in broken {
            let mut rows = [row(10, 20, 100), row(20, 30, 100)];
            change(&mut rows[0]);
            let mut side = BytesMut::new();
            rows[1].position = 100;
            let owner = Owner::of(CLUSTER, ID);
            rows.iter().for_each(|row| row.encode(owner, &mut side));
            assert!(!replica.rows_loaded(10, 2, &side.freeze()), "{rows:?}");
        }
    }

    #[test]
    fn a_lookup_goes_through_each_segment_once() {
        let mut replica = Replica::empty(ID, CLUSTER, "topics/a-0".into());
        // The record that makes the first segment look young enough is before the log start.
        let (first, first_side) = segment(&[row(0, 5, 100), row(5, 10, 50)]);
        let (second, second_side) = segment(&[row(10, 20, 100)]);
        let (last, _) = segment(&[row(20, 30, 20)]);
        replica.segments = vec![first, second, last];
        (replica.log_start, replica.log_end, replica.high_watermark) = (5, 30, 30);
        let mut from = 0;
        for side in [(0, 2, first_side), (10, 1, second_side)] {
            let found = replica.locate_time(80, &mut from);
            assert!(
                matches!(found, Place::Cold(ColdRead::Rows { base, .. }) if base == side.0),
                "{found:?}"
            );
            assert!(replica.rows_loaded(side.0, side.1, &side.2));
        }
        let found = replica.locate_time(80, &mut from);
        assert!(
            matches!(&found, Place::Cold(ColdRead::Data { rows, .. }) if rows[0].base == 10),
            "{found:?}"
        );
        assert_eq!(replica.locate_time(101, &mut from), Place::Nowhere);
    }
}
