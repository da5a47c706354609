//! Damage after the end, beyond what one replica can bear: the broker refuses loudly and leaves the
//! file as it is, or everything is still there.

use bytes::Bytes;
use seedlog_core::log::journal::PAGE;

use super::{Event, World};
use crate::plan::{Choices, Ending, Plan};

/// The broker stands idle this long before, so that its last block is attested: damage to one that
/// is not is outside the contract (design.md section 3).
const QUIET_US: u64 = 200_000;
/// A header page: where the version stands, and the checksum over the bytes before it.
const VERSION_AT: usize = 11;
const CRC_AT: usize = 54;

/// How far the ending is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    wanted: Option<(Ending, u64)>,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    Quiet,
    /// The damage is done: this file had these bytes. The broker has refused so many times.
    Damaged(Ending, String, Option<Bytes>, u32),
    Over,
}

impl State {
    pub fn of(plan: &Plan) -> State {
        State {
            wanted: plan.ending,
            stage: Stage::Before,
        }
    }

    /// The last reader is done: does an ending follow?
    pub fn begins(&self) -> bool {
        self.wanted.is_some()
    }

    /// The broker refused: nothing follows.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// The damage is done, and the broker has not decided yet.
    pub fn is_on(&self) -> bool {
        matches!(self.stage, Stage::Damaged(..))
    }
}

impl World {
    /// Everything was read once. Wait for quiet, damage a journal, start again.
    pub(super) fn begin_ending(&mut self) {
        if self.ending.stage == Stage::Before {
            self.ending.stage = Stage::Quiet;
            self.at(self.now_us + QUIET_US, Event::Ending);
        }
    }

    pub(super) fn ending(&mut self) {
        if self.broker.is_none() || self.paused_until > self.now_us {
            return self.at(self.now_us + QUIET_US, Event::Ending);
        }
        let Some((kind, value)) = self.ending.wanted.take() else {
            return;
        };
        self.keep_audit();
        self.stop_broker();
        let mut choices = Choices::new(value, "ending", 0);
        let shard = choices.below(u64::from(self.wanted));
        let file = format!("journal/shard-{shard}.ring");
        match kind {
            Ending::JournalRot => self.disk.change(&file, &mut |bytes| {
                let page = choices.below(bytes.len() as u64 / PAGE) * PAGE;
                let at = page as usize + choices.below(512) as usize;
                bytes[at] ^= 1 << choices.below(8);
            }),
            Ending::JournalLost => self.disk.lose(&file),
            Ending::NewerFormat => self.disk.change(&file, &mut |bytes| {
                for page in bytes.chunks_mut(PAGE as usize).take(2) {
                    page[VERSION_AT] += 1;
                    let crc = crc32c::crc32c(&page[..CRC_AT]);
                    page[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
                }
            }),
        }
        self.mark(kind.name());
        let bytes = self.disk.bytes(&file);
        self.ending.stage = Stage::Damaged(kind, file, bytes, 0);
    }

    /// The broker halted on the damage. It must not have touched the file, and the next start, if
    /// somebody tries, must refuse as well.
    pub(super) fn refused(&mut self, reason: &str) {
        let Stage::Damaged(kind, file, bytes, times) = &mut self.ending.stage else {
            return;
        };
        *times += 1;
        let (kind, again) = (*kind, *times < 2);
        let changed = bytes.is_some() && self.disk.bytes(file) != *bytes;
        if !reason.contains("journal/") {
            let text = format!("{}: the refusal names no file: {reason}", kind.name());
            self.history.violate("refusal", text);
        }
        if changed {
            let text = format!("{}: the refused file was changed", kind.name());
            self.history.violate("refusal", text);
        }
        if again {
            return self.stop_broker();
        }
        self.mark("refused");
        self.ending.stage = Stage::Over;
        self.broker = None;
    }

    /// The broker serves in spite of the damage: then everything must be there.
    pub(super) fn look_at_ending(&mut self) {
        let ready = |broker: &super::Broker| broker.shards.iter().all(|shard| shard.is_ready());
        let serves = self.ending.is_on() && self.broker.as_ref().is_some_and(ready);
        if !serves {
            return;
        }
        match &self.ending.stage {
            Stage::Damaged(Ending::NewerFormat, file, ..) => {
                let text = format!("{file}: a newer format was taken for this one");
                self.history.violate("format", text);
            }
            Stage::Damaged(kind, _, _, times) if *times > 0 => {
                let text = format!("{}: refused once, then served", kind.name());
                self.history.violate("refusal", text);
            }
            _ => {}
        }
        self.mark("served-on");
        self.ending.stage = Stage::Before;
        self.begin_audit();
    }
}
