//! The broker's lives: start, stop, and what its disk does when it dies.

use std::collections::{BTreeMap, VecDeque};

use seedlog_core::contract::{Config, Effects, Knobs};
use seedlog_core::disk::DiskRequest;
use seedlog_core::ids::{NodeId, ShardId, Uuid};
use seedlog_core::limits::Limits;
use seedlog_core::shard::{self, Shard};

use super::{Broker, Event, World};
use crate::disk::SimDisk;
use crate::draws::Draws;
use crate::plan::Choices;
use crate::trace::{Actor, Kind};

impl World {
    pub(super) fn start_broker(&mut self) {
        if self.broker.is_some() {
            return;
        }
        self.life += 1;
        let life = self.life;
        self.trace
            .event(Actor::Broker, Kind::Start, (life, &self.disk), || {
                format!("life {life} starts")
            });
        self.history.life = self.life;
        self.starts_since = Some(self.now_us);
        self.troubles.process_starts();
        let running = shards_to_run(self.wanted, &self.disk);
        let count = usize::from(running);
        let mut seeds = Choices::new(self.plan.seed, "incarnation", self.life);
        self.broker = Some(Broker {
            shards: Vec::new(),
            inboxes: vec![VecDeque::new(); count],
            scheduled: vec![false; count],
            full: vec![false; count],
            timers: vec![u64::MAX; count],
            conns: BTreeMap::new(),
            lent: vec![None; count],
            failed: Vec::new(),
            rows_given: Vec::new(),
            moving: false,
            over: 0,
            stopping: false,
            served: false,
            asked_us: 0,
        });
        for shard in 0..count {
            let config = config((self.wanted, running), shard as u16, self.knobs);
            let mut out = Effects::default();
            let booted = Shard::boot(config, seeds.seed(), self.now(), &mut out);
            if let Some(broker) = &mut self.broker {
                broker.shards.push(booted);
            }
            self.carry_out(shard, out);
        }
    }

    /// The broker's process ends of itself.
    pub(super) fn stop_broker(&mut self) {
        self.kill_broker(&mut self.draws_of("stop", self.life));
    }

    /// The broker's process is no more. What became of the disk operations it had under way is drawn.
    pub(super) fn kill_broker(&mut self, draws: &mut Draws) {
        if self.broker.take().is_none() {
            return;
        }
        let open = self.disk_ops();
        self.disk.abandon(&open, draws);
        self.mark_fired();
        self.trace
            .event(Actor::Broker, Kind::Stop, self.life, || "gone".to_string());
        self.prompt.clear();
        self.monitor.forget_hosts();
        self.life += 1;
        self.history.life = self.life;
        self.starts_since = None;
        self.owed.clear();
        self.queue
            .retain(|_, event| !matches!(event, Event::Disk { .. }));
        for client in 0..self.clients.len() {
            self.lose_connection(client);
        }
        for shard in std::mem::take(&mut self.sync_lost) {
            self.lose_loose(Some(shard));
        }
        let after = self.draws.of("restart", 0).between(10_000, 200_000);
        self.at(self.now_us + after, Event::Restart);
    }

    /// The disk operations under way, in the order asked for as far as they are of one file.
    fn disk_ops(&self) -> Vec<DiskRequest> {
        let open = |event: &Event| match event {
            Event::Disk { life, op, .. } if *life == self.life => Some(op.request.clone()),
            _ => None,
        };
        self.queue.values().filter_map(open).collect()
    }

    /// The disk as another process would find it if this one died now, with the power if `cut`.
    pub(super) fn fork_disk(&self, draws: &mut Draws, cut: bool) -> SimDisk {
        let mut disk = self.disk.clone();
        disk.abandon(&self.disk_ops(), draws);
        disk.heal();
        if cut {
            disk.power_loss(draws);
        }
        disk
    }
}

/// Shards to run on this disk where so many are wanted.
pub(super) fn shards_to_run(wanted: u16, disk: &SimDisk) -> u16 {
    let files = disk.list("journal");
    shard::shards_to_run(wanted, files.iter().map(|(name, _)| &name[..]))
}

/// What clients may make a simulated shard hold: so little that it is used up.
pub(super) const LIMITS: Limits = Limits {
    request_max_bytes: 1 << 20,
    produce_bytes: 8 << 10,
    request_bytes: 1 << 10,
    parked_bytes: 2 << 10,
    frame_bytes: 8 << 10,
    fetch_bytes: 256 << 10,
    reply_bytes: 32 << 10,
    small_answer_bytes: 512,
    pressed_pace_bytes: 32,
    unsent_per_connection: 24 << 10,
    ..Limits::DEFAULT
};

/// The same for the copies that are read by the oracle alone, everything at once.
pub(super) const ORACLE_LIMITS: Limits = Limits {
    fetch_bytes: 64 << 20,
    ..Limits::DEFAULT
};

/// The config of a simulated shard; so many shards are wanted, and run.
pub fn config((shards, running): (u16, u16), shard: u16, knobs: Knobs) -> Config {
    Config {
        node: NodeId(0),
        cluster_id: Uuid([1; 16]),
        directory_id: Uuid([2; 16]),
        shard: ShardId(shard),
        shards,
        running,
        advertised: None,
        auto_create_topics: false,
        default_partitions: 1,
        limits: LIMITS,
        journal_initial_bytes: 128 << 10,
        journal_max_bytes: 256 << 10,
        knobs,
    }
}
