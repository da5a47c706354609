//! The row of a campaign in `sim/CAMPAIGNS.md`, as nobody has to write it.

use std::path::PathBuf;
use std::process::Command;

use seedlog_sim::campaign::{Summary, JUDGED_FROM};
use seedlog_sim::report::Report;

/// Added to the tree's number by `.ci/fresh-range`, to keep away from the range that is always run.
const FRESH_FROM: u64 = 1_000_000;

fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let done = Command::new(program).args(args).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if !done.status.success() {
        let text = String::from_utf8_lossy(&done.stderr);
        return Err(format!("{program} {}: {text}", args.join(" ")));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_string())
}

/// The commit, and the number of what the simulator runs, as `.ci/fresh-range` derives it.
fn build() -> Result<(PathBuf, String), String> {
    let root = PathBuf::from(output("git", &["rev-parse", "--show-toplevel"])?);
    let commit = output("git", &["rev-parse", "--short", "HEAD"])?;
    let script = root.join(".ci/fresh-range");
    let fresh = output(&script.to_string_lossy(), &["1"])?;
    let first = fresh.split("..").next().and_then(|n| n.parse::<u64>().ok());
    let tree = first.ok_or(".ci/fresh-range gives no range")? - FRESH_FROM;
    let rooms = ["core", "net", "sim", "scenarios"].map(|room| root.join(room));
    let mut args = vec!["status", "--porcelain", "--"];
    let rooms = rooms.map(|room| room.to_string_lossy().into_owned());
    args.extend(rooms.iter().map(String::as_str));
    let status = output("git", &args)?;
    let changed = status
        .lines()
        .any(|line| !line.ends_with("sim/CAMPAIGNS.md"));
    let changed = if changed { ", changed since" } else { "" };
    Ok((
        root.join("sim/CAMPAIGNS.md"),
        format!("{commit} (tree {tree:011x}{changed})"),
    ))
}

/// A table's row: a campaign's range, its build and what it came to.
fn row(
    (from, to): (u64, u64),
    percent: Option<u64>,
    build: &str,
    summary: &Summary,
    reports: &[Report],
) -> String {
    let mut result = Vec::new();
    for (name, seeds) in [
        ("failed", &summary.failed),
        ("undecided", &summary.undecided),
    ] {
        result.push(match seeds.len() {
            0 => format!("none {name}"),
            some => format!("{some} {name} ({})", list(seeds)),
        });
    }
    for (name, met, floor) in &summary.short {
        result.push(format!("too few {name}: {met} of {floor}"));
    }
    if summary.short.is_empty() && summary.seeds >= JUDGED_FROM {
        result.push("every floor met".into());
    }
    let events: u64 = reports.iter().map(|report| report.events).sum();
    let part = percent.map_or(String::new(), |percent| format!(", {percent} % of them"));
    format!(
        "| {from}..{to}{part} | {build} | {}; {:.1} million events |",
        result.join(", "),
        events as f64 / 1e6
    )
}

fn list(seeds: &[u64]) -> String {
    let first = seeds.iter().take(5).map(u64::to_string);
    let mut names: Vec<String> = first.collect();
    if seeds.len() > names.len() {
        names.push("...".into());
    }
    names.join(", ")
}

/// The text with the row after the last one of its table.
fn with_row(text: &str, row: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with('|'));
    lines.insert(last.map_or(lines.len(), |at| at + 1), row);
    lines.join("\n") + "\n"
}

/// Append the row; returns what to tell.
pub fn append(
    seeds: (u64, u64),
    percent: Option<u64>,
    summary: &Summary,
    reports: &[Report],
) -> Result<String, String> {
    let (file, build) = build()?;
    let wrong = |error: std::io::Error| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(&file).map_err(wrong)?;
    let row = row(seeds, percent, &build, summary, reports);
    std::fs::write(&file, with_row(&text, &row)).map_err(wrong)?;
    Ok(format!("{}: {row}\n", file.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_row_goes_below_the_table() {
        let text = "# C\n\n| a |\n|---|\n| 1 |\n\nwords\n";
        assert_eq!(
            with_row(text, "| 2 |"),
            "# C\n\n| a |\n|---|\n| 1 |\n| 2 |\n\nwords\n"
        );
    }

    #[test]
    fn a_row_tells_what_failed() {
        let report = |seed, violations| Report {
            seed,
            violations,
            events: 2_000_000,
            ..Report::default()
        };
        let reports = [
            report(4, vec![("H1", String::new())]),
            report(5, Vec::new()),
        ];
        let summary = Summary::of(&reports, Instant::now(), None);
        assert_eq!(
            row((4, 6), None, "abc", &summary, &reports),
            "| 4..6 | abc | 1 failed (4), none undecided; 4.0 million events |"
        );
    }
}
