//! What the operator is told. Nobody may be reading any more: that is no reason to stop.

use std::io::{self, Write};

/// A line on standard error.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "seedlog: {text}");
}

/// Lines on standard output.
pub fn greet(lines: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{lines}").and_then(|()| out.flush());
}
