//! Produce at the host of a partition: a batch goes into the log, and is answered once it is durable.

use super::host::Wait;
use super::journaling::Mark;
use super::{Part, PartAsk, Shard};
use crate::api::*;
use crate::contract::{Effects, Note};
use crate::error_code::ErrorCode;
use crate::ids::PartitionId;
use crate::time::Now;

impl Shard {
    pub(super) fn produce(
        &mut self,
        now: Now,
        ask: u64,
        slot: u32,
        id: PartitionId,
        records: bytes::Bytes,
        out: &mut Effects,
    ) {
        let index = id.index as i32;
        let room = self.journal.has_room_for(records.len());
        let full = self.is_too_much_to_carry(id, records.len());
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        let failed =
            |code, text| PartAsk::Produce(bytes::Bytes::new()).failed(index, code, Some(text));
        if self.config.knobs.producers_before_append && !room {
            // M63: the table learns of a batch that is then refused.
            replica.note_producer_early(&records, now.wall_ms);
        }
        // What is in the log already needs no room: refused, it would be acknowledged after others
        // that were sent later.
        if (!room || full) && !replica.has(&records, now.wall_ms) {
            let text = match room {
                true => "the partition's files cannot be written",
                false => "the disk is full or the journal has no room",
            };
            let part = failed(ErrorCode::KafkaStorageError, text);
            if full && self.may_start_job(now) {
                self.start_job(now, id, out);
            }
            return self.part_done(now, ask, slot, part, out);
        }
        let appended = match replica.append(&records, now.wall_ms) {
            Ok(appended) => appended,
            Err(error) => {
                return self.part_done(now, ask, slot, failed(error.code, error.text), out)
            }
        };
        let part = Part::Produced(PartitionProduced {
            index,
            error: ErrorCode::None,
            base_offset: appended.base_offset,
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: replica.log_start,
            error_message: None,
        });
        let until = appended.next_offset;
        let done = replica.high_watermark >= until;
        match appended.frames {
            Some(frames) => self.journal.stage(frames, Mark::Batches(id, until)),
            None => out.notes.push(Note::DuplicateSequence),
        }
        if done {
            return self.part_done(now, ask, slot, part, out);
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
