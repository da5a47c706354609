//! Every decoder of the wire's two sides over random bytes, over the fuzzers' kept inputs, and over
//! these inputs damaged: none panics, takes memory out of proportion, or goes on for ever.

#[path = "../../core/tests/decoders/damage.rs"]
mod damage;
#[path = "../../core/fuzz/src/meter.rs"]
mod meter;

use seedlog_net::apis::APIS;
use seedlog_net::decoders::{REQUESTS, RESPONSES, TARGETS};

#[test]
fn random_bytes_are_decoded_or_refused() {
    damage::random(TARGETS);
}

#[test]
fn kept_inputs_whole_and_damaged_are_decoded_or_refused() {
    damage::kept(TARGETS);
}

#[test]
fn every_api_served_has_its_entry_points() {
    let served: Vec<_> = APIS.iter().map(|api| (api.name, api.key)).collect();
    let requests: Vec<_> = REQUESTS
        .iter()
        .map(|(name, key, _)| (*name, *key))
        .collect();
    assert_eq!(requests, served);
    // This client side knows neither SASL nor ApiVersions.
    let answered: Vec<_> = RESPONSES
        .iter()
        .map(|(name, key, _)| (*name, *key))
        .collect();
    let known = served
        .into_iter()
        .filter(|(_, key)| ![17, 18, 36].contains(key));
    assert_eq!(answered, known.collect::<Vec<_>>());
}
