//! What a client makes of an answer: it is judged, written to the history, and decides what comes next.

use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;

use super::batches::Sent;
use super::client::Client;
use super::ops::{Asked, Epoch, Op, Reading};
use super::records::{numbers, read_batches};
use super::shared;
use crate::check::answers::{Api, Why};
use crate::check::history::{History, Part};
use crate::check::troubles::Troubles;

/// The broker gives nobody up before this, whatever the request's timeout, microseconds.
pub(crate) const SLOW_US: u64 = 5_000_000;

/// What the world knows of the time a request was open.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// When it was sent, microseconds.
    pub sent_us: u64,
    /// When its answer came.
    pub now_us: u64,
    /// What the plan's faults reach.
    pub troubles: &'a Troubles,
}

impl Moment<'_> {
    fn slow(&self, why: &mut Vec<Why>) {
        if self.now_us >= self.sent_us + SLOW_US {
            why.push(Why::Slow);
        }
    }

    fn no_room(&self, why: &mut Vec<Why>) {
        if self.troubles.writes_since(self.sent_us, self.now_us) {
            why.push(Why::NoRoom);
        }
    }

    /// Reasons of a keeper's answer: what its model says, and what the disk does.
    pub fn whys(&self, model: Why, api: Api, part: Part) -> Vec<Why> {
        let mut why = vec![model];
        self.slow(&mut why);
        match api {
            Api::Produce => self.no_room(&mut why),
            Api::Fetch if self.troubles.reads_since(part, -1, self.sent_us) => {
                why.push(Why::Damaged);
            }
            _ => {}
        }
        why
    }
}

/// The reasons that a leader epoch gives, if it does not fit for certain: nothing else may be told then.
fn epoch_whys(epoch: Epoch, history: &History) -> (Vec<Why>, bool) {
    let newer = history.life > epoch.life;
    match epoch.named {
        -1 => (Vec::new(), true),
        named if named > epoch.told => (vec![Why::NewEpoch], false),
        named if named < epoch.told => (vec![Why::OldEpoch], false),
        // The broker has begun again since: this epoch is over.
        _ if newer => (vec![Why::OldEpoch], false),
        _ => (Vec::new(), true),
    }
}

impl Client {
    /// The answer to an operation came in.
    pub fn answered(&mut self, op: Op, response: Response, at: Moment, history: &mut History) {
        history.definite += u64::from(!matches!(op, Op::Audit { .. } | Op::Create));
        match (op, response) {
            (Op::InitProducerId(_), Response::InitProducerId(response)) => {
                let text = || "producer id".to_string();
                history.judge(Api::InitProducerId, response.error, &[Why::Sound], text);
                if response.error == ErrorCode::None {
                    history.has_producer(response.producer_id);
                    self.producer = Some((response.producer_id, response.producer_epoch));
                    self.sequences.clear();
                    self.first_acked.clear();
                }
            }
            (Op::Produce { sent, .. }, Response::Produce(response)) => {
                history.definite -= 1;
                self.all_produced(sent, response, at, history);
            }
            (Op::Fetch { reads, wait_ms, .. }, Response::Fetch(response)) => {
                self.all_fetched(&reads, wait_ms, response, at, history);
            }
            (Op::Audit { part, offset }, Response::Fetch(mut response)) => {
                self.audited = response
                    .topics
                    .pop()
                    .and_then(|(_, mut parts)| Some((part, offset, parts.pop()?)));
            }
            (Op::Audit { part, offset }, Response::ListOffsets(response)) => {
                let found = response.topics[0].1[0];
                let start = PartitionFetched {
                    error: found.error,
                    log_start_offset: found.offset,
                    ..PartitionFetched::default()
                };
                self.audited = Some((part, offset, start));
            }
            (Op::Offsets(asked), Response::ListOffsets(response)) => {
                self.offsets_told(&asked, response, at, history);
            }
            (Op::EpochEnd { part, asked, epoch }, Response::OffsetForLeaderEpoch(response)) => {
                let told = response.topics[0].1[0];
                let (mut why, sound) = epoch_whys(epoch, history);
                why.extend(sound.then_some(Why::Sound));
                let text = || format!("{part:?}: end of {asked}, {epoch:?}");
                history.judge(Api::OffsetForLeaderEpoch, told.error, &why, text);
                if told.error == ErrorCode::None {
                    history.mark("epoch-end");
                    history.epoch_end(part, asked, (told.leader_epoch, told.end_offset));
                }
            }
            (op @ Op::Trim { .. }, Response::DeleteRecords(response)) => {
                trimmed(&op, response.topics[0].1[0], at, history);
            }
            (Op::Describe { topic, by_id }, Response::Metadata(response)) => {
                described(topic, by_id, &response, history);
            }
            (Op::Keep(step, _), response) => self.churn.answered(&step, &response, at, history),
            (Op::Share(name, _), response) => shared::judge(name, &response, at, history),
            (Op::Create, Response::CreateTopics(response)) => {
                created(&response, history);
            }
            (op, response) => {
                history.violate("answer-shape", format!("{op:?} was answered {response:?}"));
            }
        }
    }

    fn all_produced(
        &mut self,
        sent: Vec<Sent>,
        response: ProduceResponse,
        at: Moment,
        history: &mut History,
    ) {
        let told: Vec<_> = response.topics.into_iter().flat_map(|row| row.1).collect();
        let parts = sent.iter().map(|one| one.part.1);
        if history.fits(parts, told.iter().map(|one| one.index)) {
            for (one, told) in sent.into_iter().zip(&told) {
                self.produced(one, told, at, history);
            }
        }
    }

    fn all_fetched(
        &mut self,
        reads: &[Reading],
        wait_ms: i32,
        response: FetchResponse,
        at: Moment,
        history: &mut History,
    ) {
        let told: Vec<_> = response.topics.into_iter().flat_map(|row| row.1).collect();
        let parts = reads.iter().map(|one| one.part.1);
        if !history.fits(parts, told.iter().map(|one| one.index)) {
            return;
        }
        let took_ms = (at.now_us - at.sent_us) / 1000;
        let some = told.iter().any(|part| !part.records.is_empty());
        if some && took_ms > 15 && took_ms + 20 < wait_ms as u64 {
            history.mark("fetch-woken");
        }
        for (one, told) in reads.iter().zip(&told) {
            self.fetched(one, told, at, history);
        }
    }

    /// The outcome of a produce. An idempotent producer sends a refused batch again, as its sequence
    /// must not be skipped.
    fn produced(&mut self, one: Sent, told: &PartitionProduced, at: Moment, history: &mut History) {
        let part = one.part;
        let idempotent = self.is_idempotent() && one.flaw.is_none();
        let earlier = self.again.range(..one.order);
        let gap = { earlier }.any(|(_, other)| other.part == part);
        let mut why = vec![one.flaw.map_or(Why::Sound, |flaw| flaw.why())];
        at.no_room(&mut why);
        at.slow(&mut why);
        if idempotent && gap {
            why.push(Why::Gap);
        }
        let overtaken = |first: &u64| idempotent && *first > one.order;
        let overtaken = self.first_acked.get(&part).is_some_and(overtaken);
        if overtaken {
            why.push(Why::Overtaken);
        }
        let text = || format!("{part:?} {:?}", one.values);
        history.judge(Api::Produce, told.error, &why, text);
        match told.error {
            ErrorCode::None => {
                history.definite += 1;
                let first = self.first_acked.entry(part).or_insert(one.order);
                *first = one.order.min(*first);
                self.acknowledged(&one, told, at, history);
            }
            // It was refused before, and will be for ever.
            ErrorCode::OutOfOrderSequenceNumber if overtaken => {
                history.definite += 1;
                history.mark("overtaken");
                history.failed(part, &one.values);
            }
            ErrorCode::KafkaStorageError
            | ErrorCode::RequestTimedOut
            | ErrorCode::OutOfOrderSequenceNumber
                if idempotent =>
            {
                history.mark("refused-and-sent-again");
                self.again.insert(one.order, one);
            }
            ErrorCode::RequestTimedOut => history.unknown += 1,
            _ => {
                history.definite += 1;
                history.mark("refused-for-good");
                history.failed(part, &one.values);
            }
        }
    }

    fn acknowledged(
        &mut self,
        one: &Sent,
        told: &PartitionProduced,
        at: Moment,
        history: &mut History,
    ) {
        let (part, base) = (one.part, told.base_offset);
        self.end_told(part, base + one.values.len() as i64);
        history.acked(part, base, &one.values, one.acked_before);
        history.sent(self.number, part, base);
        history.sent_at(part, base, one.values.len(), one.sent_ms);
        history.sized(part, base, one.batch.len() as u64);
        let stamped = self.stamped.get(part.0).copied().unwrap_or(false);
        let stamp = told.log_append_time_ms;
        match (stamped, stamp) {
            (false, -1) => history.dated(part, base, &one.times),
            // Sent again, and no longer at hand.
            (true, -1) => {}
            (true, stamp) if (one.sent_ms..=history.now_ms).contains(&stamp) => {
                let times = vec![stamp; one.values.len()];
                history.dated(part, base, &times);
            }
            _ => {
                let text = format!("{part:?}@{base}: stamped {stamp}, sent {}", one.sent_ms);
                history.violate("wrong-time", text);
            }
        }
        history.start(part, told.log_start_offset, at.sent_us);
    }

    /// The partition ends here, or beyond; returns what was known before.
    fn end_told(&mut self, part: Part, end: i64) -> i64 {
        let known = self.told_ends.entry(part).or_insert(-1);
        std::mem::replace(known, end.max(*known))
    }

    fn offsets_told(
        &mut self,
        asked: &[Asked],
        response: ListOffsetsResponse,
        at: Moment,
        history: &mut History,
    ) {
        let told: Vec<_> = response.topics.into_iter().flat_map(|row| row.1).collect();
        let parts = asked.iter().map(|one| one.part.1);
        if history.fits(parts, told.iter().map(|one| one.index)) {
            for (one, told) in asked.iter().zip(&told) {
                self.offset_told(one, told, at, history);
            }
        }
    }

    fn offset_told(
        &mut self,
        one: &Asked,
        told: &PartitionOffset,
        at: Moment,
        history: &mut History,
    ) {
        let part = one.part;
        let api = match one.timestamp {
            -1 | -2 | -4 => Api::ListOffsets,
            _ => Api::OffsetForTime,
        };
        let (mut why, sound) = epoch_whys(one.epoch, history);
        why.extend(sound.then_some(Why::Sound));
        if sound && at.troubles.reads_since(part, -1, at.sent_us) {
            why.push(Why::Damaged);
        }
        history.judge(api, told.error, &why, || format!("{one:?}"));
        match (told.error, one.timestamp) {
            (ErrorCode::None, -1) => {
                history.has_epoch(told.leader_epoch);
                let known = self.end_told(part, told.offset);
                history.end(part, told.offset, one.known_end.max(known));
            }
            (ErrorCode::None, -2 | -4) => history.start(part, told.offset, at.sent_us),
            (ErrorCode::None, timestamp) => {
                let found = (told.offset, told.timestamp);
                history.looked_up(part, timestamp, found, one.acked);
            }
            _ => {}
        }
    }

    fn fetched(
        &mut self,
        one: &Reading,
        told: &PartitionFetched,
        at: Moment,
        history: &mut History,
    ) {
        let Reading { part, offset, .. } = *one;
        let (mut why, sound) = epoch_whys(one.epoch, history);
        let known = history.part(part);
        let may_start = known.deleted_to.max(known.started.0);
        if sound && one.far {
            why.push(Why::BeyondEnd);
        } else if sound && offset < one.started {
            why.push(Why::BelowStart);
        } else if sound {
            why.push(Why::Sound);
            if known.retention || offset < may_start {
                why.push(Why::BelowStart);
            }
            if offset > one.known_end {
                why.push(Why::BeyondEnd);
            }
            if at.troubles.reads_since(part, offset, at.sent_us) {
                why.push(Why::Damaged);
            }
        }
        let text = || format!("{one:?}");
        history.judge(Api::Fetch, told.error, &why, text);
        match told.error {
            ErrorCode::None => {
                let known = self.end_told(part, told.high_watermark);
                history.end(part, told.high_watermark, one.known_end.max(known));
                history.start(part, told.log_start_offset, at.sent_us);
                let stamped = self.stamped.get(part.0).copied().unwrap_or(false);
                let mut heads = Vec::new();
                let take = &mut |head: &_| heads.push(*head);
                let found = match read_batches(&told.records, offset, take) {
                    Ok(found) => found,
                    Err(reason) => {
                        return history.violate("H2", format!("{part:?}@{offset}: {reason}"))
                    }
                };
                history.heads(part, &heads, stamped);
                history.read(part, offset, &found);
                history.polled(self.number, part, one.sought, &numbers(&found));
                if let Some(last) = found.last() {
                    self.positions.insert(part, (last.offset + 1, true));
                }
            }
            ErrorCode::OffsetOutOfRange if !one.far => {
                if offset >= may_start && offset <= one.known_end {
                    history.out_of_range(part, offset);
                }
                let next = history.part(part).max_end;
                self.positions.insert(part, (next, false));
            }
            ErrorCode::KafkaStorageError => {
                self.positions.insert(part, (offset + 1, false));
            }
            _ => {}
        }
    }
}

fn trimmed(op: &Op, (index, low, error): (i32, i64, ErrorCode), at: Moment, history: &mut History) {
    let Op::Trim {
        part,
        to,
        known_end,
        far,
    } = *op
    else {
        return;
    };
    let mut why = vec![if far { Why::BeyondEnd } else { Why::Sound }];
    at.slow(&mut why);
    history.judge(Api::DeleteRecords, error, &why, || format!("{op:?}"));
    if error == ErrorCode::None {
        history.mark("trimmed");
        history.trimmed(part, (to, known_end), low, at.sent_us);
    }
    if index != part.1 {
        history.violate("answer-shape", format!("{op:?}: partition {index}"));
    }
}

/// Metadata tells one leader, the topic's partitions, its id, and the leader epoch.
fn described(
    topic: Option<usize>,
    by_id: bool,
    response: &MetadataResponse,
    history: &mut History,
) {
    let [told] = &response.topics[..] else {
        let text = format!("{} topics of one", response.topics.len());
        return history.violate("answer-shape", text);
    };
    let why = match (topic, by_id) {
        (Some(_), _) => Why::Sound,
        (None, true) => Why::UnknownId,
        (None, false) => Why::Unknown,
    };
    history.judge(Api::Metadata, told.error, &[why], || format!("{topic:?}"));
    let Some(topic) = topic.filter(|_| told.error == ErrorCode::None) else {
        return;
    };
    history.mark("described");
    history.has_id(topic, told.topic.id);
    let mut indexes: Vec<i32> = told.partitions.iter().map(|part| part.index).collect();
    indexes.sort();
    let wanted: Vec<i32> = history
        .partitions
        .keys()
        .filter(|part| part.0 == topic)
        .map(|part| part.1)
        .collect();
    let one = |part: &PartitionMetadata| {
        part.leader == response.controller
            && part.error == ErrorCode::None
            && part.replicas == part.isr
            && part.isr == [part.leader]
    };
    if indexes != wanted || !told.partitions.iter().all(one) || response.brokers.len() != 1 {
        let text = format!("topic {topic}, partitions {wanted:?}: {response:?}");
        history.violate("metadata", text);
    }
    if let Some(part) = told.partitions.first() {
        history.has_epoch(part.leader_epoch);
    }
}

fn created(response: &CreateTopicsResponse, history: &mut History) {
    for (topic, told) in response.topics.iter().enumerate() {
        // What the first try did is not known if its answer was lost.
        let why = [Why::Sound, Why::Exists, Why::Slow];
        history.judge(Api::CreateTopics, told.error, &why, || told.name.clone());
        if told.error == ErrorCode::None {
            history.has_id(topic, told.id);
        }
    }
}
