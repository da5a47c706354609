//! Recovery: from a file, if there is one, to partitions that serve.

use bytes::Bytes;

use super::journaling::{Journal, Mark, DRAFT};
use super::ledger::{Ledger, FOUNDED};
use super::{shards_to_run, Purpose, Shard, Stage};
use crate::batch::{verify, HEAD_LEN};
use crate::contract::{Effects, Note};
use crate::disk::{DiskDone, DiskRequest, DiskResult};
use crate::ids::PartitionId;
use crate::log::frame::{seal, Frame, OFFSET_MAX, TOPICS};
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
                self.unlink_drafts(&files, out);
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

    /// A crash may have cut short how a journal was made. A shard that makes one begins with its draft;
    /// those of shards that do not run are nobody's but shard 0's.
    fn unlink_drafts(&mut self, files: &[(String, u64)], out: &mut Effects) {
        if self.ledger.is_none() {
            return;
        }
        let running = self.config.running;
        for (name, _) in files {
            let journal = name.strip_suffix(DRAFT).filter(|it| it.ends_with(".ring"));
            if journal.is_some_and(|journal| shards_to_run(0, [journal]) > running) {
                let file = format!("journal/{name}").into();
                self.disk(DiskRequest::Unlink { file }, Purpose::Draft, out);
            }
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
        if self.config.knobs.forget_producers {
            let replicas = self.replicas.values_mut();
            replicas.for_each(|replica| replica.producers = Default::default());
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
        let fault = |replica: &Replica| Some((replica.id, replica.fault()?));
        if let Some((id, fault)) = self.replicas.values().find_map(fault) {
            let reason = format!("{}: {id:?}: {fault}", self.journal.path);
            return self.halt(reason, out);
        }
        if let Some(Err(reason)) = self.ledger.as_ref().map(Ledger::check_replayed) {
            return self.halt(format!("{}: {reason}", self.journal.path), out);
        }
        let fresh = self.journal.ring.live.is_empty();
        self.open_journal(fresh, out);
    }

    fn replay(&mut self, now: Now, seq: u64, frame: Frame) -> Result<(), String> {
        let cluster = self.config.cluster_id;
        match frame {
            Frame::Create {
                partition,
                seen,
                dir,
            } => {
                let replica = Replica::empty(partition, cluster, dir);
                self.replicas.insert(
                    partition,
                    Replica {
                        manifest_seq: seq,
                        seen,
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
            }
            Frame::Carried { partition, base } => {
                self.replica_at(partition).skip_to(base);
            }
            Frame::Drop { partition, dir } => {
                self.replicas.remove(&partition);
                self.owed.remove(&partition);
                self.journal.dropping.replay(partition, dir, seq);
            }
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
        if head.next_offset() > OFFSET_MAX {
            return Err(format!("a batch stands at offset {base}"));
        }
        let found = seal(cluster, partition, base, epoch, head.crc);
        if found != stored {
            return Err("a batch carries another place's seal".into());
        }
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
        if head.has_producer() {
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
                self.miss_topic(id, first, offset, out);
            }
        }
        self.host_new(&image, first, records);
        let was_waiting = self.image.is_none() && first;
        let late = self.config.knobs.has(128) && !first;
        self.image = Some(image);
        self.tell_applied(out);
        if !late {
            self.catch_up(now, out);
        }
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
                    let dir = match self.config.knobs.has(89) {
                        true => format!("{TOPICS}/{}-{index}", topic.name),
                        false => folder_of(&topic.name, id),
                    };
                    let seen = image.offset;
                    self.replicas
                        .insert(id, Replica::empty(id, self.config.cluster_id, dir.clone()));
                    let frame = Frame::Create {
                        partition: id,
                        seen,
                        dir,
                    }
                    .encode();
                    self.journal.stage([frame], Mark::Created(id));
                }
                if let Some(replica) = self.replicas.get_mut(&id) {
                    replica.config = topic.effective;
                    if !self.config.knobs.has(127) || replica.leader_epoch < 0 {
                        replica.leader_epoch = image.incarnation;
                    }
                    replica.knobs = self.config.knobs;
                    (replica.seen, replica.quarantined) = (image.offset, false);
                }
            }
        }
    }

    /// Committed metadata up to `offset` does not have the topic of a replica that is here. If it is
    /// told that the topic was removed, or is further than that which had it, the topic was deleted
    /// (design.md section 4). Metadata that is not further has gone back: it knows nothing of the topic.
    fn miss_topic(&mut self, id: PartitionId, first: bool, offset: i64, out: &mut Effects) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        if !first || offset > replica.seen {
            return self.drop_replica(id, out);
        }
        replica.quarantined = true;
        let dir = replica.dir.clone();
        out.notes.push(Note::Quarantined { dir });
        // Metadata that has gone back will be further one day, and say no more about it then.
        if replica.seen < i64::MAX {
            replica.seen = i64::MAX;
            replica.manifest_owed = true;
            self.owed.insert(id);
        }
    }

    fn drop_replica(&mut self, id: PartitionId, out: &mut Effects) {
        let Some(replica) = self.replicas.remove(&id) else {
            return;
        };
        self.journal.jobs -= usize::from(replica.job.is_some());
        self.stage_drop(&replica, false);
        self.drain(id, out);
    }
}

/// Most characters of a topic's name in a folder's.
const NAME_MAX: usize = 180;

/// The folder of a new replica: the topic's name as far as it fits, the index, and the topic's id. File
/// systems take names of 255 bytes, and a topic's may have 249. The id alone tells folders apart: names
/// may be alike as far as they fit, and one name may come again for another topic.
fn folder_of(name: &str, id: PartitionId) -> String {
    let name: String = name.chars().take(NAME_MAX).collect();
    let topic: String = id
        .topic
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{TOPICS}/{name}-{}.{topic}", id.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uuid;

    #[test]
    fn a_folder_fits_and_is_its_own() {
        let id = |topic: u8, index| PartitionId {
            topic: Uuid([topic; 16]),
            index,
        };
        let long = "n".repeat(249);
        let (one, other) = (long.clone(), format!("{}x", &long[..248]));
        let folders = [
            folder_of(&one, id(1, 9_999)),
            folder_of(&other, id(2, 9_999)),
            folder_of(&one, id(3, 9_999)),
            folder_of(&one, id(1, 999)),
            folder_of(&one, id(1, u32::MAX)),
        ];
        for (at, folder) in folders.iter().enumerate() {
            let name = folder.strip_prefix("topics/").expect("below it");
            assert!(name.len() <= 255, "{name} has {} bytes", name.len());
            assert!(!folders[..at].contains(folder), "{folder} twice");
        }
        let short = folder_of("a.b_c", id(0xab, 3));
        assert_eq!(short, "topics/a.b_c-3.abababababababababababababababab");
        // An id that begins alike is another id: the whole of it is in the name.
        let mut last = [7; 16];
        last[15] = 8;
        let (id, index) = (Uuid(last), 0);
        let twin = folder_of("a", PartitionId { topic: id, index });
        assert_ne!(
            twin,
            folder_of(
                "a",
                PartitionId {
                    topic: Uuid([7; 16]),
                    index
                }
            )
        );
    }
}
