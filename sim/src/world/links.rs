//! Links between clients and the broker. Bytes on their way are split and merged at any place; either
//! direction may die at any byte; a client may read slowly, so that its answers wait in the broker.
//!
//! The broker's end does what `node` does (`sockets.rs`, `shard_loop.rs`): nothing is read from a connection
//! that has a whole request waiting, nor, but for a little, while its shard has no appetite for bytes; a
//! request is decoded when its pool has room; and a shard hears what the socket took of its answers.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use seedlog_core::contract::Input;
use seedlog_core::ids::ConnId;
use seedlog_net::server::{Call, Connection as Server};

use super::{Event, World};

/// What a connection may have waiting although no more may arrive.
const SMALL_BYTES: usize = 4 << 10;
/// Bytes of answers that are in a client's socket at most.
const SOCKET_BYTES: usize = 16 << 10;
/// Answers that the socket has not taken hold up the next request from so many bytes on.
const UNSENT_BYTES: usize = 64 << 10;

/// An answer on its way out, and what the core holds for it and has not been told of.
#[derive(Clone, Debug)]
struct Answer {
    bytes: Bytes,
    held: u64,
}

/// After this time the broker's end of a connection learns that the other one is gone.
const KEEPALIVE_US: u64 = 2_000_000;

/// A little more than `pressed_stall_ms`.
const HELD_UP_US: u64 = 700_000;

/// A connection, as the network and the broker's end of it see it.
pub(super) struct Link {
    pub client: usize,
    pub shard: usize,
    pub server: Server,
    /// On their way to the broker; whether some are about to arrive.
    to_server: BytesMut,
    carries_up: bool,
    /// In the broker's socket.
    arrived: BytesMut,
    answers: VecDeque<Answer>,
    unsent: usize,
    /// In the client's socket or on their way there.
    to_client: BytesMut,
    carries_down: bool,
    /// The client reads nothing before this time.
    reads_from: u64,
    /// The client has closed its side, or the connection is reset.
    closed: bool,
    told_leaving: bool,
    told: usize,
    told_whole: bool,
    /// Its next request waits for room in its pool.
    pub(super) blocked: bool,
    /// It is not read, as no more bytes may arrive.
    starved: bool,
    /// Bytes to the broker, and to the client, vanish.
    pub dead: [bool; 2],
}

impl Link {
    pub fn new(client: usize, shard: usize, server: Server) -> Link {
        Link {
            client,
            shard,
            server,
            to_server: BytesMut::new(),
            carries_up: false,
            arrived: BytesMut::new(),
            answers: VecDeque::new(),
            unsent: 0,
            to_client: BytesMut::new(),
            carries_down: false,
            reads_from: 0,
            closed: false,
            told_leaving: false,
            told: 0,
            told_whole: false,
            blocked: false,
            starved: false,
            dead: [false; 2],
        }
    }

    /// Its client reads nothing now.
    pub fn reads_nothing(&self, now_us: u64) -> bool {
        self.reads_from > now_us
    }

    /// Answers wait for its socket.
    pub fn is_full(&self) -> bool {
        self.unsent > 0
    }

    /// The socket takes some of what was answered. Returns bytes as the core counts them, if any answer
    /// moved.
    fn flush(&mut self) -> Option<u64> {
        let mut sent = None;
        while let Some(answer) = self.answers.front_mut() {
            let room = SOCKET_BYTES.saturating_sub(self.to_client.len());
            let taken = room.min(answer.bytes.len());
            if taken == 0 && !answer.bytes.is_empty() {
                break;
            }
            self.to_client
                .extend_from_slice(&answer.bytes.split_to(taken));
            self.unsent -= taken;
            let whole = answer.bytes.is_empty();
            let told = match whole {
                true => answer.held,
                false => answer.held.min(taken as u64),
            };
            answer.held -= told;
            *sent.get_or_insert(0) += told;
            if whole {
                self.answers.pop_front();
            }
        }
        sent.filter(|sent| *sent > 0)
    }
}

impl World {
    /// A client sends bytes.
    pub(super) fn put_on_link(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(link) = self.link(conn).filter(|link| !link.dead[0]) else {
            return;
        };
        link.to_server.extend_from_slice(bytes);
        self.carry_up(conn, (50, 1_500));
    }

    pub(super) fn link(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.broker.as_mut()?.conns.get_mut(&conn)
    }

    fn carry_up(&mut self, conn: ConnId, delay: (u64, u64)) {
        let Some(link) = self.link(conn) else {
            return;
        };
        if !std::mem::replace(&mut link.carries_up, true) {
            let time = self.in_order("to-server", (conn, false), delay);
            self.at(time, Event::ToServer { conn });
        }
    }

    /// Some of a link's bytes reach the broker: mostly all that are on their way, else any number.
    pub(super) fn at_server(&mut self, conn: ConnId) {
        let mut choice = self.draws.of("split-up", conn.0);
        let stopping = self.is_stopping();
        let Some(link) = self.link(conn) else {
            return;
        };
        link.carries_up = false;
        let all = link.to_server.len();
        let some = match choice.chance(2, 3) || all == 0 {
            true => all,
            false => choice.between(1, all as u64) as usize,
        };
        let bytes = link.to_server.split_to(some);
        let more = !link.to_server.is_empty();
        if stopping {
            return;
        }
        link.arrived.extend_from_slice(&bytes);
        if more {
            self.mark("split");
            self.carry_up(conn, (1, 400));
        }
        self.look_at_link(conn);
    }

    /// Bytes that may yet arrive at a shard, and room for Produce and for other requests: what it says,
    /// less what lies before it.
    fn room_of(&self, shard: usize) -> Option<[u64; 3]> {
        let broker = self.broker.as_ref()?;
        let appetite = broker.shards.get(shard)?.appetite();
        let links = broker.conns.values().filter(|link| link.shard == shard);
        let untold: usize = links
            .map(|link| link.server.buffered_bytes().saturating_sub(link.told))
            .sum();
        let mut room = [
            appetite.frame_bytes.saturating_sub(untold as u64),
            appetite.produce_bytes,
            appetite.request_bytes,
        ];
        for input in &broker.inboxes[shard] {
            if let Input::Client { request, held, .. } = input {
                let kind = match request {
                    seedlog_core::api::Request::Produce(_) => 1,
                    _ => 2,
                };
                room[kind] = room[kind].saturating_sub(*held);
            }
        }
        Some(room)
    }

    /// Read and decode what there is room for; the shard is told what is there, and when it was the last.
    pub(super) fn look_at_link(&mut self, conn: ConnId) {
        while self.read_link(conn) && self.decode_link(conn) {}
        let Some(link) = self.link(conn) else {
            return;
        };
        let (shard, buffered) = (link.shard, link.server.buffered_bytes());
        let whole = link.server.has_frame();
        let told = std::mem::replace(&mut link.told, buffered);
        if std::mem::replace(&mut link.told_whole, whole) != whole || told != buffered {
            let bytes = buffered as u64;
            self.deliver(shard, Input::Receiving { conn, bytes, whole });
        }
        let Some(link) = self.link(conn) else {
            return;
        };
        if !link.closed || !link.to_server.is_empty() {
            return;
        }
        if !whole && link.arrived.is_empty() {
            return self.hang_up(conn);
        }
        if !std::mem::replace(&mut link.told_leaving, true) {
            self.deliver(shard, Input::Leaving { conn });
        }
    }

    /// Take bytes from the socket, if the connection may be read. False if none were.
    fn read_link(&mut self, conn: ConnId) -> bool {
        let Some(shard) = self.link(conn).map(|link| link.shard) else {
            return false;
        };
        let Some([open, ..]) = self.room_of(shard) else {
            return false;
        };
        let Some(broker) = &mut self.broker else {
            return false;
        };
        let lent = &mut broker.lent[shard];
        let Some(link) = broker.conns.get_mut(&conn) else {
            return false;
        };
        if link.server.has_frame() {
            return true;
        }
        let (missing, buffered) = (link.server.missing(), link.server.buffered_bytes());
        let most = if open > 0 {
            open as usize
        } else if missing > 0 && lent.is_none_or(|other| other == conn) {
            *lent = Some(conn);
            missing
        } else {
            SMALL_BYTES.saturating_sub(buffered)
        };
        let some = most.min(link.arrived.len());
        if some == 0 {
            let starved = !link.arrived.is_empty();
            if !std::mem::replace(&mut link.starved, starved) && starved {
                self.mark("paused-by-frames");
            }
            return false;
        }
        link.starved = false;
        let bytes = link.arrived.split_to(some);
        let read = link.server.arrived(&bytes);
        if link.server.missing() == 0 && *lent == Some(conn) {
            *lent = None;
        }
        if let Err(close) = read {
            self.history.violate("wire", close.reason);
            return false;
        }
        true
    }

    /// Decode requests that there is room for. True if no whole one is left.
    fn decode_link(&mut self, conn: ConnId) -> bool {
        loop {
            let Some(shard) = self.link(conn).map(|link| link.shard) else {
                return false;
            };
            let Some(room) = self.room_of(shard) else {
                return false;
            };
            let Some(link) = self.link(conn) else {
                return false;
            };
            let Some(waiting) = link.server.waiting() else {
                return !link.server.has_frame();
            };
            let kind = if waiting.produce { 1 } else { 2 };
            let before = std::mem::replace(&mut link.blocked, room[kind] == 0);
            if link.blocked {
                if !before {
                    self.mark("paused-by-appetite");
                }
                return false;
            }
            if link.unsent > UNSENT_BYTES {
                self.mark("paused-by-unsent");
                return false;
            }
            match link.server.decode() {
                Ok(Some(Call {
                    call,
                    request,
                    held,
                })) => self.deliver(
                    shard,
                    Input::Client {
                        conn,
                        call,
                        request,
                        held,
                    },
                ),
                Ok(None) => {
                    let bytes = Bytes::from(link.server.take_output().concat());
                    self.answer_on_link(conn, bytes, 0);
                }
                Err(close) => {
                    self.history.violate("wire", close.reason);
                    return false;
                }
            }
        }
    }

    /// After a shard's turn: connections that had to wait may go on.
    pub(super) fn look_at_waiting_links(&mut self, shard: usize) {
        let Some(broker) = self.broker.as_ref().filter(|broker| !broker.stopping) else {
            return;
        };
        let waits = |link: &Link| {
            let unread = !link.arrived.is_empty() || link.server.has_frame();
            link.shard == shard && unread
        };
        let waiting = broker.conns.iter().filter(|(_, link)| waits(link));
        let waiting: Vec<ConnId> = waiting.map(|(conn, _)| *conn).collect();
        for conn in waiting {
            self.look_at_link(conn);
        }
    }

    /// The core has answered: so many bytes are held until the socket has taken them.
    pub(super) fn answer_on_link(&mut self, conn: ConnId, bytes: Bytes, held: u64) {
        let Some(link) = self.link(conn) else {
            return;
        };
        if bytes.is_empty() && held == 0 {
            return;
        }
        link.unsent += bytes.len();
        link.answers.push_back(Answer { bytes, held });
        self.flush_link(conn, (50, 1_500));
    }

    fn flush_link(&mut self, conn: ConnId, delay: (u64, u64)) {
        let Some(link) = self.link(conn) else {
            return;
        };
        let (shard, sent) = (link.shard, link.flush());
        let carries = !link.to_client.is_empty() && !link.carries_down;
        link.carries_down |= carries;
        if let Some(bytes) = sent {
            self.deliver(shard, Input::Sent { conn, bytes });
        }
        if carries {
            let time = self.in_order("to-client", (conn, true), delay);
            self.at(time, Event::ToClient { conn });
        }
    }

    /// Requests of this shard's connections may have stood still for as long as it bears when its pools are
    /// used up: one of them is dead, or takes no answers, or the disk or the process stood still, or they
    /// wait for room themselves.
    pub(super) fn is_held_up(&self, shard: usize) -> bool {
        let since = self.now_us.saturating_sub(HELD_UP_US);
        let links = self.broker.iter().flat_map(|broker| broker.conns.values());
        let mut links = links.filter(|link| link.shard == shard);
        links.any(|link| link.dead[0] || link.reads_from > since)
            || self.paused_until > since
            || self.troubles.writes_since(since, self.now_us)
            || self.broker.as_ref().is_some_and(|it| it.full[shard])
    }

    /// The shard knows that a whole request of this connection is there.
    pub(super) fn is_known_whole(&self, conn: ConnId) -> bool {
        let Some(broker) = &self.broker else {
            return false;
        };
        let told = broker.conns.get(&conn).filter(|link| link.told_whole);
        let on_its_way =
            |input: &Input| matches!(input, Input::Receiving { conn: other, .. } if *other == conn);
        told.is_some_and(|link| !broker.inboxes[link.shard].iter().any(on_its_way))
    }

    /// Some of the answers reach their client, unless it reads nothing now.
    pub(super) fn at_client_end(&mut self, conn: ConnId) {
        let now = self.now_us;
        let calm = self.plan.faults.is_empty();
        let mut choice = self.draws.of("split-down", conn.0);
        let Some(link) = self.link(conn) else {
            return;
        };
        let client = link.client;
        if choice.chance(1, 400) {
            // Where nothing fails, not so long that the broker gives it up.
            let longest = if calm { 300_000 } else { 900_000 };
            let wait = choice.between(20_000, longest);
            let before = link.reads_from.max(now);
            link.reads_from = now + wait;
            let slower = link.reads_from.saturating_sub(before);
            self.clients[client].slow_us += slower;
            self.mark("slow-reader");
        }
        let Some(link) = self.link(conn) else {
            return;
        };
        if link.reads_from > now {
            let at = link.reads_from;
            return self.at(at, Event::ToClient { conn });
        }
        link.carries_down = false;
        let all = link.to_client.len();
        let some = match choice.chance(2, 3) {
            true => all,
            false => choice.between(1, all.max(1) as u64) as usize,
        };
        let bytes = link.to_client.split_to(some.min(all)).freeze();
        let dead = link.dead[1];
        if self.clients[client].conn != Some(conn) {
            // Nobody is there any more: the answer to these bytes is a reset.
            return self.reset_link(conn, 0);
        }
        self.flush_link(conn, (1, 400));
        if !dead {
            self.at_client(client, conn, bytes);
        }
    }

    /// The client closes its side: what it sent before arrives still.
    pub(super) fn close_link(&mut self, conn: ConnId) {
        let Some(link) = self.link(conn) else {
            return;
        };
        if link.dead[0] {
            // The broker does not hear of it until it sends something, or asks.
            return self.at(self.now_us + KEEPALIVE_US, Event::LinkDies { conn });
        }
        link.closed = true;
        self.carry_up(conn, (50, 1_500));
    }

    /// The connection breaks: so many of the bytes on their way arrive still.
    pub(super) fn reset_link(&mut self, conn: ConnId, bytes: usize) {
        let Some(link) = self.link(conn) else {
            return;
        };
        link.to_server.truncate(bytes);
        link.closed = true;
        self.carry_up(conn, (1, 1_500));
    }

    /// From now on nothing passes to the broker (0), but for so many bytes, or to the client (1).
    pub(super) fn kill_link(&mut self, conn: ConnId, direction: usize, bytes: usize) {
        if let Some(link) = self.link(conn) {
            link.dead[direction] = true;
            if direction == 0 {
                link.to_server.truncate(bytes);
            }
        }
    }

    /// Bytes on their way to the broker.
    pub(super) fn on_their_way(&mut self, conn: ConnId) -> usize {
        self.link(conn).map_or(0, |link| link.to_server.len())
    }

    /// The broker's end is closed, and everything that came before is with the shard.
    fn hang_up(&mut self, conn: ConnId) {
        let Some(broker) = &mut self.broker else {
            return;
        };
        let Some(link) = broker.conns.remove(&conn) else {
            return;
        };
        let lent = &mut broker.lent[link.shard];
        if *lent == Some(conn) {
            *lent = None;
        }
        self.deliver(link.shard, Input::Hangup { conn });
    }

    /// The broker has closed the connection.
    pub(super) fn drop_link(&mut self, conn: ConnId) {
        if self.link(conn).is_some() {
            self.hang_up(conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;
    use seedlog_core::limits::Limits;

    #[test]
    fn a_socket_takes_what_it_has_room_for() {
        let mut link = Link::new(0, 0, Server::new("sim".into(), 9092, Limits::DEFAULT));
        let long = Bytes::from(vec![7; SOCKET_BYTES + 10]);
        link.unsent = long.len() + 4;
        link.answers.push_back(Answer {
            bytes: long,
            held: SOCKET_BYTES as u64 + 500,
        });
        link.answers.push_back(Answer {
            bytes: Bytes::from_static(b"more"),
            held: 64,
        });
        assert_eq!(link.flush(), Some(SOCKET_BYTES as u64));
        assert_eq!(link.flush(), None, "it is full");
        link.to_client.advance(12);
        // The rest of the first is counted with its last byte; the second has begun.
        assert_eq!(link.flush(), Some(500 + 2));
        link.to_client.clear();
        assert_eq!((link.flush(), link.unsent), (Some(62), 0));
    }
}
