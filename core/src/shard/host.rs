//! The host of partitions: what other shards (or this one) ask of them, and who waits for what.

use std::collections::VecDeque;

use super::journaling::Mark;
use super::produce::Batch;
use super::reads::{ReadFor, ReadRow};
use super::{Answer, Ask, NeighbourMessage, Part, PartAsk, Shard};
use crate::api::*;
use crate::batch::NAMED_MAX;
use crate::contract::{Effects, Note};
use crate::error_code::ErrorCode;
use crate::ids::{PartitionId, ShardId};
use crate::log::frame::Frame;
use crate::partition::{Found, Replica};
use crate::time::Now;

/// An ask being worked on.
#[derive(Clone, Debug)]
pub(super) struct AskRow {
    from: ShardId,
    token: u64,
    remaining: usize,
    parts: Vec<(u32, Part)>,
    /// Bytes a fetch may still take.
    budget: usize,
    /// A partition gives records already: the others give none that do not fit.
    served: bool,
    /// Bytes that are enough for a fetch that waits to be looked at again.
    interest: Option<u64>,
}

impl AskRow {
    /// It is of this call of that shard.
    pub fn is_of(&self, from: ShardId, token: u64) -> bool {
        (self.from, self.token) == (from, token)
    }
}

/// Something that waits for a partition's high watermark.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    pub ask: u64,
    pub slot: u32,
    pub until: i64,
    pub part: Part,
}

/// Something that waits for room in the journal.
#[derive(Clone, Debug)]
pub(super) enum Stalled {
    /// A batch.
    Batch(Batch),
    /// A part of an ask: a log start.
    Part(u64, u32, PartitionId, PartAsk),
    /// A request to the metadata ledger.
    Admin(ShardId, u64, Request),
}

impl Shard {
    pub(super) fn ask(&mut self, now: Now, from: ShardId, token: u64, ask: Ask, out: &mut Effects) {
        match ask {
            Ask::Admin(request) => self.stall_or_go(now, Stalled::Admin(from, token, request), out),
            Ask::Parts {
                parts,
                max_bytes,
                interest,
            } => {
                if let Some(enough) = interest {
                    let ids = parts.iter().map(|(_, id, _)| *id);
                    self.note_interest((from, token), ids, enough);
                }
                let ask = self.next_ask;
                self.next_ask += 1;
                let row = AskRow {
                    from,
                    token,
                    remaining: parts.len(),
                    parts: Vec::new(),
                    budget: max_bytes,
                    served: false,
                    interest,
                };
                self.asks.insert(ask, row);
                for (slot, id, what) in parts {
                    if !self.replicas.contains_key(&id) {
                        let code = ErrorCode::UnknownTopicOrPartition;
                        let part = what.failed(id.index as i32, code, None);
                        self.part_done(ask, slot, part, out);
                        continue;
                    }
                    match what {
                        PartAsk::Produce(records) => {
                            let admitted = None;
                            let batch = Batch {
                                ask,
                                slot,
                                id,
                                records,
                                admitted,
                            };
                            self.take_in(now, batch, out)
                        }
                        PartAsk::Delete(_) => {
                            self.stall_or_go(now, Stalled::Part(ask, slot, id, what), out)
                        }
                        PartAsk::Fetch(fetch) => self.fetch(ask, slot, id, fetch, out),
                        PartAsk::Offset(query) => self.find_offset((ask, slot), id, query, out),
                        PartAsk::Epoch(current, asked) => {
                            let part = self.epoch_end(id, current, asked);
                            self.part_done(ask, slot, part, out);
                        }
                    }
                }
            }
        }
    }

    /// One part of an ask is over; the last one sends the answer.
    pub(super) fn part_done(&mut self, ask: u64, slot: u32, mut part: Part, out: &mut Effects) {
        let Some(row) = self.asks.get_mut(&ask) else {
            return;
        };
        if let Part::Produced(part) = &mut part {
            // All of a request's partitions together name no more records than one may.
            let most = NAMED_MAX / (row.remaining + row.parts.len());
            part.record_errors.truncate(most.max(1));
            part.record_errors.shrink_to_fit();
        }
        row.parts.push((slot, part));
        row.remaining -= 1;
        if row.remaining > 0 {
            return;
        }
        if let Some(row) = self.asks.remove(&ask) {
            let read = row.interest.map(|enough| {
                let bytes = row.parts.iter().map(|(_, part)| part.bytes());
                (enough, bytes.sum())
            });
            let answer = Answer::Parts(row.parts);
            self.tell(
                row.from,
                NeighbourMessage::Answer {
                    token: row.token,
                    answer,
                },
                out,
            );
            if let Some((enough, bytes)) = read {
                self.has_read((row.from, row.token), enough, bytes, out);
            }
        }
    }

    /// True if this must wait for room: the ring grows or is freed soon. Who came first goes first. A
    /// full disk, and a batch that no ring would hold, are told at once.
    fn must_stall(&self, what: &Stalled) -> bool {
        match what {
            Stalled::Batch(Batch { records, .. }) => {
                let fits_never = records.len() as u64 > self.config.batch_bytes_max();
                let room = self.journal.has_room_for(records.len());
                !room && !fits_never && !self.journal.disk_full
            }
            Stalled::Part(..) | Stalled::Admin(..) => !self.journal.has_room_for_admin(),
        }
    }

    pub(super) fn stall_or_go(&mut self, now: Now, what: Stalled, out: &mut Effects) {
        let must = self.must_stall(&what);
        let queue = match &what {
            Stalled::Batch(_) => &mut self.stalled,
            Stalled::Part(..) | Stalled::Admin(..) => &mut self.stalled_admin,
        };
        match must || (!queue.is_empty() && !self.config.knobs.has(92)) {
            true => queue.push_back(what),
            false => self.go(now, what, out),
        }
    }

    fn go(&mut self, now: Now, what: Stalled, out: &mut Effects) {
        match what {
            Stalled::Admin(from, token, request) => self.ledger_ask(from, token, &request, out),
            Stalled::Part(ask, slot, id, what) if !self.replicas.contains_key(&id) => {
                let code = ErrorCode::UnknownTopicOrPartition;
                self.part_done(ask, slot, what.failed(id.index as i32, code, None), out);
            }
            Stalled::Batch(batch) if !self.replicas.contains_key(&batch.id) => {
                let code = ErrorCode::UnknownTopicOrPartition;
                let gone = PartAsk::Produce(bytes::Bytes::new());
                let part = gone.failed(batch.id.index as i32, code, None);
                self.part_done(batch.ask, batch.slot, part, out);
            }
            Stalled::Batch(batch) => self.produce(now, batch, out),
            Stalled::Part(ask, slot, id, PartAsk::Delete(offset)) => {
                self.delete(ask, slot, id, offset, out)
            }
            Stalled::Part(..) => {}
        }
    }

    /// What waited for room in the journal goes on, in order.
    pub(super) fn resume_stalled(&mut self, now: Now, out: &mut Effects) {
        let ready = |shard: &Shard, first: Option<&Stalled>| {
            first.is_some_and(|first| !shard.must_stall(first))
        };
        while ready(self, self.stalled_admin.front()) {
            if let Some(first) = self.stalled_admin.pop_front() {
                self.go(now, first, out);
            }
        }
        while ready(self, self.stalled.front()) {
            if let Some(first) = self.stalled.pop_front() {
                self.go(now, first, out);
            }
        }
    }

    /// Something waits for room in the journal.
    pub(super) fn is_stalled(&self) -> bool {
        !self.stalled.is_empty() || !self.stalled_admin.is_empty()
    }

    /// Batches below `end` are durable: who waited for them is answered, readers are woken.
    pub(super) fn batches_durable(&mut self, id: PartitionId, end: i64, out: &mut Effects) {
        let back = self.config.knobs.durable_mark_goes_back;
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        let moved = replica.made_durable(end, back);
        self.release_waits(id, moved, out);
    }

    /// Batches below `end` are written, and their topic lets them be acknowledged now.
    pub(super) fn batches_visible(&mut self, id: PartitionId, end: i64, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        let moved = replica.made_visible(end);
        self.release_waits(id, moved, out);
    }

    fn release_waits(&mut self, id: PartitionId, moved: bool, out: &mut Effects) {
        let Some(mark) = self.replicas.get(&id).map(|replica| replica.high_watermark) else {
            return;
        };
        let waits = self.waits.remove(&id).unwrap_or_default();
        let (ready, rest): (VecDeque<Wait>, VecDeque<Wait>) =
            waits.into_iter().partition(|wait| wait.until <= mark);
        if !rest.is_empty() {
            self.waits.insert(id, rest);
        }
        for wait in ready {
            self.part_done(wait.ask, wait.slot, wait.part, out);
        }
        if moved && !self.config.knobs.has(82) {
            self.wake(id, out);
        }
    }

    /// The partition is gone: whoever waits for it is told.
    pub(super) fn drain(&mut self, id: PartitionId, out: &mut Effects) {
        for wait in self.waits.remove(&id).unwrap_or_default() {
            let code = ErrorCode::UnknownTopicOrPartition;
            let part = match wait.part {
                Part::Deleted(index, ..) => Part::Deleted(index, -1, code),
                _ => PartAsk::Produce(bytes::Bytes::new()).failed(id.index as i32, code, None),
            };
            self.part_done(wait.ask, wait.slot, part, out);
        }
        if !self.config.knobs.has(91) {
            self.wake_all(id, out);
        }
    }

    pub(super) fn fetched(replica: &Replica, records: Vec<bytes::Bytes>, ends_early: bool) -> Part {
        Part::Fetched(PartitionFetched {
            index: replica.id.index as i32,
            error: ErrorCode::None,
            high_watermark: replica.high_watermark,
            last_stable_offset: replica.high_watermark,
            log_start_offset: replica.log_start,
            records,
            ends_early,
            ..PartitionFetched::default()
        })
    }

    fn fetch(
        &mut self,
        ask: u64,
        slot: u32,
        id: PartitionId,
        fetch: PartitionFetch,
        out: &mut Effects,
    ) {
        let (Some(replica), Some(row)) = (self.replicas.get(&id), self.asks.get_mut(&ask)) else {
            return;
        };
        let failed = |code| Part::Fetched(PartitionFetched::failed(fetch.index, code));
        // Of a fetch every negative epoch is none (`FetchRequest.optionalEpoch`), not -1 alone.
        if let Some(code) = Self::epoch_error(replica, fetch.current_leader_epoch.max(-1)) {
            return self.part_done(ask, slot, failed(code), out);
        }
        match replica.diverging(fetch.last_fetched_epoch, fetch.fetch_offset) {
            Err(code) => return self.part_done(ask, slot, failed(code), out),
            Ok(Some(diverging)) => {
                let mut part = Self::fetched(replica, Vec::new(), false);
                if let Part::Fetched(part) = &mut part {
                    part.diverging = Some(diverging);
                }
                return self.part_done(ask, slot, part, out);
            }
            Ok(None) => {}
        }
        let wanted = usize::try_from(fetch.max_bytes).unwrap_or(0);
        // The first partition with data always gives a whole batch; others only what fits.
        let (limit, whole) = (wanted.min(row.budget), !row.served);
        let by_budget = row.budget < wanted;
        let found = replica.read(fetch.fetch_offset, limit, whole);
        match found {
            Err(code) => self.part_done(ask, slot, failed(code), out),
            Ok(Found::Empty) => {
                let part = Self::fetched(replica, Vec::new(), false);
                self.part_done(ask, slot, part, out);
            }
            Ok(Found::Records(records)) => {
                let ends_early = by_budget && replica.follows(fetch.fetch_offset, &records);
                let part = Self::fetched(replica, records, ends_early);
                let size = part.bytes();
                row.budget = row.budget.saturating_sub(size as usize);
                row.served |= size > 0 && !self.config.knobs.has(119);
                self.part_done(ask, slot, part, out);
            }
            Ok(Found::Cold(read)) => {
                let expected = replica.expected_bytes(&read, limit);
                row.budget = row.budget.saturating_sub(expected);
                row.served = true;
                let purpose = ReadFor::Fetch {
                    ask,
                    slot,
                    offset: fetch.fetch_offset,
                    limit,
                    whole,
                    by_budget,
                };
                self.start_read(ReadRow { id, purpose, read }, out);
            }
        }
    }

    /// DeleteRecords: the new log start takes effect, and is answered, once it is durable.
    fn delete(&mut self, ask: u64, slot: u32, id: PartitionId, offset: i64, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        let index = id.index as i32;
        let target = if offset == -1 {
            replica.high_watermark
        } else {
            offset
        };
        let beyond = target > replica.high_watermark && !self.config.knobs.has(93);
        if target < 0 || beyond {
            let part = Part::Deleted(index, -1, ErrorCode::OffsetOutOfRange);
            return self.part_done(ask, slot, part, out);
        }
        if target <= replica.log_start {
            let part = Part::Deleted(index, replica.log_start, ErrorCode::None);
            return self.part_done(ask, slot, part, out);
        }
        let reply = Some((ask, slot)).filter(|_| !self.config.knobs.has(84));
        if reply.is_none() {
            let part = Part::Deleted(index, target, ErrorCode::None);
            self.part_done(ask, slot, part, out);
        }
        self.stage_log_start(id, target, reply);
    }

    pub(super) fn stage_log_start(
        &mut self,
        id: PartitionId,
        offset: i64,
        reply: Option<(u64, u32)>,
    ) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.pending_start = replica.pending_start.max(offset);
            let frame = Frame::LogStart {
                partition: id,
                offset,
            }
            .encode();
            self.journal
                .stage([frame], Mark::LogStart(id, offset, reply));
        }
    }

    pub(super) fn log_start_durable(
        &mut self,
        id: PartitionId,
        offset: i64,
        reply: Option<(u64, u32)>,
        out: &mut Effects,
    ) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            if let Some((ask, slot)) = reply {
                let part = Part::Deleted(id.index as i32, -1, ErrorCode::UnknownTopicOrPartition);
                self.part_done(ask, slot, part, out);
            }
            return;
        };
        let segments = replica.start_at(offset);
        let low = replica.log_start;
        if replica.manifest_owed && !self.config.knobs.has(97) {
            self.owed.insert(id);
        }
        match reply {
            Some((ask, slot)) => {
                let part = Part::Deleted(id.index as i32, low, ErrorCode::None);
                self.part_done(ask, slot, part, out);
            }
            None if segments > 0 => out.notes.push(Note::Retained { segments }),
            None => {}
        }
    }
}
