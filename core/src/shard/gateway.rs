//! The gateway: a client's calls, split over partitions or passed to the ledger, joined into answers.
//! Fetches, which may park, are in `fetching.rs`; the order of calls is in `connections.rs`.

use std::collections::BTreeMap;

use super::fetching::Fetching;
use super::parts::Layout;
use super::{Answer, Ask, NeighbourMessage, PartAsk, Shard};
use crate::api::*;
use crate::contract::{CloseReason, Effects};
use crate::error_code::ErrorCode;
use crate::ids::{CallId, ConnId, PartitionId, ShardId};
use crate::metadata::{shard_of, PRODUCER_ID_BLOCK};
use crate::time::{Instant, Now};

/// What a call waits for.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Answers from partitions.
    Parts {
        layout: Layout,
        /// Nobody waits for the answer: a failure closes the connection.
        silent: bool,
    },
    /// A fetch, which may park.
    Fetch(Box<Fetching>),
    /// The ledger's answer, passed on; or this one, if it does not come in time.
    Admin { late: Option<Box<Response>> },
    /// The ledger's answer, then Metadata again.
    AutoCreate(MetadataRequest),
    /// A block of producer ids.
    ProducerIds,
    /// The client has its answer already: what it sent is still being worked on.
    Answered,
}

/// A request being worked on.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub conn: ConnId,
    pub call: CallId,
    /// What its request holds, and in which pool.
    pub held: u64,
    pub produce: bool,
    /// Shards that have not answered.
    pub pending: usize,
    pub deadline: Option<Instant>,
    /// What its answer may hold, if the ledger makes it.
    pub promised: u64,
    pub kind: Kind,
}

impl Call {
    /// Bytes held for records that are being read.
    pub fn reserved(&self) -> u64 {
        match &self.kind {
            Kind::Fetch(fetch) => fetch.reserved,
            _ => 0,
        }
    }
}

/// What is asked of partitions: slot, partition, what.
pub(super) type Asks = Vec<(u32, PartitionId, PartAsk)>;

impl Shard {
    /// When a call with this `timeout_ms` is answered REQUEST_TIMED_OUT.
    fn timeout(&self, now: Now, timeout_ms: i32) -> Option<Instant> {
        let wait = u64::try_from(timeout_ms).unwrap_or(0);
        let least = self.config.limits.timeout_min_ms;
        Some(now.mono.plus_millis(wait.max(least)))
    }

    pub(super) fn begin(
        &mut self,
        now: Now,
        conn: ConnId,
        call: CallId,
        (request, held): (Request, u64),
        out: &mut Effects,
    ) {
        let call = Call {
            conn,
            call,
            held,
            produce: matches!(request, Request::Produce(_)),
            pending: 0,
            deadline: None,
            promised: 0,
            kind: Kind::Admin { late: None },
        };
        match request {
            Request::Metadata(request) => {
                let kind = Kind::AutoCreate(request);
                self.metadata(now, Call { kind, ..call }, out)
            }
            Request::FindCoordinator(request) => {
                let error = match request.key_type {
                    0 | 1 => ErrorCode::CoordinatorNotAvailable,
                    _ => ErrorCode::InvalidRequest,
                };
                let keys = request.keys.into_iter().map(|key| (key, error));
                let response = FindCoordinatorResponse {
                    keys: keys.collect(),
                };
                self.finish(now, call, Response::FindCoordinator(response), out);
            }
            Request::InitProducerId(request) => {
                let kind = Kind::ProducerIds;
                self.init_producer_id(now, Call { kind, ..call }, request, out)
            }
            Request::CreateTopics(_) | Request::DeleteTopics(_) | Request::CreatePartitions(_) => {
                self.change_topics(now, call, request, out)
            }
            Request::Fetch(request) => self.begin_fetch(now, call, request, out),
            request @ (Request::Produce(_)
            | Request::ListOffsets(_)
            | Request::OffsetForLeaderEpoch(_)
            | Request::DeleteRecords(_)) => self.ask_partitions(now, call, request, out),
        }
    }

    fn ask_partitions(&mut self, now: Now, call: Call, request: Request, out: &mut Effects) {
        let (silent, deadline) = match &request {
            Request::Produce(produce) => (produce.acks == 0, self.timeout(now, produce.timeout_ms)),
            Request::DeleteRecords(delete) => (false, self.timeout(now, delete.timeout_ms)),
            _ => (false, None),
        };
        let (layout, asks) = self.lay_out(request);
        let token = self.open_call(Call {
            deadline,
            kind: Kind::Parts { layout, silent },
            ..call
        });
        let nothing = |_: u16, _: &Asks| (usize::MAX, None);
        self.spread(now, token, asks, nothing, out);
    }

    pub(super) fn open_call(&mut self, call: Call) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        if let Some(deadline) = call.deadline {
            self.call_deadlines.insert((deadline, token));
        }
        if let Some(row) = self.conns.get_mut(&call.conn) {
            row.open.insert(token);
        }
        self.calls.insert(token, call);
        token
    }

    /// A call's deadline does not count any more.
    pub(super) fn drop_deadline(&mut self, token: u64) {
        let call = self.calls.get_mut(&token);
        if let Some(deadline) = call.and_then(|call| call.deadline.take()) {
            self.call_deadlines.remove(&(deadline, token));
        }
    }

    /// Remove a call; what it holds besides its request is given back.
    fn end_call(&mut self, token: u64, out: &mut Effects) -> Option<Call> {
        self.drop_deadline(token);
        self.unpark(token);
        let mut call = self.calls.remove(&token)?;
        self.redeem(std::mem::take(&mut call.promised));
        if let Some(row) = self.conns.get_mut(&call.conn) {
            row.open.remove(&token);
        }
        if let Kind::Fetch(fetch) = &mut call.kind {
            self.pools.fetches.give(std::mem::take(&mut fetch.reserved));
            let shards = self.shards_of(&fetch.asks);
            if !self.config.knobs.has(98) {
                self.forget_interests(token, shards, out);
            }
        }
        Some(call)
    }

    fn shards_of(&self, asks: &Asks) -> Vec<u16> {
        let shards = asks.iter();
        let shards = shards.map(|(_, id, _)| shard_of(*id, self.config.shards));
        let mut shards: Vec<u16> = shards.collect();
        shards.sort();
        shards.dedup();
        shards
    }

    fn forget_interests(&mut self, token: u64, shards: Vec<u16>, out: &mut Effects) {
        for shard in shards.into_iter().map(ShardId) {
            match shard == self.config.shard {
                true => self.interests.forget(shard, token),
                false => out
                    .neighbours
                    .push((shard, NeighbourMessage::Cancel { token })),
            }
        }
    }

    pub(super) fn reply(&mut self, now: Now, token: u64, response: Response, out: &mut Effects) {
        if let Some(call) = self.end_call(token, out) {
            self.finish(now, call, response, out);
        }
    }

    fn finish(&mut self, now: Now, call: Call, response: Response, out: &mut Effects) {
        self.request_pool(call.produce).give(call.held);
        self.hand_over(now, call.conn, call.call, response, out);
        self.call_over(call.conn);
    }

    /// The connection is gone. A parked fetch ends, lookups that have not begun are left; others are worked
    /// on, and hold what they hold until they are done.
    pub(super) fn cancel(&mut self, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        let pending = call.pending;
        if let Kind::Fetch(fetch) = &mut call.kind {
            fetch.gone = true;
            if pending == 0 {
                self.drop_call(token, out);
            }
            return;
        }
        let looks_up = matches!(&call.kind, Kind::Parts { layout, .. } if layout.is_of_offsets());
        for shard in (0..self.config.shards).filter(|_| looks_up) {
            self.tell(ShardId(shard), NeighbourMessage::Cancel { token }, out);
        }
    }

    /// End a call without an answer.
    pub(super) fn drop_call(&mut self, token: u64, out: &mut Effects) {
        if let Some(call) = self.end_call(token, out) {
            if !self.config.knobs.has(81) {
                self.request_pool(call.produce).give(call.held);
            }
            self.call_over(call.conn);
        }
    }

    /// CreateTopics, DeleteTopics, CreatePartitions: the ledger decides.
    fn change_topics(&mut self, now: Now, call: Call, request: Request, out: &mut Effects) {
        let timed_out = timed_out(&request);
        let deadline = timed_out
            .as_ref()
            .and_then(|(timeout_ms, _)| self.timeout(now, *timeout_ms));
        let late = timed_out.map(|(_, response)| Box::new(response));
        let call = Call {
            deadline,
            kind: Kind::Admin { late },
            ..call
        };
        self.ask_ledger(call, request, out);
    }

    fn ask_ledger(&mut self, call: Call, request: Request, out: &mut Effects) {
        let promised = match &call.kind {
            Kind::AutoCreate(asked) => self.metadata_bytes(asked),
            _ => self.answer_bytes(&request),
        };
        self.promise(promised);
        let token = self.open_call(Call {
            pending: 1,
            promised,
            ..call
        });
        self.send_ask(ShardId(0), token, Ask::Admin(request), out);
    }

    fn metadata(&mut self, now: Now, call: Call, out: &mut Effects) {
        let Kind::AutoCreate(request) = &call.kind else {
            return;
        };
        let missing = self.topics_to_create(request);
        if missing.is_empty() {
            let response = self.describe(request);
            return self.finish(now, call, Response::Metadata(response), out);
        }
        let topics = missing
            .into_iter()
            .map(|name| NewTopic {
                name,
                partitions: -1,
                replication_factor: -1,
                assignments: Vec::new(),
                configs: Vec::new(),
            })
            .collect();
        let request = CreateTopicsRequest {
            topics,
            timeout_ms: 0,
            validate_only: false,
        };
        self.ask_ledger(call, Request::CreateTopics(request), out);
    }

    fn init_producer_id(
        &mut self,
        now: Now,
        call: Call,
        request: InitProducerIdRequest,
        out: &mut Effects,
    ) {
        let half = (request.producer_id == -1) != (request.producer_epoch == -1);
        let error = match request.transactional_id.as_deref() {
            Some("") => Some(ErrorCode::InvalidRequest),
            Some(_) => Some(ErrorCode::TransactionalIdAuthorizationFailed),
            None => half.then_some(ErrorCode::InvalidRequest),
        };
        if let Some(error) = error {
            let response = InitProducerIdResponse {
                error,
                producer_id: -1,
                producer_epoch: -1,
            };
            return self.finish(now, call, Response::InitProducerId(response), out);
        }
        let (next, end) = self.producer_ids;
        if next == end {
            return self.ask_ledger(call, Request::InitProducerId(request), out);
        }
        self.producer_ids.0 += i64::from(!self.config.knobs.has(121));
        let response = InitProducerIdResponse {
            error: ErrorCode::None,
            producer_id: next,
            producer_epoch: 0,
        };
        self.finish(now, call, Response::InitProducerId(response), out);
    }

    /// Send asks to the shards of their partitions; `budget` says how many bytes a shard may answer, and
    /// how many are enough for a fetch that waits to be looked at again.
    pub(super) fn spread(
        &mut self,
        now: Now,
        token: u64,
        asks: Asks,
        budget: impl Fn(u16, &Asks) -> (usize, Option<u64>),
        out: &mut Effects,
    ) {
        let mut by_shard: BTreeMap<u16, Asks> = BTreeMap::new();
        for ask in asks {
            let parts = by_shard.entry(shard_of(ask.1, self.config.shards));
            parts.or_default().push(ask);
        }
        if let Some(call) = self.calls.get_mut(&token) {
            call.pending = by_shard.len();
        }
        if by_shard.is_empty() {
            return self.joined(now, token, out);
        }
        for (shard, parts) in by_shard {
            let (max_bytes, interest) = budget(shard, &parts);
            let ask = Ask::Parts {
                max_bytes,
                parts,
                interest,
            };
            self.send_ask(ShardId(shard), token, ask, out);
        }
    }

    fn send_ask(&mut self, to: ShardId, token: u64, ask: Ask, out: &mut Effects) {
        let metadata = self.metadata_offset();
        let message = NeighbourMessage::Ask {
            token,
            metadata,
            ask,
        };
        self.tell(to, message, out);
    }

    pub(super) fn answered(&mut self, now: Now, token: u64, answer: Answer, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        call.pending -= 1;
        match answer {
            Answer::Admin(response) => self.ledger_answered(now, token, response, out),
            Answer::Parts(parts) => {
                let layout = match &mut call.kind {
                    Kind::Parts { layout, .. } => Some(layout),
                    Kind::Fetch(fetch) => Some(&mut fetch.layout),
                    _ => None,
                };
                if let Some(layout) = layout {
                    let parts = parts.into_iter();
                    parts.for_each(|(slot, part)| layout.put(slot, part));
                }
                if call.pending == 0 {
                    self.joined(now, token, out);
                }
            }
        }
    }

    fn ledger_answered(&mut self, now: Now, token: u64, response: Response, out: &mut Effects) {
        let Some(call) = self.calls.get(&token) else {
            return;
        };
        match (&call.kind, &response) {
            (Kind::AutoCreate(request), _) => {
                let response = self.describe(&request.clone());
                self.reply(now, token, Response::Metadata(response), out);
            }
            (Kind::ProducerIds, Response::InitProducerId(block)) => {
                let first = block.producer_id + i64::from(!self.config.knobs.has(122));
                self.producer_ids = (first, block.producer_id + PRODUCER_ID_BLOCK);
                self.reply(now, token, response, out);
            }
            (Kind::Answered, _) => self.drop_answered(token, out),
            _ => self.reply(now, token, response, out),
        }
    }

    /// What was answered before is done now.
    fn drop_answered(&mut self, token: u64, out: &mut Effects) {
        if let Some(call) = self.end_call(token, out) {
            self.request_pool(call.produce).give(call.held);
        }
    }

    /// Every part is in: answer, or park a fetch that has too little.
    pub(super) fn joined(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        let conn = call.conn;
        match &mut call.kind {
            Kind::Parts { layout, silent } => {
                if *silent && layout.any_error() {
                    // The call is never answered, so nothing that was asked after it leaves before
                    // the connection is closed.
                    self.close(conn, CloseReason::UnansweredFailure, out);
                    return self.drop_call(token, out);
                }
                let response = match silent {
                    true => Response::Nothing,
                    false => layout.take(),
                };
                self.reply(now, token, response, out);
            }
            Kind::Fetch(_) => self.fetch_joined(now, token, out),
            Kind::Answered => self.drop_answered(token, out),
            Kind::Admin { .. } | Kind::AutoCreate(_) | Kind::ProducerIds => {}
        }
    }

    /// Calls whose deadline has come: a fetch answers with what there is, others say so.
    pub(super) fn due_calls(&mut self, now: Now, out: &mut Effects) {
        while let Some((deadline, token)) = self.call_deadlines.first().copied() {
            if deadline > now.mono {
                return;
            }
            self.call_deadlines.pop_first();
            self.drop_deadline(token);
            self.give_up(now, token, out);
            if !self.config.knobs.has(116) {
                self.time_out(now, token, out);
            }
        }
    }

    /// The client has waited as long as it said. What it asked for may still come about; the bytes it
    /// sent are held until that is known.
    fn time_out(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        let response = match &mut call.kind {
            // Nobody waits for the answer.
            Kind::Parts { silent: true, .. } => return,
            Kind::Parts { layout, .. } => {
                layout.fill(ErrorCode::RequestTimedOut);
                layout.take()
            }
            Kind::Admin { late } => match late.take() {
                Some(response) => *response,
                None => return,
            },
            _ => return,
        };
        call.kind = Kind::Answered;
        let (conn, number) = (call.conn, call.call);
        let promised = std::mem::take(&mut call.promised);
        self.redeem(promised);
        self.hand_over(now, conn, number, response, out);
        self.call_over(conn);
    }
}

/// How long a change of topics may take, and the answer if it takes longer (`KafkaApis.java`: the
/// change may still come about).
fn timed_out(request: &Request) -> Option<(i32, Response)> {
    let error = ErrorCode::RequestTimedOut;
    let text = || Some("the request timed out; it may still take effect".to_string());
    Some(match request {
        Request::CreateTopics(request) => {
            let topics = request.topics.iter().map(|topic| TopicCreated {
                name: topic.name.clone(),
                error,
                error_message: text(),
                partitions: -1,
                replication_factor: -1,
                ..TopicCreated::default()
            });
            let topics = topics.collect();
            let response = Response::CreateTopics(CreateTopicsResponse { topics });
            (request.timeout_ms, response)
        }
        Request::DeleteTopics(request) => {
            let topics = request.topics.iter();
            let topics = topics.map(|topic| (topic.clone(), error, text())).collect();
            let response = Response::DeleteTopics(DeleteTopicsResponse { topics });
            (request.timeout_ms, response)
        }
        Request::CreatePartitions(request) => {
            let topics = request.topics.iter();
            let topics = topics.map(|(name, ..)| (name.clone(), error, text()));
            let topics = topics.collect();
            let response = Response::CreatePartitions(CreatePartitionsResponse { topics });
            (request.timeout_ms, response)
        }
        _ => return None,
    })
}
