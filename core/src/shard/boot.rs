//! Recovery: from a file, if there is one, to partitions that serve.

use bytes::Bytes;

use super::journaling::{Journal, Mark};
use super::ledger::FOUNDED;
use super::{NeighbourMessage, Purpose, Shard, Stage};
use crate::batch::{verify, HEAD_LEN};
use crate::contract::{Effects, Note};
use crate::disk::{DiskDone, DiskRequest, DiskResult};
use crate::ids::{PartitionId, ShardId};
use crate::log::frame::{seal, Frame};
use crate::log::recovery::{recover, Found, Owner, Recovered, RecoveryKnobs};
use crate::metadata::{shard_of, Image, Record};
use crate::partition::Replica;
use crate::time::Now;

impl Shard {
    pub(super) fn journal_listed(&mut self, result: DiskResult, out: &mut Effects) {
        let path = self.journal.path.clone();
        match result {
            Ok(DiskDone::Listing(files)) => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.founded = files.iter().any(|(file, _)| file == FOUNDED);
                }
                let name = path.rsplit('/').next().unwrap_or_default();
                match files.iter().find(|(file, _)| file == name) {
                    Some((_, size)) => {
                        self.stage = Stage::Reading;
                        let request = DiskRequest::Read {
                            file: path,
                            offset: 0,
                            len: *size,
                            past_cache: true,
                        };
                        self.disk(request, Purpose::ReadJournal, out);
                    }
                    None => self.format_journal(out),
                }
            }
            Ok(done) => self.wrong_kind(&done, out),
            Err(error) => self.halt(format!("journal: cannot be listed: {error:?}"), out),
        }
    }

    pub(super) fn journal_read(&mut self, now: Now, result: DiskResult, out: &mut Effects) {
        let path = self.journal.path.clone();
        let bytes = match result {
            Ok(DiskDone::Data(bytes)) => bytes,
            Ok(done) => return self.wrong_kind(&done, out),
            Err(_) if self.config.knobs.unreadable_is_absent => return self.format_journal(out),
            Err(error) => return self.halt(format!("{path}: cannot be read: {error:?}"), out),
        };
        let owner = Owner {
            cluster: self.config.cluster_id,
            directory: self.config.directory_id,
            shard: self.config.shard.0,
        };
        let knobs = RecoveryKnobs {
            stale_closing_block: self.config.knobs.stale_closing_block,
            bad_block_is_torn_tail: self.config.knobs.bad_block_is_torn_tail,
            ignore_format_version: self.config.knobs.ignore_format_version,
        };
        match recover(&bytes, owner, knobs) {
            Found::Blank => self.format_journal(out),
            Found::Unusable(_) if self.config.knobs.unreadable_is_absent => {
                self.format_journal(out)
            }
            Found::Unusable(reason) => self.halt(format!("{path}: {reason}"), out),
            Found::Journal(recovered) => self.adopt(now, *recovered, out),
        }
    }

    /// Fold the journal's frames into partitions and ledger.
    fn adopt(&mut self, now: Now, recovered: Recovered, out: &mut Effects) {
        if recovered.loose {
            out.notes.push(Note::LossyRestart);
        }
        if recovered.torn > 0 {
            out.notes.push(Note::TornTail {
                blocks: recovered.torn,
            });
        }
        self.journal = Journal::new(self.journal.path.clone(), recovered.ring);
        self.journal.ring.incarnation = self.draw_u64();
        for (seq, frame) in recovered.frames {
            if let Err(reason) = self.replay(now, seq, frame) {
                let reason = format!("{}: block {seq}: {reason}", self.journal.path);
                return self.halt(reason, out);
            }
        }
        let orphan = self
            .replicas
            .values()
            .find(|replica| replica.manifest_seq == 0 || replica.awaits_manifest.is_some());
        if let Some(orphan) = orphan {
            let reason = format!(
                "{}: {:?}: no manifest covers what comes before its records",
                self.journal.path, orphan.id
            );
            return self.halt(reason, out);
        }
        let fresh = self.journal.ring.live.is_empty();
        self.open_journal(fresh, out);
    }

    fn replay(&mut self, now: Now, seq: u64, frame: Frame) -> Result<(), String> {
        let cluster = self.config.cluster_id;
        match frame {
            Frame::Create { partition, dir } => {
                let replica = Replica::empty(partition, cluster, dir);
                self.replicas.insert(
                    partition,
                    Replica {
                        manifest_seq: seq,
                        ..replica
                    },
                );
            }
            Frame::Batch {
                partition,
                seal,
                batch,
            } => self.replay_batch(now, seq, partition, seal, batch)?,
            Frame::LogStart { partition, offset } => {
                if let Some(replica) = self.replicas.get_mut(&partition) {
                    replica.start_at(offset);
                    self.owed.insert(partition);
                }
            }
            Frame::Manifest { partition, body } => {
                let knobs = self.config.knobs;
                let replica = self.replica_at(partition);
                replica
                    .adopt_manifest(body, seq)
                    .ok_or("a manifest is bad")?;
                if knobs.next_offset_from_segments && replica.tail.is_empty() {
                    replica.log_end = replica.segments.last().map_or(0, |segment| segment.end);
                }
                if knobs.forget_producers {
                    replica.producers = Default::default();
                }
            }
            Frame::Carried { partition, base } => {
                self.replica_at(partition).skip_to(base);
            }
            Frame::Drop { partition } => drop(self.replicas.remove(&partition)),
            Frame::Ledger { .. } | Frame::LedgerSnapshot { .. } => {
                let ledger = self
                    .ledger
                    .as_mut()
                    .ok_or("ledger records on a shard without ledger")?;
                ledger.replay(seq, frame)?;
            }
        }
        Ok(())
    }

    /// The replica as read back so far: a manifest yet to come names its folder.
    fn replica_at(&mut self, id: PartitionId) -> &mut Replica {
        let cluster = self.config.cluster_id;
        let replica = self.replicas.entry(id);
        replica.or_insert_with(|| Replica::empty(id, cluster, String::new()))
    }

    /// A batch read back. What lies between it and the log so far must be in a later manifest: its
    /// own block was freed because that manifest was durable.
    fn replay_batch(
        &mut self,
        now: Now,
        seq: u64,
        partition: PartitionId,
        stored: u32,
        batch: Bytes,
    ) -> Result<(), String> {
        let cluster = self.config.cluster_id;
        let head = verify(&batch).map_err(|error| format!("a batch is bad: {error:?}"))?;
        let (base, epoch) = (head.base_offset, head.leader_epoch);
        let found = seal(cluster, partition, base, epoch, head.crc);
        if found != stored && !self.config.knobs.ignore_seal {
            return Err("a batch carries another place's seal".into());
        }
        let forgets = self.config.knobs.forget_producers;
        let replica = self.replica_at(partition);
        if base < replica.log_end {
            return Err(format!("offset {base} follows {}", replica.log_end));
        }
        let unknown = replica.manifest_seq == 0 && replica.awaits_manifest.is_none();
        if base > replica.log_end || unknown {
            replica.skip_to(base);
        }
        // A slice would keep the whole journal that was read in memory.
        let batch = Bytes::copy_from_slice(&batch);
        let pieces = [batch.slice(..HEAD_LEN), batch.slice(HEAD_LEN..)];
        replica.push_tail(&head, stored, pieces, seq);
        if head.has_producer() && !forgets {
            replica.producers.record(&head, now.wall_ms);
        }
        Ok(())
    }

    pub(super) fn formatted(&mut self, result: DiskResult, out: &mut Effects) {
        if let Err(error) = result {
            return self.halt(
                format!("{}: cannot be made: {error:?}", self.journal.path),
                out,
            );
        }
        let Stage::Formatting { left } = &mut self.stage else {
            return;
        };
        *left -= 1;
        // Each step only once the one before it is done.
        match *left {
            0 => self.open_journal(true, out),
            1 => {
                let dir = "journal".into();
                self.disk(DiskRequest::SyncDir { dir }, Purpose::Format, out);
            }
            2 => {
                let (from, to) = (self.draft(), self.journal.path.clone());
                self.disk(DiskRequest::Rename { from, to }, Purpose::Format, out);
            }
            _ => {}
        }
    }

    /// Committed metadata came in: partitions come and go with it.
    pub(super) fn published(
        &mut self,
        now: Now,
        first: bool,
        offset: i64,
        records: &[Record],
        out: &mut Effects,
    ) {
        let mut image = self.image.take().filter(|_| !first).unwrap_or_default();
        records.iter().for_each(|record| image.apply(record));
        image.offset = offset;
        let touched: Vec<PartitionId> = match first {
            true => self.replicas.keys().copied().collect(),
            false => self.touched(records),
        };
        for id in touched {
            if image.topic_of(id).is_none() {
                self.drop_replica(now, id, out);
            }
        }
        self.host_new(&image, first, records);
        let was_waiting = self.image.is_none() && first;
        self.image = Some(image);
        self.tell(now, ShardId(0), NeighbourMessage::Applied { offset }, out);
        self.catch_up(now, out);
        if was_waiting {
            out.notes.push(Note::Ready);
            self.list_all();
        }
    }

    fn touched(&self, records: &[Record]) -> Vec<PartitionId> {
        let removed = records.iter().filter_map(|record| match record {
            Record::RemoveTopic { id } => Some(*id),
            _ => None,
        });
        let hosted = |topic| {
            let from = PartitionId { topic, index: 0 };
            let to = PartitionId {
                topic,
                index: u32::MAX,
            };
            self.replicas.range(from..=to).map(|(id, _)| *id)
        };
        removed.flat_map(hosted).collect()
    }

    /// Host what the image gives this shard: every topic at first, then the named ones.
    fn host_new(&mut self, image: &Image, first: bool, records: &[Record]) {
        let named = records.iter().filter_map(|record| match record {
            Record::Topic { id, .. } | Record::Partitions { id, .. } => Some(*id),
            _ => None,
        });
        let topics: Vec<_> = match first {
            true => image.topics.keys().copied().collect(),
            false => named.collect(),
        };
        for topic_id in topics {
            let Some(topic) = image.topics.get(&topic_id) else {
                continue;
            };
            for index in 0..topic.partitions {
                let id = PartitionId {
                    topic: topic_id,
                    index,
                };
                if shard_of(id, self.config.shards) != self.config.shard.0 {
                    continue;
                }
                if !self.replicas.contains_key(&id) {
                    let tag: String = topic_id.0[..4]
                        .iter()
                        .map(|byte| format!("{byte:02x}"))
                        .collect();
                    let dir = format!("topics/{}-{index}.{tag}", topic.name);
                    self.replicas
                        .insert(id, Replica::empty(id, self.config.cluster_id, dir.clone()));
                    let frame = Frame::Create { partition: id, dir }.encode();
                    self.journal.stage([frame], Mark::Created(id));
                }
                if let Some(replica) = self.replicas.get_mut(&id) {
                    replica.config = topic.effective;
                    replica.leader_epoch = image.incarnation;
                }
            }
        }
    }

    fn drop_replica(&mut self, now: Now, id: PartitionId, out: &mut Effects) {
        let Some(mut replica) = self.replicas.remove(&id) else {
            return;
        };
        self.journal.jobs -= usize::from(replica.job.is_some());
        let mut files = std::mem::take(&mut replica.doomed);
        for segment in &replica.segments {
            files.push(replica.segment_path(segment.base));
            files.push(replica.rows_path(segment.base));
        }
        self.stage_drop(&replica, Mark::Dropped(id, files));
        self.drain(now, id, out);
    }
}
