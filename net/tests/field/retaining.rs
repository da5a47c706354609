//! Case 6: a quiet topic expires, the segment that is being filled too.

use super::batches::{at, batch, gzip, of, plain, Head, NOW};
use super::broker::Broker;
use super::topics::New;

const A: (&str, i32) = ("a", 0);

/// Log start and end of a topic of these configs, a minute after three records of this age.
fn after_a_minute(configs: &[(&str, Option<&str>)], age_ms: i64) -> (i64, i64) {
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1).with(configs));
    for offset in 0..3 {
        let sent = of(&[at(NOW - age_ms)]);
        assert_eq!(broker.append(conn, A, &sent), (0, offset));
    }
    for _ in 0..60 {
        broker.pass(1_000);
    }
    let part = broker.fetch(conn, A, 3);
    assert_eq!((part.error, part.records.len()), (0, 0));
    let gone = broker.fetch(conn, A, 0);
    assert_eq!(gone.error, if part.log_start > 0 { 1 } else { 0 });
    assert_eq!(broker.append(conn, A, &of(&[at(NOW)])), (0, 3));
    (part.log_start, part.high_watermark)
}

#[test]
fn a_quiet_topic_expires_and_its_offsets_go_on() {
    const HOUR: i64 = 3_600_000;
    let retention = ("retention.ms", Some("2000"));
    let by_broker = ("message.timestamp.type", Some("LogAppendTime"));
    assert_eq!(after_a_minute(&[retention], HOUR), (3, 3));
    assert_eq!(after_a_minute(&[retention], 0), (3, 3));
    let ahead = -10 * 24 * HOUR;
    assert_eq!(after_a_minute(&[retention, by_broker], ahead), (3, 3));
    assert_eq!(after_a_minute(&[], HOUR), (0, 3));
    // Without a policy nothing is removed (Kafka 4.3 takes the empty list).
    let kept = [retention, ("cleanup.policy", Some(""))];
    assert_eq!(after_a_minute(&kept, HOUR), (0, 3));
}

#[test]
fn a_head_that_lies_about_its_youngest_record_keeps_and_removes_nothing() {
    // Case 7: whatever the head says, the records count, and they no longer than since they came. (Kafka
    // removes records that were old when they came at its next check; here they are kept `retention.ms`.)
    const HOUR: i64 = 3_600_000;
    let configs = [
        ("retention.ms", Some("30000")),
        (
            "message.timestamp.after.max.ms",
            Some("9223372036854775807"),
        ),
    ];
    for packed in [false, true] {
        for (says, record) in [
            (NOW + 10_000_000_000, NOW),
            (NOW + 10_000_000_000, NOW - 2 * HOUR),
            (NOW, NOW - 2 * HOUR),
            (0, NOW),
            (-1, NOW),
            (i64::MAX, NOW),
            (i64::MIN, NOW - 2 * HOUR),
        ] {
            let mut broker = Broker::start(1);
            let conn = broker.connect();
            broker.topic(conn, New::of("a", 1).with(&configs));
            let records = plain(NOW, &[at(record)]);
            let head = Head {
                attributes: packed.into(),
                max_time: says,
                ..Head::default()
            };
            let sent = match packed {
                true => batch(head, &gzip(&records)),
                false => batch(head, &records),
            };
            assert_eq!(broker.append(conn, A, &sent), (0, 0));
            let mut start_at = |seconds: u64| {
                (0..seconds).for_each(|_| broker.pass(1_000));
                broker.fetch(conn, A, 1).log_start
            };
            assert_eq!(start_at(25), 0, "{packed} {says} {record}");
            assert_eq!(start_at(35), 1, "{packed} {says} {record}");
        }
    }
}
