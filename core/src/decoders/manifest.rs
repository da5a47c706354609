//! Manifests, and the producer tables in them.

use bytes::{Buf, Bytes, BytesMut};

use super::Script;
use crate::batch::{build_batch, parse_head, BatchHead, BatchSpec};
use crate::ids::{PartitionId, Uuid};
use crate::partition::{Producers, Replica, Verdict};

/// Manifests or producer tables, by the first byte.
pub fn manifest(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else {
        return;
    };
    match which % 2 {
        0 => manifests(rest),
        _ => producers(rest),
    }
}

fn replica() -> Replica {
    let id = PartitionId {
        topic: Uuid([7; 16]),
        index: 0,
    };
    Replica::empty(id, Uuid([1; 16]), "topics/a-0".into())
}

/// `Replica::adopt_manifest`: what it takes stands up to the invariants of a replica, and comes back.
pub fn manifests(input: &[u8]) {
    let mut first = replica();
    let bytes = Bytes::copy_from_slice(input);
    if first.adopt_manifest(bytes, 1).is_none() {
        return;
    }
    let end = first.log_end;
    // The log may start among batches that are yet to follow; recovery looks once all are there.
    if first.fault().is_none() {
        first.made_durable(end, false);
        first.check();
    }
    let mut again = replica();
    let written = first.manifest(end);
    assert!(again.adopt_manifest(written.clone(), 1).is_some());
    assert_eq!(again.manifest(end), written);
    assert_eq!(
        (again.segments, again.epochs),
        (first.segments, first.epochs)
    );
    assert_eq!(again.producers, first.producers);
}

/// `Producers::decode`: what it takes comes back, and judges and records batches.
pub fn producers(input: &[u8]) {
    let mut script = Script::new(input);
    let asked = head(&mut script);
    let mut bytes = Bytes::copy_from_slice(script.all());
    let before = bytes.clone();
    let Some(mut producers) = Producers::decode(&mut bytes) else {
        return;
    };
    let mut again = BytesMut::new();
    producers.encode(&mut again);
    let taken = before.len() - bytes.remaining();
    assert_eq!(again, before[..taken], "a table is written in one form");
    if producers.judge(&asked) == Verdict::Next {
        producers.record(&asked, 1);
        assert_ne!(producers.judge(&asked), Verdict::Next);
    }
    producers.expire(0);
}

/// The head of a batch with a producer.
fn head(script: &mut Script) -> BatchHead {
    let spec = BatchSpec {
        timestamp: 0,
        producer_id: script.signed() & i64::MAX,
        producer_epoch: script.number() as i16 & i16::MAX,
        base_sequence: script.number() as i32 & i32::MAX,
    };
    let batch = build_batch(spec, &[(None, b"a")]);
    parse_head(&batch).unwrap_or_else(|error| panic!("a built batch: {error:?}"))
}
