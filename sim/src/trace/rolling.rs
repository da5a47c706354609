//! The rolling hash of a run.

use std::hash::Hasher;

/// A rolling 64-bit hash: the same for the same values in the same order, on every machine with
/// 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolling(pub u64);

impl Rolling {
    /// Take in a number.
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
}

impl Hasher for Rolling {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<32>();
        if !blocks.is_empty() {
            // Four at a time: each waits for none of the others.
            let mut lanes = [0, 1, 2, 3].map(|lane| Rolling(self.0 ^ lane));
            for block in blocks {
                let (words, _) = block.as_chunks::<8>();
                for (lane, word) in lanes.iter_mut().zip(words) {
                    lane.word(u64::from_le_bytes(*word));
                }
            }
            lanes.iter().for_each(|lane| self.word(lane.0));
        }
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(word) ^ (bytes.len() as u64) << 56);
    }

    fn write_u8(&mut self, value: u8) {
        self.word(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_or_a_swap_changes_the_hash() {
        let of = |parts: &[&[u8]]| {
            let mut hash = Rolling(1);
            parts.iter().for_each(|part| hash.write(part));
            hash
        };
        assert_ne!(of(&[b"payload one"]), of(&[b"payload onf"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"a\0"]), of(&[b"a"]));
        let long: Vec<u8> = (0..200).collect();
        for at in 0..long.len() {
            let mut other = long.clone();
            other[at] ^= 1;
            assert_ne!(of(&[&other]), of(&[&long]), "{at}");
            other[at] ^= 1;
            other.swap(at, (at + 8) % 200);
            assert_ne!(of(&[&other]), of(&[&long]), "{at}");
        }
    }
}
