//! Compressed batches on their way into the log: a CPU job looks into each of them first, as Kafka does,
//! and meanwhile later batches of the same partition wait behind it.
//!
//! Two lanes. Nearly all batches hold no more than some times what they weigh, and are looked into at
//! once, partitions in turn. One that turns out to hold more is looked into again, up to
//! [`PLAIN_BATCH_MAX`], and of those only one at a time: so a client that sends batches of zeroes,
//! packed a thousand to one, costs others no more than other clients do.

use std::collections::{BTreeMap, VecDeque};

use super::produce::Batch;
use crate::batch::{BatchHead, TimeBounds, HEAD_LEN};
use crate::contract::Effects;
use crate::error_code::ErrorCode;
use crate::ids::{PartitionId, WorkId};
use crate::partition::{Admitted, AppendError};
use crate::work::{WorkJob, WorkRequest, PLAIN_BATCH_MAX};

/// Batches that are looked into at once, in each lane.
const LIGHT_MAX: usize = 8;
const HEAVY_MAX: usize = 1;
/// A batch in the light lane may hold so many times its size, and so much more: text and JSON of many
/// records are packed ten to twenty times. The work is in proportion to what a client sent: 250 KB out
/// of each of many batches of 350 bytes kept others waiting for seconds.
const LIGHT_GROWTH: u64 = 32;
const LIGHT_BYTES: u64 = 16 << 10;

/// Which of the two a batch is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Light,
    Heavy,
}

/// A batch in the queue of its partition.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    batch: Batch,
    /// What must be looked into yet: its head, and the times that its records may have.
    to_check: Option<(BatchHead, TimeBounds)>,
}

impl Arrival {
    /// `to_check`: a compressed batch's head, and the times that its records may have.
    pub fn new(batch: Batch, to_check: Option<(BatchHead, TimeBounds)>) -> Arrival {
        Arrival { batch, to_check }
    }
}

/// Batches of one partition in the order they came.
#[derive(Clone, Debug, Default)]
struct Queue {
    /// Number of the first of them.
    first: u64,
    arrivals: VecDeque<Arrival>,
}

impl Queue {
    fn get(&mut self, number: u64) -> Option<&mut Arrival> {
        let index = number.checked_sub(self.first)?;
        self.arrivals.get_mut(usize::try_from(index).ok()?)
    }
}

/// Batches that wait to be looked into: partitions in turn, and of each the first that came.
#[derive(Clone, Debug, Default)]
struct Lane {
    turn: VecDeque<PartitionId>,
    waiting: BTreeMap<PartitionId, VecDeque<u64>>,
    running: usize,
}

impl Lane {
    fn push(&mut self, id: PartitionId, number: u64) {
        let waiting = self.waiting.entry(id).or_default();
        if waiting.is_empty() {
            self.turn.push_back(id);
        }
        waiting.push_back(number);
    }

    fn next(&mut self) -> Option<(PartitionId, u64)> {
        let id = self.turn.pop_front()?;
        let waiting = self.waiting.get_mut(&id)?;
        let number = waiting.pop_front()?;
        match waiting.is_empty() {
            true => drop(self.waiting.remove(&id)),
            false => self.turn.push_back(id),
        }
        Some((id, number))
    }
}

/// The queues of a shard's partitions, and the jobs that look into what is in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Intake {
    queues: BTreeMap<PartitionId, Queue>,
    light: Lane,
    heavy: Lane,
    jobs: BTreeMap<WorkId, (PartitionId, u64, Weight)>,
}

impl Intake {
    /// Batches of this partition wait.
    pub fn holds(&self, id: PartitionId) -> bool {
        self.queues.contains_key(&id)
    }

    /// One more, behind the others of its partition.
    pub fn push(&mut self, arrival: Arrival) {
        let id = arrival.batch.id;
        let queue = self.queues.entry(id).or_default();
        if arrival.to_check.is_some() {
            self.light
                .push(id, queue.first + queue.arrivals.len() as u64);
        }
        queue.arrivals.push_back(arrival);
    }

    fn lane(&mut self, weight: Weight) -> (&mut Lane, usize) {
        match weight {
            Weight::Light => (&mut self.light, LIGHT_MAX),
            Weight::Heavy => (&mut self.heavy, HEAVY_MAX),
        }
    }

    /// Start the jobs that may start; `next_work` names the next one.
    pub fn start(&mut self, next_work: &mut u64, out: &mut Effects) {
        for weight in [Weight::Light, Weight::Heavy] {
            loop {
                let (lane, most) = self.lane(weight);
                if lane.running >= most {
                    break;
                }
                let Some((id, number)) = lane.next() else {
                    break;
                };
                lane.running += 1;
                let work = WorkId(*next_work);
                *next_work += 1;
                self.jobs.insert(work, (id, number, weight));
                let request = self.request(id, number, weight);
                out.work
                    .extend(request.map(|request| WorkJob { id: work, request }));
            }
        }
    }

    fn request(&mut self, id: PartitionId, number: u64, weight: Weight) -> Option<WorkRequest> {
        let arrival = self.queues.get_mut(&id)?.get(number)?;
        let (head, bounds) = arrival.to_check?;
        Some(WorkRequest::CheckBatch {
            head,
            records: arrival.batch.records.slice(HEAD_LEN..),
            bounds,
            plain_max: plain_max(&head, weight),
        })
    }

    /// A job is done; `judge` says what came of it, or nothing if the batch holds more than was let
    /// out. Returns the partition, if the job is one of these.
    pub fn checked(
        &mut self,
        work: WorkId,
        judge: impl FnOnce(BatchHead, TimeBounds) -> Option<Result<Admitted, AppendError>>,
    ) -> Option<PartitionId> {
        let (id, number, weight) = self.jobs.remove(&work)?;
        self.lane(weight).0.running -= 1;
        let arrival = self.queues.get_mut(&id)?.get(number)?;
        let (head, bounds) = arrival.to_check?;
        let judged = judge(head, bounds);
        if judged.is_none() && plain_max(&head, weight) < PLAIN_BATCH_MAX {
            self.heavy.push(id, number);
            return Some(id);
        }
        arrival.to_check = None;
        arrival.batch.admitted = Some(judged.unwrap_or_else(|| Err(too_large())));
        Some(id)
    }

    /// Take the partition's first batch, if nothing of it must be looked into any more.
    pub fn pop(&mut self, id: PartitionId) -> Option<Batch> {
        let queue = self.queues.get_mut(&id)?;
        let ready = |arrival: &Arrival| arrival.to_check.is_none();
        let arrival = match queue.arrivals.front().is_some_and(ready) {
            true => queue.arrivals.pop_front()?,
            false => return None,
        };
        queue.first += 1;
        if queue.arrivals.is_empty() {
            self.queues.remove(&id);
        }
        Some(arrival.batch)
    }

    /// Panics if an invariant is broken: a batch waits for something that never comes.
    pub fn check(&self) {
        let running = self.light.running + self.heavy.running;
        assert_eq!(running, self.jobs.len(), "batch checks are miscounted");
        for (id, queue) in &self.queues {
            let front = queue.arrivals.front();
            let held = front.is_some_and(|arrival| arrival.to_check.is_some());
            assert!(held, "{id:?}: nothing holds the first batch up");
        }
        let waiting = |lane: &Lane| lane.waiting.values().map(VecDeque::len).sum::<usize>();
        let unchecked = self.queues.values().flat_map(|queue| &queue.arrivals);
        let unchecked = unchecked.filter(|arrival| arrival.to_check.is_some());
        let started = waiting(&self.light) + waiting(&self.heavy) + running;
        assert_eq!(
            started,
            unchecked.count(),
            "a batch is looked into by nobody"
        );
    }
}

fn too_large() -> AppendError {
    let text = "the batch holds too much once it is decompressed";
    AppendError::of_request(ErrorCode::MessageTooLarge, text)
}

/// Bytes that may come out of a batch in this lane.
fn plain_max(head: &BatchHead, weight: Weight) -> u64 {
    match weight {
        Weight::Light => {
            let size = (head.size as u64).saturating_mul(LIGHT_GROWTH);
            size.saturating_add(LIGHT_BYTES).min(PLAIN_BATCH_MAX)
        }
        Weight::Heavy => PLAIN_BATCH_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, parse_head, BatchSpec};
    use crate::ids::Uuid;

    fn partition(index: u32) -> PartitionId {
        let topic = Uuid([7; 16]);
        PartitionId { topic, index }
    }

    fn push(intake: &mut Intake, index: u32) {
        let records = build_batch(BatchSpec::plain(7), &[(None, b"a")]);
        let head = parse_head(&records).expect("a head");
        let batch = Batch {
            ask: 0,
            slot: 0,
            id: partition(index),
            records,
            admitted: None,
        };
        intake.push(Arrival::new(batch, Some((head, TimeBounds::NONE))));
    }

    /// The jobs that start: partition, and whether the batch may hold as much as any.
    fn start(intake: &mut Intake, next: &mut u64) -> Vec<(WorkId, u32, bool)> {
        let mut out = Effects::default();
        intake.start(next, &mut out);
        intake.check();
        let row = |job: WorkJob| match job.request {
            WorkRequest::CheckBatch { plain_max, .. } => {
                let (of, ..) = intake.jobs[&job.id];
                (job.id, of.index, plain_max == PLAIN_BATCH_MAX)
            }
            other => panic!("{other:?}"),
        };
        out.work.into_iter().map(row).collect()
    }

    #[test]
    fn partitions_take_turns() {
        let (mut intake, mut next) = (Intake::default(), 0);
        (0..20).for_each(|_| push(&mut intake, 0));
        (0..3).for_each(|_| push(&mut intake, 1));
        let begun = start(&mut intake, &mut next);
        let turns: Vec<u32> = begun.iter().map(|(_, index, _)| *index).collect();
        assert_eq!(turns, [0, 1, 0, 1, 0, 1, 0, 0]);
        assert!(start(&mut intake, &mut next).is_empty(), "eight at once");
    }

    #[test]
    fn of_batches_that_hold_much_one_is_looked_into_at_a_time_and_others_go_on() {
        let (mut intake, mut next) = (Intake::default(), 0);
        (0..3).for_each(|index| push(&mut intake, index));
        for (work, index, heavy) in start(&mut intake, &mut next) {
            assert!(!heavy, "{index}");
            assert_eq!(intake.checked(work, |_, _| None), Some(partition(index)));
            assert!(intake.pop(partition(index)).is_none(), "it is not judged");
        }
        let mut running = start(&mut intake, &mut next);
        for index in 0..3 {
            push(&mut intake, 9);
            running.extend(start(&mut intake, &mut next));
            let light = running.pop().expect("a job");
            assert_eq!((light.1, light.2), (9, false));
            intake.checked(light.0, |_, _| Some(Err(too_large())));
            assert!(intake.pop(partition(9)).is_some());
            assert_eq!(running.len(), 1, "one of those that hold much");
            let (work, of, heavy) = running.remove(0);
            assert_eq!((of, heavy), (index, true));
            // It holds more than any batch may: that is said, and not tried again.
            assert_eq!(intake.checked(work, |_, _| None), Some(partition(index)));
            let batch = intake.pop(partition(index)).expect("judged");
            assert_eq!(batch.admitted, Some(Err(too_large())));
            running = start(&mut intake, &mut next);
        }
        assert!(running.is_empty());
    }
}
