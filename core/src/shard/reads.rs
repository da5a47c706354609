//! Cold reads: a segment's rows if they are not loaded, then the batches, checked before they are
//! served. Bytes that fail are a fault: the reader is told, and nothing shorter is passed off.

use super::{Part, PartAsk, Purpose, Shard};
use crate::api::PartitionFetched;
use crate::contract::{Effects, Note};
use crate::disk::{DiskDone, DiskResult};
use crate::error_code::ErrorCode;
use crate::ids::PartitionId;
use crate::partition::{ColdRead, Found, Place};
use crate::time::Now;

/// What a read is for.
#[derive(Clone, Debug)]
pub(super) enum ReadFor {
    Fetch { offset: i64, limit: usize },
    Time { index: i32, timestamp: i64 },
}

/// A read in progress.
#[derive(Clone, Debug)]
pub(super) struct ReadRow {
    pub ask: u64,
    pub slot: u32,
    pub id: PartitionId,
    pub purpose: ReadFor,
    pub read: ColdRead,
}

impl Shard {
    pub(super) fn start_read(&mut self, row: ReadRow, out: &mut Effects) {
        let request = row.read.request();
        self.disk(request, Purpose::Read(row), out);
    }

    fn read_failed(&mut self, now: Now, row: ReadRow, code: ErrorCode, out: &mut Effects) {
        let index = row.id.index as i32;
        let part = match row.purpose {
            ReadFor::Fetch { .. } => Part::Fetched(PartitionFetched::failed(index, code)),
            ReadFor::Time { .. } => PartAsk::Offset(crate::api::PartitionOffsetQuery {
                index,
                current_leader_epoch: -1,
                timestamp: -1,
            })
            .failed(index, code, None),
        };
        self.part_done(now, row.ask, row.slot, part, out);
    }

    fn faulty(&mut self, now: Now, row: ReadRow, file: &str, out: &mut Effects) {
        // Retention may have removed the file since; then the offset is out of range, not faulty.
        let gone = self
            .replicas
            .get(&row.id)
            .is_none_or(|replica| match row.purpose {
                ReadFor::Fetch { offset, .. } => offset < replica.log_start,
                ReadFor::Time { .. } => false,
            });
        let code = if gone {
            ErrorCode::OffsetOutOfRange
        } else {
            ErrorCode::KafkaStorageError
        };
        if !gone {
            out.notes.push(Note::FaultyRange {
                file: file.to_string(),
            });
        }
        self.read_failed(now, row, code, out);
    }

    pub(super) fn read_done(
        &mut self,
        now: Now,
        row: ReadRow,
        result: DiskResult,
        out: &mut Effects,
    ) {
        let Some(replica) = self.replicas.get_mut(&row.id) else {
            return self.read_failed(now, row, ErrorCode::UnknownTopicOrPartition, out);
        };
        let file = match &row.read {
            ColdRead::Rows { file, .. } | ColdRead::Data { file, .. } => file.clone(),
        };
        let Ok(DiskDone::Data(bytes)) = result else {
            if let Some(read) = row.read.first_alone() {
                return self.start_read(ReadRow { read, ..row }, out);
            }
            return self.faulty(now, row, &file, out);
        };
        match &row.read {
            ColdRead::Rows { base, count, .. } => {
                if !replica.rows_loaded(*base, *count, &bytes) {
                    return self.faulty(now, row, &file, out);
                }
                self.read_again(now, row, out);
            }
            ColdRead::Data { rows, .. } => {
                let good = replica.sift(rows, &bytes, !self.config.knobs.ignore_seal);
                if good.is_empty() && !rows.is_empty() {
                    return self.faulty(now, row, &file, out);
                }
                let part = match row.purpose {
                    ReadFor::Fetch { offset, .. } if offset < replica.log_start => {
                        return self.read_failed(now, row, ErrorCode::OffsetOutOfRange, out);
                    }
                    ReadFor::Fetch { .. } => Self::fetched(replica, good),
                    ReadFor::Time { index, timestamp } => {
                        let batch = good.first().map(|batch| &batch[..]).unwrap_or_default();
                        Self::offset_part(index, replica.locate_in(batch, timestamp))
                    }
                };
                self.part_done(now, row.ask, row.slot, part, out);
            }
        }
    }

    /// The rows are there: look again, now for the data.
    fn read_again(&mut self, now: Now, row: ReadRow, out: &mut Effects) {
        let Some(replica) = self.replicas.get(&row.id) else {
            return self.read_failed(now, row, ErrorCode::UnknownTopicOrPartition, out);
        };
        match row.purpose {
            ReadFor::Fetch { offset, limit } => match replica.read(offset, limit) {
                Ok(Found::Cold(read)) => self.start_read(ReadRow { read, ..row }, out),
                Ok(Found::Empty) => {
                    let part = Self::fetched(replica, Vec::new());
                    self.part_done(now, row.ask, row.slot, part, out);
                }
                Ok(Found::Records(records)) => {
                    let part = Self::fetched(replica, records);
                    self.part_done(now, row.ask, row.slot, part, out);
                }
                Err(code) => self.read_failed(now, row, code, out),
            },
            ReadFor::Time { index, timestamp } => match replica.locate_time(timestamp) {
                Place::Cold(read) => self.start_read(ReadRow { read, ..row }, out),
                place => {
                    self.part_done(now, row.ask, row.slot, Self::offset_part(index, place), out)
                }
            },
        }
    }
}
