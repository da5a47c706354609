//! What faults reach, told to the checks: stored ranges, the disk, and time that the broker stood still. A
//! call that nothing explains must be answered in time.

use seedlog_core::partition::Replica;
use seedlog_core::shard::Shard;

use super::clients::ANSWERED_WITHIN_US;
use super::faults::part_of;
use super::{Event, World};
use crate::check::history::Part;

impl World {
    /// A stored file was damaged: what offsets it may hold.
    pub(super) fn note_damage(&mut self, path: &str) {
        let (Some(part), Some((dir, name))) = (part_of(path), path.rsplit_once('/')) else {
            return;
        };
        let base = |name: &str| name.split('.').next()?.parse::<i64>().ok();
        let Some(from) = base(name) else {
            return;
        };
        let last = |replica: &Replica| replica.segments.last().is_none_or(|it| it.base == from);
        let served = || self.broker.iter().flat_map(|broker| &broker.shards);
        let served = served().filter(|shard| shard.is_ready());
        let mut all = served.flat_map(Shard::replicas);
        let grows = all.find(|it| it.dir == dir).is_none_or(last);
        if name.ends_with(".seal") && grows {
            return self.troubles.damage_rows(part, from);
        }
        // A file that has no end yet holds no more than the log does. While nobody serves it, what clients
        // know of is the end. The folder may list files that a crash left behind, so it does not tell.
        let end = || {
            let shards = &self.broker.as_ref()?.shards;
            let ready = shards.iter().filter(|shard| shard.is_ready());
            let replica = ready
                .flat_map(Shard::replicas)
                .find(|replica| replica.dir == dir)?;
            // The last one may be written to at this time.
            let mut segments = replica.segments.iter().rev().skip(1);
            let segment = segments.find(|segment| segment.base == from);
            Some(segment.map_or(replica.log_end, |segment| segment.end))
        };
        let known = self.history.partitions.get(&part);
        let known = known.map_or(from, |known| known.max_end.max(known.max_acked + 1));
        let to = end().unwrap_or(known);
        self.troubles.damage(part, (from, to));
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
        self.slow = (until_us, times);
    }

    /// The broker stands still until then, which is later than it would have.
    fn stands_still(&mut self, before_us: u64, until_us: u64) {
        let from = before_us.max(self.now_us);
        self.troubles.idle_us += until_us.saturating_sub(from);
    }

    /// A shard serves; with the last one the broker does.
    pub(super) fn serves(&mut self) {
        let all = |broker: &super::Broker| broker.shards.iter().all(Shard::is_ready);
        if self.broker.as_ref().is_some_and(all) {
            let since = self.starts_since.take().unwrap_or(self.now_us);
            self.troubles.idle_us += self.now_us - since;
        }
    }

    /// See [`crate::check::troubles::Troubles::idle_us`], the present start and the time that this client
    /// did not read counted.
    pub(super) fn idle_us(&self, client: usize) -> u64 {
        let since = self.starts_since.unwrap_or(self.now_us);
        self.troubles.idle_us + (self.now_us - since) + self.clients[client].slow_us
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
        let due = row.0 + (self.idle_us(number) - row.1);
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
