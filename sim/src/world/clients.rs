//! The links between clients and broker, and what clients do next.

use bytes::Bytes;
use seedlog_core::contract::{CloseReason, Input};
use seedlog_core::ids::ConnId;
use seedlog_net::server::{Call, Connection as Server};

use super::broker::LIMITS;
use super::{Event, World};
use crate::draws;
use crate::load::answered::Moment;
use crate::load::client::{Client, Waiting};
use crate::load::ops::{Known, Op};
use crate::load::Role;
use crate::plan::Plan;

/// A request is answered within this time, microseconds, if nothing explains more.
const ANSWERED_WITHIN_US: u64 = 1_500_000;

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

impl World {
    pub(super) fn at_server(&mut self, conn: ConnId, bytes: Bytes) {
        let Some(broker) = &mut self.broker else {
            return;
        };
        if broker.stopping {
            return;
        }
        let Some((_, shard, server)) = broker.conns.get_mut(&conn) else {
            return;
        };
        let shard = *shard;
        if let Err(close) = server.receive(bytes) {
            return self.history.violate("wire", close.reason);
        }
        let mut calls = Vec::new();
        while let Some(call) = server.next_call() {
            calls.push(call);
        }
        for Call {
            call,
            request,
            held,
        } in calls
        {
            self.deliver(
                shard,
                Input::Client {
                    conn,
                    call,
                    request,
                    held,
                },
            );
        }
    }

    pub(super) fn at_client(&mut self, number: usize, conn: ConnId, bytes: Bytes) {
        (self.history.now_ms, self.history.now_us) = (self.now().wall_ms, self.now_us);
        let client = &mut self.clients[number];
        if client.conn != Some(conn) {
            return;
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
        if !auditing && self.clients[number].is_done() {
            return self.maybe_audit();
        }
        if self.clients[number].conn.is_none() && !self.connect(number) {
            let mut later = self.draws.of("reconnect", number as u64);
            let later = later.between(5_000, 50_000);
            return self.at(self.now_us + later, Event::Act { client: number });
        }
        let now = self.now();
        let ops = match (auditing, self.created) {
            (true, _) => vec![self.audit_op()],
            (false, true) => {
                let client = &mut self.clients[number];
                let topics: Vec<u32> = self
                    .topics
                    .iter()
                    .map(|(partitions, _)| *partitions)
                    .collect();
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
        if self.clients[number].waiting.is_empty() {
            let think = self.clients[number].think_us();
            self.at(self.now_us + think, Event::Act { client: number });
        }
    }

    pub(super) fn send(&mut self, number: usize, op: Op) {
        let known = Known {
            topics: &self.topics,
            ids: &self.history.ids,
        };
        let (request, version) = op.request(known);
        let idle_us = self.idle_us();
        let client = &mut self.clients[number];
        if let Some((key, version)) = version {
            client.codec.set_version(key, version);
        }
        let (correlation, bytes) = client.codec.request(&request);
        if let Some(conn) = client.conn {
            let time = self.in_order("to-server", (conn, false), (50, 1_500));
            self.at(time, Event::ToServer { conn, bytes });
        }
        let client = &mut self.clients[number];
        if let Op::Produce { acks: 0, sent, .. } = &op {
            let bad = sent.iter().any(|one| one.flaw.is_some());
            let (since, before) = client.silent.unwrap_or((self.now_us, false));
            client.silent = Some((since, bad || before));
            for one in sent.iter().filter(|one| one.flaw.is_none()) {
                let part = self.history.part(one.part);
                part.unanswered.extend(&one.values);
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
        client.attempt += 1;
        let attempt = client.attempt;
        let at = self.now_us + before.unwrap_or(ANSWERED_WITHIN_US) + wait_us;
        self.at(
            at,
            Event::Timeout {
                client: number,
                attempt,
            },
        );
    }

    pub(super) fn connect(&mut self, number: usize) -> bool {
        let n = self.connections[number];
        let conn = ConnId((number as u64) << 32 | n);
        let Some(broker) = self.broker.as_mut().filter(|broker| !broker.stopping) else {
            return false;
        };
        self.connections[number] += 1;
        let mut home = draws::keyed(self.plan.seed, "home", number as u64, n);
        let shard = home.below(u64::from(self.wanted)) as usize;
        broker.conns.insert(
            conn,
            (number, shard, Server::new("sim".into(), 9092, LIMITS)),
        );
        self.clients[number].conn = Some(conn);
        self.clients[number].silent = None;
        self.clients[number].codec = seedlog_net::client::Connection::new("sim");
        self.deliver(shard, Input::Connect { conn });
        true
    }

    /// The broker closed a connection. These clients are neither idle nor slow: its only reason is a
    /// batch that failed and that nobody waited for, and a reason for that.
    pub(super) fn closed_by_broker(&mut self, conn: ConnId, why: CloseReason) {
        let broker = self.broker.as_ref();
        let client = broker.and_then(|broker| broker.conns.get(&conn).map(|row| row.0));
        if let Some(client) = client.filter(|client| self.clients[*client].conn == Some(conn)) {
            let silent = self.clients[client].silent;
            let failed = silent
                .is_some_and(|(since, bad)| bad || self.troubles.writes_since(since, self.now_us));
            match why == CloseReason::UnansweredFailure && failed {
                true => self.mark("closed-unanswered"),
                false => {
                    let text = format!("client {client}: {why:?}");
                    self.history.violate("closed", text);
                }
            }
            self.lose_connection(client);
        }
    }

    /// The connection breaks. What was on its way to the broker may still arrive.
    pub(super) fn lose_connection(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let Some(conn) = client.conn.take() else {
            return;
        };
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
        let shard = self
            .broker
            .as_ref()
            .and_then(|broker| broker.conns.get(&conn))
            .map(|row| row.1);
        let late = self.draws.of("hangup", number as u64).chance(1, 2);
        if let Some(shard) = shard {
            // Half of the time the broker learns of it only after it took what was in flight.
            if !late {
                if let Some(broker) = &mut self.broker {
                    broker.conns.remove(&conn);
                }
            }
            self.deliver(shard, Input::Hangup { conn });
        }
    }
}
