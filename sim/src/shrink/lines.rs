//! A plan as lines, and what can be made less of them.

use crate::plan::Plan;

/// The lines of a plan's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines(Vec<String>);

/// These say what the text is and where its draws come from: they are left alone.
const FIXED: [&str; 2] = ["sim", SEED];
const SEED: &str = "seed";
/// What is made smaller first.
const FIRST: [&str; 3] = ["clients", "operations", "topic"];
/// A fault's line begins with it; its time is its first number.
const FAULT: &str = "at";

impl Lines {
    /// The lines of a plan, in the one way it is written.
    pub fn of(plan: &Plan) -> Lines {
        Lines(plan.to_text().lines().map(str::to_string).collect())
    }

    /// The same with its faults by time.
    pub fn by_time(&self) -> Lines {
        let faults = self.faults();
        let mut sorted = faults.clone();
        sorted.sort_by_key(|at| self.numbers(*at).first().copied());
        let mut lines = self.clone();
        for (at, from) in faults.into_iter().zip(sorted) {
            lines.0[at].clone_from(&self.0[from]);
        }
        lines
    }

    /// The text a plan is read from.
    pub fn text(&self) -> String {
        self.0.join("\n") + "\n"
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn word(&self, at: usize) -> &str {
        let line = self.0.get(at).map_or("", String::as_str);
        line.split_whitespace().next().unwrap_or("")
    }

    /// This line is left alone.
    pub fn is_fixed(&self, at: usize) -> bool {
        FIXED.contains(&self.word(at))
    }

    /// The line of the seed.
    pub fn seed(&self) -> Option<usize> {
        (0..self.len()).find(|at| self.word(*at) == SEED)
    }

    /// Which lines are faults.
    pub fn faults(&self) -> Vec<usize> {
        let all = 0..self.len();
        all.filter(|at| self.word(*at) == FAULT).collect()
    }

    /// Which lines are neither faults nor fixed, in the order they are made smaller.
    pub fn shape(&self) -> Vec<usize> {
        let rank = |at: &usize| {
            let word = self.word(*at);
            let first = FIRST.iter().position(|first| *first == word);
            (first.unwrap_or(FIRST.len()), *at)
        };
        let mut found: Vec<usize> = (0..self.len())
            .filter(|at| !self.is_fixed(*at) && self.word(*at) != FAULT)
            .collect();
        found.sort_by_key(rank);
        found
    }

    /// All lines but these.
    pub fn without(&self, gone: &[usize]) -> Lines {
        let kept = self.0.iter().enumerate();
        let kept = kept.filter(|(at, _)| !gone.contains(at));
        Lines(kept.map(|(_, line)| line.clone()).collect())
    }

    /// The line's list without this entry; `None` if there is no such entry, or it is the only one.
    pub fn without_entry(&self, at: usize, entry: usize) -> Option<Lines> {
        let line = self.0.get(at)?;
        let list = line.split_whitespace().find(|word| word.contains(','))?;
        let mut entries: Vec<&str> = list.split(',').collect();
        if entry >= entries.len() {
            return None;
        }
        entries.remove(entry);
        let mut lines = self.clone();
        lines.0[at] = line.replacen(list, &entries.join(","), 1);
        Some(lines)
    }

    /// Where the numbers of a line are, after its first word.
    fn spans(&self, at: usize) -> Vec<(usize, usize)> {
        let Some(line) = self.0.get(at) else {
            return Vec::new();
        };
        let bytes = line.as_bytes();
        let mut spans = Vec::new();
        let mut from = self.word(at).len();
        while from < bytes.len() {
            let digits = bytes[from..].iter().take_while(|b| b.is_ascii_digit());
            let digits = digits.count();
            // Digits inside a name are not a number.
            let named =
                from > 0 && (bytes[from - 1].is_ascii_alphabetic() || bytes[from - 1] == b'-');
            if digits > 0 && !named {
                spans.push((from, from + digits));
            }
            from += digits.max(1);
        }
        spans
    }

    /// The numbers of a line, after its first word.
    pub fn numbers(&self, at: usize) -> Vec<u64> {
        let spans = self.spans(at).into_iter();
        spans
            .map(|(from, to)| self.0[at][from..to].parse().unwrap_or(0))
            .collect()
    }

    /// The same with another number there.
    pub fn with_number(&self, at: usize, number: usize, value: u64) -> Lines {
        let mut lines = self.clone();
        if let Some((from, to)) = self.spans(at).get(number).copied() {
            lines.0[at].replace_range(from..to, &value.to_string());
        }
        lines
    }

    /// Fewer faults, or as many and fewer lines, or as many and fewer or smaller or rounder numbers. What
    /// a plan's reader fills in for a line that is missing is no gain.
    pub fn is_smaller_than(&self, other: &Lines) -> bool {
        self.weight() < other.weight()
    }

    fn weight(&self) -> (usize, usize, usize, usize, u128) {
        let numbers = (0..self.len())
            .filter(|at| !self.is_fixed(*at))
            .flat_map(|at| self.numbers(at));
        let numbers: Vec<u64> = numbers.collect();
        let digits = |number: &u64| number.to_string().trim_end_matches('0').len();
        (
            self.faults().len(),
            self.len(),
            numbers.len(),
            numbers.iter().map(digits).sum(),
            numbers.iter().map(|number| u128::from(*number)).sum(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        Lines(text.lines().map(str::to_string).collect())
    }

    #[test]
    fn lines_entries_and_numbers_can_go() {
        let plan = lines("sim 1\nseed 77\ntopic 3,4\nclients 5\nat 250us crash 31\nlink topic-2 9");
        assert_eq!(plan.faults(), [4]);
        assert_eq!(
            plan.shape(),
            [3, 2, 5],
            "clients before topic before others"
        );
        assert_eq!(plan.numbers(4), [250, 31]);
        assert_eq!(plan.numbers(5), [9], "the digit of a name is none");
        assert_eq!(plan.without(&[4]).len(), 5);
        let one = plan.without_entry(2, 0).expect("an entry");
        assert_eq!(one.0[2], "topic 4");
        assert_eq!(one.without_entry(2, 0), None);
        assert_eq!(plan.with_number(4, 0, 7).0[4], "at 7us crash 31");
        let two = lines("at 9us crash 1\nclients 2\nat 7us pause 2");
        assert_eq!(
            two.by_time(),
            lines("at 7us pause 2\nclients 2\nat 9us crash 1")
        );
        for smaller in [
            plan.without(&[4]),
            plan.without(&[3]),
            one,
            plan.with_number(4, 1, 0),
            plan.with_number(4, 0, 200),
            plan.with_number(4, 0, 300),
        ] {
            assert!(smaller.is_smaller_than(&plan), "{smaller:?}");
            assert!(!plan.is_smaller_than(&smaller), "{smaller:?}");
        }
    }
}
