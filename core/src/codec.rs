//! Wire primitives and the schema form (filled by the codec work).
