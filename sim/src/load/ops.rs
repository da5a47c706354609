//! Operations of clients, and the requests they make.

use std::collections::BTreeMap;

use seedlog_core::api::*;
use seedlog_core::ids::Uuid;

use super::batches::Sent;
use super::keeper::Step;
use crate::check::history::Part;
use crate::plan::Topic;

/// Topics from this number on are the keeper's.
pub const KEPT_FROM: usize = 1_000;
/// From this one on they are those that it removes while others write to them.
pub const SHARED_FROM: usize = 1_000_000;

/// A partition to be read: what was known when it was asked for. `sought` is true if the position was set
/// rather than reached by reading; `far` if the offset lies beyond any end on purpose.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields are what the lines above say")]
pub struct Reading {
    pub part: Part,
    pub offset: i64,
    pub known_end: i64,
    pub started: i64,
    pub sought: bool,
    pub far: bool,
    pub epoch: Epoch,
}

/// The leader epoch a client names, and the highest it had been told, with the broker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are what the line above says")]
pub struct Epoch {
    pub named: i32,
    pub told: i32,
    pub life: u64,
}

/// A question of ListOffsets: a time, or -1 to -4.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as of `Reading`")]
pub struct Asked {
    pub part: Part,
    pub timestamp: i64,
    pub known_end: i64,
    pub acked: i64,
    pub epoch: Epoch,
}

/// One operation.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the fields are partitions, offsets and batches"
)]
pub enum Op {
    /// Create all topics.
    Create,
    /// Get a producer id; true with the one it has.
    InitProducerId(Option<(i64, i16)>),
    /// Send batches.
    Produce {
        acks: i16,
        by_id: bool,
        sent: Vec<Sent>,
    },
    /// Read.
    Fetch {
        reads: Vec<Reading>,
        by_id: bool,
        min_bytes: i32,
        wait_ms: i32,
    },
    /// Ask for offsets.
    Offsets(Vec<Asked>),
    /// Ask where a leader epoch ends.
    EpochEnd {
        part: Part,
        asked: i32,
        epoch: Epoch,
    },
    /// Read for the audit; at -1, ask where the log starts.
    Audit { part: Part, offset: i64 },
    /// Move the log start; `far` beyond any end on purpose.
    Trim {
        part: Part,
        to: i64,
        known_end: i64,
        far: bool,
    },
    /// Ask for the metadata of a topic; `None`: of one that never was.
    Describe { topic: Option<usize>, by_id: bool },
    /// A keeper's step, as it is asked for.
    Keep(Step, Request),
    /// Write to the shared topic of this name, or read it.
    Share(usize, Request),
}

/// Name of a topic by number.
pub fn topic_name(number: usize) -> String {
    let shared = number.checked_sub(SHARED_FROM);
    match (number.checked_sub(KEPT_FROM), shared) {
        (_, Some(shared)) => format!("shared-{shared}"),
        (Some(kept), None) => format!("churn-{kept}"),
        (None, None) => format!("topic-{number}"),
    }
}

fn named(number: usize) -> TopicRef {
    TopicRef {
        name: topic_name(number),
        id: Uuid::ZERO,
    }
}

/// What a request needs besides the operation.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// All topics.
    pub topics: &'a [Topic],
    /// Their ids.
    pub ids: &'a BTreeMap<usize, Uuid>,
}

impl Known<'_> {
    fn topic(&self, number: usize, by_id: bool) -> TopicRef {
        match self.ids.get(&number).filter(|_| by_id) {
            Some(id) => TopicRef {
                name: String::new(),
                id: *id,
            },
            None => named(number),
        }
    }
}

impl Op {
    /// A batch that is wrong on purpose, and nobody waits for the answer.
    pub fn is_silently_wrong(&self) -> bool {
        match self {
            Op::Produce { acks: 0, sent, .. } => sent.iter().any(|one| one.flaw.is_some()),
            _ => false,
        }
    }

    /// The request and, where it matters, the API's key and version to ask in.
    pub fn request(&self, known: Known) -> (Request, Option<(i16, i16)>) {
        match self {
            Op::Create => (create(known), None),
            Op::InitProducerId(had) => {
                let (producer_id, producer_epoch) = had.unwrap_or((-1, -1));
                let request = InitProducerIdRequest {
                    transactional_id: None,
                    producer_id,
                    producer_epoch,
                };
                (Request::InitProducerId(request), None)
            }
            Op::Produce { acks, by_id, sent } => {
                let version = if *by_id { 13 } else { 12 };
                (produce(known, *acks, *by_id, sent), Some((0, version)))
            }
            Op::Fetch {
                reads,
                by_id,
                min_bytes,
                wait_ms,
            } => {
                let version = if *by_id { 17 } else { 12 };
                let request = fetch(known, reads, *by_id, (*min_bytes, *wait_ms));
                (Request::Fetch(request), Some((1, version)))
            }
            Op::Audit { part, offset: -1 } => (offset_request(*part, -2), None),
            Op::Audit { part, offset } => {
                let request = Request::Fetch(fetch_request(*part, *offset, 0));
                (request, Some((1, 12)))
            }
            Op::Offsets(asked) => (offsets(asked), None),
            Op::EpochEnd { part, asked, epoch } => {
                let topics = vec![(named(part.0), vec![(part.1, epoch.named, *asked)])];
                let request = OffsetForLeaderEpochRequest { topics };
                (Request::OffsetForLeaderEpoch(request), None)
            }
            Op::Trim { part, to, .. } => {
                let request = DeleteRecordsRequest {
                    topics: vec![(named(part.0), vec![(part.1, *to)])],
                    timeout_ms: 30_000,
                };
                (Request::DeleteRecords(request), None)
            }
            Op::Describe { topic, by_id } => {
                let topic = match topic {
                    Some(topic) => known.topic(*topic, *by_id),
                    None if *by_id => TopicRef {
                        name: String::new(),
                        id: Uuid([9; 16]),
                    },
                    None => TopicRef {
                        name: "never-made".to_string(),
                        id: Uuid::ZERO,
                    },
                };
                let request = MetadataRequest {
                    topics: Some(vec![topic]),
                    allow_auto_topic_creation: false,
                    ..MetadataRequest::default()
                };
                (Request::Metadata(request), None)
            }
            Op::Keep(_, request @ (Request::Produce(_) | Request::Fetch(_)))
            | Op::Share(_, request) => {
                let key = i16::from(matches!(request, Request::Fetch(_)));
                (request.clone(), Some((key, 12)))
            }
            Op::Keep(_, request) => (request.clone(), None),
        }
    }
}

fn create(known: Known) -> Request {
    let new = known.topics.iter().enumerate();
    let configs = |topic: &Topic| {
        let configs = topic.configs.iter();
        let configs = configs.map(|(name, value)| (name.clone(), Some(value.clone())));
        configs.collect()
    };
    let new = new.map(|(number, topic)| NewTopic {
        name: topic_name(number),
        partitions: topic.partitions as i32,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs(topic),
    });
    Request::CreateTopics(CreateTopicsRequest {
        topics: new.collect(),
        timeout_ms: 1000,
        validate_only: false,
    })
}

fn produce(known: Known, acks: i16, by_id: bool, sent: &[Sent]) -> Request {
    let topics = sent.chunk_by(|a, b| a.part.0 == b.part.0);
    let topics = topics.map(|all| TopicProduce {
        topic: known.topic(all[0].part.0, by_id),
        partitions: all
            .iter()
            .map(|one| (one.part.1, Some(one.batch.clone())))
            .collect(),
    });
    let topics = topics.collect();
    Request::Produce(ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 1000,
        zstd_allowed: true,
        by_id,
        topics,
    })
}

fn fetch(
    known: Known,
    reads: &[Reading],
    by_id: bool,
    (min_bytes, wait_ms): (i32, i32),
) -> FetchRequest {
    let mut request = fetch_request((0, 0), 0, wait_ms);
    request.min_bytes = min_bytes;
    request.by_id = by_id;
    request.max_bytes = 40 << 10;
    let row = |one: &Reading| PartitionFetch {
        index: one.part.1,
        current_leader_epoch: one.epoch.named,
        fetch_offset: one.offset,
        last_fetched_epoch: -1,
        max_bytes: 16 << 10,
    };
    let topics = reads.chunk_by(|a, b| a.part.0 == b.part.0);
    let topics = topics.map(|all| TopicFetch {
        topic: known.topic(all[0].part.0, by_id),
        partitions: all.iter().map(row).collect(),
    });
    request.topics = topics.collect();
    request
}

fn offsets(asked: &[Asked]) -> Request {
    let row = |one: &Asked| PartitionOffsetQuery {
        index: one.part.1,
        current_leader_epoch: one.epoch.named,
        timestamp: one.timestamp,
    };
    let topics = asked.chunk_by(|a, b| a.part.0 == b.part.0);
    let topics = topics.map(|all| (named(all[0].part.0), all.iter().map(row).collect()));
    let topics = topics.collect();
    Request::ListOffsets(ListOffsetsRequest {
        topics,
        timeout_ms: -1,
        isolation: 0,
    })
}

/// A question for one partition's offset at a timestamp: -1 for the end, -2 for the start.
fn offset_request(part: Part, timestamp: i64) -> Request {
    offsets(&[Asked {
        part,
        timestamp,
        known_end: 0,
        acked: 0,
        epoch: Epoch {
            named: -1,
            told: -1,
            life: 0,
        },
    }])
}

/// A fetch of one partition.
pub fn fetch_request(part: Part, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition = PartitionFetch {
        index: part.1,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        max_bytes: 16 << 10,
    };
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 16 << 10,
        session_id: 0,
        session_epoch: -1,
        by_id: false,
        from_replica: false,
        isolation: 0,
        topics: vec![TopicFetch {
            topic: named(part.0),
            partitions: vec![partition],
        }],
    }
}
