//! The load: clients that do what real ones do, and remember enough to judge every answer.

pub mod client;
pub mod keeper;
