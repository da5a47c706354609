//! `seedlog`: the broker and its command line.

mod acceptor;
mod blocking;
mod broker;
mod cli;
mod commands;
mod disk;
mod folder;
mod limits;
mod open_files;
mod operator;
mod panics;
mod shard_loop;
mod sockets;
mod throttle;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
