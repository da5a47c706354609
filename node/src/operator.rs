//! What the operator is told. Nobody may be reading any more: that is no reason to stop.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// A line on standard error.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "seedlog: {text}");
}

/// Lines on standard output.
pub fn greet(lines: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{lines}").and_then(|()| out.flush());
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
