//! The shard's contract: what goes in, what comes out (design.md section 2).

use crate::api::{Request, Response};
use crate::disk::{DiskOp, DiskResult};
use crate::ids::{CallId, ConnId, NodeId, OpId, ShardId, Uuid, WorkId};
use crate::limits::Limits;
use crate::partition::Aside;
use crate::shard::NeighbourMessage;
use crate::work::{WorkJob, WorkResult};

/// Everything that can make a shard work. Closed: no wildcard match on it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Input {
    /// A client connected.
    Connect {
        /// The connection.
        conn: ConnId,
    },
    /// So many bytes of this connection have arrived and are not decoded: 0 when none is left. Told
    /// when that or the other changes.
    Receiving {
        /// The connection.
        conn: ConnId,
        /// Bytes.
        bytes: u64,
        /// A whole request stands first among them. It waits for room, not for its client.
        whole: bool,
    },
    /// A client's request.
    Client {
        /// The connection.
        conn: ConnId,
        /// The request's place on its connection.
        call: CallId,
        /// What it asks.
        request: Request,
        /// Bytes that it takes in memory: its frame and what was made of it.
        held: u64,
    },
    /// The socket took so much of what was answered, counted as [`Response::held_bytes`]: all of an
    /// answer once its last byte is gone.
    Sent {
        /// The connection.
        conn: ConnId,
        /// Bytes.
        bytes: u64,
    },
    /// The client has closed its side: what it sent before is still done, but no Fetch of it parks.
    Leaving {
        /// The connection.
        conn: ConnId,
    },
    /// The connection is gone: its parked calls are cancelled. What it sent before and was not begun
    /// yet is dropped, but for records: a producer that waits for no answer may leave after the last.
    Hangup {
        /// The connection.
        conn: ConnId,
    },
    /// Another shard of this broker speaks: lossless, in order per pair.
    Neighbour {
        /// The sender.
        from: ShardId,
        /// What it says.
        message: NeighbourMessage,
    },
    /// A disk operation ended.
    Disk {
        /// Which.
        op: OpId,
        /// How.
        result: DiskResult,
    },
    /// A CPU job is done.
    Work {
        /// Which.
        id: WorkId,
        /// What came out.
        result: WorkResult,
    },
    /// The operator asked for a clean stop: flush, answer parked calls, then halt cleanly.
    Shutdown,
}

/// What a turn asks of the driver, one list per lane. There is no order between lanes.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Effects {
    /// Disk operations, in issue order.
    pub disk: Vec<DiskOp>,
    /// CPU jobs, to be done in any order.
    pub work: Vec<WorkJob>,
    /// Answers to clients.
    pub replies: Vec<(ConnId, CallId, Response)>,
    /// Connections to close. The core has forgotten them; their Hangup may still come.
    pub closes: Vec<(ConnId, CloseReason)>,
    /// Messages to other shards of this broker, in order per receiver.
    pub neighbours: Vec<(ShardId, NeighbourMessage)>,
    /// Things worth telling an operator or a test.
    pub notes: Vec<Note>,
    /// This shard is over; one shard's halt is the broker's.
    pub halt: Option<Halt>,
}

impl Effects {
    /// Forget everything, keeping the room.
    pub fn clear(&mut self) {
        self.disk.clear();
        self.work.clear();
        self.replies.clear();
        self.closes.clear();
        self.neighbours.clear();
        self.notes.clear();
        self.halt = None;
    }
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// A Produce with acks=0 failed: closing is all that tells its client (`KafkaApis.java`). Answers
    /// that were given before go out first.
    UnansweredFailure,
    /// Nothing was heard or sent for `connections.max.idle.ms`.
    Idle,
    /// A request that has begun does not go on.
    StalledRequest,
    /// The client does not take its answers.
    StalledReader,
}

impl CloseReason {
    /// Answers that wait for the socket still go out.
    pub fn is_graceful(self) -> bool {
        self == CloseReason::UnansweredFailure
    }
}

/// Why a shard stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Halt {
    /// A clean stop that was asked for.
    Clean,
    /// The partitions have moved to as many journals as there are to be shards: once every shard has
    /// said so, boot them again, as many as are wanted.
    Again,
    /// It cannot go on: the text names the file and the reason.
    Fatal(String),
}

/// An event for logs, metrics and the simulator's coverage counters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// Recovery is over; the shard serves.
    Ready,
    /// Another number of shards is wanted than before: partitions move to their new homes.
    Resharding,
    /// A segment was closed and a new one begun.
    SegmentRolled,
    /// A partition's files cannot be written; it is tried again, and told once.
    CannotWrite {
        /// Its folder.
        dir: String,
    },
    /// Files or the folder of a partition that are not needed any more cannot be removed; it is tried
    /// again, and told once.
    CannotRemove {
        /// The folder.
        dir: String,
    },
    /// No committed metadata knows this partition, and none says that its topic was deleted: it is kept
    /// as it is, and not served.
    Quarantined {
        /// Its folder.
        dir: String,
    },
    /// A partition's folder holds files of segments that the journal does not list and has no copy of, as
    /// if it were older than they are: they have other names and are kept. Told once in a life.
    SetAside {
        /// The folder.
        dir: String,
        /// Which, and how many stand there from before.
        aside: Aside,
    },
    /// A partition's tail was carried forward in the journal.
    Carried,
    /// Retention removed segments.
    Retained {
        /// How many.
        segments: u64,
    },
    /// A duplicate batch was recognised and answered with its first offset.
    DuplicateSequence,
    /// Recovery cut a torn tail off the journal.
    TornTail {
        /// Blocks cut.
        blocks: u64,
    },
    /// The last stop was not a clean one, and a topic had opted out of syncing: it may have lost
    /// records that were acknowledged.
    LossyRestart,
    /// A stored range cannot be read and is marked faulty.
    FaultyRange {
        /// File.
        file: String,
    },
    /// There are so many segments that none are begun any more until some are removed: they grow beyond
    /// `segment.bytes` and `segment.ms`, so that the journal can hold the list of them.
    SegmentsGrow,
    /// The disk is full: writes are refused.
    DiskFull,
    /// Space is back: writes are accepted again.
    DiskFullOver,
}

/// How much more a shard will take, by what it is of, so that the driver stops reading and decoding in
/// time. What is 0 waits; one piece more is taken while there is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appetite {
    /// Bytes that may arrive: with 0, only enough of a connection for a small request.
    pub frame_bytes: u64,
    /// Bytes of Produce requests.
    pub produce_bytes: u64,
    /// Bytes of other requests.
    pub request_bytes: u64,
}

/// What a shard is told at boot. The same on every shard of a broker but for `shard`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This broker.
    pub node: NodeId,
    /// The cluster's id, from the data folder's stamp.
    pub cluster_id: Uuid,
    /// This data folder's id, from its stamp.
    pub directory_id: Uuid,
    /// This shard.
    pub shard: ShardId,
    /// Shards that are wanted. May be another number at each start.
    pub shards: u16,
    /// Shards that run: see [`crate::shard::shards_to_run`].
    pub running: u16,
    /// The address to tell clients, if not the one they connected to.
    pub advertised: Option<(String, u16)>,
    /// Topics spring into being when named (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// `num.partitions`.
    pub default_partitions: u32,
    /// What clients may make this shard hold: its part of the broker's bounds.
    pub limits: Limits,
    /// First size of the journal ring in bytes; a multiple of 4096.
    pub journal_initial_bytes: u64,
    /// Largest size of the journal ring in bytes.
    pub journal_max_bytes: u64,
    /// Planted bugs for the simulator; all off in a real broker.
    pub knobs: Knobs,
}

impl Config {
    /// Bytes of a batch that the journal ring, once it has grown to its largest, has room for beside
    /// what it keeps back. A topic cannot ask for more (`max.message.bytes`).
    pub fn batch_bytes_max(&self) -> u64 {
        self.journal_max_bytes / 8
    }

    /// Bytes of the journal that a partition's producers, and the segments of all partitions, take at
    /// most: with both of them a manifest still fits where a batch does.
    pub fn listed_bytes_max(&self) -> u64 {
        self.batch_bytes_max() / 2
    }

    /// One shard alone, for unit tests.
    #[cfg(test)]
    pub(crate) fn of_tests() -> Config {
        Config {
            node: NodeId(0),
            cluster_id: Uuid([1; 16]),
            directory_id: Uuid([2; 16]),
            shard: ShardId(0),
            shards: 1,
            running: 1,
            advertised: None,
            auto_create_topics: true,
            default_partitions: 1,
            limits: Limits::DEFAULT,
            journal_initial_bytes: 1 << 20,
            journal_max_bytes: 4 << 20,
            knobs: Knobs::default(),
        }
    }
}

/// Planted bugs (`failures.md` section 4). Each is one branch at the place it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Knobs {
    /// M1: acknowledge once appended, before the sync.
    pub ack_before_sync: bool,
    /// M10: journal completions may move the durable mark back.
    pub durable_mark_goes_back: bool,
    /// M39: a failed sync is retried and its success believed.
    pub trust_retried_sync: bool,
    /// M40: go on after a write error or a short write of a journal's block.
    pub ignore_write_errors: bool,
    /// M40b: go on after a write error or a short write of a partition's files.
    pub ignore_file_errors: bool,
    /// M41: a manifest is staged before its segment files are synced.
    pub manifest_before_sync: bool,
    /// M42: a new segment's folder is not synced.
    pub no_folder_sync: bool,
    /// M43: a closing block is taken for a clean shutdown's mark although blocks follow it.
    pub stale_closing_block: bool,
    /// M44: a bad block below the durable point is taken for a torn tail.
    pub bad_block_is_torn_tail: bool,
    /// M46: a journal that cannot be read is taken for a new one.
    pub unreadable_is_absent: bool,
    /// M46b: the ledger takes a shard's lost journal for a new one.
    pub lost_is_new: bool,
    /// M47: seals of stored batches are not checked: one of another place passes.
    pub ignore_seal: bool,
    /// M48: the next offset after retention comes from the segment list.
    pub next_offset_from_segments: bool,
    /// M61: the producer table comes up empty.
    pub forget_producers: bool,
    /// M63: the producer table changes before the append has succeeded.
    pub producers_before_append: bool,
    /// M78: retention trusts a producer's timestamps without bound.
    pub trust_producer_timestamps: bool,
    /// M79: an unknown format version is read as the current one.
    pub ignore_format_version: bool,
    /// The number of one of the bugs from M81 on, which stand in `sim/src/planted`; 0 for none.
    pub number: u16,
}

impl Knobs {
    /// The bug of this number is planted.
    pub fn has(&self, number: u16) -> bool {
        self.number == number
    }
}
