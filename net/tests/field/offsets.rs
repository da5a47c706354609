//! Cases 4, 11 and 30: offsets by epoch and by time.

use super::batches::{at, batch, gzip, of, plain, Head, Record, NOW};
use super::broker::Broker;
use super::calls::{list_offsets, listed};
use super::frames::Out;
use super::topics::New;

const A: (&str, i32) = ("a", 0);

/// OffsetForLeaderEpoch v3 for partition 0 of `a`: error, epoch, end.
fn epoch_end(broker: &mut Broker, conn: u64, current: i32, asked: i32) -> (i16, i32, i64) {
    let out = Out::request(23, 3).i32(-1).i32(1).str(Some("a"));
    let out = out.i32(1).i32(0).i32(current).i32(asked);
    let mut answer = broker.ask(conn, &out);
    assert_eq!((answer.i32(), answer.i32()), (0, 1));
    assert_eq!((answer.str().as_deref(), answer.i32()), (Some("a"), 1));
    let error = answer.i16();
    assert_eq!(answer.i32(), 0);
    let found = (error, answer.i32(), answer.i64());
    answer.end();
    found
}

#[test]
fn an_epoch_below_the_oldest_ends_where_that_begins() {
    // Case 4.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1));
    let epoch = |broker: &mut Broker, conn| broker.metadata(conn, Some(&["a"]), false)[0].epoch;
    let first = epoch(&mut broker, conn);
    assert_eq!(
        epoch_end(&mut broker, conn, -1, first),
        (0, first, 0),
        "empty"
    );
    let seven: Vec<Record> = (0..7).map(|_| at(NOW)).collect();
    assert_eq!(broker.append(conn, A, &of(&seven)), (0, 0));
    // Two starts: between the first epoch and this one lies one without a record.
    broker.kill();
    broker.kill();
    let conn = broker.connect();
    let second = epoch(&mut broker, conn);
    assert!(second > first + 1);
    assert_eq!(broker.append(conn, A, &of(&seven[..3])), (0, 7));
    let ask = |broker: &mut Broker, asked| epoch_end(broker, conn, -1, asked);
    assert_eq!(ask(&mut broker, first), (0, first, 7));
    assert_eq!(ask(&mut broker, second - 1), (0, first, 7), "between");
    assert_eq!(ask(&mut broker, second), (0, second, 10));
    assert_eq!(ask(&mut broker, second + 1), (0, -1, -1), "above");
    assert_eq!(broker.trim(conn, A, 7), (0, 7));
    assert_eq!(ask(&mut broker, first), (0, first, 7));
    assert_eq!(broker.trim(conn, A, -1), (0, 10));
    assert_eq!(ask(&mut broker, first), (0, first, 10), "emptied");
    assert_eq!(ask(&mut broker, second), (0, second, 10));
    let none = (-1, -1);
    for (current, error) in [(second - 1, 74), (second + 1, 75)] {
        let (code, epoch, end) = epoch_end(&mut broker, conn, current, second);
        assert_eq!((code, (epoch, end)), (error, none));
    }
    assert_eq!(
        epoch_end(&mut broker, conn, second, second),
        (0, second, 10)
    );
}

#[test]
fn a_special_time_means_something_from_its_version_on() {
    // Case 11.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 3));
    broker.append(conn, A, &of(&[at(NOW), at(NOW)]));
    broker.trim(conn, A, 1);
    let epoch = broker.metadata(conn, Some(&["a"]), false)[0].epoch;
    for version in 1..=11 {
        let with_epoch = if version >= 4 { epoch } else { -1 };
        let found = |time, offset| (0, 0, time, offset, with_epoch);
        let none = (0, 0, -1, -1, -1);
        let refused = (0, 35, -1, -1, -1);
        let since = |first, then| if version >= first { then } else { refused };
        for (time, wanted) in [
            (-1, found(-1, 2)),
            (-2, found(-1, 1)),
            (-3, since(7, found(NOW, 1))),
            (-4, since(8, found(-1, 1))),
            (-5, since(9, none)),
            (-6, since(11, none)),
            (-7, refused),
            (i64::MIN, refused),
            (NOW, found(NOW, 1)),
            (NOW + 1, none),
        ] {
            let answer = broker.ask(conn, &list_offsets(version, "a", &[(0, time)]));
            let told = listed(version, "a", answer);
            assert_eq!(told, [wanted], "version {version}, time {time}");
        }
        let answer = broker.ask(conn, &list_offsets(version, "a", &[(7, -1), (2, -1)]));
        let told = listed(version, "a", answer);
        assert_eq!(told[0], (7, 3, -1, -1, -1));
        assert_eq!(told[1], (2, 0, -1, 0, with_epoch));
    }
}

#[test]
fn an_empty_partition_has_no_time() {
    // Case 11.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1));
    for time in [-3, 0, NOW] {
        assert_eq!(broker.found(conn, "a", time), (-1, -1), "{time}");
    }
}

#[test]
fn a_partition_that_is_asked_twice_is_refused_once() {
    // Case 11.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 2));
    for version in [1, 5, 7] {
        let asked = [(0, -1), (1, -2), (0, -2), (0, -1)];
        let answer = broker.ask(conn, &list_offsets(version, "a", &asked));
        let told = listed(version, "a", answer);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0], (0, 42, -1, -1, -1));
        assert_eq!((told[1].0, told[1].1, told[1].3), (1, 0, 0));
        // Also where nobody has such a partition.
        let answer = broker.ask(conn, &list_offsets(version, "a", &[(9, -1), (9, -1)]));
        assert_eq!(listed(version, "a", answer), [(9, 42, -1, -1, -1)]);
    }
}

#[test]
fn a_lookup_by_time_finds_the_first_record_that_is_young_enough() {
    // Case 30.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1));
    let mut send = |times: &[i64]| {
        let records: Vec<Record> = times.iter().map(|time| at(*time)).collect();
        assert_eq!(broker.append(conn, A, &of(&records)).0, 0);
    };
    for time in [100, 50, 75] {
        send(&[time]);
    }
    assert_eq!(broker.found(conn, "a", 101), (-1, -1), "not yet");
    let last = [400, 10, 600, 20].map(at);
    assert_eq!(broker.append(conn, A, &of(&last)), (0, 3));
    for (asked, found) in [
        (60, (100, 0)),
        (80, (100, 0)),
        (101, (400, 3)),
        (500, (600, 5)),
        (15, (100, 0)),
        (300, (400, 3)),
        (601, (-1, -1)),
        (-3, (600, 5)),
    ] {
        assert_eq!(broker.found(conn, "a", asked), found, "{asked}");
    }
    // The log begins inside the last batch now; the maximum is still kept.
    assert_eq!(broker.trim(conn, A, 4), (0, 4));
    assert_eq!(broker.found(conn, "a", 300), (600, 5));
    assert_eq!(broker.found(conn, "a", -3), (600, 5));
    // It is not any more: the youngest that is kept. Kafka goes on to answer the other.
    assert_eq!(broker.trim(conn, A, 6), (0, 6));
    assert_eq!(broker.found(conn, "a", -3), (20, 6));
}

#[test]
fn a_lookup_by_time_looks_into_gzip() {
    // Case 30.
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1));
    let records = [10, 20, 30, 40, 50].map(at);
    let head = Head {
        attributes: 1,
        base_time: 10,
        max_time: 50,
        count: 5,
        ..Head::default()
    };
    let sent = batch(head, &gzip(&plain(10, &records)));
    assert_eq!(broker.append(conn, A, &sent), (0, 0));
    for (asked, found) in [
        (5, (10, 0)),
        (25, (30, 2)),
        (50, (50, 4)),
        (51, (-1, -1)),
        (-3, (50, 4)),
    ] {
        assert_eq!(broker.found(conn, "a", asked), found, "{asked}");
    }
    assert_eq!(broker.trim(conn, A, 3), (0, 3));
    assert_eq!(broker.found(conn, "a", 5), (40, 3), "at or above the start");
}
