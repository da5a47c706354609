//! The broker's disk: what the page cache holds, what the device holds, and what a cut leaves. The store does
//! what is asked; here faults get in its way.

mod damage;
mod file;
mod pages;
mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use seedlog_core::disk::{DiskDone, DiskError, DiskRequest, DiskResult};

use crate::plan::FaultKind;
pub use damage::Decayed;
use store::Store;

/// A disk with faults to come. A copy shares what neither side changes.
#[derive(Clone, Debug, Default, Hash)]
pub struct SimDisk {
    store: Store,
    /// Calls that fail once: the next one of this kind on a path that ends so.
    armed: Vec<(FaultKind, &'static str)>,
    /// Writes to the segments below this folder fail.
    pub broken: Option<String>,
    /// Bytes that files can still grow by; `None` if there is no end to them.
    pub room: Option<u64>,
    /// Faults that really happened since last asked.
    pub fired: Vec<&'static str>,
    /// Files damaged since last asked.
    pub damaged: Vec<String>,
    /// Files of which a power cut left garbage.
    pub garbage: BTreeSet<String>,
}

/// How the paths end on which a fault of this kind strikes.
fn reach(kind: FaultKind, value: u64) -> &'static str {
    let endings: &[&str] = match kind {
        FaultKind::MisdirectedRead | FaultKind::MisdirectedWrite => &[".log"],
        FaultKind::BootReadError => &[".ring"],
        FaultKind::ReadError | FaultKind::ShortRead => &[".log", ".log", ".seal"],
        FaultKind::WriteError | FaultKind::ShortWrite | FaultKind::SyncError => {
            &["", ".ring", ".log", ".seal"]
        }
        _ => &[""],
    };
    endings[value as usize % endings.len()]
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

/// An operation is on this file or folder, or on the folder it is in. A journal that is being made has a
/// name of its own until it is whole.
pub fn concerns(request: &DiskRequest, name: &str) -> bool {
    let is = |path: &str| path.strip_suffix(".new").unwrap_or(path) == name;
    let holds = |dir: &str| dir == name || store::is_in(name, dir);
    match request {
        DiskRequest::SyncMany { files, dirs } => {
            files.iter().any(|file| is(file)) || dirs.iter().any(|dir| holds(dir))
        }
        DiskRequest::SyncDir { dir } => holds(dir),
        DiskRequest::Rename { from, to } => is(from) || is(to),
        request => is(path_of(request)),
    }
}

impl SimDisk {
    /// The next call of this kind fails, or goes wrong; `value` says on which kind of file.
    pub fn arm(&mut self, kind: FaultKind, value: u64) {
        self.armed.push((kind, reach(kind, value)));
    }

    /// A fault of this kind is to come, wherever it strikes.
    fn is_armed(&self, kind: FaultKind) -> bool {
        self.armed.iter().any(|(armed, _)| *armed == kind)
    }

    /// A fault of this kind was to come, and strikes here.
    fn struck(&mut self, kind: FaultKind, path: &str) -> bool {
        let strikes =
            |(armed, ending): &(FaultKind, &str)| *armed == kind && path.ends_with(ending);
        let Some(at) = self.armed.iter().position(strikes) else {
            return false;
        };
        self.armed.remove(at);
        self.fired.push(kind.name());
        true
    }

    /// Carry out one operation, with the faults that are to come.
    pub fn run(&mut self, request: &DiskRequest) -> DiskResult {
        let fails = match request {
            DiskRequest::List { dir } => self.struck(FaultKind::ListError, dir),
            DiskRequest::SyncDir { dir } => self.struck(FaultKind::SyncDirError, dir),
            DiskRequest::RemoveDir { dir } => self.struck(FaultKind::RemoveDirError, dir),
            DiskRequest::Rename { to, .. } => self.struck(FaultKind::RenameError, to),
            DiskRequest::Unlink { file } => self.struck(FaultKind::UnlinkError, file),
            DiskRequest::Allocate { file, .. } => self.struck(FaultKind::GrowthError, file),
            _ => false,
        };
        if fails {
            return Err(DiskError::Io);
        }
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
                for dir in dirs {
                    self.run(&DiskRequest::SyncDir { dir: dir.clone() })?;
                }
                Ok(DiskDone::Done)
            }
            DiskRequest::Allocate { file, len } => {
                self.take_room(file, *len as usize)
                    .map_err(|_| DiskError::NoSpace)?;
                self.store.apply(request)
            }
            DiskRequest::Unlink { file } => {
                if let Some(room) = &mut self.room {
                    *room += self.store.len_of(file) as u64;
                }
                self.store.apply(request)
            }
            request => self.store.apply(request),
        }
    }

    /// The file is to grow to `end`. Where there is no room, the error says how many bytes are missing.
    fn take_room(&mut self, name: &str, end: usize) -> Result<(), usize> {
        let more = end.saturating_sub(self.store.len_of(name)) as u64;
        let Some(room) = &mut self.room else {
            return Ok(());
        };
        match room.checked_sub(more) {
            Some(left) => {
                *room = left;
                Ok(())
            }
            None => {
                self.fired.push("disk-full");
                Err((more - *room) as usize)
            }
        }
    }

    fn read(&mut self, name: &Arc<str>, request: &DiskRequest) -> DiskResult {
        if self.struck(FaultKind::ReadError, name) || self.struck(FaultKind::BootReadError, name) {
            return Err(DiskError::Io);
        }
        let mut request = request.clone();
        if let DiskRequest::Read { file, len, .. } = &mut request {
            if self.struck(FaultKind::ShortRead, name) {
                *len /= 2;
            }
            let armed = self.is_armed(FaultKind::MisdirectedRead);
            let other = armed.then(|| self.store.another_segment(name)).flatten();
            if let Some(other) = other.filter(|_| self.struck(FaultKind::MisdirectedRead, name)) {
                *file = other;
            }
        }
        let result = self.store.apply(&request);
        if result == Err(DiskError::Io) {
            self.fired.push("latent-sector-error");
        }
        result
    }

    fn write(&mut self, name: &str, offset: usize, data: Bytes) -> Result<(), DiskError> {
        let broken = self.broken.as_deref();
        if broken.is_some_and(|folder| name.starts_with(folder)) {
            self.fired.push("broken-folder");
            return Err(DiskError::Io);
        }
        let len = data.len();
        if let Err(missing) = self.take_room(name, offset + len) {
            // What still fits is there.
            let taken = len.saturating_sub(missing);
            self.room = Some(0);
            self.store.write(name, offset, data.slice(..taken));
            return Err(DiskError::NoSpace);
        }
        if self.struck(FaultKind::WriteError, name) {
            self.store.write(name, offset, data.slice(..len / 3));
            return Err(DiskError::Io);
        }
        if self.struck(FaultKind::ShortWrite, name) {
            self.store.write(name, offset, data.slice(..len / 2));
            return Err(DiskError::Short(len as u64 / 2));
        }
        let armed = self.is_armed(FaultKind::MisdirectedWrite);
        let other = armed.then(|| self.store.other_segment(name)).flatten();
        let other = other.filter(|_| self.struck(FaultKind::MisdirectedWrite, name));
        if let Some(other) = &other {
            self.damaged.extend([name.to_string(), other.to_string()]);
            self.store.made(name);
        }
        self.store
            .write(other.as_deref().unwrap_or(name), offset, data);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let fails = self.store.existing(name).is_ok() && self.struck(FaultKind::SyncError, name);
        let file = self.store.existing(name)?;
        if fails {
            // The pages count as clean from here on although the device never got them.
            file.unsynced.clear();
            return Err(DiskError::Io);
        }
        file.write_back();
        Ok(())
    }

    /// No more faults from here on; the damage done stays.
    pub fn heal(&mut self) {
        self.armed.clear();
        (self.room, self.broken) = (None, None);
    }

    /// The files directly in a folder, and how long they are.
    pub fn list(&self, dir: &str) -> Vec<(String, u64)> {
        self.store.list(dir)
    }

    /// The files there are.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.store.files.keys().map(|path| &**path)
    }

    /// Somebody else made a file.
    pub fn put(&mut self, name: &str, bytes: Bytes) {
        self.store.write(name, 0, bytes);
        let file = self.store.made(name);
        file.write_back();
        file.named = true;
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
        disk.arm(FaultKind::SyncError, 0);
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

    fn write_to(file: &str, len: usize) -> DiskRequest {
        DiskRequest::Write {
            file: file.into(),
            offset: 0,
            pieces: vec![Bytes::from(vec![7; len])],
            sync: true,
        }
    }

    #[test]
    fn every_call_fails_once_and_does_nothing_then() {
        let (dir, file, to): (Arc<str>, Arc<str>, Arc<str>) =
            ("d".into(), "d/f".into(), "d/g".into());
        let calls = [
            (FaultKind::ListError, DiskRequest::List { dir: dir.clone() }),
            (
                FaultKind::SyncDirError,
                DiskRequest::SyncDir { dir: dir.clone() },
            ),
            (
                FaultKind::RemoveDirError,
                DiskRequest::RemoveDir { dir: "e".into() },
            ),
            (
                FaultKind::UnlinkError,
                DiskRequest::Unlink { file: file.clone() },
            ),
            (
                FaultKind::GrowthError,
                DiskRequest::Allocate {
                    file: file.clone(),
                    len: 99,
                },
            ),
            (
                FaultKind::RenameError,
                DiskRequest::Rename {
                    from: file.clone(),
                    to,
                },
            ),
            (
                FaultKind::SyncDirError,
                DiskRequest::SyncMany {
                    files: vec![file.clone()],
                    dirs: vec![dir],
                },
            ),
        ];
        for (kind, call) in calls {
            let mut disk = SimDisk::default();
            disk.run(&write_to(&file, 10)).expect("written");
            disk.arm(kind, 5);
            assert_eq!(disk.run(&call), Err(DiskError::Io), "{}", kind.name());
            assert_eq!(std::mem::take(&mut disk.fired), [kind.name()]);
            assert_eq!(disk.list("d"), [("f".to_string(), 10)]);
            assert!(disk.store.removed_dirs.is_empty() && !disk.store.files[&file].named);
            assert!(disk.run(&call).is_ok() && disk.fired.is_empty());
        }
    }

    #[test]
    fn a_fault_waits_for_a_file_in_its_reach() {
        let mut disk = SimDisk::default();
        disk.arm(FaultKind::WriteError, 2);
        disk.run(&write_to("journal/shard-0.ring", 9))
            .expect("a journal");
        disk.run(&write_to("t/0.seal", 9)).expect("a side file");
        assert_eq!(disk.run(&write_to("t/0.log", 9)), Err(DiskError::Io));
        disk.run(&write_to("t/0.log", 9)).expect("once");
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let mut disk = SimDisk {
            room: Some(600),
            ..SimDisk::default()
        };
        assert_eq!(disk.run(&write_to("d/f", 1024)), Err(DiskError::NoSpace));
        assert_eq!(disk.list("d"), [("f".to_string(), 600)]);
        disk.run(&write_to("d/f", 500)).expect("it does not grow");
        assert_eq!(disk.run(&write_to("d/g", 1)), Err(DiskError::NoSpace));
        disk.run(&DiskRequest::Unlink { file: "d/f".into() })
            .expect("room again");
        disk.run(&write_to("d/g", 600)).expect("it fits");
    }

    #[test]
    fn a_side_file_rots_or_goes() {
        let mut disk = SimDisk::default();
        disk.run(&write_to("t/0.log", 900)).expect("a segment");
        disk.run(&write_to("t/0.seal", 90)).expect("its rows");
        assert_eq!(
            disk.rot(".seal", 3).map(|it| it.path).as_deref(),
            Some("t/0.seal")
        );
        let bytes = disk.bytes("t/0.seal").expect("there");
        let flipped: u32 = bytes.iter().map(|byte| (byte ^ 7).count_ones()).sum();
        assert_eq!(flipped, 1);
        assert_eq!(disk.bytes("t/0.log"), Some(Bytes::from(vec![7; 900])));
        assert_eq!(
            disk.lose_one(".seal", 3).map(|it| it.path).as_deref(),
            Some("t/0.seal")
        );
        assert_eq!(disk.list("t"), [("0.log".to_string(), 900)]);
        assert!(disk.lose_one(".seal", 3).is_none());
    }

    #[test]
    fn a_shard_may_name_only_what_failed() {
        let ring = "journal/shard-1.ring";
        let sync = |file: &str, dir: &str| DiskRequest::SyncMany {
            files: vec![file.into()],
            dirs: vec![dir.into()],
        };
        assert!(concerns(&write_to(ring, 1), ring));
        assert!(concerns(&write_to("journal/shard-1.ring.new", 1), ring));
        assert!(concerns(&sync("t/0.log", "journal"), ring));
        assert!(!concerns(&sync("t/0.log", "t"), ring));
        assert!(!concerns(&write_to("journal/shard-0.ring", 1), ring));
        assert!(!concerns(&write_to("t/0.log", 1), ring));
        let list = DiskRequest::List {
            dir: "journal".into(),
        };
        assert!(concerns(&list, "journal") && !concerns(&list, ring));
    }
}
