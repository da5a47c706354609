//! What clients did and saw, and the rules it must keep (Jepsen's Kafka checks and stricter ones,
//! `failures.md` 2.3). Nothing here looks inside the broker.

use std::collections::{BTreeMap, BTreeSet};

use seedlog_core::batch::{BatchHead, ATTRIBUTE_LOG_APPEND_TIME};
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::Uuid;

use super::answers::{is_allowed, Api, Why};
use crate::load::records::Seen;
use crate::load::shared::Shared;

/// A partition: (topic number, index).
pub type Part = (usize, i32);

/// What is known of one partition.
#[derive(Clone, Debug, Default)]
pub struct Partition {
    /// Which value stands at an offset, from acks and from reads.
    pub at: BTreeMap<i64, u64>,
    offset_of: BTreeMap<u64, i64>,
    /// Offsets acknowledged.
    pub acked: BTreeMap<i64, u64>,
    /// Offsets a consumer has seen.
    pub seen: BTreeSet<i64>,
    failed: BTreeSet<u64>,
    /// Highest offset acknowledged so far.
    pub max_acked: i64,
    /// Highest end offset any client was told.
    pub max_end: i64,
    /// Highest log start any client asked for.
    pub deleted_to: i64,
    /// Retention may move the log start.
    pub retention: bool,
    /// It does so by time alone, and no record younger than this may go, ms.
    pub young_ms: Option<i64>,
    /// The timestamp of each acknowledged record, ms.
    times: BTreeMap<i64, i64>,
    /// When each acknowledged record was first sent, where `young_ms` holds.
    sent_at: BTreeMap<i64, i64>,
    /// Retention by size leaves so many bytes at least.
    pub kept_bytes: Option<u64>,
    /// Bytes of all batches that were ever sent, and of those acknowledged, by their first offset.
    pub sent_bytes: u64,
    sizes: BTreeMap<i64, u64>,
    /// Highest log start that was told, and when.
    pub started: (i64, u64),
    /// Highest offset that was called out of range for a log start nobody was told of yet, and when.
    claimed: (i64, u64),
    /// Lookups to be judged once a later log start is told.
    lookups: Vec<Lookup>,
    /// Leader epochs of batches that were read, by their first offset.
    epochs: BTreeMap<i64, i32>,
    /// What nobody waited for an answer to.
    pub unanswered: BTreeSet<u64>,
}

/// A lookup by time and its answer; offsets up to `acked` had been acknowledged when it was asked.
#[derive(Clone, Copy, Debug)]
struct Lookup {
    timestamp: i64,
    found: (i64, i64),
    acked: i64,
    told_us: u64,
}

impl Partition {
    /// Offsets from `start` on that were acknowledged or seen, some of them twice.
    pub fn owed_from(&self, start: i64) -> impl Iterator<Item = i64> + '_ {
        let acked = self.acked.range(start..).map(|(offset, _)| *offset);
        acked.chain(self.seen.range(start..).copied())
    }
}

/// The history of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Per partition.
    pub partitions: BTreeMap<Part, Partition>,
    /// Rules broken: (rule, what happened).
    pub violations: Vec<(&'static str, String)>,
    /// Records acknowledged.
    pub acks: u64,
    /// Records read.
    pub reads: u64,
    /// Operations whose outcome the client knows.
    pub definite: u64,
    /// Operations whose outcome it never learned.
    pub unknown: u64,
    /// The time, ms.
    pub now_ms: i64,
    /// The same in microseconds of simulated time.
    pub now_us: u64,
    /// The broker's life.
    pub life: u64,
    /// The id of each topic as first told.
    pub ids: BTreeMap<usize, Uuid>,
    /// The highest leader epoch told, and in which life of the broker.
    pub epoch: (i32, u64),
    producer_ids: BTreeSet<i64>,
    /// The topic that is removed while others write to it.
    pub shared: Shared,
    /// What happened, for the report.
    pub marks: BTreeMap<&'static str, u64>,
    /// Where each process's last acknowledged send and last polled record stand.
    sent: BTreeMap<(u64, Part), i64>,
    polled: BTreeMap<(u64, Part), i64>,
}

impl History {
    /// Note a broken rule.
    pub fn violate(&mut self, rule: &'static str, what: String) {
        if self.violations.len() < 20 {
            self.violations.push((rule, what));
        }
    }

    /// A topic has so many partitions from now on.
    pub fn begins(&mut self, topic: usize, partitions: i32) {
        for index in 0..partitions {
            self.part((topic, index));
        }
    }

    /// A topic is gone, or may be: nobody is owed anything of it.
    pub fn forget(&mut self, topic: usize) {
        self.partitions.retain(|part, _| part.0 != topic);
        self.sent.retain(|(_, part), _| part.0 != topic);
        self.polled.retain(|(_, part), _| part.0 != topic);
        self.ids.remove(&topic);
    }

    /// Something worth counting happened.
    pub fn mark(&mut self, name: &'static str) {
        *self.marks.entry(name).or_default() += 1;
    }

    /// An answer is explained, or a failure.
    pub fn judge(&mut self, api: Api, code: ErrorCode, why: &[Why], text: impl Fn() -> String) {
        if !is_allowed(api, code, why) {
            let text = format!("{api:?} {}: {} though {why:?}", text(), code.name());
            self.violate("unexpected-answer", text);
        }
    }

    /// An answer names the partitions that were asked for, in their order.
    pub fn fits(
        &mut self,
        asked: impl Iterator<Item = i32>,
        told: impl Iterator<Item = i32>,
    ) -> bool {
        let (asked, told): (Vec<i32>, Vec<i32>) = (asked.collect(), told.collect());
        if asked != told {
            let text = format!("partitions {asked:?} were asked for, {told:?} answered");
            self.violate("answer-shape", text);
        }
        asked == told
    }

    /// A topic has this id.
    pub fn has_id(&mut self, topic: usize, id: Uuid) {
        let known = *self.ids.entry(topic).or_insert(id);
        if known != id || id.is_zero() {
            self.violate("topic-id", format!("topic {topic}: {known:?}, then {id:?}"));
        }
    }

    /// A leader epoch was told by the broker's present life.
    pub fn has_epoch(&mut self, epoch: i32) {
        let (known, life) = self.epoch;
        if epoch < known || (life == self.life && epoch != known) {
            let text = format!(
                "epoch {epoch} after {known}, lives {life} and {}",
                self.life
            );
            self.violate("leader-epoch", text);
        }
        self.epoch = (epoch.max(known), self.life);
    }

    /// A producer id was given out.
    pub fn has_producer(&mut self, id: i64) {
        if id < 0 || !self.producer_ids.insert(id) {
            self.violate("producer-id", format!("{id} was given out twice"));
        }
    }

    /// The history of one partition.
    pub fn part(&mut self, part: Part) -> &mut Partition {
        self.partitions.entry(part).or_insert_with(|| Partition {
            max_acked: -1,
            ..Partition::default()
        })
    }

    fn stands(&mut self, part: Part, offset: i64, value: u64) {
        let partition = self.part(part);
        if partition.at.get(&offset) == Some(&value) {
            // Known, and judged, since then.
            return;
        }
        let before = partition.at.insert(offset, value);
        let other = partition.offset_of.insert(value, offset);
        let failed = partition.failed.contains(&value);
        if let Some(before) = before.filter(|before| *before != value) {
            self.violate(
                "inconsistent-offsets",
                format!("{part:?}@{offset}: {before} and {value}"),
            );
        }
        if let Some(other) = other.filter(|other| *other != offset) {
            self.violate(
                "duplicate",
                format!("{part:?}: {value} at {other} and {offset}"),
            );
        }
        if failed {
            self.violate(
                "H6",
                format!("{part:?}@{offset}: {value} was refused, yet it is there"),
            );
        }
    }

    /// A produce of these values was acknowledged at `base`; when it was first sent, offsets up to
    /// `acked_before` had been acknowledged.
    pub fn acked(&mut self, part: Part, base: i64, values: &[u64], acked_before: i64) {
        if base <= acked_before {
            let text = format!(
                "{part:?}: {values:?} at {base}, sent after {acked_before} was acknowledged"
            );
            self.violate("H1", text);
        }
        for (offset, value) in (base..).zip(values) {
            self.stands(part, offset, *value);
            let partition = self.part(part);
            partition.acked.insert(offset, *value);
            partition.max_acked = partition.max_acked.max(offset);
            self.acks += 1;
        }
    }

    /// A process's sends are acknowledged in the order it sent them: offsets rise.
    pub fn sent(&mut self, process: u64, part: Part, base: i64) {
        let before = self.sent.insert((process, part), base);
        if let Some(before) = before.filter(|before| *before >= base) {
            let text = format!("{part:?}: process {process} at {base} after {before}");
            self.violate("nonmonotonic-send", text);
        }
    }

    /// A process polled these records; `sought` if it had set its position.
    pub fn polled(&mut self, process: u64, part: Part, sought: bool, records: &[(i64, u64)]) {
        let (Some((first, _)), Some((last, _))) = (records.first(), records.last()) else {
            return;
        };
        let before = self.polled.insert((process, part), *last);
        match before.filter(|_| !sought) {
            Some(before) if *first <= before => {
                let text = format!("{part:?}: process {process} at {first} after {before}");
                self.violate("nonmonotonic-poll", text);
            }
            Some(before) if *first > before + 1 => {
                let text = format!("{part:?}: process {process} at {first} after {before}");
                self.violate("poll-skip", text);
            }
            _ => {}
        }
    }

    /// Power was cut, and the topic had opted out of syncing: nobody is owed offsets from `durable` on,
    /// and others may stand there.
    pub fn rewind(&mut self, part: Part, durable: i64) {
        let partition = self.part(part);
        for value in partition.at.split_off(&durable).into_values() {
            partition.offset_of.remove(&value);
        }
        partition.acked.split_off(&durable);
        partition.seen.split_off(&durable);
        partition.times.split_off(&durable);
        partition.epochs.split_off(&durable);
        partition.sizes.split_off(&durable);
        partition.lookups.clear();
        partition.max_acked = partition.max_acked.min(durable - 1);
        partition.max_end = partition.max_end.min(durable);
        for told in [&mut self.sent, &mut self.polled] {
            let of_part = told.iter_mut().filter(|((_, other), _)| *other == part);
            of_part.for_each(|(_, at)| *at = (*at).min(durable - 1));
        }
    }

    /// A produce was refused: none of these values may ever be seen.
    pub fn failed(&mut self, part: Part, values: &[u64]) {
        for value in values {
            let partition = self.part(part);
            partition.failed.insert(*value);
            if let Some(offset) = partition.offset_of.get(value).copied() {
                self.violate(
                    "H6",
                    format!("{part:?}@{offset}: {value} was refused after it was seen"),
                );
            }
        }
    }

    /// A consumer that asked for `from` was given these records.
    pub fn read(&mut self, part: Part, from: i64, records: &[Seen]) {
        let mut next = None;
        for Seen {
            offset,
            value,
            time,
        } in records
        {
            if next.is_none() && *offset > from {
                self.violate(
                    "poll-skip",
                    format!("{part:?}: asked for {from}, given {offset}"),
                );
            }
            if next.is_some_and(|next| next != *offset) {
                self.violate(
                    "H4",
                    format!("{part:?}: {offset} follows {next:?} in one answer"),
                );
            }
            next = Some(offset + 1);
            self.stands(part, *offset, *value);
            let partition = self.part(part);
            partition.seen.insert(*offset);
            let known = *partition.times.entry(*offset).or_insert(*time);
            if known != *time {
                let text = format!("{part:?}@{offset}: is of {time}, was of {known}");
                self.violate("wrong-time", text);
            }
            self.reads += 1;
        }
    }

    /// Batches with these heads were read: leader epochs rise with the offsets, and who stamps a record
    /// is the topic's to say.
    pub fn heads(&mut self, part: Part, heads: &[BatchHead], by_broker: bool) {
        for head in heads {
            let (base, epoch) = (head.base_offset, head.leader_epoch);
            let epochs = &mut self.part(part).epochs;
            let before = epochs.range(..base).next_back().map(|(_, epoch)| *epoch);
            let after = epochs.range(base + 1..).next().map(|(_, epoch)| *epoch);
            let known = *epochs.entry(base).or_insert(epoch);
            let falls = before.is_some_and(|before| before > epoch)
                || after.is_some_and(|after| after < epoch);
            if known != epoch || falls {
                let text = format!("{part:?}@{base}: {before:?}, {epoch} (was {known}), {after:?}");
                self.violate("leader-epoch", text);
            }
            if (head.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0) != by_broker {
                let text = format!("{part:?}@{base}: attributes {}", head.attributes);
                self.violate("wrong-time", text);
            }
        }
    }

    /// The end of a leader epoch was asked for and told: batches of it and of older ones lie below, those
    /// of later ones do not.
    pub fn epoch_end(&mut self, part: Part, asked: i32, (epoch, end): (i32, i64)) {
        let (current, _) = self.epoch;
        let partition = self.part(part);
        let wrong = match epoch {
            -1 => asked <= current,
            epoch => {
                // Of what is deleted only the broker knows.
                let from = match partition.retention {
                    true => i64::MAX,
                    false => partition.deleted_to.max(partition.started.0),
                };
                let mut all = partition.epochs.iter();
                // One that goes on has more batches by the time its answer is heard.
                let over = asked < current;
                let misplaced = all.any(|(base, of)| match *of <= asked {
                    true => over && *base >= end,
                    false => *base < end && *base >= from,
                });
                epoch > asked || misplaced
            }
        };
        if wrong {
            let text = format!("{part:?}: {asked} is said to be {epoch}, up to {end}");
            self.violate("epoch-end", text);
        }
    }

    /// A client was told this end offset; when it asked, `known` had been told already.
    pub fn end(&mut self, part: Part, end: i64, known: i64) {
        if end < known {
            self.violate("H5", format!("{part:?}: end {end} after {known}"));
        }
        let partition = self.part(part);
        partition.max_end = partition.max_end.max(end);
    }

    /// A produce that was first sent at `sent_ms` was acknowledged at `base`.
    pub fn sent_at(&mut self, part: Part, base: i64, count: usize, sent_ms: i64) {
        let partition = self.part(part);
        if partition.young_ms.is_some() {
            let offsets = (base..).take(count);
            partition
                .sent_at
                .extend(offsets.map(|offset| (offset, sent_ms)));
        }
    }

    /// The records of a produce acknowledged at `base` have these timestamps.
    pub fn dated(&mut self, part: Part, base: i64, times: &[i64]) {
        for (offset, time) in (base..).zip(times) {
            let known = *self.part(part).times.entry(offset).or_insert(*time);
            if known != *time {
                let text = format!("{part:?}@{offset}: told {time}, was of {known}");
                self.violate("wrong-time", text);
            }
        }
    }

    /// A client asked for the first record not older than `timestamp`, -3 for the youngest, and was
    /// given `found`: offset and timestamp, or -1. Offsets up to `acked` had been acknowledged when it
    /// asked, so all of them were there, unless retention had removed them.
    pub fn looked_up(&mut self, part: Part, timestamp: i64, found: (i64, i64), acked: i64) {
        let lookup = Lookup {
            timestamp,
            found,
            acked,
            told_us: self.now_us,
        };
        let known = self.part(part);
        match known.retention {
            // Once a log start is told that was asked for later, what lies above it is known to have been there.
            true => known.lookups.push(lookup),
            false => self.judge_lookup(part, lookup),
        }
    }

    fn judge_lookup(&mut self, part: Part, lookup: Lookup) {
        let Lookup {
            timestamp,
            found,
            acked,
            ..
        } = lookup;
        let (offset, time) = found;
        let known = self.part(part);
        let wanted = match timestamp {
            -3 => time,
            timestamp => timestamp,
        };
        let from = known.deleted_to.max(known.started.0);
        let there = |at: &i64| *at >= from && *at <= acked;
        let better = known.times.iter().find(|(at, other)| {
            let missed = offset < 0 || **at < offset;
            let younger = timestamp == -3 && **other > time;
            there(at) && (younger || (missed && **other >= wanted))
        });
        let wrong = known.times.get(&offset).filter(|other| **other != time);
        let text = match (better, wrong) {
            (Some((at, other)), _) => format!("{part:?}@{at} is of {other}"),
            (_, Some(other)) => format!("{part:?}@{offset} is of {other}"),
            _ if offset >= 0 && time < wanted => format!("{part:?}@{offset} is too old"),
            _ => return,
        };
        let text = format!("{text}; asked for {timestamp}, told {offset} of {time}");
        self.violate("wrong-time", text);
    }

    /// A client that asked at `asked_us` was told this log start: it never goes back, and what was before
    /// it was asked to be deleted, or retention may remove it: by time what is old, whatever its
    /// timestamps say (KIP-937), by size what leaves enough.
    pub fn start(&mut self, part: Part, start: i64, asked_us: u64) {
        let now_us = self.now_us;
        let partition = self.part(part);
        let (told, told_us) = partition.started;
        let (claimed, claimed_us) = partition.claimed;
        let back = start < told && asked_us > told_us;
        if back || (start < claimed && asked_us > claimed_us) {
            let text = format!("{part:?}: starts at {start}, after {told}, {claimed}");
            self.violate("H5", text);
        }
        if start > told {
            self.part(part).started = (start, now_us);
        }
        self.may_start(part, start);
        let lookups = std::mem::take(&mut self.part(part).lookups);
        let before = |lookup: &Lookup| lookup.told_us <= asked_us;
        let (judged, kept) = lookups.into_iter().partition(before);
        self.part(part).lookups = kept;
        let judged: Vec<Lookup> = judged;
        for lookup in judged {
            self.judge_lookup(part, lookup);
        }
    }

    fn may_start(&mut self, part: Part, start: i64) {
        let now_ms = self.now_ms;
        let partition = self.part(part);
        let kept = partition.sent_at.split_off(&start);
        let gone = std::mem::replace(&mut partition.sent_at, kept);
        let deleted_to = partition.deleted_to;
        if start <= deleted_to {
            return;
        }
        if !partition.retention {
            let text = format!("{part:?}: starts at {start}, only {deleted_to} was asked for");
            return self.violate("lost-write", text);
        }
        let young_ms = partition.young_ms.unwrap_or(0);
        let young =
            |(offset, sent): &(&i64, &i64)| **offset >= deleted_to && now_ms - **sent < young_ms;
        if let Some((offset, sent)) = gone.iter().find(young) {
            let age = now_ms - sent;
            let text = format!("{part:?}@{offset}: was sent {age} ms ago, the start is {start}");
            return self.violate("retained-too-short", text);
        }
        let removed: u64 = partition.sizes.range(..start).map(|(_, size)| size).sum();
        let left = partition.sent_bytes.saturating_sub(removed);
        if partition.kept_bytes.is_some_and(|kept| left < kept) {
            let text = format!("{part:?}: starts at {start}, at most {left} bytes are left");
            self.violate("retained-too-short", text);
        }
    }

    /// A batch of so many bytes stands at `base`.
    pub fn sized(&mut self, part: Part, base: i64, bytes: u64) {
        self.part(part).sizes.insert(base, bytes);
    }

    /// OFFSET_OUT_OF_RANGE for an offset below the end: then the log starts behind it.
    pub fn out_of_range(&mut self, part: Part, offset: i64) {
        let now_us = self.now_us;
        let partition = self.part(part);
        if offset >= partition.claimed.0 {
            partition.claimed = (offset + 1, now_us);
        }
        self.may_start(part, offset + 1);
    }

    /// DeleteRecords up to `to`, or to the end with -1, was asked for when `known` was the end, and is
    /// done: this is the low watermark.
    pub fn trimmed(&mut self, part: Part, (to, known): (i64, i64), low: i64, asked_us: u64) {
        let asked = if to == -1 { known } else { to };
        if low < asked {
            let text = format!("{part:?}: {asked} was asked for, {low} is told");
            self.violate("low-watermark", text);
        }
        self.start(part, low, asked_us);
    }

    /// Nothing failed in this run: what was sent without waiting for an answer (acks 0) is there. Where
    /// records were deleted nobody can tell.
    pub fn all_unanswered_are_there(&mut self) {
        let whole = |(_, part): &(&Part, &Partition)| !part.retention && part.deleted_to == 0;
        let mut parts = self.partitions.iter().filter(whole);
        let lost = parts.find_map(|(part, known)| {
            let mut all = known.unanswered.iter();
            let lost = all.find(|value| !known.offset_of.contains_key(value))?;
            Some(format!("{part:?}: {lost} never came"))
        });
        if let Some(text) = lost {
            self.violate("acks-0", text);
        }
    }

    /// The last reader's finding: the log runs from `start` to `end`, and `missing` offsets in it
    /// could not be read for a disk fault the run had placed.
    pub fn audit(
        &mut self,
        part: Part,
        start: i64,
        end: i64,
        found: &BTreeSet<i64>,
        faulty: &BTreeSet<i64>,
    ) {
        self.may_start(part, start);
        let partition = self.part(part).clone();
        let lost = |offset: &&i64| {
            **offset >= start && !found.contains(offset) && !faulty.contains(offset)
        };
        if let Some(offset) = partition.acked.keys().find(lost) {
            let value = partition.acked[offset];
            self.violate(
                "lost-write",
                format!("{part:?}@{offset}: {value} was acknowledged ({start}..{end})"),
            );
        }
        if let Some(offset) = partition.seen.iter().find(lost) {
            self.violate(
                "unseen",
                format!("{part:?}@{offset}: was read, then gone ({start}..{end})"),
            );
        }
        if end <= partition.max_acked {
            let acked = partition.max_acked;
            self.violate(
                "lost-write",
                format!("{part:?}: ends at {end}, {acked} was acknowledged"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
