//! Connections: each one's calls in order, what it holds, and when it is given up.
//!
//! A connection executes in order; only Produce overlaps Produce. Connections take turns, one call
//! each, from a work list (`runnable.rs`): however many calls a client sends at once, nothing recurses over
//! them. A call that would make the shard hold more than it may waits, and its connection with it.

use std::collections::{BTreeSet, VecDeque};

use super::gateway::Call;
use super::Shard;
use crate::api::{Request, Response};
use crate::contract::{Appetite, CloseReason, Effects};
use crate::ids::{CallId, ConnId};
use crate::limits::Limits;
use crate::pools::{Pool, Pools, LANES};
use crate::time::{Instant, Now};

/// A turn that comes so long after it was due follows a stop of the whole process: SIGSTOP, a machine that
/// was suspended. What clients sent or took meanwhile is in sockets that nobody has looked at yet.
const LATE_MS: u64 = 1_000;
/// Then nobody is given up for so long.
const SPARED_MS: u64 = 1_000;
/// But not again within so long: a shard that is only slow must give up who stalls all the same.
const SPARED_AGAIN_MS: u64 = 10_000;

/// A turn that comes so long after the last one may follow a shorter stop, also where nothing was due in it:
/// a client's deadline and the end of a stop can come together.
const AWAY_MS: u64 = 100;
/// So the shard is awake so long before it gives a client up, and if it was not, looks again so long after.
const AWAKE_MS: u64 = 50;

/// Who has read so many answers, each before it asked for more, may be trusted to read the next one. A
/// socket alone takes some of them for a client that reads nothing.
const PROVEN_ROUNDS: u32 = 8;

/// Since when less than [`Limits::pressed_pace_bytes`] have moved.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    moved: u64,
}

impl Pace {
    fn new(now: Instant) -> Pace {
        Pace {
            since: now,
            moved: 0,
        }
    }

    /// So much moved, of a pace of `least`.
    fn moved(&mut self, now: Instant, bytes: u64, least: u64) {
        self.moved += bytes;
        if self.moved >= least {
            *self = Pace::new(now);
        }
    }
}

/// A client connection.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub(super) waiting: VecDeque<(CallId, Request, u64)>,
    pub(super) running: usize,
    pub(super) running_produce: bool,
    /// It stands on the work list, or among those that wait for a pool.
    pub(super) listed: bool,
    /// How often it has asked once it had read all that was answered before.
    rounds: u32,
    /// It has closed its side: no fetch of it parks.
    leaving: bool,
    /// It hung up: only what it produced before is still done.
    pub(super) gone: bool,
    /// Its calls that wait for something, by token.
    pub(super) open: BTreeSet<u64>,
    /// Bytes that have arrived and are not decoded.
    receiving: u64,
    /// A whole request is among them: nobody waits for the client.
    received: bool,
    /// Bytes of answers that its socket has not taken: of fetched records, of small ones, of large ones.
    unsent: [u64; LANES],
    /// When a byte was last heard or sent.
    heard_at: Instant,
    /// When a byte of the request that is arriving last came.
    received_at: Instant,
    /// When the socket last took something, or something began to wait for it.
    pub(super) sent_at: Instant,
    /// The same two where a pool is used up: a little does not count.
    pace_in: Pace,
    pace_out: Pace,
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
            rounds: 0,
            leaving: false,
            gone: false,
            open: BTreeSet::new(),
            receiving: 0,
            received: false,
            unsent: [0; LANES],
            heard_at: now,
            received_at: now,
            sent_at: now,
            pace_in: Pace::new(now),
            pace_out: Pace::new(now),
            looked_at: Instant(u64::MAX),
        }
    }

    pub(super) fn unsent(&self) -> u64 {
        self.unsent.iter().sum()
    }

    /// It has shown that it reads what it asks for.
    pub(super) fn is_proven(&self) -> bool {
        self.rounds >= PROVEN_ROUNDS
    }

    /// A request of it has begun and is not whole.
    fn is_receiving(&self) -> bool {
        self.receiving > 0 && !self.received
    }

    /// Since when it has not moved, if it holds some of this.
    fn stalled_with(&self, held: Held) -> Option<Instant> {
        match held {
            Held::Request if self.is_receiving() => Some(self.pace_in.since),
            // A whole request waits for room, or for its client to read.
            Held::Request => {
                (self.receiving > 0 && self.unsent() > 0).then_some(self.pace_out.since)
            }
            Held::Answer(lane) => (self.unsent[lane] > 0).then_some(self.pace_out.since),
            Held::Waiting { produce } => {
                let stalled = self.has_waiting(produce) && self.unsent() > 0;
                stalled.then_some(self.pace_out.since)
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
        let request = self
            .is_receiving()
            .then_some((request, CloseReason::StalledRequest));
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
    const ALL: [Held; 6] = [
        Held::Waiting { produce: false },
        Held::Waiting { produce: true },
        Held::Answer(0),
        Held::Answer(1),
        Held::Answer(2),
        Held::Request,
    ];
}

pub(super) fn is_produce(request: &Request) -> bool {
    matches!(request, Request::Produce(_))
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
        let pools = [(1, &self.pools.replies), (2, &self.pools.large_replies)];
        for (lane, pool) in pools {
            let replies: u64 = rows().map(|row| row.unsent[lane]).sum();
            assert_eq!(replies, pool.held(), "answers are miscounted");
        }
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
        self.check_promised();
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
        if row.running == 0 && row.waiting.is_empty() && row.unsent() == 0 {
            row.rounds = row.rounds.saturating_add(1);
        }
        let produce = is_produce(&request);
        row.waiting.push_back((call, request, held));
        self.parked.queued_behind(&row.open);
        self.request_pool(produce).take(held);
        self.list(conn);
    }

    /// So much of a connection has arrived and is not decoded, a `whole` request first or not.
    pub(super) fn receiving(&mut self, now: Now, conn: ConnId, bytes: u64, whole: bool) {
        let least = self.config.limits.pressed_pace_bytes;
        let Some(row) = self.conns.get_mut(&conn).filter(|row| !row.gone) else {
            return;
        };
        let receiving = row.is_receiving();
        let before = std::mem::replace(&mut row.receiving, bytes);
        row.received = whole;
        (row.heard_at, row.received_at) = (now.mono, now.mono);
        let begins = row.is_receiving() && !receiving;
        match begins || bytes < before {
            true => row.pace_in = Pace::new(now.mono),
            false => row.pace_in.moved(now.mono, bytes - before, least),
        }
        self.pools.frames.give(before);
        self.pools.frames.take(bytes);
        if begins {
            self.watch(conn);
        }
    }

    /// The socket took so much of what was answered.
    pub(super) fn sent(&mut self, now: Now, conn: ConnId, bytes: u64) {
        let least = self.config.limits.pressed_pace_bytes;
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        (row.heard_at, row.sent_at) = (now.mono, now.mono);
        row.pace_out.moved(now.mono, bytes, least);
        // Answers leave in order, so which lane's bytes went is known only when all have; records are
        // the ones that are short, and small answers are not.
        let mut left = bytes;
        for lane in [0, 2, 1] {
            let taken = left.min(row.unsent[lane]);
            row.unsent[lane] -= taken;
            left -= taken;
            self.pools.answers(lane).give(taken);
        }
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
            row.pace_out = Pace::new(now.mono);
        }
        let held = response.held_bytes();
        let lane = match &response {
            Response::Fetch(_) => 0,
            _ if held <= self.config.limits.small_answer_bytes => 1,
            _ => 2,
        };
        row.unsent[lane] += held;
        self.pools.answers(lane).take(held);
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
        (row.receiving, row.unsent) = (0, [0; LANES]);
        let open = match self.config.knobs.has(115) {
            true => Default::default(),
            false => row.open.clone(),
        };
        let looked_at = row.looked_at;
        self.pools.frames.give(receiving);
        for (lane, bytes) in unsent.into_iter().enumerate() {
            self.pools.answers(lane).give(bytes);
        }
        self.conn_deadlines.remove(&(looked_at, conn));
        for token in open {
            self.cancel(token, out);
        }
        self.list_or_forget(conn);
    }

    pub(super) fn list_or_forget(&mut self, conn: ConnId) {
        self.list(conn);
        self.forget_if_done(conn);
    }

    pub(super) fn forget_if_done(&mut self, conn: ConnId) {
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
    /// been looked at. One whose every turn comes so late is only slow: it spares them in every second one.
    pub(super) fn note_lateness(&mut self, now: Now) {
        let turned_at = std::mem::replace(&mut self.turned_at, now.mono);
        let away = now.mono > turned_at.plus_millis(AWAY_MS);
        let spared = std::mem::take(&mut self.spared);
        let due = self.awaited.take();
        let late = due.is_some_and(|due| now.mono > due.plus_millis(LATE_MS));
        if late && now.mono >= self.sparing_until.plus_millis(SPARED_AGAIN_MS) {
            self.sparing_until = now.mono.plus_millis(SPARED_MS);
            self.spared = true;
        } else if away && !spared {
            self.looks_again_at = now.mono.plus_millis(AWAKE_MS);
        }
    }

    /// When there is to be a turn for this deadline of a client.
    pub(super) fn turn_for(&self, at: Instant) -> Instant {
        let at = at.max(self.sparing_until).max(self.looks_again_at);
        match self.turned_at.plus_millis(AWAY_MS) < at {
            true => at.minus_millis(AWAKE_MS),
            false => at,
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
            if self.looks_again_at > now.mono {
                self.spared = true;
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
            Held::Answer(1) => &self.pools.replies,
            Held::Answer(_) => &self.pools.large_replies,
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
        self.spared |= at <= now.mono && self.looks_again_at > now.mono;
        let at = at.max(self.looks_again_at);
        if at <= now.mono {
            let row = self.conns.get(&conn);
            let why = match held {
                Held::Request if row.is_some_and(Conn::is_receiving) => CloseReason::StalledRequest,
                _ => CloseReason::StalledReader,
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
