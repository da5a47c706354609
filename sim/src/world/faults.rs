//! Faults as they strike.

use seedlog_core::batch::parse_head;
use seedlog_core::contract::Input;
use seedlog_core::disk::{DiskError, DiskOp, DiskRequest, DiskResult};
use seedlog_core::ids::ShardId;

use super::{Event, World};
use crate::check::history::Part;
use crate::disk::{path_of, Decayed};
use crate::draws::{keyed, Draws};
use crate::load::ops::{KEPT_FROM, SHARED_FROM};
use crate::plan::{Choices, Fault, FaultKind};

/// A broker's first look at what retention takes comes no earlier.
const RETENTION_US: u64 = 5_000_000;

/// The partition whose file this is.
pub(super) fn part_of(path: &str) -> Option<Part> {
    let folder = path.strip_prefix("topics/")?.split('.').next()?;
    let (name, index) = folder.rsplit_once('-')?;
    let (kind, topic) = name.split_once('-')?;
    let first = match kind {
        "churn" => KEPT_FROM,
        "shared" => SHARED_FROM,
        _ => 0,
    };
    let topic: usize = topic.parse().ok()?;
    Some((first + topic, index.parse().ok()?))
}

/// The offset that a segment's file, its rows, or either of them set aside, is named by.
pub(super) fn base_of(path: &str) -> Option<i64> {
    let name = path.rsplit('/').next()?;
    name.split('.').next()?.parse().ok()
}

impl World {
    /// Partitions begin to move. They are interrupted as often as the fault says.
    pub(super) fn resharding(&mut self) {
        self.mark("reshard");
        let (left, value) = self.cuts;
        if left > 0 {
            self.cuts.0 -= 1;
            let mut cut = Choices::new(value, "reshard-cut", left);
            let kinds = [FaultKind::Crash, FaultKind::PowerLoss];
            let fault = Fault {
                at_us: self.now_us + cut.below(60_000),
                kind: kinds[cut.below(2) as usize],
                value: cut.below(1 << 32),
            };
            self.at(fault.at_us, Event::Fault(fault));
        }
        if let Some(broker) = &mut self.broker {
            broker.moving = true;
        }
    }

    /// Always another number, from 1 to 4. The fault has fired when partitions move, and says how often
    /// that is cut.
    fn want_other_shards(&mut self, value: u64) {
        self.cuts = (Choices::new(value, "cuts", 0).below(3), value);
        self.wanted_before = self.wanted;
        self.wanted = (self.wanted + (value % 3) as u16) % 4 + 1;
        self.stop_broker();
    }

    /// Partitions were moving: half of the time the next start wants as many shards as before.
    fn count_cut(&mut self) {
        if self.broker.as_ref().is_some_and(|broker| broker.moving) {
            self.mark("reshard-cut");
            let (left, value) = self.cuts;
            let mut back = Choices::new(value, "reshard-back", left);
            if back.chance(1, 2) {
                std::mem::swap(&mut self.wanted, &mut self.wanted_before);
            }
        }
    }

    /// Power is cut, or a sync of one shard's journal failed: of topics that opted out of syncing, nobody
    /// is owed what was not durable there. A start must say so before the loss shows.
    pub(super) fn lose_loose(&mut self, of: Option<ShardId>) {
        for (part, durable) in self.monitor.loose(of) {
            if self.history.part(part).max_acked >= durable {
                self.mark("loose-at-stake");
            }
            self.history.rewind(part, durable);
            for client in &mut self.clients {
                client.rewind(part, durable);
            }
        }
        self.loss_told &= self.monitor.is_open();
        self.monitor.rewind(of);
    }

    /// The draws of one blow to the disk: whatever else is in the plan, it does the same.
    pub(super) fn draws_of(&self, site: &str, value: u64) -> Draws {
        Draws::new(keyed(self.plan.seed, site, value, 0).below(u64::MAX))
    }

    /// What the disk met counts.
    pub(super) fn mark_fired(&mut self) {
        for name in std::mem::take(&mut self.disk.fired) {
            self.mark(name);
        }
    }

    /// The disk carries it out. What a failed sync of a journal did not cover counts as written from
    /// then on, and is not.
    pub(super) fn run_disk(&mut self, request: &DiskRequest) -> DiskResult {
        let before = self.disk.fired.len();
        let result = self.disk.run(request);
        let failed = self.disk.fired[before..].contains(&"sync-error");
        let file = match request {
            DiskRequest::SyncMany { files, .. } => files.first().map_or("", |file| file),
            request => path_of(request),
        };
        if let Some(shard) = journal_of(file).filter(|_| failed) {
            // Until the broker hears of it, it goes on acknowledging what is written, and that is lost
            // with the rest when it stops.
            self.sync_lost.insert(shard);
            self.lose_loose(Some(shard));
        }
        result
    }

    /// The disk answers nothing for so long. What it was given comes after that, in its order.
    pub(super) fn stall(&mut self, us: u64) {
        let until = self.stalled_until.max(self.now_us + us);
        self.stalled_until = until;
        let held = |(key, event): (&(u64, u64), &Event)| {
            let held = key.0 <= until && matches!(event, Event::Disk { .. });
            held.then_some(*key)
        };
        let held: Vec<(u64, u64)> = self.queue.iter().filter_map(held).collect();
        for key in held {
            if let Some(event) = self.queue.remove(&key) {
                self.at(until, event);
            }
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if self.audit.is_some() || self.ending.has_begun() {
            return;
        }
        self.trace_fault(&fault);
        if fault.at_us >= RETENTION_US {
            self.mark("late-fault");
        }
        match fault.kind {
            FaultKind::Crash if self.broker.is_some() => {
                self.mark("crash");
                self.count_cut();
                self.kill_broker(&mut self.draws_of("crash", fault.value));
            }
            FaultKind::PowerLoss if self.broker.is_some() => {
                self.mark("power-loss");
                self.count_cut();
                let mut draws = self.draws_of("power-loss", fault.value);
                self.kill_broker(&mut draws);
                self.lose_loose(None);
                self.disk.power_loss(&mut draws);
                self.mark_fired();
            }
            FaultKind::Crash | FaultKind::PowerLoss => {}
            FaultKind::BrokenFolder => {
                self.disk.broken = self.disk.some_folder(fault.value);
                let after = 200_000 + (fault.value >> 8) % 1_500_000;
                self.troubles.no_writes(self.now_us, self.now_us + after);
                self.at(self.now_us + after, Event::FolderMended);
            }
            FaultKind::ForeignSegment => self.place_foreign(fault.value),
            FaultKind::Reshard => self.want_other_shards(fault.value),
            FaultKind::CleanStop => self.ask_to_stop(),
            FaultKind::Pause => {
                self.mark("pause");
                self.pause_until(self.now_us + 20_000 + fault.value % 400_000);
            }
            FaultKind::Disconnect => {
                let client = fault.value as usize % self.clients.len();
                self.disconnect(client, fault.value);
            }
            FaultKind::DiskFull => {
                let levels = [0, 0, 2_000, 10_000, 40_000];
                self.disk.room = Some(levels[(fault.value >> 24) as usize % levels.len()]);
                let until = self.now_us + 100_000 + fault.value % 700_000;
                self.troubles.no_writes(self.now_us, until);
                self.at(until, Event::DiskFreed);
            }
            FaultKind::Stall => {
                self.mark("stall");
                let us = match (fault.value >> 20) % 6 {
                    0 => 600_000 + fault.value % 2_000_000,
                    _ => 10_000 + fault.value % 300_000,
                };
                self.stall_until(self.now_us + us);
            }
            FaultKind::SlowDisk => {
                self.mark("slow-disk");
                let until = self.now_us + 50_000 + fault.value % 800_000;
                self.goes_slowly(until, 10 + (fault.value >> 20) % 90);
            }
            FaultKind::BitRot
            | FaultKind::LatentSector
            | FaultKind::SealRot
            | FaultKind::SealLost => self.decay(fault),
            kind => self.disk.arm(kind, fault.value),
        }
    }

    /// A file that was durable is damaged.
    fn decay(&mut self, fault: Fault) {
        let decayed = match fault.kind {
            FaultKind::BitRot => self.disk.rot(".log", fault.value),
            FaultKind::SealRot => self.disk.rot(".seal", fault.value),
            FaultKind::SealLost => self.disk.lose_one(".seal", fault.value),
            _ => self.disk.spoil_sector(fault.value),
        };
        let Some(decayed) = decayed else {
            return;
        };
        let path = &decayed.path;
        self.trace_damage(path);
        self.misread.insert(path.to_string());
        if fault.kind != FaultKind::SealRot {
            self.changed.insert(path.to_string());
        }
        match batches_of(path, &decayed) {
            Some((part, batches)) => batches
                .into_iter()
                .for_each(|range| self.troubles.damage(part, range)),
            None => self.note_damage(path),
        }
        if fault.kind == FaultKind::SealLost {
            self.lost.insert(path.to_string());
        }
        // A sector counts when it is read.
        if fault.kind != FaultKind::LatentSector {
            self.mark(fault.kind.name());
        }
    }

    /// An operation ends. One that a fault made fail is remembered: its shard may halt for it.
    pub(super) fn disk_op(&mut self, shard: usize, op: &DiskOp) {
        if matches!(&op.request, DiskRequest::Read { file, .. } if file.ends_with(".log")) {
            self.mark("cold-read");
        }
        let result = self.run_disk(&op.request);
        let fired = std::mem::take(&mut self.disk.fired);
        if let DiskRequest::Read { file, .. } = &op.request {
            let file = (!fired.is_empty()).then(|| file.to_string());
            self.misread.extend(file);
        }
        if let Some(broker) = self.broker.as_mut().filter(|_| result.is_err()) {
            // A journal that finds no room to grow goes on as it is.
            let full = result == Err(DiskError::NoSpace);
            let grows = matches!(&op.request, DiskRequest::Allocate { file, .. } if file.ends_with(".ring"));
            if !(fired.is_empty() || full && grows) {
                broker.failed.push((shard, op.request.clone()));
            }
        }
        for name in fired {
            self.mark(name);
            self.reaches(name);
        }
        for path in std::mem::take(&mut self.disk.damaged) {
            self.trace_damage(&path);
            self.note_damage(&path);
            self.changed.insert(path);
        }
        self.note_rows(shard, &op.request, &result);
        self.deliver(shard, Input::Disk { op: op.op, result });
    }
}

/// The batches of a segment that its decay has reached, by offsets. The others can be read: each row says
/// where its batch stands. `None` if the file is no segment, or was damaged before.
fn batches_of(path: &str, decayed: &Decayed) -> Option<(Part, Vec<(i64, i64)>)> {
    let part = part_of(path)?;
    let name = path.rsplit_once('/')?.1.strip_suffix(".log")?;
    let (mut next, mut at): (i64, usize) = (name.parse().ok()?, 0);
    let mut reached = Vec::new();
    while at < decayed.before.len() {
        let head = parse_head(&decayed.before[at..]).ok()?;
        if head.base_offset != next {
            return None;
        }
        let end = at + head.size;
        next = head.next_offset();
        if at < decayed.bytes.end && decayed.bytes.start < end {
            reached.push((head.base_offset, next));
        }
        at = end;
    }
    Some((part, reached))
}

/// The shard whose journal this file is.
fn journal_of(file: &str) -> Option<ShardId> {
    let name = file.strip_prefix("journal/shard-")?;
    name.strip_suffix(".ring")?.parse().ok().map(ShardId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::records::record;
    use seedlog_net::records;

    #[test]
    fn decay_reaches_the_batches_that_stand_there_and_no_others() {
        let path = "topics/topic-1-2.00/00000000000000000005.log";
        let (mut before, mut next, mut ends) = (Vec::new(), 5_i64, Vec::new());
        for count in [1, 3, 2] {
            let all: Vec<_> = (0..count).map(|n| record(n, 1, 100)).collect();
            let mut batch = records::build(&all, None).to_vec();
            batch[..8].copy_from_slice(&next.to_be_bytes());
            before.extend(batch);
            next += count as i64;
            ends.push(before.len());
        }
        let reached = |path: &str, before: &[u8], bytes| {
            let decayed = Decayed {
                path: path.into(),
                before: before.to_vec().into(),
                bytes,
            };
            batches_of(path, &decayed)
        };
        let of = |batches: &[(i64, i64)]| Some(((1, 2), batches.to_vec()));
        assert_eq!(reached(path, &before, 0..1), of(&[(5, 6)]));
        assert_eq!(reached(path, &before, ends[0]..ends[1]), of(&[(6, 9)]));
        assert_eq!(
            reached(path, &before, ends[1] - 1..ends[1] + 1),
            of(&[(6, 9), (9, 11)])
        );
        // Who stands behind what was damaged before cannot be told, and a side file has rows of all.
        let mut worse = before.clone();
        worse[ends[0] + 7] ^= 1;
        assert_eq!(reached(path, &worse, 0..1), None);
        assert_eq!(reached(&path.replace("log", "seal"), &before, 0..1), None);
    }
}
