//! What faults reach, told to the checks: stored ranges, the disk, and time that the broker stood still. A
//! call that nothing explains must be answered in time.

use seedlog_core::shard::Shard;

use super::clients::ANSWERED_WITHIN_US;
use super::faults::{base_of, part_of};
use super::links::Link;
use super::{Event, World};
use crate::check::history::Part;
use crate::load::answered::SLOW_US;
use crate::load::client::Client;
use crate::load::ops::Op;

impl World {
    /// A stored file was damaged: what offsets it may hold.
    pub(super) fn note_damage(&mut self, path: &str) {
        let (Some(part), Some((dir, name))) = (part_of(path), path.rsplit_once('/')) else {
            return;
        };
        let Some(from) = base_of(path) else {
            return;
        };
        let served = self.broker.iter().flat_map(|broker| &broker.shards);
        let served = served.filter(|shard| shard.is_ready());
        let mut all = served.flat_map(Shard::replicas);
        let rows = name.ends_with(".seal");
        let Some(replica) = all.find(|replica| replica.dir == dir) else {
            return match rows && self.broker.is_some() {
                true => self.troubles.damage_rows(part, from),
                false => self.troubles.damage_open(part, from),
            };
        };
        // The last one may be written to at this time.
        let last = replica.segments.last().is_none_or(|it| it.base == from);
        let segment = replica.segments.iter().find(|it| it.base == from);
        match (segment, rows && last) {
            (_, true) => self.troubles.damage_rows(part, from),
            (Some(segment), _) if !last => self.troubles.damage(part, (from, segment.end)),
            _ => self.troubles.damage(part, (from, replica.log_end)),
        }
    }

    /// A shard serves: it knows where damaged segments end.
    fn settle_damage(&mut self) {
        let open: Vec<Part> = self.troubles.open().collect();
        let shards = self.broker.iter().flat_map(|broker| &broker.shards);
        for replica in shards.flat_map(Shard::replicas) {
            let part = part_of(&replica.dir).filter(|part| open.contains(part));
            let end = |base| {
                replica
                    .segments
                    .iter()
                    .find(|it| it.base == base)
                    .map(|it| it.end)
            };
            if let Some(part) = part {
                self.troubles.settle(part, end);
            }
        }
    }

    /// Segments whose rows are damaged end where others have begun by now.
    pub(super) fn close_damage(&mut self, shard: usize) {
        let open: Vec<Part> = self.troubles.open().collect();
        let Some(broker) = self.broker.as_ref().filter(|_| !open.is_empty()) else {
            return;
        };
        for replica in broker.shards[shard].replicas() {
            let part = part_of(&replica.dir).filter(|part| open.contains(part));
            let bases = replica.segments.iter().map(|segment| segment.base);
            if let Some(part) = part {
                let bases: Vec<i64> = bases.collect();
                self.troubles.close(part, &bases);
            }
        }
    }

    /// A fault of the disk has struck: what it may do to requests.
    pub(super) fn reaches(&mut self, fault: &str) {
        match fault {
            "read-error" | "short-read" | "misdirected-read" => self.troubles.bad_read(self.now_us),
            "write-error" | "short-write" | "sync-error" | "list-error" | "rename-error"
            | "sync-dir-error" | "unlink-error" | "growth-error" => {
                self.troubles.no_writes(self.now_us, self.now_us);
            }
            _ => {}
        }
    }

    /// The process stands still.
    pub(super) fn pause_until(&mut self, until_us: u64) {
        self.stands_still(self.paused_until, until_us);
        self.paused_until = until_us;
    }

    /// The disk answers nothing.
    pub(super) fn stall_until(&mut self, until_us: u64) {
        self.stands_still(self.stalled_until, until_us);
        self.stall(until_us - self.now_us);
        self.troubles.no_writes(self.now_us, until_us);
    }

    /// Operations take so many times as long: what waits for the disk may wait all that time.
    pub(super) fn goes_slowly(&mut self, until_us: u64, times: u64) {
        self.stands_still(self.slow.0, until_us);
        self.troubles.no_writes(self.now_us, until_us);
        self.slow = (until_us, times);
    }

    /// The broker stands still until then, which is later than it would have.
    fn stands_still(&mut self, before_us: u64, until_us: u64) {
        self.troubles
            .stands_still(before_us.max(self.now_us), until_us);
    }

    /// A shard serves; with the last one the broker does.
    pub(super) fn serves(&mut self) {
        let all = |broker: &super::Broker| broker.shards.iter().all(Shard::is_ready);
        if self.broker.as_ref().is_some_and(all) {
            self.settle_damage();
            let since = self.starts_since.take().unwrap_or(self.now_us);
            self.troubles.stands_still(since, self.now_us);
        }
    }

    /// See [`crate::check::troubles::Troubles::idle_us`], the present start and the time that this client
    /// did not read counted.
    pub(super) fn idle_us(&self, client: usize) -> u64 {
        let since = self.starts_since.unwrap_or(self.now_us);
        self.troubles.idle_us(self.now_us) + (self.now_us - since) + self.clients[client].slow_us
    }

    /// A call that writes waits for room where the disk takes nothing, as long as the broker lets any call
    /// wait; others of its connection wait behind it. What waits holds room: a connection that is not read
    /// for want of it may wait for another client's.
    fn waits_for_room(&self, number: usize) -> u64 {
        let mut waits = self.writes_wait(&self.clients[number]);
        if let Some(link) = self.link_of(number).filter(|link| link.blocked) {
            let others = (0..self.clients.len()).filter(|other| {
                let other = self.link_of(*other);
                other.is_some_and(|other| other.shard == link.shard)
            });
            waits |= others
                .map(|other| &self.clients[other])
                .any(|other| self.writes_wait(other));
        }
        if waits {
            SLOW_US
        } else {
            0
        }
    }

    /// A call of this client's that writes waits, and the disk has taken nothing meanwhile.
    fn writes_wait(&self, client: &Client) -> bool {
        let reads = |op: &Op| matches!(op, Op::Fetch { .. } | Op::Audit { .. });
        let mut writes = client.waiting.iter().filter(|it| !reads(&it.op));
        writes.any(|it| self.troubles.writes_since(it.sent_us, self.now_us))
    }

    fn link_of(&self, number: usize) -> Option<&Link> {
        let conn = self.clients[number].conn?;
        self.broker.as_ref()?.conns.get(&conn)
    }

    /// A client has waited: too long, unless the world stood still meanwhile. Then it gives up.
    pub(super) fn timed_out(&mut self, number: usize, attempt: u64) {
        let client = &self.clients[number];
        if client.attempt != attempt {
            return;
        }
        let silent = client.silent.filter(|silent| silent.bad);
        let row = match (client.waiting.back(), silent) {
            (Some(last), _) => (last.sent_us + last.within_us, last.idle_us),
            // It waits for its connection to be closed.
            (None, Some(silent)) => (silent.since_us + ANSWERED_WITHIN_US, silent.idle_us),
            (None, None) => return,
        };
        let due = row.0 + (self.idle_us(number) - row.1) + self.waits_for_room(number);
        if due > self.now_us {
            let client = number;
            return self.at(due, Event::Timeout { client, attempt });
        }
        let text = format!("client {number}: {:?}", client.waiting.front());
        let explained = self.is_stopping() || client.cut;
        if !explained {
            self.history.violate("hung-call", text);
        }
        self.lose_connection(number);
    }
}
