//! White-box rules over time: what a replica's marks may do (P2 of `failures.md`).

use std::collections::BTreeMap;

use seedlog_core::ids::PartitionId;
use seedlog_core::shard::Shard;

/// Ghost state: the marks last seen of every partition, across lives of the broker.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    marks: BTreeMap<PartitionId, (i64, i64)>,
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
            let before = self.marks.insert(id, (start, watermark));
            let (old_start, old_mark) = before.unwrap_or_default();
            if start < old_start || watermark < old_mark {
                let text = format!(
                    "{id:?}: start {old_start} -> {start}, watermark {old_mark} -> {watermark}"
                );
                return Some(("P2", text));
            }
        }
        None
    }
}
