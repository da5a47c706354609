//! Sockets of one shard: a reading and a writing task per connection, both bounded.

use std::cell::Cell;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use seedlog_core::ids::ConnId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{unbounded_channel, Sender, UnboundedReceiver, UnboundedSender};
use tokio::sync::Notify;

use crate::shard_loop::ClientBytes;

/// Bytes of answers a connection may have waiting before its socket is read no further.
const OUTBOX_MAX: usize = 16 << 20;
/// Bytes of one read.
const CHUNK: usize = 256 << 10;
/// Small pieces are gathered up to this size before they are written.
const GATHER: usize = 64 << 10;

/// What waits to be written to a connection.
#[derive(Clone, Debug)]
pub struct Outbox {
    pieces: UnboundedSender<Vec<Bytes>>,
    waiting: Rc<Cell<usize>>,
    eased: Rc<Notify>,
}

impl Outbox {
    /// Queue bytes for the socket.
    pub fn send(&self, pieces: Vec<Bytes>) {
        if pieces.is_empty() {
            return;
        }
        let size: usize = pieces.iter().map(Bytes::len).sum();
        self.waiting.set(self.waiting.get() + size);
        if self.pieces.send(pieces).is_err() {
            self.waiting.set(0);
        }
    }

    /// Wait until everything queued is written, or the socket is gone.
    pub async fn drained(&self) {
        while self.waiting.get() > 0 && !self.pieces.is_closed() {
            self.eased.notified().await;
        }
    }
}

/// Start the tasks of a connection.
pub fn serve(conn: ConnId, stream: TcpStream, clients: Sender<ClientBytes>) -> Outbox {
    let (read, write) = stream.into_split();
    let (send, receive) = unbounded_channel();
    let outbox = Outbox {
        pieces: send,
        waiting: Rc::default(),
        eased: Rc::default(),
    };
    let (waiting, eased) = (outbox.waiting.clone(), outbox.eased.clone());
    tokio::task::spawn_local(write_all(write, receive, waiting.clone(), eased.clone()));
    tokio::task::spawn_local(async move {
        read_all(conn, read, &clients, &waiting, &eased).await;
        // The shard may be gone already; then nobody needs to know.
        let _ = clients.send((conn, None)).await;
    });
    outbox
}

async fn read_all(
    conn: ConnId,
    mut read: OwnedReadHalf,
    clients: &Sender<ClientBytes>,
    waiting: &Cell<usize>,
    eased: &Notify,
) {
    let mut buffer = BytesMut::new();
    loop {
        while waiting.get() > OUTBOX_MAX {
            eased.notified().await;
        }
        buffer.reserve(CHUNK);
        match read.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if clients
            .send((conn, Some(buffer.split().freeze())))
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn write_all(
    mut write: OwnedWriteHalf,
    mut receive: UnboundedReceiver<Vec<Bytes>>,
    waiting: Rc<Cell<usize>>,
    eased: Rc<Notify>,
) {
    let mut gathered = BytesMut::new();
    while let Some(mut pieces) = receive.recv().await {
        while let Ok(more) = receive.try_recv() {
            pieces.extend(more);
        }
        let size: usize = pieces.iter().map(Bytes::len).sum();
        let mut written = Ok(());
        for piece in pieces {
            if gathered.len() + piece.len() <= GATHER {
                gathered.extend_from_slice(&piece);
                continue;
            }
            written = written.and(write.write_all(&gathered).await);
            gathered.clear();
            written = written.and(write.write_all(&piece).await);
        }
        written = written.and(write.write_all(&gathered).await);
        gathered.clear();
        waiting.set(waiting.get().saturating_sub(size));
        eased.notify_waiters();
        eased.notify_one();
        if written.is_err() {
            waiting.set(0);
            return;
        }
    }
}
