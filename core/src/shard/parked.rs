//! Fetches that wait for records. They are many and may wait long, so they have a pool of their own: what
//! they hold must not keep requests out that could be answered now.

use std::collections::BTreeSet;

use super::connections::Conn;
use super::gateway::Kind;
use super::Shard;
use crate::contract::Effects;
use crate::time::Now;

/// Fetches that wait, by the tokens of their calls: the one that came first is the first.
#[derive(Clone, Debug, Default)]
pub(super) struct Parked {
    waiting: BTreeSet<u64>,
    /// Those of them with other calls behind them on their connections.
    ahead: BTreeSet<u64>,
}

impl Parked {
    pub fn contains(&self, token: u64) -> bool {
        self.waiting.contains(&token)
    }

    /// A call was heard on a connection with these open ones.
    pub fn queued_behind(&mut self, open: &BTreeSet<u64>) {
        let parked = open.iter().filter(|token| self.waiting.contains(token));
        self.ahead.extend(parked);
    }
}

impl Shard {
    /// A fetch has too little and waits. Where all that wait hold too much, those that came first answer
    /// with what there is; the last one stays in any case.
    pub(super) fn park(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get(&token) else {
            return;
        };
        let held = call.held;
        if self.conns.get(&call.conn).is_some_and(Conn::has_calls) {
            self.parked.ahead.insert(token);
        }
        if self.parked.waiting.insert(token) {
            self.pools.requests.give(held);
            self.pools.parked.take(held);
        }
        while !self.pools.parked.has_room() && self.parked.waiting.len() > 1 {
            if let Some(first) = self.parked.waiting.first().copied() {
                self.give_way(now, first, out);
            }
        }
        self.let_pass(now, out);
    }

    /// A fetch waits no longer: it is one of the requests again.
    pub(super) fn unpark(&mut self, token: u64) {
        if !self.parked.waiting.remove(&token) {
            return;
        }
        self.parked.ahead.remove(&token);
        if let Some(call) = self.calls.get(&token) {
            self.pools.parked.give(call.held);
            self.pools.requests.take(call.held);
        }
    }

    /// Where a pool of requests is nearly used up, fetches that wait before calls that hold some of it
    /// answer with what there is. Kafka reads no call behind a fetch that waits.
    pub(super) fn let_pass(&mut self, now: Now, out: &mut Effects) {
        let pools = &self.pools;
        let (requests, produces) = (pools.requests.is_pressed(), pools.produces.is_pressed());
        if !(requests || produces) || self.parked.ahead.is_empty() {
            return;
        }
        let holds = |token: &&u64| {
            let call = self.calls.get(token);
            let row = call.and_then(|call| self.conns.get(&call.conn));
            row.is_some_and(|row| {
                requests && row.has_waiting(false) || produces && row.has_waiting(true)
            })
        };
        let ahead: Vec<u64> = self.parked.ahead.iter().filter(holds).copied().collect();
        for token in ahead {
            self.give_way(now, token, out);
        }
    }

    /// A fetch that waits answers with what there is, for the sake of others.
    fn give_way(&mut self, now: Now, token: u64, out: &mut Effects) {
        self.unpark(token);
        self.give_up(now, token, out);
    }

    /// Parked are fetches, and the pool holds what they hold.
    pub(super) fn check_parked(&self) {
        let parked = self.parked.waiting.iter();
        let held: u64 = parked
            .map(|token| {
                let call = &self.calls[token];
                assert!(matches!(call.kind, Kind::Fetch(_)), "{call:?} is parked");
                call.held
            })
            .sum();
        assert_eq!(
            held,
            self.pools.parked.held(),
            "parked bytes are miscounted"
        );
    }
}
