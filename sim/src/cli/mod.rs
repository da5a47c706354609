//! The command line. Exit codes are the same everywhere: 0 it holds, 1 a rule is broken or too little
//! was seen, 2 undecided, 3 two runs differ, 64 usage.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use seedlog_core::contract::Knobs;
use seedlog_sim::planted;
use seedlog_sim::report::Report;
use seedlog_sim::run::{Mode, Run};
use seedlog_sim::scenario;

mod bench;
mod campaign;
mod mutate;
mod record;
mod replay;

/// Deterministic simulation of Seedlog under seeded faults.
///
/// Exit codes: 0 it holds, 1 a rule is broken or too little was seen, 2 undecided, 3 two runs differ,
/// 64 usage.
#[derive(Debug, Parser)]
#[command(name = "seedlog-sim", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run seeds A..B (B excluded) with all checkers.
    Run(campaign::Asked),
    /// Run one seed, or a plan from a file, and print its hash.
    Replay(Which),
    /// Print the plan of a seed, or of a file, in canonical form.
    Plan {
        /// A seed or a `.sim` file.
        what: String,
    },
    /// Bring scenario files into canonical form.
    Fmt {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Scenario files must be plans in canonical form that say what is expected of them: 1 if not.
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Write down every event of a run, with the hash up to there.
    Trace {
        #[command(flatten)]
        which: Which,
        /// Write a trace file instead of lines.
        #[arg(short)]
        out: Option<PathBuf>,
    },
    /// Name the first event that differs between two runs: 0 none does, 3 one does.
    Diff {
        /// A trace file, a seed or a `.sim` file.
        a: String,
        /// The other.
        b: String,
        /// Step the second plainly instead of inside madsim.
        #[arg(long)]
        no_madsim: bool,
    },
    /// A run as a timeline: what changed, when, and the check that failed.
    Show(Which),
    /// Make a failing plan small while it fails in the same way.
    Shrink {
        #[command(flatten)]
        which: Which,
        /// Write the small plan to this file.
        #[arg(short)]
        out: Option<PathBuf>,
        /// Seconds to spend.
        #[arg(long, default_value_t = 300)]
        budget: u64,
    },
    /// Plant bugs one at a time and see that a checker fails.
    Mutate {
        /// Only these, such as M1,M44.
        #[arg(long)]
        only: Option<String>,
        /// CPU seconds per bug and kind of checker.
        #[arg(long, default_value_t = 600)]
        budget: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Shrink the seed that showed each bug as well, and print the medians.
        #[arg(long)]
        shrink: bool,
    },
    /// Events per second and time per seed.
    Bench {
        /// Seeds.
        #[arg(long, default_value_t = 40)]
        seeds: u64,
        /// Compare with this build of the simulator: the same seeds, in turns.
        #[arg(long)]
        against: Option<PathBuf>,
    },
}

/// Which run is meant.
#[derive(Clone, Debug, Args)]
struct Which {
    /// A seed or a `.sim` file; where a trace is read, a trace file too.
    what: String,
    /// Plant this bug, such as M1.
    #[arg(long)]
    bug: Option<String>,
    /// Step the world plainly instead of inside madsim.
    #[arg(long)]
    no_madsim: bool,
}

impl Which {
    fn run(&self) -> Result<Run, String> {
        Ok(Run {
            knobs: knobs(self.bug.as_deref())?,
            mode: mode(self.no_madsim),
            ..Run::of(scenario::plan_of(&self.what)?)
        })
    }

    /// The words after a command that name the same run.
    fn words(&self) -> String {
        let bug = self.bug.as_ref().map(|bug| format!(" --bug {bug}"));
        format!("{}{}", self.what, bug.unwrap_or_default())
    }
}

fn mode(plain: bool) -> Mode {
    match plain {
        true => Mode::Plain,
        false => Mode::Madsim,
    }
}

fn each_file(files: &[PathBuf], act: impl Fn(&Path) -> Result<(), String>) -> ExitCode {
    let faults: Vec<String> = files.iter().filter_map(|file| act(file).err()).collect();
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    ExitCode::from(u8::from(!faults.is_empty()))
}

fn knobs(bug: Option<&str>) -> Result<Knobs, String> {
    let Some(name) = bug else {
        return Ok(Knobs::default());
    };
    let found = planted::by_name(name);
    found
        .map(|bug| bug.knobs)
        .ok_or_else(|| format!("no bug is called {name}"))
}

/// Print. That nobody reads any more, as behind `| head`, is no error.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn usage(text: &str) -> ExitCode {
    eprintln!("seedlog-sim: {text}");
    ExitCode::from(64)
}

fn code_of(report: &Report) -> ExitCode {
    ExitCode::from(match (report.violations.is_empty(), report.undecided) {
        (false, _) => 1,
        (true, true) => 2,
        (true, false) => 0,
    })
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let done = match cli.command {
        Command::Run(asked) => campaign::run(&asked),
        Command::Replay(which) => replay::replay(&which),
        Command::Plan { what } => scenario::plan_of(&what).map(|plan| {
            say(&plan.to_text());
            ExitCode::SUCCESS
        }),
        Command::Fmt { files } => Ok(each_file(&files, |file| {
            if scenario::format(file)? {
                say(&format!("{}\n", file.display()));
            }
            Ok(())
        })),
        Command::Check { files } => Ok(each_file(&files, scenario::check)),
        Command::Trace { which, out } => replay::trace(&which, out.as_deref()),
        Command::Diff { a, b, no_madsim } => replay::diff(&a, &b, no_madsim),
        Command::Show(which) => replay::show(&which),
        Command::Shrink { which, out, budget } => {
            mutate::shrink(&which, out.as_deref(), Duration::from_secs(budget))
        }
        Command::Mutate {
            only,
            budget,
            first,
            shrink,
        } => mutate::mutate(only.as_deref(), Duration::from_secs(budget), first, shrink),
        Command::Bench { seeds, against } => bench::bench(seeds, against.as_deref()),
    };
    done.unwrap_or_else(|text| usage(&text))
}
