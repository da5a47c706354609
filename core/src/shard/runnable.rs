//! Whose call begins next. Connections take turns; a call begins when there is room for its answer.
//!
//! Who does not read what was answered uses that room up, and there may be many of them. So a part of it is
//! kept for small answers to those that have read all before, whose sockets take them at once
//! ([`crate::pools::Pool::of_answers`]), and for fetches of those that have read many; large answers have a
//! pool of their own, and begin one in a turn, behind all small ones. Of those that wait for room the ones
//! that have read many answers go first, then the newest and the oldest by turns: whoever came after a crowd
//! need not wait until all of it has been given up.

use std::collections::VecDeque;

use super::connections::{is_produce, Conn};
use super::Shard;
use crate::api::{elements, MetadataRequest, Request, ELEMENT_BYTES};
use crate::contract::Effects;
use crate::ids::ConnId;
use crate::metadata::{TopicConfig, ADDED_MAX};
use crate::time::{Instant, Now};

/// Connections with something to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Runnable {
    /// These may begin a call now.
    ready: VecDeque<ConnId>,
    /// The next call of these waits for room: for fetched records, for other answers.
    fetches: Waiting,
    replies: Waiting,
    /// The next call of these has a large answer.
    large: Waiting,
    /// One with a large answer has begun in this turn.
    began_large: bool,
    /// Bytes that the answers of calls which the ledger works on may hold: many can begin before one is
    /// answered, and what they answer is no matter of what they hold.
    promised: u64,
}

/// What a call's answer needs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Fetch,
    Small,
    Large,
}

/// How a connection's next call goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Admission {
    Begins,
    /// It stands among those that wait for room.
    WaitsForRoom,
    /// It is looked at again when the socket has taken something.
    WaitsForSocket,
}

/// For whom there is room.
#[derive(Clone, Copy, Debug)]
struct Room {
    proven: bool,
    others: bool,
}

/// Connections that wait for the same room.
#[derive(Clone, Debug, Default)]
struct Waiting {
    /// Those that have shown that they read.
    proven: VecDeque<ConnId>,
    others: VecDeque<ConnId>,
    /// The newest of the others was the last.
    newest: bool,
}

impl Waiting {
    fn push(&mut self, conn: ConnId, proven: bool) {
        match proven {
            true => self.proven.push_back(conn),
            false => self.others.push_back(conn),
        }
    }

    /// The next, where there is room for these kinds.
    fn pop(&mut self, room: Room) -> Option<ConnId> {
        let proven = match room.proven {
            true => self.proven.pop_front(),
            false => None,
        };
        if proven.is_some() || !room.others {
            return proven;
        }
        self.newest = !self.newest;
        match self.newest {
            true => self.others.pop_back(),
            false => self.others.pop_front(),
        }
    }

    fn any(&self, room: Room) -> bool {
        (room.proven && !self.proven.is_empty()) || (room.others && !self.others.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.proven.is_empty() && self.others.is_empty()
    }
}

impl Runnable {
    fn waiting(&mut self, answer: Answer) -> &mut Waiting {
        match answer {
            Answer::Fetch => &mut self.fetches,
            Answer::Small => &mut self.replies,
            Answer::Large => &mut self.large,
        }
    }

    fn is_empty(&self) -> bool {
        let waiting = [&self.fetches, &self.replies, &self.large];
        self.ready.is_empty() && waiting.into_iter().all(Waiting::is_empty)
    }
}

impl Shard {
    /// Put a connection on the work list if it has something to do.
    pub(super) fn list(&mut self, conn: ConnId) {
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        if !row.listed && row.has_calls() {
            row.listed = true;
            self.runnable.ready.push_back(conn);
        }
    }

    /// Clients are served from now on: go on with what waited for that.
    pub(super) fn list_all(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        conns.into_iter().for_each(|conn| self.list(conn));
    }

    /// A turn begins: one call with a large answer may.
    pub(super) fn allow_large(&mut self) {
        self.runnable.began_large = false;
    }

    /// There is room for the next call of those that wait for this. A socket takes a small answer, but not
    /// whatever a fetch gives: what is kept back is for those only that have shown that they read.
    fn room_for(&self, answer: Answer) -> Room {
        let pools = &self.pools;
        let (proven, others) = match answer {
            Answer::Fetch => (pools.fetches.has_room(), pools.fetches.spare() > 0),
            Answer::Small => (pools.replies.has_room(), pools.replies.has_room()),
            Answer::Large => {
                let room = pools.large_replies.room() > self.runnable.promised;
                (room, room)
            }
        };
        Room { proven, others }
    }

    /// Let the next connection on the work list begin a call, if it may. False if there is none.
    pub(super) fn run_next_conn(&mut self, now: Now, out: &mut Effects) -> bool {
        if !self.is_ready() || self.stopping.drained {
            return false;
        }
        let mut next = self.runnable.ready.pop_front().map(|conn| (conn, false));
        for answer in [Answer::Fetch, Answer::Small, Answer::Large] {
            let large = answer == Answer::Large;
            if next.is_none() && !(large && self.runnable.began_large) {
                let room = self.room_for(answer);
                let waiting = self.runnable.waiting(answer).pop(room);
                next = waiting.map(|conn| (conn, large));
            }
        }
        if let Some((conn, large)) = next {
            self.run_conn(now, conn, large, out);
        }
        next.is_some()
    }

    /// Connections may begin calls now, and no input will come to make them.
    pub(super) fn has_runnable(&self) -> bool {
        let runnable = &self.runnable;
        let waiting = [
            (&runnable.fetches, Answer::Fetch),
            (&runnable.replies, Answer::Small),
            (&runnable.large, Answer::Large),
        ];
        let mut waiting = waiting.into_iter();
        let any = !runnable.ready.is_empty()
            || waiting.any(|(list, answer)| list.any(self.room_for(answer)));
        any && self.is_ready() && !self.stopping.drained
    }

    /// Calls that were heard are to begin, or wait for room in a pool: who holds it without moving soon
    /// lets go. Or they wait for their own socket.
    pub(super) fn has_waiting_calls(&self, now: Now) -> bool {
        !self.runnable.is_empty() || self.sockets_waited_for().any(|until| until > now.mono)
    }

    /// Connections whose next call waits until their socket has taken something: how long a stop waits for
    /// that.
    pub(super) fn sockets_waited_for(&self) -> impl Iterator<Item = Instant> + '_ {
        let most_ms = self.config.limits.pressed_stall_ms;
        let blocked = |row: &&Conn| !row.gone && row.has_calls() && row.unsent() > 0;
        let blocked = self.conns.values().filter(blocked);
        blocked.map(move |row| row.sent_at.plus_millis(most_ms))
    }

    /// How a connection's next call with such an answer goes on; it has come to its turn among large ones,
    /// or has not.
    fn admission(&self, answer: Answer, row: &Conn, in_turn: bool) -> Admission {
        let has_read = row.unsent() == 0;
        let room = self.room_for(answer);
        let room = match row.is_proven() {
            true => room.proven,
            false => room.others,
        };
        let spare = match answer {
            Answer::Fetch => self.pools.fetches.spare() > 0,
            Answer::Small => self.pools.replies.spare() > 0,
            Answer::Large => has_read && room && in_turn,
        };
        match (spare, has_read) {
            (true, _) => Admission::Begins,
            (false, false) => Admission::WaitsForSocket,
            (false, true) if room && answer != Answer::Large => Admission::Begins,
            (false, true) => Admission::WaitsForRoom,
        }
    }

    /// Begin this connection's next call, if it may; `large` if it has waited for its turn as a large one.
    fn run_conn(&mut self, now: Now, conn: ConnId, large: bool, out: &mut Effects) {
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        row.listed = false;
        let Some((_, request, _)) = row.waiting.front() else {
            return self.forget_if_done(conn);
        };
        let (produce, gone) = (is_produce(request), row.gone);
        // Listed again when a call ends, or when the socket takes something.
        let in_turn = row.running == 0 || (produce && row.running_produce);
        let in_turn = in_turn || self.config.knobs.has(87);
        if !in_turn || row.unsent() > self.config.limits.unsent_per_connection {
            return;
        }
        if !gone && !self.is_admitted(conn, large) {
            return;
        }
        let row = self.conns.get_mut(&conn);
        let Some((row, first)) = row.and_then(|row| row.waiting.pop_front().map(|it| (row, it)))
        else {
            return;
        };
        let (call, request, held) = first;
        if gone && !produce {
            self.request_pool(produce).give(held);
            return self.list_or_forget(conn);
        }
        row.running += 1;
        row.running_produce = produce;
        self.list(conn);
        self.begin(now, conn, call, (request, held), out);
    }

    /// A connection's next call may begin. If not, it waits, for room or for its socket.
    fn is_admitted(&mut self, conn: ConnId, large: bool) -> bool {
        let answer = self.answer_to(conn);
        let Some(row) = self.conns.get(&conn) else {
            return false;
        };
        match self.admission(answer, row, large) {
            Admission::Begins => {
                self.runnable.began_large |= answer == Answer::Large;
                true
            }
            // Listed again when it has taken something.
            Admission::WaitsForSocket => false,
            Admission::WaitsForRoom => {
                let proven = row.is_proven();
                if let Some(row) = self.conns.get_mut(&conn) {
                    row.listed = true;
                }
                self.runnable.waiting(answer).push(conn, proven);
                false
            }
        }
    }

    /// What the answer to a connection's next call needs.
    fn answer_to(&self, conn: ConnId) -> Answer {
        let row = self.conns.get(&conn);
        match row.and_then(|row| row.waiting.front()) {
            Some((_, Request::Fetch(_), _)) => Answer::Fetch,
            Some((_, request, _)) if self.promises(request) => Answer::Large,
            Some((_, request, _)) => {
                match self.answer_bytes(request) > self.config.limits.small_answer_bytes {
                    true => Answer::Large,
                    false => Answer::Small,
                }
            }
            None => Answer::Small,
        }
    }

    /// The ledger creates topics first, and what is answered then is much more than what was asked.
    fn promises(&self, request: &Request) -> bool {
        match request {
            Request::CreateTopics(_) => true,
            Request::Metadata(request) => !self.topics_to_create(request).is_empty(),
            _ => false,
        }
    }

    /// A call is the ledger's: its answer will hold so much. Until it ends ([`Shard::redeem`]).
    pub(super) fn promise(&mut self, bytes: u64) {
        self.runnable.promised += bytes;
    }

    /// The answer is there, or there is none.
    pub(super) fn redeem(&mut self, bytes: u64) {
        self.runnable.promised -= bytes;
    }

    /// What was promised is what calls that are open hold.
    pub(super) fn check_promised(&self) {
        let promised: u64 = self.calls.values().map(|call| call.promised).sum();
        assert_eq!(promised, self.runnable.promised, "promises are miscounted");
    }

    /// Bytes that the answer to this holds at most, or nearly ([`crate::api::Response::held_bytes`]).
    pub(super) fn answer_bytes(&self, request: &Request) -> u64 {
        let each =
            |name: &str, elements: usize| name.len() as u64 + ELEMENT_BYTES * elements as u64;
        match request {
            Request::Metadata(request) => self.metadata_bytes(request),
            Request::CreateTopics(request) => {
                let topics = request.topics.iter();
                let names: u64 = topics.map(|topic| each(&topic.name, 1)).sum();
                // No more than that are created, and only those are answered with their configs.
                let created = request.topics.len().min(ADDED_MAX as usize);
                names + ELEMENT_BYTES * (created * TopicConfig::LISTED) as u64
            }
            Request::DeleteTopics(request) => {
                let topics = request.topics.iter();
                topics.map(|topic| each(&topic.name, 1)).sum()
            }
            Request::CreatePartitions(request) => {
                let topics = request.topics.iter();
                topics.map(|(name, ..)| each(name, 1)).sum()
            }
            Request::Produce(request) => {
                let topics = request.topics.iter();
                let bytes = topics.map(|it| each(&it.topic.name, 1 + it.partitions.len()));
                bytes.sum()
            }
            Request::ListOffsets(request) => elements(&request.topics),
            Request::OffsetForLeaderEpoch(request) => elements(&request.topics),
            Request::DeleteRecords(request) => elements(&request.topics),
            Request::FindCoordinator(request) => request.keys.iter().map(|key| each(key, 2)).sum(),
            // A fetch holds what it may read in a pool of its own.
            Request::Fetch(_) | Request::InitProducerId(_) => 0,
        }
    }

    /// [`Shard::answer_bytes`] of a Metadata.
    pub(super) fn metadata_bytes(&self, request: &MetadataRequest) -> u64 {
        let Some(image) = &self.image else {
            return 0;
        };
        let Some(topics) = &request.topics else {
            let elements = image.topics.len() as u64 + image.partitions;
            return image.topic_bytes + ELEMENT_BYTES * elements;
        };
        let bytes = topics.iter().map(|topic| {
            let id = image.names.get(&topic.name).unwrap_or(&topic.id);
            let known = image.topics.get(id);
            let name = known.map_or(topic.name.len(), |known| known.name.len());
            // One that is not there may be created.
            let created = self.config.default_partitions.max(1);
            let partitions = known.map_or(created, |known| known.partitions);
            name as u64 + ELEMENT_BYTES * (1 + u64::from(partitions))
        });
        bytes.sum()
    }
}
