//! Planted bugs (`failures.md` section 4), and the search for a seed that shows each.

mod list;

use std::time::{Duration, Instant};

use seedlog_core::contract::Knobs;

use crate::campaign::cpu_seconds;
use crate::plan::Plan;
use crate::report::Report;
use crate::run::{on_a_thread, Mode, Watch};

/// A planted bug.
#[derive(Clone, Debug)]
pub struct Planted {
    /// Its number.
    pub name: String,
    /// The client histories alone must show it too.
    pub dotted: bool,
    /// What it does.
    pub what: &'static str,
    /// Its knob.
    pub knobs: Knobs,
}

macro_rules! planted {
    ($($name:literal $dotted:literal $knob:ident $what:literal;)*) => {
        fn named() -> Vec<Planted> {
            vec![$(Planted {
                name: $name.into(),
                dotted: $dotted,
                what: $what,
                knobs: Knobs { $knob: true, ..Knobs::default() },
            }),*]
        }
    };
}

planted! {
    "M1" true ack_before_sync "acknowledge once appended, before the sync";
    "M10" false durable_mark_goes_back "completions out of order: the durable mark goes back";
    "M39" true trust_retried_sync "a failed sync is believed the second time";
    "M40" true ignore_write_errors "go on after a write error or a short write of a journal's block";
    "M40b" true ignore_file_errors "go on after a write error or a short write of a partition's files";
    "M41" true manifest_before_sync "checkpoint before the segment files are synced";
    "M42" true no_folder_sync "a new segment's folder is not synced";
    "M43" true stale_closing_block "a stale clean-shutdown mark is honoured";
    "M44" true bad_block_is_torn_tail "damage below the durable point is cut as a torn tail";
    "M46" false unreadable_is_absent "a journal that cannot be read is taken for a new one";
    "M46b" true lost_is_new "the ledger takes a lost journal for a new one";
    "M47" false ignore_seal "no seal over topic, partition, offset and epoch";
    "M48" true next_offset_from_segments "next offset from the emptied segment list";
    "M61" true forget_producers "the producer table comes up empty";
    "M63" true producers_before_append "the producer table changes before the append";
    "M78" false trust_producer_timestamps "retention trusts producers' timestamps";
    "M79" false ignore_format_version "an unknown format version is read as this one";
}

/// Every planted bug that this build carries.
pub fn all() -> Vec<Planted> {
    let numbered = list::NUMBERED.iter().map(|(number, what)| Planted {
        name: format!("M{number}"),
        dotted: false,
        what,
        knobs: Knobs {
            number: *number,
            ..Knobs::default()
        },
    });
    named().into_iter().chain(numbered).collect()
}

/// The planted bug of this name.
pub fn by_name(name: &str) -> Option<Planted> {
    all().into_iter().find(|bug| bug.name == name)
}

/// What showed a bug.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// The rule that broke, if one did.
    pub rule: Option<String>,
    /// Seeds run.
    pub seeds: u64,
    /// CPU time of this process, where the system tells it; else time.
    pub time: Duration,
    /// The seed that showed it.
    pub shown_by: Option<u64>,
    /// That seed holds with the bug off.
    pub clean: bool,
}

impl Finding {
    /// The bug was found, and it is the bug that was found.
    pub fn counts(&self) -> bool {
        self.rule.is_some() && self.clean
    }
}

/// Run the seeds from `first` on with the bug in, until a rule breaks or the time is over.
pub fn search(bug: &Planted, watch: Watch, first: u64, budget: Duration) -> Finding {
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let used = || {
        let used = cpu.and_then(|before| Some(cpu_seconds()? - before));
        used.map_or_else(|| started.elapsed(), Duration::from_secs_f64)
    };
    let mut finding = Finding::default();
    while finding.rule.is_none() && used() < budget {
        let seed = first + finding.seeds;
        let plan = Plan::of(seed);
        let report = on_a_thread(plan.clone(), bug.knobs, Mode::Madsim, watch);
        finding.seeds += 1;
        finding.rule = broken(&report, watch);
        if finding.rule.is_some() {
            finding.shown_by = Some(seed);
            let off = on_a_thread(plan, Knobs::default(), Mode::Madsim, watch);
            finding.clean = off.violations.is_empty() && !off.undecided;
        }
    }
    finding.time = used();
    finding
}

/// Rules over what clients sent, were told and read: what they could have noticed without a look into
/// the broker or its disk.
const OF_CLIENTS: [&str; 31] = [
    "acks-0",
    "answer-shape",
    "api-versions",
    "epoch-end",
    "hung-call",
    "leader-epoch",
    "low-watermark",
    "metadata",
    "producer-id",
    "topic-id",
    "unexpected-answer",
    "H1",
    "H2",
    "H4",
    "H5",
    "H6",
    "closed",
    "duplicate",
    "inconsistent-offsets",
    "keeper",
    "lost-write",
    "nonmonotonic-poll",
    "nonmonotonic-send",
    "poll-skip",
    "retained-too-short",
    "storage-error",
    "unexpected-error",
    "unknown-without-fault",
    "unseen",
    "wire",
    "wrong-time",
];

/// The first broken rule; for client histories alone, the first of theirs. A rule that is on no list is
/// not one of theirs. That a run is not over within its bound, clients see: they are not served any more.
fn broken(report: &Report, watch: Watch) -> Option<String> {
    let mut rules = report.violations.iter().map(|(rule, _)| *rule);
    let found = match watch {
        Watch::All => rules.next(),
        Watch::ClientsOnly => rules.find(|rule| OF_CLIENTS.contains(rule)),
    };
    let over = || report.undecided.then_some("undecided");
    found.or_else(over).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_believed_only_what_they_could_see() {
        let report = |rules: &[&'static str]| Report {
            violations: rules.iter().map(|rule| (*rule, String::new())).collect(),
            ..Report::default()
        };
        let inside = report(&["halt", "P2", "P7", "power-cut", "invariant", "a new rule"]);
        assert_eq!(broken(&inside, Watch::ClientsOnly), None);
        assert_eq!(broken(&inside, Watch::All).as_deref(), Some("halt"));
        let both = report(&["halt", "H1"]);
        assert_eq!(broken(&both, Watch::ClientsOnly).as_deref(), Some("H1"));
        let mut never = inside;
        never.undecided = true;
        let found = broken(&never, Watch::ClientsOnly);
        assert_eq!(found.as_deref(), Some("undecided"));
    }
}
