//! A Fetch is answered as soon as there is enough for it: when it is begun, when the high watermarks of its
//! partitions pass so many bytes as it waits for, or when one is removed (`DelayedFetch.scala`). A broker
//! that does not wake it answers at `max_wait_ms`, which clients only notice as slowness.

use std::collections::BTreeMap;

use seedlog_core::api::{FetchRequest, FetchResponse, PartitionFetched, Request, Response};
use seedlog_core::batch::parse_head;
use seedlog_core::contract::Input;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{CallId, ConnId, PartitionId};
use seedlog_core::shard::Shard;

use super::faults::part_of;
use super::{World, SLOWEST_US};
use crate::check::history::Part;

/// An answer that nothing holds up comes within so long, microseconds: a Fetch of many partitions reads
/// several segments one after another, each in a disk's 2 ms, and a shard has others to serve.
const WITHIN_US: u64 = 60_000;

/// Fetches that are not answered yet, and what may have held up each.
#[derive(Clone, Debug, Default)]
pub(super) struct Prompt {
    /// When a shard was given each, and what it asks for.
    open: BTreeMap<(ConnId, CallId), (u64, FetchRequest)>,
    /// When a connection's last answer went out, or its socket last took something: its calls wait for
    /// each other, and for that.
    moved: BTreeMap<ConnId, u64>,
    /// When a shard last had no room for answers: calls wait for that as well.
    full: BTreeMap<usize, u64>,
}

impl Prompt {
    /// A shard is given this.
    pub fn given(&mut self, now_us: u64, input: &Input) {
        match input {
            Input::Client {
                conn,
                call,
                request: Request::Fetch(request),
                ..
            } => {
                self.open.insert((*conn, *call), (now_us, request.clone()));
            }
            Input::Sent { conn, .. } => {
                self.moved.insert(*conn, now_us);
            }
            Input::Hangup { conn } => self.gone(*conn),
            _ => {}
        }
    }

    /// A shard's turn begins or is over.
    pub fn look(&mut self, now_us: u64, number: usize, shard: &Shard) {
        let pools = shard.pools();
        let replies = pools.replies.spare() > 0 && pools.large_replies.has_room();
        if pools.fetches.spare() == 0 || !replies {
            self.full.insert(number, now_us);
        }
    }

    fn gone(&mut self, conn: ConnId) {
        self.moved.remove(&conn);
        let calls = (conn, CallId(0))..=(conn, CallId(u64::MAX));
        let open: Vec<_> = self.open.range(calls).map(|(call, _)| *call).collect();
        open.iter().for_each(|call| drop(self.open.remove(call)));
    }

    /// The broker is gone, and its connections with it.
    pub fn clear(&mut self) {
        *self = Prompt::default();
    }

    /// An answer goes out: since when it could have been begun, and what was asked, if it is a Fetch's.
    fn answered(
        &mut self,
        now_us: u64,
        (shard, conn, call): (usize, ConnId, CallId),
    ) -> Option<(u64, FetchRequest)> {
        let before = self.moved.insert(conn, now_us).unwrap_or(0);
        let (given, request) = self.open.remove(&(conn, call))?;
        let full = self.full.get(&shard).copied().unwrap_or(0);
        Some((given.max(before).max(full), request))
    }
}

/// The partitions that were asked for, and from which offset on.
fn asked<'a>(
    request: &'a FetchRequest,
    response: &'a FetchResponse,
) -> impl Iterator<Item = (PartitionId, i64)> + 'a {
    let topics = request.topics.iter().zip(&response.topics);
    topics.flat_map(|(asked, (topic, _))| {
        asked.partitions.iter().map(|part| {
            let id = PartitionId {
                topic: topic.id,
                index: part.index as u32,
            };
            (id, part.fetch_offset)
        })
    })
}

/// Partitions asked for by name that are not there.
fn unknown<'a>(
    request: &'a FetchRequest,
    response: &'a FetchResponse,
) -> impl Iterator<Item = Part> + 'a {
    let topics = request.topics.iter().zip(&response.topics);
    topics.flat_map(|(asked, (_, told))| {
        let unknown = |one: &&PartitionFetched| one.error == ErrorCode::UnknownTopicOrPartition;
        let parts = told.iter().filter(unknown);
        parts.filter_map(|one| part_of(&format!("topics/{}-{}.", asked.topic.name, one.index)))
    })
}

/// Where each batch of an answer begins, and its bytes.
fn batches(response: &FetchResponse) -> impl Iterator<Item = (PartitionId, i64, u64)> + '_ {
    let parts = response.topics.iter().flat_map(|(topic, parts)| {
        let of = |index| PartitionId {
            topic: topic.id,
            index,
        };
        parts.iter().map(move |part| (of(part.index as u32), part))
    });
    parts.flat_map(|(id, part)| {
        let bytes = part.records.concat();
        let mut at = 0;
        std::iter::from_fn(move || {
            let head = parse_head(bytes.get(at..)?).ok()?;
            at += head.size;
            Some((id, head.base_offset, head.size as u64))
        })
    })
}

/// When the first of these sums to as much: each came at a time, and has some bytes.
fn reached(mut came: Vec<(u64, u64)>, least: u64) -> Option<u64> {
    came.sort_unstable();
    let mut sum = 0;
    came.into_iter().find_map(|(at, bytes)| {
        sum += bytes;
        (sum >= least).then_some(at)
    })
}

impl World {
    /// When the records of an answer had become as many as the client waits for. None if they are fewer,
    /// or it is not known since when they could be read.
    fn enough_at(&self, response: &FetchResponse, least: u64, begun: u64) -> Option<u64> {
        let came = batches(response).map(|(id, base, bytes)| {
            let at = self.monitor.visible(id, base, begun)?;
            Some((at, bytes))
        });
        reached(came.collect::<Option<Vec<_>>>()?, least)
    }

    /// An answer goes out: it is no later than it may be.
    pub(super) fn judge_promptness(
        &mut self,
        shard: usize,
        (conn, call): (ConnId, CallId),
        response: &Response,
    ) {
        let now = self.now_us;
        let found = self.prompt.answered(now, (shard, conn, call));
        let (Some((begun, request)), Response::Fetch(response)) = (found, response) else {
            return;
        };
        if self.is_stopping() || self.starts_since.is_some() || response.error != ErrorCode::None {
            return;
        }
        let visible = match request.min_bytes > 1 {
            false => asked(&request, response)
                .filter_map(|(id, offset)| self.monitor.visible(id, offset, begun))
                .min(),
            true => self.enough_at(response, request.min_bytes as u64, begun),
        };
        let removed = unknown(&request, response)
            .filter_map(|part| self.monitor.removed(part).filter(|at| *at > begun));
        let Some(since) = removed.chain(visible).min() else {
            return;
        };
        // What a slow disk was given takes its time after that as well.
        let (slow_until, times) = self.slow;
        if since < slow_until + SLOWEST_US * times {
            return;
        }
        let stood = self.troubles.idle_us(now) - self.troubles.idle_us(since);
        let late = (now - since).saturating_sub(stood);
        if since > begun {
            self.mark("woken-in-time");
            if request.min_bytes > 1 {
                self.mark("woken-for-enough");
            }
        }
        if late > WITHIN_US {
            let text = format!("{call:?} of {conn:?}: {} ms, {request:?}", late / 1000);
            self.history.violate("late-fetch", text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::ops::fetch_request;

    #[test]
    fn enough_is_there_when_the_last_batch_that_counts_came() {
        let came = || vec![(30, 100), (10, 50), (20, 60)];
        for (least, at) in [(1, 10), (50, 10), (51, 20), (110, 20), (111, 30), (210, 30)] {
            assert_eq!(reached(came(), least), Some(at), "{least}");
        }
        assert_eq!(reached(came(), 211), None);
    }

    #[test]
    fn a_fetch_is_begun_when_nothing_before_it_is_left() {
        let mut prompt = Prompt::default();
        let (conn, shard) = (ConnId(7), 1);
        let given = |call| Input::Client {
            conn,
            call: CallId(call),
            request: Request::Fetch(fetch_request((0, 0), 5, 200)),
            held: 100,
        };
        (1..=4).for_each(|call| prompt.given(10 * call, &given(call)));
        let begun = |prompt: &mut Prompt, now, call| {
            let found = prompt.answered(now, (shard, conn, CallId(call)));
            found.map(|(begun, _)| begun)
        };
        assert_eq!(begun(&mut prompt, 50, 1), Some(10));
        assert_eq!(begun(&mut prompt, 90, 2), Some(50), "behind the first");
        prompt.given(95, &Input::Sent { conn, bytes: 1 });
        assert_eq!(begun(&mut prompt, 99, 3), Some(95), "and behind its socket");
        prompt.full.insert(shard, 120);
        assert_eq!(
            begun(&mut prompt, 130, 4),
            Some(120),
            "and where there is room"
        );
        assert_eq!(begun(&mut prompt, 140, 5), None, "it was given none");
        prompt.given(150, &given(6));
        prompt.given(160, &Input::Hangup { conn });
        assert_eq!(begun(&mut prompt, 170, 6), None);
    }
}
