//! Writes the first inputs for the fuzz targets, one valid message for each API, version and direction:
//! `cargo run -p seedlog-net --example fuzz_seeds -- FOLDER`.

#![allow(
    clippy::disallowed_methods,
    reason = "a tool of the fuzzers writes its files"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use seedlog_core::api::*;
use seedlog_core::batch::{build_batch, BatchSpec};
use seedlog_core::ids::{NodeId, Uuid};
use seedlog_core::limits::Limits;
use seedlog_net::apis::find;
use seedlog_net::decoders::{REQUESTS, RESPONSES};
use seedlog_net::{client, server};

fn topic() -> TopicRef {
    TopicRef {
        name: "abc".into(),
        id: Uuid([7; 16]),
    }
}

fn batch() -> Bytes {
    build_batch(BatchSpec::plain(70), &[(Some(b"k"), b"v"), (None, b"w")])
}

/// A request that has something in each of its lists, and what may answer it.
fn messages(key: i16) -> Option<(Request, Response)> {
    Some(match key {
        0 => produce(),
        1 => fetch(),
        2 => (
            Request::ListOffsets(ListOffsetsRequest {
                topics: vec![(topic(), vec![PartitionOffsetQuery::default()])],
                timeout_ms: 9,
                isolation: 0,
            }),
            Response::ListOffsets(ListOffsetsResponse {
                topics: vec![(topic(), vec![PartitionOffset::default()])],
            }),
        ),
        3 => metadata(),
        10 => (
            Request::FindCoordinator(FindCoordinatorRequest {
                key_type: 1,
                keys: vec!["g".into()],
            }),
            Response::FindCoordinator(FindCoordinatorResponse {
                keys: vec![("g".into(), Default::default())],
            }),
        ),
        19 => create_topics(),
        20 => (
            Request::DeleteTopics(DeleteTopicsRequest {
                topics: vec![topic()],
                misnamed: Vec::new(),
                timeout_ms: 9,
            }),
            Response::DeleteTopics(DeleteTopicsResponse {
                topics: vec![(topic(), Default::default(), Some("why".into()))],
            }),
        ),
        21 => (
            Request::DeleteRecords(DeleteRecordsRequest {
                topics: vec![(topic(), vec![(1, 5)])],
                timeout_ms: 9,
            }),
            Response::DeleteRecords(DeleteRecordsResponse {
                topics: vec![(topic(), vec![(1, 5, Default::default())])],
            }),
        ),
        22 => (
            Request::InitProducerId(InitProducerIdRequest::default()),
            Response::InitProducerId(InitProducerIdResponse::default()),
        ),
        23 => (
            Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest {
                topics: vec![(topic(), vec![(1, 2, 3)])],
            }),
            Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse {
                topics: vec![(topic(), vec![EpochEnd::default()])],
            }),
        ),
        37 => (
            Request::CreatePartitions(CreatePartitionsRequest {
                topics: vec![("abc".into(), 3, Some(vec![vec![NodeId(1)]]))],
                timeout_ms: 9,
                validate_only: true,
            }),
            Response::CreatePartitions(CreatePartitionsResponse {
                topics: vec![("abc".into(), Default::default(), Some("why".into()))],
            }),
        ),
        _ => return None,
    })
}

fn produce() -> (Request, Response) {
    let request = ProduceRequest {
        acks: 1,
        topics: vec![TopicProduce {
            topic: topic(),
            partitions: vec![(0, Some(batch())), (1, None)],
        }],
        ..Default::default()
    };
    let part = PartitionProduced {
        record_errors: vec![(1, Some("why".into()))],
        error_message: Some("why".into()),
        ..Default::default()
    };
    let topics = vec![(topic(), vec![part])];
    (
        Request::Produce(request),
        Response::Produce(ProduceResponse { topics }),
    )
}

fn fetch() -> (Request, Response) {
    let request = FetchRequest {
        max_bytes: 1_000,
        topics: vec![TopicFetch {
            topic: topic(),
            partitions: vec![PartitionFetch::default()],
        }],
        ..Default::default()
    };
    let part = PartitionFetched {
        records: vec![batch()],
        ..Default::default()
    };
    let response = FetchResponse {
        topics: vec![(topic(), vec![part])],
        ..Default::default()
    };
    (Request::Fetch(request), Response::Fetch(response))
}

fn metadata() -> (Request, Response) {
    let request = MetadataRequest {
        topics: Some(vec![topic()]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let partition = PartitionMetadata {
        replicas: vec![NodeId(0)],
        isr: vec![NodeId(0)],
        ..Default::default()
    };
    let response = MetadataResponse {
        brokers: vec![(NodeId(0), Some(("host".into(), 9092)))],
        topics: vec![TopicMetadata {
            topic: topic(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    (Request::Metadata(request), Response::Metadata(response))
}

fn create_topics() -> (Request, Response) {
    let request = CreateTopicsRequest {
        topics: vec![NewTopic {
            name: "abc".into(),
            partitions: 2,
            replication_factor: 1,
            assignments: vec![(0, vec![NodeId(0)])],
            configs: vec![("retention.ms".into(), Some("5".into()))],
        }],
        timeout_ms: 9,
        validate_only: true,
    };
    let response = CreateTopicsResponse {
        topics: vec![TopicCreated {
            name: "abc".into(),
            configs: vec![("retention.ms".into(), Some("5".into()), true)],
            ..Default::default()
        }],
    };
    (
        Request::CreateTopics(request),
        Response::CreateTopics(response),
    )
}

fn write(folder: &Path, name: &str, input: &[u8]) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join(name), input).expect("a file");
}

fn broker() -> server::Connection {
    server::Connection::new("broker".into(), 9092, Limits::DEFAULT)
}

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("a folder"));
    for (at, (name, key, _)) in REQUESTS.iter().enumerate() {
        let api = find(*key).expect("an API");
        for version in api.min..=api.max {
            let (at, byte) = (at as u8, (version - api.min) as u8);
            let Some((request, response)) = messages(*key) else {
                // No client id; then empty fields, and no tags.
                let input = [at, byte, 0xff, 0xff, 0, 2, b'a', 2, b'b', 0];
                write(
                    &folder.join("requests"),
                    &format!("{name}-{version}"),
                    &input,
                );
                continue;
            };
            let mut client = client::Connection::new("");
            client.set_version(*key, version);
            let (_, frame) = client.request(&request);
            let input = [&[at, byte], &frame[12..]].concat();
            write(
                &folder.join("requests"),
                &format!("{name}-{version}"),
                &input,
            );
            let body = frame.len() as u8 - 12;
            let stream = [&[0, 2, 1, 9, at, version as u8, body], &frame[12..]].concat();
            let streams = folder.join("server_connection");
            write(&streams, &format!("{name}-{version}"), &stream);
            let mut broker = broker();
            broker.arrived(&frame).expect("a frame");
            let call = broker.decode().expect("a request").expect("a call");
            broker.reply(call.call, response);
            let answer = broker.take_output().concat();
            let entry = RESPONSES.iter().position(|(_, of, _)| of == key);
            let entry = entry.expect("a response") as u8;
            let input = [&[entry, byte], &answer[8..]].concat();
            write(
                &folder.join("responses"),
                &format!("{name}-{version}"),
                &input,
            );
            let len = answer.len() as u8 - 8;
            let stream = [&[0, at, byte, 2, 1, 9, 1, 0, len], &answer[8..]].concat();
            let streams = folder.join("client_connection");
            write(&streams, &format!("{name}-{version}"), &stream);
        }
    }
    let records = [&[0xff], &batch()[..]].concat();
    write(&folder.join("responses"), "records", &records);
}
