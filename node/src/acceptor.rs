//! Accepting connections, no more than there are descriptors for.
//!
//! At the limit nobody is accepted any more, so that who waits stands in the kernel's queue and is
//! served once another leaves. That is told once, as is a failing accept, which is tried again after a
//! pause: neither spins.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::operator::Rarely;

/// After an accept failed the next one waits this long.
const PAUSE: Duration = Duration::from_millis(100);
/// A broker whose clients come and go at its limit says so no more often than this.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Count {
    taken: AtomicUsize,
    freed: Notify,
}

/// A connection's place among those that may be open at a time; free again when this is dropped.
#[derive(Debug)]
pub struct Place(Arc<Count>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

/// What accepts connections.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    /// `max.connections`.
    most: usize,
    count: Arc<Count>,
    told: bool,
    lines: Rarely,
}

impl Acceptor {
    /// Accept from this listener, nobody before [`Acceptor::allow`].
    pub fn new(listener: TcpListener) -> Acceptor {
        Acceptor {
            listener,
            most: 0,
            count: Arc::default(),
            told: false,
            lines: Rarely::every(TOLD_EVERY),
        }
    }

    /// So many connections may be open at a time.
    pub fn allow(&mut self, most: usize) {
        self.most = most;
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection.
    pub async fn accept(&mut self) -> (TcpStream, Place) {
        loop {
            let count = self.count.clone();
            let freed = count.freed.notified();
            if count.taken.load(Ordering::Relaxed) >= self.most {
                let most = self.most;
                let text = format!("{most} connections are open (max.connections): others wait");
                self.tell_once(&text);
                freed.await;
                continue;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let before = self.count.taken.fetch_add(1, Ordering::Relaxed);
                    // One who leaves and one who comes in its place are no news.
                    self.told &= before + 1 >= self.most - self.most / 8;
                    return (stream, Place(self.count.clone()));
                }
                Err(error) => {
                    let text =
                        format!("a connection cannot be accepted: {error}; it is tried again");
                    self.tell_once(&text);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn tell_once(&mut self, text: &str) {
        if !std::mem::replace(&mut self.told, true) {
            self.lines.tell(text);
        }
    }
}
