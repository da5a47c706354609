//! What the plan's faults reach: which stored ranges are damaged, and when the disk refused, read wrongly
//! or stood still. An answer is excused by what overlaps it, and by nothing else.

use std::collections::BTreeMap;

use super::history::Part;

/// After the disk is well again the broker may need so long to notice, microseconds.
const NOTICED_US: u64 = 1_500_000;

/// Troubles so far. Times are simulated microseconds.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// Writes were refused or slow from the first until the second.
    writes: Vec<(u64, u64)>,
    /// A read went wrong then.
    reads: Vec<u64>,
    /// Offsets of which stored bytes were changed: from the first up to the second.
    damaged: BTreeMap<Part, Vec<(i64, i64)>>,
    /// The whole broker stood still, or did not serve yet, for so long in all.
    pub idle_us: u64,
}

impl Troubles {
    /// Writes are refused or slow from now until then.
    pub fn no_writes(&mut self, from_us: u64, until_us: u64) {
        self.writes.push((from_us, until_us + NOTICED_US));
    }

    /// A read went wrong.
    pub fn bad_read(&mut self, at_us: u64) {
        self.reads.push(at_us);
    }

    /// Stored bytes of these offsets were changed.
    pub fn damage(&mut self, part: Part, (from, to): (i64, i64)) {
        self.damaged.entry(part).or_default().push((from, to));
    }

    /// A segment's rows were changed, and it may yet grow: what comes to it is lost with the rest. It ends
    /// where another one begins.
    pub fn damage_rows(&mut self, part: Part, base: i64) {
        self.damage(part, (base, i64::MAX));
    }

    /// Partitions with such a segment.
    pub fn open(&self) -> impl Iterator<Item = Part> + '_ {
        let open = |all: &Vec<(i64, i64)>| all.iter().any(|(_, to)| *to == i64::MAX);
        let parts = self.damaged.iter().filter(move |(_, all)| open(all));
        parts.map(|(part, _)| *part)
    }

    /// These segments are there now, in order.
    pub fn close(&mut self, part: Part, bases: &[i64]) {
        for (from, to) in self.damaged.entry(part).or_default() {
            let next = bases.iter().find(|base| *base > from);
            *to = next.map_or(*to, |next| (*to).min(*next));
        }
    }

    /// The topic is gone, and what was damaged with it.
    pub fn forget(&mut self, topic: usize) {
        self.damaged.retain(|(of, _), _| *of != topic);
    }

    /// Nothing new goes wrong from here on.
    pub fn heal(&mut self, now_us: u64) {
        for (_, until) in &mut self.writes {
            *until = (*until).min(now_us + NOTICED_US);
        }
    }

    /// Writes were refused or slow at some time since then.
    pub fn writes_since(&self, since_us: u64, now_us: u64) -> bool {
        let mut all = self.writes.iter();
        all.any(|(from, until)| *from <= now_us && *until >= since_us)
    }

    /// A read of this offset may fail, or of any with -1: it is damaged, or one went wrong since then.
    pub fn reads_since(&self, part: Part, offset: i64, since_us: u64) -> bool {
        self.reads.iter().any(|at| *at >= since_us) || self.is_damaged(part, offset)
    }

    /// The offset, or any with -1, is damaged for good.
    pub fn is_damaged(&self, part: Part, offset: i64) -> bool {
        let inside = |(from, to): &(i64, i64)| offset == -1 || (*from..*to).contains(&offset);
        self.damaged
            .get(&part)
            .is_some_and(|all| all.iter().any(inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_overlaps_is_excused() {
        let mut troubles = Troubles::default();
        troubles.no_writes(1_000, 2_000);
        troubles.bad_read(5_000);
        troubles.damage((0, 1), (10, 20));
        assert!(troubles.writes_since(0, 1_000) && !troubles.writes_since(0, 999));
        assert!(!troubles.writes_since(2_001 + NOTICED_US, 9_000_000));
        assert!(troubles.reads_since((1, 1), 3, 5_000) && !troubles.reads_since((1, 1), 3, 5_001));
        for (offset, damaged) in [(9, false), (10, true), (19, true), (20, false), (-1, true)] {
            assert_eq!(troubles.is_damaged((0, 1), offset), damaged, "{offset}");
        }
        assert!(!troubles.is_damaged((0, 2), 10) && !troubles.is_damaged((0, 2), -1));
        troubles.damage_rows((0, 1), 30);
        troubles.close((0, 1), &[30]);
        assert_eq!(troubles.open().collect::<Vec<_>>(), [(0, 1)]);
        assert!(troubles.is_damaged((0, 1), 90) && !troubles.is_damaged((0, 1), 29));
        troubles.close((0, 1), &[0, 30, 40, 50]);
        assert_eq!(troubles.open().count(), 0);
        assert!(troubles.is_damaged((0, 1), 39) && !troubles.is_damaged((0, 1), 40));
        assert!(troubles.is_damaged((0, 1), 19) && !troubles.is_damaged((0, 1), 20));
        troubles.forget(0);
        assert!(!troubles.is_damaged((0, 1), 10));
    }
}
