#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| seedlog_core_fuzz::run(
    seedlog_net::decoders::TARGETS,
    "requests",
    input
));
