//! White-box rules over time: what a replica's marks may do (P2 of `failures.md`), and what a power cut
//! may take of a topic that opted out of syncing.

use std::collections::BTreeMap;

use seedlog_core::ids::PartitionId;
use seedlog_core::shard::Shard;

use super::faults::part_of;
use crate::history::Part;

/// A replica's marks as last seen.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    start: i64,
    watermark: i64,
    durable: i64,
    /// The watermark before power was cut, until the partition is seen again.
    before: i64,
    /// The partition, if it opted out of syncing.
    loose: Option<Part>,
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
    pub fn look(&mut self, shard: &Shard) -> Option<(&'static str, String)> {
        if !shard.is_ready() {
            return None;
        }
        for replica in shard.replicas() {
            let (id, start, watermark) = (replica.id, replica.log_start, replica.high_watermark);
            let marks = self.marks.entry(id).or_insert_with(|| Marks {
                loose: part_of(&replica.dir).filter(|_| replica.config.opts_out_of_syncing()),
                ..Marks::default()
            });
            self.losses += u64::from(watermark < std::mem::take(&mut marks.before));
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

    /// Partitions that opted out of syncing, and up to where each is durable.
    pub fn loose(&self) -> BTreeMap<Part, i64> {
        let marks = self.marks.values();
        marks
            .filter_map(|marks| Some((marks.loose?, marks.durable)))
            .collect()
    }

    /// A partition that may have lost something was not seen since.
    pub fn is_open(&self) -> bool {
        self.marks.values().any(|marks| marks.before > 0)
    }

    /// Power was cut: what was not durable may be gone.
    pub fn rewind(&mut self) {
        for marks in self
            .marks
            .values_mut()
            .filter(|marks| marks.loose.is_some())
        {
            marks.before = marks.before.max(marks.watermark);
            marks.watermark = marks.watermark.min(marks.durable);
        }
    }
}
