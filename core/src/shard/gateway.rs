//! The gateway: a client's requests in order, split over partitions, joined into answers.
//!
//! A connection executes in order; only Produce overlaps Produce.

use std::collections::{BTreeMap, VecDeque};

use super::parts::Layout;
use super::{Answer, Ask, NeighbourMessage, Part, PartAsk, Shard};
use crate::api::*;
use crate::contract::Effects;
use crate::error_code::ErrorCode;
use crate::ids::{CallId, ConnId, PartitionId, ShardId};
use crate::metadata::{shard_of, PRODUCER_ID_BLOCK};
use crate::time::{Instant, Now};

/// A client connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Conn {
    waiting: VecDeque<(CallId, Request)>,
    running: usize,
    running_produce: bool,
}

/// What a call waits for.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Answers from partitions.
    Parts { layout: Layout },
    /// A fetch, which may park.
    Fetch {
        layout: Layout,
        asks: Vec<(u32, PartitionId, PartAsk)>,
        min_bytes: usize,
        max_bytes: usize,
        woken: bool,
    },
    /// The ledger's answer, passed on.
    Admin,
    /// The ledger's answer, then Metadata again.
    AutoCreate(MetadataRequest),
    /// A block of producer ids.
    ProducerIds,
}

/// A request being worked on.
#[derive(Clone, Debug)]
pub(super) struct Call {
    conn: ConnId,
    call: CallId,
    held: u64,
    pending: usize,
    deadline: Option<Instant>,
    kind: Kind,
}

/// Bytes a request holds in memory while it waits.
fn weight(request: &Request) -> u64 {
    match request {
        Request::Produce(produce) => {
            let parts = produce.topics.iter().flat_map(|topic| &topic.partitions);
            parts
                .map(|(_, records)| records.as_ref().map_or(0, |records| records.len() as u64))
                .sum()
        }
        _ => 256,
    }
}

impl Shard {
    pub(super) fn client(
        &mut self,
        now: Now,
        conn: ConnId,
        call: CallId,
        request: Request,
        out: &mut Effects,
    ) {
        if self.stopping.asked {
            // Its connection ends without an answer, and the client asks again elsewhere or later.
            return;
        }
        self.held_bytes += weight(&request);
        let row = self.conns.entry(conn).or_default();
        row.waiting.push_back((call, request));
        self.run_conn(now, conn, out);
    }

    pub(super) fn resume_conns(&mut self, now: Now, out: &mut Effects) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.run_conn(now, conn, out);
        }
    }

    /// Start what may start on this connection.
    fn run_conn(&mut self, now: Now, conn: ConnId, out: &mut Effects) {
        while self.is_ready() && !self.stopping.drained {
            let Some(row) = self.conns.get_mut(&conn) else {
                return;
            };
            let Some((_, request)) = row.waiting.front() else {
                return;
            };
            let produce = matches!(request, Request::Produce(_));
            if row.running > 0 && !(produce && row.running_produce) {
                return;
            }
            row.running += 1;
            row.running_produce = produce;
            if let Some((call, request)) = row.waiting.pop_front() {
                self.begin(now, conn, call, request, out);
            }
        }
    }

    pub(super) fn hangup(&mut self, _now: Now, conn: ConnId, out: &mut Effects) {
        if let Some(row) = self.conns.remove(&conn) {
            self.held_bytes -= row
                .waiting
                .iter()
                .map(|(_, request)| weight(request))
                .sum::<u64>();
        }
        let tokens: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| call.conn == conn)
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            self.end_call(token, out);
        }
    }

    fn begin(&mut self, now: Now, conn: ConnId, call: CallId, request: Request, out: &mut Effects) {
        let held = weight(&request);
        let row = |kind| Call {
            conn,
            call,
            held,
            pending: 0,
            deadline: None,
            kind,
        };
        match request {
            Request::Metadata(request) => self.metadata(now, row(Kind::AutoCreate(request)), out),
            Request::FindCoordinator(request) => {
                let keys = request
                    .keys
                    .into_iter()
                    .map(|key| (key, ErrorCode::CoordinatorNotAvailable));
                let response = FindCoordinatorResponse {
                    keys: keys.collect(),
                };
                self.finish(
                    now,
                    row(Kind::Admin),
                    Response::FindCoordinator(response),
                    out,
                );
            }
            Request::InitProducerId(request) => {
                self.init_producer_id(now, row(Kind::ProducerIds), request, out)
            }
            Request::CreateTopics(_) | Request::DeleteTopics(_) | Request::CreatePartitions(_) => {
                self.ask_ledger(now, row(Kind::Admin), request, out)
            }
            Request::Fetch(request) => self.begin_fetch(now, row(Kind::Admin), request, out),
            request @ (Request::Produce(_)
            | Request::ListOffsets(_)
            | Request::OffsetForLeaderEpoch(_)
            | Request::DeleteRecords(_)) => {
                let silent = matches!(&request, Request::Produce(produce) if produce.acks == 0);
                let (layout, asks) = self.lay_out(request);
                let token = self.open_call(Call {
                    kind: Kind::Parts { layout },
                    ..row(Kind::Admin)
                });
                self.spread(now, token, asks, usize::MAX, false, out);
                if silent {
                    // acks=0: the client waits for nothing, and what fails shows in nothing.
                    self.reply(now, token, Response::Nothing, out);
                }
            }
        }
    }

    fn open_call(&mut self, call: Call) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        if let Some(deadline) = call.deadline {
            self.call_deadlines.insert((deadline, token));
        }
        self.calls.insert(token, call);
        token
    }

    /// Remove a call and what it holds, without an answer.
    fn end_call(&mut self, token: u64, out: &mut Effects) -> Option<Call> {
        let call = self.calls.remove(&token)?;
        self.held_bytes -= call.held;
        if let Some(deadline) = call.deadline {
            self.call_deadlines.remove(&(deadline, token));
        }
        if let Kind::Fetch { asks, .. } = &call.kind {
            let mut shards: Vec<u16> = asks
                .iter()
                .map(|(_, id, _)| shard_of(*id, self.config.shards))
                .collect();
            shards.sort();
            shards.dedup();
            for shard in shards {
                match ShardId(shard) == self.config.shard {
                    true => self.forget_interest(ShardId(shard), token),
                    false => out
                        .neighbours
                        .push((ShardId(shard), NeighbourMessage::Cancel { token })),
                }
            }
        }
        Some(call)
    }

    fn reply(&mut self, now: Now, token: u64, response: Response, out: &mut Effects) {
        if let Some(call) = self.end_call(token, out) {
            self.held_bytes += call.held;
            self.finish(now, call, response, out);
        }
    }

    fn finish(&mut self, now: Now, call: Call, response: Response, out: &mut Effects) {
        self.held_bytes -= call.held;
        out.replies.push((call.conn, call.call, response));
        if let Some(row) = self.conns.get_mut(&call.conn) {
            row.running -= 1;
            if !row.waiting.is_empty() {
                self.run_conn(now, call.conn, out);
            }
        }
    }

    fn ask_ledger(&mut self, now: Now, call: Call, request: Request, out: &mut Effects) {
        let token = self.open_call(Call { pending: 1, ..call });
        self.send_ask(now, ShardId(0), token, Ask::Admin(request), out);
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
        self.ask_ledger(now, call, Request::CreateTopics(request), out);
    }

    fn init_producer_id(
        &mut self,
        now: Now,
        call: Call,
        request: InitProducerIdRequest,
        out: &mut Effects,
    ) {
        if request.transactional_id.is_some() {
            let error = ErrorCode::TransactionalIdAuthorizationFailed;
            let response = InitProducerIdResponse {
                error,
                producer_id: -1,
                producer_epoch: -1,
            };
            return self.finish(now, call, Response::InitProducerId(response), out);
        }
        let (next, end) = self.producer_ids;
        if next == end {
            return self.ask_ledger(now, call, Request::InitProducerId(request), out);
        }
        self.producer_ids.0 += 1;
        let response = InitProducerIdResponse {
            error: ErrorCode::None,
            producer_id: next,
            producer_epoch: 0,
        };
        self.finish(now, call, Response::InitProducerId(response), out);
    }

    /// Send asks to the shards of their partitions.
    fn spread(
        &mut self,
        now: Now,
        token: u64,
        asks: Vec<(u32, PartitionId, PartAsk)>,
        max_bytes: usize,
        interest: bool,
        out: &mut Effects,
    ) {
        let mut by_shard: BTreeMap<u16, Vec<(u32, PartitionId, PartAsk)>> = BTreeMap::new();
        for ask in asks {
            by_shard
                .entry(shard_of(ask.1, self.config.shards))
                .or_default()
                .push(ask);
        }
        if let Some(call) = self.calls.get_mut(&token) {
            call.pending = by_shard.len();
        }
        if by_shard.is_empty() {
            return self.joined(now, token, out);
        }
        for (shard, parts) in by_shard {
            let ask = Ask::Parts {
                parts,
                max_bytes,
                interest,
            };
            self.send_ask(now, ShardId(shard), token, ask, out);
        }
    }

    fn send_ask(&mut self, now: Now, to: ShardId, token: u64, ask: Ask, out: &mut Effects) {
        let metadata = self.metadata_offset();
        let message = NeighbourMessage::Ask {
            token,
            metadata,
            ask,
        };
        self.tell(now, to, message, out);
    }

    fn begin_fetch(&mut self, now: Now, call: Call, request: FetchRequest, out: &mut Effects) {
        if request.session_epoch > 0 {
            // No session is ever granted, so none can be continued (KIP-227).
            let error = ErrorCode::FetchSessionIdNotFound;
            let response = FetchResponse {
                error,
                session_id: 0,
                topics: Vec::new(),
            };
            return self.finish(now, call, Response::Fetch(response), out);
        }
        let wait = u64::try_from(request.max_wait_ms).unwrap_or(0);
        let deadline = Some(now.mono.plus_millis(wait)).filter(|_| wait > 0);
        let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
        let max_bytes = usize::try_from(request.max_bytes)
            .unwrap_or(0)
            .min(64 << 20);
        let (layout, asks) = self.lay_out(Request::Fetch(request));
        let again = asks.clone();
        let kind = Kind::Fetch {
            layout,
            asks,
            min_bytes,
            max_bytes,
            woken: false,
        };
        let token = self.open_call(Call {
            deadline,
            kind,
            ..call
        });
        self.spread(now, token, again, max_bytes, deadline.is_some(), out);
    }

    pub(super) fn answered(&mut self, now: Now, token: u64, answer: Answer, out: &mut Effects) {
        match answer {
            Answer::Admin(response) => self.ledger_answered(now, token, response, out),
            Answer::Parts(parts) => {
                let Some(call) = self.calls.get_mut(&token) else {
                    return;
                };
                if let Kind::Parts { layout } | Kind::Fetch { layout, .. } = &mut call.kind {
                    parts
                        .into_iter()
                        .for_each(|(slot, part)| layout.put(slot, part));
                }
                call.pending -= 1;
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
                self.producer_ids = (block.producer_id + 1, block.producer_id + PRODUCER_ID_BLOCK);
                self.reply(now, token, response, out);
            }
            _ => self.reply(now, token, response, out),
        }
    }

    /// Every part is in: answer, or park a fetch that has too little.
    fn joined(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        match &mut call.kind {
            Kind::Parts { layout } => {
                let response = layout.take();
                self.reply(now, token, response, out);
            }
            Kind::Fetch {
                layout,
                asks,
                min_bytes,
                max_bytes,
                woken,
            } => {
                let enough = layout.fetched_bytes() >= *min_bytes || layout.any_error();
                let over = call.deadline.is_none_or(|deadline| deadline <= now.mono);
                if enough || over || asks.is_empty() && call.deadline.is_none() {
                    let response = layout.take();
                    self.reply(now, token, response, out);
                } else if std::mem::take(woken) {
                    let (asks, max_bytes) = (asks.clone(), *max_bytes);
                    self.spread(now, token, asks, max_bytes, true, out);
                }
            }
            Kind::Admin | Kind::AutoCreate(_) | Kind::ProducerIds => {}
        }
    }

    /// Something a parked fetch waits for has moved.
    pub(super) fn woken(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        let pending = call.pending;
        if let Kind::Fetch { woken, .. } = &mut call.kind {
            *woken = true;
            if pending == 0 {
                self.joined(now, token, out);
            }
        }
    }

    /// Calls whose deadline has come: a fetch answers with what it has.
    pub(super) fn due_calls(&mut self, now: Now, out: &mut Effects) {
        while let Some((deadline, token)) = self.call_deadlines.first().copied() {
            if deadline > now.mono {
                return;
            }
            self.call_deadlines.remove(&(deadline, token));
            self.give_up(now, token, out);
        }
    }

    /// Answer a parked fetch at once; one that still waits for parts answers when they are in.
    pub(super) fn give_up(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        if let Kind::Fetch { .. } = &call.kind {
            if let Some(deadline) = call.deadline.take() {
                self.call_deadlines.remove(&(deadline, token));
            }
            if call.pending == 0 {
                self.joined(now, token, out);
            }
        }
    }
}

impl Layout {
    fn fetched_bytes(&self) -> usize {
        self.parts()
            .map(|part| match part {
                Part::Fetched(fetched) => fetched.records.iter().map(|piece| piece.len()).sum(),
                _ => 0,
            })
            .sum()
    }

    fn any_error(&self) -> bool {
        self.parts()
            .any(|part| matches!(part, Part::Fetched(fetched) if fetched.error != ErrorCode::None))
    }
}
