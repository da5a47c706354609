//! Sockets of one shard. A task per connection reads and cuts frames; answers are written as soon as
//! they are there, and what a socket does not take at once waits for a second task.
//!
//! All of it runs on the shard's own thread, so that connections share one buffer to read into and an
//! idle one holds no memory for its reads. Nothing is read from a connection that has a whole request
//! waiting: what a client sends beyond that stays in its socket, and TCP tells it to wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use seedlog_core::ids::ConnId;
use seedlog_net::server::{Close, Connection};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::acceptor::Place;

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// From so many missing bytes on, a frame is read into its own memory.
const DIRECT_FROM: usize = 16 << 10;
/// What a connection may have waiting although no more may arrive: a small request is always heard.
const SMALL_BYTES: usize = 16 << 10;
/// Slices of one write.
const SLICES: usize = 64;
/// While nothing is read, so often it is looked whether the client is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A connection that is closed for a reason of its own has so long to take its last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// All such connections together may leave so many bytes to be taken: the core counts them no more.
const LAST_BYTES: usize = 8 << 20;

/// What connections and their shard's loop tell each other.
pub struct Intake {
    /// Connections to look at.
    noted: RefCell<VecDeque<ConnId>>,
    /// There is one.
    pub stirred: Notify,
    /// Bytes that may yet arrive before the core says how many more.
    room: Cell<u64>,
    /// Bytes that arrived on connections which the loop has not looked at since.
    untold: Cell<u64>,
    opened: Notify,
    /// Who reads on although no more may arrive, until its request is whole: one at a time, or a request
    /// larger than what a shard has room for would never be.
    lent_to: Cell<Option<ConnId>>,
    /// Bytes that closed connections have yet to take.
    last_bytes: Cell<usize>,
    /// What sockets took: bytes as the core counts them.
    sent: RefCell<Vec<(ConnId, u64)>>,
    buffer: RefCell<Vec<u8>>,
}

impl Intake {
    /// Nothing is there yet.
    pub fn new() -> Rc<Intake> {
        Rc::new(Intake {
            noted: RefCell::default(),
            stirred: Notify::new(),
            room: Cell::new(u64::MAX),
            untold: Cell::new(0),
            opened: Notify::new(),
            lent_to: Cell::new(None),
            last_bytes: Cell::new(0),
            sent: RefCell::default(),
            buffer: RefCell::new(vec![0; READ_BYTES]),
        })
    }

    /// The connections to look at, for this turn.
    pub fn take_noted(&self) -> VecDeque<ConnId> {
        self.noted.take()
    }

    /// Something is to be done before the loop may sleep.
    pub fn is_stirred(&self) -> bool {
        !self.noted.borrow().is_empty() || !self.sent.borrow().is_empty()
    }

    /// What sockets took since this was last asked.
    pub fn take_sent(&self) -> Vec<(ConnId, u64)> {
        self.sent.take()
    }

    /// So many bytes more may arrive, less what the core has not been told of yet.
    pub fn set_room(&self, room: u64) {
        let room = room.saturating_sub(self.untold.get());
        if self.room.replace(room) == 0 && room > 0 {
            self.opened.notify_waiters();
        }
    }

    fn is_open(&self) -> bool {
        self.room.get() > 0
    }

    /// It may read on although no more may arrive, unless another one does.
    fn lends_to(&self, conn: ConnId) -> bool {
        match self.lent_to.get() {
            Some(other) => other == conn,
            None => {
                self.lent_to.set(Some(conn));
                true
            }
        }
    }

    /// It needs no more than there is room for.
    fn take_back(&self, conn: ConnId) {
        if self.lent_to.get() == Some(conn) {
            self.lent_to.set(None);
            self.opened.notify_waiters();
        }
    }

    /// All connections may be read between two turns of the loop, and not all are looked at in one.
    fn took(&self, bytes: u64) {
        self.room.set(self.room.get().saturating_sub(bytes));
        self.untold.set(self.untold.get() + bytes);
    }
}

/// An answer on its way out.
struct Answer {
    pieces: VecDeque<Bytes>,
    /// What the core holds for it and has not been told of.
    held: u64,
    /// The core knows nothing of it.
    apart: bool,
}

/// A client connection.
pub struct Link {
    conn: ConnId,
    stream: TcpStream,
    /// Its frames and calls.
    pub codec: RefCell<Connection>,
    intake: Rc<Intake>,
    answers: RefCell<VecDeque<Answer>>,
    unsent: Cell<usize>,
    /// Of those, bytes of answers that the core knows nothing of.
    apart: Cell<usize>,
    /// It stands in [`Intake::noted`].
    noted: Cell<bool>,
    /// Nothing more will be read, or can be written.
    ended: Cell<bool>,
    /// The client has closed its side while there was still something to read.
    leaving: Cell<bool>,
    broken: RefCell<Option<Close>>,
    may_read: Notify,
    may_write: Notify,
    /// Nothing waits to be written any more, or nothing can be.
    emptied: Notify,
    /// Bytes that arrived since the loop last looked at it.
    untold: Cell<u64>,
    /// The core was told that so much is waiting here, and whether a whole request is.
    pub told: Cell<(usize, bool)>,
    /// Its next request waits for room in its pool.
    pub blocked: Cell<bool>,
    /// The core was told that the client leaves.
    pub told_leaving: Cell<bool>,
    /// Dropped after `stream`: a connection that is closed and yet takes its last answers has its
    /// descriptor still.
    _place: Place,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.has_told();
        self.intake.take_back(self.conn);
    }
}

/// A connection's tasks; they end with it.
pub struct Tasks {
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl Tasks {
    /// Read no more, and end once the last answers are out, or after a while; at once if too much waits
    /// to be taken.
    pub fn end_gracefully(self, link: Rc<Link>) {
        self.reader.abort();
        let bytes = link.unsent();
        let intake = link.intake.clone();
        let all = intake.last_bytes.get() + bytes;
        if bytes == 0 || all > LAST_BYTES {
            return;
        }
        intake.last_bytes.set(all);
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout(LAST_ANSWERS, link.drained()).await;
            drop((self, link));
            intake.last_bytes.set(intake.last_bytes.get() - bytes);
        });
    }
}

/// Start a connection.
pub fn serve(
    conn: ConnId,
    (stream, place): (TcpStream, Place),
    codec: Connection,
    intake: &Rc<Intake>,
) -> (Rc<Link>, Tasks) {
    let link = Rc::new(Link {
        conn,
        stream,
        codec: RefCell::new(codec),
        intake: intake.clone(),
        answers: RefCell::default(),
        unsent: Cell::new(0),
        apart: Cell::new(0),
        noted: Cell::new(false),
        ended: Cell::new(false),
        leaving: Cell::new(false),
        broken: RefCell::default(),
        may_read: Notify::new(),
        may_write: Notify::new(),
        emptied: Notify::new(),
        untold: Cell::new(0),
        told: Cell::new((0, false)),
        blocked: Cell::new(false),
        told_leaving: Cell::new(false),
        _place: place,
    });
    let tasks = Tasks {
        reader: tokio::task::spawn_local(read_all(link.clone())),
        writer: tokio::task::spawn_local(write_rest(link.clone())),
    };
    (link, tasks)
}

impl Link {
    /// Have the loop look at this connection.
    pub fn note(&self) {
        if !self.noted.replace(true) {
            self.intake.noted.borrow_mut().push_back(self.conn);
            self.intake.stirred.notify_one();
        }
    }

    /// The loop looks at it.
    pub fn looked_at(&self) {
        self.noted.set(false);
    }

    /// The core knows of what has arrived here.
    pub fn has_told(&self) {
        let told = self.untold.take();
        self.intake.untold.set(self.intake.untold.get() - told);
    }

    /// What was waiting has been taken: more may be read.
    pub fn read_on(&self) {
        self.may_read.notify_one();
    }

    /// Nothing more comes from this connection than what waits in its codec.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// The client has closed its side, maybe before all it sent was read.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get() || self.ended.get()
    }

    /// Why it must be closed, if what came cannot be a request.
    pub fn take_broken(&self) -> Option<Close> {
        self.broken.take()
    }

    /// Bytes of answers that the socket has not taken.
    pub fn unsent(&self) -> usize {
        self.unsent.get()
    }

    /// Bytes of them that the core knows nothing of.
    pub fn unsent_apart(&self) -> usize {
        self.apart.get()
    }

    /// Queue an answer, for which the core holds so much.
    pub fn answer(&self, pieces: Vec<Bytes>, held: u64) {
        if pieces.is_empty() && held == 0 {
            return;
        }
        let size: usize = pieces.iter().map(Bytes::len).sum();
        self.unsent.set(self.unsent.get() + size);
        let apart = held == 0;
        if apart {
            self.apart.set(self.apart.get() + size);
        }
        self.answers.borrow_mut().push_back(Answer {
            pieces: pieces.into(),
            held,
            apart,
        });
    }

    /// Write what the socket takes now; the rest follows when it takes more.
    pub fn flush(&self) {
        if !self.write_some() {
            self.may_write.notify_one();
        }
    }

    /// Wait until everything queued is written, or cannot be.
    pub async fn drained(&self) {
        while self.unsent.get() > 0 && !self.ended.get() {
            self.emptied.notified().await;
        }
    }

    /// False if the socket takes no more now.
    fn write_some(&self) -> bool {
        loop {
            let mut answers = self.answers.borrow_mut();
            let pieces = answers.iter().flat_map(|answer| &answer.pieces);
            let slices: Vec<IoSlice<'_>> = pieces
                .take(SLICES)
                .map(|piece| IoSlice::new(piece))
                .collect();
            let written = match slices.is_empty() {
                true => Ok(0),
                false => self.stream.try_write_vectored(&slices),
            };
            match written {
                Ok(size) => self.written(&mut answers, size),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.end();
                    return true;
                }
            }
            if answers.is_empty() {
                return true;
            }
        }
    }

    fn written(&self, answers: &mut VecDeque<Answer>, mut size: usize) {
        self.unsent.set(self.unsent.get() - size);
        let mut sent = 0;
        while let Some(answer) = answers.front_mut() {
            while let Some(piece) = answer.pieces.front_mut() {
                let taken = piece.len().min(size);
                piece.advance(taken);
                size -= taken;
                if answer.apart {
                    self.apart.set(self.apart.get() - taken);
                }
                let told = answer.held.min(taken as u64);
                answer.held -= told;
                sent += told;
                if !piece.is_empty() {
                    break;
                }
                answer.pieces.pop_front();
            }
            if !answer.pieces.is_empty() {
                break;
            }
            sent += answer.held;
            answers.pop_front();
        }
        if answers.is_empty() {
            self.emptied.notify_one();
        }
        if sent > 0 {
            self.intake.sent.borrow_mut().push((self.conn, sent));
        }
    }

    fn end(&self) {
        self.ended.set(true);
        self.emptied.notify_one();
        self.intake.take_back(self.conn);
        self.note();
    }

    /// Read what is there. The bytes read, or none if there are none now.
    fn read_some(&self) -> io::Result<Option<usize>> {
        let mut codec = self.codec.borrow_mut();
        let open = self.intake.is_open();
        let lent = !open && self.intake.lent_to.get() == Some(self.conn);
        let read = if (open || lent) && codec.missing() >= DIRECT_FROM {
            let read = self.stream.try_read_buf(&mut codec.room());
            if let Ok(size) = read {
                codec.filled(size);
            }
            read
        } else {
            let mut buffer = self.intake.buffer.borrow_mut();
            let most = match open {
                true => READ_BYTES,
                false if lent => codec.missing().max(1),
                false => SMALL_BYTES.saturating_sub(codec.buffered_bytes()).max(1),
            };
            let read = self.stream.try_read(&mut buffer[..most]);
            if let Ok(size) = read {
                if let Err(close) = codec.arrived(&buffer[..size]) {
                    *self.broken.borrow_mut() = Some(close);
                    return Ok(Some(0));
                }
            }
            read
        };
        if codec.missing() == 0 {
            self.intake.take_back(self.conn);
        }
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            read => read.map(|size| {
                self.intake.took(size as u64);
                self.untold.set(self.untold.get() + size as u64);
                Some(size)
            }),
        }
    }

    fn may_read_now(&self) -> bool {
        let codec = self.codec.borrow();
        let small = codec.buffered_bytes() < SMALL_BYTES;
        let may = self.intake.is_open() || small;
        !codec.has_frame() && (may || (codec.missing() > 0 && self.intake.lends_to(self.conn)))
    }

    /// Whether the client has closed its side, or the connection is broken.
    async fn look(&self) {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self.stream.ready(both).await {
            Ok(ready) if ready.is_write_closed() => self.end(),
            Ok(ready) if ready.is_read_closed() && !self.leaving.replace(true) => self.note(),
            Ok(_) => {}
            Err(_) => self.end(),
        }
    }
}

async fn read_all(link: Rc<Link>) {
    while !link.ended.get() {
        if !link.may_read_now() {
            tokio::select! {
                () = link.may_read.notified() => {}
                () = link.intake.opened.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => link.look().await,
            }
            continue;
        }
        if link.stream.readable().await.is_err() {
            break;
        }
        match link.read_some() {
            Ok(None) => continue,
            Ok(Some(0)) | Err(_) => break,
            Ok(Some(_)) => link.note(),
        }
        // Others have their turn.
        tokio::task::yield_now().await;
    }
    link.end();
}

async fn write_rest(link: Rc<Link>) {
    while !link.ended.get() {
        link.may_write.notified().await;
        while !link.write_some() {
            if link.stream.writable().await.is_err() {
                return link.end();
            }
        }
        // Who waits for room of this connection's answers goes on.
        link.note();
    }
}
