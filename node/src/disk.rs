//! The disk executor: threads that carry out a shard's disk operations.
//!
//! One thread owns the journal, where a write and its sync are one job; one syncs what write-behind
//! wrote; others share the rest by file, so that one file's operations complete in issue order. An
//! error is the answer, never retried.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{fallocate, FallocateFlags};
use seedlog_core::contract::Input;
use seedlog_core::disk::{DiskDone, DiskError, DiskOp, DiskRequest, DiskResult, Path as DiskPath};
use tokio::sync::mpsc::UnboundedSender;

use crate::open_files::OpenFiles;
use crate::operator::Rarely;
use crate::shard_loop::Event;
use crate::throttle::Throttle;

/// Threads beside the journal's that open segments and keep them open.
pub const BACKGROUND: usize = 2;
/// The journal's thread keeps its file open, and one that is being made; the one that syncs keeps none.
const JOURNAL_FILES: usize = 2;
/// Slices in one system call (IOV_MAX).
const SLICES_MAX: usize = 1024;
/// From so many files on, one `syncfs` is cheaper than a sync per file even where others use the
/// file system too: 5,000 partitions checkpointed file by file took 480 device flushes per request
/// of one batch each, and producers waited for room in the ring (.ci/power/flushes.py).
const SYNC_ALL_FROM: usize = 32;
/// What direct I/O wants file offsets, lengths and memory to be a multiple of.
const ALIGNED: usize = 4096;
/// One line at most in so long about what a thread's operations met.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Bytes of one direct write.
const DIRECT_BYTES: usize = 2 << 20;

/// Where a shard sends its operations.
#[derive(Debug)]
pub struct Executor {
    journal: Sender<DiskOp>,
    syncs: Sender<DiskOp>,
    background: Vec<Sender<DiskOp>>,
}

impl Executor {
    /// Start the threads; completions go to `done`. Each background thread keeps `files` open at most
    /// (`limits.rs`).
    pub fn start(
        root: &Path,
        shard: u16,
        files: usize,
        done: &UnboundedSender<Event>,
        throttle: &Throttle,
    ) -> io::Result<Executor> {
        let spawn = |name: String, files: usize| -> io::Result<Sender<DiskOp>> {
            let (send, receive) = channel();
            let done = done.clone();
            let mut worker = Worker::new(root, files)?;
            worker.throttle = throttle.clone();
            let run = move || worker.run(&receive, &done);
            thread::Builder::new().name(name).spawn(run)?;
            Ok(send)
        };
        let journal = spawn(format!("journal-{shard}"), JOURNAL_FILES)?;
        let background = (0..BACKGROUND).map(|n| spawn(format!("disk-{shard}-{n}"), files));
        Ok(Executor {
            journal,
            syncs: spawn(format!("syncs-{shard}"), 1)?,
            background: background.collect::<io::Result<_>>()?,
        })
    }

    /// Hand out one operation.
    pub fn submit(&self, op: DiskOp) {
        let path = path_of(&op.request);
        let many = matches!(op.request, DiskRequest::SyncMany { .. });
        let lane = match path.starts_with("journal") {
            true => &self.journal,
            false if many => &self.syncs,
            false => {
                // The name without its ending, so that a segment and its rows share a thread.
                let stem = path.rsplit_once('.').map_or(path, |(stem, _)| stem);
                let sum = stem
                    .bytes()
                    .fold(0usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
                &self.background[sum % self.background.len()]
            }
        };
        // A worker ends only with the process.
        let _ = lane.send(op);
    }
}

fn path_of(request: &DiskRequest) -> &str {
    match request {
        DiskRequest::List { dir } | DiskRequest::SyncDir { dir } => dir,
        DiskRequest::Read { file, .. }
        | DiskRequest::Write { file, .. }
        | DiskRequest::Sync { file }
        | DiskRequest::Allocate { file, .. }
        | DiskRequest::Truncate { file, .. }
        | DiskRequest::Unlink { file } => file,
        DiskRequest::RemoveDir { dir } => dir,
        DiskRequest::Rename { from, .. } => from,
        DiskRequest::SyncMany { .. } => "",
    }
}

fn call_of(request: &DiskRequest) -> &'static str {
    match request {
        DiskRequest::List { .. } => "list",
        DiskRequest::Read { .. } => "read",
        DiskRequest::Write { .. } => "write",
        DiskRequest::Sync { .. } | DiskRequest::SyncDir { .. } => "sync",
        DiskRequest::SyncMany { .. } => "sync of written segments",
        DiskRequest::Allocate { .. } => "allocate",
        DiskRequest::Truncate { .. } => "truncate",
        DiskRequest::Rename { .. } => "rename",
        DiskRequest::Unlink { .. } | DiskRequest::RemoveDir { .. } => "remove",
    }
}

struct Worker {
    root: PathBuf,
    /// Open from the start: `syncfs` tells of errors since then.
    folder: File,
    open: OpenFiles,
    /// The file last written past the page cache, by name; `None` where the file system has no
    /// direct I/O.
    direct: Option<(String, Option<File>)>,
    /// Memory for direct writes, used again and again.
    buffer: Vec<u8>,
    throttle: Throttle,
    /// A disk that fails fails many operations.
    told: Rarely,
}

/// Why an operation failed, as the system says it.
enum Failure {
    System(io::Error),
    /// A write ended after so many bytes.
    Short(u64),
}

type Outcome = Result<DiskDone, Failure>;

impl<E: Into<io::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::System(error.into())
    }
}

impl Failure {
    /// What the core is told, and what the operator is told beside it: absence is an answer, no fault.
    fn split(self) -> (DiskError, Option<String>) {
        match self {
            Failure::Short(written) => (
                DiskError::Short(written),
                Some(format!("it ended after {written} bytes")),
            ),
            Failure::System(error) => match error.kind() {
                io::ErrorKind::NotFound => (DiskError::NotFound, None),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    (DiskError::NoSpace, Some(error.to_string()))
                }
                _ => (DiskError::Io, Some(error.to_string())),
            },
        }
    }
}

impl Worker {
    fn new(root: &Path, files: usize) -> io::Result<Worker> {
        Ok(Worker {
            root: root.to_path_buf(),
            folder: File::open(root)?,
            open: OpenFiles::new(files),
            direct: None,
            buffer: Vec::new(),
            throttle: Throttle::default(),
            told: Rarely::every(TELL_EVERY),
        })
    }

    fn run(mut self, receive: &Receiver<DiskOp>, done: &UnboundedSender<Event>) {
        while let Ok(DiskOp { op, request }) = receive.recv() {
            let result = self.answer(&request);
            if done.send(Event::Input(Input::Disk { op, result })).is_err() {
                return;
            }
        }
    }

    /// Carry it out, and tell the operator why it failed.
    fn answer(&mut self, request: &DiskRequest) -> DiskResult {
        self.carry_out(request).map_err(|failure| {
            let (error, told) = failure.split();
            if let Some(told) = told {
                let (call, name) = (call_of(request), path_of(request));
                self.told.tell(&format!("{call} {name}: {told}"));
            }
            error
        })
    }

    fn carry_out(&mut self, request: &DiskRequest) -> Outcome {
        let done = match request {
            DiskRequest::List { dir } => return self.list(dir),
            DiskRequest::Read {
                file,
                offset,
                len,
                past_cache,
            } => return self.read(file, *offset, *len, *past_cache),
            DiskRequest::Write {
                file,
                offset,
                pieces,
                sync,
            } => return self.write(file, *offset, pieces, *sync),
            DiskRequest::Sync { file } => self.file(file, false).and_then(|file| file.sync_data()),
            DiskRequest::SyncMany { files, dirs } => self.sync_many(files, dirs),
            DiskRequest::SyncDir { dir } => self.sync_dir(dir),
            DiskRequest::Allocate { file, len } => self.file(file, true).and_then(|file| {
                fallocate(&*file, FallocateFlags::empty(), 0, *len)?;
                file.sync_all()
            }),
            DiskRequest::Truncate { file, len } => {
                self.file(file, false).and_then(|file| file.set_len(*len))
            }
            DiskRequest::Rename { from, to } => {
                self.forget(from);
                self.forget(to);
                fs::rename(self.root.join(&**from), self.root.join(&**to))
            }
            DiskRequest::RemoveDir { dir } => match fs::remove_dir(self.root.join(&**dir)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
            DiskRequest::Unlink { file } => {
                self.forget(file);
                match fs::remove_file(self.root.join(&**file)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => other,
                }
            }
        };
        done.map(|()| DiskDone::Done).map_err(Failure::from)
    }

    /// The name will mean another file, or none.
    fn forget(&mut self, name: &str) {
        self.open.remove(name);
        self.direct = self.direct.take().filter(|(known, _)| known != name);
    }

    /// The open file; `create` makes it, and its folders, when absent.
    fn file(&mut self, name: &str, create: bool) -> io::Result<&mut File> {
        if self.open.get(name).is_none() {
            self.open.make_room();
            let path = self.root.join(name);
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(create)
                .truncate(false);
            let file = match options.open(&path) {
                Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(path.parent().unwrap_or(&self.root))?;
                    options.open(&path)?
                }
                other => other?,
            };
            self.open.keep(name, file);
        }
        self.open
            .get(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &str) -> Outcome {
        let entries = match fs::read_dir(self.root.join(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(DiskDone::Listing(Vec::new()))
            }
            other => other?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            // Shards share the journal's folder: another one may rename or unlink its own file between
            // the entry and the look at it, and then there is nothing to list.
            let meta = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if meta.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), meta.len()));
            }
        }
        files.sort();
        Ok(DiskDone::Listing(files))
    }

    fn read(&mut self, name: &str, offset: u64, len: u64, past_cache: bool) -> Outcome {
        if past_cache && offset.is_multiple_of(ALIGNED as u64) {
            if let Some(bytes) = self.read_direct(name, offset, len) {
                return Ok(DiskDone::Data(bytes));
            }
        }
        let file = self.file(name, false)?;
        let size = file.metadata()?.len();
        if past_cache {
            // Clean pages are dropped, so that the bytes come from the device.
            rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        let mut bytes = vec![0; len.min(size.saturating_sub(offset)) as usize];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(DiskDone::Data(Bytes::from(bytes)))
    }

    /// Read past the page cache. `None` where that does not work: the caller reads otherwise, and it
    /// is that read whose error counts.
    fn read_direct(&self, name: &str, offset: u64, len: u64) -> Option<Bytes> {
        let mut options = OpenOptions::new();
        let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
        let file = options.read(true).custom_flags(direct);
        let file = file.open(self.root.join(name)).ok()?;
        let size = file.metadata().ok()?.len();
        let wanted = usize::try_from(len.min(size.saturating_sub(offset))).ok()?;
        let mut buffer = vec![0; wanted.next_multiple_of(ALIGNED) + ALIGNED];
        let start = buffer.as_ptr().align_offset(ALIGNED);
        let mut taken = 0;
        while taken < wanted {
            let rest = buffer.get_mut(start + taken..start + wanted.next_multiple_of(ALIGNED))?;
            match file.read_at(rest, offset + taken as u64).ok()? {
                0 => return None,
                more => taken += more,
            }
        }
        Some(Bytes::from(buffer).slice(start..start + wanted))
    }

    fn write(&mut self, name: &str, offset: u64, pieces: &[Bytes], sync: bool) -> Outcome {
        let size: usize = pieces.iter().map(Bytes::len).sum();
        self.throttle.wait(size as u64);
        let whole = size.is_multiple_of(ALIGNED) && offset.is_multiple_of(ALIGNED as u64);
        if whole && sync && name.ends_with(".ring") {
            if let Some(done) = self.write_direct(name, offset, pieces) {
                return done;
            }
        }
        let file = self.file(name, true)?;
        let mut at = offset;
        let mut written = 0;
        for group in pieces.chunks(SLICES_MAX) {
            let mut slices: Vec<IoSlice<'_>> =
                group.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&*file, rest, at) {
                    Ok(0) => return Err(Failure::Short(written)),
                    Ok(taken) => {
                        at += taken as u64;
                        written += taken as u64;
                        IoSlice::advance_slices(&mut rest, taken);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if sync {
            file.sync_data()?;
        }
        Ok(DiskDone::Done)
    }

    /// Write whole blocks past the page cache and sync them; `None` if this file system cannot.
    ///
    /// A page that is new to the page cache costs up to 3 us on a virtual machine, more than the
    /// checksums of what it holds; the ring is written once and read only at a start.
    fn write_direct(&mut self, name: &str, offset: u64, pieces: &[Bytes]) -> Option<Outcome> {
        if self.direct.as_ref().is_none_or(|(known, _)| known != name) {
            let mut options = OpenOptions::new();
            options
                .write(true)
                .custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
            let file = options.open(self.root.join(name)).ok();
            self.direct = Some((name.to_string(), file));
        }
        let (_, file) = self.direct.as_mut()?;
        let direct = file.as_ref()?;
        if self.buffer.is_empty() {
            self.buffer = vec![0; DIRECT_BYTES + ALIGNED];
        }
        let start = self.buffer.as_ptr().align_offset(ALIGNED);
        let buffer = self.buffer.get_mut(start..start + DIRECT_BYTES)?;
        match write_through(direct, buffer, offset, pieces) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                *file = None;
                None
            }
            written => {
                let synced = written.and_then(|()| direct.sync_data());
                Some(synced.map(|()| DiskDone::Done).map_err(Failure::from))
            }
        }
    }

    /// Files are opened anew: one of the same name may have taken the place of one kept open.
    fn sync_many(&self, files: &[DiskPath], dirs: &[DiskPath]) -> io::Result<()> {
        if files.len() >= SYNC_ALL_FROM {
            return Ok(rustix::fs::syncfs(&self.folder)?);
        }
        for file in files {
            match File::open(self.root.join(&**file)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync_data()?,
            }
        }
        let all: BTreeSet<&Path> = dirs
            .iter()
            .flat_map(|dir| Path::new(&**dir).ancestors())
            .collect();
        all.iter().try_for_each(|dir| match self.sync_one_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fs::create_dir_all(self.root.join(dir))?;
        Path::new(dir)
            .ancestors()
            .try_for_each(|dir| self.sync_one_dir(dir))
    }

    fn sync_one_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(self.root.join(dir))?.sync_all()
    }
}

/// Write the pieces one after the other from `at`, as much at a time as fits into `buffer`.
fn write_through(file: &File, buffer: &mut [u8], mut at: u64, pieces: &[Bytes]) -> io::Result<()> {
    let mut filled = 0;
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            if filled == buffer.len() {
                file.write_all_at(buffer, at)?;
                (at, filled) = (at + filled as u64, 0);
            }
            let (now, later) = rest.split_at(rest.len().min(buffer.len() - filled));
            buffer[filled..filled + now.len()].copy_from_slice(now);
            (filled, rest) = (filled + now.len(), later);
        }
    }
    file.write_all_at(&buffer[..filled], at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::ids::OpId;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[test]
    fn what_is_written_past_the_cache_lands_in_the_file_it_names() {
        let root = std::env::temp_dir().join(format!("seedlog-direct-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("journal")).expect("made");
        let mut worker = Worker::new(&root, 1).expect("open");
        let page = |byte: u8| Bytes::from(vec![byte; ALIGNED]);
        let mut write = |name: &str, byte: u8| {
            let pieces = vec![page(byte)];
            let file: DiskPath = format!("journal/{name}").into();
            let len = ALIGNED as u64;
            // A direct write creates nothing.
            let made = worker.answer(&DiskRequest::Allocate {
                file: file.clone(),
                len,
            });
            let written = worker.answer(&DiskRequest::Write {
                file,
                offset: 0,
                pieces,
                sync: true,
            });
            assert_eq!((made, written), (Ok(DiskDone::Done), Ok(DiskDone::Done)));
        };
        for (name, byte) in [("a.ring", 1), ("a.ring", 2), ("b.ring", 3), ("note", 4)] {
            write(name, byte);
        }
        for (name, byte) in [("a.ring", 2), ("b.ring", 3), ("note", 4)] {
            let held = fs::read(root.join("journal").join(name)).expect("read");
            assert!(held == page(byte), "{name} holds {:?}", held.first());
        }
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn the_operator_hears_why_and_absence_is_no_fault() {
        let split = |error: rustix::io::Errno| Failure::from(io::Error::from(error)).split();
        assert_eq!(split(rustix::io::Errno::NOENT), (DiskError::NotFound, None));
        for (errno, told, why) in [
            (
                rustix::io::Errno::NOSPC,
                DiskError::NoSpace,
                "No space left",
            ),
            (rustix::io::Errno::DQUOT, DiskError::NoSpace, "quota"),
            (rustix::io::Errno::IO, DiskError::Io, "Input/output error"),
            (rustix::io::Errno::ROFS, DiskError::Io, "Read-only"),
        ] {
            let (error, text) = split(errno);
            assert_eq!(error, told, "{errno}");
            assert!(text.is_some_and(|text| text.contains(why)), "{errno}");
        }
        assert_eq!(Failure::Short(7).split().0, DiskError::Short(7));
    }

    #[test]
    fn an_empty_folder_goes_and_a_gone_one_counts_as_synced() {
        let root = std::env::temp_dir().join(format!("seedlog-rmdir-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("topics")).expect("made");
        let mut worker = Worker::new(&root, 1).expect("open");
        let (dir, file): (DiskPath, DiskPath) = ("topics/a-0".into(), "topics/a-0/x.log".into());
        let pieces = vec![Bytes::from_static(b"x")];
        let write = DiskRequest::Write {
            file: file.clone(),
            offset: 0,
            pieces,
            sync: false,
        };
        let remove = DiskRequest::RemoveDir { dir: dir.clone() };
        let sync = DiskRequest::SyncMany {
            files: vec![file.clone()],
            dirs: vec![dir.clone()],
        };
        let steps = [
            (remove.clone(), Ok(DiskDone::Done)),
            (write, Ok(DiskDone::Done)),
            (remove.clone(), Err(DiskError::Io)),
            (DiskRequest::Unlink { file }, Ok(DiskDone::Done)),
            (remove, Ok(DiskDone::Done)),
            (DiskRequest::List { dir }, Ok(DiskDone::Listing(Vec::new()))),
            (sync, Ok(DiskDone::Done)),
        ];
        for (step, (request, wanted)) in steps.into_iter().enumerate() {
            assert_eq!(worker.answer(&request), wanted, "step {step}");
        }
        assert!(!root.join("topics/a-0").exists());
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn a_listing_outlives_what_other_shards_rename_meanwhile() {
        let root = std::env::temp_dir().join(format!("seedlog-list-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let journal = root.join("journal");
        fs::create_dir_all(&journal).expect("made");
        fs::write(journal.join("shard-0.ring"), b"mine").expect("written");
        // As many as make it likely that one goes between its entry and the look at it.
        let theirs: Vec<_> = (1..64)
            .map(|n| journal.join(format!("shard-{n}.ring.new")))
            .collect();
        let renamed = AtomicUsize::new(0);
        let listed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !listed.load(Ordering::Relaxed) {
                    for file in &theirs {
                        fs::write(file, b"").expect("written");
                        fs::rename(file, file.with_extension("")).expect("renamed");
                        renamed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let mut worker = Worker::new(&root, 1).expect("open");
            let mine = ("shard-0.ring".to_string(), 4);
            let dir: DiskPath = "journal".into();
            let mut answers = Vec::new();
            while answers.len() < 300 || renamed.load(Ordering::Relaxed) < 2000 {
                answers.push(worker.answer(&DiskRequest::List { dir: dir.clone() }));
            }
            listed.store(true, Ordering::Relaxed);
            for answer in answers {
                let lists_mine =
                    matches!(&answer, Ok(DiskDone::Listing(files)) if files.contains(&mine));
                assert!(lists_mine, "{answer:?}");
            }
        });
        fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn operations_on_one_file_end_in_order_and_do_what_they_say() {
        let root = std::env::temp_dir().join(format!("seedlog-disk-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).expect("made");
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let executor = Executor::start(&root, 0, 1, &send, &Throttle::default()).expect("started");
        let file: seedlog_core::disk::Path = "topics/a-0/x.log".into();
        let pieces = vec![Bytes::from_static(b"hello "), Bytes::from_static(b"world")];
        let requests = [
            DiskRequest::Read {
                file: file.clone(),
                offset: 0,
                len: 9,
                past_cache: false,
            },
            DiskRequest::Write {
                file: file.clone(),
                offset: 2,
                pieces,
                sync: true,
            },
            DiskRequest::Read {
                file: file.clone(),
                offset: 0,
                len: 100,
                past_cache: false,
            },
            DiskRequest::Truncate {
                file: file.clone(),
                len: 4,
            },
            DiskRequest::Read {
                file: file.clone(),
                offset: 1,
                len: 100,
                past_cache: false,
            },
            DiskRequest::Unlink { file: file.clone() },
            DiskRequest::Unlink { file: file.clone() },
            DiskRequest::Read {
                file,
                offset: 0,
                len: 1,
                past_cache: true,
            },
        ];
        for (op, request) in (0..).map(OpId).zip(requests) {
            executor.submit(DiskOp { op, request });
        }
        let mut results = Vec::new();
        while results.len() < 8 {
            match receive.blocking_recv() {
                Some(Event::Input(Input::Disk { op, result })) => {
                    assert_eq!(op, OpId(results.len() as u64));
                    results.push(result);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(results[0], Err(DiskError::NotFound));
        assert_eq!(
            results[2],
            Ok(DiskDone::Data(Bytes::from_static(b"\0\0hello world")))
        );
        assert_eq!(results[4], Ok(DiskDone::Data(Bytes::from_static(b"\0he"))));
        assert_eq!(results[6], Ok(DiskDone::Done));
        assert_eq!(results[7], Err(DiskError::NotFound));
        fs::remove_dir_all(&root).expect("removed");
    }
}
