//! The load: clients that do what real ones do, and remember enough to judge every answer.

pub mod answered;
pub mod batches;
pub mod client;
pub mod hello;
pub mod keeper;
pub mod ops;
pub mod records;
pub mod shared;

/// What a client is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Produces; idempotent ones send a batch again until they know.
    Producer {
        /// With a producer id.
        idempotent: bool,
    },
    /// Reads, looks up offsets, trims now and then.
    Consumer,
    /// Makes, grows and removes topics of its own.
    Keeper,
}

impl Role {
    /// What client `number` of so many is for: the first half produces, most of it idempotently. One
    /// more keeps topics of its own.
    pub fn of(number: usize, clients: usize) -> Role {
        if number == clients {
            return Role::Keeper;
        }
        match (number * 2 < clients, number % 3) {
            (true, 2) => Role::Producer { idempotent: false },
            (true, _) => Role::Producer { idempotent: true },
            (false, _) => Role::Consumer,
        }
    }
}
