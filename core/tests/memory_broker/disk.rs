//! A disk in memory, and what is left of it after a power cut.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use seedlog_core::disk::{DiskDone, DiskError, DiskRequest, DiskResult};

/// Files as they are, and as a power cut would leave them: only synced bytes count there.
#[derive(Clone, Default)]
pub struct Disk {
    pub files: BTreeMap<String, Vec<u8>>,
    pub durable: BTreeMap<String, Vec<u8>>,
    /// A byte of a file that the device cannot read.
    pub bad: Option<(String, usize)>,
    /// Files whose names hold this cannot be written, and folders not be listed.
    pub broken: Option<String>,
    /// Files and folders whose names hold this cannot be removed.
    pub stuck: Option<String>,
    /// Folders that were made.
    pub dirs: BTreeSet<String>,
    /// Files and folders that are gone and, as their folder was not synced since, would be back.
    pub removed: BTreeSet<String>,
}

impl Disk {
    fn write(&mut self, file: &str, offset: usize, data: &[u8]) -> Result<(), DiskError> {
        if self.broken.as_ref().is_some_and(|name| file.contains(name)) {
            return Err(DiskError::Io);
        }
        // As every file system that is in use: names of 255 bytes at most.
        if file.split('/').any(|name| name.len() > 255) {
            return Err(DiskError::Io);
        }
        let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
        self.dirs.insert(dir.to_string());
        let bytes = self.files.entry(file.to_string()).or_default();
        let end = offset + data.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset..end].copy_from_slice(data);
        Ok(())
    }

    /// What is gone from this folder stays gone.
    fn sync_dir(&mut self, dir: &str) {
        let within = |path: &String| {
            path.rsplit_once('/')
                .is_some_and(|(parent, _)| parent == dir)
        };
        let (gone, rest): (BTreeSet<_>, _) = self.removed.iter().cloned().partition(within);
        self.removed = rest;
        for path in gone.iter().filter(|path| !self.files.contains_key(*path)) {
            let below = format!("{path}/");
            self.durable
                .retain(|file, _| file != path && !file.starts_with(&below));
        }
    }

    /// Power is cut and comes back.
    #[allow(dead_code, reason = "not every test that has a disk cuts its power")]
    pub fn cut_power(&mut self) {
        self.files = self.durable.clone();
        self.removed.clear();
        let dirs = self.files.keys().filter_map(|path| path.rsplit_once('/'));
        self.dirs.extend(dirs.map(|(dir, _)| dir.to_string()));
    }

    fn exists(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.dirs.contains(path)
    }

    fn unlinkable(&self, path: &str) -> Result<(), DiskError> {
        match &self.stuck {
            Some(name) if path.contains(name) && self.exists(path) => Err(DiskError::Io),
            _ => Ok(()),
        }
    }

    fn read(&self, file: &str, offset: u64, len: u64) -> DiskResult {
        let bytes = self.files.get(file).ok_or(DiskError::NotFound)?;
        let from = (offset as usize).min(bytes.len());
        let to = (offset.saturating_add(len) as usize).min(bytes.len());
        let bad = |(name, at): &(String, usize)| file.contains(name) && (from..to).contains(at);
        if self.bad.as_ref().is_some_and(bad) {
            return Err(DiskError::Io);
        }
        Ok(DiskDone::Data(Bytes::copy_from_slice(&bytes[from..to])))
    }

    /// Its new name is as durable as the old one was.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let bytes = self.files.remove(from).ok_or(DiskError::Io)?;
        self.files.insert(to.to_string(), bytes);
        let durable = self.durable.remove(from);
        self.durable.extend(durable.map(|it| (to.to_string(), it)));
        Ok(())
    }

    /// Carry out one operation.
    pub fn run(&mut self, request: DiskRequest) -> DiskResult {
        match request {
            DiskRequest::List { dir } => {
                if self.broken.as_ref().is_some_and(|name| dir.contains(name)) {
                    return Err(DiskError::Io);
                }
                let prefix = format!("{dir}/");
                let names = self.files.iter().filter_map(|(path, bytes)| {
                    let name = path.strip_prefix(&prefix)?;
                    (!name.contains('/')).then(|| (name.to_string(), bytes.len() as u64))
                });
                return Ok(DiskDone::Listing(names.collect()));
            }
            DiskRequest::Read {
                file, offset, len, ..
            } => return self.read(&file, offset, len),
            DiskRequest::Write {
                file,
                offset,
                pieces,
                sync,
            } => {
                self.write(&file, offset as usize, &pieces.concat())?;
                if sync {
                    self.run(DiskRequest::Sync { file })?;
                }
            }
            DiskRequest::Allocate { file, len } => {
                let bytes = self.files.entry(file.to_string()).or_default();
                bytes.resize(bytes.len().max(len as usize), 0);
                self.durable.insert(file.to_string(), bytes.clone());
            }
            DiskRequest::Sync { file } => {
                let bytes = self.files.get(&*file).ok_or(DiskError::Io)?;
                self.durable.insert(file.to_string(), bytes.clone());
            }
            DiskRequest::SyncMany { files, dirs } => {
                for file in files {
                    if self.files.contains_key(&*file) {
                        self.run(DiskRequest::Sync { file })?;
                    }
                }
                dirs.iter().for_each(|dir| self.sync_dir(dir));
            }
            DiskRequest::SyncDir { dir } => self.sync_dir(&dir),
            DiskRequest::Truncate { file, len } => self
                .files
                .entry(file.to_string())
                .or_default()
                .truncate(len as usize),
            DiskRequest::Rename { from, to } => self.rename(&from, &to)?,
            DiskRequest::Unlink { file } => {
                self.unlinkable(&file)?;
                self.files.remove(&*file);
                self.removed.insert(file.to_string());
            }
            DiskRequest::RemoveDir { dir } => {
                self.unlinkable(&dir)?;
                let prefix = format!("{dir}/");
                if self.files.keys().any(|path| path.starts_with(&prefix)) {
                    return Err(DiskError::Io);
                }
                self.dirs.remove(&*dir);
                self.removed.insert(dir.to_string());
            }
        }
        Ok(DiskDone::Done)
    }
}
