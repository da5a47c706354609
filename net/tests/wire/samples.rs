//! A request and an answer of every API that is served, and what each version says of them.

use bytes::{BufMut, Bytes, BytesMut};
use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::{NodeId, Uuid};
use seedlog_net::apis::{Api, APIS};
use seedlog_net::client;

/// Key, request, answer.
type Sample = (i16, Request, Response);

/// Every API and version of the table.
pub fn served() -> impl Iterator<Item = (&'static Api, i16)> {
    let versions = |api: &'static Api| (api.min..=api.max).map(move |version| (api, version));
    APIS.iter().flat_map(versions)
}

/// Those that the core answers.
pub fn served_by_core() -> impl Iterator<Item = (&'static Api, i16)> {
    served().filter(|(api, version)| body_of_net(api.key, *version).is_none())
}

/// What net answers by itself: bodies of SaslHandshake, ApiVersions and SaslAuthenticate.
fn body_of_net(key: i16, version: i16) -> Option<Vec<u8>> {
    Some(match (key, version) {
        (17, _) => b"\0\x05PLAIN".to_vec(),
        (18, 0..=2) => Vec::new(),
        (18, _) => b"\x02a\x021\0".to_vec(),
        (36, 0..=1) => b"\0\0\0\x03\0u\0".to_vec(),
        (36, _) => b"\x04\0u\0\0".to_vec(),
        _ => return None,
    })
}

/// A frame of the API at this version.
pub fn frame(api: &Api, version: i16) -> Bytes {
    let Some(body) = body_of_net(api.key, version) else {
        let mut client = client::Connection::new("test");
        client.set_version(api.key, version);
        return client.request(&request(api, version)).1;
    };
    let flexible = version >= api.flexible;
    let mut frame = BytesMut::new();
    frame.put_i32((10 + usize::from(flexible) + body.len()) as i32);
    frame.put_i16(api.key);
    frame.put_i16(version);
    frame.put_i32(0);
    frame.put_i16(-1);
    frame.put_bytes(0, usize::from(flexible));
    frame.put_slice(&body);
    frame.freeze()
}

/// The sample of an API. One that is added to the table needs one here.
fn sample(api: &Api) -> Sample {
    let all = [&data()[..], &offsets(), &topics(), &others()].concat();
    let sample = all.into_iter().find(|(key, _, _)| *key == api.key);
    sample.unwrap_or_else(|| panic!("{} ({}) has no sample here", api.name, api.key))
}

/// The sample's request as a version says it.
pub fn request(api: &Api, version: i16) -> Request {
    let (_, mut request, _) = sample(api);
    match &mut request {
        Request::Produce(produce) => {
            // What the version says of what the client may compress with (KIP-110).
            produce.zstd_allowed = version >= 7;
            produce.by_id = version >= 13;
            if version >= 13 {
                produce.topics[0].topic = by_id();
            }
        }
        Request::Fetch(fetch) if version >= 13 => {
            fetch.by_id = true;
            fetch.topics[0].topic = by_id();
        }
        _ => {}
    }
    request
}

/// The sample's answer as the core gives it.
pub fn answer(api: &Api) -> Response {
    sample(api).2
}

/// The sample's answer as a client reads it at a version: what the version lacks has its default.
pub fn answer_read(api: &Api, version: i16) -> Response {
    let (_, _, mut response) = sample(api);
    match &mut response {
        Response::Produce(response) => {
            for (topic, parts) in &mut response.topics {
                *topic = named_at(version);
                produced_read(version, &mut parts[0]);
            }
        }
        Response::Fetch(response) => {
            for (topic, parts) in &mut response.topics {
                *topic = named_at(version);
                let part = &mut parts[0];
                part.records = vec![Bytes::from(part.records.concat())];
                if version < 5 {
                    part.log_start_offset = -1;
                }
            }
        }
        Response::ListOffsets(response) if version < 4 => response.topics[0].1[0].leader_epoch = -1,
        Response::Metadata(response) => metadata_read(version, response),
        Response::CreateTopics(response) => created_read(version, &mut response.topics[0]),
        Response::DeleteTopics(response) => {
            let (topic, _, text) = &mut response.topics[0];
            if version < 6 {
                topic.id = Uuid::ZERO;
            }
            if version < 5 {
                *text = None;
            }
        }
        // Versions below 4 have one key, which the answer does not repeat.
        Response::FindCoordinator(response) if version < 4 => response.keys[0].0.clear(),
        _ => {}
    }
    response
}

fn named_at(version: i16) -> TopicRef {
    match version {
        13.. => by_id(),
        _ => TopicRef {
            name: topic().name,
            id: Uuid::ZERO,
        },
    }
}

fn produced_read(version: i16, part: &mut PartitionProduced) {
    if version < 5 {
        part.log_start_offset = -1;
    }
    if version < 8 {
        part.record_errors.clear();
        part.error_message = None;
    }
}

fn metadata_read(version: i16, response: &mut MetadataResponse) {
    // Our client does not keep the cluster's id.
    response.cluster_id = Uuid::ZERO;
    // Where the broker does not say how it is reached, the connection does.
    for (_, address) in &mut response.brokers {
        address.get_or_insert(("h".into(), 9));
    }
    if version < 1 {
        response.controller = NodeId(-1);
    }
    let topic = &mut response.topics[0];
    if version < 10 {
        topic.topic.id = Uuid::ZERO;
    }
    topic.is_internal &= version >= 1;
    if version < 7 {
        topic.partitions[0].leader_epoch = -1;
    }
}

fn created_read(version: i16, topic: &mut TopicCreated) {
    if version < 7 {
        topic.id = Uuid::ZERO;
    }
    if version < 5 {
        (topic.partitions, topic.replication_factor) = (-1, -1);
        topic.configs.clear();
    }
}

fn topic() -> TopicRef {
    TopicRef {
        name: "clicks".into(),
        id: Uuid::ZERO,
    }
}

fn by_id() -> TopicRef {
    TopicRef {
        name: String::new(),
        id: Uuid([9; 16]),
    }
}

/// As the core knows it: by both.
fn known() -> TopicRef {
    TopicRef {
        name: topic().name,
        id: by_id().id,
    }
}

fn data() -> [Sample; 2] {
    let batch = Bytes::from(vec![7; 2000]);
    let produced = PartitionProduced {
        index: 2,
        error: ErrorCode::InvalidTimestamp,
        base_offset: 9,
        log_append_time_ms: 8,
        log_start_offset: 3,
        record_errors: vec![(1, Some("late".into())), (2, None)],
        error_message: Some("why".into()),
    };
    let fetched = PartitionFetched {
        index: 2,
        error: ErrorCode::None,
        high_watermark: 10,
        last_stable_offset: 11,
        log_start_offset: 4,
        diverging: None,
        leader: None,
        lists_aborted: true,
        records: vec![batch.clone(), Bytes::from_static(b"tail")],
        ends_early: false,
    };
    let fetch = PartitionFetch {
        index: 2,
        current_leader_epoch: -1,
        fetch_offset: 5,
        last_fetched_epoch: -1,
        max_bytes: 99,
    };
    let produce = ProduceRequest {
        transactional_id: Some("t".into()),
        acks: -1,
        timeout_ms: 5,
        zstd_allowed: false,
        topics: vec![TopicProduce {
            topic: topic(),
            partitions: vec![(2, Some(batch)), (3, None)],
        }],
        by_id: false,
    };
    let fetch = FetchRequest {
        max_wait_ms: 1,
        min_bytes: 2,
        max_bytes: 3,
        session_id: 0,
        session_epoch: -1,
        by_id: false,
        topics: vec![TopicFetch {
            topic: topic(),
            partitions: vec![fetch],
        }],
        from_replica: false,
        isolation: 0,
    };
    let produced = ProduceResponse {
        topics: vec![(known(), vec![produced])],
    };
    let fetched = FetchResponse {
        error: ErrorCode::None,
        session_id: 0,
        topics: vec![(known(), vec![fetched])],
        endpoints: Vec::new(),
    };
    [
        (0, Request::Produce(produce), Response::Produce(produced)),
        (1, Request::Fetch(fetch), Response::Fetch(fetched)),
    ]
}

fn offsets() -> [Sample; 3] {
    let query = PartitionOffsetQuery {
        index: 1,
        current_leader_epoch: -1,
        timestamp: -2,
    };
    let found = PartitionOffset {
        index: 1,
        error: ErrorCode::FencedLeaderEpoch,
        offset: 4,
        timestamp: 8,
        leader_epoch: 6,
    };
    let end = EpochEnd {
        index: 1,
        error: ErrorCode::FencedLeaderEpoch,
        leader_epoch: 5,
        end_offset: 77,
    };
    let list = ListOffsetsRequest {
        topics: vec![(topic(), vec![query])],
        timeout_ms: -1,
        isolation: 0,
    };
    let listed = ListOffsetsResponse {
        topics: vec![(topic(), vec![found])],
    };
    let trim = DeleteRecordsRequest {
        topics: vec![(topic(), vec![(1, 5)])],
        timeout_ms: 7,
    };
    let trimmed = DeleteRecordsResponse {
        topics: vec![(topic(), vec![(1, 5, ErrorCode::OffsetOutOfRange)])],
    };
    let ask = OffsetForLeaderEpochRequest {
        topics: vec![(topic(), vec![(1, 7, 6)])],
    };
    let told = OffsetForLeaderEpochResponse {
        topics: vec![(topic(), vec![end])],
    };
    [
        (2, Request::ListOffsets(list), Response::ListOffsets(listed)),
        (
            21,
            Request::DeleteRecords(trim),
            Response::DeleteRecords(trimmed),
        ),
        (
            23,
            Request::OffsetForLeaderEpoch(ask),
            Response::OffsetForLeaderEpoch(told),
        ),
    ]
}

fn topics() -> [Sample; 3] {
    let name = topic().name;
    let why = || Some("why".to_string());
    let wanted = NewTopic {
        name: name.clone(),
        partitions: 3,
        replication_factor: 1,
        assignments: vec![(0, vec![NodeId(4)])],
        configs: vec![
            ("retention.ms".into(), Some("1".into())),
            ("a".into(), None),
        ],
    };
    let create = CreateTopicsRequest {
        topics: vec![wanted],
        timeout_ms: 9,
        validate_only: true,
    };
    let created = TopicCreated {
        name: name.clone(),
        id: known().id,
        error: ErrorCode::InvalidTopic,
        error_message: why(),
        partitions: 3,
        replication_factor: 1,
        configs: vec![("a".into(), why(), true), ("c".into(), None, false)],
    };
    let delete = DeleteTopicsRequest {
        topics: vec![topic()],
        misnamed: Vec::new(),
        timeout_ms: 9,
    };
    let grow = CreatePartitionsRequest {
        topics: vec![(name.clone(), 5, Some(vec![vec![NodeId(4)]]))],
        timeout_ms: 9,
        validate_only: true,
    };
    let created = CreateTopicsResponse {
        topics: vec![created],
    };
    let deleted = DeleteTopicsResponse {
        topics: vec![(known(), ErrorCode::InvalidRequest, why())],
    };
    let grown = CreatePartitionsResponse {
        topics: vec![(name, ErrorCode::InvalidPartitions, why())],
    };
    [
        (
            19,
            Request::CreateTopics(create),
            Response::CreateTopics(created),
        ),
        (
            20,
            Request::DeleteTopics(delete),
            Response::DeleteTopics(deleted),
        ),
        (
            37,
            Request::CreatePartitions(grow),
            Response::CreatePartitions(grown),
        ),
    ]
}

fn others() -> [Sample; 3] {
    let partition = PartitionMetadata {
        error: ErrorCode::None,
        index: 1,
        leader: NodeId(4),
        leader_epoch: 6,
        replicas: vec![NodeId(4), NodeId(5)],
        isr: vec![NodeId(4)],
    };
    let described = TopicMetadata {
        error: ErrorCode::None,
        topic: known(),
        is_internal: true,
        partitions: vec![partition],
        operations: None,
    };
    let metadata = MetadataResponse {
        brokers: vec![(NodeId(4), None), (NodeId(5), Some(("other".into(), 7)))],
        cluster_id: Uuid([1; 16]),
        controller: NodeId(4),
        topics: vec![described],
        operations: None,
    };
    let ask = MetadataRequest {
        topics: Some(vec![topic()]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let init = InitProducerIdRequest {
        transactional_id: Some("t".into()),
        producer_id: -1,
        producer_epoch: -1,
    };
    let inited = InitProducerIdResponse {
        error: ErrorCode::None,
        producer_id: 77,
        producer_epoch: 5,
    };
    let find = FindCoordinatorRequest {
        key_type: 0,
        keys: vec!["group".into()],
    };
    let found = FindCoordinatorResponse {
        keys: vec![("group".into(), ErrorCode::CoordinatorNotAvailable)],
    };
    [
        (3, Request::Metadata(ask), Response::Metadata(metadata)),
        (
            22,
            Request::InitProducerId(init),
            Response::InitProducerId(inited),
        ),
        (
            10,
            Request::FindCoordinator(find),
            Response::FindCoordinator(found),
        ),
    ]
}
