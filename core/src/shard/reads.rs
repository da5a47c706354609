//! Cold reads: a segment's rows if they are not loaded, then the batches, checked before they are
//! served. Bytes that fail are a fault: the reader is told, and nothing shorter is passed off.

use super::lookups::Lookup;
use super::{Part, Purpose, Shard};
use crate::api::PartitionFetched;
use crate::contract::{Effects, Note};
use crate::disk::{DiskDone, DiskResult};
use crate::error_code::ErrorCode;
use crate::ids::PartitionId;
use crate::partition::{ColdRead, Found, Place, Replica};

/// What a read is for.
#[derive(Clone, Debug)]
pub(super) enum ReadFor {
    /// A part of an ask: records from an offset on.
    Fetch {
        ask: u64,
        slot: u32,
        offset: i64,
        limit: usize,
        /// The first batch in any case, if it is larger than `limit`.
        whole: bool,
        /// `limit` is what all partitions may give together, not what the client takes of this one.
        by_budget: bool,
    },
    /// The batch that a lookup by time is to look into.
    Time(Lookup),
}

/// A read in progress.
#[derive(Clone, Debug)]
pub(super) struct ReadRow {
    pub id: PartitionId,
    pub purpose: ReadFor,
    pub read: ColdRead,
}

impl ReadRow {
    pub fn is_lookup(&self) -> bool {
        matches!(self.purpose, ReadFor::Time(_))
    }
}

impl Shard {
    pub(super) fn start_read(&mut self, row: ReadRow, out: &mut Effects) {
        let request = row.read.request();
        self.disk(request, Purpose::Read(row), out);
    }

    fn read_failed(&mut self, row: ReadRow, code: ErrorCode, out: &mut Effects) {
        let index = row.id.index as i32;
        match row.purpose {
            ReadFor::Fetch { ask, slot, .. } => {
                let part = Part::Fetched(PartitionFetched::failed(index, code));
                self.part_done(ask, slot, part, out);
            }
            ReadFor::Time(lookup) => self.found_none(lookup, code, out),
        }
    }

    fn faulty(&mut self, row: ReadRow, file: &crate::disk::Path, out: &mut Effects) {
        let replica = self.replicas.get(&row.id);
        match row.purpose {
            // Retention may have removed the file since; then the offset is out of range, not faulty.
            ReadFor::Fetch { offset, .. }
                if replica.is_none_or(|replica| offset < replica.log_start) =>
            {
                return self.read_failed(row, ErrorCode::OffsetOutOfRange, out);
            }
            ReadFor::Time(lookup) if !replica.is_some_and(|replica| replica.lists(file)) => {
                return self.look(lookup, out);
            }
            ReadFor::Fetch { .. } | ReadFor::Time(_) => {}
        }
        out.notes.push(Note::FaultyRange {
            file: file.to_string(),
        });
        self.read_failed(row, ErrorCode::KafkaStorageError, out);
    }

    pub(super) fn read_done(&mut self, row: ReadRow, result: DiskResult, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&row.id) else {
            return self.read_failed(row, ErrorCode::UnknownTopicOrPartition, out);
        };
        let file = match &row.read {
            ColdRead::Rows { file, .. } | ColdRead::Data { file, .. } => file.clone(),
        };
        let Ok(DiskDone::Data(bytes)) = result else {
            let alone = row.read.first_alone();
            if let Some(read) = alone.filter(|_| !self.config.knobs.has(86)) {
                return self.start_read(ReadRow { read, ..row }, out);
            }
            return self.faulty(row, &file, out);
        };
        match &row.read {
            ColdRead::Rows { base, count, .. } => {
                if !replica.rows_loaded(*base, *count, &bytes) {
                    return self.faulty(row, &file, out);
                }
                self.read_again(row, out);
            }
            ColdRead::Data { rows, .. } => {
                let good = replica.sift(rows, &bytes, !self.config.knobs.ignore_seal);
                if good.is_empty() && !rows.is_empty() {
                    return self.faulty(row, &file, out);
                }
                match row.purpose {
                    ReadFor::Fetch { offset, .. }
                        if offset < replica.log_start && !self.config.knobs.has(99) =>
                    {
                        self.read_failed(row, ErrorCode::OffsetOutOfRange, out)
                    }
                    ReadFor::Fetch {
                        ask,
                        slot,
                        by_budget,
                        ..
                    } => {
                        let short = good.len() < rows.len();
                        let ends_early = short || replica.ends_early(rows, by_budget);
                        let part = Self::fetched(replica, good, ends_early);
                        self.part_done(ask, slot, part, out);
                    }
                    ReadFor::Time(lookup) => {
                        let place = good.first().map(Replica::inside_whole);
                        self.look_inside(lookup, place.unwrap_or(Place::Nowhere), out);
                    }
                }
            }
        }
    }

    /// The rows are there: look again, now for the data.
    fn read_again(&mut self, row: ReadRow, out: &mut Effects) {
        let Some(replica) = self.replicas.get(&row.id) else {
            return self.read_failed(row, ErrorCode::UnknownTopicOrPartition, out);
        };
        let (ask, slot, offset, by_budget, found) = match row.purpose {
            ReadFor::Time(lookup) => return self.look(lookup, out),
            ReadFor::Fetch {
                ask,
                slot,
                offset,
                limit,
                whole,
                by_budget,
            } => {
                let found = replica.read(offset, limit, whole);
                (ask, slot, offset, by_budget, found)
            }
        };
        match found {
            Ok(Found::Cold(read)) => self.start_read(ReadRow { read, ..row }, out),
            Ok(Found::Empty) => {
                let part = Self::fetched(replica, Vec::new(), false);
                self.part_done(ask, slot, part, out);
            }
            Ok(Found::Records(records)) => {
                let ends_early = by_budget && replica.follows(offset, &records);
                let part = Self::fetched(replica, records, ends_early);
                self.part_done(ask, slot, part, out);
            }
            Err(code) => self.read_failed(row, code, out),
        }
    }
}
