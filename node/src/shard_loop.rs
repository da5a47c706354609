//! One shard's thread: inputs in, a turn, lanes out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use seedlog_core::contract::{Config, Effects, Halt, Input, Note};
use seedlog_core::ids::{ConnId, ShardId};
use seedlog_core::shard::Shard;
use seedlog_core::time::{Instant, Now};
use seedlog_net::server::Connection;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender};

use crate::disk::Executor;
use crate::operator::tell;
use crate::sockets::{self, Outbox};

/// Largest request (`socket.request.max.bytes`).
const FRAME_MAX: usize = 100 << 20;
/// Chunks of client bytes a turn takes.
const CHUNKS_PER_TURN: usize = 64;
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
    Accepted(std::net::TcpStream),
}

/// Bytes of a client, or the end of them.
pub type ClientBytes = (ConnId, Option<Bytes>);

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

struct Loop {
    me: ShardId,
    started: StdInstant,
    shard: Shard,
    lanes: Lanes,
    conns: BTreeMap<ConnId, (Connection, Outbox)>,
    next_conn: u64,
    turns: u64,
    clients: tokio::sync::mpsc::Sender<ClientBytes>,
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
    let shard = Shard::boot(config, seed, now(started), &mut out);
    let (clients, mut chunks) = tokio::sync::mpsc::channel(256);
    let mut this = Loop {
        me,
        started,
        shard,
        lanes,
        conns: BTreeMap::new(),
        next_conn: 0,
        turns: 0,
        clients,
    };
    let mut over = this.hand_out(&mut out);
    let halt = loop {
        match over {
            Some(halt) => break halt,
            None => over = this.turn(&mut chunks, &mut out).await,
        }
    };
    if halt == Halt::Clean {
        // Answers still in the sockets' queues go out before the process ends.
        let drained = async {
            for (_, outbox) in this.conns.values() {
                outbox.drained().await;
            }
        };
        let _ = tokio::time::timeout(DRAIN_MAX, drained).await;
    }
    let _ = this.lanes.halted.send((me, halt));
}

impl Loop {
    /// Wait for something to do and do it. Says how, when the shard is over.
    async fn turn(
        &mut self,
        chunks: &mut Receiver<ClientBytes>,
        out: &mut Effects,
    ) -> Option<Halt> {
        let deadline = self.shard.next_deadline();
        let wait = deadline.map(|at| {
            let past = self.started.elapsed().as_nanos() as u64;
            Duration::from_nanos(at.0.saturating_sub(past))
        });
        let hungry = self.shard.appetite().client_bytes > 0;
        let mut events = Vec::new();
        let mut bytes = Vec::new();
        tokio::select! {
            biased;
            event = self.lanes.events.recv() => events.extend(event),
            chunk = chunks.recv(), if hungry => bytes.extend(chunk),
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
        while let Ok(event) = self.lanes.events.try_recv() {
            events.push(event);
        }
        while hungry && bytes.len() < CHUNKS_PER_TURN {
            match chunks.try_recv() {
                Ok(chunk) => bytes.push(chunk),
                Err(_) => break,
            }
        }
        let now = now(self.started);
        for event in events {
            match event {
                Event::Input(input) => self.shard.handle(now, input, out),
                Event::Accepted(stream) => self.accept(now, stream, out),
            }
        }
        for (conn, chunk) in bytes {
            self.client_bytes(now, conn, chunk, out);
        }
        self.shard.settle(now, out);
        self.turns += 1;
        if self.turns.is_multiple_of(CHECK_EVERY) {
            self.shard.check();
        }
        self.hand_out(out)
    }

    fn accept(&mut self, now: Now, stream: std::net::TcpStream, out: &mut Effects) {
        let Ok(stream) = TcpStream::from_std(stream) else {
            return;
        };
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let _ = stream.set_nodelay(true);
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let outbox = sockets::serve(conn, stream, self.clients.clone());
        let codec = Connection::new(local.ip().to_string(), local.port(), FRAME_MAX);
        self.conns.insert(conn, (codec, outbox));
        self.shard.handle(now, Input::Connect { conn }, out);
    }

    fn client_bytes(&mut self, now: Now, conn: ConnId, chunk: Option<Bytes>, out: &mut Effects) {
        let Some((codec, outbox)) = self.conns.get_mut(&conn) else {
            return;
        };
        let received = match chunk {
            Some(chunk) => codec.receive(chunk).map_err(|close| tell(&close.reason)),
            None => Err(()),
        };
        outbox.send(codec.take_output());
        if received.is_err() {
            self.conns.remove(&conn);
            return self.shard.handle(now, Input::Hangup { conn }, out);
        }
        while let Some((call, request)) = codec.next_call() {
            self.shard.handle(
                now,
                Input::Client {
                    conn,
                    call,
                    request,
                },
                out,
            );
        }
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
        for (conn, call, response) in out.replies.drain(..) {
            if let Some((codec, outbox)) = self.conns.get_mut(&conn) {
                codec.reply(call, response);
                outbox.send(codec.take_output());
            }
        }
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
                Note::Resharding => {
                    tell("another number of shards is wanted than before: partitions move first")
                }
                note => tell(&format!("shard {}: {note:?}", self.me.0)),
            }
        }
        out.halt.take()
    }
}
