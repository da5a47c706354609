//! Produce at the host of a partition: a batch is admitted, goes into the log, and is answered once it
//! is durable. What a compressed batch holds is looked at by a CPU job before ([`Intake`]).

use bytes::Bytes;

use super::host::{Stalled, Wait};
use super::intake::Arrival;
use super::journaling::Mark;
use super::{Part, Shard};
use crate::api::*;
use crate::contract::{Effects, Note};
use crate::error_code::ErrorCode;
use crate::ids::{PartitionId, WorkId};
use crate::partition::{admit_checked, is_compressed, Admitted, AppendError};
use crate::time::Now;
use crate::work::WorkResult;

/// A batch whose turn it is, or that waits for room in the journal: which part of which ask it is.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub ask: u64,
    pub slot: u32,
    pub id: PartitionId,
    pub records: Bytes,
    /// What a job found in it; `None` while nobody has looked at it.
    pub admitted: Option<Result<Admitted, AppendError>>,
}

impl Shard {
    /// A batch has come. Behind one of its partition that is being looked into it waits its turn.
    pub(super) fn take_in(&mut self, now: Now, mut batch: Batch, out: &mut Effects) {
        let id = batch.id;
        let Some(replica) = self.replicas.get(&id) else {
            return self.stall_or_go(now, Stalled::Batch(batch), out);
        };
        let mut to_check = None;
        if is_compressed(&batch.records) {
            match replica.inspect(&batch.records) {
                Ok(head) => {
                    let bounds = replica.time_bounds(&head, now.wall_ms);
                    to_check = Some((head, bounds));
                }
                Err(error) => batch.admitted = Some(Err(error)),
            }
        }
        if to_check.is_none() && !self.intake.holds(id) {
            return self.stall_or_go(now, Stalled::Batch(batch), out);
        }
        self.intake.push(Arrival::new(batch, to_check));
        self.intake.start(&mut self.next_work, out);
        self.let_in(now, id, out);
    }

    /// A job has looked into a compressed batch.
    pub(super) fn batch_checked(
        &mut self,
        now: Now,
        id: WorkId,
        result: WorkResult,
        out: &mut Effects,
    ) {
        let partition = self.intake.checked(id, |head, bounds| match result {
            WorkResult::Checked(checked) => Some(admit_checked(head, &checked, bounds)),
            WorkResult::TooLarge => None,
            WorkResult::Malformed(text) => {
                Some(Err(AppendError::of_log(ErrorCode::InvalidRecord, text)))
            }
            WorkResult::Unreadable | WorkResult::Found { .. } | WorkResult::Nothing => {
                let text = "the records are not what their compression says";
                Some(Err(AppendError::of_log(ErrorCode::InvalidRecord, text)))
            }
        });
        self.intake.start(&mut self.next_work, out);
        if let Some(partition) = partition {
            self.let_in(now, partition, out);
        }
    }

    /// Batches of the partition that nothing holds up any more go on, in order.
    fn let_in(&mut self, now: Now, id: PartitionId, out: &mut Effects) {
        while let Some(batch) = self.intake.pop(id) {
            self.stall_or_go(now, Stalled::Batch(batch), out);
        }
    }

    /// Its turn has come, and the partition is here.
    pub(super) fn produce(&mut self, now: Now, batch: Batch, out: &mut Effects) {
        let Batch {
            ask,
            slot,
            id,
            records,
            admitted,
        } = batch;
        let index = id.index as i32;
        let room = self.journal.has_room_for(records.len());
        let full = self.is_too_much_to_carry(id, records.len());
        let largest = self.config.batch_bytes_max();
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        let refused = |error, log_start| refused(index, error, log_start);
        let admitted = admitted.unwrap_or_else(|| replica.admit(&records, now.wall_ms));
        let admitted = match admitted {
            Ok(_) if records.len() as u64 > largest => {
                let text = "the batch is larger than the journal can hold";
                Err(AppendError::of_request(ErrorCode::MessageTooLarge, text))
            }
            Ok(_) if replica.overflows_segment(records.len()) => {
                let text = "the batch is larger than segment.bytes";
                let code = ErrorCode::RecordListTooLarge;
                Err(AppendError::of_request(code, text))
            }
            admitted => admitted,
        };
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                let part = refused(error, replica.log_start);
                return self.part_done(ask, slot, part, out);
            }
        };
        if self.config.knobs.producers_before_append && !room {
            // M63: the table learns of a batch that is then refused.
            replica.note_producer_early(&records, &admitted, now.wall_ms);
        }
        // What is in the log already needs no room: refused, it would be acknowledged after others
        // that were sent later.
        let here = replica.has(&admitted) && !self.config.knobs.has(96);
        if (!room || full) && !here {
            let part = refused(no_room(room), -1);
            if full && self.may_start_job(now) {
                self.start_job(now, id, out);
            }
            return self.part_done(ask, slot, part, out);
        }
        self.append_batch(now, (ask, slot, id), &records, &admitted, out);
    }

    /// Nothing stands in its way but its producer's sequence.
    fn append_batch(
        &mut self,
        now: Now,
        (ask, slot, id): (u64, u32, PartitionId),
        records: &Bytes,
        admitted: &Admitted,
        out: &mut Effects,
    ) {
        let index = id.index as i32;
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        let appended = match replica.append(records, admitted, now.wall_ms) {
            Ok(appended) => appended,
            Err(error) => {
                let part = refused(index, error, replica.log_start);
                return self.part_done(ask, slot, part, out);
            }
        };
        let part = Part::Produced(PartitionProduced {
            index,
            error: ErrorCode::None,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: replica.log_start,
            record_errors: Vec::new(),
            error_message: None,
        });
        let until = appended.next_offset;
        let known = appended.frames.is_none() && self.config.knobs.has(95);
        let done = replica.high_watermark >= until || known;
        match appended.frames {
            Some(frames) => {
                self.interests.appended(id, records.len() as u64);
                self.journal.stage(frames, Mark::Batches(id, until))
            }
            None => out.notes.push(Note::DuplicateSequence),
        }
        if done {
            return self.part_done(ask, slot, part, out);
        }
        // A duplicate of a batch that is not durable yet waits with the original.
        self.waits.entry(id).or_default().push_back(Wait {
            ask,
            slot,
            until,
            part,
        });
    }
}

fn no_room(room: bool) -> AppendError {
    let text = match room {
        true => "the partition's files cannot be written",
        false => "the disk is full or the journal has no room",
    };
    AppendError::of_request(ErrorCode::KafkaStorageError, text)
}

/// The outcome for a batch that is not taken. What the log refuses is answered with its start, as Kafka
/// does.
fn refused(index: i32, error: AppendError, log_start: i64) -> Part {
    let records = error.records.into_iter();
    Part::Produced(PartitionProduced {
        index,
        error: error.code,
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: if error.by_log { log_start } else { -1 },
        record_errors: records.map(|(at, text)| (at, Some(text))).collect(),
        error_message: Some(error.text.into_owned()),
    })
}
