//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::operator::{self, tell};
use crate::{broker, commands, folder, panics};

/// A durable log that speaks Kafka's protocol.
#[derive(Debug, Parser)]
#[command(name = "seedlog", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start one broker on this machine, its data kept in a folder.
    Dev {
        /// Port to listen on.
        #[arg(long, default_value_t = 9092)]
        port: u16,
        /// Data folder.
        #[arg(long, default_value = "./seedlog-data")]
        data: PathBuf,
        /// Shards (0: one per core). Another number than at the last start moves partitions first.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=i64::from(folder::SHARDS_MAX)))]
        shards: u16,
        /// First size of each shard's journal, in bytes.
        #[arg(long, default_value_t = 32 << 20, value_parser = journal_bytes)]
        journal_initial_bytes: u64,
        /// Largest size of each shard's journal, in bytes; a batch takes an eighth of it at most.
        #[arg(long, default_value_t = 128 << 20, value_parser = journal_bytes)]
        journal_max_bytes: u64,
        /// For tests: a disk that takes no more than this.
        #[arg(long, hide = true)]
        disk_bytes_per_second: Option<u64>,
    },
    /// Topics.
    Topic {
        #[command(subcommand)]
        command: Topic,
    },
    /// Send lines from standard input as records.
    Produce(Produce),
    /// Print a topic's records.
    Consume(Consume),
}

/// Which broker to speak to.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// A broker's address.
    #[arg(long, short = 'b', default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
}

#[derive(Debug, Subcommand)]
enum Topic {
    /// List topics.
    Ls {
        #[command(flatten)]
        target: Target,
    },
    /// Create a topic.
    Create {
        /// Name.
        name: String,
        /// Partitions.
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        /// A config, as name=value; may be repeated.
        #[arg(long = "config")]
        configs: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Show a topic's partitions.
    Describe {
        /// Name.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Delete a topic.
    Rm {
        /// Name.
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

/// How to produce.
#[derive(Args, Debug)]
pub struct Produce {
    /// Topic.
    pub topic: String,
    /// What separates key and value in a line; without it a line is a value.
    #[arg(long)]
    pub key_separator: Option<String>,
    #[command(flatten)]
    pub target: Target,
}

/// How to consume.
#[derive(Args, Debug)]
pub struct Consume {
    /// Topic.
    pub topic: String,
    /// start, end, or an offset.
    #[arg(long, default_value = "start")]
    pub from: String,
    /// Only this partition.
    #[arg(long)]
    pub partition: Option<i32>,
    /// Stop at the end instead of waiting for more.
    #[arg(long)]
    pub until_end: bool,
    /// Print partition, offset, timestamp and key before the value, tab-separated.
    #[arg(long)]
    pub meta: bool,
    #[command(flatten)]
    pub target: Target,
}

/// Parse the command line and run. Exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable.
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Dev {
            port,
            data,
            shards,
            journal_initial_bytes,
            journal_max_bytes,
            disk_bytes_per_second,
        } => {
            return dev(broker::Options {
                listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
                data,
                shards,
                journal_bytes: (
                    journal_initial_bytes.min(journal_max_bytes),
                    journal_max_bytes,
                ),
                disk_bytes_per_second,
            })
        }
        Command::Topic { command } => match command {
            Topic::Ls { target } => commands::list(&target),
            Topic::Create {
                name,
                partitions,
                configs,
                target,
            } => commands::create(&target, &name, partitions, &configs),
            Topic::Describe { name, target } => commands::describe(&target, &name),
            Topic::Rm { name, target } => commands::remove(&target, &name),
        },
        Command::Produce(produce) => commands::produce(&produce),
        Command::Consume(consume) => commands::consume(&consume),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

/// A journal is whole pages, and not so small that nothing fits in.
fn journal_bytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse::<u64>().map_err(|e| e.to_string())?;
    match bytes {
        0x0002_0000..=0x10_0000_0000 if bytes.is_multiple_of(4096) => Ok(bytes),
        _ => Err("from 131072 to 68719476736, and a multiple of 4096".into()),
    }
}

fn dev(options: broker::Options) -> ExitCode {
    panics::end_the_process();
    match broker::run(&options, |address| greet(address, &options.data)) {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            tell(&reason);
            // Other threads may still run; the process must not wait for them.
            std::process::exit(1)
        }
    }
}

fn greet(address: SocketAddr, data: &std::path::Path) {
    let me = std::env::current_exe().map_or("seedlog".into(), |path| path.display().to_string());
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let me = match me.chars().all(plain) {
        true => me,
        // It must work as pasted, whatever the folder is called.
        false => format!("'{}'", me.replace('\'', r"'\''")),
    };
    let to = match address.port() {
        9092 => String::new(),
        _ => format!(" -b {address}"),
    };
    let folder = data.display();
    operator::greet(&format!(
        "seedlog is ready on {address}, data in {folder}\n\
         try:\n  \
         {me} topic create clicks --partitions 3{to}\n  \
         echo 'user1:hello' | {me} produce clicks --key-separator :{to}\n  \
         {me} consume clicks --until-end{to}"
    ));
}
