//! What can go wrong, by kind. Each kind has one name, in plans, marks and scenarios.

/// An enum whose kinds have names in plans and reports.
macro_rules! kinds {
    ($(#[$doc:meta])* $kind:ident { $($(#[$what:meta])* $name:ident = $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind { $($(#[$what])* $name),* }

        impl $kind {
            /// Every kind.
            pub const ALL: &'static [$kind] = &[$($kind::$name),*];
            /// Its name in plans and reports.
            pub fn name(self) -> &'static str { match self { $($kind::$name => $text),* } }
            /// The kind of this name.
            pub fn from_name(name: &str) -> Option<$kind> {
                $kind::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    };
}

kinds! {
    /// What can go wrong.
    FaultKind {
    /// The process dies; the page cache lives.
    Crash = "crash";
    /// Power is lost: unsynced bytes survive in part, torn at sectors, in any order.
    PowerLoss = "power-loss";
    /// The process stands still for a while.
    Pause = "pause";
    /// A client's connection breaks.
    Disconnect = "disconnect";
    /// A write fails with EIO.
    WriteError = "write-error";
    /// A sync fails once; afterwards the pages count as clean.
    SyncError = "sync-error";
    /// A write takes only part of the bytes.
    ShortWrite = "short-write";
    /// No space for a while.
    DiskFull = "disk-full";
    /// The disk answers late.
    Stall = "stall";
    /// A bit of a segment flips.
    BitRot = "bit-rot";
    /// A read of a segment fails.
    ReadError = "read-error";
    /// A read of a segment brings fewer bytes.
    ShortRead = "short-read";
    /// A read of a segment brings another segment's bytes.
    MisdirectedRead = "misdirected-read";
    /// A sector of a segment cannot be read until it is written again.
    LatentSector = "latent-sector-error";
    /// A write to a segment lands in another segment.
    MisdirectedWrite = "misdirected-write";
    /// A folder cannot be listed, once.
    ListError = "list-error";
    /// A file cannot be renamed, once.
    RenameError = "rename-error";
    /// A folder's entries are not made durable, once.
    SyncDirError = "sync-dir-error";
    /// A file cannot be removed, once.
    UnlinkError = "unlink-error";
    /// A folder cannot be removed, once.
    RemoveDirError = "remove-dir-error";
    /// A file cannot be made longer, once.
    GrowthError = "growth-error";
    /// Every operation takes many times as long for a while.
    SlowDisk = "slow-disk";
    /// A bit of a segment's side file flips.
    SealRot = "seal-rot";
    /// A segment's side file is gone.
    SealLost = "seal-lost";
    /// The next start cannot read a journal, once.
    BootReadError = "boot-read-error";
    /// The files of one partition cannot be written for a while.
    BrokenFolder = "broken-folder";
    /// The broker is stopped, and when it starts again a segment lies in a partition's folder that no
    /// journal lists: as if the journal were older than it.
    ForeignSegment = "foreign-segment";
    /// The broker is stopped, and started with another number of shards from now on.
    Reshard = "reshard";
    /// The operator stops the broker, and starts it again.
    CleanStop = "clean-stop";
    }
}

kinds! {
    /// Damage beyond what one replica can bear, placed after the last reader is done: the broker
    /// must refuse loudly, or still have everything.
    Ending {
    /// A bit of a journal flips.
    JournalRot = "journal-rot";
    /// A bit of a journal flips while the broker runs on it; it is stopped a while later.
    JournalRotInUse = "journal-rot-in-use";
    /// A journal is gone.
    JournalLost = "journal-lost";
    /// A journal was written by a newer build.
    NewerFormat = "newer-format";
    }
}
