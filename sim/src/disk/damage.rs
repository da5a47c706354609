//! What happens to a disk behind the broker's back: operations that a dead process had under way, a power
//! cut, and decay. Draws are keyed by file: what becomes of one is moved by no other.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use seedlog_core::disk::DiskRequest;

use super::file::{Change, File, SECTOR};
use super::pages::Pages;
use super::{path_of, SimDisk};
use crate::draws::{number_of, Draws};
use crate::plan::Choices;

/// A file that has decayed, what it held before, and which bytes cannot be had any more.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are what the line above says")]
pub struct Decayed {
    pub path: Arc<str>,
    pub before: Bytes,
    pub bytes: Range<usize>,
}

/// What became of an operation whose process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fate {
    /// The kernel was never given it.
    Nothing,
    /// A part of it happened.
    Torn,
    /// It happened, but for making it durable.
    Unsynced,
    /// It happened.
    Done,
}

impl SimDisk {
    /// The process is gone that had these operations under way, in the order asked for. Of each file's
    /// the first few happened, then perhaps a part of the next, and of those after it nothing. The page
    /// cache lives: a block that was written and not synced is torn only if power is cut as well.
    pub fn abandon(&mut self, requests: &[DiskRequest], draws: &mut Draws) {
        let mut ended: BTreeSet<&str> = BTreeSet::new();
        for request in requests {
            let path = path_of(request);
            let reads = matches!(request, DiskRequest::Read { .. } | DiskRequest::List { .. });
            if reads || ended.contains(path) {
                continue;
            }
            let mut choices = draws.of("in-flight", number_of(path));
            let fate = match choices.below(5) {
                _ if !self.has_room(request) => Fate::Nothing,
                0 => Fate::Nothing,
                1 => Fate::Torn,
                2 => Fate::Unsynced,
                _ => Fate::Done,
            };
            let journals = matches!(request, DiskRequest::Write { .. }) && path.ends_with(".ring");
            self.happened(request, fate, &mut choices);
            self.fired.push(match fate {
                Fate::Nothing => "in-flight-nothing",
                Fate::Torn if journals => "in-flight-block-torn",
                Fate::Torn => "in-flight-torn",
                Fate::Unsynced => "in-flight-unsynced",
                Fate::Done => "in-flight-done",
            });
            if fate != Fate::Done {
                ended.insert(path);
            }
        }
    }

    /// As much of an operation as its fate says. What has no parts happens or does not.
    fn happened(&mut self, request: &DiskRequest, fate: Fate, choices: &mut Choices) {
        let part = |whole: usize, choices: &mut Choices| {
            let parts = whole.div_ceil(SECTOR) as u64;
            (choices.below(parts.max(1)) as usize * SECTOR).min(whole)
        };
        match (request, fate) {
            (_, Fate::Nothing) => {}
            (
                DiskRequest::Write {
                    file,
                    offset,
                    pieces,
                    ..
                },
                Fate::Torn | Fate::Unsynced,
            ) => {
                let data = Bytes::from(pieces.concat());
                let taken = match fate {
                    Fate::Torn => part(data.len(), choices),
                    _ => data.len(),
                };
                self.store
                    .write(file, *offset as usize, data.slice(..taken));
            }
            (DiskRequest::Allocate { file, len }, Fate::Torn) => {
                let before = self.store.len_of(file);
                let more = (*len as usize).saturating_sub(before);
                let taken = part(more, choices);
                self.store.made(file).grow(before + taken);
            }
            (DiskRequest::SyncMany { files, .. }, Fate::Torn) => {
                let some = choices.below(files.len() as u64 + 1) as usize;
                for file in &files[..some] {
                    let _ = self.store.sync(file);
                }
            }
            (DiskRequest::SyncMany { .. } | DiskRequest::SyncDir { .. }, Fate::Unsynced) => {}
            (DiskRequest::Sync { .. } | DiskRequest::SyncDir { .. }, Fate::Torn) => {}
            (DiskRequest::Sync { .. }, Fate::Unsynced) => {}
            // An error would have been told to nobody.
            (request, _) => {
                let _ = self.store.apply(request);
            }
        }
    }

    fn has_room(&self, request: &DiskRequest) -> bool {
        let (file, end) = match request {
            DiskRequest::Write {
                file,
                offset,
                pieces,
                ..
            } => {
                let len: usize = pieces.iter().map(Bytes::len).sum();
                (file, *offset as usize + len)
            }
            DiskRequest::Allocate { file, len } => (file, *len as usize),
            _ => return true,
        };
        let broken = self.broken.as_deref();
        let broken = broken.is_some_and(|folder| file.starts_with(folder));
        let more = end.saturating_sub(self.store.len_of(file)) as u64;
        !broken && self.room.is_none_or(|room| more <= room)
    }

    /// Power is cut: what was not synced survives in part, in any order, torn at sectors.
    pub fn power_loss(&mut self, draws: &mut Draws) {
        self.names_lost(draws);
        let (mut first_lost, mut last_kept) = (u64::MAX, 0);
        for (path, file) in &mut self.store.files {
            let file = Arc::make_mut(file);
            for (number, change) in std::mem::take(&mut file.unsynced) {
                let mut choices = draws.of("cut", number_of(path));
                let fate = keep_in_part(&mut file.device, change, &mut choices);
                if fate == "torn-garbage" {
                    self.garbage.insert(path.to_string());
                }
                match fate {
                    "unsynced-lost" => first_lost = first_lost.min(number),
                    _ => last_kept = last_kept.max(number),
                }
                self.fired.push(fate);
            }
            file.cache = file.device.clone();
            file.named = true;
        }
        if first_lost < last_kept {
            self.fired.push("writes-reordered");
        }
    }

    /// Names that were not made durable, or whose removal was not.
    fn names_lost(&mut self, draws: &mut Draws) {
        let mut kept = |site, path: &str| draws.of(site, number_of(path)).chance(1, 2);
        let store = &mut self.store;
        for (from, to, before) in std::mem::take(&mut store.renamed).into_iter().rev() {
            if kept("rename", &to) {
                continue;
            }
            self.fired.push("rename-undone");
            if let Some(file) = store.files.remove(&to) {
                store.files.entry(from).or_insert(file);
            }
            store.files.extend(before.map(|file| (to, file)));
        }
        store.removed_dirs.clear();
        for (path, file) in std::mem::take(&mut store.removed) {
            if kept("entry-back", &path) {
                self.fired.push("entry-back");
                store.files.entry(path).or_insert(file);
            }
        }
        store.files.retain(|path, file| {
            let kept = file.named || kept("entry", path);
            if !kept {
                self.fired.push("entry-lost");
            }
            kept
        });
    }

    /// Change a file's bytes behind the broker's back.
    pub fn change(&mut self, name: &str, change: &mut dyn FnMut(&mut [u8])) {
        if let Ok(file) = self.store.existing(name) {
            file.write_back();
            let mut bytes = file.device.all().to_vec();
            change(&mut bytes);
            file.device.write(0, &bytes);
            file.cache = file.device.clone();
        }
    }

    /// A file is gone.
    pub fn lose(&mut self, name: &str) {
        self.store.files.remove(name);
    }

    /// A file that was synced and whose name ends so.
    fn synced(&self, ending: &str, choices: &mut Choices) -> Option<Arc<str>> {
        let synced = |(path, file): &(&Arc<str>, &Arc<File>)| {
            path.ends_with(ending) && file.unsynced.is_empty() && !file.device.is_empty()
        };
        let mut found: Vec<Arc<str>> = self
            .store
            .files
            .iter()
            .filter(synced)
            .map(|(path, _)| path.clone())
            .collect();
        if found.is_empty() {
            return None;
        }
        let at = choices.below(found.len() as u64) as usize;
        Some(found.swap_remove(at))
    }

    /// A sector of a synced segment cannot be read from now on.
    pub fn spoil_sector(&mut self, value: u64) -> Option<Decayed> {
        let mut choices = Choices::new(value, "sector", 0);
        let path = self.synced(".log", &mut choices)?;
        let file = self.store.existing(&path).ok()?;
        let sector = choices.below(file.device.len() as u64) as usize / SECTOR;
        let before = file.cache.all();
        file.bad.insert(sector);
        // A read that ends where the sector begins touches it.
        let bytes = (sector * SECTOR).saturating_sub(1)..(sector + 1) * SECTOR;
        Some(Decayed {
            path,
            before,
            bytes,
        })
    }

    /// A synced file whose name ends so is gone.
    pub fn lose_one(&mut self, ending: &str, value: u64) -> Option<Decayed> {
        let mut choices = Choices::new(value, "lost", 0);
        let path = self.synced(ending, &mut choices)?;
        let before = self.bytes(&path)?;
        self.lose(&path);
        let bytes = 0..before.len();
        Some(Decayed {
            path,
            before,
            bytes,
        })
    }

    /// Flip a bit of a synced file whose name ends so.
    pub fn rot(&mut self, ending: &str, value: u64) -> Option<Decayed> {
        let mut choices = Choices::new(value, "rot", 0);
        let path = self.synced(ending, &mut choices)?;
        let file = self.store.existing(&path).ok()?;
        let at = choices.below(file.device.len() as u64) as usize;
        let bit = 1 << choices.below(8);
        let before = file.cache.all();
        file.device.flip(at, bit);
        file.cache.flip(at, bit);
        let bytes = at..at + 1;
        Some(Decayed {
            path,
            before,
            bytes,
        })
    }
}

/// Nothing, everything, a prefix, any sectors, or garbage in some of them. Returns which.
fn keep_in_part(device: &mut Pages, change: Change, choices: &mut Choices) -> &'static str {
    let shape = choices.below(5);
    let (at, data) = match change {
        Change::Write(at, data) => (at, data),
        Change::Truncate(_) if shape == 0 => return "unsynced-lost",
        Change::Truncate(len) => {
            device.resize(len.min(device.len()));
            return "unsynced-kept";
        }
    };
    let prefix = choices.below(data.len() as u64 + 1) as usize;
    for (index, sector) in data.chunks(SECTOR).enumerate() {
        let from = index * SECTOR;
        match shape {
            0 => break,
            1 => device.write(at + from, sector),
            2 if from < prefix => device.write(at + from, sector),
            3 if choices.chance(1, 2) => device.write(at + from, sector),
            4 if choices.chance(1, 2) => device.write(at + from, &vec![0xa5; sector.len()]),
            4 => device.write(at + from, sector),
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
    use std::collections::BTreeMap;

    const OLD: u8 = 1;
    const NEW: u8 = 2;

    fn write(file: &str, offset: u64, sectors: usize, byte: u8, sync: bool) -> DiskRequest {
        DiskRequest::Write {
            file: file.into(),
            offset,
            pieces: vec![Bytes::from(vec![byte; sectors * SECTOR])],
            sync,
        }
    }

    /// A disk with a durable block of two sectors in a file.
    fn disk(file: &str) -> SimDisk {
        let mut disk = SimDisk::default();
        disk.run(&write(file, 0, 2, OLD, true)).expect("written");
        let dir = "journal".into();
        disk.run(&DiskRequest::SyncDir { dir }).expect("named");
        disk
    }

    #[test]
    fn of_each_file_the_first_operations_happened() {
        let mut seen = BTreeMap::new();
        for seed in 0..300 {
            let mut disk = SimDisk::default();
            let ops = [
                write("d/f", 0, 2, NEW, false),
                write("d/g", 0, 1, NEW, false),
                write("d/f", 1024, 2, NEW, false),
                DiskRequest::Unlink { file: "d/f".into() },
            ];
            disk.abandon(&ops, &mut Draws::new(seed));
            let len = disk.bytes("d/f").map(|bytes| bytes.len());
            let gone = disk.store.removed.contains_key("d/f");
            *seen.entry((len, gone)).or_insert(0) += 1;
        }
        // Nothing; its name; a sector; the first; a sector more; both; and then the file is gone.
        for (len, gone) in [
            (None, false),
            (Some(0), false),
            (Some(512), false),
            (Some(1024), false),
            (Some(1536), false),
            (Some(2048), false),
            (None, true),
        ] {
            assert!(seen.contains_key(&(len, gone)), "{len:?} {gone}: {seen:?}");
        }
        assert_eq!(seen.len(), 7, "nothing else: {seen:?}");
    }

    #[test]
    fn a_block_under_way_is_torn_and_what_was_durable_is_not() {
        let file = "journal/shard-0.ring";
        let mut seen = BTreeMap::new();
        for seed in 0..2_000 {
            let mut disk = disk(file);
            let mut draws = Draws::new(seed);
            disk.abandon(&[write(file, 1024, 2, NEW, true)], &mut draws);
            disk.power_loss(&mut draws);
            let bytes = disk.bytes(file).expect("there");
            assert_eq!(bytes[..1024], [OLD; 1024]);
            let mut rest = bytes[1024..].to_vec();
            rest.resize(1024, 0);
            let sectors: Vec<u8> = rest.chunks(SECTOR).map(|sector| sector[0]).collect();
            assert!(rest
                .chunks(SECTOR)
                .all(|sector| sector.iter().all(|b| *b == sector[0])));
            *seen.entry(sectors).or_insert(0) += 1;
        }
        for whole in [vec![0, 0], vec![NEW, NEW], vec![NEW, 0], vec![0, NEW]] {
            assert!(
                seen.get(&whole).is_some_and(|n| *n > 3),
                "{whole:?}: {seen:?}"
            );
        }
    }

    #[test]
    fn a_fork_leaves_the_disk_as_it_is() {
        let file = "journal/shard-0.ring";
        let whole = disk(file);
        let mut fork = whole.clone();
        let mut draws = Draws::new(5);
        fork.run(&write(file, 0, 4, NEW, false)).expect("written");
        fork.power_loss(&mut draws);
        fork.lose(file);
        assert_eq!(whole.bytes(file), disk(file).bytes(file));
    }

    #[test]
    fn a_rename_that_was_not_made_durable_is_undone_or_stays() {
        let mut seen = BTreeMap::new();
        for seed in 0..100 {
            let mut disk = disk("journal/a");
            disk.run(&write("journal/b", 0, 1, NEW, true))
                .expect("written");
            let dir = "journal".into();
            disk.run(&DiskRequest::SyncDir { dir }).expect("named");
            let (from, to) = ("journal/b".into(), "journal/a".into());
            disk.run(&DiskRequest::Rename { from, to })
                .expect("renamed");
            disk.power_loss(&mut Draws::new(seed));
            let len = |name| disk.bytes(name).map(|bytes| bytes.len());
            *seen
                .entry((len("journal/a"), len("journal/b")))
                .or_insert(0) += 1;
        }
        let both: Vec<_> = seen.keys().copied().collect();
        assert_eq!(both, [(Some(512), None), (Some(1024), Some(512))]);
    }
}
