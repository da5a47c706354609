//! ListOffsets: where a partition begins and ends, and which record is the first of a time. That one
//! may lie in a compressed batch, so the looking is a CPU job.

use std::collections::{BTreeMap, VecDeque};

use super::reads::{ReadFor, ReadRow};
use super::{Part, Shard};
use crate::api::{PartitionOffset, PartitionOffsetQuery};
use crate::contract::Effects;
use crate::error_code::ErrorCode;
use crate::ids::{PartitionId, ShardId, WorkId};
use crate::partition::Place;
use crate::time::Now;
use crate::work::{WorkJob, WorkRequest, WorkResult};

/// Lookups by time at once; each may hold a batch in memory, so others wait.
const LOOKUPS_MAX: usize = 8;

/// A lookup by time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    ask: u64,
    slot: u32,
    id: PartitionId,
    timestamp: i64,
    /// Records below this offset are not meant, or were looked at.
    from: i64,
    /// The first of the youngest is looked for; `timestamp` is then how young it is at least.
    youngest: bool,
}

/// A batch that is being looked into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looking {
    lookup: Lookup,
    leader_epoch: i32,
    /// Offset of the batch.
    base: i64,
    /// Offset after the batch.
    next: i64,
}

/// Lookups that have not begun. Those who asked take turns: one request may ask for thousands.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookups {
    /// By ask; none is empty.
    waiting: BTreeMap<u64, VecDeque<Lookup>>,
    /// Whose turn it was last.
    last: u64,
}

impl Lookups {
    fn push(&mut self, lookup: Lookup) {
        let of_ask = self.waiting.entry(lookup.ask);
        of_ask.or_default().push_back(lookup);
    }

    fn pop(&mut self) -> Option<Lookup> {
        let mut later = self.waiting.range(self.last + 1..);
        let next = later.next().or_else(|| self.waiting.first_key_value());
        let ask = *next?.0;
        self.last = ask;
        let of_ask = self.waiting.get_mut(&ask)?;
        let lookup = of_ask.pop_front();
        if of_ask.is_empty() {
            self.waiting.remove(&ask);
        }
        lookup
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

fn offset_part(index: i32, offset: i64, timestamp: i64, leader_epoch: i32) -> Part {
    Part::Offset(PartitionOffset {
        index,
        error: ErrorCode::None,
        timestamp,
        offset,
        leader_epoch,
    })
}

impl Shard {
    /// Answer one partition of a ListOffsets, at once or after a lookup.
    pub(super) fn find_offset(
        &mut self,
        (ask, slot): (u64, u32),
        id: PartitionId,
        query: PartitionOffsetQuery,
        out: &mut Effects,
    ) {
        let Some(replica) = self.replicas.get(&id) else {
            return;
        };
        let failed = |code| Part::Offset(PartitionOffset::none(query.index, code));
        let at = |offset, epoch| offset_part(query.index, offset, -1, epoch);
        let wrong_epoch = Self::epoch_error(replica, query.current_leader_epoch);
        let timestamp = match (wrong_epoch, query.timestamp) {
            (Some(code), _) => Err(failed(code)),
            (None, -1) => Err(at(replica.high_watermark, replica.leader_epoch)),
            (None, -2 | -4) => {
                let oldest = replica.epochs.first().map(|(epoch, _)| *epoch);
                let epoch = oldest.unwrap_or(replica.leader_epoch);
                Err(at(replica.log_start, epoch))
            }
            // The first of the youngest (KIP-734).
            (None, -3) => Ok(0),
            (None, time) if time >= 0 => Ok(time),
            // Nothing is tiered: neither a latest tiered offset nor one that waits for its upload.
            (None, -5 | -6) => Err(failed(ErrorCode::None)),
            (None, _) => Err(failed(ErrorCode::UnsupportedVersion)),
        };
        match timestamp {
            Err(part) => self.part_done(ask, slot, part, out),
            Ok(timestamp) => {
                let from = replica.log_start;
                let youngest = query.timestamp == -3;
                self.lookups.push(Lookup {
                    ask,
                    slot,
                    id,
                    timestamp,
                    from,
                    youngest,
                });
            }
        }
    }

    /// Begin the next lookup that waits, if one may begin. False if none does.
    pub(super) fn start_lookup(&mut self, out: &mut Effects) -> bool {
        let next = match self.looking < LOOKUPS_MAX {
            true => self.lookups.pop(),
            false => None,
        };
        if let Some(lookup) = next {
            self.looking += 1;
            self.look(lookup, out);
        }
        next.is_some()
    }

    /// Who asked is gone: what was not begun is not looked up.
    pub(super) fn drop_lookups(&mut self, from: ShardId, token: u64, out: &mut Effects) {
        let asks = self.lookups.waiting.keys().copied();
        let of_call = |ask: &u64| {
            let row = self.asks.get(ask);
            row.is_some_and(|row| row.is_of(from, token))
        };
        let asks: Vec<u64> = asks.filter(of_call).collect();
        for ask in asks {
            for lookup in self.lookups.waiting.remove(&ask).unwrap_or_default() {
                let index = lookup.id.index as i32;
                let none = PartitionOffset::none(index, ErrorCode::UnknownServerError);
                self.part_done(ask, lookup.slot, Part::Offset(none), out);
            }
        }
    }

    /// Go on with a lookup: into the next batch that may hold the record.
    pub(super) fn look(&mut self, mut lookup: Lookup, out: &mut Effects) {
        let id = lookup.id;
        let Some(replica) = self.replicas.get(&id) else {
            return self.found_none(lookup, ErrorCode::UnknownTopicOrPartition, out);
        };
        let place = match lookup.youngest {
            true => {
                let (place, at_least) = replica.locate_youngest(&mut lookup.from);
                lookup.timestamp = at_least;
                place
            }
            false => replica.locate_time(lookup.timestamp, &mut lookup.from),
        };
        match place {
            Place::Cold(read) => {
                let purpose = ReadFor::Time(lookup);
                self.start_read(ReadRow { id, purpose, read }, out);
            }
            place => self.look_inside(lookup, place, out),
        }
    }

    /// The batch is in memory.
    pub(super) fn look_inside(&mut self, lookup: Lookup, place: Place, out: &mut Effects) {
        let Place::Inside(head, records) = place else {
            return self.found_none(lookup, ErrorCode::None, out);
        };
        let id = WorkId(self.next_work);
        self.next_work += 1;
        let row = Looking {
            lookup,
            leader_epoch: head.leader_epoch,
            base: head.base_offset,
            next: head.next_offset(),
        };
        self.work.insert(id, row);
        let request = WorkRequest::FindTimestamp {
            head,
            records,
            from: lookup.from,
            timestamp: lookup.timestamp,
            youngest: lookup.youngest,
        };
        out.work.push(WorkJob { id, request });
    }

    /// A job is done.
    pub(super) fn work_done(
        &mut self,
        now: Now,
        id: WorkId,
        result: WorkResult,
        out: &mut Effects,
    ) {
        let Some(row) = self.work.remove(&id) else {
            return self.batch_checked(now, id, result, out);
        };
        let lookup = row.lookup;
        match result {
            WorkResult::Found { offset, timestamp } => {
                let index = lookup.id.index as i32;
                let part = offset_part(index, offset, timestamp, row.leader_epoch);
                self.looked(lookup, part, out);
            }
            // A batch without a record of the time it bears: the records before it are not known to be
            // older than those after it.
            WorkResult::Nothing if lookup.youngest && lookup.from <= row.base => {
                self.found_none(lookup, ErrorCode::InvalidRecord, out)
            }
            WorkResult::Nothing => {
                let from = row.next;
                self.look(Lookup { from, ..lookup }, out);
            }
            // A producer compressed it wrongly: no later try will tell more.
            WorkResult::Unreadable
            | WorkResult::Checked(_)
            | WorkResult::Malformed(_)
            | WorkResult::TooLarge => self.found_none(lookup, ErrorCode::InvalidRecord, out),
        }
    }

    /// It found nothing: for this reason, or, without an error, because nothing is that young.
    pub(super) fn found_none(&mut self, lookup: Lookup, code: ErrorCode, out: &mut Effects) {
        let none = PartitionOffset::none(lookup.id.index as i32, code);
        self.looked(lookup, Part::Offset(none), out);
    }

    fn looked(&mut self, lookup: Lookup, part: Part, out: &mut Effects) {
        self.looking -= 1;
        self.part_done(lookup.ask, lookup.slot, part, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uuid;

    #[test]
    fn who_asked_take_turns() {
        let mut lookups = Lookups::default();
        let topic = Uuid([1; 16]);
        for (ask, count) in [(3, 4), (5, 1), (9, 2)] {
            for slot in 0..count {
                lookups.push(Lookup {
                    ask,
                    slot,
                    id: PartitionId { topic, index: 0 },
                    timestamp: 0,
                    from: 0,
                    youngest: false,
                });
            }
        }
        assert_eq!(lookups.len(), 7);
        let order = std::iter::from_fn(|| lookups.pop());
        let order: Vec<(u64, u32)> = order.map(|it| (it.ask, it.slot)).collect();
        assert_eq!(
            order,
            [(3, 0), (5, 0), (9, 0), (3, 1), (9, 1), (3, 2), (3, 3)]
        );
        assert_eq!(lookups.len(), 0);
    }
}
