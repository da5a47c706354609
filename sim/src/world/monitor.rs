//! White-box rules over time: what a replica's marks may do (P2 of `failures.md`), and what a power cut
//! may take of a topic that opted out of syncing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use seedlog_core::ids::{PartitionId, ShardId};
use seedlog_core::shard::Shard;

use super::faults::part_of;
use crate::check::history::Part;

/// How long it is remembered when a watermark moved, microseconds: no Fetch waits for longer.
const REMEMBERED_US: u64 = 3_000_000;

/// A replica's marks as last seen.
#[derive(Clone, Debug)]
struct Marks {
    start: i64,
    watermark: i64,
    durable: i64,
    /// The watermark before power was cut, until the partition is seen again.
    before: i64,
    /// What clients know it as.
    part: Option<Part>,
    /// It opted out of syncing.
    loose: bool,
    /// It was removed.
    gone: bool,
    /// Where it was seen.
    shard: ShardId,
    /// When the watermark moved last, and where to.
    moves: VecDeque<(u64, i64)>,
}

impl Marks {
    fn note_watermark(&mut self, now_us: u64, watermark: i64) {
        if self.moves.back().is_none_or(|(_, last)| *last != watermark) {
            self.moves.push_back((now_us, watermark));
            while self
                .moves
                .get(1)
                .is_some_and(|(at, _)| at + REMEMBERED_US < now_us)
            {
                self.moves.pop_front();
            }
        }
    }

    /// See [`Monitor::visible`].
    fn visible(&self, offset: i64, from_us: u64) -> Option<u64> {
        let then = self.moves.iter().rev().find(|(at, _)| *at <= from_us);
        if then.is_some_and(|(_, watermark)| *watermark > offset) {
            return Some(from_us);
        }
        let mut later = self.moves.iter().filter(|(at, _)| *at > from_us);
        let passed = later.find(|(_, watermark)| *watermark > offset);
        passed.map(|(at, _)| *at)
    }

    fn is_of(&self, shard: Option<ShardId>) -> bool {
        shard.is_none_or(|shard| self.shard == shard)
    }
}

/// Ghost state: the marks last seen of every partition, across lives of the broker.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    marks: BTreeMap<PartitionId, Marks>,
    /// Partitions of each shard in this life, by number.
    hosted: BTreeMap<ShardId, usize>,
    /// When the last partition of each name was removed.
    removed: BTreeMap<Part, u64>,
    /// Times a partition that opted out of syncing did lose something.
    pub losses: u64,
}

impl Monitor {
    /// Look at a shard after its turn. The log start and the high watermark of a topic id never go
    /// back, not over a restart either: consumers were told them.
    pub fn look(
        &mut self,
        now_us: u64,
        at: ShardId,
        shard: &Shard,
    ) -> Option<(&'static str, String)> {
        if !shard.is_ready() {
            return None;
        }
        let count = shard.replicas().count();
        if self
            .hosted
            .insert(at, count)
            .is_some_and(|before| before > count)
        {
            self.note_removed(now_us, at, shard);
        }
        for replica in shard.replicas() {
            let (id, start, watermark) = (replica.id, replica.log_start, replica.high_watermark);
            let marks = self.marks.entry(id).or_insert_with(|| Marks {
                part: part_of(&replica.dir),
                loose: replica.config.opts_out_of_syncing(),
                gone: false,
                start: 0,
                watermark: 0,
                durable: 0,
                before: 0,
                shard: at,
                moves: VecDeque::new(),
            });
            marks.note_watermark(now_us, watermark);
            self.losses += u64::from(watermark < std::mem::take(&mut marks.before));
            marks.shard = at;
            let (old_start, old_mark) = (marks.start, marks.watermark);
            (marks.start, marks.watermark) = (start, watermark);
            marks.durable = replica.durable_end;
            if start < old_start || watermark < old_mark {
                let text = format!(
                    "{id:?}: start {old_start} -> {start}, watermark {old_mark} -> {watermark}"
                );
                return Some(("P2", text));
            }
        }
        None
    }

    fn note_removed(&mut self, now_us: u64, at: ShardId, shard: &Shard) {
        let here: BTreeSet<PartitionId> = shard.replicas().map(|replica| replica.id).collect();
        let hosted = self.marks.iter_mut().filter(|(_, marks)| marks.shard == at);
        for (_, marks) in hosted.filter(|(id, marks)| !marks.gone && !here.contains(id)) {
            marks.gone = true;
            self.removed.extend(marks.part.map(|part| (part, now_us)));
        }
    }

    /// The broker is gone: what its shards host is seen anew.
    pub fn forget_hosts(&mut self) {
        self.hosted.clear();
    }

    /// When the last partition of this name was removed.
    pub fn removed(&self, part: Part) -> Option<u64> {
        self.removed.get(&part).copied()
    }

    /// When the record at this offset first was below the high watermark, from this time on.
    pub fn visible(&self, id: PartitionId, offset: i64, from_us: u64) -> Option<u64> {
        self.marks.get(&id)?.visible(offset, from_us)
    }

    /// Partitions of this shard, or of all, that opted out of syncing, and up to where each is durable.
    pub fn loose(&self, of: Option<ShardId>) -> BTreeMap<Part, i64> {
        let marks = self.marks.values().filter(|marks| marks.is_of(of));
        marks
            .filter_map(|marks| Some((marks.part.filter(|_| marks.loose)?, marks.durable)))
            .collect()
    }

    /// A partition that may have lost something was not seen since.
    pub fn is_open(&self) -> bool {
        self.marks.values().any(|marks| marks.before > 0)
    }

    /// What was not durable may be gone, on this shard or on all.
    pub fn rewind(&mut self, of: Option<ShardId>) {
        let marks = self.marks.values_mut();
        for marks in marks.filter(|marks| marks.loose && marks.is_of(of)) {
            marks.before = marks.before.max(marks.watermark);
            marks.watermark = marks.watermark.min(marks.durable);
            // Nor is it there for a Fetch that comes before the partition is seen again.
            for (_, watermark) in &mut marks.moves {
                *watermark = (*watermark).min(marks.durable);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::Uuid;

    #[test]
    fn a_record_is_visible_from_when_the_watermark_passed_it() {
        let mut marks = Marks {
            start: 0,
            watermark: 0,
            durable: 0,
            before: 0,
            part: None,
            loose: false,
            gone: false,
            shard: ShardId(0),
            moves: VecDeque::new(),
        };
        for (at, watermark) in [(10, 0), (20, 3), (25, 3), (30, 1), (40, 9)] {
            marks.note_watermark(at, watermark);
        }
        for (offset, from, seen) in [
            (0, 5, Some(20)),
            (0, 22, Some(22)),
            (2, 22, Some(22)),
            (2, 35, Some(40)),
            (8, 5, Some(40)),
            (9, 5, None),
        ] {
            assert_eq!(marks.visible(offset, from), seen, "{offset} from {from}");
        }
        marks.note_watermark(40 + REMEMBERED_US + 1, 10);
        assert_eq!(marks.moves.front(), Some(&(40, 9)));
        // What was never synced is gone with the power; a Fetch after that waits for what comes again.
        (marks.loose, marks.durable, marks.watermark) = (true, 7, 10);
        let id = PartitionId {
            topic: Uuid([1; 16]),
            index: 0,
        };
        let mut monitor = Monitor::default();
        monitor.marks.insert(id, marks);
        assert_eq!(monitor.visible(id, 7, 9_000_000), Some(9_000_000));
        monitor.rewind(None);
        assert_eq!(monitor.visible(id, 7, 9_000_000), None);
        assert_eq!(monitor.visible(id, 6, 9_000_000), Some(9_000_000));
    }
}
