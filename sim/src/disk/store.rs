//! What is on the disk, and what each operation does to it where nothing goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use seedlog_core::disk::{DiskDone, DiskError, DiskRequest, DiskResult};

use super::file::{Change, File};

/// Files and what is known of their names. A copy shares what neither side changes.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// By path.
    pub files: BTreeMap<Arc<str>, Arc<File>>,
    /// Changes so far, over all files.
    changes: u64,
    /// Removed files whose removal is not durable.
    pub removed: BTreeMap<Arc<str>, Arc<File>>,
    /// Removed folders whose removal is not durable.
    pub removed_dirs: BTreeSet<String>,
    /// Renamed files whose new name is not durable: from, to, and what was called so before.
    pub renamed: Vec<(Arc<str>, Arc<str>, Option<Arc<File>>)>,
}

/// The path is an entry of this folder.
pub fn is_in(path: &str, dir: &str) -> bool {
    path.rsplit_once('/')
        .is_some_and(|(folder, _)| folder == dir)
}

impl Store {
    /// Carry out one operation.
    pub fn apply(&mut self, request: &DiskRequest) -> DiskResult {
        match request {
            DiskRequest::List { dir } => return Ok(DiskDone::Listing(self.list(dir))),
            DiskRequest::Read {
                file,
                offset,
                len,
                past_cache,
            } => {
                let file = self.files.get(&**file).ok_or(DiskError::NotFound)?;
                return Ok(DiskDone::Data(file.read(*offset, *len, *past_cache)?));
            }
            DiskRequest::Write {
                file,
                offset,
                pieces,
                sync,
            } => {
                self.write(file, *offset as usize, Bytes::from(pieces.concat()));
                if *sync {
                    self.sync(file)?;
                }
            }
            DiskRequest::Sync { file } => self.sync(file)?,
            DiskRequest::SyncMany { files, dirs } => {
                for file in files {
                    match self.sync(file) {
                        Err(DiskError::NotFound) | Ok(()) => {}
                        Err(error) => return Err(error),
                    }
                }
                dirs.iter().for_each(|dir| self.sync_dir(dir));
            }
            DiskRequest::SyncDir { dir } => self.sync_dir(dir),
            DiskRequest::Allocate { file, len } => self.made(file).grow(*len as usize),
            DiskRequest::Truncate { file, len } => {
                let number = self.next_change();
                let file = self.existing(file)?;
                if (*len as usize) < file.cache.len() {
                    file.change(number, Change::Truncate(*len as usize));
                }
            }
            DiskRequest::Rename { from, to } => {
                let file = self.files.remove(&**from).ok_or(DiskError::NotFound)?;
                let before = self.files.insert(to.clone(), file);
                self.renamed.push((from.clone(), to.clone(), before));
            }
            DiskRequest::RemoveDir { dir } => {
                if self.files.keys().any(|path| is_in(path, dir)) {
                    return Err(DiskError::Io);
                }
                self.removed_dirs.insert(dir.to_string());
            }
            DiskRequest::Unlink { file } => {
                if let Some(gone) = self.files.remove(&**file) {
                    self.removed.insert(file.clone(), gone);
                }
            }
        }
        Ok(DiskDone::Done)
    }

    fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// The file of this name, to be changed.
    pub fn existing(&mut self, name: &str) -> Result<&mut File, DiskError> {
        let file = self.files.get_mut(name).ok_or(DiskError::NotFound)?;
        Ok(Arc::make_mut(file))
    }

    /// The file of this name, made if there is none.
    pub fn made(&mut self, name: &str) -> &mut File {
        self.removed.remove(name);
        self.removed_dirs.retain(|dir| !is_in(name, dir));
        let file = self.files.entry(name.into()).or_default();
        Arc::make_mut(file)
    }

    /// Bytes of a file; 0 if there is none.
    pub fn len_of(&self, name: &str) -> usize {
        self.files.get(name).map_or(0, |file| file.cache.len())
    }

    /// Write into the cache.
    pub fn write(&mut self, name: &str, offset: usize, data: Bytes) {
        let number = self.next_change();
        self.made(name).change(number, Change::Write(offset, data));
    }

    /// What the cache holds of a file reaches the device.
    pub fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let file = self.files.get(name).ok_or(DiskError::NotFound)?;
        if !file.unsynced.is_empty() {
            self.existing(name)?.write_back();
        }
        Ok(())
    }

    /// The entries of a folder are durable.
    pub fn sync_dir(&mut self, dir: &str) {
        let inside = self.files.iter_mut().filter(|(path, _)| is_in(path, dir));
        for (_, file) in inside.filter(|(_, file)| !file.named) {
            Arc::make_mut(file).named = true;
        }
        self.renamed.retain(|(_, to, _)| !is_in(to, dir));
        // A folder that is durably gone takes along what was in it.
        let gone = std::mem::take(&mut self.removed_dirs);
        let (gone, open) = gone.into_iter().partition(|path| is_in(path, dir));
        self.removed_dirs = open;
        let gone: BTreeSet<String> = gone;
        let back = |path: &str| !is_in(path, dir) && !gone.iter().any(|d| is_in(path, d));
        self.removed.retain(|path, _| back(path));
    }

    /// The files directly in a folder, and how long they are.
    pub fn list(&self, dir: &str) -> Vec<(String, u64)> {
        let prefix = format!("{dir}/");
        let names = self.files.iter().filter_map(|(path, file)| {
            let name = path.strip_prefix(&prefix)?;
            (!name.contains('/')).then(|| (name.to_string(), file.cache.len() as u64))
        });
        names.collect()
    }

    /// Another segment that holds something, for a segment.
    pub fn other_segment(&self, name: &str) -> Option<Arc<str>> {
        let other = |(path, file): &(&Arc<str>, &Arc<File>)| {
            path.ends_with(".log") && &***path != name && !file.device.is_empty()
        };
        let found = self.files.iter().find(other).map(|(path, _)| path.clone());
        found.filter(|_| name.ends_with(".log"))
    }
}
