//! A trace as a file: a magic, a version, a checksum, and the rest as bincode writes it.
//!
//! bincode is not maintained any more: nothing outside this file knows that it is there.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Checkpoint, Event};

const MAGIC: &[u8; 8] = b"SLTRACE\n";
const VERSION: u32 = 1;
const HEAD: usize = 16;
/// No trace that is read takes more.
const LIMIT: usize = 1 << 30;

/// A run, as far as its file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The build: its package version.
    pub build: String,
    /// The plan, as lines.
    pub plan: String,
    /// The planted bug, if there was one.
    pub bug: Option<String>,
    /// `holds`, or the rules that broke.
    pub verdict: String,
    /// What each broken rule said: (rule, text).
    pub violations: Vec<(String, String)>,
    /// The final hash.
    pub hash: u64,
    /// The hash every so many events.
    pub checkpoints: Vec<Checkpoint>,
    /// Every event.
    pub events: Vec<Event>,
}

/// The bytes of a trace file.
pub fn encode(recorded: &Recorded) -> Result<Vec<u8>, String> {
    let config = bincode::config::standard();
    let body = bincode::serde::encode_to_vec(recorded, config).map_err(|e| e.to_string())?;
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The bytes begin as a trace file does.
pub fn is_trace(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Read the bytes of a trace file. Whatever they are, it takes at most a bounded amount of memory.
pub fn decode(bytes: &[u8]) -> Result<Recorded, String> {
    let (head, body) = bytes.split_at_checked(HEAD).ok_or("cut short")?;
    if !is_trace(head) {
        return Err("not a trace".into());
    }
    let word = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&head[at..at + 4]);
        u32::from_le_bytes(word)
    };
    if word(8) != VERSION {
        return Err(format!(
            "a trace of version {}, and this build knows {VERSION}",
            word(8)
        ));
    }
    if word(12) != crc32c::crc32c(body) {
        return Err("damaged: its checksum does not match".into());
    }
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (recorded, used) =
        bincode::serde::decode_from_slice(body, config).map_err(|error| error.to_string())?;
    if used != body.len() {
        return Err("bytes follow its end".into());
    }
    Ok(recorded)
}

/// Write a trace file.
pub fn write(recorded: &Recorded, file: &Path) -> Result<(), String> {
    let bytes = encode(recorded)?;
    std::fs::write(file, bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::{Actor, Kind};
    use super::*;

    fn sample() -> Recorded {
        let event = |n: u64| Event {
            at_us: n * 1000,
            actor: Actor::Shard(n as u16),
            kind: Kind::Input,
            what: format!("event {n}"),
            hash: n << 50,
        };
        Recorded {
            plan: "sim 1\n".into(),
            bug: Some("M1".into()),
            events: (0..50).map(event).collect(),
            checkpoints: vec![(1, 2)],
            ..Recorded::default()
        }
    }

    #[test]
    fn a_trace_comes_back() {
        let bytes = encode(&sample()).expect("encoded");
        assert_eq!(decode(&bytes), Ok(sample()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = encode(&sample()).expect("encoded");
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(decode(&other).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_takes_no_memory() {
        // A body that claims a text of 2^62 bytes, with a right checksum.
        let mut body = vec![0xfd];
        body.extend_from_slice(&(1u64 << 62).to_le_bytes());
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        assert!(decode(&bytes).is_err());
    }
}
