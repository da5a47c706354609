//! Every decoder of bytes that a disk or a client may have bent, one function each: bytes in, and a
//! panic if the decoder breaks what it promises. `core/fuzz` feeds them what a fuzzer thinks of,
//! `core/tests/decoders.rs` random and damaged bytes.
//!
//! A decoder promises: no panic, memory in proportion to its input, an end; what it took for whole
//! comes back equal once encoded and decoded again.

mod log;
mod manifest;
mod metadata;
mod records;
mod ring;

#[cfg(feature = "work")]
mod compression;

#[cfg(feature = "work")]
pub use compression::decompression;
pub use log::{block_headers, frames, journal, rows};
pub use manifest::{manifest, manifests, producers};
pub use metadata::metadata;
pub use records::records;
pub use ring::{recovery, recovery_of};

/// A fuzz target: a name, a decoder or several that take the first byte to choose by, and what they may
/// allocate at once.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The decoder.
    pub run: fn(&[u8]),
    /// Bytes of memory that it may hold at most, whatever its input.
    pub memory: usize,
    /// The same for each byte of the input.
    pub memory_per_byte: usize,
}

/// The core's targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "journal",
        run: journal,
        memory: 16 << 10,
        memory_per_byte: 16,
    },
    Target {
        name: "recovery",
        run: recovery,
        memory: 4 << 20,
        memory_per_byte: 512,
    },
    Target {
        name: "manifest",
        run: manifest,
        memory: 16 << 10,
        memory_per_byte: 32,
    },
    Target {
        name: "records",
        run: records,
        memory: 64 << 10,
        memory_per_byte: 64,
    },
    Target {
        name: "metadata",
        run: metadata,
        memory: 64 << 10,
        memory_per_byte: 256,
    },
    #[cfg(feature = "work")]
    Target {
        name: "decompression",
        run: decompression,
        memory: 24 << 20,
        memory_per_byte: 64,
    },
];

/// An input read as a script of numbers; when it has ended, all that follow are 0.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    /// A script.
    pub fn new(input: &'a [u8]) -> Script<'a> {
        Script { rest: input }
    }

    /// Nothing is left.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// A number: a small one takes a byte, any other nine.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=0xf7 => u64::from(small),
            _ => {
                let mut bytes = [0; 8];
                let taken = self.take(8);
                bytes[..taken.len()].copy_from_slice(taken);
                u64::from_be_bytes(bytes)
            }
        }
    }

    /// The same, maybe negative.
    pub fn signed(&mut self) -> i64 {
        self.number() as i64
    }

    /// The next `len` bytes, or what is left.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}
