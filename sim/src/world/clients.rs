//! The links between clients and broker, and what clients do next.

use bytes::Bytes;
use seedlog_core::contract::{CloseReason, Input};
use seedlog_core::ids::ConnId;
use seedlog_net::server::Connection as Server;

use super::broker::LIMITS;
use super::links::Link;
use super::{Event, World, STRAY_FROM_US};
use crate::draws;
use crate::load::answered::Moment;
use crate::load::client::{Client, Silent, Waiting};
use crate::load::hello::Hello;
use crate::load::ops::{Known, Op};
use crate::load::Role;
use crate::plan::Plan;
use crate::trace::stray::{self, Stray};
use crate::trace::{words, Actor, Kind};

/// A request is answered within this time, microseconds, if nothing explains more.
pub(super) const ANSWERED_WITHIN_US: u64 = 1_500_000;

/// The clients of a plan, and one more that keeps topics of its own.
pub(super) fn of(plan: &Plan) -> Vec<Client> {
    let client = |number| {
        let role = Role::of(number, plan.clients);
        let operations = match role {
            Role::Keeper => plan.operations / 2,
            _ => plan.operations,
        };
        Client::new(plan, number as u64, role, operations)
    };
    (0..=plan.clients).map(client).collect()
}

/// A shard hears within so long, microseconds, what a socket has taken.
const TOLD_US: u64 = 1_000;

/// A shorter stop of the process is none to a shard, microseconds.
const AWAY_US: u64 = 100_000;

impl World {
    pub(super) fn at_client(&mut self, number: usize, conn: ConnId, bytes: Bytes) {
        (self.history.now_ms, self.history.now_us) = (self.now().wall_ms, self.now_us);
        let client = &mut self.clients[number];
        if client.conn != Some(conn) {
            return;
        }
        let mut bytes = bytes;
        if let Some(hello) = &mut client.hello {
            let Some((right, rest)) = hello.take(&bytes) else {
                return;
            };
            bytes = rest;
            client.hello = None;
            self.history.mark("hello");
            if !right {
                let text = format!("client {number}: a wrong answer to ApiVersions");
                self.history.violate("api-versions", text);
            }
        }
        let responses = match client.codec.receive(bytes) {
            Ok(responses) => responses,
            Err(close) => return self.history.violate("wire", close.reason),
        };
        for (correlation, response) in responses {
            let client = &mut self.clients[number];
            let Some(waiting) = client.waiting.pop_front() else {
                return self.history.violate("wire", "an answer to nothing".into());
            };
            if waiting.correlation != correlation {
                let text = format!("answer {correlation} came before {}", waiting.correlation);
                return self.history.violate("wire", text);
            }
            self.created |= matches!(waiting.op, Op::Create);
            let at = Moment {
                sent_us: waiting.sent_us,
                now_us: self.now_us,
                troubles: &self.troubles,
            };
            client.answered(waiting.op, response, at, &mut self.history);
            if client.waiting.is_empty() {
                let think = client.think_us();
                self.at(self.now_us + think, Event::Act { client: number });
            }
        }
        self.audit_progress(number);
        if self.history.acks >= self.acks_at_oracle + 200 {
            self.acks_at_oracle = self.history.acks;
            self.power_cut_oracle();
        }
    }

    pub(super) fn act(&mut self, number: usize) {
        if !self.clients[number].waiting.is_empty() {
            return;
        }
        let auditing = self.audit.is_some() && number == 0;
        if auditing && self.all_is_read() {
            return;
        }
        if !auditing && self.clients[number].is_done() {
            return self.maybe_audit();
        }
        if self.clients[number].conn.is_none() && !self.connect(number) {
            let later = self.draws.of("again", number as u64).between(5_000, 50_000);
            return self.at(self.now_us + later, Event::Act { client: number });
        }
        let now = self.now();
        self.history.now_us = self.now_us;
        let ops = match (auditing, self.created) {
            (true, _) => vec![self.audit_op()],
            (false, true) => {
                let client = &mut self.clients[number];
                let topics = self.plan.topics.iter();
                let topics: Vec<u32> = topics.map(|topic| topic.partitions).collect();
                let left = client.left;
                let ops = client.next_ops(&topics, &mut self.history, now.wall_ms);
                self.report.size[3] += left - client.left;
                ops
            }
            (false, false) if number == 0 => vec![Op::Create],
            (false, false) => return self.at(self.now_us + 10_000, Event::Act { client: number }),
        };
        for op in ops {
            self.send(number, op);
        }
        let client = &mut self.clients[number];
        if client.waiting.is_empty() && !client.silent.is_some_and(|silent| silent.bad) {
            let think = client.think_us();
            self.at(self.now_us + think, Event::Act { client: number });
        }
    }

    pub(super) fn send(&mut self, number: usize, op: Op) {
        let known = Known {
            topics: &self.plan.topics,
            ids: &self.history.ids,
        };
        let (request, version) = op.request(known);
        let idle_us = self.idle_us(number);
        let client = &mut self.clients[number];
        if let Some((key, version)) = version {
            client.codec.set_version(key, version);
        }
        let (correlation, bytes) = client.codec.request(&request);
        self.trace
            .event(Actor::Client(number as u16), Kind::Request, &bytes, || {
                words::asked(&request)
            });
        if let Some(conn) = client.conn {
            self.put_on_link(conn, &bytes);
        }
        let client = &mut self.clients[number];
        if let Op::Produce { acks: 0, sent, .. } = &op {
            let bad = sent.iter().any(|one| one.flaw.is_some());
            let silent = client.silent.get_or_insert(Silent {
                since_us: self.now_us,
                bad,
                idle_us,
            });
            silent.bad |= bad;
            for one in sent.iter().filter(|one| one.flaw.is_none()) {
                let part = self.history.part(one.part);
                part.unanswered.extend(&one.values);
            }
            if bad {
                self.answer_within(number, ANSWERED_WITHIN_US);
            }
            return;
        }
        // A fetch waits, and what comes after it waits with it.
        let before = client.waiting.back().map(|last| last.within_us);
        let wait_us = match &op {
            Op::Fetch { wait_ms, .. } => *wait_ms as u64 * 1_000,
            _ => 0,
        };
        client.waiting.push_back(Waiting {
            correlation,
            op,
            sent_us: self.now_us,
            within_us: before.unwrap_or(ANSWERED_WITHIN_US) + wait_us,
            idle_us,
        });
        self.answer_within(number, before.unwrap_or(ANSWERED_WITHIN_US) + wait_us);
    }

    fn answer_within(&mut self, number: usize, within_us: u64) {
        let client = &mut self.clients[number];
        client.attempt += 1;
        let (client, attempt) = (number, client.attempt);
        self.at(self.now_us + within_us, Event::Timeout { client, attempt });
    }

    pub(super) fn connect(&mut self, number: usize) -> bool {
        let n = self.connections[number];
        let conn = ConnId((number as u64) << 32 | n);
        let Some(broker) = self.broker.as_mut().filter(|broker| !broker.stopping) else {
            return false;
        };
        self.connections[number] += 1;
        let mut home = draws::keyed(self.plan.seed, "home", number as u64, n);
        let mut shard = home.below(u64::from(self.wanted)) as usize;
        if self.traced.stray == Some(Stray::HashOrder) && self.now_us > STRAY_FROM_US {
            shard = stray::by_hash((0..usize::from(self.wanted)).collect())[0];
        }
        let server = Server::new("sim".into(), 9092, LIMITS);
        broker.conns.insert(conn, Link::new(number, shard, server));
        self.clients[number].conn = Some(conn);
        self.clients[number].silent = None;
        self.clients[number].cut = false;
        self.clients[number].codec = seedlog_net::client::Connection::new("sim");
        self.deliver(shard, Input::Connect { conn });
        let mut choice = draws::keyed(self.plan.seed, "hello", number as u64, n);
        let (hello, bytes) = Hello::ask(choice.chance(1, 4));
        self.clients[number].hello = Some(hello);
        self.put_on_link(conn, &bytes);
        true
    }

    /// The broker closed a connection. It may do so for a batch that failed and that nobody waited for,
    /// if there is a reason for that, and where its pools are used up, to a client that reads nothing, or
    /// whose request does not go on: that is never idle or slow otherwise.
    pub(super) fn closed_by_broker(&mut self, conn: ConnId, why: CloseReason) {
        let now_us = self.now_us;
        let Some(link) = self.link(conn) else {
            return;
        };
        // A shard does not know yet what the socket has just taken.
        let slow = link.reads_nothing(now_us.saturating_sub(TOLD_US));
        let (client, shard) = (link.client, link.shard);
        // A process that stood still does not see that it reads again; so short a time is not made up for
        // (`note_lateness` in core).
        let since = now_us.saturating_sub(AWAY_US + TOLD_US);
        let unseen = link.reads_nothing(since);
        let slow = slow || (unseen && self.paused_until > since);
        // Who has sent a whole request need not send more.
        let held_up = self.is_held_up(shard) && !self.is_known_whole(conn);
        self.drop_link(conn);
        if self.clients[client].conn != Some(conn) {
            return;
        }
        let silent = self.clients[client].silent;
        let failed =
            silent.is_some_and(|it| it.bad || self.troubles.writes_since(it.since_us, now_us));
        let (allowed, name) = match why {
            CloseReason::UnansweredFailure => (failed, "closed-unanswered"),
            CloseReason::StalledReader => (slow, "closed-slow-reader"),
            CloseReason::StalledRequest => (held_up, "closed-stalled-request"),
            CloseReason::Idle => (false, ""),
        };
        match allowed {
            true => self.mark(name),
            false => {
                let text = format!("client {client}: {why:?}");
                self.history.violate("closed", text);
            }
        }
        self.lose_connection(client);
    }

    /// The client has its connection no more. What was on its way to the broker may still arrive.
    pub(super) fn lose_connection(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(conn) = client.conn.take() else {
            return;
        };
        client.silent = None;
        client.told_ends.clear();
        let retries = client.is_idempotent();
        for waiting in std::mem::take(&mut client.waiting) {
            match waiting.op {
                Op::Produce { sent, .. } => {
                    let sent = sent.into_iter().filter(|one| one.flaw.is_none());
                    for one in sent {
                        match retries {
                            true => drop(client.again.insert(one.order, one)),
                            false => self.history.unknown += 1,
                        }
                    }
                }
                Op::Create | Op::Audit { .. } => {}
                _ => self.history.unknown += 1,
            }
        }
        self.at(self.now_us + 5_000, Event::Act { client: number });
        self.close_link(conn);
    }

    /// A client's connection is closed by its end, reset at some byte, or dies in one direction, of which
    /// neither end is told.
    pub(super) fn disconnect(&mut self, number: usize, value: u64) {
        self.mark("disconnect");
        let Some(conn) = self.clients[number].conn else {
            return;
        };
        let under_way = self.on_their_way(conn) as u64;
        let bytes = ((value >> 20) % (under_way + 1)) as usize;
        match (value >> 16) % 4 {
            0 => self.lose_connection(number),
            1 => {
                self.mark("reset");
                self.reset_link(conn, bytes);
                self.lose_connection(number);
            }
            direction => {
                self.mark("half-open");
                self.clients[number].cut = true;
                self.kill_link(conn, direction as usize - 2, bytes);
            }
        }
    }
}
