//! P7 of `failures.md`: what is derived from a log equals the fold of it. A reader's own fold of the
//! batches it was given is held against a replica's tables; and at rest, a live shard's hard state
//! against that of a shard booted from a copy of the disk.

use std::collections::BTreeMap;

use seedlog_core::batch::BatchHead;
use seedlog_core::metadata::Image;
use seedlog_core::partition::{Replica, PRODUCER_WINDOW};
use seedlog_core::shard::Shard;

use super::audit::Fork;
use super::World;
use crate::check::history::Part;
use crate::disk::SimDisk;
use crate::load::ops::topic_name;
use crate::run::Watch;

/// A producer's batch: first and last sequence, base offset, offset after it.
type Sent = (i32, i32, i64, i64);

/// What the batches of a partition, read from its start to its end, say of its producers and epochs.
#[derive(Debug, Default)]
pub(super) struct Fold {
    producers: BTreeMap<i64, (i16, Vec<Sent>)>,
    /// (epoch, first base offset, last base offset), oldest first.
    epochs: Vec<(i32, i64, i64)>,
}

impl Fold {
    /// The next batch of the log.
    pub fn take(&mut self, head: &BatchHead) {
        match self.epochs.last_mut() {
            Some((epoch, _, last)) if *epoch == head.leader_epoch => *last = head.base_offset,
            _ => {
                let (epoch, base) = (head.leader_epoch, head.base_offset);
                self.epochs.push((epoch, base, base));
            }
        }
        if !head.has_producer() {
            return;
        }
        let (epoch, sent) = self.producers.entry(head.producer_id).or_default();
        if *epoch != head.producer_epoch {
            (*epoch, *sent) = (head.producer_epoch, Vec::new());
        }
        let first = head.base_sequence;
        let last = (i64::from(first) + i64::from(head.last_offset_delta)) % (1 << 31);
        let base = head.base_offset;
        sent.push((
            first,
            last as i32,
            base,
            base + i64::from(head.last_offset_delta) + 1,
        ));
    }

    /// What a replica's tables say otherwise, of a log read whole.
    pub fn differs(&self, replica: &Replica) -> Option<String> {
        let mut known = tables(replica);
        for (id, (epoch, sent)) in &self.producers {
            let Some((table_epoch, mut window)) = known.remove(id) else {
                return Some(format!("producer {id} is not in the table"));
            };
            window.retain(|batch| batch.3 > replica.log_start);
            let recent = &sent[sent.len().saturating_sub(PRODUCER_WINDOW)..];
            if (table_epoch, &window[..]) != (*epoch, recent) {
                return Some(format!(
                    "producer {id}: epoch {epoch} {recent:?} in the log, {table_epoch} {window:?} in the table"
                ));
            }
        }
        // Those left have nothing in the log any more.
        for (id, (_, window)) in known {
            if let Some(batch) = window.iter().find(|batch| batch.3 > replica.log_start) {
                return Some(format!("producer {id}: {batch:?} is not in the log"));
            }
        }
        self.epochs_differ(replica)
    }

    fn epochs_differ(&self, replica: &Replica) -> Option<String> {
        let of = |offset: i64| {
            // The first batch may begin before the log does; its epoch then begins with the log.
            let offset = offset.max(replica.log_start);
            let begun = |(_, start): &&(i32, i64)| *start <= offset;
            replica.epochs.iter().rfind(begun).map(|(epoch, _)| *epoch)
        };
        let wrong = |(epoch, first, last): &&(i32, i64, i64)| {
            of(*first) != Some(*epoch) || of(*last) != Some(*epoch)
        };
        let (epoch, first, last) = self.epochs.iter().find(wrong)?;
        Some(format!(
            "epoch {epoch} at {first}..={last}, the cache has {:?}",
            replica.epochs
        ))
    }
}

/// A replica's producer table: (epoch, batches remembered) by id.
fn tables(replica: &Replica) -> BTreeMap<i64, (i16, Vec<Sent>)> {
    let all = replica.producers.remembered();
    all.map(|(id, epoch, batches)| (id, (epoch, batches.collect())))
        .collect()
}

/// The replica of a partition, on whichever of these shards it is.
pub(super) fn replica(shards: &[Shard], (topic, index): Part) -> Option<&Replica> {
    let name = topic_name(topic);
    let id = shards.iter().find_map(|shard| {
        let image = shard.image()?;
        image.names.get(&name).copied()
    })?;
    let own = |replica: &&Replica| (replica.id.topic, replica.id.index) == (id, index as u32);
    shards.iter().flat_map(Shard::replicas).find(own)
}

impl World {
    /// At the end, if nothing moves.
    pub(super) fn compare_at_rest(&mut self) {
        let ready =
            |broker: &super::Broker| !broker.moving && broker.shards.iter().all(Shard::is_ready);
        if self.broker.as_ref().is_some_and(ready) {
            let disk = self.fork_disk(&mut self.draws_of("at-rest", self.life), false);
            self.compare_with_replay(disk);
        }
    }

    /// At rest: shards booted from this copy of the disk hold what the live ones hold.
    pub(super) fn compare_with_replay(&mut self, disk: SimDisk) {
        if self.watch == Watch::ClientsOnly {
            return;
        }
        let mut fork = Fork::boot(self, disk);
        let differs = match fork.fatal.take() {
            Some(reason) => Some(reason),
            None => self.replay_differs(&fork.shards),
        };
        self.mark("replayed");
        if let Some(text) = differs {
            self.history.violate("P7", text);
        }
    }

    fn replay_differs(&self, replayed: &[Shard]) -> Option<String> {
        let live = &self.broker.as_ref()?.shards;
        let told = metadata_differs(live, replayed);
        told.or_else(|| {
            let parts = self.history.partitions.keys();
            let mut whole = parts.filter(|part| !self.troubles.is_damaged(**part, -1));
            whole.find_map(|part| {
                let (live, replayed) = (replica(live, *part)?, replica(replayed, *part));
                let differs = match replayed {
                    Some(replayed) => replica_differs(live, replayed),
                    None => Some("gone".to_string()),
                };
                differs.map(|text| format!("{part:?} replayed: {text}"))
            })
        })
    }
}

/// The ledger's state is what the log folds to, and so is the image of every shard that has heard all of
/// it. One that has not is behind: a stop does not wait for a call that it gave up.
fn metadata_differs(live: &[Shard], replayed: &[Shard]) -> Option<String> {
    let replayed = replayed.first()?.image()?;
    let host = live.first()?;
    host.image()?;
    let Some(hard) = host.durable_metadata() else {
        // Not at rest: a record is on its way.
        return None;
    };
    let whole = |image: &&Image| image.offset >= hard.offset;
    let images = live.iter().filter_map(Shard::image).filter(whole);
    let mut told = std::iter::once(hard).chain(images);
    told.find_map(|live| image_differs(live, replayed))
}

/// A start counts itself, and may note where partitions stand; all else is the same.
fn image_differs(live: &Image, replayed: &Image) -> Option<String> {
    let same = live.topics == replayed.topics
        && live.names == replayed.names
        && live.next_producer_id == replayed.next_producer_id;
    (!same).then(|| format!("metadata: {live:?}, replayed {replayed:?}"))
}

fn replica_differs(live: &Replica, replayed: &Replica) -> Option<String> {
    if live.durable_end < live.log_end {
        // Not at rest: a block is on its way.
        return None;
    }
    let marks = |replica: &Replica| (replica.log_end, replica.high_watermark);
    if marks(live) != marks(replayed) {
        return Some(format!("{:?}, was {:?}", marks(replayed), marks(live)));
    }
    let starts = live.log_start..=live.pending_start.max(live.log_start);
    if !starts.contains(&replayed.log_start) {
        return Some(format!(
            "starts at {}, not in {starts:?}",
            replayed.log_start
        ));
    }
    // A log start that is durable may not have reached the live shard yet.
    let epochs = epochs_from(&live.epochs, replayed.log_start);
    if epochs != replayed.epochs {
        return Some(format!("epochs {:?}, was {epochs:?}", replayed.epochs));
    }
    let (was, is) = (tables(live), tables(replayed));
    (was != is).then(|| format!("producers {is:?}, was {was:?}"))
}

/// What is left of epochs when the log starts here: the one that it begins in, and those after it.
fn epochs_from(epochs: &[(i32, i64)], start: i64) -> Vec<(i32, i64)> {
    let ended = epochs.iter().skip(1).filter(|(_, next)| *next <= start);
    let left = epochs.iter().skip(ended.count());
    left.map(|(epoch, first)| (*epoch, (*first).max(start)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::batch::{build_batch, parse_head, BatchSpec};
    use seedlog_core::ids::{PartitionId, Uuid};

    fn head(epoch: i16, sequence: i32, offset: i64) -> BatchHead {
        let spec = BatchSpec {
            timestamp: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: sequence,
        };
        let head = parse_head(&build_batch(spec, &[(None, b"a"), (None, b"b")]));
        BatchHead {
            base_offset: offset,
            leader_epoch: 1,
            ..head.expect("a head")
        }
    }

    #[test]
    fn a_doctored_table_is_seen() {
        let id = PartitionId {
            topic: Uuid([3; 16]),
            index: 0,
        };
        let mut good = Replica::empty(id, Uuid([1; 16]), String::new());
        good.note_epoch(1, 0);
        let heads: Vec<BatchHead> = (0..7).map(|n| head(0, n * 2, i64::from(n) * 2)).collect();
        let mut fold = Fold::default();
        for head in &heads {
            fold.take(head);
            good.producers.record(head, 0);
        }
        assert_eq!(fold.differs(&good), None);
        let wrong = |change: &dyn Fn(&mut Replica)| {
            let mut doctored = good.clone();
            change(&mut doctored);
            assert!(fold.differs(&doctored).is_some());
            assert!(replica_differs(&good, &doctored).is_some());
        };
        wrong(&|replica| replica.producers.record(&head(0, 14, 14), 0));
        wrong(&|replica| replica.producers.record(&head(1, 0, 14), 0));
        wrong(&|replica| replica.producers.expire(1));
        wrong(&|replica| replica.note_epoch(2, 4));
        wrong(&|replica| replica.epochs.clear());
        // A replay that has seen the log start move holds the epochs that are left, and no others.
        let all = [(1, 0), (3, 10), (4, 20)];
        for (start, left) in [
            (0, &all[..]),
            (9, &[(1, 9), (3, 10), (4, 20)]),
            (10, &[(3, 10), (4, 20)]),
            (25, &[(4, 25)]),
        ] {
            assert_eq!(epochs_from(&all, start), left, "{start}");
            let (mut live, mut replayed) = (good.clone(), good.clone());
            (live.epochs, live.pending_start) = (all.to_vec(), start);
            (replayed.epochs, replayed.log_start) = (left.to_vec(), start);
            live.log_start = start.min(live.log_start);
            assert_eq!(replica_differs(&live, &replayed), None, "{start}");
            replayed.epochs[0].0 -= 1;
            assert!(replica_differs(&live, &replayed).is_some());
        }
        // What the log start has passed stands in the table alone.
        let mut rest = Fold::default();
        rest.take(&heads[6]);
        let mut started = good.clone();
        started.log_start = 12;
        assert_eq!(rest.differs(&started), None);
        assert!(rest.differs(&good).is_some());
    }
}
