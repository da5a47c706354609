//! Many seeds: run, sum up, judge.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use seedlog_core::contract::Knobs;

use crate::plan::{Ending, FaultKind, Plan};
use crate::report::Report;
use crate::run::{on_a_thread, Mode, Watch};

/// Campaigns below this size are not judged by the floors.
pub const JUDGED_FROM: u64 = 200;

/// What clients and links must have done, as [`Summary::judge`] has it: about a third of what 100 seeds
/// showed on 2026-11-29.
const LOAD: [(&str, u64); 25] = [
    ("acks-0", 50_000),
    ("acks-1", 50_000),
    ("bad-batch", 20_000),
    ("batch-of-limit", 17_000),
    ("by-id", 380_000),
    ("closed-slow-reader", 100),
    ("closed-unanswered", 6_500),
    ("cold-read", 750_000),
    ("described", 17_000),
    ("epoch-bumped", 4_400),
    ("epoch-end", 18_000),
    ("fetch-woken", 23_000),
    ("half-open", 1_600),
    ("hello", 40_000),
    ("multi-partition", 300_000),
    ("parked-duplicate", 60),
    ("paused-by-appetite", 120_000),
    ("pipelined", 190_000),
    ("refused-and-sent-again", 80_000),
    ("reset", 750),
    ("shared-refused", 19_000),
    ("shared-used", 20_000),
    ("slow-reader", 7_000),
    ("split", 750_000),
    ("trimmed", 17_000),
];

/// The same for what the disk does and what comes of it: a third of what 200 seeds have shown.
const DISK_FLOORS: [(&str, u64); 18] = [
    ("in-flight-nothing", 900),
    ("in-flight-torn", 480),
    ("in-flight-block-torn", 370),
    ("in-flight-unsynced", 860),
    ("in-flight-done", 1700),
    ("list-error", 320),
    ("rename-error", 50),
    ("sync-dir-error", 270),
    ("unlink-error", 1290),
    ("remove-dir-error", 1000),
    ("growth-error", 60),
    ("slow-disk", 1300),
    ("seal-rot", 220),
    ("seal-lost", 250),
    ("halt", 1000),
    ("cannot-write", 2300),
    ("cannot-remove", 1600),
    ("late-fault", 5_700),
];

/// Run seeds on `jobs` threads; `done` is told of each. Reports come back by seed.
pub fn run_all(
    seeds: &[u64],
    jobs: u64,
    mode: Mode,
    done: &(dyn Fn(&Report) + Sync),
) -> Vec<Report> {
    let next = AtomicU64::new(0);
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(seed) = seeds.get(at as usize) else {
                    return;
                };
                let report = on_a_thread(Plan::of(*seed), Knobs::default(), mode, Watch::All);
                done(&report);
                if let Ok(mut reports) = reports.lock() {
                    reports.push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_default();
    reports.sort_by_key(|report| report.seed);
    reports
}

/// CPU seconds this process has used, where the system says so.
pub fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after = text.rsplit(')').next()?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

/// The middle value.
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// What a campaign came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds with a broken rule.
    pub failed: Vec<u64>,
    /// Seeds that did not end within their bound.
    pub undecided: Vec<u64>,
    /// What happened, by name.
    pub marks: BTreeMap<&'static str, u64>,
    /// What happened less often than it must: (name, count, floor).
    pub short: Vec<(String, u64, u64)>,
    text: String,
}

impl Summary {
    /// Sum up; `started` and `cpu` are when the campaign began.
    pub fn of(reports: &[Report], started: Instant, cpu: Option<f64>) -> Summary {
        let mut marks: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (name, count) in reports.iter().flat_map(|report| &report.marks) {
            *marks.entry(name).or_default() += count;
        }
        let seeds_of = |test: fn(&Report) -> bool| {
            let some = reports.iter().filter(|report| test(report));
            some.map(|report| report.seed).collect::<Vec<_>>()
        };
        let mut summary = Summary {
            seeds: reports.len() as u64,
            failed: seeds_of(|report| !report.violations.is_empty()),
            undecided: seeds_of(|report| report.undecided),
            marks,
            short: Vec::new(),
            text: String::new(),
        };
        summary.describe(reports, started, cpu);
        if summary.seeds >= JUDGED_FROM {
            summary.judge(reports);
        }
        summary
    }

    fn describe(&mut self, reports: &[Report], started: Instant, cpu: Option<f64>) {
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        let (definite, unknown) = (sum(|r| r.definite), sum(|r| r.unknown));
        let percent = definite as f64 * 100.0 / (definite + unknown).max(1) as f64;
        let [shards, parts, clients, operations] = sizes(reports);
        let events = sum(|r| r.events);
        let wall = started.elapsed().as_secs_f64();
        let used = cpu.and_then(|before| Some(cpu_seconds()? - before));
        let used = used.map_or("-".to_string(), |used| format!("{used:.1}"));
        self.text = format!(
            "seeds      {} ({} as madsim tasks), failed {:?}, undecided {:?}\n\
             records    {} acked, {} read\n\
             outcomes   {definite} definite, {unknown} unknown ({percent:.1} % definite)\n\
             median     {shards} shards, {parts} partitions, {clients} clients, {operations} operations, {} crashes, {} faults\n\
             events     {events}, {wall:.1} s, {used} CPU s\n",
            self.seeds,
            reports.iter().filter(|report| report.tasks).count(),
            self.failed,
            self.undecided,
            sum(|r| r.acks),
            sum(|r| r.reads),
            median(reports.iter().map(Report::crashes).collect()),
            median(reports.iter().map(Report::faults).collect()),
        );
        for (name, count) in &self.marks {
            self.text.push_str(&format!("  {name:<22} {count}\n"));
        }
    }

    /// Below these counts a campaign has not met what it is for. They are set for 2,000 seeds and
    /// scaled to the campaign.
    fn judge(&mut self, reports: &[Report]) {
        let states = [
            ("duplicate-sequence", 20),
            ("torn-tail", 20),
            ("segment-rolled", 20),
            ("retained", 20),
            ("faulty-range", 20),
            ("disk-full-over", 20),
            ("unsynced-lost", 50),
            ("torn-prefix", 50),
            ("torn-sectors", 50),
            ("torn-garbage", 50),
            ("writes-reordered", 50),
            ("entry-lost", 50),
            ("entry-back", 50),
            ("refused", 50),
            ("reshard-cut", 50),
            ("resharded", 50),
            ("work", 50),
            ("carried", 50),
            ("power-cut-oracle", 2000),
            ("replayed", 1000),
            ("stopped-cleanly", 50),
            ("loose-at-stake", 100),
            ("loose-lost", 50),
            ("lossy-restart", 100),
            ("topic-made-again", 2000),
            ("keeper-read", 2000),
            ("at-rest", 1_900),
        ];
        let kinds = FaultKind::ALL.iter().map(|kind| kind.name());
        let kinds = kinds.chain(Ending::ALL.iter().map(|kind| kind.name()));
        let floors = kinds.map(|name| (name, 50)).chain(states);
        let floors = floors.chain(DISK_FLOORS).chain(LOAD);
        let mut wanted: Vec<(String, u64, u64)> = floors
            .map(|(name, floor)| {
                let met = self.marks.get(name).copied().unwrap_or(0);
                (name.to_string(), met, (floor * self.seeds / 2000).max(1))
            })
            .collect();
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        let (definite, unknown) = (sum(|r| r.definite), sum(|r| r.unknown));
        let percent = definite * 100 / (definite + unknown).max(1);
        wanted.push(("percent definite".into(), percent, 60));
        let tasks = reports.iter().filter(|report| report.tasks).count() as u64;
        wanted.push((
            "seeds as tasks, per mille".into(),
            tasks * 1000 / self.seeds,
            30,
        ));
        let [shards, parts, clients, operations] = sizes(reports);
        wanted.push(("median shards".into(), shards, 2));
        wanted.push(("median partitions".into(), parts, 6));
        wanted.push(("median clients".into(), clients, 4));
        wanted.push(("median operations".into(), operations, 2000));
        let crashes = median(reports.iter().map(Report::crashes).collect());
        wanted.push(("median crashes".into(), crashes, 3));
        let faults = median(reports.iter().map(Report::faults).collect());
        wanted.push(("median faults".into(), faults, 20));
        wanted.retain(|(_, met, floor)| met < floor);
        self.short = wanted;
    }

    /// 0: it holds. 1: a rule is broken or a floor is missed. 2: a seed is undecided.
    pub fn exit_code(&self) -> u8 {
        match (
            self.failed.is_empty() && self.short.is_empty(),
            self.undecided.is_empty(),
        ) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => 0,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.text)?;
        for (name, met, floor) in &self.short {
            writeln!(out, "TOO FEW {name}: {met}, at least {floor}")?;
        }
        Ok(())
    }
}

fn sizes(reports: &[Report]) -> [u64; 4] {
    [0, 1, 2, 3].map(|n: usize| median(reports.iter().map(|report| report.size[n]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_in_which_nothing_happened_does_not_pass() {
        let quiet: Vec<Report> = (0..JUDGED_FROM)
            .map(|seed| Report {
                seed,
                ..Report::default()
            })
            .collect();
        let summary = Summary::of(&quiet, Instant::now(), None);
        assert!(summary.failed.is_empty() && summary.undecided.is_empty());
        assert_eq!(summary.exit_code(), 1);
        let missed: Vec<&str> = summary.short.iter().map(|(name, ..)| &name[..]).collect();
        for kind in FaultKind::ALL {
            assert!(missed.contains(&kind.name()), "{}", kind.name());
        }
        assert!(missed.contains(&"percent definite") && missed.contains(&"median faults"));
    }

    #[test]
    fn failures_and_undecided_seeds_decide_the_exit_code() {
        let report = |violations, undecided| Report {
            violations,
            undecided,
            ..Report::default()
        };
        let code = |report| Summary::of(&[report], Instant::now(), None).exit_code();
        assert_eq!(code(report(Vec::new(), false)), 0);
        assert_eq!(code(report(Vec::new(), true)), 2);
        assert_eq!(code(report(vec![("H1", String::new())], true)), 1);
    }
}
