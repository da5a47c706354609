//! One shard's thread: inputs in, a turn, lanes out.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use seedlog_core::contract::{Config, Effects, Halt, Input, Note};
use seedlog_core::ids::{ConnId, ShardId};
use seedlog_core::shard::Shard;
use seedlog_core::time::{Instant, Now};
use seedlog_net::server::Connection;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::acceptor::Place;
use crate::disk::Executor;
use crate::operator::{tell, Rarely};
use crate::sockets::{self, Intake, Link, Tasks};

/// Connections that a turn looks at, and bytes of requests that it takes of one of them: others have
/// their turn before the rest.
const CONNS_PER_TURN: usize = 256;
const BYTES_PER_CONN: u64 = 256 << 10;
/// Answers that are kept until the end of a turn.
const REPLIES_AT_ONCE: usize = 64;
/// Answers to ApiVersions, which the core knows nothing of, wait up to so many bytes.
const UNTOLD_BYTES: usize = 16 << 10;
/// A client that does not read what it asked for holds up a clean stop no longer than this.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// `check` runs once in this many turns.
const CHECK_EVERY: u64 = 4096;

/// What can happen to a shard apart from client bytes.
#[derive(Debug)]
pub enum Event {
    /// An input for the core.
    Input(Input),
    /// A client connected.
    Accepted(std::net::TcpStream, Place),
}

/// Where a shard's thread gets things from and sends them to.
pub struct Lanes {
    /// Urgent events.
    pub events: UnboundedReceiver<Event>,
    /// The sending end of `events` of every shard, this one included.
    pub shards: Vec<UnboundedSender<Event>>,
    /// Disk operations.
    pub disk: Executor,
    /// CPU jobs.
    pub work: crate::work::Jobs,
    /// A shard that is over says how.
    pub halted: UnboundedSender<(ShardId, Halt)>,
    /// A shard that serves says so.
    pub ready: UnboundedSender<ShardId>,
}

/// A client as the loop holds it.
struct Client {
    link: Rc<Link>,
    tasks: Tasks,
}

struct Loop {
    me: ShardId,
    config: Config,
    started: StdInstant,
    shard: Shard,
    lanes: Lanes,
    intake: Rc<Intake>,
    clients: BTreeMap<ConnId, Client>,
    /// Connections whose next request waits for room in its pool: of Produce, of others.
    blocked: [VecDeque<ConnId>; 2],
    next_conn: u64,
    turns: u64,
    closing: Rarely,
}

fn now(started: StdInstant) -> Now {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        mono: Instant(started.elapsed().as_nanos() as u64),
        wall_ms: wall.as_millis() as i64,
    }
}

/// Run a shard until it halts.
pub async fn run(config: Config, seed: [u8; 32], lanes: Lanes) {
    let started = StdInstant::now();
    let me = config.shard;
    let mut out = Effects::default();
    let shard = Shard::boot(config.clone(), seed, now(started), &mut out);
    let mut this = Loop {
        me,
        config,
        started,
        shard,
        lanes,
        intake: Intake::new(),
        clients: BTreeMap::new(),
        blocked: Default::default(),
        next_conn: 0,
        turns: 0,
        closing: Rarely::every(Duration::from_secs(5)),
    };
    let mut over = this.hand_out(&mut out);
    let halt = loop {
        match over {
            Some(halt) => break halt,
            None => over = this.turn(&mut out).await,
        }
    };
    if halt == Halt::Clean {
        // Answers that sockets have not taken go out before the process ends.
        let drained = async {
            for client in this.clients.values() {
                client.link.drained().await;
            }
        };
        let _ = tokio::time::timeout(DRAIN_MAX, drained).await;
    }
    let _ = this.lanes.halted.send((me, halt));
}

impl Loop {
    /// Wait for something to do and do it. Says how, when the shard is over.
    async fn turn(&mut self, out: &mut Effects) -> Option<Halt> {
        let deadline = self.shard.next_deadline();
        let wait = deadline.map(|at| {
            let past = self.started.elapsed().as_nanos() as u64;
            Duration::from_nanos(at.0.saturating_sub(past))
        });
        let mut events = Vec::new();
        if self.intake.is_stirred() || wait == Some(Duration::ZERO) {
            // Sockets and timers are looked at all the same.
            tokio::task::yield_now().await;
        } else {
            tokio::select! {
                biased;
                event = self.lanes.events.recv() => events.extend(event),
                () = self.intake.stirred.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
        while let Ok(event) = self.lanes.events.try_recv() {
            events.push(event);
        }
        let now = now(self.started);
        for event in events {
            match event {
                Event::Input(input) => self.shard.handle(now, input, out),
                Event::Accepted(stream, place) => self.accept(now, stream, place, out),
            }
        }
        for (conn, bytes) in self.intake.take_sent() {
            self.shard.handle(now, Input::Sent { conn, bytes }, out);
        }
        self.look_at_clients(now, out);
        self.shard.settle(now, out);
        self.turns += 1;
        if self.turns.is_multiple_of(CHECK_EVERY) {
            self.shard.check();
        }
        let over = self.hand_out(out);
        self.intake.set_room(self.shard.appetite().frame_bytes);
        if (0..2).any(|kind| !self.blocked[kind].is_empty() && self.has_room(kind)) {
            self.intake.stirred.notify_one();
        }
        over
    }

    /// A request may be decoded: Produce (0) or another (1).
    fn has_room(&self, kind: usize) -> bool {
        let appetite = self.shard.appetite();
        [appetite.produce_bytes, appetite.request_bytes][kind] > 0
    }

    fn accept(&mut self, now: Now, stream: std::net::TcpStream, place: Place, out: &mut Effects) {
        let Ok(stream) = TcpStream::from_std(stream) else {
            return;
        };
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let host = local.ip().to_string();
        let codec = Connection::new(host, local.port(), self.config.limits);
        let (link, tasks) = sockets::serve(conn, (stream, place), codec, &self.intake);
        self.clients.insert(conn, Client { link, tasks });
        self.shard.handle(now, Input::Connect { conn }, out);
    }

    /// Decode what has arrived, as far as there is room for it.
    fn look_at_clients(&mut self, now: Now, out: &mut Effects) {
        let mut noted = self.intake.take_noted();
        let later = noted.split_off(noted.len().min(CONNS_PER_TURN));
        for kind in 0..2 {
            let blocked = match self.has_room(kind) {
                true => self.blocked[kind].len().min(CONNS_PER_TURN),
                false => 0,
            };
            for conn in self.blocked[kind].drain(..blocked) {
                if let Some(client) = self.clients.get(&conn) {
                    client.link.blocked.set(false);
                    noted.push_back(conn);
                }
            }
        }
        for conn in noted {
            self.look_at_client(now, conn, out);
            // Those who leave give back what their answers hold, and here these are held all the same.
            if out.replies.len() >= REPLIES_AT_ONCE {
                self.answer(out);
            }
        }
        for conn in later {
            if let Some(client) = self.clients.get(&conn) {
                client.link.looked_at();
                client.link.note();
            }
        }
    }

    fn look_at_client(&mut self, now: Now, conn: ConnId, out: &mut Effects) {
        let Some(link) = self.clients.get(&conn).map(|client| client.link.clone()) else {
            return;
        };
        link.looked_at();
        if let Some(close) = link.take_broken() {
            return self.refuse(now, &link, conn, &close.reason, out);
        }
        let decoded = self.decode(now, &link, conn, out);
        if let Err(close) = decoded {
            return self.refuse(now, &link, conn, &close.reason, out);
        }
        let (buffered, whole) = {
            let codec = link.codec.borrow();
            (codec.buffered_bytes(), codec.has_frame())
        };
        if link.told.replace((buffered, whole)) != (buffered, whole) {
            let bytes = buffered as u64;
            let receiving = Input::Receiving { conn, bytes, whole };
            self.shard.handle(now, receiving, out);
        }
        link.has_told();
        if !whole && link.has_ended() {
            self.clients.remove(&conn);
            return self.shard.handle(now, Input::Hangup { conn }, out);
        }
        if link.is_leaving() && !link.told_leaving.replace(true) {
            self.shard.handle(now, Input::Leaving { conn }, out);
        }
        if !whole {
            link.read_on();
        }
    }

    /// Decode a client's requests and hand them to the core, as many as it may have in a turn.
    fn decode(
        &mut self,
        now: Now,
        link: &Link,
        conn: ConnId,
        out: &mut Effects,
    ) -> Result<(), seedlog_net::server::Close> {
        let mut taken = 0;
        let mut codec = link.codec.borrow_mut();
        while let Some(waiting) = codec.waiting() {
            let kind = usize::from(!waiting.produce);
            if !self.has_room(kind) {
                if !link.blocked.replace(true) {
                    self.blocked[kind].push_back(conn);
                }
                break;
            }
            let most = UNTOLD_BYTES + self.config.limits.unsent_per_connection as usize;
            if link.unsent() > most || link.unsent_apart() > UNTOLD_BYTES {
                // Looked at again when the socket has taken that.
                break;
            }
            if taken >= BYTES_PER_CONN {
                link.note();
                break;
            }
            match codec.decode()? {
                Some(call) => {
                    taken += call.held;
                    let input = Input::Client {
                        conn,
                        call: call.call,
                        request: call.request,
                        held: call.held,
                    };
                    self.shard.handle(now, input, out);
                }
                None => {
                    taken += 64;
                    link.answer(codec.take_output(), 0);
                    link.flush();
                }
            }
        }
        Ok(())
    }

    /// What came is no request: the connection is closed, as Kafka does.
    fn refuse(&mut self, now: Now, link: &Rc<Link>, conn: ConnId, why: &str, out: &mut Effects) {
        // What was asked before is answered.
        self.answer(out);
        if let Some(client) = self.clients.remove(&conn) {
            client.tasks.end_gracefully(link.clone());
        }
        self.closing.tell(&format!(
            "shard {}: a connection is closed: {why}",
            self.me.0
        ));
        self.shard.handle(now, Input::Hangup { conn }, out);
    }

    /// Send out what a turn asked for. Says how, when the shard is over.
    fn hand_out(&mut self, out: &mut Effects) -> Option<Halt> {
        for op in out.disk.drain(..) {
            self.lanes.disk.submit(op);
        }
        for job in out.work.drain(..) {
            self.lanes.work.send(self.me, job);
        }
        for (to, message) in out.neighbours.drain(..) {
            let input = Input::Neighbour {
                from: self.me,
                message,
            };
            // A shard that is gone has taken the process with it.
            let _ = self.lanes.shards[usize::from(to.0)].send(Event::Input(input));
        }
        self.answer(out);
        for note in out.notes.drain(..) {
            match note {
                Note::Ready => drop(self.lanes.ready.send(self.me)),
                Note::DuplicateSequence
                | Note::SegmentRolled
                | Note::Carried
                | Note::Retained { .. } => {}
                Note::LossyRestart => tell(&format!(
                    "shard {}: not stopped cleanly, and a topic had opted out of syncing \
                     (flush.messages): its last acknowledged records may be lost",
                    self.me.0
                )),
                Note::CannotWrite { dir } => tell(&format!(
                    "{dir}: its files cannot be written; the partition goes on in the journal while it can"
                )),
                Note::CannotRemove { dir } => tell(&format!(
                    "{dir}: what is not needed any more cannot be removed; it is tried again"
                )),
                Note::Quarantined { dir } => tell(&format!(
                    "{dir}: no committed metadata knows this partition, and none says that its topic \
                     was deleted: it is kept as it is, and not served"
                )),
                Note::SetAside { dir, aside } => tell(&format!(
                    "{dir}: {} files ({} bytes) of segments that the journal neither lists nor holds, as \
                     if it were older than they are: kept as NAME.unlisted{}",
                    aside.files,
                    aside.bytes,
                    match aside.now.is_empty() {
                        true => String::new(),
                        false => format!(", of this start {}", aside.now.join(" ")),
                    }
                )),
                Note::SegmentsGrow => tell(&format!(
                    "shard {}: there are more segments than the journal can list: they grow beyond \
                     segment.bytes and segment.ms (--journal-max-bytes holds more)",
                    self.me.0
                )),
                Note::Resharding => {
                    tell("another number of shards is wanted than before: partitions move first")
                }
                note => tell(&format!("shard {}: {note:?}", self.me.0)),
            }
        }
        out.halt.take()
    }

    /// Answers go to their sockets, and connections that are given up are closed.
    fn answer(&mut self, out: &mut Effects) {
        let mut written = Vec::new();
        for (conn, call, response) in out.replies.drain(..) {
            if let Some(client) = self.clients.get(&conn) {
                let link = &client.link;
                let held = response.held_bytes();
                let mut codec = link.codec.borrow_mut();
                codec.reply(call, response);
                link.answer(codec.take_output(), held);
                if codec.has_frame() {
                    // It may have waited for this answer.
                    link.note();
                }
                if written.last() != Some(&conn) {
                    written.push(conn);
                }
            }
        }
        for client in written.iter().filter_map(|conn| self.clients.get(conn)) {
            client.link.flush();
        }
        for (conn, why) in out.closes.drain(..) {
            let Some(client) = self.clients.remove(&conn) else {
                continue;
            };
            self.closing.tell(&format!(
                "shard {}: a connection is closed: {why:?}",
                self.me.0
            ));
            if why.is_graceful() {
                client.tasks.end_gracefully(client.link);
            }
        }
    }
}
