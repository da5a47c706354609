//! The broker's disk: what the page cache holds, what the device holds, and what a cut leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use seedlog_core::disk::{DiskDone, DiskError, DiskRequest, DiskResult};

use crate::plan::Choices;

/// Bytes that reach the device together or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    /// Copied only when it changes while somebody else holds it: a fork of the disk, or a reader.
    cache: Arc<Vec<u8>>,
    /// As `cache`.
    device: Arc<Vec<u8>>,
    /// Writes in the cache that no sync has covered: (number, offset, bytes).
    unsynced: Vec<(u64, usize, Vec<u8>)>,
    /// The name survives a power cut.
    named: bool,
    /// Sectors that cannot be read until they are written again.
    bad: BTreeSet<usize>,
}

impl File {
    /// What the cache holds reaches the device.
    fn write_back(&mut self) {
        for (_, at, data) in std::mem::take(&mut self.unsynced) {
            put(&mut self.device, at, &data);
        }
    }
}

/// A disk with faults to come.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    files: BTreeMap<String, File>,
    writes: u64,
    /// Removed files whose removal is not durable.
    removed: BTreeMap<String, File>,
    /// Removed folders whose removal is not durable.
    removed_dirs: BTreeSet<String>,
    /// The next write of any file fails so.
    pub fail_write: Option<DiskError>,
    /// The next sync fails.
    pub fail_sync: bool,
    /// Writes to the segments below this folder fail.
    pub broken: Option<String>,
    /// Nothing can grow.
    pub full: bool,
    /// The next read of a segment goes wrong so.
    pub bad_read: Option<BadRead>,
    /// The next write to a segment lands in another one.
    pub misdirect: bool,
    /// The next read of a journal fails.
    pub bad_boot_read: bool,
    /// Faults that really happened since last asked.
    pub fired: Vec<&'static str>,
    /// Files damaged since last asked.
    pub damaged: Vec<String>,
}

/// How a read goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRead {
    /// EIO.
    Error,
    /// Fewer bytes.
    Short,
    /// Another segment's bytes.
    Misdirected,
}

/// Bytes of a file for a reader, without a copy.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn put(bytes: &mut Arc<Vec<u8>>, offset: usize, data: &[u8]) {
    let bytes = Arc::make_mut(bytes);
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

/// The path is an entry of this folder.
fn is_in(path: &str, dir: &str) -> bool {
    path.rsplit_once('/')
        .is_some_and(|(folder, _)| folder == dir)
}

impl SimDisk {
    /// Carry out one operation.
    pub fn run(&mut self, request: &DiskRequest) -> DiskResult {
        match request {
            DiskRequest::List { dir } => Ok(self.list(dir)),
            DiskRequest::Read {
                file,
                offset,
                len,
                past_cache,
            } => self.read(file, *offset, *len, *past_cache),
            DiskRequest::Write {
                file,
                offset,
                pieces,
                sync,
            } => {
                self.write(file, *offset as usize, &pieces.concat())?;
                if *sync {
                    self.sync(file)?;
                }
                Ok(DiskDone::Done)
            }
            DiskRequest::Sync { file } => self.sync(file).map(|()| DiskDone::Done),
            DiskRequest::SyncMany { files, dirs } => {
                for file in files {
                    match self.sync(file) {
                        Err(DiskError::NotFound) | Ok(()) => {}
                        Err(error) => return Err(error),
                    }
                }
                for dir in dirs {
                    self.run(&DiskRequest::SyncDir { dir: dir.clone() })?;
                }
                Ok(DiskDone::Done)
            }
            DiskRequest::SyncDir { dir } => {
                self.sync_dir(dir);
                Ok(DiskDone::Done)
            }
            DiskRequest::Allocate { file, len } => self.allocate(file, *len as usize),
            DiskRequest::Truncate { file, len } => {
                let file = self.files.get_mut(&**file).ok_or(DiskError::NotFound)?;
                Arc::make_mut(&mut file.cache).truncate(*len as usize);
                Ok(DiskDone::Done)
            }
            DiskRequest::Rename { from, to } => {
                let file = self.files.remove(&**from).ok_or(DiskError::NotFound)?;
                self.files.insert(
                    to.to_string(),
                    File {
                        named: false,
                        ..file
                    },
                );
                Ok(DiskDone::Done)
            }
            DiskRequest::RemoveDir { dir } => {
                if self.files.keys().any(|path| is_in(path, dir)) {
                    return Err(DiskError::Io);
                }
                self.removed_dirs.insert(dir.to_string());
                Ok(DiskDone::Done)
            }
            DiskRequest::Unlink { file } => {
                if let Some(gone) = self.files.remove(&**file) {
                    self.removed.insert(file.to_string(), gone);
                }
                Ok(DiskDone::Done)
            }
        }
    }

    fn sync_dir(&mut self, dir: &str) {
        let inside = self.files.iter_mut().filter(|(path, _)| is_in(path, dir));
        inside.for_each(|(_, file)| file.named = true);
        // A folder that is durably gone takes along what was in it.
        let gone = std::mem::take(&mut self.removed_dirs);
        let (gone, open) = gone.into_iter().partition(|path| is_in(path, dir));
        self.removed_dirs = open;
        let gone: BTreeSet<String> = gone;
        let back = |path: &String| !is_in(path, dir) && !gone.iter().any(|d| is_in(path, d));
        self.removed.retain(|path, _| back(path));
    }

    fn list(&self, dir: &str) -> DiskDone {
        let prefix = format!("{dir}/");
        let names = self.files.iter().filter_map(|(path, file)| {
            let name = path.strip_prefix(&prefix)?;
            (!name.contains('/')).then(|| (name.to_string(), file.cache.len() as u64))
        });
        DiskDone::Listing(names.collect())
    }

    fn read(&mut self, name: &str, offset: u64, len: u64, past_cache: bool) -> DiskResult {
        let mut source = name;
        let mut cut = usize::MAX;
        if name.ends_with(".log") {
            match self.bad_read.take() {
                Some(BadRead::Error) => {
                    self.fired.push("read-error");
                    return Err(DiskError::Io);
                }
                Some(BadRead::Short) => {
                    self.fired.push("short-read");
                    cut = len as usize / 2;
                }
                Some(BadRead::Misdirected) => {
                    let other = self
                        .files
                        .keys()
                        .find(|path| path.ends_with(".log") && *path != name);
                    if let Some(other) = other {
                        self.fired.push("misdirected-read");
                        source = other;
                    }
                }
                None => {}
            }
        }
        if name.ends_with(".ring") && std::mem::take(&mut self.bad_boot_read) {
            self.fired.push("boot-read-error");
            return Err(DiskError::Io);
        }
        let file = self.files.get(source).ok_or(DiskError::NotFound)?;
        let (first, last) = (offset as usize / SECTOR, (offset + len) as usize / SECTOR);
        if file.bad.range(first..=last).next().is_some() {
            self.fired.push("latent-sector-error");
            return Err(DiskError::Io);
        }
        let bytes = match past_cache {
            false => file.cache.clone(),
            true => {
                // Dirty pages are written back first; what a failed sync lost is not dirty any more.
                let mut device = file.device.clone();
                for (_, at, data) in &file.unsynced {
                    put(&mut device, *at, data);
                }
                if device.len() != file.cache.len() {
                    Arc::make_mut(&mut device).resize(file.cache.len(), 0);
                }
                device
            }
        };
        let from = (offset as usize).min(bytes.len());
        let to = from
            .saturating_add((len as usize).min(cut))
            .min(bytes.len());
        Ok(DiskDone::Data(
            Bytes::from_owner(Shared(bytes)).slice(from..to),
        ))
    }

    fn write(&mut self, name: &str, offset: usize, data: &[u8]) -> Result<(), DiskError> {
        let size = self.files.get(name).map_or(0, |file| file.cache.len());
        if self.full && offset + data.len() > size {
            self.fired.push("disk-full");
            return Err(DiskError::NoSpace);
        }
        let broken = self.broken.as_deref();
        if broken.is_some_and(|folder| name.starts_with(folder)) {
            self.fired.push("broken-folder");
            return Err(DiskError::Io);
        }
        let mut taken = data;
        let failure = self.fail_write.take();
        match failure {
            Some(DiskError::Short(_)) => {
                self.fired.push("short-write");
                taken = &data[..data.len() / 2];
            }
            Some(_) => {
                self.fired.push("write-error");
                taken = &data[..data.len() / 3];
            }
            None => {}
        }
        let mut name = name;
        let other = self.other_segment(name);
        if let Some(other) = other.as_deref().filter(|_| self.misdirect) {
            self.misdirect = false;
            self.fired.push("misdirected-write");
            self.damaged.extend([name.to_string(), other.to_string()]);
            self.files.entry(name.to_string()).or_default();
            name = other;
        }
        self.removed.remove(name);
        self.removed_dirs.retain(|dir| !is_in(name, dir));
        let file = self.files.entry(name.to_string()).or_default();
        put(&mut file.cache, offset, taken);
        self.writes += 1;
        file.unsynced.push((self.writes, offset, taken.to_vec()));
        let sectors = offset / SECTOR..=(offset + taken.len()) / SECTOR;
        file.bad.retain(|sector| !sectors.contains(sector));
        match failure {
            Some(DiskError::Short(_)) => Err(DiskError::Short(taken.len() as u64)),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let file = self.files.get_mut(name).ok_or(DiskError::NotFound)?;
        if std::mem::take(&mut self.fail_sync) {
            // The pages count as clean from here on although the device never got them.
            file.unsynced.clear();
            self.fired.push("sync-error");
            return Err(DiskError::Io);
        }
        file.write_back();
        Ok(())
    }

    fn allocate(&mut self, name: &str, len: usize) -> DiskResult {
        let file = self.files.entry(name.to_string()).or_default();
        if self.full && len > file.cache.len() {
            self.fired.push("disk-full");
            return Err(DiskError::NoSpace);
        }
        for bytes in [&mut file.cache, &mut file.device] {
            if bytes.len() < len {
                Arc::make_mut(bytes).resize(len, 0);
            }
        }
        Ok(DiskDone::Done)
    }

    /// Another segment that holds something, for a segment.
    fn other_segment(&self, name: &str) -> Option<String> {
        let other = |(path, file): &(&String, &File)| {
            path.ends_with(".log") && *path != name && !file.device.is_empty()
        };
        let found = self.files.iter().find(other).map(|(path, _)| path.clone());
        found.filter(|_| name.ends_with(".log"))
    }

    /// No more faults from here on; the damage done stays.
    pub fn heal(&mut self) {
        (self.fail_write, self.fail_sync, self.full) = (None, false, false);
        (self.bad_read, self.misdirect, self.bad_boot_read) = (None, false, false);
        self.broken = None;
    }

    /// The bytes of a file as the page cache holds them.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.files.get(name).map(|file| file.cache.to_vec())
    }

    /// Change a file's bytes behind the broker's back.
    pub fn change(&mut self, name: &str, change: &mut dyn FnMut(&mut [u8])) {
        if let Some(file) = self.files.get_mut(name) {
            file.write_back();
            change(Arc::make_mut(&mut file.device).as_mut_slice());
            file.cache = file.device.clone();
        }
    }

    /// The files there are.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A file is gone.
    pub fn lose(&mut self, name: &str) {
        self.files.remove(name);
    }

    /// Power is cut: what was not synced survives in part, in any order, torn at sectors.
    pub fn power_loss(&mut self, choices: &mut Choices) {
        self.removed_dirs.clear();
        let fired = &mut self.fired;
        for (path, file) in std::mem::take(&mut self.removed) {
            if choices.chance(1, 2) {
                fired.push("entry-back");
                self.files.entry(path).or_insert(file);
            }
        }
        self.files.retain(|_, file| {
            let kept = file.named || choices.chance(1, 2);
            if !kept {
                fired.push("entry-lost");
            }
            kept
        });
        let (mut first_lost, mut last_kept) = (u64::MAX, 0);
        for file in self.files.values_mut() {
            let mut device = std::mem::take(&mut file.device);
            for (number, at, data) in std::mem::take(&mut file.unsynced) {
                let fate = keep_in_part(&mut device, at, &data, choices);
                match fate {
                    "unsynced-lost" => first_lost = first_lost.min(number),
                    _ => last_kept = last_kept.max(number),
                }
                fired.push(fate);
            }
            file.cache = device.clone();
            file.device = device;
            file.named = true;
        }
        if first_lost < last_kept {
            fired.push("writes-reordered");
        }
        (self.fail_write, self.fail_sync, self.bad_read) = (None, false, None);
    }

    /// The folder of some partition that has a segment, with the slash.
    pub fn some_folder(&self, value: u64) -> Option<String> {
        let segments = self.files.keys().filter(|path| path.ends_with(".log"));
        let mut folders: Vec<&str> = segments
            .filter_map(|path| path.rsplit_once('/'))
            .map(|(folder, _)| folder)
            .collect();
        folders.dedup();
        let folder = folders.get(value as usize % folders.len().max(1))?;
        Some(format!("{folder}/"))
    }

    /// A segment that was synced.
    fn synced_segment(&self, choices: &mut Choices) -> Option<String> {
        let segments: Vec<String> = self
            .files
            .iter()
            .filter(|(path, file)| {
                path.ends_with(".log") && file.unsynced.is_empty() && !file.device.is_empty()
            })
            .map(|(path, _)| path.clone())
            .collect();
        if segments.is_empty() {
            return None;
        }
        let at = choices.below(segments.len() as u64) as usize;
        segments.into_iter().nth(at)
    }

    /// A sector of a synced segment cannot be read from now on. Returns the file.
    pub fn spoil_sector(&mut self, value: u64) -> Option<String> {
        let mut choices = Choices::new(value, "sector", 0);
        let path = self.synced_segment(&mut choices)?;
        let file = self.files.get_mut(&path)?;
        let at = choices.below(file.device.len() as u64) as usize;
        file.bad.insert(at / SECTOR);
        Some(path)
    }

    /// Flip a bit of a segment that was synced. Returns the file.
    pub fn rot(&mut self, value: u64) -> Option<String> {
        let mut choices = Choices::new(value, "rot", 0);
        let path = self.synced_segment(&mut choices)?;
        let file = self.files.get_mut(&path)?;
        let at = choices.below(file.device.len() as u64) as usize;
        let bit = 1 << choices.below(8);
        Arc::make_mut(&mut file.device)[at] ^= bit;
        if let Some(byte) = Arc::make_mut(&mut file.cache).get_mut(at) {
            *byte ^= bit;
        }
        Some(path)
    }
}

/// Nothing, everything, a prefix, any sectors, or garbage in some of them. Returns which.
fn keep_in_part(
    device: &mut Arc<Vec<u8>>,
    at: usize,
    data: &[u8],
    choices: &mut Choices,
) -> &'static str {
    let shape = choices.below(5);
    let prefix = choices.below(data.len() as u64 + 1) as usize;
    for (index, sector) in data.chunks(SECTOR).enumerate() {
        let from = index * SECTOR;
        match shape {
            0 => break,
            1 => put(device, at + from, sector),
            2 if from < prefix => put(device, at + from, sector),
            3 if choices.chance(1, 2) => put(device, at + from, sector),
            4 if choices.chance(1, 2) => put(device, at + from, &vec![0xa5; sector.len()]),
            4 => put(device, at + from, sector),
            _ => {}
        }
    }
    [
        "unsynced-lost",
        "unsynced-kept",
        "torn-prefix",
        "torn-sectors",
        "torn-garbage",
    ][shape as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &mut SimDisk, data: &'static [u8], sync: bool) -> DiskResult {
        let pieces = vec![Bytes::from_static(data)];
        disk.run(&DiskRequest::Write {
            file: "d/f".into(),
            offset: 0,
            pieces,
            sync,
        })
    }

    fn read(disk: &mut SimDisk, past_cache: bool) -> DiskResult {
        disk.run(&DiskRequest::Read {
            file: "d/f".into(),
            offset: 0,
            len: 99,
            past_cache,
        })
    }

    #[test]
    fn only_what_was_synced_is_sure_to_survive() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut disk = SimDisk::default();
            write(&mut disk, b"kept", true).expect("written");
            disk.run(&DiskRequest::SyncDir { dir: "d".into() })
                .expect("named");
            write(&mut disk, b"lost", false).expect("written");
            disk.power_loss(&mut Choices::new(seed, "test", 0));
            let Ok(DiskDone::Data(data)) = read(&mut disk, false) else {
                panic!("readable")
            };
            lost += usize::from(&data[..] == b"kept");
        }
        assert!(
            (5..50).contains(&lost),
            "{lost} of 50 lost the unsynced write"
        );
    }

    #[test]
    fn a_failed_sync_leaves_pages_that_only_look_written() {
        let mut disk = SimDisk::default();
        write(&mut disk, b"old!", true).expect("written");
        disk.fail_sync = true;
        assert_eq!(write(&mut disk, b"new!", true), Err(DiskError::Io));
        assert_eq!(
            disk.run(&DiskRequest::Sync { file: "d/f".into() }),
            Ok(DiskDone::Done)
        );
        assert_eq!(
            read(&mut disk, false),
            Ok(DiskDone::Data(Bytes::from_static(b"new!")))
        );
        assert_eq!(
            read(&mut disk, true),
            Ok(DiskDone::Data(Bytes::from_static(b"old!")))
        );
    }

    #[test]
    fn a_name_that_was_not_synced_may_go() {
        let gone = (0..50).filter(|seed| {
            let mut disk = SimDisk::default();
            write(&mut disk, b"kept", true).expect("written");
            disk.power_loss(&mut Choices::new(*seed, "test", 0));
            read(&mut disk, false) == Err(DiskError::NotFound)
        });
        assert!((10..40).contains(&gone.count()));
    }
}
