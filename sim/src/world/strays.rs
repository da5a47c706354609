//! Segments that no journal lists: put into folders behind the broker's back, and looked for at the end. They
//! stand for what was acknowledged and is in no journal any more, as an older one was put back or a disk
//! gave up an older one: whatever the broker does, their bytes must stay.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use seedlog_core::batch::parse_head;
use seedlog_core::partition::{Replica, SET_ASIDE};

use super::faults::base_of;
use super::World;
use crate::plan::Choices;

/// What is known of files that no journal lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Strays {
    /// Foreign segments, and their bytes.
    foreign: BTreeMap<String, Bytes>,
    /// Folders in which the broker failed while it looked for such files.
    failed: BTreeSet<String>,
}

impl World {
    /// The broker cannot write the files in this folder: if it has not looked through it in this life, that
    /// is what failed.
    pub(super) fn cannot_write(&mut self, dir: &str) {
        self.mark("cannot-write");
        if !self.was_looked_through(dir) {
            self.strays.failed.insert(dir.to_string());
        }
    }

    /// The broker is stopped, and a segment comes into a partition's folder: at an offset that the log will
    /// come to, or in its tail.
    pub(super) fn place_foreign(&mut self, value: u64) {
        let mut choices = Choices::new(value, "foreign", 0);
        let Some(broker) = &self.broker else {
            return;
        };
        let replicas = broker.shards.iter().flat_map(|shard| shard.replicas());
        // Where a manifest may be on its way, segments may be listed up to the end soon: a later journal has
        // begun none before that.
        let folders: Vec<(String, i64, i64)> = replicas
            .map(|replica| {
                let end = replica.log_end;
                let front = replica.tail.front().filter(|_| replica.is_idle());
                let first = front.map_or(end, |batch| batch.row.base);
                (replica.dir.clone(), first, end)
            })
            .collect();
        let segments = self.disk.paths().filter(|path| path.ends_with(".log"));
        let segments: Vec<String> = segments.map(str::to_string).collect();
        if folders.is_empty() || segments.is_empty() {
            return;
        }
        let (dir, first, end) = &folders[choices.below(folders.len() as u64) as usize];
        let base = match choices.below(4) {
            0 => *first,
            1 => *end,
            2 => choices.between(*first as u64, *end as u64) as i64,
            _ => end + choices.below(30) as i64,
        };
        let source = &segments[choices.below(segments.len() as u64) as usize];
        self.stop_broker();
        let path = format!("{dir}/{base:020}.log");
        let rows = format!("{dir}/{base:020}.seal");
        let taken = self.disk.paths().any(|it| it == path || it == rows);
        let bytes = self.disk.bytes(source).unwrap_or_default();
        // What stands at another offset is no copy of what the journal holds at this one.
        let elsewhere = parse_head(&bytes).is_ok_and(|head| head.base_offset != base);
        if taken || !elsewhere {
            return;
        }
        self.mark("foreign-segment");
        self.disk.put(&path, bytes.clone());
        self.strays.foreign.insert(path, bytes);
    }

    /// Nobody lists this file, and it may be so: it is foreign, or could not be told from such a one.
    pub(super) fn may_be_unlisted(&self, path: &str) -> bool {
        let foreign = &self.strays.foreign;
        let dir = dir_of(path);
        let Some((name, _)) = path.rsplit_once(SET_ASIDE) else {
            return foreign.contains_key(path) && !self.was_looked_through(dir);
        };
        // What it held has left the journal where a look failed, which is not to hold up the ring, and
        // nothing is left to compare it with.
        let start = self.replica_in(dir).map(|replica| replica.log_start);
        let passed = base_of(name)
            .zip(start)
            .is_some_and(|(base, start)| base < start);
        if passed && self.strays.failed.contains(dir) {
            return true;
        }
        let segment = name.strip_suffix(".log").or(name.strip_suffix(".seal"));
        let files = [".log", ".seal"].map(|end| format!("{}{end}", segment.unwrap_or(name)));
        files.iter().any(|file| {
            let damaged = self.changed.contains(file) || self.misread.contains(file);
            damaged || foreign.contains_key(file) || self.disk.garbage.contains(file)
        })
    }

    /// The partition whose files stand in this folder.
    fn replica_in(&self, dir: &str) -> Option<&Replica> {
        let shards = self.broker.iter().flat_map(|broker| &broker.shards);
        let mut replicas = shards.flat_map(|shard| shard.replicas());
        replicas.find(|replica| replica.dir == dir)
    }

    /// The broker has looked for such files in this folder: no segment is to take their names any more.
    fn was_looked_through(&self, dir: &str) -> bool {
        self.replica_in(dir).is_some_and(|replica| replica.listed)
    }

    /// Bytes of a foreign segment that are not there any more although their partition is.
    pub(super) fn foreign_gone(&self) -> Option<String> {
        let gone = |path: &str, bytes| {
            let dir = dir_of(path);
            let is_it = |name: &str| {
                let name = format!("{dir}/{name}");
                name.starts_with(path) && self.disk.bytes(&name).as_ref() == Some(bytes)
            };
            let there = self.disk.list(dir).iter().any(|(name, _)| is_it(name));
            self.replica_in(dir).is_some() && !there && !self.changed.contains(path)
        };
        let mut foreign = self.strays.foreign.iter();
        let found = foreign.find(|(path, bytes)| gone(path, bytes));
        found.map(|(path, _)| format!("{path}: the bytes that nobody lists are gone"))
    }
}

/// The folder of a file.
fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
