//! Client and server sides of the codec against each other, at every version, and against bytes
//! that are cut, flipped or hostile.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{NodeId, Uuid};
use seedlog_core::limits::Limits;
use seedlog_net::apis::APIS;
use seedlog_net::client;
use seedlog_net::server::{self, Call};

fn topic() -> TopicRef {
    TopicRef {
        name: "clicks".into(),
        id: Uuid::ZERO,
    }
}

/// A request and an answer of the APIs below, with values that every version carries.
fn samples() -> Vec<(i16, Request, Response)> {
    let mut samples = data_samples().to_vec();
    samples.extend(offset_samples());
    samples.extend(admin_samples());
    samples
}

fn data_samples() -> [(i16, Request, Response); 2] {
    let batch = Bytes::from(vec![7; 2000]);
    let produced = PartitionProduced {
        index: 2,
        base_offset: 9,
        log_append_time_ms: -1,
        ..Default::default()
    };
    let fetched = PartitionFetched {
        index: 2,
        high_watermark: 10,
        last_stable_offset: 10,
        records: vec![batch.clone(), Bytes::from_static(b"tail")],
        ..Default::default()
    };
    let fetch = PartitionFetch {
        index: 2,
        current_leader_epoch: -1,
        fetch_offset: 5,
        last_fetched_epoch: -1,
        max_bytes: 99,
    };
    let produce = ProduceRequest {
        acks: -1,
        timeout_ms: 5,
        topics: vec![TopicProduce {
            topic: topic(),
            partitions: vec![(2, Some(batch)), (3, None)],
        }],
        ..Default::default()
    };
    let topics = vec![(topic(), vec![produced])];
    let fetch = FetchRequest {
        max_wait_ms: 1,
        min_bytes: 2,
        max_bytes: 3,
        session_epoch: -1,
        topics: vec![TopicFetch {
            topic: topic(),
            partitions: vec![fetch],
        }],
        ..Default::default()
    };
    let answer = FetchResponse {
        topics: vec![(topic(), vec![fetched])],
        ..Default::default()
    };
    [
        (
            0,
            Request::Produce(produce),
            Response::Produce(ProduceResponse { topics }),
        ),
        (1, Request::Fetch(fetch), Response::Fetch(answer)),
    ]
}

fn offset_samples() -> [(i16, Request, Response); 2] {
    let query = PartitionOffsetQuery {
        index: 1,
        current_leader_epoch: -1,
        timestamp: -2,
    };
    let found = PartitionOffset {
        index: 1,
        offset: 4,
        timestamp: -1,
        leader_epoch: -1,
        ..Default::default()
    };
    let trim = DeleteRecordsRequest {
        topics: vec![(topic(), vec![(1, 5)])],
        timeout_ms: 7,
    };
    let trimmed = DeleteRecordsResponse {
        topics: vec![(topic(), vec![(1, 5, ErrorCode::None)])],
    };
    [
        (
            2,
            Request::ListOffsets(ListOffsetsRequest {
                topics: vec![(topic(), vec![query])],
                timeout_ms: -1,
            }),
            Response::ListOffsets(ListOffsetsResponse {
                topics: vec![(topic(), vec![found])],
            }),
        ),
        (
            21,
            Request::DeleteRecords(trim),
            Response::DeleteRecords(trimmed),
        ),
    ]
}

fn admin_samples() -> [(i16, Request, Response); 4] {
    let name = "clicks".to_string();
    let metadata = MetadataResponse {
        brokers: vec![(NodeId(0), Some(("h".into(), 9)))],
        topics: vec![TopicMetadata {
            topic: topic(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let ask = MetadataRequest {
        topics: Some(vec![topic()]),
        allow_auto_topic_creation: true,
    };
    let wanted = NewTopic {
        name: name.clone(),
        partitions: 3,
        configs: vec![("retention.ms".into(), Some("1".into()))],
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![wanted],
        ..Default::default()
    };
    let created = TopicCreated {
        name: name.clone(),
        error: ErrorCode::InvalidTopic,
        ..Default::default()
    };
    let init = InitProducerIdRequest {
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let inited = InitProducerIdResponse {
        producer_id: 77,
        ..Default::default()
    };
    let partitions = CreatePartitionsRequest {
        topics: vec![(name, 5, None)],
        ..Default::default()
    };
    [
        (3, Request::Metadata(ask), Response::Metadata(metadata)),
        (
            19,
            Request::CreateTopics(create),
            Response::CreateTopics(CreateTopicsResponse {
                topics: vec![created],
            }),
        ),
        (
            22,
            Request::InitProducerId(init),
            Response::InitProducerId(inited),
        ),
        (
            37,
            Request::CreatePartitions(partitions),
            Response::CreatePartitions(CreatePartitionsResponse::default()),
        ),
    ]
}

fn joined(response: &Response) -> Response {
    let mut response = response.clone();
    if let Response::Fetch(fetch) = &mut response {
        for part in fetch.topics.iter_mut().flat_map(|(_, parts)| parts) {
            part.records = vec![Bytes::from(part.records.concat())];
        }
    }
    response
}

fn versions(key: i16) -> std::ops::RangeInclusive<i16> {
    let api = APIS.iter().find(|api| api.key == key).expect("served");
    // From 13 on Produce and Fetch name topics by id, which these samples do not.
    api.min..=if key <= 1 { 12 } else { api.max }
}

#[test]
fn both_sides_agree_at_every_version() {
    let mut exchanged = 0;
    for (key, request, response) in samples() {
        for version in versions(key) {
            let mut client = client::Connection::new("test");
            client.set_version(key, version);
            let mut server = server::Connection::new("h".into(), 9, Limits::default());
            let (correlation, frame) = client.request(&request);
            // Byte by byte: a frame may come in any pieces.
            for byte in frame.chunks(1) {
                server
                    .receive(Bytes::copy_from_slice(byte))
                    .expect("understood");
            }
            let Call {
                call,
                request: read,
                ..
            } = server.next_call().expect("a call");
            let mut meant = request.clone();
            if let Request::Produce(produce) = &mut meant {
                // What the version says of what the client may compress with (KIP-110).
                produce.zstd_allowed = version >= 7;
            }
            assert_eq!(read, meant, "{key} v{version}");
            server.reply(call, response.clone());
            let answer = Bytes::from(server.take_output().concat());
            let answers = client.receive(answer).expect("understood");
            if (key, version) < (3, 10) || key == 37 || key == 21 || key == 22 {
                assert_eq!(answers.len(), 1);
                assert_eq!(answers[0].0, correlation);
                if key > 3 || (key <= 1 && version >= 5) {
                    assert_eq!(joined(&answers[0].1), joined(&response), "{key} v{version}");
                }
            }
            exchanged += 1;
        }
    }
    assert!(exchanged > 45, "{exchanged} exchanges");
}

#[test]
fn answers_leave_in_the_order_of_the_calls() {
    let mut client = client::Connection::new("test");
    let mut server = server::Connection::new("h".into(), 9, Limits::default());
    let (_, request, response) = samples().remove(2);
    for _ in 0..3 {
        server
            .receive(client.request(&request).1)
            .expect("understood");
    }
    let calls: Vec<_> = std::iter::from_fn(|| server.next_call())
        .map(|call| call.call)
        .collect();
    for call in [calls[2], calls[1]] {
        server.reply(call, response.clone());
        assert!(server.take_output().is_empty());
    }
    server.reply(calls[0], response);
    let answers = client
        .receive(Bytes::from(server.take_output().concat()))
        .expect("understood");
    assert_eq!(
        answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

/// What librdkafka 2.16.1 sends to ask for every topic: Metadata v13 with three bytes left over.
#[test]
fn bytes_after_a_request_are_ignored() {
    let mut frame = vec![0, 0, 0, 25, 0, 3, 0, 13, 0, 0, 0, 3, 0, 7];
    frame.extend_from_slice(b"rdkafka");
    frame.extend_from_slice(&[0; 8]);
    let mut server = server::Connection::new("h".into(), 9, Limits::default());
    assert!(server.receive(frame.into()).is_ok());
    let request = server.next_call().expect("a call").request;
    assert!(matches!(request, Request::Metadata(_)), "{request:?}");
}

#[test]
fn what_is_not_served_closes_and_unknown_api_versions_are_told() {
    let frame = |key: i16, version: i16| {
        let mut out = BytesMut::new();
        out.put_i32(10);
        out.put_i16(key);
        out.put_i16(version);
        out.put_i32(5);
        out.put_i16(-1);
        out.freeze()
    };
    for (key, version) in [(0, 2), (3, 14), (11, 5), (-1, 0)] {
        let mut server = server::Connection::new("h".into(), 9, Limits::default());
        assert!(
            server.receive(frame(key, version)).is_err(),
            "{key} v{version}"
        );
    }
    let mut server = server::Connection::new("h".into(), 9, Limits::default());
    server.receive(frame(18, 99)).expect("answered");
    let answer = server.take_output().concat();
    assert_eq!(
        answer[8..10],
        35i16.to_be_bytes(),
        "UNSUPPORTED_VERSION in v0"
    );
    assert!(
        server.receive(Bytes::from_static(&[0x7f; 4])).is_err(),
        "a frame over the limit"
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_server_panic(key in 0i16..40, version in 0i16..14, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut frame = BytesMut::new();
        frame.put_i32(body.len() as i32 + 10);
        frame.put_i16(key);
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        frame.put_slice(&body);
        let _ = server::Connection::new("h".into(), 9, Limits::default()).receive(frame.freeze());
    }

    #[test]
    fn a_damaged_request_never_panics(which in 0usize..8, at in 0usize..300, bit in 0u8..8, cut in any::<bool>()) {
        let (_, request, _) = samples().remove(which);
        let (_, frame) = client::Connection::new("test").request(&request);
        let mut bytes = frame.to_vec();
        let at = 12 + at % (bytes.len() - 12);
        match cut {
            true => {
                bytes.truncate(at);
                let size = (bytes.len() - 4) as i32;
                bytes[..4].copy_from_slice(&size.to_be_bytes());
            }
            false => bytes[at] ^= 1 << bit,
        }
        let _ = server::Connection::new("h".into(), 9, Limits::default()).receive(Bytes::from(bytes));
    }
}
