//! Connections: each one's calls in order, what it holds, and when it is given up.
//!
//! A connection executes in order; only Produce overlaps Produce. Connections take turns, one call
//! each, from a work list: however many calls a client sends at once, nothing recurses over them.
//! A call that would make the shard hold more than it may waits, and its connection with it.

use std::collections::{BTreeSet, VecDeque};

use super::gateway::Call;
use super::Shard;
use crate::api::{Request, Response};
use crate::contract::{Appetite, CloseReason, Effects};
use crate::ids::{CallId, ConnId};
use crate::limits::Limits;
use crate::pools::{Pool, Pools};
use crate::time::{Instant, Now};

/// A turn that comes so long after it was due follows a stop of the whole process: SIGSTOP, a machine that
/// was suspended. What clients sent or took meanwhile is in sockets that nobody has looked at yet.
const LATE_MS: u64 = 1_000;
/// Then nobody is given up for so long.
const SPARED_MS: u64 = 1_000;
/// But not again within so long: a shard that is only slow must give up who stalls all the same.
const SPARED_AGAIN_MS: u64 = 10_000;

/// A client connection.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    waiting: VecDeque<(CallId, Request, u64)>,
    running: usize,
    running_produce: bool,
    /// It stands on the work list, or among those that wait for a pool.
    listed: bool,
    /// It has closed its side: no fetch of it parks.
    leaving: bool,
    /// It hung up: only what it produced before is still done.
    gone: bool,
    /// Its calls that wait for something, by token.
    pub(super) open: BTreeSet<u64>,
    /// Bytes that have arrived and are not decoded.
    receiving: u64,
    /// Bytes of answers that its socket has not taken: of fetched records, of others.
    unsent: [u64; 2],
    /// When a byte was last heard or sent.
    heard_at: Instant,
    /// When a byte of the request that is arriving last came.
    received_at: Instant,
    /// When the socket last took something, or something began to wait for it.
    sent_at: Instant,
    /// When it is looked at next, to see whether it is stalled or idle.
    looked_at: Instant,
}

impl Conn {
    fn new(now: Instant) -> Conn {
        Conn {
            waiting: VecDeque::new(),
            running: 0,
            running_produce: false,
            listed: false,
            leaving: false,
            gone: false,
            open: BTreeSet::new(),
            receiving: 0,
            unsent: [0; 2],
            heard_at: now,
            received_at: now,
            sent_at: now,
            looked_at: Instant(u64::MAX),
        }
    }

    fn unsent(&self) -> u64 {
        self.unsent[0] + self.unsent[1]
    }

    /// Since when it has not moved, if it holds some of this.
    fn stalled_with(&self, held: Held) -> Option<Instant> {
        match held {
            Held::Request => (self.receiving > 0).then_some(self.received_at),
            Held::Answer(lane) => (self.unsent[lane] > 0).then_some(self.sent_at),
            Held::Waiting { produce } => {
                let stalled = self.has_waiting(produce) && self.unsent() > 0;
                stalled.then_some(self.sent_at)
            }
        }
    }

    /// A call waits for others of the connection.
    pub(super) fn has_calls(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A call of this kind does.
    pub(super) fn has_waiting(&self, produce: bool) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|(_, request, _)| is_produce(request) == produce)
    }

    /// When it is given up if nothing moves until then, and why.
    fn deadline(&self, limits: &Limits) -> (Instant, CloseReason) {
        let idle = (self.heard_at.plus_millis(limits.idle_ms), CloseReason::Idle);
        let request = self.received_at.plus_millis(limits.stalled_request_ms);
        let reader = self.sent_at.plus_millis(limits.stalled_reader_ms);
        let request = (self.receiving > 0).then_some((request, CloseReason::StalledRequest));
        let reader = (self.unsent() > 0).then_some((reader, CloseReason::StalledReader));
        let first = [request, reader].into_iter().flatten();
        first.fold(idle, |first, next| match next.0 < first.0 {
            true => next,
            false => first,
        })
    }
}

/// What a connection may hold of a pool: bytes of a request that arrives, of answers in one of
/// [`Conn::unsent`], of calls that wait behind answers which its socket does not take.
#[derive(Clone, Copy, Debug)]
enum Held {
    Request,
    Answer(usize),
    Waiting { produce: bool },
}

impl Held {
    /// Where there is no room for decoded requests, those that arrive stand still through no fault of their
    /// clients: so these come last.
    const ALL: [Held; 5] = [
        Held::Waiting { produce: false },
        Held::Waiting { produce: true },
        Held::Answer(0),
        Held::Answer(1),
        Held::Request,
    ];
}

/// Connections with something to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Runnable {
    /// These may begin a call now.
    ready: VecDeque<ConnId>,
    /// The next call of these waits for room: for fetched records, for other answers.
    fetches: VecDeque<ConnId>,
    replies: VecDeque<ConnId>,
}

fn is_produce(request: &Request) -> bool {
    matches!(request, Request::Produce(_))
}

/// Which of [`Conn::unsent`] an answer belongs to.
fn lane(response: &Response) -> usize {
    usize::from(!matches!(response, Response::Fetch(_)))
}

impl Shard {
    pub(super) fn connect(&mut self, now: Now, conn: ConnId) {
        self.conns.insert(conn, Conn::new(now.mono));
        self.watch(conn);
    }

    /// How much client work the shard takes now.
    pub fn appetite(&self) -> Appetite {
        Appetite {
            frame_bytes: self.pools.frames.room(),
            produce_bytes: self.pools.produces.room(),
            request_bytes: self.pools.requests.room(),
        }
    }

    /// What clients make this shard hold: for checkers.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Every pool holds what connections and calls hold, neither more nor less.
    pub(super) fn check_pools(&self) {
        let rows = || self.conns.values();
        let frames: u64 = rows().map(|row| row.receiving).sum();
        assert_eq!(frames, self.pools.frames.held(), "frames are miscounted");
        let fetched: u64 = rows().map(|row| row.unsent[0]).sum();
        let reserved: u64 = self.calls.values().map(Call::reserved).sum();
        let held = self.pools.fetches.held();
        assert_eq!(fetched + reserved, held, "fetched bytes are miscounted");
        let replies: u64 = rows().map(|row| row.unsent[1]).sum();
        assert_eq!(replies, self.pools.replies.held(), "answers are miscounted");
        let waiting = rows().flat_map(|row| &row.waiting);
        let waiting = waiting.map(|(_, request, held)| (is_produce(request), *held));
        let calls = self.calls.iter();
        let calls = calls.filter(|(token, _)| !self.parked.contains(**token));
        let calls = calls.map(|(_, call)| (call.produce, call.held));
        let mut sums = [0; 2];
        for (produce, held) in waiting.chain(calls) {
            sums[usize::from(!produce)] += held;
        }
        let held = [self.pools.produces.held(), self.pools.requests.held()];
        assert_eq!(sums, held, "requests are miscounted");
        self.check_parked();
    }

    /// The pool that a request of this kind is charged to.
    pub(super) fn request_pool(&mut self, produce: bool) -> &mut Pool {
        match produce {
            true => &mut self.pools.produces,
            false => &mut self.pools.requests,
        }
    }

    pub(super) fn client(
        &mut self,
        now: Now,
        conn: ConnId,
        call: CallId,
        request: Request,
        held: u64,
    ) {
        if self.stopping.asked {
            // Its connection ends without an answer, and the client asks again elsewhere or later.
            return;
        }
        let Some(row) = self.conns.get_mut(&conn).filter(|row| !row.gone) else {
            return;
        };
        row.heard_at = now.mono;
        let produce = is_produce(&request);
        row.waiting.push_back((call, request, held));
        self.parked.queued_behind(&row.open);
        self.request_pool(produce).take(held);
        self.list(conn);
    }

    /// So much of a connection has arrived and is not decoded.
    pub(super) fn receiving(&mut self, now: Now, conn: ConnId, bytes: u64) {
        let Some(row) = self.conns.get_mut(&conn).filter(|row| !row.gone) else {
            return;
        };
        let before = std::mem::replace(&mut row.receiving, bytes);
        (row.heard_at, row.received_at) = (now.mono, now.mono);
        self.pools.frames.give(before);
        self.pools.frames.take(bytes);
        if before == 0 {
            self.watch(conn);
        }
    }

    /// The socket took so much of what was answered.
    pub(super) fn sent(&mut self, now: Now, conn: ConnId, bytes: u64) {
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        (row.heard_at, row.sent_at) = (now.mono, now.mono);
        // Answers leave in order, so which lane's bytes went is known only when all have; records are
        // the ones that are short.
        let fetched = bytes.min(row.unsent[0]);
        let other = (bytes - fetched).min(row.unsent[1]);
        row.unsent[0] -= fetched;
        row.unsent[1] -= other;
        self.pools.fetches.give(fetched);
        self.pools.replies.give(other);
        if self.config.knobs.has(114) {
            return;
        }
        self.list(conn);
    }

    /// An answer goes out.
    pub(super) fn hand_over(
        &mut self,
        now: Now,
        conn: ConnId,
        call: CallId,
        response: Response,
        out: &mut Effects,
    ) {
        let Some(row) = self.conns.get_mut(&conn).filter(|row| !row.gone) else {
            return;
        };
        if row.unsent() == 0 {
            row.sent_at = now.mono;
        }
        let (lane, held) = (lane(&response), response.held_bytes());
        row.unsent[lane] += held;
        match lane {
            0 => self.pools.fetches.take(held),
            _ => self.pools.replies.take(held),
        }
        out.replies.push((conn, call, response));
        self.watch(conn);
    }

    /// A call of this connection is over: the next may begin.
    pub(super) fn call_over(&mut self, conn: ConnId) {
        if let Some(row) = self.conns.get_mut(&conn) {
            row.running -= 1;
            self.list_or_forget(conn);
        }
    }

    /// Put a connection on the work list if it has something to do.
    fn list(&mut self, conn: ConnId) {
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        if !row.listed && !row.waiting.is_empty() {
            row.listed = true;
            self.runnable.ready.push_back(conn);
        }
    }

    /// Clients are served from now on: go on with what waited for that.
    pub(super) fn list_all(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.list(conn));
    }

    /// Let the next connection on the work list begin a call, if it may. False if there is none.
    pub(super) fn run_next_conn(&mut self, now: Now, out: &mut Effects) -> bool {
        if !self.is_ready() || self.stopping.drained {
            return false;
        }
        let runnable = &mut self.runnable;
        let mut next = runnable.ready.pop_front();
        if next.is_none() && self.pools.fetches.has_room() {
            next = runnable.fetches.pop_front();
        }
        if next.is_none() && self.pools.replies.has_room() {
            next = runnable.replies.pop_front();
        }
        if let Some(conn) = next {
            self.run_conn(now, conn, out);
        }
        next.is_some()
    }

    /// Connections may begin calls now, and no input will come to make them.
    pub(super) fn has_runnable(&self) -> bool {
        !self.runnable.ready.is_empty() && self.is_ready() && !self.stopping.drained
    }

    /// Calls that were heard are to begin, or wait for room in a pool: who holds it without moving soon
    /// lets go. Or they wait for their own socket.
    pub(super) fn has_waiting_calls(&self, now: Now) -> bool {
        let Runnable {
            ready,
            fetches,
            replies,
        } = &self.runnable;
        let listed = !(ready.is_empty() && fetches.is_empty() && replies.is_empty());
        listed || self.sockets_waited_for().any(|until| until > now.mono)
    }

    /// Connections whose next call waits until their socket has taken something: how long a stop waits for
    /// that.
    pub(super) fn sockets_waited_for(&self) -> impl Iterator<Item = Instant> + '_ {
        let most_ms = self.config.limits.pressed_stall_ms;
        let blocked = |row: &&Conn| !row.gone && !row.waiting.is_empty() && row.unsent() > 0;
        let blocked = self.conns.values().filter(blocked);
        blocked.map(move |row| row.sent_at.plus_millis(most_ms))
    }

    /// Begin this connection's next call, if it may.
    fn run_conn(&mut self, now: Now, conn: ConnId, out: &mut Effects) {
        let limit = self.config.limits.unsent_per_connection;
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        row.listed = false;
        let Some((_, request, _)) = row.waiting.front() else {
            return self.forget_if_done(conn);
        };
        let produce = is_produce(request);
        let fetch = matches!(request, Request::Fetch(_));
        // Listed again when a call ends, or when the socket takes something.
        let in_turn = row.running == 0 || (produce && row.running_produce);
        let in_turn = in_turn || self.config.knobs.has(87);
        if !in_turn || row.unsent() > limit {
            return;
        }
        let (pool, queue) = match fetch {
            true => (&self.pools.fetches, &mut self.runnable.fetches),
            false => (&self.pools.replies, &mut self.runnable.replies),
        };
        if !pool.has_room() && !row.gone {
            row.listed = true;
            return queue.push_back(conn);
        }
        let Some((call, request, held)) = row.waiting.pop_front() else {
            return;
        };
        if row.gone && !produce {
            self.request_pool(produce).give(held);
            return self.list_or_forget(conn);
        }
        row.running += 1;
        row.running_produce = produce;
        self.list(conn);
        self.begin(now, conn, call, (request, held), out);
    }

    /// The client sends no more: nobody would notice that it is gone while a fetch waits.
    pub(super) fn leaving(&mut self, now: Now, conn: ConnId, out: &mut Effects) {
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        row.leaving = true;
        for token in row.open.clone() {
            self.give_up(now, token, out);
        }
    }

    /// True if the client of this connection waits for nothing new.
    pub(super) fn is_leaving(&self, conn: ConnId) -> bool {
        self.conns
            .get(&conn)
            .is_none_or(|row| row.leaving || row.gone)
    }

    /// The connection is gone. Its parked calls end; what it produced before is still done.
    pub(super) fn hangup(&mut self, conn: ConnId, out: &mut Effects) {
        let Some(row) = self.conns.get_mut(&conn).filter(|row| !row.gone) else {
            return;
        };
        row.gone = true;
        let (receiving, unsent) = (row.receiving, row.unsent);
        (row.receiving, row.unsent) = (0, [0; 2]);
        let open = match self.config.knobs.has(115) {
            true => Default::default(),
            false => row.open.clone(),
        };
        let looked_at = row.looked_at;
        self.pools.frames.give(receiving);
        self.pools.fetches.give(unsent[0]);
        self.pools.replies.give(unsent[1]);
        self.conn_deadlines.remove(&(looked_at, conn));
        for token in open {
            self.cancel(token, out);
        }
        self.list_or_forget(conn);
    }

    fn list_or_forget(&mut self, conn: ConnId) {
        self.list(conn);
        self.forget_if_done(conn);
    }

    fn forget_if_done(&mut self, conn: ConnId) {
        let done = |row: &&Conn| row.gone && row.waiting.is_empty() && row.running == 0;
        if self.conns.get(&conn).filter(done).is_some() {
            self.conns.remove(&conn);
        }
    }

    /// Give a connection up.
    pub(super) fn close(&mut self, conn: ConnId, why: CloseReason, out: &mut Effects) {
        if self.conns.get(&conn).is_some_and(|row| !row.gone) {
            out.closes.push((conn, why));
            self.hangup(conn, out);
        }
    }

    /// Look at a connection when it would be given up, if that is sooner than it is looked at anyway.
    fn watch(&mut self, conn: ConnId) {
        let limits = self.config.limits;
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        let (at, _) = row.deadline(&limits);
        if at < row.looked_at {
            self.conn_deadlines.remove(&(row.looked_at, conn));
            row.looked_at = at;
            self.conn_deadlines.insert((at, conn));
        }
    }

    /// A turn begins. If it is late, the shard was away, and clients are spared until their sockets have
    /// been looked at.
    pub(super) fn note_lateness(&mut self, now: Now) {
        let due = self.awaited.take();
        let late = due.is_some_and(|due| now.mono > due.plus_millis(LATE_MS));
        if late && now.mono >= self.sparing_until.plus_millis(SPARED_AGAIN_MS) {
            self.sparing_until = now.mono.plus_millis(SPARED_MS);
        }
    }

    /// Give up connections that are idle or stalled.
    pub(super) fn due_conns(&mut self, now: Now, out: &mut Effects) {
        if now.mono < self.sparing_until {
            return;
        }
        while let Some((at, conn)) = self.conn_deadlines.first().copied() {
            if at > now.mono {
                break;
            }
            self.conn_deadlines.pop_first();
            let limits = self.config.limits;
            let Some(row) = self.conns.get_mut(&conn) else {
                continue;
            };
            row.looked_at = Instant(u64::MAX);
            let (at, why) = row.deadline(&limits);
            match at <= now.mono {
                true => self.close(conn, why, out),
                false => self.watch(conn),
            }
        }
        self.relieve(now, out);
    }

    /// A pool that is nearly used up: whoever holds some of it and has not moved for long lets go.
    fn relieve(&mut self, now: Now, out: &mut Effects) {
        self.let_pass(now, out);
        if self.pressed_until.is_some_and(|at| at > now.mono) {
            return;
        }
        self.pressed_until = None;
        let mut decodes = true;
        for held in Held::ALL {
            if matches!(held, Held::Request) && !decodes {
                // Requests that waited for that room are decoded now.
                let most_ms = self.config.limits.pressed_stall_ms;
                let again = now.mono.plus_millis(most_ms);
                self.pressed_until.get_or_insert(again);
                continue;
            }
            while self.pool_of(held).is_pressed() && self.give_up_stalled(now, held, out) {
                decodes &= !matches!(held, Held::Waiting { .. });
            }
        }
    }

    fn pool_of(&self, held: Held) -> &Pool {
        match held {
            Held::Request => &self.pools.frames,
            Held::Answer(0) => &self.pools.fetches,
            Held::Answer(_) => &self.pools.replies,
            Held::Waiting { produce: true } => &self.pools.produces,
            Held::Waiting { produce: false } => &self.pools.requests,
        }
    }

    /// Give up who has stalled longest with some of this, if that is too long; else come back when it
    /// will be.
    fn give_up_stalled(&mut self, now: Now, held: Held, out: &mut Effects) -> bool {
        let rows = self.conns.iter();
        let stalled = rows.filter_map(|(conn, row)| Some((row.stalled_with(held)?, *conn)));
        let Some((since, conn)) = stalled.min() else {
            return false;
        };
        let at = since.plus_millis(self.config.limits.pressed_stall_ms);
        if at <= now.mono {
            let why = match held {
                Held::Request => CloseReason::StalledRequest,
                Held::Answer(_) | Held::Waiting { .. } => CloseReason::StalledReader,
            };
            self.close(conn, why, out);
            return true;
        }
        let sooner = self.pressed_until.is_none_or(|before| at < before);
        if sooner {
            self.pressed_until = Some(at);
        }
        false
    }
}
