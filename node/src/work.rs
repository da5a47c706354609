//! The threads for CPU jobs: as many as cores, for all shards, as a shard's turn must not wait. Jobs
//! may end in any order; the core puts in order what depends on it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use seedlog_core::contract::Input;
use seedlog_core::ids::ShardId;
use seedlog_core::work::{run, WorkJob, WorkRequest};
use tokio::sync::mpsc::UnboundedSender;

use crate::shard_loop::Event;

/// Threads at most, however many cores there are: the shards need some too.
const THREADS_MAX: usize = 16;

/// Who waits for a job: a shard's producers, or its lookups by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    shard: ShardId,
    lookup: bool,
}

/// Jobs that have not begun: their sources in turn, so that none waits for all jobs of another. How
/// many there are is bounded by the shards, which have only so many under way.
#[derive(Debug, Default)]
struct Waiting {
    turn: VecDeque<Source>,
    jobs: BTreeMap<Source, VecDeque<WorkJob>>,
    over: bool,
}

impl Waiting {
    fn push(&mut self, shard: ShardId, job: WorkJob) {
        let lookup = match job.request {
            WorkRequest::FindTimestamp { .. } => true,
            WorkRequest::CheckBatch { .. } => false,
        };
        let source = Source { shard, lookup };
        let jobs = self.jobs.entry(source).or_default();
        if jobs.is_empty() {
            self.turn.push_back(source);
        }
        jobs.push_back(job);
    }

    fn next(&mut self) -> Option<(ShardId, WorkJob)> {
        let source = self.turn.pop_front()?;
        let jobs = self.jobs.get_mut(&source)?;
        let job = jobs.pop_front()?;
        if !jobs.is_empty() {
            self.turn.push_back(source);
        }
        Some((source.shard, job))
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

impl Queue {
    /// The next job; none once nobody sends any more.
    fn wait(&self) -> Option<(ShardId, WorkJob)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match waiting.next() {
                None if waiting.over => return None,
                None => {
                    let woken = self.more.wait(waiting);
                    waiting = woken.unwrap_or_else(PoisonError::into_inner);
                }
                job => return job,
            }
        }
    }
}

/// Ends the threads once the last shard has dropped its way in.
#[derive(Debug)]
struct WayIn(Arc<Queue>);

impl Drop for WayIn {
    fn drop(&mut self) {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner).over = true;
        self.0.more.notify_all();
    }
}

/// Where shards send their jobs.
#[derive(Clone, Debug)]
pub struct Jobs(Arc<WayIn>);

impl Jobs {
    /// Run a job; its outcome goes to the shard that asks.
    pub fn send(&self, shard: ShardId, job: WorkJob) {
        let queue = &self.0 .0;
        let waiting = queue.waiting.lock();
        waiting
            .unwrap_or_else(PoisonError::into_inner)
            .push(shard, job);
        queue.more.notify_one();
    }
}

/// Start the threads; outcomes go to the shard that asked.
///
/// # Errors
/// If the system gives no thread.
pub fn start(shards: Vec<UnboundedSender<Event>>) -> io::Result<Jobs> {
    let queue = Arc::new(Queue::default());
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    for _ in 0..cores.min(THREADS_MAX) {
        let (queue, shards) = (Arc::clone(&queue), shards.clone());
        let work = move || {
            while let Some((shard, job)) = queue.wait() {
                let result = run(&job.request);
                let done = Event::Input(Input::Work { id: job.id, result });
                // A shard that is gone has taken the process with it.
                let _ = shards[usize::from(shard.0)].send(done);
            }
        };
        thread::Builder::new().name("work".into()).spawn(work)?;
    }
    Ok(Jobs(Arc::new(WayIn(queue))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::batch::{build_batch, parse_head, BatchSpec, TimeBounds};
    use seedlog_core::ids::WorkId;

    fn job(id: u64, lookup: bool) -> WorkJob {
        let batch = build_batch(BatchSpec::plain(5), &[(None, &b"x"[..])]);
        let head = parse_head(&batch).expect("a head");
        let records = batch;
        let request = match lookup {
            true => WorkRequest::FindTimestamp {
                head,
                records,
                from: 0,
                timestamp: 5,
                youngest: false,
            },
            false => WorkRequest::CheckBatch {
                head,
                records,
                bounds: TimeBounds::NONE,
                plain_max: 100,
            },
        };
        WorkJob {
            id: WorkId(id),
            request,
        }
    }

    #[test]
    fn shards_and_kinds_of_jobs_take_turns() {
        let mut waiting = Waiting::default();
        for id in 0..3 {
            waiting.push(ShardId(0), job(id, true));
        }
        waiting.push(ShardId(0), job(3, false));
        waiting.push(ShardId(1), job(4, false));
        waiting.push(ShardId(1), job(5, false));
        let order = std::iter::from_fn(|| waiting.next()).map(|(_, job)| job.id.0);
        assert_eq!(order.collect::<Vec<_>>(), [0, 3, 4, 1, 5, 2]);
    }
}
