//! Deterministic simulator of Seedlog.
//!
//! [`world::World`] is a value with its own event queue, clock, links and disk; [`run`] steps it,
//! inside madsim (which catches a stray clock, random draw or thread) or plainly, with the same hash.

#[cfg(not(madsim))]
compile_error!("build with --cfg madsim: a RUSTFLAGS variable replaces .cargo/config.toml");

pub mod campaign;
pub mod check;
pub mod disk;
pub mod draws;
pub mod load;
pub mod plan;
pub mod planted;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod tasks;
pub mod trace;
pub mod world;
