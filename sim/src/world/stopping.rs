//! How a broker ends. It halts for what failed it in this life, and for nothing else. After a clean stop every
//! call that it had heard is answered, and what the shards held is there even after a power cut.

use seedlog_core::contract::{Halt, Input};
use seedlog_core::shard::Shard;

use super::links::Link;
use super::{Event, World};
use crate::disk::concerns;

/// A clean stop takes no longer, whatever the disk is at.
const STOP_WITHIN_US: u64 = 10_000_000;
/// The last answers are with their clients after this time.
const ANSWERS_US: u64 = 50_000;

impl World {
    pub(super) fn is_stopping(&self) -> bool {
        self.broker.as_ref().is_some_and(|broker| broker.stopping)
    }

    /// The operator stops the broker. From now on it hears no client.
    pub(super) fn ask_to_stop(&mut self) {
        let Some(broker) = self.broker.as_mut().filter(|broker| !broker.stopping) else {
            return;
        };
        broker.stopping = true;
        broker.asked_us = self.now_us;
        broker.served = broker.shards.iter().all(Shard::is_ready);
        let shards = broker.shards.len();
        self.mark("clean-stop");
        for shard in 0..shards {
            self.deliver(shard, Input::Shutdown);
        }
        let life = self.life;
        self.at(self.now_us + STOP_WITHIN_US, Event::Stopped { life });
    }

    /// A shard has ended. With the last one the broker has, once its answers have arrived.
    pub(super) fn halted_cleanly(&mut self) {
        let Some(broker) = &mut self.broker else {
            return;
        };
        broker.over += 1;
        if broker.over < broker.shards.len() {
            return;
        }
        // Of connections that clients have not given up, and on which they take their answers since the stop
        // was asked for: what comes behind answers that nobody takes is not begun.
        let open = |(conn, link): &(&_, &Link)| {
            let client = &self.clients[link.client];
            let takes = !link.is_full() && !link.reads_nothing(broker.asked_us);
            client.conn == Some(**conn) && !client.cut && takes
        };
        let open = broker.conns.iter().filter(open);
        let owed: usize = open.map(|(_, link)| link.server.pending_calls()).sum();
        if owed > 0 && broker.served {
            let text = format!("{owed} calls were never answered");
            self.history.violate("clean-stop", text);
        }
        let disk = self.fork_disk(&mut self.draws_of("stopped", self.life), true);
        self.compare_with_replay(disk);
        self.mark("stopped-cleanly");
        let life = self.life;
        self.at(self.now_us + ANSWERS_US, Event::Stopped { life });
    }

    /// A shard's reason to halt names what it failed at, and there a fault did strike it in this life.
    fn may_halt(&self, shard: usize, reason: &str) -> bool {
        let name = reason.split(": ").next().unwrap_or_default();
        let broker = self.broker.as_ref();
        let mut failed = broker.iter().flat_map(|broker| &broker.failed);
        failed.any(|(of, request)| *of == shard && concerns(request, name))
    }

    pub(super) fn halted(&mut self, shard: usize, halt: Halt) {
        if let (Halt::Fatal(reason), true) = (&halt, self.ending.is_on()) {
            return self.refused(reason);
        }
        match halt {
            Halt::Clean if self.is_stopping() => return self.halted_cleanly(),
            Halt::Again => {
                let last = self.broker.as_mut().is_none_or(|broker| {
                    broker.over += 1;
                    broker.over == broker.shards.len()
                });
                if !last {
                    return;
                }
                self.mark("resharded");
            }
            Halt::Fatal(reason) if self.may_halt(shard, &reason) => self.mark("halt"),
            halt => self.history.violate("halt", format!("{halt:?}")),
        }
        self.stop_broker();
    }

    pub(super) fn stopped(&mut self) {
        let whole = |broker: &super::Broker| broker.over == broker.shards.len();
        if !self.broker.as_ref().is_some_and(whole) {
            let text = format!("not over after {} s", STOP_WITHIN_US / 1_000_000);
            self.history.violate("clean-stop", text);
        }
        self.stop_broker();
    }
}
