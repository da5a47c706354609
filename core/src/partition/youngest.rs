//! Where the first of the youngest records stands (KIP-734).
//!
//! A batch bears the time of its youngest record, a segment that of its youngest batch. Where the log
//! start stands inside a batch or a segment, that record may be before it: what such a one bears says
//! nothing of the records that are left, so it is looked into.

use super::{ColdRead, Place, Replica, Segment, TailBatch};
use crate::log::rows::Row;

/// What stands on both sides of an offset.
#[derive(Clone, Copy, Debug)]
enum Cut<'a> {
    /// A segment whose rows are not loaded.
    Segment(&'a Segment),
    /// A batch of a segment.
    Row(&'a Segment, &'a Row),
    /// A batch of the tail.
    Tail(&'a TailBatch),
}

impl Cut<'_> {
    /// No record of it is younger.
    fn bears(&self) -> i64 {
        match self {
            Cut::Segment(segment) => segment.max_timestamp,
            Cut::Row(_, row) => row.max_timestamp,
            Cut::Tail(batch) => batch.row.max_timestamp,
        }
    }
}

impl Replica {
    /// Where the first of the youngest records may stand, from offset `from` on, and how young it must
    /// be, ms; who finds no such record there goes on after that batch. `from` moves past what does not
    /// hold it. Records of a time below 0 have none.
    pub fn locate_youngest(&self, from: &mut i64) -> (Place, i64) {
        *from = self.log_start.max(*from);
        let (youngest, cut) = self.youngest_from(*from);
        let at_least = youngest.unwrap_or(0);
        // It comes before all others, so it is also meant if they are as young.
        let place = match cut.filter(|cut| cut.bears() >= at_least) {
            Some(Cut::Segment(segment)) => Place::Cold(self.rows_first(segment)),
            Some(Cut::Row(segment, row)) => Place::Cold(ColdRead::Data {
                file: self.segment_path(segment.base),
                rows: vec![*row],
            }),
            Some(Cut::Tail(batch)) => {
                let [front, records] = &batch.pieces;
                Self::inside(front, records.clone())
            }
            None if youngest.is_none() => Place::Nowhere,
            None => self.locate_time(at_least, from),
        };
        (place, at_least)
    }

    /// The largest time that is borne by what stands whole from offset `from` on, and what `from` cuts.
    fn youngest_from(&self, from: i64) -> (Option<i64>, Option<Cut<'_>>) {
        let (mut times, mut cut) = (Vec::new(), None);
        for segment in self.segments.iter().filter(|segment| segment.end > from) {
            match &segment.rows {
                _ if segment.base >= from => times.push(segment.max_timestamp),
                None => cut = Some(Cut::Segment(segment)),
                Some(rows) => {
                    for row in rows.iter().filter(|row| row.next > from) {
                        match row.base >= from {
                            true => times.push(row.max_timestamp),
                            false => cut = Some(Cut::Row(segment, row)),
                        }
                    }
                }
            }
        }
        // A batch on its way into a segment is read here.
        let seen =
            |batch: &&TailBatch| batch.row.next > from && batch.row.next <= self.high_watermark;
        for batch in self.tail.iter().filter(seen) {
            match batch.row.base >= from {
                true => times.push(batch.row.max_timestamp),
                false => cut = Some(Cut::Tail(batch)),
            }
        }
        (times.into_iter().filter(|time| *time >= 0).max(), cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, parse_head, BatchSpec, HEAD_LEN};
    use crate::ids::{PartitionId, Uuid};
    use crate::log::rows::Owner;
    use bytes::BytesMut;

    fn replica() -> Replica {
        let id = PartitionId {
            topic: Uuid([7; 16]),
            index: 0,
        };
        Replica::empty(id, Uuid([1; 16]), "topics/a-0".into())
    }

    /// Segments of batches given as (base, next, time borne).
    fn with_segments(segments: &[&[(i64, i64, i64)]]) -> Replica {
        let mut replica = replica();
        for batches in segments {
            let of = |(base, next, max_timestamp): &(i64, i64, i64)| Row {
                base: *base,
                next: *next,
                position: 0,
                size: 100,
                max_timestamp: *max_timestamp,
                seal: 0,
            };
            let rows: Vec<Row> = batches.iter().map(of).collect();
            replica.segments.push(Segment {
                base: rows[0].base,
                end: rows[rows.len() - 1].next,
                size: 100 * rows.len() as u64,
                row_count: rows.len() as u64,
                max_timestamp: rows.iter().map(|row| row.max_timestamp).max().unwrap_or(0),
                begun_ms: 0,
                last_ms: 0,
                rows: None,
            });
            replica.log_end = rows[rows.len() - 1].next;
        }
        replica.high_watermark = replica.log_end;
        replica.durable_end = replica.log_end;
        replica
    }

    /// The rows that were asked for arrive.
    fn load(replica: &mut Replica, base: i64, rows: &[(i64, i64, i64)]) {
        let mut side = BytesMut::new();
        for ((base, next, max_timestamp), nth) in rows.iter().zip(0..) {
            let row = Row {
                base: *base,
                next: *next,
                position: 100 * nth,
                size: 100,
                max_timestamp: *max_timestamp,
                seal: 0,
            };
            row.encode(Owner::of(replica.cluster, replica.id), &mut side);
        }
        assert!(replica.rows_loaded(base, rows.len() as u64, &side.freeze()));
    }

    /// Offset of the batch or the segment's rows that are wanted, and how young the record must be.
    fn step(replica: &Replica, from: &mut i64) -> (&'static str, i64, i64) {
        match replica.locate_youngest(from) {
            (Place::Nowhere, at_least) => ("nowhere", -1, at_least),
            (Place::Inside(head, _), at_least) => ("inside", head.base_offset, at_least),
            (Place::Cold(ColdRead::Rows { base, .. }), at_least) => ("rows", base, at_least),
            (Place::Cold(ColdRead::Data { rows, .. }), at_least) => {
                ("data", rows[0].base, at_least)
            }
        }
    }

    #[test]
    fn what_is_left_of_a_batch_in_the_tail_is_looked_into() {
        let mut replica = replica();
        let batch = build_batch(BatchSpec::plain(154), &[(None, b"a"), (None, b"b")]);
        let head = parse_head(&batch).expect("a head");
        let pieces = [batch.slice(..HEAD_LEN), batch.slice(HEAD_LEN..)];
        replica.push_tail(&head, 0, pieces, 1);
        replica.high_watermark = 2;
        assert_eq!(step(&replica, &mut 0), ("inside", 0, 154));
        // The record of 154 is gone; the other one may be of any time.
        replica.log_start = 1;
        let mut from = 0;
        assert_eq!(step(&replica, &mut from), ("inside", 0, 0));
        assert_eq!(step(&replica, &mut 2), ("nowhere", -1, 0));
        replica.high_watermark = 1;
        assert_eq!(step(&replica, &mut from), ("nowhere", -1, 0));
    }

    #[test]
    fn what_is_left_of_a_batch_in_a_segment_is_looked_into_before_all_that_are_older() {
        let first = [(0, 5, 200), (5, 10, 100), (10, 12, 80)];
        let mut replica = with_segments(&[&first, &[(12, 20, 90)]]);
        replica.log_start = 7;
        let mut from = 0;
        assert_eq!(step(&replica, &mut from), ("rows", 0, 90));
        load(&mut replica, 0, &first);
        assert_eq!(step(&replica, &mut from), ("data", 5, 90));
        // Nothing that young was left in it.
        from = 10;
        assert_eq!(step(&replica, &mut from), ("rows", 12, 90));
        // Meanwhile another lookup takes its rows away: it is asked for them again.
        replica.segments[0].rows = None;
        from = 0;
        assert_eq!(step(&replica, &mut from), ("rows", 0, 90));
    }

    #[test]
    fn what_is_left_of_a_segment_is_left_alone_if_another_is_younger() {
        let mut replica = with_segments(&[&[(0, 10, 100)], &[(10, 20, 101)]]);
        replica.log_start = 5;
        assert_eq!(step(&replica, &mut 0), ("rows", 10, 101));
        replica.segments[0].max_timestamp = 101;
        assert_eq!(step(&replica, &mut 0), ("rows", 0, 101));
    }
}
