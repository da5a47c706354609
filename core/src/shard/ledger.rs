//! The host of the metadata ledger on shard 0: decide, record, apply; a reply parks until what it
//! says is durable and in force on every shard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::journaling::Mark;
use super::{draw_uuid, Answer, NeighbourMessage, Purpose, Shard};
use crate::api::{Request, Response};
use crate::contract::{Effects, Note};
use crate::disk::{DiskRequest, DiskResult};
use crate::ids::ShardId;
use crate::log::frame::Frame;
use crate::log::journal::file_header;
use crate::metadata::{decide, decode_records, encode_records, Image, Record, TopicConfig};

/// See [`Ledger::founded`].
pub(super) const FOUNDED: &str = "founded";

/// How far the ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for every shard's journal.
    Opening,
    /// Noting beside the journals that the broker has started.
    Founding,
    /// Noting that partitions move.
    Marking,
    /// They move; these shards have settled.
    Moving(BTreeSet<ShardId>),
    /// Noting that they have moved.
    Marked,
    /// An incarnation of the broker has begun.
    Leading,
}

#[derive(Clone, Debug)]
struct ParkedReply {
    offset: i64,
    to: ShardId,
    token: u64,
    response: Response,
}

/// The ledger: hard state as appended, and what is still on its way.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    shards: u16,
    running: u16,
    phase: Phase,
    hard: Image,
    pending: VecDeque<(i64, Vec<Record>)>,
    parked: VecDeque<ParkedReply>,
    opened: BTreeMap<ShardId, (bool, bool)>,
    /// How far each shard is, and how many partitions it has yet to remove.
    applied: BTreeMap<ShardId, (i64, u64)>,
    /// Partitions of topics that are being deleted, until every shard knows.
    deleted: VecDeque<(i64, u64)>,
    published: bool,
    /// A file beside the journals says that the broker has started before, so that the loss of its
    /// only journal is not taken for a new folder.
    pub founded: bool,
    /// Everything up to here was read back: the log's first record, or a snapshot, was among it.
    whole: bool,
    /// Oldest journal block the ledger needs.
    pub oldest_seq: u64,
    /// A snapshot is staged or in flight.
    pub snapshot_staged: bool,
}

impl Ledger {
    pub fn new(shards: u16, running: u16) -> Ledger {
        Ledger {
            shards,
            running,
            phase: Phase::Opening,
            hard: Image::default(),
            pending: VecDeque::new(),
            parked: VecDeque::new(),
            opened: BTreeMap::new(),
            applied: BTreeMap::new(),
            deleted: VecDeque::new(),
            published: false,
            founded: false,
            whole: false,
            oldest_seq: u64::MAX,
            snapshot_staged: false,
        }
    }

    /// Unreadable is never absent (NATS #7556): a journal that is blank although it may hold something
    /// is lost data, and so is data that no metadata knows. The file's name and the reason.
    fn what_is_lost(&self) -> Option<String> {
        let (journals, known) = (self.hard.journals, self.hard.journals > 0);
        let journals = journals.max(u16::from(self.founded));
        let blank = |shard: u16| {
            self.opened
                .get(&ShardId(shard))
                .is_none_or(|(fresh, _)| *fresh)
        };
        if let Some(shard) = (0..journals).find(|shard| blank(*shard)) {
            return Some(format!(
                "journal/shard-{shard}.ring: it is missing or blank"
            ));
        }
        let stray = self.opened.iter().find(|(_, (_, holds))| !known && *holds);
        stray.map(|(shard, _)| {
            let text =
                "holds partitions, but the metadata in journal/shard-0.ring is missing or blank";
            format!("journal/shard-{}.ring: {text}", shard.0)
        })
    }

    /// All journals are open: what is noted first, of a new incarnation or of partitions that move.
    fn first_records(&mut self) -> Vec<Record> {
        let (shards, hard) = (self.shards, &self.hard);
        let settled = (hard.journals, hard.home) == (shards, shards);
        let new = hard.journals == 0;
        let number = hard.incarnation + 1;
        if self.running != shards || !(settled || new) {
            self.phase = Phase::Marking;
            let (journals, home) = (self.running, 0);
            return vec![Record::Shards { journals, home }];
        }
        self.phase = Phase::Leading;
        let (journals, home) = (shards, shards);
        let count = new.then_some(Record::Shards { journals, home });
        let begun = Record::Incarnation { number };
        count.into_iter().chain([begun]).collect()
    }

    /// Fold a frame read back from the journal.
    pub fn replay(&mut self, seq: u64, frame: Frame) -> Result<(), String> {
        let (offset, body, snapshot) = match frame {
            Frame::Ledger { offset, body } => (offset, body, false),
            Frame::LedgerSnapshot { offset, body } => (offset, body, true),
            _ => return Err("not a ledger frame".into()),
        };
        let records = decode_records(body).ok_or("metadata records cannot be read")?;
        if snapshot {
            self.hard = Image {
                offset,
                ..Image::default()
            };
            self.oldest_seq = seq;
            self.whole = true;
        } else {
            if self.oldest_seq == u64::MAX {
                // Older than a snapshot yet to come, unless it is the very first.
                self.whole = offset == 0;
                self.hard.offset = offset;
            }
            if offset != self.hard.offset {
                return Err(format!(
                    "metadata offset {offset} follows {}",
                    self.hard.offset
                ));
            }
            self.oldest_seq = self.oldest_seq.min(seq);
            self.hard.offset += 1;
        }
        records.iter().for_each(|record| self.hard.apply(record));
        Ok(())
    }

    /// Partitions that are gone and not removed yet.
    fn removing(&self) -> u64 {
        let shards = self.applied.values().map(|(_, removing)| *removing);
        let deleted = self.deleted.iter().map(|(_, partitions)| *partitions);
        shards.chain(deleted).sum()
    }

    /// All is read back: is it the whole of the metadata, and does this build know all of it? A config
    /// that it does not know would become a default silently, and `compact` would become `delete`.
    pub fn check_replayed(&self) -> Result<(), String> {
        let read = self.oldest_seq < u64::MAX;
        if read && !self.whole {
            return Err(
                "the metadata's first records are missing, and no snapshot holds them".into(),
            );
        }
        if let Some(fault) = self.hard.fault() {
            return Err(format!("the metadata cannot be: {fault}"));
        }
        for topic in self.hard.topics.values() {
            let mut effective = TopicConfig::default();
            for (key, value) in &topic.configs {
                effective.set(key, value).map_err(|error| {
                    format!(
                        "topic '{}': config {key}={value} is unknown to this build: {error}",
                        topic.name
                    )
                })?;
            }
        }
        Ok(())
    }
}

impl Shard {
    /// The ledger's state, if it is hosted here and all of it is durable: for checkers.
    pub fn durable_metadata(&self) -> Option<&Image> {
        let settled = |ledger: &&Ledger| ledger.pending.is_empty();
        self.ledger
            .as_ref()
            .filter(settled)
            .map(|ledger| &ledger.hard)
    }

    /// A shard's journal is open. Once all are, this incarnation begins.
    pub(super) fn shard_opened(
        &mut self,
        from: ShardId,
        fresh: bool,
        holds: bool,
        out: &mut Effects,
    ) {
        let forgiving = self.config.knobs.lost_is_new;
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        ledger.opened.insert(from, (fresh, holds));
        if ledger.opened.len() < usize::from(ledger.running) || ledger.phase != Phase::Opening {
            return;
        }
        if let Some(reason) = ledger.what_is_lost().filter(|_| !forgiving) {
            return self.halt(reason, out);
        }
        // A journal begins with a block of its own, before the ledger knows of it: from then on one
        // without a block is a lost one.
        let new: Vec<ShardId> = ledger
            .opened
            .iter()
            .filter(|(_, (fresh, _))| *fresh)
            .map(|(shard, _)| *shard)
            .collect();
        if !new.is_empty() {
            ledger.opened.retain(|_, (fresh, _)| !*fresh);
            for shard in new {
                self.tell(shard, NeighbourMessage::Found, out);
            }
            return;
        }
        if !ledger.founded {
            ledger.phase = Phase::Founding;
            return self.found(out);
        }
        self.begin_life(out);
    }

    /// A copy of the journal's first page, under another name.
    fn found(&mut self, out: &mut Effects) {
        let config = &self.config;
        let (cluster, directory) = (config.cluster_id, config.directory_id);
        let page = file_header(self.journal.ring.ring, cluster, directory, config.shard.0);
        let request = DiskRequest::Write {
            file: format!("journal/{FOUNDED}").into(),
            offset: 0,
            pieces: vec![page],
            sync: true,
        };
        self.disk(request, Purpose::Found { named: false }, out);
    }

    /// That is written, or its name is durable too.
    pub(super) fn founded(&mut self, named: bool, result: DiskResult, out: &mut Effects) {
        if let Err(error) = result {
            return self.halt(format!("journal/{FOUNDED}: cannot be made: {error:?}"), out);
        }
        if !named {
            let dir = "journal".into();
            let purpose = Purpose::Found { named: true };
            return self.disk(DiskRequest::SyncDir { dir }, purpose, out);
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.founded = true;
        }
        self.begin_life(out);
    }

    fn begin_life(&mut self, out: &mut Effects) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        let records = ledger.first_records();
        if ledger.phase == Phase::Marking {
            out.notes.push(Note::Resharding);
        }
        self.record(records, None, out);
    }

    /// A shard holds nothing any more that is not at home there.
    pub(super) fn shard_settled(&mut self, from: ShardId, out: &mut Effects) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        let Phase::Moving(settled) = &mut ledger.phase else {
            return;
        };
        settled.insert(from);
        if settled.len() == usize::from(ledger.running) {
            ledger.phase = Phase::Marked;
            let (journals, home) = (ledger.shards, ledger.shards);
            let records = vec![Record::Shards { journals, home }];
            self.record(records, None, out);
        }
    }

    /// Append records to the ledger's log; the reply waits for them.
    fn record(
        &mut self,
        records: Vec<Record>,
        reply: Option<(ShardId, u64, Response)>,
        out: &mut Effects,
    ) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        let offset = ledger.hard.offset;
        if !records.is_empty() {
            let frame = Frame::Ledger {
                offset,
                body: encode_records(&records),
            };
            let before = ledger.hard.partitions;
            records.iter().for_each(|record| ledger.hard.apply(record));
            ledger.hard.offset += 1;
            let fewer = before.saturating_sub(ledger.hard.partitions);
            let deleted = (fewer > 0).then_some((ledger.hard.offset, fewer));
            ledger.deleted.extend(deleted);
            ledger.pending.push_back((offset, records));
            self.journal
                .stage([frame.encode()], Mark::Ledger(offset + 1));
        }
        if let Some((to, token, response)) = reply {
            // Even an answer that changes nothing may rest on records still on their way.
            ledger.parked.push_back(ParkedReply {
                offset: ledger.hard.offset,
                to,
                token,
                response,
            });
        }
        self.release_replies(out);
    }

    /// An admin request reached the ledger.
    pub(super) fn ledger_ask(
        &mut self,
        from: ShardId,
        token: u64,
        request: &Request,
        out: &mut Effects,
    ) {
        let Shard {
            ledger: Some(ledger),
            config,
            rng,
            ..
        } = self
        else {
            return;
        };
        let removing = ledger.removing();
        let decision = decide(&ledger.hard, removing, config, request, &mut || {
            draw_uuid(rng)
        });
        if let Some(decision) = decision {
            self.record(
                decision.records,
                Some((from, token, decision.response)),
                out,
            );
        }
    }

    /// Ledger records below `offset` are durable: publish them.
    pub(super) fn ledger_durable(&mut self, offset: i64, out: &mut Effects) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        let mut records = Vec::new();
        while ledger.pending.front().is_some_and(|(at, _)| *at < offset) {
            if let Some((_, batch)) = ledger.pending.pop_front() {
                records.extend(batch);
            }
        }
        let next = match ledger.phase {
            Phase::Leading => None,
            Phase::Marking => {
                ledger.phase = Phase::Moving(BTreeSet::new());
                Some(NeighbourMessage::Settle)
            }
            Phase::Marked => Some(NeighbourMessage::Again),
            Phase::Opening | Phase::Founding | Phase::Moving(_) => return,
        };
        if let Some(message) = next {
            for shard in 0..ledger.running {
                self.tell(ShardId(shard), message.clone(), out);
            }
            return;
        }
        let first = !ledger.published;
        if first {
            ledger.published = true;
            records = ledger.hard.records();
        }
        for shard in 0..ledger.shards {
            let message = NeighbourMessage::Published {
                first,
                offset,
                records: records.clone(),
            };
            self.tell(ShardId(shard), message, out);
        }
    }

    /// A shard has applied metadata up to an offset, and has so many partitions yet to remove.
    pub(super) fn shard_applied(&mut self, from: ShardId, done: (i64, u64), out: &mut Effects) {
        if let Some(ledger) = &mut self.ledger {
            ledger.applied.insert(from, done);
        }
        self.release_replies(out);
    }

    fn release_replies(&mut self, out: &mut Effects) {
        let Some(ledger) = &mut self.ledger else {
            return;
        };
        if ledger.applied.len() < usize::from(ledger.shards) {
            return;
        }
        let everywhere = ledger.applied.values().map(|(offset, _)| *offset).min();
        let everywhere = everywhere.unwrap_or(0);
        while ledger
            .deleted
            .front()
            .is_some_and(|(at, _)| *at <= everywhere)
        {
            ledger.deleted.pop_front();
        }
        let mut ready = Vec::new();
        while ledger
            .parked
            .front()
            .is_some_and(|parked| parked.offset <= everywhere)
        {
            ready.extend(ledger.parked.pop_front());
        }
        for parked in ready {
            let answer = Answer::Admin(parked.response);
            let message = NeighbourMessage::Answer {
                token: parked.token,
                answer,
            };
            self.tell(parked.to, message, out);
        }
    }

    /// Put the ledger's state into the journal's head, so that its old blocks can go.
    pub(super) fn stage_snapshot(&mut self) {
        let Some(ledger) = self
            .ledger
            .as_mut()
            .filter(|ledger| !ledger.snapshot_staged)
        else {
            return;
        };
        ledger.snapshot_staged = true;
        let body = encode_records(&ledger.hard.records());
        let frame = Frame::LedgerSnapshot {
            offset: ledger.hard.offset,
            body,
        };
        self.journal.stage([frame.encode()], Mark::Snapshot);
    }
}
