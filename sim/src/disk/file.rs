//! One file: what the page cache holds, what the device holds, and what lies between.

use std::collections::BTreeSet;

use bytes::Bytes;
use seedlog_core::disk::DiskError;

use super::pages::Pages;

/// Bytes that reach the device together or not at all.
pub const SECTOR: usize = 512;

/// A change in the cache that no sync has covered.
#[derive(Clone, Debug)]
pub enum Change {
    /// Bytes at an offset.
    Write(usize, Bytes),
    /// Cut to this length.
    Truncate(usize),
}

/// A file. A copy shares its pages.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// As processes see it.
    pub cache: Pages,
    /// As a power cut leaves it, but for what is on its way.
    pub device: Pages,
    /// On its way, numbered over all files in the order asked for.
    pub unsynced: Vec<(u64, Change)>,
    /// The name survives a power cut.
    pub named: bool,
    /// Sectors that cannot be read until they are written again.
    pub bad: BTreeSet<usize>,
}

fn apply(pages: &mut Pages, change: &Change) {
    match change {
        Change::Write(at, data) => pages.write(*at, data),
        Change::Truncate(len) => pages.resize(*len),
    }
}

impl File {
    /// Change the cache.
    pub fn change(&mut self, number: u64, change: Change) {
        apply(&mut self.cache, &change);
        if let Change::Write(at, data) = &change {
            let sectors = at / SECTOR..=(at + data.len()) / SECTOR;
            self.bad.retain(|sector| !sectors.contains(sector));
        }
        self.unsynced.push((number, change));
    }

    /// What the cache holds reaches the device.
    pub fn write_back(&mut self) {
        for (_, change) in std::mem::take(&mut self.unsynced) {
            apply(&mut self.device, &change);
        }
    }

    /// Extend it with zeroes, durably.
    pub fn grow(&mut self, len: usize) {
        for pages in [&mut self.cache, &mut self.device] {
            pages.resize(pages.len().max(len));
        }
    }

    /// Read, from the cache or from the device.
    pub fn read(&self, offset: u64, len: u64, past_cache: bool) -> Result<Bytes, DiskError> {
        let from = offset as usize;
        let to = from.saturating_add(len as usize);
        if self.bad.range(from / SECTOR..=to / SECTOR).next().is_some() {
            return Err(DiskError::Io);
        }
        if !past_cache {
            return Ok(self.cache.read(from, to));
        }
        // Dirty pages are written back first; what a failed sync lost is not dirty any more.
        let mut device = self.device.clone();
        for (_, change) in &self.unsynced {
            apply(&mut device, change);
        }
        device.resize(self.cache.len());
        Ok(device.read(from, to))
    }
}
