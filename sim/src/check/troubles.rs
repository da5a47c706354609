//! What the plan's faults reach: which stored ranges are damaged, and when the disk refused, read wrongly
//! or stood still. An answer is excused by what overlaps it, and by nothing else.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Segments whose rows were damaged under the process that runs now, by their base. It may have read
    /// them before, and append to them still.
    under_process: BTreeSet<(Part, i64)>,
    /// The whole broker stood still, or did not serve yet, from the first until the second: none of them
    /// overlap for one reason.
    still: Vec<(u64, u64)>,
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

    /// A segment was damaged whose end is not known: nobody serves it now. It ends where another one
    /// begins, and at the next start where that says.
    pub fn damage_open(&mut self, part: Part, base: i64) {
        self.damage(part, (base, i64::MAX));
    }

    /// A segment's rows were damaged under a process that runs: what is still to come to it is lost with
    /// the rest. It ends where another one begins, and at the start of another process where that says.
    pub fn damage_rows(&mut self, part: Part, base: i64) {
        self.damage_open(part, base);
        self.under_process.insert((part, base));
    }

    /// A process starts: what it reads is as damaged as it is now.
    pub fn process_starts(&mut self) {
        self.under_process.clear();
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

    /// A start knows where its segments end, and adds nothing to those that it found damaged: `end` by the
    /// segment's base. One that it does not know is not read.
    pub fn settle(&mut self, part: Part, end: impl Fn(i64) -> Option<i64>) {
        let under_process = &self.under_process;
        let open = self.damaged.entry(part).or_default().iter_mut();
        for (from, to) in open.filter(|(_, to)| *to == i64::MAX) {
            if !under_process.contains(&(part, *from)) {
                *to = end(*from).unwrap_or(*from);
            }
        }
    }

    /// The topic is gone, and what was damaged with it.
    pub fn forget(&mut self, topic: usize) {
        self.damaged.retain(|(of, _), _| *of != topic);
        self.under_process.retain(|((of, _), _)| *of != topic);
    }

    /// The broker stands still from then until then, or did.
    pub fn stands_still(&mut self, from_us: u64, until_us: u64) {
        if until_us > from_us {
            self.still.push((from_us, until_us));
        }
    }

    /// For how long it has stood still by now, in all. What is still to come of it does not count yet: a
    /// call that is sent meanwhile waits for it.
    pub fn idle_us(&self, now_us: u64) -> u64 {
        let past = self.still.iter();
        let past = past.map(|(from, until)| until.min(&now_us).saturating_sub(*from));
        past.sum()
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
        troubles.damage_open((0, 3), 30);
        troubles.damage_open((0, 3), 50);
        troubles.settle((0, 3), |base| (base == 30).then_some(33));
        assert!(troubles.is_damaged((0, 3), 32) && !troubles.is_damaged((0, 3), 33));
        assert!(!troubles.is_damaged((0, 3), 50));
        // Rows damaged after a start had read them: that start goes on with the segment, the next does not.
        troubles.damage_rows((0, 3), 60);
        troubles.settle((0, 3), |_| Some(63));
        assert!(troubles.is_damaged((0, 3), 65));
        troubles.process_starts();
        troubles.settle((0, 3), |_| Some(66));
        assert!(troubles.is_damaged((0, 3), 65) && !troubles.is_damaged((0, 3), 66));
        troubles.damage_open((0, 1), 30);
        troubles.close((0, 1), &[30]);
        assert_eq!(troubles.open().collect::<Vec<_>>(), [(0, 1)]);
        assert!(troubles.is_damaged((0, 1), 90) && !troubles.is_damaged((0, 1), 29));
        troubles.close((0, 1), &[0, 30, 40, 50]);
        assert_eq!(troubles.open().count(), 0);
        assert!(troubles.is_damaged((0, 1), 39) && !troubles.is_damaged((0, 1), 40));
        assert!(troubles.is_damaged((0, 1), 19) && !troubles.is_damaged((0, 1), 20));
        troubles.stands_still(100, 300);
        troubles.stands_still(1_000, 1_010);
        for (now, idle) in [
            (100, 0),
            (150, 50),
            (300, 200),
            (999, 200),
            (1_005, 205),
            (2_000, 210),
        ] {
            assert_eq!(troubles.idle_us(now), idle, "{now}");
        }
        troubles.forget(0);
        assert!(!troubles.is_damaged((0, 1), 10));
    }
}
