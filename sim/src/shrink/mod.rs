//! A failing plan made small while it fails in the same way.
//!
//! It knows plans only as lines of words and numbers that a plan can be read from: lines are left out,
//! numbers made smaller, and what no plan can be read from, or what does not come out smaller, is
//! passed over. So a plan may gain fields without a word here.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::report::Report;
use crate::run::Run;

mod lines;

use lines::Lines;

/// A small plan has no more faults than this.
pub const FAULTS_MAX: usize = 10;
/// Seeds that are tried where more stay.
const OTHER_SEEDS: u64 = 200;

/// How a run failed: what a smaller run must fail with as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The first rule that broke, or `undecided`.
    pub rule: String,
    /// The words of what it said, without what is of that run alone: numbers and names that hold some.
    pub kind: String,
}

impl Signature {
    /// How this run failed, if it did.
    pub fn of(report: &Report) -> Option<Signature> {
        if let Some((rule, text)) = report.violations.first() {
            return Some(Signature {
                rule: rule.to_string(),
                kind: words_of(text),
            });
        }
        report.undecided.then(|| Signature {
            rule: "undecided".into(),
            kind: String::new(),
        })
    }
}

impl std::fmt::Display for Signature {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {}", self.rule, self.kind)
    }
}

/// The first words of a text that are only letters.
fn words_of(text: &str) -> String {
    const WORDS: usize = 5;
    let plain = |word: &&str| word.len() > 2 && word.chars().all(|c| c.is_ascii_alphabetic());
    let words = text.split_whitespace();
    let words = words.map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation()));
    let words: Vec<&str> = words.filter(plain).take(WORDS).collect();
    words.join(" ")
}

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The small plan.
    pub plan: Plan,
    /// How it fails.
    pub signature: Signature,
    /// Runs made.
    pub runs: u64,
    /// Time taken.
    pub time: Duration,
    /// The time was over before nothing could be left out any more.
    pub cut_short: bool,
}

impl Shrunk {
    /// Lines of the small plan that are faults.
    pub fn faults(&self) -> usize {
        Lines::of(&self.plan).faults().len()
    }

    /// It holds without the planted bug.
    pub fn holds_without(&self, mode: crate::run::Mode) -> bool {
        let report = Run {
            mode,
            ..Run::of(self.plan.clone())
        }
        .report();
        Signature::of(&report).is_none()
    }
}

/// Make the plan of a run small. `None` if the run holds.
pub fn shrink(run: &Run, budget: Duration) -> Option<Shrunk> {
    let asked = run.clone();
    let fails = move |plan: &Plan| {
        let run = Run {
            plan: plan.clone(),
            first_only: true,
            keep: false,
            ..asked.clone()
        };
        Signature::of(&run.report())
    };
    shrink_by(&run.plan, Box::new(fails), budget)
}

/// Tells how a plan fails, if it does.
type Fails = Box<dyn FnMut(&Plan) -> Option<Signature>>;

struct Shrinker {
    fails: Fails,
    wanted: Signature,
    best: Lines,
    plan: Plan,
    tried: BTreeSet<String>,
    runs: u64,
    until: Instant,
}

fn shrink_by(plan: &Plan, mut fails: Fails, budget: Duration) -> Option<Shrunk> {
    let started = Instant::now();
    let wanted = fails(plan)?;
    let mut shrinker = Shrinker {
        fails,
        wanted,
        best: Lines::of(plan),
        plan: plan.clone(),
        tried: BTreeSet::new(),
        runs: 1,
        until: started + budget,
    };
    // Fewer operations let more faults go, and the other way round: until no line goes any more.
    let mut rounds = 0;
    loop {
        rounds += 1;
        let before = shrinker.best.len();
        shrinker.fewer_faults();
        shrinker.fewer_lines();
        shrinker.smaller_shape();
        shrinker.other_seeds();
        shrinker.rounder_faults();
        if (shrinker.best.len() == before && rounds > 1) || shrinker.is_late() {
            break;
        }
    }
    Some(Shrunk {
        cut_short: shrinker.is_late(),
        plan: shrinker.plan,
        signature: shrinker.wanted,
        runs: shrinker.runs,
        time: started.elapsed(),
    })
}

impl Shrinker {
    fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Take these lines if a smaller plan can be read from them that fails in the same way.
    fn accept(&mut self, lines: &Lines) -> bool {
        let Ok(plan) = Plan::from_text(&lines.by_time().text()) else {
            return false;
        };
        let lines = Lines::of(&plan);
        if !lines.is_smaller_than(&self.best) || self.is_late() {
            return false;
        }
        if !self.tried.insert(lines.text()) {
            return false;
        }
        self.runs += 1;
        let same = (self.fails)(&plan).as_ref() == Some(&self.wanted);
        if same {
            (self.best, self.plan) = (lines, plan);
        }
        same
    }

    /// Delta debugging over the fault lines: leave out ever smaller parts of them.
    fn fewer_faults(&mut self) {
        let mut parts = 1;
        loop {
            let faults = self.best.faults();
            if faults.is_empty() || parts > faults.len() || self.is_late() {
                return;
            }
            let size = faults.len().div_ceil(parts);
            // From the last on: what comes after the failure goes at once.
            let mut chunks = faults.chunks(size).rev();
            if chunks.any(|chunk| {
                let lines = self.best.without(chunk);
                self.accept(&lines)
            }) {
                parts = (parts - 1).max(1);
            } else if size == 1 {
                return;
            } else {
                parts = (parts * 2).min(faults.len());
            }
        }
    }

    /// Still too many faults: under another seed, fewer of them may do.
    fn other_seeds(&mut self) {
        let Some(line) = self.best.seed() else {
            return;
        };
        let seed = self.best.numbers(line).first().copied().unwrap_or(0);
        let mut others = 1..=OTHER_SEEDS;
        while self.best.faults().len() > FAULTS_MAX && !self.is_late() {
            let Some(other) = others.next() else {
                return;
            };
            let other = self.best.with_number(line, 0, seed.wrapping_add(other));
            let faults = self.best.faults();
            let sizes = [faults.len() / 2, faults.len() / 4, 1];
            let mut parts = sizes
                .iter()
                .flat_map(|size| faults.chunks((*size).max(1)).rev());
            if parts.any(|part| self.accept(&other.without(part))) {
                self.fewer_faults();
            }
        }
    }

    /// Lines that are no faults and may be missing.
    fn fewer_lines(&mut self) {
        let mut at = 0;
        while at < self.best.len() && !self.is_late() {
            let fixed = self.best.is_fixed(at) || self.best.faults().contains(&at);
            let lines = self.best.without(&[at]);
            if fixed || !self.accept(&lines) {
                at += 1;
            }
        }
    }

    /// Clients, operations, topics, then whatever else has a number.
    fn smaller_shape(&mut self) {
        for at in self.best.shape() {
            let mut entry = 0;
            while let Some(lines) = self.best.without_entry(at, entry) {
                if !self.accept(&lines) {
                    entry += 1;
                }
            }
            for number in 0..self.best.numbers(at).len() {
                self.smaller_number(at, number);
            }
        }
    }

    /// Times to round numbers, values to small ones.
    fn rounder_faults(&mut self) {
        for at in self.best.faults() {
            for number in 0..self.best.numbers(at).len() {
                if number == 0 {
                    self.rounder_number(at);
                } else {
                    self.smaller_number(at, number);
                }
            }
        }
    }

    /// 0 or 1 at once; else closer and closer from below.
    fn smaller_number(&mut self, at: usize, number: usize) {
        let mut low = 0;
        loop {
            let Some(value) = self.best.numbers(at).get(number).copied() else {
                return;
            };
            let middle = low + value.saturating_sub(low) / 2;
            let small = [0, 1, 2].into_iter().filter(|n| low == 0 && *n < value);
            let candidates = small.chain([middle]).filter(|n| *n < value);
            let taken = { candidates }.any(|candidate| {
                let lines = self.best.with_number(at, number, candidate);
                self.accept(&lines)
            });
            if !taken {
                low = middle + 1;
            }
            if low >= value || self.is_late() {
                return;
            }
        }
    }

    fn rounder_number(&mut self, at: usize) {
        for unit in [1_000_000, 100_000, 10_000, 1_000] {
            let Some(value) = self.best.numbers(at).first().copied() else {
                return;
            };
            let down = value / unit * unit;
            for candidate in [down, down + unit] {
                if value % unit != 0 && self.accept(&self.best.with_number(at, 0, candidate)) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::FaultKind;

    fn signature() -> Signature {
        Signature {
            rule: "H1".into(),
            kind: String::new(),
        }
    }

    fn by(test: impl Fn(&Plan) -> bool + 'static) -> Fails {
        Box::new(move |plan| test(plan).then(signature))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn only_what_is_needed_stays() {
        let plan = Plan::of(4);
        let count = |plan: &Plan, kind| plan.faults.iter().filter(|f| f.kind == kind).count();
        let needs = move |plan: &Plan| {
            count(plan, FaultKind::PowerLoss) > 0
                && count(plan, FaultKind::Disconnect) > 2
                && plan.clients > 2
                && plan.operations > 17
                && plan.topics.iter().all(|topic| topic.partitions > 0)
        };
        assert!(needs(&plan));
        let small = shrink_by(&plan, by(needs), LONG).expect("it fails");
        assert_eq!(small.faults(), 4);
        assert_eq!(small.plan.clients, 3);
        // 18 is the least, and 20 is rounder: which of them is met first depends on where it began.
        assert!([18, 20].contains(&small.plan.operations));
        let partitions = small.plan.topics.iter().map(|topic| topic.partitions);
        let partitions: Vec<u32> = partitions.collect();
        assert_eq!(partitions, [1], "one topic of one partition");
        assert!(small.plan.faults.iter().all(|f| f.at_us % 1_000_000 == 0));
        assert!(small.plan.faults.iter().all(|f| f.value == 0));
        assert!(small.plan.ending.is_none() && small.runs > 10 && !small.cut_short);
    }

    #[test]
    fn another_failure_is_not_taken_for_this_one() {
        let fails: Fails = Box::new(|plan| {
            let crashes = |f: &&crate::plan::Fault| f.kind == FaultKind::Crash;
            Some(match plan.faults.iter().filter(crashes).count() {
                0 => Signature {
                    rule: "H5".into(),
                    ..signature()
                },
                _ => signature(),
            })
        });
        let small = shrink_by(&Plan::of(4), fails, LONG).expect("it fails");
        assert_eq!(small.faults(), 1);
        assert_eq!(small.plan.faults[0].kind, FaultKind::Crash);
    }

    #[test]
    fn a_run_that_holds_is_not_shrunk_and_time_ends_it() {
        assert!(shrink_by(&Plan::of(4), by(|_| false), LONG).is_none());
        let late = shrink_by(&Plan::of(4), by(|_| true), Duration::ZERO).expect("it fails");
        assert!(late.cut_short && late.plan == Plan::of(4));
    }

    #[test]
    fn another_seed_is_tried_where_too_many_faults_stay() {
        let needs =
            |plan: &Plan| plan.faults.len() > 12 || (plan.seed > 9 && plan.faults.len() > 3);
        let small = shrink_by(&Plan::of(4), by(needs), LONG).expect("it fails");
        assert_eq!((small.faults(), small.plan.seed), (4, 10));
        let enough = |plan: &Plan| plan.faults.len() > 8 || plan.seed > 9;
        let small = shrink_by(&Plan::of(4), by(enough), LONG).expect("it fails");
        assert_eq!(
            (small.faults(), small.plan.seed),
            (9, 4),
            "else the seed stays"
        );
    }

    #[test]
    fn a_signature_forgets_what_is_of_one_run() {
        let words = words_of("(1, 2): end 5 after 7, in topics/topic-1-2/00.log");
        assert_eq!(words, "end after");
        assert_eq!(
            words,
            words_of("(0, 0): end 50 after 71, in topics/topic-0-0/01.log")
        );
    }
}
