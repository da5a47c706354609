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

#[test]
fn records_of_a_fetch_that_are_null_or_empty_are_no_piece() {
    // Version 4: throttle time, a topic "a", partition 0 without error, offsets, no aborted
    // transactions, then records of the length -1 or 0.
    use seedlog_core::api::{FetchRequest, Request, Response};
    for length in [-1i32, 0] {
        let mut client = seedlog_net::client::Connection::new("");
        client.set_version(1, 4);
        let (correlation, _) = client.request(&Request::Fetch(FetchRequest::default()));
        let head: [&[u8]; 5] = [
            &[0; 4],
            &[0, 0, 0, 1],
            &[0, 1, b'a'],
            &[0, 0, 0, 1],
            &[0; 6],
        ];
        let body = [&head.concat()[..], &[0; 16], &[0; 4], &length.to_be_bytes()].concat();
        let size = 4 + body.len() as i32;
        let frame = [&size.to_be_bytes()[..], &correlation.to_be_bytes(), &body].concat();
        let answers = client.receive(frame.into()).expect("a response");
        let [(_, Response::Fetch(fetched))] = &answers[..] else {
            panic!("{answers:?}");
        };
        assert!(fetched.topics[0].1[0].records.is_empty(), "{length}");
    }
}
