//! What a journal and a segment's side file hold: frames, block headers, rows.

use bytes::{BufMut, Bytes, BytesMut};

use super::Script;
use crate::ids::{PartitionId, Uuid};
use crate::log::frame::Frame;
use crate::log::journal::{BlockHeader, BLOCK_HEADER, BLOCK_MAGIC};
use crate::log::rows::{decode_rows, Owner, ROW_LEN};

/// One of the three, by the first byte.
pub fn journal(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else {
        return;
    };
    match which % 3 {
        0 => frames(rest),
        1 => block_headers(rest),
        _ => rows(rest),
    }
}

/// [`Frame::decode`], frame after frame.
pub fn frames(input: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(input);
    while !bytes.is_empty() {
        let before = bytes.len();
        let Ok(frame) = Frame::decode(&mut bytes) else {
            return;
        };
        let mut again = frame.encode();
        let taken = before - bytes.len();
        assert_eq!(again.len(), taken, "{frame:?} took another's bytes");
        assert_eq!(Frame::decode(&mut again), Ok(frame));
        assert!(again.is_empty());
    }
}

/// [`BlockHeader::decode`] of the input as it is, and with the magic and the checksum that make it one.
pub fn block_headers(input: &[u8]) {
    let completed = input.get(..BLOCK_HEADER).map(|header| {
        let mut header = header.to_vec();
        header[..4].copy_from_slice(&BLOCK_MAGIC.to_be_bytes());
        let crc = crc32c::crc32c(&header[..BLOCK_HEADER - 4]);
        header[BLOCK_HEADER - 4..].copy_from_slice(&crc.to_be_bytes());
        header
    });
    if let Some(completed) = &completed {
        assert!(BlockHeader::decode(completed).is_some());
    }
    for bytes in [Some(input), completed.as_deref()].into_iter().flatten() {
        if let Some(header) = BlockHeader::decode(bytes) {
            assert_eq!(BlockHeader::decode(&header.encode()), Some(header));
            assert!(header.pages() > 0);
            header.link();
        }
    }
}

/// [`decode_rows`] of any number of rows, with checksums as they are or as they must be.
pub fn rows(input: &[u8]) {
    let mut script = Script::new(input);
    let (count, complete) = (script.number(), script.byte() % 2 == 1);
    let mut bytes = BytesMut::from(script.all());
    let partition = PartitionId {
        topic: Uuid([7; 16]),
        index: 0,
    };
    let owner = Owner::of(Uuid([1; 16]), partition);
    if complete {
        for row in bytes.chunks_exact_mut(ROW_LEN) {
            let crc = owner.crc(&row[..ROW_LEN - 4]);
            row[ROW_LEN - 4..].copy_from_slice(&crc.to_be_bytes());
        }
    }
    let bytes = bytes.freeze();
    let Some(rows) = decode_rows(owner, &bytes, count, false) else {
        let whole = (bytes.len() / ROW_LEN) as u64 >= count;
        assert!(!(complete && whole), "whole rows were refused");
        return;
    };
    assert_eq!(rows.len() as u64, count);
    let mut again = BytesMut::with_capacity(bytes.len());
    rows.iter().for_each(|row| row.encode(owner, &mut again));
    assert_eq!(again, bytes[..again.len()]);
    again.put_u8(0);
    assert_eq!(
        decode_rows(owner, &again.freeze(), count, false),
        Some(rows)
    );
}
