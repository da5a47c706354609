//! `seedlog-sim`: run seeds, replay and explain one, shrink it, plant bugs, measure.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
