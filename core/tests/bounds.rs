//! What clients may bring about in any number, and what stands in the journal for it in every checkpoint:
//! it must not fill the journal, or nothing is freed any more and nothing answered.

mod memory_broker;

use memory_broker::Broker;
use seedlog_core::batch::{build_batch, BatchSpec};

/// A batch of one record of this producer.
fn of_producer(producer_id: i64, sequence: i32) -> bytes::Bytes {
    let spec = BatchSpec {
        timestamp: 1_700_000_000_000,
        producer_id,
        producer_epoch: 0,
        base_sequence: sequence,
    };
    build_batch(spec, &[(None, b"x")])
}

fn segments_of(broker: &Broker) -> usize {
    let each = broker.replicas().map(|replica| replica.segments.len());
    each.sum()
}

#[test]
fn more_segments_than_the_journal_can_list_are_not_begun() {
    let mut broker = Broker::start(2);
    broker.verb("topic small partitions=2 internal.segment.bytes=14");
    // Each batch fills a segment; a journal of 256 KiB lists fewer than these.
    for _ in 0..60 {
        for index in 0..2 {
            let told = broker.verb(&format!("produce small/{index} x times=100"));
            assert!(told.iter().all(|line| line.starts_with("NONE")), "{told:?}");
        }
    }
    let segments = segments_of(&broker);
    assert!((400..600).contains(&segments), "{segments} segments");
    let before = broker.verb("offsets small/0");
    broker.verb("stop");
    assert_eq!(broker.verb("offsets small/0"), before);
    // Once they are removed, others are begun.
    for index in 0..2 {
        broker.verb(&format!("trim small/{index} to=6000"));
    }
    for _ in 0..10 {
        for index in 0..2 {
            broker.verb(&format!("produce small/{index} x times=100"));
        }
    }
    let segments = segments_of(&broker);
    assert!((20..600).contains(&segments), "{segments} segments");
}

#[test]
fn more_producers_than_the_journal_can_list_are_not_remembered() {
    let mut broker = Broker::start(1);
    broker.verb("topic small partitions=3");
    let ids = 10_000;
    for id in 0..ids {
        for index in 0..3 {
            let told = broker.send(&format!("small/{index}"), of_producer(id, 0), true);
            assert_eq!((told.error.code(), told.base_offset), (0, id), "{index}");
        }
    }
    // The newest are, also after a start.
    for _ in 0..2 {
        let told = broker.send("small/1", of_producer(ids - 1, 0), true);
        assert_eq!((told.error.code(), told.base_offset), (0, ids - 1));
        broker.verb("stop");
    }
    let tables = broker.replicas().map(|replica| &replica.producers);
    let remembered: usize = tables.map(|table| table.remembered().count()).sum();
    assert!((100..1_500).contains(&remembered), "{remembered} producers");
}

#[test]
fn topics_that_are_deleted_and_still_there_leave_no_room_for_others() {
    let mut broker = Broker::start(2);
    // Two journals of 256 KiB have room for 409 partitions.
    broker.verb("topic old partitions=200 segment.ms=1000");
    broker.send_to_all("old", 200, &of_producer(-1, -1));
    broker.verb("pass 6000");
    broker.verb("pass 6000");
    broker.verb("stick topics/old");
    assert_eq!(broker.verb("remove old"), ["NONE"]);
    let refused = ["THROTTLING_QUOTA_EXCEEDED partitions=-1"];
    assert_eq!(broker.verb("topic new partitions=300"), refused);
    assert_eq!(
        broker.verb("topic never partitions=410")[0],
        "POLICY_VIOLATION partitions=-1"
    );
    assert_eq!(
        broker.verb("topic some partitions=100"),
        ["NONE partitions=100"]
    );
    // A start knows of them as well.
    broker.verb("crash");
    assert_eq!(broker.verb("topic new partitions=300"), refused);
    broker.verb("unstick");
    broker.verb("pass 6000");
    assert_eq!(broker.verb("folders").len(), 0);
    assert_eq!(
        broker.verb("topic new partitions=300"),
        ["NONE partitions=300"]
    );
}
