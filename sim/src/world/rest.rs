//! The world at rest: after the last reader, with no client at work and a disk that works, nothing may be
//! held, nothing be left to do, and the files on disk are those that somebody knows.

use std::collections::BTreeSet;

use super::{Event, World};
use crate::run::Watch;

/// It takes no longer: several rounds of what is looked at every five seconds.
const REST_WITHIN_US: u64 = 30_000_000;
/// How often it is looked at.
const LOOK_EVERY_US: u64 = 50_000;

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Clients are at work, or the last reader is.
    Before,
    /// It is to come to rest by then.
    By(u64),
    /// It has, or a rule is broken.
    Over,
}

impl World {
    /// All was read: from now on nobody asks for anything.
    pub(super) fn come_to_rest(&mut self) {
        if self.rest == Rest::Before {
            self.rest = Rest::By(self.now_us + REST_WITHIN_US);
            self.at(self.now_us + LOOK_EVERY_US, Event::Rest);
        }
    }

    pub(super) fn look_for_rest(&mut self) {
        let Rest::By(until) = self.rest else {
            return;
        };
        if self.watch == Watch::ClientsOnly {
            self.rest = Rest::Over;
            return;
        }
        match self.unrest() {
            None => {
                self.mark("at-rest");
                self.rest = Rest::Over;
            }
            Some(_) if self.now_us < until => {
                self.at(self.now_us + LOOK_EVERY_US, Event::Rest);
            }
            Some(reason) => {
                self.history.violate("rest", reason);
                self.rest = Rest::Over;
            }
        }
    }

    fn unrest(&self) -> Option<String> {
        let Some(broker) = &self.broker else {
            return Some("the broker is down".into());
        };
        let shards = broker.shards.iter().enumerate();
        let mut reasons =
            shards.filter_map(|(n, shard)| Some(format!("shard {n}: {}", shard.unrest()?)));
        if let Some(reason) = reasons.next() {
            return Some(reason);
        }
        let replicas = broker.shards.iter().flat_map(|shard| shard.replicas());
        let mut kept = replicas.filter_map(|replica| {
            let first = replica.tail.front()?;
            (first.row.next <= replica.log_start).then_some(replica.id)
        });
        if let Some(id) = kept.next() {
            return Some(format!(
                "{id:?} keeps a batch that its log start has passed"
            ));
        }
        let waiting = broker.inboxes.iter().any(|inbox| !inbox.is_empty());
        let under_way = |event: &Event| {
            let happens = matches!(event, Event::Disk { .. } | Event::Work { .. });
            happens || matches!(event, Event::Neighbour { .. } | Event::ToServer { .. })
        };
        if waiting || self.queue.values().any(under_way) {
            return Some("inputs are under way".into());
        }
        self.unknown_file().or_else(|| self.foreign_gone())
    }

    /// A file that nobody knows, or one that is known and not there. What a crash left in a folder is looked
    /// for before the partition is written behind again, and not earlier.
    fn unknown_file(&self) -> Option<String> {
        let broker = self.broker.as_ref()?;
        let replicas = || broker.shards.iter().flat_map(|shard| shard.replicas());
        let mut known: BTreeSet<String> = BTreeSet::new();
        for replica in replicas() {
            for base in replica.segments.iter().map(|segment| segment.base) {
                let paths = [replica.segment_path(base), replica.rows_path(base)];
                known.extend(paths.map(|path| path.to_string()));
            }
        }
        let journals = (0..broker.shards.len()).map(|n| format!("journal/shard-{n}.ring"));
        known.extend(journals);
        known.insert("journal/founded".into());
        let unlisted: Vec<&str> = replicas()
            .filter(|replica| !replica.listed && !replica.tail.is_empty())
            .map(|replica| replica.dir.as_str())
            .collect();
        let found: BTreeSet<&str> = self.disk.paths().collect();
        let excused = |path: &str| {
            path.rsplit_once('/')
                .is_some_and(|(dir, _)| unlisted.contains(&dir))
                || self.may_be_unlisted(path)
        };
        let mut strays = found.iter().filter(|path| !known.contains(**path));
        if let Some(stray) = strays.find(|path| !excused(path)) {
            return Some(format!("nobody knows {stray}"));
        }
        let there = |path: &str| found.contains(path) || self.lost.contains(path);
        let mut gone = known.iter().filter(|path| !there(path));
        gone.next().map(|path| format!("{path} is not there"))
    }
}
