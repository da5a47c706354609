//! What may enter the log, bytes in and answers out: cases of the field that Apache Kafka 4.3 was
//! asked too (their numbers stand beside them).

mod memory_broker;

use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};
use memory_broker::Broker;
use seedlog_core::api::Response;
use seedlog_core::batch::{build_batch, complete, put_varint, verify, BatchSpec, HEAD_LEN};

/// The broker's wall clock at its start, ms.
const NOW: i64 = 1_700_000_000_000;

type Codec = (i16, fn(&[u8]) -> Vec<u8>);

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(plain).expect("memory");
    out.finish().expect("memory")
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    let packed = snap::raw::Encoder::new().compress_vec(plain);
    packed.expect("memory")
}

fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
    out.write_all(plain).expect("memory");
    out.finish().expect("memory")
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 3).expect("memory")
}

const CODECS: [Codec; 4] = [(1, gzip), (2, snappy), (3, lz4), (4, zstd)];

/// Records at these times with a value of so many zeroes.
fn records(times: &[i64], size: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    for (index, time) in times.iter().enumerate() {
        let mut body = BytesMut::from(&[0][..]);
        put_varint(&mut body, time - times[0]);
        put_varint(&mut body, index as i64);
        put_varint(&mut body, -1);
        put_varint(&mut body, size as i64);
        body.put_bytes(b'0', size);
        put_varint(&mut body, 0);
        put_varint(&mut out, body.len() as i64);
        out.put_slice(&body);
    }
    out.to_vec()
}

/// A batch of these attributes: so many records from `base` on, the youngest said to be of `max`.
fn batch(attributes: i16, count: i32, (base, max): (i64, i64), records: &[u8]) -> Bytes {
    let mut out = build_batch(BatchSpec::plain(base), &[])[..HEAD_LEN].to_vec();
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    out[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    out[35..43].copy_from_slice(&max.to_be_bytes());
    out[57..61].copy_from_slice(&count.to_be_bytes());
    out.extend_from_slice(records);
    complete(&mut out);
    out.into()
}

/// One record of producer 7.
fn sequenced(sequence: i32) -> Bytes {
    let spec = BatchSpec {
        timestamp: NOW,
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: sequence,
    };
    build_batch(spec, &[(None, b"x")])
}

fn with_topic(configs: &str) -> Broker {
    let mut broker = Broker::start(1);
    let made = broker.verb(&format!("topic a partitions=1 {configs}"));
    assert_eq!(made, ["NONE partitions=1"]);
    broker
}

fn offset(broker: &mut Broker, at: i64) -> String {
    broker.verb(&format!("offsets a/0 at={at}")).concat()
}

#[test]
fn the_records_of_a_compressed_batch_say_how_young_it_is() {
    // Case 7.
    for (attributes, compress) in CODECS {
        let mut broker = with_topic("");
        let packed = compress(&records(&[60, 70, 80], 3));
        let told = broker.send("a/0", batch(attributes, 3, (60, 0), &packed), true);
        assert_eq!((told.error.code(), told.base_offset), (0, 0));
        let kept = broker.batches("a/0");
        let head = verify(&kept[0]).expect("its CRC holds");
        assert_eq!((head.max_timestamp, head.attributes), (80, attributes));
        assert_eq!(kept[0][HEAD_LEN..], packed, "as it came");
        assert_eq!(offset(&mut broker, 65), "NONE offset=1 time=70");
        assert_eq!(offset(&mut broker, 80), "NONE offset=2 time=80");
        assert_eq!(offset(&mut broker, -3), "NONE offset=2 time=80");
    }
}

#[test]
fn what_says_the_truth_keeps_its_bytes() {
    for (attributes, compress) in CODECS {
        let mut broker = with_topic("");
        let packed = compress(&records(&[NOW, NOW - 5], 3));
        let sent = batch(attributes, 2, (NOW, NOW), &packed);
        assert_eq!(broker.send("a/0", sent.clone(), true).error.code(), 0);
        assert_eq!(broker.batches("a/0")[0][16..], sent[16..]);
    }
}

#[test]
fn a_batch_that_no_consumer_could_read_is_refused() {
    // Case 8, with 87 where Kafka says -1.
    let mut broker = with_topic("");
    let at = (NOW, NOW);
    let mut null_name = records(&[NOW], 1);
    null_name.pop();
    null_name.extend([2, 1, 1]);
    null_name[0] += 4;
    let good = zstd(&records(&[NOW], 1));
    for (bytes, zstd_allowed, wanted) in [
        (batch(1, 1, at, b"garbage"), true, 87),
        (batch(4, 1, at, b"garbage"), true, 87),
        (batch(5, 1, at, &records(&[NOW], 1)), true, 87),
        (batch(7, 1, at, &records(&[NOW], 1)), true, 87),
        (batch(1, 3, at, &gzip(&records(&[NOW, NOW], 1))), true, 87),
        (batch(1, 1, at, &gzip(&null_name)), true, 87),
        (batch(4, 1, at, &good), false, 76),
        (Bytes::new(), true, 87),
    ] {
        let told = broker.send("a/0", bytes, zstd_allowed);
        assert_eq!(
            (told.error.code(), told.base_offset),
            (wanted, -1),
            "{told:?}"
        );
    }
    assert_eq!(offset(&mut broker, -1), "NONE offset=0 time=-1");
    let taken = broker.send("a/0", batch(4, 1, at, &good), true);
    assert_eq!(taken.error.code(), 0);
}

#[test]
fn who_stamps_the_time_is_the_topics_choice() {
    // Case 9.
    let mut broker = with_topic("message.timestamp.type=LogAppendTime");
    let packed = gzip(&records(&[10, 20, 30, 40, 50], 1));
    let told = broker.send("a/0", batch(1, 5, (10, 50), &packed), true);
    let time = told.log_append_time_ms;
    assert!((NOW..NOW + 1000).contains(&time), "{told:?}");
    let head = verify(&broker.batches("a/0")[0]).expect("its CRC holds");
    let seen = (head.attributes, head.base_timestamp, head.max_timestamp);
    assert_eq!(seen, (9, 10, time));
    let first = format!("NONE offset=0 time={time}");
    assert_eq!(offset(&mut broker, 1), first);
    assert_eq!(offset(&mut broker, time), first);
    assert_eq!(offset(&mut broker, time + 1), "NONE offset=-1 time=-1");
    assert_eq!(offset(&mut broker, -3), first);
    // A producer that sets the flag itself, where times are the producers'.
    for (attributes, bytes) in [
        (8, records(&[NOW, 70], 1)),
        (9, gzip(&records(&[NOW, 70], 1))),
    ] {
        let mut broker = with_topic("");
        let told = broker.send("a/0", batch(attributes, 2, (NOW, 5), &bytes), true);
        assert_eq!((told.error.code(), told.log_append_time_ms), (0, -1));
        let head = verify(&broker.batches("a/0")[0]).expect("its CRC holds");
        assert_eq!((head.attributes, head.max_timestamp), (attributes & 7, NOW));
    }
}

#[test]
fn records_of_an_impossible_time_are_named() {
    // Case 10.
    const HOUR: i64 = 3_600_000;
    for (attributes, compress) in [(0, <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>), (1, gzip)] {
        let mut broker = with_topic("");
        let mut send = |times: &[i64]| {
            let bytes = compress(&records(times, 1));
            let count = times.len() as i32;
            let told = broker.send("a/0", batch(attributes, count, (times[0], 0), &bytes), true);
            let bad = told.record_errors.iter().map(|(index, text)| {
                assert!(text.is_some());
                *index
            });
            (
                told.error.code(),
                bad.collect::<Vec<_>>(),
                told.base_offset,
                told.log_start_offset,
            )
        };
        assert_eq!(send(&[NOW + 2 * HOUR]), (32, vec![0], -1, 0));
        assert_eq!(send(&[NOW * 1000]), (32, vec![0], -1, 0));
        let late = NOW + 3 * HOUR;
        assert_eq!(send(&[NOW, late, late]), (32, vec![1, 2], -1, 0));
        for (offset, time) in [NOW + HOUR - 60_000, -1, -5, 0, NOW - 87_600 * HOUR]
            .iter()
            .enumerate()
        {
            assert_eq!(send(&[*time]), (0, vec![], offset as i64, 0));
        }
        let mut strict = with_topic("message.timestamp.before.max.ms=1000");
        let bytes = compress(&records(&[NOW - 5000], 1));
        let told = strict.send("a/0", batch(attributes, 1, (NOW - 5000, 0), &bytes), true);
        assert_eq!(told.error.code(), 32);
        assert!(told.error_message.is_some());
    }
}

/// A request's answer names so many records in all, however many partitions it has, and is counted by
/// what it says.
#[test]
fn an_answer_that_names_records_stays_small_and_is_counted() {
    let mut broker = with_topic("");
    broker.verb("topic b partitions=4");
    let late = vec![NOW + 7_200_000; 1_500];
    let batch = batch(0, 1_500, (late[0], 0), &records(&late, 1));
    for (topic, partitions, named) in [("a", 1, 1_000), ("b", 4, 250)] {
        let response = broker.send_to_all(topic, partitions, &batch);
        let held = response.held_bytes();
        let Response::Produce(told) = response else {
            panic!("{response:?}");
        };
        let told = &told.topics[0].1;
        let errors: Vec<usize> = told.iter().map(|part| part.record_errors.len()).collect();
        assert_eq!(errors, vec![named; partitions as usize]);
        let texts = told.iter().flat_map(|part| &part.record_errors);
        let texts: usize = texts.flat_map(|(_, why)| why).map(String::len).sum();
        assert!(
            held > texts as u64 + 32_000,
            "{held} for {texts} bytes of texts"
        );
        assert!(held < 200_000, "{held}");
    }
}

#[test]
fn a_batch_overtakes_none_of_its_partition_whatever_job_ends_first() {
    let mut broker = with_topic("");
    let at = (NOW, NOW);
    let packed = |size| batch(1, 1, at, &gzip(&records(&[NOW], size)));
    let plain = batch(0, 1, at, &records(&[NOW], 2));
    let bomb = packed(10 << 20);
    let batches = [
        packed(1),
        bomb,
        plain.clone(),
        batch(1, 1, at, b"garbage"),
        packed(3),
        plain,
    ];
    let told = broker.send_with_late_jobs("a/0", &batches);
    assert_eq!(told, [(0, 0), (1, 0), (2, 0), (-1, 87), (3, 0), (4, 0)]);
    let sizes: Vec<usize> = broker.batches("a/0").iter().map(Bytes::len).collect();
    let sent = [0, 1, 2, 4, 5].map(|index| batches[index].len());
    assert_eq!(sizes, sent);
}

#[test]
fn what_unpacks_to_more_than_may_be_is_too_large() {
    let mut broker = with_topic("");
    for (size, wanted) in [(120 << 20, 0), (130 << 20, 10)] {
        // zstd packs zeroes ten thousand to one.
        let bytes = zstd(&records(&[NOW], size));
        let told = broker.send("a/0", batch(4, 1, (NOW, NOW), &bytes), true);
        assert_eq!(told.error.code(), wanted);
    }
}

#[test]
fn a_batch_that_no_ring_holds_is_too_large_and_no_topic_may_ask_for_it() {
    // The ring of this broker has 256 KiB, of which an eighth is the most.
    let mut broker = with_topic("max.message.bytes=32768");
    let refused = broker.verb("topic b partitions=1 max.message.bytes=32769");
    assert_eq!(refused, ["INVALID_CONFIG partitions=-1"]);
    assert_eq!(broker.verb("topic c partitions=1"), ["NONE partitions=1"]);
    let of = |size| batch(0, 1, (NOW, NOW), &records(&[NOW], size));
    assert!(of(32_600).len() <= 32_768);
    assert_eq!(broker.send("c/0", of(32_600), true).error.code(), 0);
    assert_eq!(broker.send("c/0", of(32_768), true).error.code(), 10);
}

#[test]
fn sequences_are_judged_as_kafka_does() {
    // Cases 1 and 3 through the broker; what DeleteRecords leaves of them.
    let mut broker = with_topic("max.message.bytes=200");
    let code = |broker: &mut Broker, bytes: Bytes| {
        let told = broker.send("a/0", bytes, true);
        (told.error.code(), told.base_offset)
    };
    let large = |sequence: i32| {
        let spec = BatchSpec {
            timestamp: NOW,
            producer_id: 7,
            producer_epoch: 0,
            base_sequence: sequence,
        };
        build_batch(spec, &[(None, &[b'x'; 300])])
    };
    assert_eq!(code(&mut broker, large(0)), (10, -1));
    assert_eq!(code(&mut broker, sequenced(1)), (0, 0));
    assert_eq!(code(&mut broker, large(2)), (10, -1));
    assert_eq!(code(&mut broker, sequenced(3)), (45, -1));
    assert_eq!(code(&mut broker, sequenced(2)), (0, 1));
    assert_eq!(broker.verb("trim a/0 to=-1"), ["NONE low=2"]);
    assert_eq!(code(&mut broker, sequenced(2)), (0, 1));
    assert_eq!(code(&mut broker, sequenced(5)), (45, -1));
    assert_eq!(code(&mut broker, sequenced(3)), (0, 2));
}

#[test]
fn a_lookup_by_time_finds_the_first_record_that_is_young_enough() {
    // Case 30.
    let mut broker = with_topic("");
    for times in [&[100][..], &[50], &[75], &[400, 10, 600, 20]] {
        let bytes = records(times, 1);
        broker.send(
            "a/0",
            batch(0, times.len() as i32, (times[0], 0), &bytes),
            true,
        );
    }
    for (at, wanted) in [
        (60, "NONE offset=0 time=100"),
        (80, "NONE offset=0 time=100"),
        (101, "NONE offset=3 time=400"),
        (500, "NONE offset=5 time=600"),
        (15, "NONE offset=0 time=100"),
        (300, "NONE offset=3 time=400"),
        (-3, "NONE offset=5 time=600"),
    ] {
        assert_eq!(offset(&mut broker, at), wanted, "{at}");
    }
}
