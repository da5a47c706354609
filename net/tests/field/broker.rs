//! A broker behind its sockets: bytes in, bytes out. Time and disk are the test's.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use seedlog_core::contract::{Config, Effects, Halt, Input};
use seedlog_core::disk::{DiskError, DiskOp, DiskRequest};
use seedlog_core::ids::ConnId;
use seedlog_core::limits::Limits;
use seedlog_core::shard::Shard;
use seedlog_core::time::{Instant, Now};
use seedlog_net::server::Connection;

use super::batches::NOW;
use super::disk::Disk;
use super::frames::{In, Out, CORRELATION};
use super::turns::{self, Host, Inputs};

/// What goes wrong with a journal's writes from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// They are not there.
    Lost,
    /// They are there, and durable, but the device says that they failed.
    DoneAllTheSame,
    /// They are not answered.
    Stalled,
}

/// A client's side of a connection.
struct Socket {
    server: Connection,
    /// What has come out and was not taken by the test.
    out: Vec<u8>,
    closed: bool,
}

/// The broker. Its connection `n` belongs to shard `n` modulo the shards.
pub struct Broker {
    shards: Vec<Shard>,
    wanted: u16,
    disk: Disk,
    inputs: Inputs,
    sockets: BTreeMap<u64, Socket>,
    next_conn: u64,
    now: Now,
    starts: u8,
    fault: Fault,
    stalled: Vec<(usize, DiskOp)>,
    /// It has given up.
    pub halted: bool,
}

impl Host for Broker {
    fn shards(&mut self) -> &mut Vec<Shard> {
        &mut self.shards
    }

    fn inputs(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn now(&self) -> Now {
        self.now
    }

    fn is_over(&self) -> bool {
        self.halted
    }

    fn carry_out(&mut self, shard: usize, out: Effects) {
        for op in out.disk {
            self.disk_op(shard, op);
        }
        self.inputs.extend(turns::worked(shard, out.work));
        self.inputs.extend(turns::told(shard, out.neighbours));
        for (conn, call, response) in out.replies {
            let bytes = response.held_bytes();
            self.inputs.push_back((shard, Input::Sent { conn, bytes }));
            let Some(socket) = self.sockets.get_mut(&conn.0) else {
                continue;
            };
            socket.server.reply(call, response);
            socket.out.extend(socket.server.take_output().concat());
        }
        for (conn, _) in out.closes {
            if let Some(socket) = self.sockets.get_mut(&conn.0) {
                socket.closed = true;
            }
        }
        match out.halt {
            Some(Halt::Fatal(_)) => self.halt(),
            Some(halt) => panic!("{halt:?}"),
            None => {}
        }
    }
}

impl Broker {
    pub fn start(shards: u16) -> Broker {
        let now = Now {
            mono: Instant(1_000_000_000),
            wall_ms: NOW,
        };
        let mut broker = Broker {
            shards: Vec::new(),
            wanted: shards,
            disk: Disk::default(),
            inputs: VecDeque::new(),
            sockets: BTreeMap::new(),
            next_conn: 0,
            now,
            starts: 0,
            fault: Fault::None,
            stalled: Vec::new(),
            halted: false,
        };
        broker.boot();
        broker
    }

    /// The process is killed, and started again over the files as they are. The disk is whole again.
    pub fn kill(&mut self) {
        self.sockets
            .values_mut()
            .for_each(|socket| socket.closed = true);
        self.boot();
    }

    fn boot(&mut self) {
        self.shards.clear();
        self.inputs.clear();
        self.stalled.clear();
        (self.fault, self.halted) = (Fault::None, false);
        self.starts += 1;
        let mut lanes = Vec::new();
        for shard in 0..self.wanted {
            let config = Config {
                limits: Limits::DEFAULT.for_shards(self.wanted),
                journal_max_bytes: 16 << 20,
                ..turns::config(shard, self.wanted)
            };
            let seed = [self.starts * 16 + shard as u8; 32];
            let mut out = Effects::default();
            self.shards
                .push(Shard::boot(config, seed, self.now, &mut out));
            lanes.push(out);
        }
        for (shard, out) in lanes.into_iter().enumerate() {
            self.carry_out(shard, out);
        }
        self.run();
        assert!(
            self.shards.iter().all(Shard::is_ready),
            "every shard serves"
        );
    }

    fn halt(&mut self) {
        self.halted = true;
        for socket in self.sockets.values_mut() {
            socket.closed = true;
        }
    }

    fn disk_op(&mut self, shard: usize, op: DiskOp) {
        let journal = match &op.request {
            DiskRequest::Write { file, .. } | DiskRequest::Sync { file } => {
                file.starts_with("journal/")
            }
            _ => false,
        };
        let fault = if journal { self.fault } else { Fault::None };
        let result = match fault {
            Fault::None => self.disk.run(op.request),
            Fault::Lost => Err(DiskError::Io),
            Fault::DoneAllTheSame => {
                let done = self.disk.run(op.request);
                done.and(Err(DiskError::Io))
            }
            Fault::Stalled => return self.stalled.push((shard, op)),
        };
        self.inputs
            .push_back((shard, Input::Disk { op: op.op, result }));
    }

    /// What goes wrong from now on.
    pub fn set_fault(&mut self, fault: Fault) {
        self.fault = fault;
        if fault == Fault::None {
            for (shard, op) in std::mem::take(&mut self.stalled) {
                self.disk_op(shard, op);
            }
            self.run();
        }
    }

    fn run(&mut self) {
        turns::run(self);
    }

    pub fn pass(&mut self, millis: u64) {
        self.now.mono = self.now.mono.plus_millis(millis);
        self.now.wall_ms += millis as i64;
        self.run();
    }

    /// The broker's wall clock, ms.
    pub fn wall_ms(&self) -> i64 {
        self.now.wall_ms
    }

    /// A new connection.
    pub fn connect(&mut self) -> u64 {
        self.next_conn += 1;
        let id = self.next_conn;
        let server = Connection::new("localhost".into(), 9092, Limits::DEFAULT);
        let socket = Socket {
            server,
            out: Vec::new(),
            closed: false,
        };
        self.sockets.insert(id, socket);
        let conn = ConnId(id);
        self.inputs
            .push_back((self.shard_of(id), Input::Connect { conn }));
        self.run();
        id
    }

    fn shard_of(&self, conn: u64) -> usize {
        conn as usize % self.shards.len()
    }

    /// Bytes of the client arrive, and all is done that can be done at this time.
    pub fn send(&mut self, conn: u64, bytes: &[u8]) {
        let shard = self.shard_of(conn);
        let Some(socket) = self.sockets.get_mut(&conn).filter(|socket| !socket.closed) else {
            return;
        };
        let received = socket.server.receive(Bytes::copy_from_slice(bytes));
        socket.out.extend(socket.server.take_output().concat());
        let id = ConnId(conn);
        while let Some(call) = socket.server.next_call() {
            let input = Input::Client {
                conn: id,
                call: call.call,
                request: call.request,
                held: call.held,
            };
            self.inputs.push_back((shard, input));
        }
        if received.is_err() {
            socket.closed = true;
            self.inputs.push_back((shard, Input::Hangup { conn: id }));
        }
        self.run();
    }

    pub fn is_closed(&self, conn: u64) -> bool {
        self.sockets[&conn].closed
    }

    /// The next whole answer on the connection, without its length; `None` if there is none yet.
    pub fn answer(&mut self, conn: u64) -> Option<Vec<u8>> {
        let out = &mut self.sockets.get_mut(&conn)?.out;
        let size = i32::from_be_bytes(out.get(..4)?.try_into().expect("four bytes"));
        let frame = out.get(4..4 + size as usize)?.to_vec();
        out.drain(..4 + size as usize);
        Some(frame)
    }

    /// Send a request and wait for its answer: what follows the correlation id.
    pub fn ask(&mut self, conn: u64, request: &Out) -> In {
        self.send(conn, &request.frame());
        self.wait(conn)
    }

    /// Wait for the next answer on the connection: what follows the correlation id.
    pub fn wait(&mut self, conn: u64) -> In {
        for _ in 0..100 {
            if let Some(answer) = self.answer(conn) {
                let mut answer = In::new(answer);
                assert_eq!(answer.i32(), CORRELATION, "the answer is to this request");
                return answer;
            }
            assert!(!self.is_closed(conn), "the connection is closed");
            self.pass(10);
        }
        panic!("no answer");
    }

    /// Nothing has come out of the connection that was not taken, and it goes on.
    pub fn waits(&self, conn: u64) -> bool {
        let socket = &self.sockets[&conn];
        socket.out.is_empty() && !socket.closed
    }

    /// The connection has been closed, and nothing came out of it that was not taken.
    pub fn closed_without_a_byte(&self, conn: u64) -> bool {
        let socket = &self.sockets[&conn];
        socket.out.is_empty() && socket.closed
    }
}
