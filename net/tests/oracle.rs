//! Our codec against another's: what we write at each version must be read by the crate
//! `kafka-protocol` to the same content, nothing left over, and written by it to the same bytes.
//!
//! Every value is one of its kind, so that a field in another's place shows. The crate is given
//! only bytes that we wrote: it trusts lengths.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::Decodable;
use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{NodeId, Uuid};
use seedlog_net::apis::{Api, APIS, API_VERSIONS};
use seedlog_net::{client, server};

/// A piece of the crate's view of a message, and the versions that carry it.
type Told = (&'static str, std::ops::RangeInclusive<i16>);

/// One exchange, and what the crate must find in request and response.
struct Sample {
    key: i16,
    request: Request,
    asked: Vec<Told>,
    response: Response,
    answered: Vec<Told>,
}

const ID: Uuid = Uuid([0xab; 16]);
const ID_TEXT: &str = "abababab-abab-abab-abab-abababababab";

fn topic() -> TopicRef {
    TopicRef {
        name: "clicks-ü".into(),
        id: ID,
    }
}

fn produce() -> Sample {
    let request = ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1111,
        topics: vec![TopicProduce {
            topic: topic(),
            partitions: vec![(12, Some(Bytes::from_static(b"records"))), (13, None)],
        }],
    };
    let produced = PartitionProduced {
        index: 21,
        error: ErrorCode::InvalidRecord,
        base_offset: 2222,
        log_append_time_ms: 2323,
        log_start_offset: 2424,
        error_message: Some("it is bad".into()),
    };
    Sample {
        key: 0,
        request: Request::Produce(request),
        asked: vec![
            ("acks: -1", 3..=13),
            ("timeout_ms: 1111", 3..=13),
            ("clicks-ü", 3..=12),
            (ID_TEXT, 13..=13),
            ("index: 12, records: Some", 3..=13),
            ("index: 13, records: None", 3..=13),
        ],
        response: Response::Produce(ProduceResponse {
            topics: vec![(topic(), vec![produced])],
        }),
        answered: vec![
            ("clicks-ü", 3..=12),
            (ID_TEXT, 13..=13),
            ("index: 21, error_code: 87, base_offset: 2222", 3..=13),
            ("log_append_time_ms: 2323", 3..=13),
            ("log_start_offset: 2424", 5..=13),
            ("it is bad", 8..=13),
        ],
    }
}

fn fetch() -> Sample {
    let partition = PartitionFetch {
        index: 12,
        current_leader_epoch: 1313,
        fetch_offset: 1414,
        last_fetched_epoch: 1515,
        max_bytes: 1616,
    };
    let request = FetchRequest {
        max_wait_ms: 1717,
        min_bytes: 1818,
        max_bytes: 1919,
        session_id: 2020,
        session_epoch: 2121,
        by_id: false,
        topics: vec![TopicFetch {
            topic: topic(),
            partitions: vec![partition],
        }],
    };
    let fetched = PartitionFetched {
        index: 22,
        error: ErrorCode::OffsetOutOfRange,
        high_watermark: 2323,
        last_stable_offset: 2424,
        log_start_offset: 2525,
        records: vec![Bytes::from_static(b"rec"), Bytes::from_static(b"ords")],
    };
    Sample {
        key: 1,
        request: Request::Fetch(request),
        asked: vec![
            (
                "max_wait_ms: 1717, min_bytes: 1818, max_bytes: 1919",
                4..=16,
            ),
            ("session_id: 2020, session_epoch: 2121", 7..=16),
            ("clicks-ü", 4..=12),
            (ID_TEXT, 13..=16),
            ("partition: 12", 4..=16),
            ("current_leader_epoch: 1313", 9..=16),
            ("fetch_offset: 1414", 4..=16),
            ("last_fetched_epoch: 1515", 12..=16),
            ("partition_max_bytes: 1616", 4..=16),
        ],
        response: Response::Fetch(FetchResponse {
            error: ErrorCode::FetchSessionIdNotFound,
            session_id: 2626,
            topics: vec![(topic(), vec![fetched])],
        }),
        answered: vec![
            ("error_code: 70, session_id: 2626", 7..=16),
            ("clicks-ü", 4..=12),
            (ID_TEXT, 13..=16),
            (
                "partition_index: 22, error_code: 1, high_watermark: 2323",
                4..=16,
            ),
            ("last_stable_offset: 2424", 4..=16),
            ("log_start_offset: 2525", 5..=16),
            ("b\"records\"", 4..=16),
        ],
    }
}

fn list_offsets() -> Sample {
    let query = PartitionOffsetQuery {
        index: 12,
        current_leader_epoch: 1313,
        timestamp: 1414,
    };
    let found = PartitionOffset {
        index: 22,
        error: ErrorCode::None,
        timestamp: 2323,
        offset: 2424,
        leader_epoch: 2525,
    };
    Sample {
        key: 2,
        request: Request::ListOffsets(ListOffsetsRequest {
            topics: vec![(topic(), vec![query])],
        }),
        asked: vec![
            ("clicks-ü", 1..=8),
            ("replica_id: -1", 1..=8),
            ("partition_index: 12", 1..=8),
            ("current_leader_epoch: 1313", 4..=8),
            ("timestamp: 1414", 1..=8),
        ],
        response: Response::ListOffsets(ListOffsetsResponse {
            topics: vec![(topic(), vec![found])],
        }),
        answered: vec![
            ("partition_index: 22", 1..=8),
            ("timestamp: 2323, offset: 2424", 1..=8),
            ("leader_epoch: 2525", 4..=8),
        ],
    }
}

fn metadata() -> Sample {
    let partition = PartitionMetadata {
        error: ErrorCode::LeaderNotAvailable,
        index: 22,
        leader: NodeId(23),
        leader_epoch: 2424,
        replicas: vec![NodeId(25), NodeId(26)],
        isr: vec![NodeId(27)],
    };
    let described = TopicMetadata {
        error: ErrorCode::InvalidTopic,
        topic: topic(),
        is_internal: true,
        partitions: vec![partition],
    };
    Sample {
        key: 3,
        request: Request::Metadata(MetadataRequest {
            topics: Some(vec![topic()]),
            allow_auto_topic_creation: true,
        }),
        asked: vec![
            ("clicks-ü", 0..=13),
            (ID_TEXT, 10..=13),
            ("allow_auto_topic_creation: true", 4..=13),
        ],
        response: Response::Metadata(MetadataResponse {
            brokers: vec![(NodeId(28), Some(("höst".into(), 2929)))],
            cluster_id: ID,
            controller: NodeId(30),
            topics: vec![described],
        }),
        answered: vec![
            ("node_id: 28, host: \"höst\", port: 2929", 0..=13),
            ("q6urq6urq6urq6urq6urqw", 2..=13),
            ("controller_id: 30", 1..=13),
            ("error_code: 17, name: Some(\"clicks-ü\")", 0..=13),
            (ID_TEXT, 10..=13),
            ("is_internal: true", 1..=13),
            ("error_code: 5, partition_index: 22, leader_id: 23", 0..=13),
            ("leader_epoch: 2424", 7..=13),
            ("replica_nodes: [25, 26]", 0..=13),
            ("isr_nodes: [27]", 0..=13),
        ],
    }
}

fn find_coordinator() -> Sample {
    let keys = vec![("group-ü".to_string(), ErrorCode::CoordinatorNotAvailable)];
    Sample {
        key: 10,
        request: Request::FindCoordinator(FindCoordinatorRequest {
            keys: vec!["group-ü".into()],
            key_type: 1,
        }),
        asked: vec![
            ("key: \"group-ü\"", 0..=3),
            ("coordinator_keys: [\"group-ü\"]", 4..=5),
            ("key_type: 1", 1..=5),
        ],
        response: Response::FindCoordinator(FindCoordinatorResponse { keys }),
        answered: vec![
            ("error_code: 15", 0..=5),
            ("node_id: -1", 0..=5),
            ("key: \"group-ü\"", 4..=5),
            ("serves no groups", 1..=5),
        ],
    }
}

fn create_topics() -> Sample {
    let wanted = NewTopic {
        name: "wanted".into(),
        partitions: 12,
        replication_factor: 13,
        assignments: vec![(14, vec![NodeId(15), NodeId(16)])],
        configs: vec![("a.b".into(), Some("c".into())), ("d.e".into(), None)],
    };
    let created = TopicCreated {
        name: "wanted".into(),
        id: ID,
        error: ErrorCode::TopicAlreadyExists,
        error_message: Some("there is one".into()),
        partitions: 22,
        replication_factor: 23,
        configs: vec![("f.g".into(), Some("h".into()), true)],
    };
    Sample {
        key: 19,
        request: Request::CreateTopics(CreateTopicsRequest {
            topics: vec![wanted],
            timeout_ms: 1717,
            validate_only: true,
        }),
        asked: vec![
            (
                "name: \"wanted\", num_partitions: 12, replication_factor: 13",
                2..=7,
            ),
            ("partition_index: 14, broker_ids: [15, 16]", 2..=7),
            ("name: \"a.b\", value: Some(\"c\")", 2..=7),
            ("name: \"d.e\", value: None", 2..=7),
            ("timeout_ms: 1717, validate_only: true", 2..=7),
        ],
        response: Response::CreateTopics(CreateTopicsResponse {
            topics: vec![created],
        }),
        answered: vec![
            ("name: \"wanted\"", 2..=7),
            (ID_TEXT, 7..=7),
            (
                "error_code: 36, error_message: Some(\"there is one\")",
                2..=7,
            ),
            ("num_partitions: 22, replication_factor: 23", 5..=7),
            ("name: \"f.g\", value: Some(\"h\")", 5..=7),
            ("config_source: 5", 5..=7),
        ],
    }
}

fn delete_topics() -> Sample {
    let answer = (topic(), ErrorCode::InvalidRequest, Some("not so".into()));
    Sample {
        key: 20,
        request: Request::DeleteTopics(DeleteTopicsRequest {
            topics: vec![topic()],
        }),
        asked: vec![
            ("clicks-ü", 1..=6),
            (ID_TEXT, 6..=6),
            ("timeout_ms: 30000", 1..=6),
        ],
        response: Response::DeleteTopics(DeleteTopicsResponse {
            topics: vec![answer],
        }),
        answered: vec![
            ("clicks-ü", 1..=6),
            (ID_TEXT, 6..=6),
            ("error_code: 42", 1..=6),
            ("not so", 5..=6),
        ],
    }
}

fn delete_records() -> Sample {
    Sample {
        key: 21,
        request: Request::DeleteRecords(DeleteRecordsRequest {
            topics: vec![(topic(), vec![(12, 1313)])],
        }),
        asked: vec![
            ("clicks-ü", 0..=2),
            ("partition_index: 12, offset: 1313", 0..=2),
        ],
        response: Response::DeleteRecords(DeleteRecordsResponse {
            topics: vec![(topic(), vec![(22, 2323, ErrorCode::OffsetOutOfRange)])],
        }),
        answered: vec![
            ("clicks-ü", 0..=2),
            (
                "partition_index: 22, low_watermark: 2323, error_code: 1",
                0..=2,
            ),
        ],
    }
}

fn init_producer_id() -> Sample {
    Sample {
        key: 22,
        request: Request::InitProducerId(InitProducerIdRequest {
            transactional_id: Some("tx-ü".into()),
            producer_id: 1212,
            producer_epoch: 1313,
        }),
        asked: vec![
            ("tx-ü", 0..=5),
            ("producer_id: 1212, producer_epoch: 1313", 3..=5),
        ],
        response: Response::InitProducerId(InitProducerIdResponse {
            error: ErrorCode::InvalidProducerEpoch,
            producer_id: 2222,
            producer_epoch: 2323,
        }),
        answered: vec![(
            "error_code: 47, producer_id: 2222, producer_epoch: 2323",
            0..=5,
        )],
    }
}

fn epochs() -> Sample {
    let end = EpochEnd {
        index: 22,
        error: ErrorCode::FencedLeaderEpoch,
        leader_epoch: 2323,
        end_offset: 2424,
    };
    Sample {
        key: 23,
        request: Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest {
            topics: vec![(topic(), vec![(12, 1313, 1414)])],
        }),
        asked: vec![
            ("clicks-ü", 2..=4),
            (
                "partition: 12, current_leader_epoch: 1313, leader_epoch: 1414",
                2..=4,
            ),
        ],
        response: Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse {
            topics: vec![(topic(), vec![end])],
        }),
        answered: vec![(
            "error_code: 74, partition: 22, leader_epoch: 2323, end_offset: 2424",
            2..=4,
        )],
    }
}

fn create_partitions() -> Sample {
    let assignments = Some(vec![vec![NodeId(13), NodeId(14)]]);
    let answer = (
        "more".to_string(),
        ErrorCode::InvalidPartitions,
        Some("too few".into()),
    );
    Sample {
        key: 37,
        request: Request::CreatePartitions(CreatePartitionsRequest {
            topics: vec![("more".into(), 12, assignments)],
            validate_only: true,
        }),
        asked: vec![
            ("name: \"more\", count: 12", 0..=3),
            ("broker_ids: [13, 14]", 0..=3),
            ("validate_only: true", 0..=3),
        ],
        response: Response::CreatePartitions(CreatePartitionsResponse {
            topics: vec![answer],
        }),
        answered: vec![(
            "name: \"more\", error_code: 37, error_message: Some(\"too few\")",
            0..=3,
        )],
    }
}

fn samples() -> Vec<Sample> {
    vec![
        produce(),
        fetch(),
        list_offsets(),
        metadata(),
        find_coordinator(),
        create_topics(),
        delete_topics(),
        delete_records(),
        init_producer_id(),
        epochs(),
        create_partitions(),
    ]
}

/// What is wrong with the crate's view of a message, if anything is.
fn compare(view: &str, told: &[Told], version: i16, ours: &[u8], theirs: &[u8]) -> Option<String> {
    let missing = told
        .iter()
        .filter(|(_, versions)| versions.contains(&version))
        .find(|(text, _)| !view.contains(text));
    if let Some((text, _)) = missing {
        return Some(format!("'{text}' is not in {view}"));
    }
    (ours != theirs).then(|| format!("other bytes: {ours:?} and {theirs:?} of {view}"))
}

fn check_request(api: &Api, version: i16, sample: &Sample, frame: &[u8]) -> Option<String> {
    let key = ApiKey::try_from(api.key).expect("a key that the crate knows");
    let mut rest = Bytes::copy_from_slice(&frame[4..]);
    let header = RequestHeader::decode(&mut rest, key.request_header_version(version));
    let header = header.expect("a header");
    assert_eq!(
        (
            header.request_api_key,
            header.request_api_version,
            header.client_id.as_deref()
        ),
        (api.key, version, Some("oracle"))
    );
    let ours = rest.clone();
    let Ok(request) = RequestKind::decode(key, &mut rest, version) else {
        return Some("the crate cannot read it".into());
    };
    if rest.has_remaining() {
        return Some(format!("{} bytes left of {request:?}", rest.remaining()));
    }
    let mut theirs = BytesMut::new();
    request.encode(&mut theirs, version).expect("written");
    compare(
        &format!("{request:?}"),
        &sample.asked,
        version,
        &ours,
        &theirs,
    )
}

fn check_response(api: &Api, version: i16, told: &[Told], frame: &[u8]) -> Option<String> {
    let key = ApiKey::try_from(api.key).expect("a key that the crate knows");
    let mut rest = Bytes::copy_from_slice(&frame[4..]);
    ResponseHeader::decode(&mut rest, key.response_header_version(version)).expect("a header");
    let ours = rest.clone();
    let Ok(response) = ResponseKind::decode(key, &mut rest, version) else {
        return Some("the crate cannot read it".into());
    };
    if rest.has_remaining() {
        return Some(format!("{} bytes left of {response:?}", rest.remaining()));
    }
    let mut theirs = BytesMut::new();
    response.encode(&mut theirs, version).expect("written");
    compare(&format!("{response:?}"), told, version, &ours, &theirs)
}

/// Both frames of an exchange at this version.
fn frames(sample: &Sample, version: i16) -> (Vec<u8>, Vec<u8>) {
    let mut client = client::Connection::new("oracle");
    client.set_version(sample.key, version);
    let (_, frame) = client.request(&sample.request);
    let mut server = server::Connection::new("h".into(), 9, 1 << 20);
    server.receive(frame.clone()).expect("understood");
    let (call, _) = server.next_call().expect("a call");
    server.reply(call, sample.response.clone());
    (frame.to_vec(), server.take_output().concat())
}

#[test]
fn another_codec_reads_what_we_write_at_every_version() {
    let mut seen = BTreeSet::new();
    for sample in samples() {
        let api = APIS
            .iter()
            .find(|api| api.key == sample.key)
            .expect("served");
        for version in api.min..=api.max {
            let (asked, answered) = frames(&sample, version);
            let wrong = check_request(api, version, &sample, &asked)
                .or_else(|| check_response(api, version, &sample.answered, &answered));
            assert_eq!(wrong, None, "{} v{version}", api.name);
            seen.insert((api.key, version));
        }
    }
    let served = APIS.iter().filter(|api| api.key != API_VERSIONS);
    let served = served.flat_map(|api| (api.min..=api.max).map(|version| (api.key, version)));
    assert_eq!(
        seen,
        served.collect(),
        "an API that is served was not compared"
    );
}

#[test]
fn api_versions_are_read_as_they_stand() {
    let api = APIS
        .iter()
        .find(|api| api.key == API_VERSIONS)
        .expect("served");
    for version in api.min..=api.max {
        let mut frame = vec![0, 0, 0, 0, 0, 18, 0, version as u8, 0, 0, 0, 5, 0xff, 0xff];
        if version >= api.flexible {
            // Tags of the header, client software's name and version, tags of the body.
            frame.extend_from_slice(b"\0\x02n\x02v\0");
        }
        frame[3] = frame.len() as u8 - 4;
        let mut server = server::Connection::new("h".into(), 9, 1 << 20);
        server.receive(frame.into()).expect("understood");
        let answer = server.take_output().concat();
        let told: Vec<Told> = vec![
            ("error_code: 0", 0..=4),
            ("api_key: 0, min_version: 0, max_version: 13", 0..=4),
            ("api_key: 37, min_version: 0, max_version: 3", 0..=4),
        ];
        let wrong = check_response(api, version, &told, &answer);
        assert_eq!(wrong, None, "v{version}");
    }
}

/// A value of another kind, or in another place, is seen.
#[test]
fn a_changed_byte_is_seen() {
    let sample = list_offsets();
    let api = APIS
        .iter()
        .find(|api| api.key == sample.key)
        .expect("served");
    let (mut asked, mut answered) = frames(&sample, 5);
    let timestamp = asked.len() - 1;
    asked[timestamp] ^= 1;
    let wrong = check_request(api, 5, &sample, &asked).expect("seen");
    assert!(wrong.contains("timestamp: 1414"), "{wrong}");
    let epoch = answered.len() - 1;
    answered[epoch] ^= 1;
    let wrong = check_response(api, 5, &sample.answered, &answered).expect("seen");
    assert!(wrong.contains("leader_epoch: 2525"), "{wrong}");
}
