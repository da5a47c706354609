//! Disk operations as data. The core asks, a driver does, the result comes back as an input.
//!
//! Paths are relative to the broker's data folder, `/`-separated. Mutations of one file complete in
//! the order they were asked for; reads complete in any order. Nothing completes inline. A driver
//! never retries: the first error is the answer, and it is the core that decides what it means.

use bytes::Bytes;
use std::sync::Arc;

use crate::ids::OpId;

/// A file's path below the data folder.
pub type Path = Arc<str>;

/// One operation, named so that its completion can be matched.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct DiskOp {
    /// The name of this operation.
    pub op: OpId,
    /// What to do.
    pub request: DiskRequest,
}

/// What a driver can do to a disk.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum DiskRequest {
    /// Names and sizes of the files directly in a folder; an absent folder is an empty list.
    List {
        /// Folder.
        dir: Path,
    },
    /// Read `len` bytes; fewer come back only at the end of the file ([`DiskDone::Data`]).
    Read {
        /// File.
        file: Path,
        /// First byte.
        offset: u64,
        /// Bytes wanted.
        len: u64,
        /// From the device, not from the page cache: after a failed sync the cache may hold what
        /// the device does not, and calls it clean (ATC'20). Recovery reads so.
        past_cache: bool,
    },
    /// Write the pieces one after the other from `offset`, creating file and parent folders when
    /// absent. With `sync`, the data is durable (fdatasync) before completion: this is the
    /// journal's one write-and-sync job. A file's own directory entry is durable only after
    /// [`DiskRequest::SyncDir`] on its folder.
    Write {
        /// File.
        file: Path,
        /// Where the first piece goes.
        offset: u64,
        /// The bytes.
        pieces: Vec<Bytes>,
        /// Make it durable before completing.
        sync: bool,
    },
    /// fdatasync one file.
    Sync {
        /// File.
        file: Path,
    },
    /// Make the data of all these files, and the entries of all these folders, durable: a
    /// checkpoint of many partitions is one operation, and a driver may sync the whole file system
    /// instead of a thousand files. A file or folder that is gone by now counts as synced. An error says
    /// nothing about which of them failed.
    SyncMany {
        /// Files.
        files: Vec<Path>,
        /// Folders.
        dirs: Vec<Path>,
    },
    /// Make a folder's entries (and those of its ancestors up to the data folder) durable.
    SyncDir {
        /// Folder.
        dir: Path,
    },
    /// Extend a file with zeroes to `len`, allocating the space, and make that durable.
    Allocate {
        /// File.
        file: Path,
        /// New length in bytes.
        len: u64,
    },
    /// Cut a file to `len` bytes.
    Truncate {
        /// File.
        file: Path,
        /// New length in bytes.
        len: u64,
    },
    /// Replace `to` by `from`. Durable only after [`DiskRequest::SyncDir`].
    Rename {
        /// Old name.
        from: Path,
        /// New name.
        to: Path,
    },
    /// Remove a file; an absent one is no error.
    Unlink {
        /// File.
        file: Path,
    },
    /// Remove an empty folder; an absent one is no error. One that is not empty stays, and that is an
    /// error ([`DiskError::Io`]): who asks wants it gone. Durable only after [`DiskRequest::SyncDir`] on
    /// its parent, and with it the absence of all that was in it.
    RemoveDir {
        /// Folder.
        dir: Path,
    },
}

/// What a finished operation brings.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum DiskDone {
    /// A mutation is done.
    Done,
    /// Bytes read.
    Data(Bytes),
    /// A listing: (name, size in bytes), sorted by name.
    Listing(Vec<(String, u64)>),
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskError {
    /// The device failed (EIO). What was written, if anything, is unknown.
    Io,
    /// No space (ENOSPC). Part of the write may be there.
    NoSpace,
    /// No such file. Only a read of a file can say so.
    NotFound,
    /// Only this many bytes of a write were taken.
    Short(u64),
}

/// The outcome of a [`DiskOp`].
pub type DiskResult = Result<DiskDone, DiskError>;
