//! The turns of a broker's shards on one thread, as every broker of the tests takes them.

use std::collections::VecDeque;

use seedlog_core::contract::{Config, Effects, Input, Knobs};
use seedlog_core::ids::{NodeId, ShardId, Uuid};
use seedlog_core::limits::Limits;
use seedlog_core::shard::{NeighbourMessage, Shard};
use seedlog_core::time::Now;
use seedlog_core::work::WorkJob;

/// What is to come to which shard.
pub type Inputs = VecDeque<(usize, Input)>;

/// Who has shards, and carries out what they ask for.
pub trait Host {
    /// The shards.
    fn shards(&mut self) -> &mut Vec<Shard>;
    /// What is queued for them.
    fn inputs(&mut self) -> &mut Inputs;
    /// The time of this turn.
    fn now(&self) -> Now;
    /// Do what a turn of this shard asked for; what comes of it is queued.
    fn carry_out(&mut self, shard: usize, out: Effects);

    /// No turn is taken any more.
    fn is_over(&self) -> bool {
        false
    }

    /// Invariants are looked at after every turn, and not only when nothing is queued.
    fn checks_every_turn(&self) -> bool {
        true
    }
}

/// Turns of one input each until nothing is left to do at this time.
pub fn run(host: &mut impl Host) {
    while !host.is_over() {
        let now = host.now();
        let next = host.inputs().pop_front();
        let turns = match &next {
            Some((shard, _)) => *shard..*shard + 1,
            None => 0..host.shards().len(),
        };
        let idle = next.is_none();
        if let Some((shard, input)) = next {
            let mut out = Effects::default();
            host.shards()[shard].handle(now, input, &mut out);
            host.carry_out(shard, out);
        }
        for shard in turns {
            let check = idle || host.checks_every_turn();
            let mut out = Effects::default();
            let turned = &mut host.shards()[shard];
            turned.settle(now, &mut out);
            if check {
                turned.check();
            }
            host.carry_out(shard, out);
        }
        let due = |shard: &Shard| shard.next_deadline().is_some_and(|at| at <= now.mono);
        if idle && host.inputs().is_empty() && !host.shards().iter().any(due) {
            return;
        }
    }
}

/// The CPU jobs of a shard are run, and this comes of them.
pub fn worked(shard: usize, jobs: Vec<WorkJob>) -> impl Iterator<Item = (usize, Input)> {
    jobs.into_iter().map(move |job| {
        let result = seedlog_core::work::run(&job.request);
        (shard, Input::Work { id: job.id, result })
    })
}

/// What a shard tells others reaches them.
pub fn told(
    shard: usize,
    messages: Vec<(ShardId, NeighbourMessage)>,
) -> impl Iterator<Item = (usize, Input)> {
    let from = ShardId(shard as u16);
    let each = messages.into_iter();
    each.map(move |(to, message)| (usize::from(to.0), Input::Neighbour { from, message }))
}

/// The config of a shard, where so many run.
pub fn config(shard: u16, shards: u16) -> Config {
    Config {
        node: NodeId(0),
        cluster_id: Uuid([1; 16]),
        directory_id: Uuid([2; 16]),
        shard: ShardId(shard),
        shards,
        running: shards,
        advertised: None,
        auto_create_topics: true,
        default_partitions: 1,
        limits: Limits::DEFAULT,
        journal_initial_bytes: 1 << 20,
        journal_max_bytes: 4 << 20,
        knobs: Knobs::default(),
    }
}
