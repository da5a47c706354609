//! What the operator is told. Nobody may be reading any more: that is no reason to stop, nor to wait. A
//! pipe that is full, or a terminal that is held (Ctrl-S), gets no line; no thread of the broker stands
//! still for it.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// A pipe that can be written to has room for so many bytes (`PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// A line on standard error, if it takes one now.
pub fn tell(text: &str) {
    write_now(io::stderr().lock(), &format!("seedlog: {text}\n"));
}

/// Lines on standard output, if it takes them now.
pub fn greet(lines: &str) {
    write_now(io::stdout().lock(), &format!("{lines}\n"));
}

/// Whether that can be done now without a wait. The end of a stream can be read.
pub fn is_ready(stream: &impl AsFd, what: PollFlags) -> io::Result<bool> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    Ok(poll(&mut [PollFd::new(stream, what)], Some(&now))? > 0)
}

/// Write unless that would wait. The stream is locked, so that its room is not given away meanwhile.
fn write_now(mut stream: impl Write + AsFd, text: &str) {
    for piece in text.as_bytes().chunks(AT_ONCE) {
        let written = is_ready(&stream, PollFlags::OUT).unwrap_or(false)
            && stream
                .write_all(piece)
                .and_then(|()| stream.flush())
                .is_ok();
        if !written {
            return;
        }
    }
}

/// Lines that clients can bring about: at most one in a while, and then how many were left out.
#[derive(Debug)]
pub struct Rarely {
    pause: Duration,
    last: Option<Instant>,
    left_out: u64,
}

impl Rarely {
    /// At most one line in so long.
    pub fn every(pause: Duration) -> Rarely {
        Rarely {
            pause,
            last: None,
            left_out: 0,
        }
    }

    /// Say it, unless something was said only just.
    pub fn tell(&mut self, text: &str) {
        if self.last.is_some_and(|last| last.elapsed() < self.pause) {
            self.left_out += 1;
            return;
        }
        self.last = Some(Instant::now());
        match std::mem::take(&mut self.left_out) {
            0 => tell(text),
            more => tell(&format!("{text} (and {more} like it before)")),
        }
    }
}
