//! Faults as they strike.

use seedlog_core::disk::{DiskError, DiskRequest, DiskResult};
use seedlog_core::ids::ShardId;

use super::{path_of, Event, World};
use crate::disk::BadRead;
use crate::history::Part;
use crate::plan::{Choices, Fault, FaultKind};

/// The partition whose file this is.
pub(super) fn part_of(path: &str) -> Option<Part> {
    let folder = path.strip_prefix("topics/topic-")?.split('.').next()?;
    let (topic, index) = folder.split_once('-')?;
    Some((topic.parse().ok()?, index.parse().ok()?))
}

impl World {
    /// Partitions begin to move. Half of the time they are interrupted.
    pub(super) fn resharding(&mut self) {
        self.mark("reshard");
        let mut cut = Choices::new(self.plan.seed, "reshard-cut", self.life);
        if cut.chance(1, 2) {
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

    /// Always another number, from 1 to 4. The fault has fired when partitions move.
    fn want_other_shards(&mut self, value: u64) {
        self.wanted_before = self.wanted;
        self.wanted = (self.wanted + (value % 3) as u16) % 4 + 1;
        self.stop_broker();
    }

    /// Partitions were moving: half of the time the next start wants as many shards as before.
    fn count_cut(&mut self) {
        if self.broker.as_ref().is_some_and(|broker| broker.moving) {
            self.mark("reshard-cut");
            let mut back = Choices::new(self.plan.seed, "reshard-back", self.life);
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

    pub(super) fn fault(&mut self, fault: Fault) {
        if self.audit.is_some() {
            return;
        }
        self.trace_fault(&fault);
        match fault.kind {
            FaultKind::Crash if self.broker.is_some() => {
                self.mark("crash");
                self.count_cut();
                self.stop_broker();
            }
            FaultKind::PowerLoss if self.broker.is_some() => {
                self.mark("power-loss");
                self.count_cut();
                self.stop_broker();
                self.lose_loose(None);
                let mut cut = Choices::new(fault.value, "cut", self.plan.seed);
                self.disk.power_loss(&mut cut);
                for name in std::mem::take(&mut self.disk.fired) {
                    self.mark(name);
                }
            }
            FaultKind::Crash | FaultKind::PowerLoss => {}
            FaultKind::BrokenFolder => {
                self.disk.broken = self.disk.some_folder(fault.value);
                let after = 200_000 + (fault.value >> 8) % 1_500_000;
                self.at(self.now_us + after, Event::FolderMended);
            }
            FaultKind::Reshard => self.want_other_shards(fault.value),
            FaultKind::CleanStop => self.ask_to_stop(),
            FaultKind::Pause => {
                self.mark("pause");
                self.paused_until = self.now_us + 20_000 + fault.value % 400_000;
            }
            FaultKind::Disconnect => {
                self.mark("disconnect");
                let client = fault.value as usize % self.clients.len();
                self.lose_connection(client);
            }
            FaultKind::WriteError => self.disk.fail_write = Some(DiskError::Io),
            FaultKind::ShortWrite => self.disk.fail_write = Some(DiskError::Short(0)),
            FaultKind::SyncError => self.disk.fail_sync = true,
            FaultKind::DiskFull => {
                self.disk.full = true;
                self.at(
                    self.now_us + 100_000 + fault.value % 700_000,
                    Event::DiskFreed,
                );
            }
            FaultKind::Stall => {
                self.mark("stall");
                self.stalled_until = self.now_us + 10_000 + fault.value % 300_000;
            }
            FaultKind::BitRot => {
                if let Some(path) = self.disk.rot(fault.value) {
                    self.saw_damage(&path);
                    self.mark("bit-rot");
                }
            }
            FaultKind::LatentSector => {
                let path = self.disk.spoil_sector(fault.value);
                path.iter().for_each(|path| self.saw_damage(path));
            }
            FaultKind::MisdirectedWrite => self.disk.misdirect = true,
            FaultKind::BootReadError => self.disk.bad_boot_read = true,
            FaultKind::ReadError => self.disk.bad_read = Some(BadRead::Error),
            FaultKind::ShortRead => self.disk.bad_read = Some(BadRead::Short),
            FaultKind::MisdirectedRead => self.disk.bad_read = Some(BadRead::Misdirected),
        }
    }
}

/// The shard whose journal this file is.
fn journal_of(file: &str) -> Option<ShardId> {
    let name = file.strip_prefix("journal/shard-")?;
    name.strip_suffix(".ring")?.parse().ok().map(ShardId)
}
