//! What a run comes to.

use std::collections::BTreeMap;

/// Where the hash stood after so many events.
pub type Checkpoint = (u64, u64);

/// The outcome of one seed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seed.
    pub seed: u64,
    /// Rolling hash over time, shard, input and effects of every event.
    pub hash: u64,
    /// The hash every 1,024 events.
    pub checkpoints: Vec<Checkpoint>,
    /// Inputs handled by shards.
    pub events: u64,
    /// Simulated time, microseconds.
    pub simulated_us: u64,
    /// Rules broken.
    pub violations: Vec<(&'static str, String)>,
    /// True if the run did not end within its bound.
    pub undecided: bool,
    /// What happened, by name: faults fired, notes of the core.
    pub marks: BTreeMap<&'static str, u64>,
    /// Records acknowledged.
    pub acks: u64,
    /// Records read.
    pub reads: u64,
    /// Operations whose outcome the client knows.
    pub definite: u64,
    /// Operations whose outcome it never learned.
    pub unknown: u64,
    /// Shards, partitions, clients, operations: the world's size.
    pub size: [u64; 4],
}

/// A rolling 64-bit hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Hash {
    /// Take in bytes, in order.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        let mut word = [0; 8];
        word[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
        self.word(u64::from_le_bytes(word) ^ (bytes.len() as u64) << 56);
    }

    /// Take in a number.
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
}

impl std::fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_or_a_swap_changes_the_hash() {
        let of = |parts: &[&[u8]]| {
            let mut hash = Hash(1);
            parts.iter().for_each(|part| hash.bytes(part));
            hash
        };
        assert_ne!(of(&[b"payload one"]), of(&[b"payload onf"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a\0"]), of(&[b"a"]));
    }
}
