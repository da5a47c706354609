//! Every choice of a run has a stable key: what is drawn (the site), for whom (the actor), and which use of
//! that pair it is: a link's n-th packet, a file's n-th write. So a fault that is taken out of a plan, or a
//! choice that is added to the code, leaves every other draw as it was.

use std::collections::BTreeMap;

use crate::plan::Choices;

/// The draws of one run: how often each pair of site and actor was drawn for.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    used: BTreeMap<(&'static str, u64), u64>,
}

impl Draws {
    /// The draws of a seed.
    pub fn new(seed: u64) -> Draws {
        Draws {
            seed,
            used: BTreeMap::new(),
        }
    }

    /// The next choice at this site for this actor. What is returned may be asked for several values: they
    /// are one use.
    pub fn of(&mut self, site: &'static str, actor: u64) -> Choices {
        let used = self.used.entry((site, actor)).or_default();
        *used += 1;
        keyed(self.seed, site, actor, *used)
    }
}

/// The choices of the n-th use of a site by an actor.
pub fn keyed(seed: u64, site: &str, actor: u64, n: u64) -> Choices {
    let mut key = [0; 32];
    let words = [seed, actor, n, number_of(site)];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Choices::of_key(key)
}

/// A name as an actor: the path of a file, for one. FNV-1a, which stays the same everywhere.
pub fn number_of(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_moved_by_no_other() {
        let values = |others: bool| {
            let mut draws = Draws::new(7);
            let mut found = Vec::new();
            for at in 0..20 {
                if others {
                    draws.of("packet", at % 3).below(10);
                    draws.of("write", 9).seed();
                }
                let mut one = draws.of("write", 5);
                found.push((one.below(1 << 40), one.below(1 << 40)));
            }
            found
        };
        assert_eq!(values(false), values(true));
        let mut sorted = values(false);
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 20, "each use draws anew");
    }

    #[test]
    fn every_part_of_a_key_counts() {
        let base = keyed(1, "write", 2, 3).seed();
        for mut other in [
            keyed(2, "write", 2, 3),
            keyed(1, "writes", 2, 3),
            keyed(1, "write", 3, 3),
            keyed(1, "write", 2, 4),
            keyed(1, "write", 3, 2),
        ] {
            assert_ne!(other.seed(), base);
        }
    }
}
