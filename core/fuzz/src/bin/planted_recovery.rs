//! A bug that only an input which recovery takes for a whole journal reaches: `.ci/fuzz/run --planted`.
#![no_main]

use seedlog_core::decoders::recovery_of;
use seedlog_core::log::frame::Frame;
use seedlog_core::log::recovery::Found;

libfuzzer_sys::fuzz_target!(|input: &[u8]| recovery_of(input, |found| {
    let Found::Journal(journal) = found else {
        return;
    };
    for (seq, frame) in &journal.frames {
        let planted = matches!(frame, Frame::LogStart { offset: 0x5eed, .. });
        assert!(!planted || *seq < 2, "the planted bug");
    }
}));
