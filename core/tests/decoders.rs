//! Every decoder of the core over random bytes, over the fuzzers' kept inputs, and over these inputs
//! damaged: none panics, takes memory out of proportion, or goes on for ever.

#[path = "decoders/damage.rs"]
mod damage;
#[path = "../fuzz/src/meter.rs"]
mod meter;

use seedlog_core::decoders::TARGETS;

#[test]
fn random_bytes_are_decoded_or_refused() {
    damage::random(TARGETS);
}

#[test]
fn kept_inputs_whole_and_damaged_are_decoded_or_refused() {
    damage::kept(TARGETS);
}
