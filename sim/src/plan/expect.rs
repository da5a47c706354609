//! What a run must come to: a scenario says so in its last lines, so that one that has gone stale fails.

use super::Plan;
use crate::report::Report;

/// One expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The run ends so.
    Verdict(Verdict),
    /// This happened at least so often.
    Mark {
        /// A mark's name, as reports print it.
        name: String,
        /// How often at least.
        at_least: u64,
    },
}

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No rule is broken, and it is over within its bound.
    Holds,
    /// It is not over within its bound, and no rule is broken.
    Undecided,
    /// The first broken rule is this one.
    Fails(String),
}

impl Verdict {
    /// The verdict on a run.
    pub fn of(report: &Report) -> Verdict {
        match report.violations.first() {
            Some((rule, _)) => Verdict::Fails(rule.to_string()),
            None if report.undecided => Verdict::Undecided,
            None => Verdict::Holds,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Holds => out.write_str("holds"),
            Verdict::Undecided => out.write_str("undecided"),
            Verdict::Fails(rule) => write!(out, "fails {rule}"),
        }
    }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expectation::Verdict(verdict) => write!(out, "expect verdict {verdict}"),
            Expectation::Mark { name, at_least } => write!(out, "expect mark {name} >= {at_least}"),
        }
    }
}

impl Plan {
    /// What this run should have come to and did not, a line each.
    pub fn unmet(&self, report: &Report) -> Vec<String> {
        let mut unmet = Vec::new();
        for expected in &self.expect {
            let found = match expected {
                Expectation::Verdict(wanted) => {
                    let found = Verdict::of(report);
                    (found != *wanted).then(|| format!("it {found}"))
                }
                Expectation::Mark { name, at_least } => {
                    let marks = report.marks.iter();
                    let found = marks.filter(|(mark, _)| **mark == name.as_str());
                    let found: u64 = found.map(|(_, count)| *count).sum();
                    (found < *at_least).then(|| format!("{found} were seen"))
                }
            };
            unmet.extend(found.map(|found| format!("{expected}: {found}")));
        }
        unmet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_met_is_said() {
        let mut plan = Plan::of(1);
        plan.expect = vec![
            Expectation::Verdict(Verdict::Holds),
            Expectation::Mark {
                name: "crash".into(),
                at_least: 2,
            },
        ];
        let mut report = Report::default();
        report.marks.insert("crash", 2);
        assert_eq!(plan.unmet(&report), Vec::<String>::new());
        report.marks.insert("crash", 1);
        report.undecided = true;
        let unmet = plan.unmet(&report);
        assert_eq!(unmet[0], "expect verdict holds: it undecided");
        assert_eq!(unmet[1], "expect mark crash >= 2: 1 were seen");
        report.violations = vec![("H1", String::new())];
        assert_eq!(plan.unmet(&report)[0], "expect verdict holds: it fails H1");
        plan.expect = vec![Expectation::Verdict(Verdict::Fails("H1".into()))];
        assert!(plan.unmet(&report).is_empty());
    }
}
