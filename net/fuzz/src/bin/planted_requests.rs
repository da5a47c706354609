//! A bug that only a CreateTopics which parses to its end reaches: `.ci/fuzz/run --planted`.
#![no_main]

use seedlog_core::api::Request;
use seedlog_net::decoders::request_of;

libfuzzer_sys::fuzz_target!(|input: &[u8]| request_of(19, input, |request| {
    let Request::CreateTopics(request) = request else {
        return;
    };
    for topic in &request.topics {
        let planted = topic.partitions == 0x5eed && !topic.name.is_empty();
        assert!(!planted || !request.validate_only, "the planted bug");
    }
}));
