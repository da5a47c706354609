//! Rows that come back from a disk tell of the batches that stand in their segment, or they are none: a
//! lookup by time believes a row's timestamp, and a reader its place.

use seedlog_core::batch::verify;
use seedlog_core::disk::{DiskRequest, DiskResult};
use seedlog_core::log::frame::seal;
use seedlog_core::partition::{Replica, Segment};
use seedlog_core::shard::Shard;

use super::World;
use crate::run::Watch;

impl World {
    /// An operation has ended: one that gave a segment's rows is remembered until its shard has taken it.
    pub(super) fn note_rows(&mut self, shard: usize, request: &DiskRequest, result: &DiskResult) {
        let broker = self.broker.as_mut();
        let Some(broker) = broker.filter(|_| self.watch == Watch::All && result.is_ok()) else {
            return;
        };
        match request {
            DiskRequest::Read { file, .. } if file.ends_with(".seal") => {
                broker.rows_given.push((shard, file.to_string()));
            }
            _ => {}
        }
    }

    /// A shard has taken its turn: the rows that it was given and has kept are true.
    pub(super) fn look_at_rows(&mut self, shard: usize) {
        let Some(broker) = &mut self.broker else {
            return;
        };
        let given = &broker.rows_given;
        if !broker.inboxes[shard].is_empty() || given.iter().all(|(of, _)| *of != shard) {
            return;
        }
        let given = std::mem::take(&mut broker.rows_given);
        let (own, others) = given.into_iter().partition(|(of, _)| *of == shard);
        broker.rows_given = others;
        let kept = |(_, file): &(usize, String)| kept_rows(&broker.shards[shard], file);
        let own: Vec<(usize, String)> = own;
        for (replica, segment) in own.iter().filter_map(kept) {
            let path = replica.segment_path(segment.base);
            // A changed base offset or epoch is not seen in the batch alone.
            if self.changed.contains(&*path) {
                continue;
            }
            let bytes = self.disk.bytes(&path).unwrap_or_default();
            if let Some(text) = untrue(replica, segment, &bytes) {
                return self.history.violate("rows", format!("{path}: {text}"));
            }
        }
    }
}

/// The segment that this side file is of, if its rows are in memory.
fn kept_rows<'a>(shard: &'a Shard, file: &str) -> Option<(&'a Replica, &'a Segment)> {
    let dir = file.rsplit_once('/')?.0;
    let replica = shard.replicas().find(|replica| replica.dir == dir)?;
    let mut kept = replica.segments.iter().filter(|it| it.rows.is_some());
    let segment = kept.find(|segment| *replica.rows_path(segment.base) == *file)?;
    Some((replica, segment))
}

/// The first row that says otherwise than the batch where it points. What is damaged there says nothing.
fn untrue(replica: &Replica, segment: &Segment, bytes: &[u8]) -> Option<String> {
    segment.rows.iter().flatten().find_map(|row| {
        let stored = bytes.get(usize::try_from(row.position).ok()?..)?;
        let head = verify(stored).ok()?;
        let (id, base, epoch) = (replica.id, head.base_offset, head.leader_epoch);
        let is = (
            base,
            head.next_offset(),
            head.size,
            head.max_timestamp,
            seal(replica.cluster, id, base, epoch, head.crc),
        );
        let size = row.size as usize;
        let said = (row.base, row.next, size, row.max_timestamp, row.seal);
        (is != said).then(|| format!("{row:?}, and there stands {is:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::records::record;
    use seedlog_core::ids::{PartitionId, Uuid};
    use seedlog_core::log::rows::Row;
    use seedlog_net::records;

    #[test]
    fn a_row_that_says_otherwise_than_its_batch_is_seen() {
        let topic = Uuid([3; 16]);
        let id = PartitionId { topic, index: 1 };
        let replica = Replica::empty(id, Uuid([1; 16]), String::new());
        let batch = records::build(&[record(0, 1, 100), record(1, 1, 100)], None).to_vec();
        let head = verify(&batch).expect("a batch");
        let (base, epoch) = (head.base_offset, head.leader_epoch);
        let row = Row {
            base,
            next: base + 2,
            position: 0,
            size: batch.len() as u32,
            max_timestamp: head.max_timestamp,
            seal: seal(replica.cluster, id, base, epoch, head.crc),
        };
        let told = |change: &dyn Fn(&mut Row), bytes: &[u8]| {
            let mut row = row;
            change(&mut row);
            let segment = Segment {
                base,
                end: base + 2,
                size: batch.len() as u64,
                row_count: 1,
                max_timestamp: head.max_timestamp,
                begun_ms: 0,
                last_ms: 0,
                rows: Some(vec![row]),
            };
            untrue(&replica, &segment, bytes).is_some()
        };
        assert!(!told(&|_| {}, &batch));
        let wrong: [&dyn Fn(&mut Row); 5] = [
            &|row| row.base += 1,
            &|row| row.next += 1,
            &|row| row.size -= 1,
            &|row| row.max_timestamp += 1,
            &|row| row.seal ^= 1,
        ];
        assert!(wrong.iter().all(|change| told(change, &batch)));
        // Where the batch itself is damaged nothing is known of its row.
        let mut damaged = batch.clone();
        damaged[70] ^= 1;
        assert!(!told(wrong[3], &damaged));
    }
}
