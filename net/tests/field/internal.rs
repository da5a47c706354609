//! Topics that only the broker writes to (Kafka's `Topic.INTERNAL_TOPICS`), as its source has it.

use super::batches::{at, of, NOW};
use super::broker::Broker;
use super::calls::{produce, produce_by_id, produced};
use super::frames::Out;
use super::topics::New;

const INTERNAL: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

fn start() -> (Broker, u64) {
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    for name in INTERNAL {
        broker.topic(conn, New::of(name, 2));
    }
    (broker, conn)
}

#[test]
fn no_client_writes_to_an_internal_topic() {
    // `ReplicaManager.appendRecordsToLocalLog`, behind what is seen before it.
    let (mut broker, conn) = start();
    let good = of(&[at(NOW)]);
    for name in INTERNAL {
        for acks in [-1, 1] {
            let answer = broker.ask(conn, &produce(8, acks, (name, 1), &good));
            let told = produced(8, (name, 1), answer);
            assert_eq!((told.error, told.base, told.log_start), (17, -1, -1));
            assert_eq!((told.time, told.named), (-1, vec![]));
        }
        assert_eq!(broker.append(conn, (name, 2), &good), (3, -1));
        assert_eq!(broker.append(conn, (name, 0), &[]), (87, -1));
        let answer = broker.ask(conn, &produce(8, 2, (name, 0), &good));
        assert_eq!(produced(8, (name, 0), answer).error, 21);
        assert_eq!(broker.fetch(conn, (name, 1), 0).high_watermark, 0);
        let silent = broker.connect();
        broker.send(silent, &produce(8, 0, (name, 0), &good).frame());
        assert!(broker.closed_without_a_byte(silent));
    }
    // Other names that begin like them are like any other.
    broker.topic(conn, New::of("__consumer_offset", 1));
    let told = broker.append(conn, ("__consumer_offset", 0), &good);
    assert_eq!(told, (0, 0));
}

#[test]
fn nor_by_its_id() {
    let (mut broker, conn) = start();
    let records = of(&[at(NOW)]);
    let (error, id) = internal_row(&mut broker, conn, INTERNAL[0]);
    assert_eq!(error, 0);
    assert_eq!(produce_by_id(&mut broker, conn, id, &records), 17);
}

#[test]
fn no_client_deletes_records_of_an_internal_topic() {
    // `ReplicaManager.deleteRecordsOnLocalLog`.
    let (mut broker, conn) = start();
    for name in INTERNAL {
        for offset in [0, -1, 5] {
            assert_eq!(broker.trim(conn, (name, 0), offset), (17, -1));
        }
        assert_eq!(broker.trim(conn, (name, 2), 0), (3, -1));
    }
}

/// Error and id of a topic in Metadata v12, which must call it internal.
fn internal_row(broker: &mut Broker, conn: u64, name: &str) -> (i16, [u8; 16]) {
    let out = Out::flexible(3, 12).varint(2).raw(&[0; 16]);
    let out = out.compact(Some(name)).u8(0).u8(0).u8(0).u8(0);
    let mut answer = broker.ask(conn, &out);
    answer.tags(true);
    assert_eq!((answer.i32(), answer.count(true), answer.i32()), (0, 1, 0));
    assert_eq!(answer.compact().as_deref(), Some("localhost"));
    assert_eq!((answer.i32(), answer.compact()), (9092, None));
    answer.tags(true);
    assert_eq!((answer.compact().is_some(), answer.i32()), (true, 0));
    assert_eq!(answer.count(true), 1);
    let error = answer.i16();
    assert_eq!(answer.compact().as_deref(), Some(name));
    let id = answer.uuid();
    assert_eq!(answer.u8(), 1, "internal");
    (error, id)
}

#[test]
fn metadata_calls_such_a_name_internal_where_no_topic_has_it() {
    // `KafkaApis.getTopicMetadata`.
    let (mut broker, conn) = start();
    for name in INTERNAL {
        assert_eq!(internal_row(&mut broker, conn, name).0, 0);
        assert_eq!(broker.delete(conn, &[name])[0].1, 0);
        assert_eq!(internal_row(&mut broker, conn, name), (3, [0; 16]));
    }
}
