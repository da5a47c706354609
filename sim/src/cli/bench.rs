//! `bench`: how fast this build is, alone or beside another.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use seedlog_sim::campaign::{median, run_all};
use seedlog_sim::run::Mode;

use super::say;

/// Both builds take turns this often.
const ROUNDS: usize = 3;

pub fn bench(count: u64, against: Option<&Path>) -> Result<ExitCode, String> {
    match against {
        Some(other) => beside(count, other),
        None => Ok(alone(count)),
    }
}

fn alone(count: u64) -> ExitCode {
    let seeds: Vec<u64> = (0..count).collect();
    let mut rates = Vec::new();
    for mode in [Mode::Plain, Mode::Madsim] {
        let mut times = Vec::new();
        let (mut events, mut total) = (0, 0.0);
        for seed in &seeds {
            let started = Instant::now();
            let reports = run_all(&[*seed], 1, mode, &|_| {});
            let time = started.elapsed();
            events += reports.iter().map(|report| report.events).sum::<u64>();
            total += time.as_secs_f64();
            times.push(time.as_micros() as u64);
        }
        let rate = events as f64 / total;
        say(&format!(
            "{mode:?}: {events} events, {rate:.0} events/s, median seed {:.3} s\n",
            median(times) as f64 / 1e6
        ));
        rates.push(rate);
    }
    let share = (1.0 - rates[1] / rates[0]).max(0.0) * 100.0;
    say(&format!(
        "{count} seeds, one at a time, all checkers on; madsim itself {share:.0} %\n"
    ));
    ExitCode::SUCCESS
}

/// What a campaign of a build came to: acknowledged records and events, per CPU second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Speed {
    records: f64,
    events: f64,
}

/// The numbers of a campaign's summary, which every build prints in the same words.
fn parse(text: &str) -> Option<Speed> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let first = |text: &str| text.split([' ', ',']).next()?.parse::<f64>().ok();
    let acked = first(line("records")?.trim())?;
    let events = line("events")?.trim();
    let cpu = events.rsplit_once(", ")?.1.strip_suffix(" CPU s")?;
    let cpu = cpu.parse::<f64>().ok().filter(|cpu| *cpu > 0.0)?;
    Some(Speed {
        records: acked / cpu,
        events: first(events)? / cpu,
    })
}

fn measure(binary: &Path, count: u64) -> Result<Speed, String> {
    let seeds = format!("0..{count}");
    let output = Command::new(binary)
        .args(["run", "-j", "1", "--seeds", &seeds])
        .current_dir(std::env::temp_dir())
        .output();
    let output = output.map_err(|error| format!("{}: {error}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("FAIL") {
        say(&format!("{}: some seeds fail\n", binary.display()));
    }
    parse(&text).ok_or_else(|| format!("{}: no summary in its output", binary.display()))
}

/// The same seeds with both builds, in turns, so that whatever else the machine does meets both.
fn beside(count: u64, other: &Path) -> Result<ExitCode, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let other = other
        .canonicalize()
        .map_err(|error| format!("{}: {error}", other.display()))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(measure(&other, count)?);
        ours.push(measure(&own, count)?);
    }
    let middle = |speeds: &[Speed], of: fn(&Speed) -> f64| {
        median(speeds.iter().map(|speed| of(speed) as u64).collect()) as f64
    };
    for (name, of) in [
        (
            "acknowledged records verified",
            (|speed| speed.records) as fn(&Speed) -> f64,
        ),
        ("events", |speed| speed.events),
    ] {
        let (before, now) = (middle(&theirs, of), middle(&ours, of));
        say(&format!(
            "{name} per CPU second: {now:.0}, was {before:.0}: {:.2} times\n",
            now / before.max(1.0)
        ));
    }
    say(&format!(
        "{count} seeds, one at a time, all checkers on, the median of {ROUNDS} rounds in turns\n"
    ));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let text = "seeds      40 (1 as madsim tasks), failed [], undecided []\n\
                    records    3000 acked, 5000 read\n\
                    events     120000, 9.1 s, 1.5 CPU s\n";
        let speed = Speed {
            records: 2000.0,
            events: 80000.0,
        };
        assert_eq!(parse(text), Some(speed));
        assert_eq!(parse("nothing"), None);
    }
}
