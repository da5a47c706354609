//! White-box rules over time: what a replica's marks may do (P2 of `failures.md`), and what a power cut
//! may take of a topic that opted out of syncing.

use std::collections::BTreeMap;

use seedlog_core::ids::{PartitionId, ShardId};
use seedlog_core::shard::Shard;

use super::faults::part_of;
use crate::check::history::Part;

/// A replica's marks as last seen.
#[derive(Clone, Copy, Debug)]
struct Marks {
    start: i64,
    watermark: i64,
    durable: i64,
    /// The watermark before power was cut, until the partition is seen again.
    before: i64,
    /// The partition, if it opted out of syncing.
    loose: Option<Part>,
    /// Where it was seen.
    shard: ShardId,
}

impl Marks {
    fn is_of(&self, shard: Option<ShardId>) -> bool {
        shard.is_none_or(|shard| self.shard == shard)
    }
}

/// Ghost state: the marks last seen of every partition, across lives of the broker.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    marks: BTreeMap<PartitionId, Marks>,
    /// Times a partition that opted out of syncing did lose something.
    pub losses: u64,
}

impl Monitor {
    /// Look at a shard after its turn. The log start and the high watermark of a topic id never go
    /// back, not over a restart either: consumers were told them.
    pub fn look(&mut self, at: ShardId, shard: &Shard) -> Option<(&'static str, String)> {
        if !shard.is_ready() {
            return None;
        }
        for replica in shard.replicas() {
            let (id, start, watermark) = (replica.id, replica.log_start, replica.high_watermark);
            let marks = self.marks.entry(id).or_insert_with(|| Marks {
                loose: part_of(&replica.dir).filter(|_| replica.config.opts_out_of_syncing()),
                start: 0,
                watermark: 0,
                durable: 0,
                before: 0,
                shard: at,
            });
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

    /// Partitions of this shard, or of all, that opted out of syncing, and up to where each is durable.
    pub fn loose(&self, of: Option<ShardId>) -> BTreeMap<Part, i64> {
        let marks = self.marks.values().filter(|marks| marks.is_of(of));
        marks
            .filter_map(|marks| Some((marks.loose?, marks.durable)))
            .collect()
    }

    /// A partition that may have lost something was not seen since.
    pub fn is_open(&self) -> bool {
        self.marks.values().any(|marks| marks.before > 0)
    }

    /// What was not durable may be gone, on this shard or on all.
    pub fn rewind(&mut self, of: Option<ShardId>) {
        let marks = self.marks.values_mut();
        for marks in marks.filter(|marks| marks.loose.is_some() && marks.is_of(of)) {
            marks.before = marks.before.max(marks.watermark);
            marks.watermark = marks.watermark.min(marks.durable);
        }
    }
}
