//! Kafka's codecs the other way round: for tests.

use std::io::Write;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(plain).expect("memory");
    out.finish().expect("memory")
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(plain)
        .expect("memory")
}

fn snappy_java(plain: &[u8]) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in plain.chunks(10) {
        let block = snappy(block);
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(block);
    }
    out
}

fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
    out.write_all(plain).expect("memory");
    out.finish().expect("memory")
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).expect("memory")
}

/// Attributes, and the codec that they name.
pub(super) const KINDS: [(i16, fn(&[u8]) -> Vec<u8>); 6] = [
    (0, <[u8]>::to_vec),
    (1, gzip),
    (2, snappy),
    (2, snappy_java),
    (3, lz4),
    (4, zstd),
];
