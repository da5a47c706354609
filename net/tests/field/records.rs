//! Cases 7, 8, 9, 10, 22, 23 and 25: what a batch says of its records, and what comes back.

use super::batches::{
    at, batch, gunzip, gzip, of, plain, sequenced, stored, zstd, Head, Record, HEAD, NOW,
};
use super::broker::Broker;
use super::calls::{fetch, fetched, named, produce, produced, Wanted, PATIENT};
use super::topics::New;

const A: (&str, i32) = ("a", 0);

/// A broker with topic `a`, and a connection.
fn with_topic(configs: &[(&str, Option<&str>)]) -> (Broker, u64) {
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1).with(configs));
    (broker, conn)
}

fn times(times: &[i64]) -> Vec<Record> {
    times.iter().map(|time| at(*time)).collect()
}

/// So many records in gzip.
fn packed(head: Head, records: &[Record]) -> Vec<u8> {
    let head = Head {
        attributes: head.attributes | 1,
        count: records.len() as i32,
        ..head
    };
    batch(head, &gzip(&plain(head.base_time, records)))
}

/// Base time and largest time, as a head says them.
fn says(base_time: i64, max_time: i64) -> Head {
    Head {
        base_time,
        max_time,
        ..Head::default()
    }
}

#[test]
fn the_records_say_how_young_a_batch_is() {
    // Case 7. Every codec: core/tests/produce.rs.
    let records = times(&[60, 70, 80]);
    let open = Head {
        count: 3,
        ..says(60, 0)
    };
    let both = [
        packed(says(60, 0), &records),
        batch(open, &plain(60, &records)),
    ];
    for sent in both {
        let (mut broker, conn) = with_topic(&[]);
        assert_eq!(broker.append(conn, A, &sent), (0, 0));
        let kept = broker.fetch(conn, A, 0).records;
        let head = stored(&kept)[0].head;
        assert_eq!((head.base_time, head.max_time), (60, 80));
        assert_eq!(kept[HEAD..], sent[HEAD..], "the records as they came");
        assert_eq!(broker.found(conn, "a", 65), (70, 1));
        assert_eq!(broker.found(conn, "a", 80), (80, 2));
        assert_eq!(broker.found(conn, "a", -3), (80, 2));
    }
}

/// A record whose one header has no name.
fn null_name() -> Vec<u8> {
    let header = ("n".to_string(), None);
    let headers = vec![header];
    let mut record = plain(NOW, &[Record { headers, ..at(NOW) }]);
    let name = record.len() - 3;
    assert_eq!(record[name..], [2, b'n', 1]);
    record.splice(name.., [1, 1]);
    record[0] -= 2;
    record
}

/// The same bytes with another magic.
fn of_format(magic: u8, sent: &[u8]) -> Vec<u8> {
    let mut bytes = sent.to_vec();
    bytes[16] = magic;
    bytes
}

/// A message as it was before Kafka 0.11, with these attributes; its CRC is not looked at.
fn message(magic: u8, attributes: u8) -> Vec<u8> {
    let body = super::frames::Out::default().u8(magic).u8(attributes);
    let body = if magic == 1 { body.i64(NOW) } else { body };
    let body = body.i32(-1).i32(1).u8(b'x').0;
    let head = super::frames::Out::default().i64(0);
    head.i32(body.len() as i32 + 4).i32(7).raw(&body).0
}

#[test]
fn what_no_consumer_could_read_is_refused() {
    // Case 8. Kafka says -1 for the first four: 87 is better (case 26).
    let (mut broker, conn) = with_topic(&[]);
    let one = plain(NOW, &[at(NOW)]);
    let with = |attributes, count| Head {
        attributes,
        count,
        ..Head::default()
    };
    let two = gzip(&plain(NOW, &times(&[NOW, NOW])));
    let packed_zstd = batch(with(4, 1), &zstd(&one));
    let good = of(&[at(NOW)]);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    for (version, sent, error) in [
        (8, batch(with(1, 1), b"garbage"), 87),
        (8, batch(with(4, 1), b"garbage"), 87),
        (8, batch(with(5, 1), &one), 87),
        (8, batch(with(7, 1), &one), 87),
        (8, batch(with(1, 3), &two), 87),
        (8, batch(with(1, 1), &gzip(&null_name())), 87),
        (3, packed_zstd.clone(), 76),
        // Of an older format these bytes are no attributes, whatever they say.
        (3, of_format(0, &packed_zstd), 87),
        (3, of_format(1, &packed_zstd), 87),
        (8, of_format(1, &packed_zstd), 87),
        (3, of_format(3, &packed_zstd), 2),
        (3, message(0, 4), 87),
        (3, message(1, 4), 87),
        (8, message(1, 7), 87),
        (8, message(0, 1), 87),
        (8, batch(with(6, 1), b"garbage"), 87),
        (3, batch(with(5, 1), b"garbage"), 87),
        (8, batch(with(0, 2), &one), 87),
        (8, batch(with(0, 1), &null_name()), 87),
        (8, batch(with(0, 0), &[]), 87),
        (8, batch(with(0, -1), &one), 87),
        (8, batch(with(0, 1), &[&one[..], &[0, 0]].concat()), 87),
        (8, [&good[..], &good].concat(), 87),
        (8, Vec::new(), 87),
        (8, good[..good.len() - 1].to_vec(), 87),
        (8, good[..40].to_vec(), 87),
        (8, changed(7, 5), 87),
        (8, changed(0, 0xff), 87),
        (8, changed(16, 0), 87),
        (8, changed(16, 1), 87),
        (8, changed(16, 3), 2),
        (8, changed(good.len() - 1, 0xff), 2),
        (8, batch(with(0x20, 1), &one), 87),
    ] {
        let answer = broker.ask(conn, &produce(version, -1, A, &sent));
        let told = produced(version, A, answer);
        assert_eq!((told.error, told.base), (error, -1), "{sent:02x?}");
    }
    assert_eq!(broker.fetch(conn, A, 0).high_watermark, 0);
    // Attributes that nobody knows, and an id that is none, are taken (Kafka 4.3).
    for attributes in [0x40, 0x80, 0x4000] {
        let sent = batch(with(attributes, 1), &one);
        assert_eq!(broker.append(conn, A, &sent).0, 0, "{attributes}");
    }
}

/// One record of these parts; each number in so many bytes, and a value of so many.
fn wide(at: usize, bytes: usize, size: usize) -> Vec<u8> {
    let number = |index: usize, value: i64| {
        let mut out = super::frames::Out::default().varint((value as u64) << 1).0;
        if index == at {
            while out.len() < bytes {
                *out.last_mut().expect("a byte") |= 0x80;
                out.push(0);
            }
        }
        out
    };
    let body = [
        &[0][..],
        &number(1, 0),
        &number(2, 0),
        &number(3, 1),
        b"k",
        &number(4, size as i64),
        &vec![b'v'; size],
        &number(5, 1),
        &number(6, 1),
        b"h",
        &number(7, 1),
        b"w",
    ];
    let body = body.concat();
    [number(0, body.len() as i64), body].concat()
}

#[test]
fn a_number_of_32_bits_takes_five_bytes_at_most() {
    // As Kafka 4.3: a reader of its kind refuses the sixth byte, also of a number that needs one. A
    // record's time, which is number 1, has 64 bits, and ten bytes.
    let (mut broker, conn) = with_topic(&[]);
    for size in [3, 300_000] {
        for at in 0..=7 {
            for bytes in [1, 5, 6, 9, 10, 11] {
                let record = wide(at, bytes, size);
                let most = if at == 1 { 10 } else { 5 };
                let wanted = if bytes <= most { 0 } else { 87 };
                let packed_head = Head {
                    attributes: 1,
                    ..Head::default()
                };
                let both = [
                    batch(Head::default(), &record),
                    batch(packed_head, &gzip(&record)),
                ];
                for sent in both {
                    let told = broker.produce(conn, A, &sent);
                    assert_eq!(told.error, wanted, "{size} {at} {bytes}");
                }
            }
        }
    }
}

#[test]
fn a_batch_of_a_producer_says_all_of_it() {
    // As Kafka 4.3 answered: an epoch may begin anywhere, and goes on from 0 once it was raised.
    let (mut broker, conn) = with_topic(&[]);
    let one = plain(NOW, &[at(NOW)]);
    let of = |producer| {
        let head = Head {
            producer,
            ..Head::default()
        };
        batch(head, &one)
    };
    for (producer, error) in [
        ((-1, -1, 3), 0),
        ((-2, -1, -1), 0),
        // An id without an epoch: Kafka takes it, and remembers it under epoch -1.
        ((6, -1, 0), 87),
        ((5, 0, -1), 87),
        ((77, 5, 0), 0),
        ((77, 4, 0), 47),
        ((77, 6, 3), 45),
        ((77, 6, 0), 0),
    ] {
        let told = broker.append(conn, A, &of(producer));
        assert_eq!(told.0, error, "{producer:?}");
    }
}

#[test]
fn the_brokers_time_is_told_in_the_answer_and_in_the_log() {
    // Case 9.
    let (mut broker, conn) = with_topic(&[("message.timestamp.type", Some("LogAppendTime"))]);
    let now = broker.wall_ms();
    let sent = packed(says(10, 50), &times(&[10, 20, 30, 40, 50]));
    let told = broker.produce(conn, A, &sent);
    assert_eq!((told.error, told.base, told.time), (0, 0, now));
    let kept = broker.fetch(conn, A, 0).records;
    let head = stored(&kept)[0].head;
    let seen = (head.attributes, head.base_time, head.max_time);
    assert_eq!(seen, (9, 10, now));
    assert_eq!(kept[HEAD..], sent[HEAD..]);
    for (asked, found) in [
        (1, (now, 0)),
        (now, (now, 0)),
        (now + 1, (-1, -1)),
        (-3, (now, 0)),
    ] {
        assert_eq!(broker.found(conn, "a", asked), found, "{asked}");
    }
    // A producer that sets the flag where times are the producers': it is cleared.
    let (mut broker, conn) = with_topic(&[]);
    for (offset, sent) in [
        packed(
            Head {
                attributes: 8,
                ..says(NOW, 5)
            },
            &times(&[NOW, 70]),
        ),
        batch(
            Head {
                attributes: 8,
                count: 2,
                ..says(NOW, 5)
            },
            &plain(NOW, &times(&[NOW, 70])),
        ),
    ]
    .iter()
    .enumerate()
    {
        let told = broker.produce(conn, A, sent);
        assert_eq!((told.error, told.time), (0, -1));
        let kept = broker.fetch(conn, A, 2 * offset as i64).records;
        let head = stored(&kept)[0].head;
        let asked = i16::from_be_bytes([sent[21], sent[22]]) & 7;
        assert_eq!((head.attributes, head.max_time), (asked, NOW));
    }
}

#[test]
fn a_producer_does_not_say_that_times_are_the_brokers() {
    // `LogValidator.validateTimestamp`: all records are named, those without a time too.
    let (mut broker, conn) = with_topic(&[("message.timestamp.type", Some("LogAppendTime"))]);
    for base in 0..2 {
        assert_eq!(broker.append(conn, A, &of(&[at(NOW)])), (0, base));
    }
    assert_eq!(broker.trim(conn, A, 1), (0, 1));
    let marked = |attributes| Head {
        attributes,
        count: 3,
        ..says(10, 50)
    };
    let records = plain(10, &times(&[10, -1, 50]));
    for sent in [
        batch(marked(8), &records),
        batch(marked(9), &gzip(&records)),
        batch(marked(12), &zstd(&records)),
    ] {
        let told = broker.produce(conn, A, &sent);
        assert_eq!((told.error, told.base, told.log_start), (32, -1, 1));
        assert_eq!((told.named, told.message), (vec![0, 1, 2], true));
    }
    // What is no record is told before.
    for sent in [
        batch(marked(8), &records[1..]),
        batch(marked(9), &gzip(&records[1..])),
    ] {
        assert_eq!(broker.append(conn, A, &sent), (87, -1));
    }
    assert_eq!(broker.fetch(conn, A, 1).high_watermark, 2);
}

#[test]
fn records_of_an_impossible_time_are_named() {
    // Case 10. In gzip: core/tests/produce.rs.
    const HOUR: i64 = 3_600_000;
    let (mut broker, conn) = with_topic(&[]);
    let now = broker.wall_ms();
    for (sent, wanted) in [
        (vec![now + 2 * HOUR], vec![0]),
        (vec![now * 1_000], vec![0]),
        (vec![now, now + 3 * HOUR, now + 3 * HOUR], vec![1, 2]),
        (vec![1 << 62], vec![0]),
    ] {
        let told = broker.produce(conn, A, &of(&times(&sent)));
        assert_eq!((told.error, told.base, told.log_start), (32, -1, 0));
        assert_eq!((told.named, told.message), (wanted, true));
    }
    for (offset, time) in [now + HOUR - 60_000, -1, -5, 0, now - 87_600 * HOUR]
        .iter()
        .enumerate()
    {
        let told = broker.produce(conn, A, &of(&times(&[*time])));
        assert_eq!((told.error, told.base), (0, offset as i64), "{time}");
        assert_eq!((told.named, told.message), (vec![], false));
    }
    let strict = [("message.timestamp.before.max.ms", Some("1000"))];
    let (mut broker, conn) = with_topic(&strict);
    let old = of(&times(&[broker.wall_ms() - 5_000]));
    let told = broker.produce(conn, A, &old);
    assert_eq!((told.error, told.named, told.message), (32, vec![0], true));
}

#[test]
fn times_that_lie_far_apart_come_back_exactly() {
    // Case 22: more than 2^31 ms lie between them.
    let (mut broker, conn) = with_topic(&[]);
    let now = broker.wall_ms();
    let open = Head {
        count: 3,
        ..says(0, now)
    };
    let first = plain(0, &times(&[0, now, 3]));
    let second = plain(now, &times(&[now, 0]));
    assert_eq!(broker.append(conn, A, &batch(open, &first)), (0, 0));
    let sent = packed(says(now, now), &times(&[now, 0]));
    assert_eq!(broker.append(conn, A, &sent), (0, 3));
    let kept = stored(&broker.fetch(conn, A, 0).records);
    assert_eq!(kept[0].records, first);
    assert_eq!((kept[0].head.base_time, kept[0].head.max_time), (0, now));
    assert_eq!(gunzip(&kept[1].records), second);
    assert_eq!((kept[1].head.base_time, kept[1].head.max_time), (now, now));
    for (asked, found) in [(0, (0, 0)), (3, (now, 1)), (now, (now, 1)), (-3, (now, 1))] {
        assert_eq!(broker.found(conn, "a", asked), found, "{asked}");
    }
}

#[test]
fn null_empty_and_absent_come_back_as_they_were() {
    // Case 23: order and doubles of headers too.
    let (mut broker, conn) = with_topic(&[]);
    let some = |text: &str| Some(text.as_bytes().to_vec());
    let headers = vec![
        (String::new(), None),
        ("h".to_string(), some("")),
        ("h".to_string(), some("2")),
    ];
    let record = |key, value| Record {
        time: NOW,
        key,
        value,
        headers: headers.clone(),
    };
    let records = [
        record(some(""), some("")),
        record(None, some("")),
        record(some(""), None),
        record(None, None),
        Record {
            headers: Vec::new(),
            ..record(None, None)
        },
    ];
    for (round, sent) in [of(&records), packed(Head::default(), &records)]
        .iter()
        .enumerate()
    {
        let base = 5 * round as i64;
        assert_eq!(broker.append(conn, A, sent), (0, base));
        let kept = broker.fetch(conn, A, base).records;
        // Base offset and leader epoch are the broker's; all else is the producer's.
        assert_eq!(kept[..8], base.to_be_bytes());
        assert_eq!(kept[8..12], sent[8..12]);
        assert_eq!(kept[16..], sent[16..]);
    }
}

#[test]
fn zstd_is_for_producers_that_may_and_for_every_consumer() {
    // Case 25.
    let (mut broker, conn) = with_topic(&[]);
    let head = Head {
        attributes: 4,
        ..Head::default()
    };
    let sent = batch(head, &zstd(&plain(NOW, &[at(NOW)])));
    for (version, wanted) in [(3, (76, -1)), (6, (76, -1)), (7, (0, 0)), (8, (0, 1))] {
        let answer = broker.ask(conn, &produce(version, -1, A, &sent));
        let told = produced(version, A, answer);
        assert_eq!((told.error, told.base), wanted, "version {version}");
    }
    for version in [4, 9, 10, 11] {
        let wanted = [Wanted::from(0, 0)];
        let request = fetch(version, PATIENT, &[(named("a"), &wanted)]);
        let answer = broker.ask(conn, &request);
        let part = fetched(version, answer).remove(0);
        assert_eq!(part.error, 0, "version {version}");
        assert_eq!(stored(&part.records)[1].records, sent[HEAD..]);
    }
}

#[test]
fn a_batch_may_be_the_last_that_a_producer_can_number() {
    // Sequences go on from 2^31 - 1 to 0 (KAFKA-7692).
    let (mut broker, conn) = with_topic(&[]);
    let last = i32::MAX;
    assert_eq!(broker.append(conn, A, &sequenced(7, last - 1, 1)), (0, 0));
    assert_eq!(broker.append(conn, A, &sequenced(7, last, 3)), (0, 1));
    assert_eq!(broker.append(conn, A, &sequenced(7, 2, 1)), (0, 4));
    assert_eq!(broker.append(conn, A, &sequenced(7, last, 3)), (0, 1));
}
