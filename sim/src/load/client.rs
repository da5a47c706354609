//! Simulated clients: they speak encoded Kafka bytes, one operation at a time, and write history.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use seedlog_core::api::*;
use seedlog_core::batch::{complete, verify, BatchHead, HEAD_LEN};
use seedlog_core::codec::Malformed;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{ConnId, Uuid};
use seedlog_core::work::plain;
use seedlog_net::client::Connection;
use seedlog_net::records::{self, Record};

use crate::check::history::{History, Part};
use crate::draws::Draws;
use crate::load::keeper::{Churn, Step};
use crate::plan::{Choices, Plan};

/// What a client is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Produces; idempotent ones send a batch again until they know.
    Producer {
        /// With a producer id.
        idempotent: bool,
    },
    /// Reads, looks up offsets, trims now and then.
    Consumer,
    /// Makes, grows and removes topics of its own.
    Keeper,
}

impl Role {
    /// What client `number` of so many is for: the first half produces, most of it idempotently. One
    /// more keeps topics of its own.
    pub fn of(number: usize, clients: usize) -> Role {
        if number == clients {
            return Role::Keeper;
        }
        match (number * 2 < clients, number % 3) {
            (true, 2) => Role::Producer { idempotent: false },
            (true, _) => Role::Producer { idempotent: true },
            (false, _) => Role::Consumer,
        }
    }
}

/// Batches an idempotent producer has in flight at most, as Kafka's clients do.
const IN_FLIGHT_MAX: u64 = 5;

/// One operation. `acked_before` and `known_end` are what had been told when it was first sent,
/// at `sent_ms`; `order` is a produce's place among its client's.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the fields are partition, offsets and batches, as they say"
)]
pub enum Op {
    /// Create all topics.
    Create,
    /// Get a producer id.
    InitProducerId,
    /// Send a batch.
    Produce {
        part: Part,
        batch: Bytes,
        values: Vec<u64>,
        times: Vec<i64>,
        acked_before: i64,
        order: u64,
        sent_ms: i64,
    },
    /// Read. `sought` is true if the position was set rather than reached by reading.
    Fetch {
        part: Part,
        offset: i64,
        known_end: i64,
        sought: bool,
    },
    /// Ask for the end.
    End { part: Part, known_end: i64 },
    /// Ask for the first record of a time, or for the youngest (-3).
    Time {
        part: Part,
        timestamp: i64,
        acked_before: i64,
    },
    /// Read for the audit; at -1, ask where the log starts.
    Audit { part: Part, offset: i64 },
    /// Move the log start.
    Trim { part: Part, to: i64 },
    /// A keeper's step, as it is asked for.
    Keep(Step, Request),
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// What it is for.
    pub role: Role,
    /// Its connection, if it has one.
    pub conn: Option<ConnId>,
    /// Its codec on that connection.
    pub codec: Connection,
    /// What it waits for, in order: correlation and operation.
    pub waiting: VecDeque<(i32, Op)>,
    /// Produces to send again, by their order.
    pub again: BTreeMap<u64, Op>,
    /// Operations still to do.
    pub left: u64,
    /// What the audit was given: partition, offset asked for, answer.
    pub audited: Option<(Part, i64, PartitionFetched)>,
    /// Counts attempts, so that an old timeout is ignored.
    pub attempt: u64,
    number: u64,
    producer: Option<(i64, i16)>,
    next_order: u64,
    sequences: BTreeMap<Part, i32>,
    /// Where to read on; true if a read led there.
    positions: BTreeMap<Part, (i64, bool)>,
    draws: Draws,
    next_value: u64,
    /// What it keeps, if it is a keeper.
    pub churn: Churn,
    loose: Option<usize>,
}

/// Name of a topic by number.
pub fn topic_name(number: usize) -> String {
    format!("topic-{number}")
}

fn topic_ref(number: usize) -> TopicRef {
    TopicRef {
        name: topic_name(number),
        id: Uuid::ZERO,
    }
}

impl Client {
    /// Client `number` of a plan's world.
    pub fn new(plan: &Plan, number: u64, role: Role, left: u64) -> Client {
        let seed = plan.seed;
        Client {
            role,
            conn: None,
            codec: Connection::new("sim"),
            waiting: VecDeque::new(),
            again: BTreeMap::new(),
            left,
            audited: None,
            attempt: 0,
            number,
            producer: None,
            next_order: 0,
            sequences: BTreeMap::new(),
            positions: BTreeMap::new(),
            draws: Draws::new(seed),
            next_value: (number + 1) << 32,
            churn: Churn::new(seed),
            loose: plan.loose_topic(),
        }
    }

    /// Time to think before the next operation, microseconds.
    pub fn think_us(&mut self) -> u64 {
        if self.audited.is_some() {
            return 100;
        }
        self.draw("think").between(100, 16_000)
    }

    /// Its next choice at this site.
    fn draw(&mut self, site: &'static str) -> Choices {
        self.draws.of(site, self.number)
    }

    /// Offsets of a partition from `durable` on are void.
    pub fn rewind(&mut self, part: Part, durable: i64) {
        if let Some(position) = self.positions.get_mut(&part) {
            *position = (position.0.min(durable), false);
        }
    }

    /// True if it is done.
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.waiting.is_empty() && self.again.is_empty()
    }

    /// The next operations, sent in one go: what has to be sent again, in its order; now and then
    /// several batches at once; else one.
    pub fn next_ops(&mut self, topics: &[u32], history: &mut History, wall_ms: i64) -> Vec<Op> {
        if !self.again.is_empty() {
            let first = self.again.keys().copied().take(IN_FLIGHT_MAX as usize);
            let orders: Vec<u64> = first.collect();
            let ops = orders.iter().filter_map(|order| self.again.remove(order));
            return ops.collect();
        }
        let mut choice = self.draw("at-once");
        let many = self.producer.is_some() && choice.chance(1, 6);
        let count = match many {
            true => choice.between(2, IN_FLIGHT_MAX).min(self.left),
            false => 1,
        };
        self.left -= count;
        (0..count)
            .map(|_| self.next_op(topics, history, wall_ms))
            .collect()
    }

    fn next_op(&mut self, topics: &[u32], history: &mut History, wall_ms: i64) -> Op {
        if self.role == Role::Keeper {
            let step = self.churn.next_step();
            let request = self.churn.request(&step);
            return Op::Keep(step, request);
        }
        let mut choice = self.draw("operation");
        let topic = choice.below(topics.len() as u64) as usize;
        let mut part = (topic, choice.below(u64::from(topics[topic])) as i32);
        if self.loose == Some(topic) && self.role == (Role::Producer { idempotent: true }) {
            part = (1, part.1 % topics[1] as i32);
        }
        let known = history.part(part);
        let known_end = known.max_end;
        match self.role {
            Role::Producer { idempotent: true } if self.producer.is_none() => Op::InitProducerId,
            Role::Producer { .. } => self.produce(part, known.max_acked, wall_ms),
            Role::Consumer | Role::Keeper => match choice.below(40) {
                0 => {
                    // Now and then everything that was there when it asked.
                    let all = choice.chance(1, 4);
                    let bound = known_end.max(0) as u64;
                    let to = match all {
                        true => bound as i64,
                        false => choice.below(bound / 2 + 1) as i64,
                    };
                    // It may take effect even if its answer is never heard.
                    known.deleted_to = known.deleted_to.max(to);
                    Op::Trim { part, to }
                }
                1..=3 if choice.chance(1, 2) => Op::Time {
                    part,
                    timestamp: self.some_time(wall_ms),
                    acked_before: known.max_acked,
                },
                1..=3 => Op::End { part, known_end },
                4..=6 => {
                    self.positions.insert(part, (known.deleted_to, false));
                    self.fetch(part, known_end)
                }
                _ => self.fetch(part, known_end),
            },
        }
    }

    fn fetch(&self, part: Part, known_end: i64) -> Op {
        let (offset, read) = self.positions.get(&part).copied().unwrap_or_default();
        Op::Fetch {
            part,
            offset,
            known_end,
            sought: !read,
        }
    }

    /// A time of the run, or one that imported records have.
    fn some_time(&mut self, wall_ms: i64) -> i64 {
        let mut choice = self.draw("time");
        let ago = choice.below(10_000) as i64;
        match choice.below(6) {
            0 => -3,
            1 | 2 => wall_ms - 30 * 86_400_000 - ago,
            3 => wall_ms + 60_000 - ago,
            _ => wall_ms - ago,
        }
    }

    fn produce(&mut self, part: Part, acked_before: i64, wall_ms: i64) -> Op {
        let mut choice = self.draw("batch");
        let count = choice.between(1, 4);
        // One batch in twelve brings in old records, or comes from a clock that is a little ahead;
        // one partition in three of the first topic is filled with old records only.
        let sent_ms = wall_ms;
        let import = part.0 == 0 && part.1 % 3 == 1;
        let wall_ms = match choice.below(24) {
            old if import || old == 0 => wall_ms - 30 * 86_400_000,
            1 => wall_ms + 60_000,
            _ => wall_ms,
        };
        let (mut values, mut times) = (Vec::new(), Vec::new());
        let mut batch = Vec::new();
        for _ in 0..count {
            let value = self.next_value;
            self.next_value += 1;
            let mut bytes = value.to_be_bytes().to_vec();
            bytes.resize(8 + choice.below(900) as usize, b'.');
            values.push(value);
            // Neither all the same, nor in order.
            let timestamp = wall_ms + (value * 7 % 5) as i64;
            times.push(timestamp);
            batch.push(Record {
                offset: 0,
                timestamp,
                key: None,
                value: Some(Bytes::from(bytes)),
                headers: Vec::new(),
            });
        }
        let producer = self.producer.map(|(id, epoch)| {
            let next = self.sequences.entry(part).or_default();
            let sequence = *next;
            *next += values.len() as i32;
            (id, epoch, sequence)
        });
        self.next_order += 1;
        Op::Produce {
            part,
            batch: match self.next_value % 8 {
                0 => stored(records::build(&batch, producer)),
                _ => records::build(&batch, producer),
            },
            values,
            times,
            acked_before,
            order: self.next_order,
            sent_ms,
        }
    }

    /// The request for an operation.
    pub fn request(op: &Op, topics: &[(u32, Vec<(String, Option<String>)>)]) -> Request {
        match op {
            Op::Create => {
                let new = topics
                    .iter()
                    .enumerate()
                    .map(|(number, (partitions, configs))| NewTopic {
                        name: topic_name(number),
                        partitions: *partitions as i32,
                        replication_factor: 1,
                        assignments: Vec::new(),
                        configs: configs.clone(),
                    });
                Request::CreateTopics(CreateTopicsRequest {
                    topics: new.collect(),
                    timeout_ms: 1000,
                    validate_only: false,
                })
            }
            Op::InitProducerId => Request::InitProducerId(InitProducerIdRequest {
                transactional_id: None,
                producer_id: -1,
                producer_epoch: -1,
            }),
            Op::Produce { part, batch, .. } => Request::Produce(ProduceRequest {
                transactional_id: None,
                acks: -1,
                timeout_ms: 1000,
                zstd_allowed: true,
                by_id: false,
                topics: vec![TopicProduce {
                    topic: topic_ref(part.0),
                    partitions: vec![(part.1, Some(batch.clone()))],
                }],
            }),
            Op::Audit { part, offset: -1 } => offset_request(*part, -2),
            Op::Audit { part, offset } => Request::Fetch(fetch_request(*part, *offset, 0)),
            Op::Fetch { part, offset, .. } => Request::Fetch(fetch_request(*part, *offset, 200)),
            Op::End { part, .. } => offset_request(*part, -1),
            Op::Time {
                part, timestamp, ..
            } => offset_request(*part, *timestamp),
            Op::Keep(_, request) => request.clone(),
            Op::Trim { part, to } => Request::DeleteRecords(DeleteRecordsRequest {
                topics: vec![(topic_ref(part.0), vec![(part.1, *to)])],
                timeout_ms: 30_000,
            }),
        }
    }

    /// The answer to an operation came in.
    pub fn answered(&mut self, op: Op, response: Response, history: &mut History) {
        match (op, response) {
            (Op::InitProducerId, Response::InitProducerId(response)) => {
                if response.error == ErrorCode::None {
                    self.producer = Some((response.producer_id, response.producer_epoch));
                }
            }
            (op @ Op::Produce { .. }, Response::Produce(response)) => {
                self.produced(op, &response.topics[0].1[0], history)
            }
            (op @ Op::Fetch { .. }, Response::Fetch(response)) => {
                history.definite += 1;
                self.fetched(&op, &response.topics[0].1[0], history);
            }
            (Op::Audit { part, offset }, Response::Fetch(mut response)) => {
                self.audited = response
                    .topics
                    .pop()
                    .and_then(|(_, mut parts)| Some((part, offset, parts.pop()?)));
            }
            (op, Response::ListOffsets(response)) => {
                self.offset_told(op, response.topics[0].1[0], history)
            }
            (Op::Trim { .. }, Response::DeleteRecords(_)) => history.definite += 1,
            (Op::Keep(step, _), response) => {
                history.definite += 1;
                if let Some(text) = self.churn.answered(&step, &response) {
                    history.violate("keeper", text);
                }
            }
            (Op::Create, Response::CreateTopics(response)) => {
                let taken = [ErrorCode::None, ErrorCode::TopicAlreadyExists];
                let topics = response.topics.iter().zip(0..);
                for (topic, number) in topics.filter(|(topic, _)| !taken.contains(&topic.error)) {
                    unexpected(history, (number, -1), "create", topic.error);
                }
            }
            (op, response) => {
                history.violate(
                    "unexpected-error",
                    format!("{op:?} was answered {response:?}"),
                );
            }
        }
    }

    fn offset_told(&mut self, op: Op, found: PartitionOffset, history: &mut History) {
        match op {
            Op::Audit { part, offset } => {
                let start = PartitionFetched {
                    error: found.error,
                    log_start_offset: found.offset,
                    ..PartitionFetched::default()
                };
                self.audited = Some((part, offset, start));
            }
            Op::End { part, known_end } => {
                history.definite += 1;
                if found.error == ErrorCode::None {
                    history.end(part, found.offset, known_end);
                }
            }
            Op::Time {
                part,
                timestamp,
                acked_before,
            } => {
                history.definite += 1;
                let place = (found.offset, found.timestamp);
                match found.error {
                    ErrorCode::None => history.looked_up(part, timestamp, place, acked_before),
                    ErrorCode::KafkaStorageError => {}
                    code => unexpected(history, part, "time", code),
                }
            }
            op => history.violate("unexpected-error", format!("{op:?} was told {found:?}")),
        }
    }

    /// The outcome of a produce. An idempotent producer sends a refused batch again, as its sequence
    /// must not be skipped.
    fn produced(&mut self, op: Op, outcome: &PartitionProduced, history: &mut History) {
        let Op::Produce {
            part,
            values,
            times,
            acked_before,
            order,
            sent_ms,
            ..
        } = &op
        else {
            return;
        };
        let idempotent = self.role == Role::Producer { idempotent: true };
        let same_part = |op: &Op| matches!(op, Op::Produce { part: other, .. } if other == part);
        let gap = self.again.range(..order).any(|(_, op)| same_part(op));
        match outcome.error {
            ErrorCode::None => {
                history.definite += 1;
                history.acked(*part, outcome.base_offset, values, *acked_before);
                history.sent(self.number, *part, outcome.base_offset);
                history.dated(*part, outcome.base_offset, times);
                history.sent_at(*part, outcome.base_offset, values.len(), *sent_ms);
            }
            ErrorCode::KafkaStorageError
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::RequestTimedOut
                if idempotent =>
            {
                self.again.insert(*order, op);
            }
            // One before it was refused; both are sent again, in order.
            ErrorCode::OutOfOrderSequenceNumber if idempotent && gap => {
                self.again.insert(*order, op);
            }
            ErrorCode::RequestTimedOut => history.unknown += 1,
            ErrorCode::KafkaStorageError | ErrorCode::UnknownTopicOrPartition => {
                history.definite += 1;
                history.failed(*part, values);
            }
            code => unexpected(history, *part, "produce", code),
        }
    }

    fn fetched(&mut self, op: &Op, fetched: &PartitionFetched, history: &mut History) {
        let Op::Fetch {
            part,
            offset,
            known_end,
            sought,
        } = *op
        else {
            return;
        };
        match fetched.error {
            ErrorCode::None => {
                history.end(part, fetched.high_watermark, known_end);
                history.start(part, fetched.log_start_offset);
                let found = match values(&fetched.records, offset) {
                    Ok(found) => found,
                    Err(reason) => {
                        return history.violate("H2", format!("{part:?}@{offset}: {reason}"))
                    }
                };
                history.read(part, offset, &found);
                history.polled(self.number, part, sought, &found);
                if let Some((last, _)) = found.last() {
                    self.positions.insert(part, (last + 1, true));
                }
            }
            ErrorCode::OffsetOutOfRange => {
                history.out_of_range(part, offset);
                let next = history.part(part).max_end;
                self.positions.insert(part, (next, false));
            }
            ErrorCode::KafkaStorageError => {
                self.positions.insert(part, (offset + 1, false));
            }
            code => unexpected(history, part, "fetch", code),
        }
    }
}

fn unexpected(history: &mut History, part: Part, what: &str, code: ErrorCode) {
    let text = format!("{part:?}: {what} {}", code.name());
    history.violate("unexpected-error", text);
}

/// The batch as lz4 would have it, its block stored as it is: hashes cover no compressor's output.
fn stored(batch: Bytes) -> Bytes {
    /// Magic, version 1 with independent blocks, blocks of 64 KiB, and the descriptor's checksum.
    const FRAME: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
    const LZ4: u8 = 3;
    const UNCOMPRESSED: u32 = 1 << 31;
    let (head, records) = batch.split_at(HEAD_LEN);
    let block = records.len() as u32 | UNCOMPRESSED;
    let mut out = [head, &FRAME, &block.to_le_bytes(), records, &[0; 4]].concat();
    out[22] |= LZ4;
    complete(&mut out);
    out.into()
}

/// A question for one partition's offset at a timestamp: -1 for the end, -2 for the start.
fn offset_request(part: Part, timestamp: i64) -> Request {
    let query = PartitionOffsetQuery {
        index: part.1,
        current_leader_epoch: -1,
        timestamp,
    };
    Request::ListOffsets(ListOffsetsRequest {
        topics: vec![(topic_ref(part.0), vec![query])],
        timeout_ms: -1,
        isolation: 0,
    })
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
            topic: topic_ref(part.0),
            partitions: vec![partition],
        }],
    }
}

/// The values in fetched bytes from `from` on, checked as a client would: CRC and all.
pub fn values(pieces: &[Bytes], from: i64) -> Result<Vec<(i64, u64)>, String> {
    read_batches(pieces, from, &mut |_| {})
}

/// The same; `seen` is told of each batch's head.
pub fn read_batches(
    pieces: &[Bytes],
    from: i64,
    seen: &mut dyn FnMut(&BatchHead),
) -> Result<Vec<(i64, u64)>, String> {
    let mut found = Vec::new();
    let bytes = Bytes::from(pieces.concat());
    for (head, batch) in records::batches(bytes).map_err(|bad| bad.0.to_string())? {
        seen(&verify(&batch).map_err(|bad| format!("{bad:?}"))?);
        let plain = plain(head.attributes, &batch.slice(HEAD_LEN..), 1 << 20)
            .map_err(|_| "a batch cannot be decompressed")?;
        let each = records::each(&head, &plain, |record| {
            let value = record.value.unwrap_or_default();
            let too_short = Malformed("a value is too short");
            let (word, _) = value.split_first_chunk().ok_or(too_short)?;
            if record.offset >= from {
                found.push((record.offset, u64::from_be_bytes(*word)));
            }
            Ok(())
        });
        each.map_err(|bad| bad.0.to_string())?;
    }
    Ok(found)
}
