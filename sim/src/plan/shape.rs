//! The plan of a seed. Each dimension is drawn under a key of its own, so that none depends on another and
//! one that is added moves none.

use super::{Choices, Ending, Fault, FaultKind, Plan, Topic};

/// Three faults of four happen in this span, from the first start on, microseconds. The fourth comes later,
/// when retention looks for the first time and after.
const EARLY_US: u64 = 4_000_000;
const LATE_US: u64 = 12_000_000;

fn draw(seed: u64, dimension: &str) -> Choices {
    Choices::new(seed, dimension, 0)
}

impl Plan {
    /// The plan of a seed. One seed in sixteen has no faults, one in sixteen runs as tasks, one in
    /// four ends with damage beyond the bound.
    pub fn of(seed: u64) -> Plan {
        let clients = draw(seed, "clients").between(4, 8) as usize;
        let quiet = draw(seed, "quiet").chance(1, 16);
        let mut faults = Vec::new();
        if !quiet {
            let kinds = FaultKind::ALL.iter();
            faults.extend(kinds.flat_map(|kind| faults_of(seed, *kind)));
            faults.sort_by_key(|fault| (fault.at_us, fault.kind));
        }
        let mut last = draw(seed, "ending");
        let ending = (!quiet && last.chance(1, 4)).then(|| {
            let kind = last.below(Ending::ALL.len() as u64) as usize;
            (Ending::ALL[kind], last.below(1 << 32))
        });
        let count = draw(seed, "topics").between(2, 3);
        Plan {
            seed,
            shards: draw(seed, "shards").between(2, 4) as u16,
            topics: (0..count).map(|n| topic_of(seed, n, clients)).collect(),
            clients,
            operations: draw(seed, "operations").between(350, 500),
            tasks: draw(seed, "tasks").chance(1, 16),
            faults,
            ending,
            expect: Vec::new(),
        }
    }
}

fn faults_of(seed: u64, kind: FaultKind) -> Vec<Fault> {
    let mut choice = draw(seed, kind.name());
    let count = match kind {
        FaultKind::Crash | FaultKind::PowerLoss => choice.between(1, 3),
        FaultKind::Disconnect => choice.between(4, 10),
        FaultKind::Reshard | FaultKind::BrokenFolder | FaultKind::ForeignSegment => choice.below(3),
        FaultKind::WriteError
        | FaultKind::SyncError
        | FaultKind::ShortWrite
        | FaultKind::BootReadError
        | FaultKind::MisdirectedWrite
        | FaultKind::ListError
        | FaultKind::RenameError
        | FaultKind::SyncDirError
        | FaultKind::GrowthError
        | FaultKind::SealRot
        | FaultKind::SealLost => choice.below(2),
        _ => choice.between(1, 3),
    };
    let fault = |_| Fault {
        at_us: match choice.chance(3, 4) {
            true => choice.below(EARLY_US),
            false => choice.between(EARLY_US, LATE_US),
        },
        kind,
        value: choice.below(1 << 32),
    };
    (0..count).map(fault).collect()
}

/// Topic number `number`: the first has retention, by size or by time; the records of the second are
/// stamped by their producers or by the broker. The third, where there is one and a
/// client that is not idempotent produces, opts out of syncing (a lost batch would end the session of one
/// that is): so far that a cut takes much, or so little that `flush.messages` is reached before another
/// block syncs.
fn topic_of(seed: u64, number: u64, clients: usize) -> Topic {
    let mut choice = Choices::new(seed, "topic", number);
    let partitions = choice.between(3, 5) as u32;
    let by_time = choice.chance(1, 2);
    let often = choice.chance(1, 2);
    let stamped = choice.chance(1, 2);
    let configs: &[(&str, &str)] = match number {
        0 if by_time => &[("retention.ms", "4000"), ("segment.ms", "1000")],
        0 => &[("retention.bytes", "40000")],
        1 if stamped => &[("message.timestamp.type", "LogAppendTime")],
        2 if clients > 4 && often => &[("flush.messages", "5"), ("flush.ms", "300")],
        2 if clients > 4 => &[("flush.messages", "20"), ("flush.ms", "300")],
        _ => &[],
    };
    let all = [("internal.segment.bytes", "12000")];
    let all = all.iter().chain(configs);
    Topic {
        partitions,
        configs: all.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 2,000 seeds, those for which a dimension is so.
    fn where_so(so: impl Fn(&Plan) -> bool) -> Vec<bool> {
        (0..2_000).map(|seed| so(&Plan::of(seed))).collect()
    }

    #[test]
    fn no_two_dimensions_go_together() {
        let dimensions = [
            where_so(|plan| plan.faults.is_empty()),
            where_so(|plan| plan.tasks),
            where_so(|plan| plan.ending.is_some()),
            where_so(|plan| plan.topics[0].young_ms().is_some()),
            where_so(|plan| plan.loose_topic().is_some()),
            where_so(|plan| plan.shards == 3),
            where_so(|plan| plan.seed % 2 == 0),
        ];
        for (at, one) in dimensions.iter().enumerate() {
            for (to, other) in dimensions.iter().enumerate().skip(at + 1) {
                // Without faults nothing is damaged, and an opted-out topic wants clients.
                if (at, to) == (0, 2) {
                    continue;
                }
                let count = |it: &[bool]| it.iter().filter(|so| **so).count();
                let both = one.iter().zip(other).filter(|(a, b)| **a && **b).count();
                let apart = count(one) as f64 * count(other) as f64 / 2_000.0;
                let off = (both as f64 - apart).abs();
                assert!(
                    off < 4.0 * apart.sqrt().max(1.0),
                    "{at} and {to}: {both} for {apart}"
                );
            }
        }
    }

    #[test]
    fn a_kind_of_fault_moves_no_other() {
        for seed in 0..50 {
            let plan = Plan::of(seed);
            for kind in FaultKind::ALL {
                let of_kind = |fault: &&Fault| fault.kind == *kind;
                let mut alone = faults_of(seed, *kind);
                alone.sort_by_key(|fault| fault.at_us);
                let found: Vec<Fault> = plan.faults.iter().filter(of_kind).copied().collect();
                assert!(
                    found.is_empty() || found == alone,
                    "{seed}: {}",
                    kind.name()
                );
            }
        }
    }
}
