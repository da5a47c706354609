//! A few per cent of the seeds: each shard is a madsim task on a madsim node of its own life.
//!
//! The world still owns time, links and disk, but a shard's turn happens when madsim's scheduler
//! picks its task, in an order that nobody wrote. A crash is `Handle::kill`; the runtime then calls
//! [`Lives::reset_node`], and the next life gets a fresh node, so nothing of a dead one ever runs.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use madsim::plugin::{simulator, Simulator};
use madsim::rand::GlobalRng;
use madsim::runtime::{Handle, NodeHandle, Runtime};
use madsim::task::NodeId;
use madsim::time::TimeHandle;

use crate::report::Report;
use crate::world::{Step, World};

/// Our simulator: counts the nodes that were reset.
#[derive(Debug, Default)]
pub struct Lives {
    reset: AtomicU64,
}

impl Simulator for Lives {
    fn new(_: &GlobalRng, _: &TimeHandle, _: &madsim::Config) -> Lives {
        Lives::default()
    }

    fn reset_node(&self, _: NodeId) {
        self.reset.fetch_add(1, Ordering::Relaxed);
    }
}

struct Shared {
    world: World,
    /// Per shard: who waits to take a turn.
    waiting: Vec<Option<Waker>>,
}

type Cell = Arc<Mutex<Shared>>;

fn with<R>(cell: &Cell, act: impl FnOnce(&mut Shared) -> R) -> R {
    act(&mut cell.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A shard's life as a task: wait until a turn is owed, take it.
async fn shard_task(cell: Cell, life: u64, shard: usize) {
    poll_fn(|context| {
        with(&cell, |shared| {
            shared.world.task_turn(life, shard);
            shared.waiting[shard] = Some(context.waker().clone());
            Poll::<()>::Pending
        })
    })
    .await;
}

/// Let whoever is ready run, in the order the scheduler draws.
async fn give_way() {
    let mut gave = false;
    poll_fn(|context| {
        if std::mem::replace(&mut gave, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn begin(cell: &Cell, life: u64) -> NodeHandle {
    let node = Handle::current()
        .create_node()
        .name(format!("broker-life-{life}"))
        .build();
    let shards = with(cell, |shared| {
        shared.waiting = vec![None; shared.world.shards()];
        shared.waiting.len()
    });
    for shard in 0..shards {
        node.spawn(shard_task(cell.clone(), life, shard));
    }
    node
}

/// Run a world with its shards as tasks.
pub fn as_tasks(seed: u64, world: impl FnOnce() -> World) -> Report {
    let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
    runtime.add_simulator::<Lives>();
    runtime.block_on(async move {
        let world = world().with_tasks();
        let cell = Arc::new(Mutex::new(Shared {
            world,
            waiting: Vec::new(),
        }));
        let mut node: Option<(u64, NodeHandle)> = None;
        let mut killed = 0;
        loop {
            let step = with(&cell, |shared| shared.world.step());
            let life = with(&cell, |shared| shared.world.life());
            if node.as_ref().is_some_and(|(known, _)| Some(*known) != life) {
                if let Some((_, gone)) = node.take() {
                    Handle::current().kill(gone.id());
                    killed += 1;
                }
            }
            if let (None, Some(life)) = (&node, life) {
                node = Some((life, begin(&cell, life)));
            }
            with(&cell, |Shared { world, waiting }| {
                let owed = world.owed().filter_map(|shard| waiting[shard].take());
                owed.for_each(Waker::wake);
            });
            match step {
                Step::Over => break,
                Step::Idle => {}
                Step::Passed(time) => madsim::time::advance(Duration::from_micros(time)),
            }
            give_way().await;
        }
        let reset = simulator::<Lives>().reset.load(Ordering::Relaxed);
        with(&cell, |shared| {
            if reset != killed {
                let text = format!("{killed} nodes were killed, {reset} reset");
                shared.world.history.violate("madsim", text);
            }
            shared.world.finish()
        })
    })
}
