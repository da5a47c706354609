//! The broker's lives: start, stop, and what its disk does when it dies.

use std::collections::{BTreeMap, VecDeque};

use seedlog_core::contract::{Config, Effects, Knobs};
use seedlog_core::disk::{DiskDone, DiskRequest};
use seedlog_core::ids::{NodeId, ShardId, Uuid};
use seedlog_core::limits::Limits;
use seedlog_core::shard::{self, Shard};

use super::{Broker, Event, World};
use crate::disk::SimDisk;
use crate::plan::{Choices, Plan};
use crate::trace::stray::{self, Stray};
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
        let running = shards_to_run(self.wanted, &mut self.disk);
        let count = usize::from(running);
        let mut seeds = Choices::new(self.plan.seed, "incarnation", self.life);
        self.broker = Some(Broker {
            shards: Vec::new(),
            inboxes: vec![VecDeque::new(); count],
            scheduled: vec![false; count],
            timers: vec![u64::MAX; count],
            conns: BTreeMap::new(),
            excused: false,
            moving: false,
            over: 0,
            stopping: false,
            served: false,
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

    pub(super) fn stop_broker(&mut self) {
        if self.broker.take().is_none() {
            return;
        }
        self.trace
            .event(Actor::Broker, Kind::Stop, self.life, || "gone".to_string());
        self.life += 1;
        self.owed.clear();
        self.end_disk_ops();
        let mut clients: Vec<usize> = (0..self.clients.len()).collect();
        if self.traced.stray == Some(Stray::HashOrder) {
            clients = stray::by_hash(clients);
        }
        for client in clients {
            self.lose_connection(client);
        }
        for shard in std::mem::take(&mut self.sync_lost) {
            self.lose_loose(Some(shard));
        }
        let after = self.choices.between(10_000, 200_000);
        self.at(self.now_us + after, Event::Restart);
    }

    /// The process is gone: the kernel ends what it was given, or was not given it any more, before
    /// another process can open the folder.
    pub(super) fn end_disk_ops(&mut self) {
        let open = |event: &Event| matches!(event, Event::Disk { .. });
        let keys: Vec<(u64, u64)> = self
            .queue
            .iter()
            .filter(|(_, event)| open(event))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let Some(Event::Disk { op, .. }) = self.queue.remove(&key) else {
                continue;
            };
            let reads = matches!(
                op.request,
                DiskRequest::Read { .. } | DiskRequest::List { .. }
            );
            if !reads && self.choices.chance(1, 2) {
                let _ = self.run_disk(&op.request);
            }
        }
    }
}

/// What retention by time may not remove yet: `retention.ms` less `segment.ms`, as a record may stand
/// in a segment begun so long before it.
pub(super) const YOUNG_MS: i64 = 3000;

/// Retention of topic number `topic` goes by time; the first one's goes by size in odd seeds.
pub(super) fn retains_by_time(seed: u64, topic: usize) -> bool {
    topic == 0 && seed.is_multiple_of(2)
}

/// The configs of topic number `topic`: the first has retention, by size or by time; the third, where
/// there is one, opted out of syncing: in even seeds so far that a cut takes much, in odd ones so little
/// that `flush.messages` is reached before another block syncs.
pub(super) fn configs(plan: &Plan, topic: usize) -> Vec<(String, Option<String>)> {
    let configs: &[(&str, &str)] = match topic {
        0 if retains_by_time(plan.seed, topic) => {
            &[("retention.ms", "4000"), ("segment.ms", "1000")]
        }
        0 => &[("retention.bytes", "40000")],
        _ if plan.loose_topic() == Some(topic) => match plan.seed % 2 {
            0 => &[("flush.messages", "20"), ("flush.ms", "300")],
            _ => &[("flush.messages", "5"), ("flush.ms", "300")],
        },
        _ => &[],
    };
    let segments = [("internal.segment.bytes", "12000")];
    let all = segments.iter().chain(configs);
    all.map(|(name, value)| (name.to_string(), Some(value.to_string())))
        .collect()
}

/// Shards to run on this disk where so many are wanted.
pub(super) fn shards_to_run(wanted: u16, disk: &mut SimDisk) -> u16 {
    let dir = "journal".into();
    match disk.run(&DiskRequest::List { dir }) {
        Ok(DiskDone::Listing(files)) => {
            shard::shards_to_run(wanted, files.iter().map(|(name, _)| &name[..]))
        }
        _ => wanted,
    }
}

/// What clients may make a simulated shard hold: small, so that it is used up.
pub(super) const LIMITS: Limits = Limits {
    request_max_bytes: 1 << 20,
    produce_bytes: 1 << 20,
    request_bytes: 1 << 20,
    frame_bytes: 1 << 20,
    fetch_bytes: 64 << 20,
    reply_bytes: 1 << 20,
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
