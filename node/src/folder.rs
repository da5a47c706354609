//! The data folder: locked by one process, and stamped with who it belongs to.
//!
//! The stamp stands in two checksummed copies. An unknown or unreadable stamp is refused, never
//! formatted over; a folder is formatted only when it is empty.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{flock, FlockOperation};
use seedlog_core::ids::{NodeId, Uuid};
use seedlog_core::shard::shards_to_run;

use crate::operator::tell;

const MAGIC: &[u8; 8] = b"SEEDLOG\x01";
/// 2: the number of shards is not stamped any more, but noted in the metadata.
const VERSION: u32 = 2;
const LEN: usize = 8 + 4 + 16 + 16 + 4 + 4;
const COPIES: [&str; 2] = ["stamp.a", "stamp.b"];
const LOCK: &str = "lock";
/// Shards of a broker at most: each is five threads.
pub const SHARDS_MAX: u16 = 256;

/// Who a data folder belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Cluster.
    pub cluster: Uuid,
    /// This folder.
    pub directory: Uuid,
    /// The broker.
    pub node: NodeId,
}

/// An open data folder; the lock is held as long as it lives.
#[derive(Debug)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Who it belongs to.
    pub stamp: Stamp,
    lock: File,
}

impl Folder {
    /// The folder is still where it was, and this process's. An open file outlives its name: records would be
    /// acknowledged that no start finds, and without the lock a second broker would come in. What cannot be
    /// looked at is not gone.
    ///
    /// # Errors
    /// Says that the folder or its lock is gone, or another one.
    pub fn is_still_there(&self) -> Result<(), String> {
        let found = match fs::metadata(self.path.join(LOCK)) {
            Ok(found) => Some(found),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(_) => return Ok(()),
        };
        let Ok(held) = self.lock.metadata() else {
            return Ok(());
        };
        let same = |found: fs::Metadata| (found.dev(), found.ino()) == (held.dev(), held.ino());
        match found.is_some_and(same) {
            true => Ok(()),
            false => Err(format!(
                "{}: the data folder or its lock was removed while the broker ran; what is \
                 acknowledged from here on would be lost",
                self.path.display()
            )),
        }
    }

    /// Shards that must run where so many are wanted.
    pub fn shards_to_run(&self, wanted: u16) -> Result<u16, String> {
        let path = self.path.join("journal");
        let names: Vec<String> = match fs::read_dir(&path) {
            Ok(entries) => entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<std::io::Result<_>>()
                .map_err(|e| format!("{}: {e}", path.display()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        let running = shards_to_run(wanted, names.iter().map(String::as_str));
        match running {
            0..=SHARDS_MAX => Ok(running),
            _ => Err(format!(
                "{}: shard-{}.ring: there are {SHARDS_MAX} shards at most",
                path.display(),
                running - 1
            )),
        }
    }

    /// Lock the folder and read its stamp; format an empty one.
    pub fn open(path: &Path) -> Result<Folder, String> {
        let name = path.display();
        fs::create_dir_all(path).map_err(|e| format!("{name}: cannot be made: {e}"))?;
        let lock = lock(path)?;
        let copies = COPIES.map(|copy| read_copy(&path.join(copy)));
        let stamp = match &copies {
            [Ok(Some(a)), Ok(Some(b))] if a != b => {
                return Err(format!(
                    "{name}: stamp.a and stamp.b disagree; neither is trusted"
                ));
            }
            [Ok(Some(stamp)), other] | [other, Ok(Some(stamp))] => {
                if !matches!(other, Ok(Some(_))) {
                    tell(&format!(
                        "{name}: one copy of the stamp was bad and is written anew"
                    ));
                    write_stamp(path, stamp)?;
                }
                *stamp
            }
            [Ok(None), Ok(None)] => format(path)?,
            [Err(reason), _] | [_, Err(reason)] => {
                return Err(format!("{name}: {reason}; it is left untouched"));
            }
        };
        Ok(Folder {
            path: path.to_path_buf(),
            stamp,
            lock,
        })
    }
}

fn lock(path: &Path) -> Result<File, String> {
    let file = path.join(LOCK);
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file);
    let mut lock = open.map_err(|e| format!("{}: {e}", file.display()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        let _ = lock.read_to_string(&mut owner);
        let owner = owner.trim();
        return Err(format!(
            "{}: in use by another process (pid {owner})",
            path.display()
        ));
    }
    let written = lock
        .set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    written.map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(lock)
}

fn read_copy(path: &Path) -> Result<Option<Stamp>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("the stamp cannot be read: {e}")),
    };
    if bytes.len() < 12 || &bytes[..8] != MAGIC {
        return Err("the stamp is damaged or of another program".into());
    }
    let word =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if word(8) != VERSION {
        return Err(format!(
            "format version {} is unknown to this build",
            word(8)
        ));
    }
    if bytes.len() != LEN || word(LEN - 4) != crc32c::crc32c(&bytes[..LEN - 4]) {
        return Err("the stamp is damaged".into());
    }
    let id = |at: usize| {
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[at..at + 16]);
        Uuid(id)
    };
    Ok(Some(Stamp {
        cluster: id(12),
        directory: id(28),
        node: NodeId(word(44) as i32),
    }))
}

fn encode(stamp: &Stamp) -> Vec<u8> {
    let mut out = Vec::with_capacity(LEN);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&stamp.cluster.0);
    out.extend_from_slice(&stamp.directory.0);
    out.extend_from_slice(&stamp.node.0.to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
    out
}

fn format(path: &Path) -> Result<Stamp, String> {
    let name = path.display();
    let entries = fs::read_dir(path).map_err(|e| format!("{name}: {e}"))?;
    let strangers = entries.flatten().filter(|entry| {
        // A crash while formatting leaves half-written stamps, and nothing else.
        let file = entry.file_name();
        file != LOCK && !file.to_string_lossy().ends_with(".new")
    });
    if let Some(stranger) = strangers.into_iter().next() {
        let file = stranger.file_name();
        return Err(format!(
            "{name}: it has no stamp but is not empty ({}); it is left untouched",
            file.to_string_lossy()
        ));
    }
    let draw = || -> Result<Uuid, String> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| format!("no randomness: {e}"))?;
        Ok(Uuid(id))
    };
    let stamp = Stamp {
        cluster: draw()?,
        directory: draw()?,
        node: NodeId(0),
    };
    write_stamp(path, &stamp)?;
    Ok(stamp)
}

fn write_stamp(path: &Path, stamp: &Stamp) -> Result<(), String> {
    for copy in COPIES {
        let (file, fresh) = (path.join(copy), path.join(format!("{copy}.new")));
        let write = || -> std::io::Result<()> {
            let mut out = File::create(&fresh)?;
            out.write_all(&encode(stamp))?;
            out.sync_all()?;
            fs::rename(&fresh, &file)?;
            File::open(path)?.sync_all()
        };
        write().map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("seedlog-folder-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_stamp_is_kept_and_one_bad_copy_is_mended() {
        let path = folder("kept");
        let stamp = Folder::open(&path).expect("formatted").stamp;
        fs::write(path.join("stamp.a"), b"junk").expect("written");
        assert_eq!(Folder::open(&path).expect("mended").stamp, stamp);
        fs::write(path.join("stamp.b"), b"junk").expect("written");
        assert_eq!(Folder::open(&path).expect("mended").stamp, stamp);
        fs::remove_dir_all(&path).expect("removed");
    }

    #[test]
    fn what_is_not_understood_is_refused_and_left_alone() {
        let path = folder("refused");
        let stamp = Folder::open(&path).expect("formatted").stamp;
        let mut newer = encode(&stamp);
        newer[11] = 9;
        for copy in COPIES {
            fs::write(path.join(copy), &newer).expect("written");
        }
        let refusal = Folder::open(&path).expect_err("unknown version");
        assert!(refusal.contains("version 9"), "{refusal}");
        for copy in COPIES {
            assert_eq!(fs::read(path.join(copy)).expect("read"), newer);
            fs::remove_file(path.join(copy)).expect("removed");
        }
        fs::write(path.join("precious"), b"data").expect("written");
        let refusal = Folder::open(&path).expect_err("not empty");
        assert!(refusal.contains("precious"), "{refusal}");
        fs::remove_dir_all(&path).expect("removed");
    }

    #[test]
    fn a_folder_has_one_owner() {
        let path = folder("owner");
        let first = Folder::open(&path).expect("formatted");
        let refusal = Folder::open(&path).expect_err("locked");
        assert!(
            refusal.contains(&std::process::id().to_string()),
            "{refusal}"
        );
        drop(first);
        Folder::open(&path).expect("free again");
        fs::remove_dir_all(&path).expect("removed");
    }
}
