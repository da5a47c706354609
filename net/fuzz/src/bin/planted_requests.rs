//! A bug that only a CreateTopics which parses to its end reaches: `.ci/fuzz/run --planted`.
#![no_main]

use seedlog_core::api::Request;
use seedlog_net::decoders::request_of;

// The first byte would choose the API; the inputs are those of the target "requests".
libfuzzer_sys::fuzz_target!(|input: &[u8]| request_of(
    19,
    input.get(1..).unwrap_or(&[]),
    |request| {
        let Request::CreateTopics(request) = request else {
            return;
        };
        for topic in &request.topics {
            let planted = topic.partitions & 0xff == 0x5e && !topic.name.is_empty();
            assert!(!planted || !request.validate_only, "the planted bug");
        }
    }
));
