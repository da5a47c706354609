//! The broker's disk: what the page cache holds, what the device holds, and what a cut leaves. The store does
//! what is asked; here faults get in its way.

mod damage;
mod file;
mod pages;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use seedlog_core::disk::{DiskDone, DiskError, DiskRequest, DiskResult};

use store::Store;

/// A disk with faults to come. A copy shares what neither side changes.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    store: Store,
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

/// What an operation is on: those of one name end in the order asked for.
pub fn path_of(request: &DiskRequest) -> &str {
    match request {
        DiskRequest::List { dir }
        | DiskRequest::SyncDir { dir }
        | DiskRequest::RemoveDir { dir } => dir,
        DiskRequest::Read { file, .. }
        | DiskRequest::Write { file, .. }
        | DiskRequest::Sync { file }
        | DiskRequest::Allocate { file, .. }
        | DiskRequest::Truncate { file, .. }
        | DiskRequest::Unlink { file } => file,
        DiskRequest::Rename { from, .. } => from,
        // Asked for only when the writes of all its files have ended.
        DiskRequest::SyncMany { .. } => "",
    }
}

impl SimDisk {
    /// Carry out one operation, with the faults that are to come.
    pub fn run(&mut self, request: &DiskRequest) -> DiskResult {
        match request {
            DiskRequest::Read { file, .. } => self.read(file, request),
            DiskRequest::Write {
                file,
                offset,
                pieces,
                sync,
            } => {
                self.write(file, *offset as usize, Bytes::from(pieces.concat()))?;
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
                dirs.iter().for_each(|dir| self.store.sync_dir(dir));
                Ok(DiskDone::Done)
            }
            DiskRequest::Allocate { file, len }
                if self.full && *len as usize > self.store.len_of(file) =>
            {
                self.fired.push("disk-full");
                Err(DiskError::NoSpace)
            }
            request => self.store.apply(request),
        }
    }

    fn read(&mut self, name: &Arc<str>, request: &DiskRequest) -> DiskResult {
        let mut request = request.clone();
        if name.ends_with(".log") {
            match (self.bad_read.take(), &mut request) {
                (Some(BadRead::Error), _) => {
                    self.fired.push("read-error");
                    return Err(DiskError::Io);
                }
                (Some(BadRead::Short), DiskRequest::Read { len, .. }) => {
                    self.fired.push("short-read");
                    *len /= 2;
                }
                (Some(BadRead::Misdirected), DiskRequest::Read { file, .. }) => {
                    let mut paths = self.store.files.keys();
                    let other = |path: &&Arc<str>| path.ends_with(".log") && *path != name;
                    if let Some(other) = paths.find(other) {
                        self.fired.push("misdirected-read");
                        *file = other.clone();
                    }
                }
                _ => {}
            }
        }
        if name.ends_with(".ring") && std::mem::take(&mut self.bad_boot_read) {
            self.fired.push("boot-read-error");
            return Err(DiskError::Io);
        }
        let result = self.store.apply(&request);
        if result == Err(DiskError::Io) {
            self.fired.push("latent-sector-error");
        }
        result
    }

    fn write(&mut self, name: &str, offset: usize, data: Bytes) -> Result<(), DiskError> {
        if self.full && offset + data.len() > self.store.len_of(name) {
            self.fired.push("disk-full");
            return Err(DiskError::NoSpace);
        }
        let broken = self.broken.as_deref();
        if broken.is_some_and(|folder| name.starts_with(folder)) {
            self.fired.push("broken-folder");
            return Err(DiskError::Io);
        }
        let mut taken = data.len();
        let failure = self.fail_write.take();
        match failure {
            Some(DiskError::Short(_)) => {
                self.fired.push("short-write");
                taken /= 2;
            }
            Some(_) => {
                self.fired.push("write-error");
                taken /= 3;
            }
            None => {}
        }
        let mut name = name;
        let other = self.store.other_segment(name).filter(|_| self.misdirect);
        if let Some(other) = &other {
            self.misdirect = false;
            self.fired.push("misdirected-write");
            self.damaged.extend([name.to_string(), other.to_string()]);
            self.store.made(name);
            name = other;
        }
        self.store.write(name, offset, data.slice(..taken));
        match failure {
            Some(DiskError::Short(_)) => Err(DiskError::Short(taken as u64)),
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let file = self.store.existing(name)?;
        if std::mem::take(&mut self.fail_sync) {
            // The pages count as clean from here on although the device never got them.
            file.unsynced.clear();
            self.fired.push("sync-error");
            return Err(DiskError::Io);
        }
        file.write_back();
        Ok(())
    }

    /// No more faults from here on; the damage done stays.
    pub fn heal(&mut self) {
        (self.fail_write, self.fail_sync, self.full) = (None, false, false);
        (self.bad_read, self.misdirect, self.bad_boot_read) = (None, false, false);
        self.broken = None;
    }

    /// The files directly in a folder, and how long they are.
    pub fn list(&self, dir: &str) -> Vec<(String, u64)> {
        self.store.list(dir)
    }

    /// The files there are.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.store.files.keys().map(|path| &**path)
    }

    /// The bytes of a file as the page cache holds them.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.store.files.get(name).map(|file| file.cache.all())
    }

    /// The folder of some partition that has a segment, with the slash.
    pub fn some_folder(&self, value: u64) -> Option<String> {
        let paths = self.store.files.keys();
        let segments = paths.filter(|path| path.ends_with(".log"));
        let mut folders: Vec<&str> = segments
            .filter_map(|path| path.rsplit_once('/'))
            .map(|(folder, _)| folder)
            .collect();
        folders.dedup();
        let folder = folders.get(value as usize % folders.len().max(1))?;
        Some(format!("{folder}/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::Draws;

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
            disk.power_loss(&mut Draws::new(seed));
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
            disk.power_loss(&mut Draws::new(*seed));
            read(&mut disk, false) == Err(DiskError::NotFound)
        });
        assert!((10..40).contains(&gone.count()));
    }
}
