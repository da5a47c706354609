//! Both directions against another codec: the crate `kafka-protocol`, generated from Kafka's own
//! schemas.
//!
//! At every version that we advertise, four frames are exchanged and must be read as they were
//! meant: the crate's request by our server, our server's answer by the crate, our client's request
//! by the crate, the crate's answer by our client. The crate only ever reads what our encoder wrote:
//! it allocates whatever a length says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{self, Decodable, Encodable, HeaderVersion, Message};
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use seedlog_core::api::{CreateTopicsRequest, NewTopic, Request, Response};
use seedlog_core::ids::NodeId;
use seedlog_core::limits::Limits;
use seedlog_net::apis::{self, APIS, API_VERSIONS};
use seedlog_net::client;
use seedlog_net::server::{self, Call};

#[path = "exchange/cluster.rs"]
mod cluster;
#[path = "exchange/data.rs"]
mod data;
#[path = "exchange/offsets.rs"]
mod offsets;
#[path = "exchange/topics.rs"]
mod topics;
#[path = "exchange/values.rs"]
mod values;

use values::Noise;

/// Where the server believes to be reached.
pub const HOST: &str = "h";
/// Where the server believes to be reached.
pub const PORT: u16 = 9;
/// Contents tried per API and version.
const CASES: u32 = 48;

/// One API: our types, the crate's, and how a content is said in each.
///
/// `..._to` says what a version can carry of it; the crate refuses to encode more. `..._from` reads
/// the crate's message, with the crate's default in what the version lacks.
pub trait Api {
    /// Our request.
    type Ask: Clone + Debug;
    /// Our answer.
    type Answer: Clone + Debug;
    /// The crate's request.
    type TheirAsk: protocol::Request + PartialEq + Debug;
    /// The crate's answer.
    type TheirAnswer: Message + Encodable + Decodable + HeaderVersion + PartialEq + Debug;
    /// Our request and our answer as the core takes them.
    const WRAP: (fn(Self::Ask) -> Request, fn(Self::Answer) -> Response);
    /// Any content.
    fn values() -> BoxedStrategy<(Self::Ask, Self::Answer)>;
    /// The crate's request of this content.
    fn ask_to(version: i16, ask: &Self::Ask, noise: &Noise) -> Self::TheirAsk;
    /// Our request of the crate's.
    fn ask_from(version: i16, ask: Self::TheirAsk) -> Self::Ask;
    /// The crate's answer of this content.
    fn answer_to(version: i16, answer: &Self::Answer, noise: &Noise) -> Self::TheirAnswer;
    /// Our answer of the crate's.
    fn answer_from(version: i16, answer: Self::TheirAnswer) -> Self::Answer;
}

/// What is said: a request, its answer, and noise around both.
type Content<A> = ((<A as Api>::Ask, <A as Api>::Answer), Noise);
/// Whether a frame was read as it was meant; if not, what differs.
type Verdict = Result<(), String>;

/// The frames of an exchange.
const FRAMES: [&str; 4] = [
    "the crate's request, read by our server",
    "our server's answer, read by the crate",
    "our client's request, read by the crate",
    "the crate's answer, read by our client",
];

fn same<T: PartialEq + Debug>(read: T, meant: T) -> Verdict {
    match read == meant {
        true => Ok(()),
        false => Err(format!("read  {read:?}\nmeant {meant:?}")),
    }
}

fn framed(
    head: impl FnOnce(&mut BytesMut),
    version: i16,
    message: &impl Encodable,
) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    head(&mut body);
    let encoded = message.encode(&mut body, version);
    encoded.map_err(|error| format!("the crate cannot say it: {error}"))?;
    let mut frame = BytesMut::new();
    frame.put_i32(body.len() as i32);
    frame.put_slice(&body);
    Ok(frame.freeze())
}

/// The crate's request as a frame.
fn their_request<R: protocol::Request>(
    version: i16,
    request: &R,
    noise: &Noise,
) -> Result<Bytes, String> {
    let head = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(noise.number(7))
        .with_client_id(noise.text(None))
        .with_unknown_tagged_fields(noise.tags.clone());
    let head = |out: &mut BytesMut| {
        head.encode(out, R::header_version(version))
            .expect("a head");
    };
    framed(head, version, request)
}

/// Read, with the crate, a message that our encoder wrote, to its last byte.
fn read_all<M: Decodable>(frame: &mut Bytes, version: i16) -> Result<M, String> {
    let message = M::decode(frame, version).map_err(|error| format!("unreadable: {error}"))?;
    match frame.is_empty() {
        true => Ok(message),
        false => Err(format!("{} bytes are left over", frame.len())),
    }
}

/// Take the size off one of our frames, and check it.
fn unframed(mut frame: Bytes) -> Result<Bytes, String> {
    let size = frame.get_i32();
    same(size, frame.len() as i32)?;
    Ok(frame)
}

/// The crate asks, our server answers; `meant` is what the frames are compared with.
fn at_our_server<A: Api>(version: i16, said: &Content<A>, meant: &Content<A>) -> [Verdict; 2] {
    let ((ask, answer), noise) = said;
    let mut ours = server::Connection::new(HOST.into(), PORT, Limits::default());
    let mut call = None;
    let asked = their_request(version, &A::ask_to(version, ask, noise), noise)
        .and_then(|frame| ours.receive(frame).map_err(|close| close.reason))
        .and_then(|()| {
            let Call {
                call: id,
                request: read,
                ..
            } = ours.next_call().ok_or("no call came out")?;
            call = Some(id);
            let meant = A::ask_to(version, &meant.0 .0, &meant.1);
            same(read, A::WRAP.0(A::ask_from(version, meant)))
        });
    let answered = call.ok_or("nothing was asked".into()).and_then(|call| {
        ours.reply(call, A::WRAP.1(answer.clone()));
        let mut frame = unframed(Bytes::from(ours.take_output().concat()))?;
        let head = ResponseHeader::decode(&mut frame, A::TheirAnswer::header_version(version));
        let head = head.map_err(|error| format!("unreadable head: {error}"))?;
        same(head.correlation_id, noise.number(7))?;
        let read = read_all::<A::TheirAnswer>(&mut frame, version)?;
        same(read, A::answer_to(version, &meant.0 .1, &Noise::default()))
    });
    [asked, answered]
}

/// Our client asks, the crate answers.
fn at_our_client<A: Api>(version: i16, said: &Content<A>, meant: &Content<A>) -> [Verdict; 2] {
    let ((ask, answer), noise) = said;
    let mut ours = client::Connection::new("тест");
    ours.set_version(<A::TheirAsk as protocol::Request>::KEY, version);
    let (correlation, frame) = ours.request(&A::WRAP.0(ask.clone()));
    let asked = unframed(frame).and_then(|mut frame| {
        let head = RequestHeader::decode(&mut frame, A::TheirAsk::header_version(version));
        let head = head.map_err(|error| format!("unreadable head: {error}"))?;
        let expected = RequestHeader::default()
            .with_request_api_key(<A::TheirAsk as protocol::Request>::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(values::str_bytes("тест")));
        same(head, expected)?;
        let read = read_all::<A::TheirAsk>(&mut frame, version)?;
        same(read, A::ask_to(version, &meant.0 .0, &Noise::default()))
    });
    let head = ResponseHeader::default()
        .with_correlation_id(correlation)
        .with_unknown_tagged_fields(noise.tags.clone());
    let head = |out: &mut BytesMut| {
        let version = A::TheirAnswer::header_version(version);
        head.encode(out, version).expect("a head");
    };
    let answered = framed(head, version, &A::answer_to(version, answer, noise))
        .and_then(|frame| ours.receive(frame).map_err(|close| close.reason))
        .and_then(|read| {
            let meant = A::answer_to(version, &meant.0 .1, &meant.1);
            let meant = A::WRAP.1(A::answer_from(version, meant));
            let read = read.into_iter().map(|(id, read)| (id, joined(read)));
            same(read.collect(), vec![(correlation, joined(meant))])
        });
    [asked, answered]
}

/// Records as one piece or none: where one piece ends and the next begins is nobody's content.
fn joined(mut response: Response) -> Response {
    if let Response::Fetch(fetch) = &mut response {
        for part in fetch.topics.iter_mut().flat_map(|(_, parts)| parts) {
            let all = Bytes::from(part.records.concat());
            part.records = Some(all)
                .into_iter()
                .filter(|all| !all.is_empty())
                .collect();
        }
    }
    response
}

/// All four frames.
fn exchange<A: Api>(version: i16, said: &Content<A>, meant: &Content<A>) -> [Verdict; 4] {
    let [a, b] = at_our_server::<A>(version, said, meant);
    let [c, d] = at_our_client::<A>(version, said, meant);
    [a, b, c, d]
}

/// A source of the same values in every run.
fn runner() -> TestRunner {
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Versions that both we and the crate serve.
fn versions<A: Api>() -> Vec<i16> {
    let api = apis::find(<A::TheirAsk as protocol::Request>::KEY).expect("served");
    let theirs = |version: &i16| {
        let (ask, answer) = (A::TheirAsk::VERSIONS, A::TheirAnswer::VERSIONS);
        (ask.min..=ask.max).contains(version) && (answer.min..=answer.max).contains(version)
    };
    (api.min..=api.max).filter(theirs).collect()
}

/// Every version agrees on any content. Returns what was covered.
fn agree<A: Api>() -> Vec<(i16, i16)> {
    let key = <A::TheirAsk as protocol::Request>::KEY;
    let one = |version: i16| {
        let check = |said: Content<A>| {
            let verdicts = exchange::<A>(version, &said, &said);
            match FRAMES
                .iter()
                .zip(verdicts)
                .find(|(_, verdict)| verdict.is_err())
            {
                Some((frame, Err(why))) => Err(TestCaseError::fail(format!("{frame}\n{why}"))),
                _ => Ok(()),
            }
        };
        let outcome = runner().run(&(A::values(), values::noise()), check);
        outcome.unwrap_or_else(|error| panic!("API {key} v{version}: {error}"));
        (key, version)
    };
    versions::<A>().into_iter().map(one).collect()
}

/// A frame of one content is not taken for another's, whichever of the four it is.
fn tell_apart<A: Api>() {
    let key = <A::TheirAsk as protocol::Request>::KEY;
    let strategy = (A::values(), values::noise());
    let mut runner = runner();
    let mut draw = || strategy.new_tree(&mut runner).expect("a value").current();
    let contents: Vec<Content<A>> = (0..24).map(|_| draw()).collect();
    for version in versions::<A>() {
        let mut refused = [0; 4];
        for pair in contents.windows(2) {
            let verdicts = exchange::<A>(version, &pair[0], &pair[1]);
            (0..4).for_each(|frame| refused[frame] += usize::from(verdicts[frame].is_err()));
        }
        for (frame, refused) in FRAMES.iter().zip(refused) {
            // A few neighbours are alike: short lists, one error code.
            assert!(
                refused >= 12,
                "API {key} v{version}: {refused} of 23 refused: {frame}"
            );
        }
    }
}

/// Every API that has a typed request.
macro_rules! for_every_api {
    ($function:ident) => {
        [
            $function::<data::Produce>(),
            $function::<data::Fetch>(),
            $function::<offsets::ListOffsets>(),
            $function::<cluster::Metadata>(),
            $function::<cluster::FindCoordinator>(),
            $function::<topics::CreateTopics>(),
            $function::<topics::DeleteTopics>(),
            $function::<topics::DeleteRecords>(),
            $function::<offsets::InitProducerId>(),
            $function::<offsets::LeaderEpoch>(),
            $function::<topics::CreatePartitions>(),
        ]
    };
}

/// Ask our server for its versions with the crate.
fn ask_versions(version: i16, noise: &Noise) -> ApiVersionsResponse {
    let mut ask = ApiVersionsRequest::default().with_unknown_tagged_fields(noise.tags.clone());
    if version >= 3 {
        ask.client_software_name = values::str_bytes("exchange");
        ask.client_software_version = values::str_bytes("1");
    }
    let mut ours = server::Connection::new(HOST.into(), PORT, Limits::default());
    let frame = their_request(version, &ask, noise).expect("said");
    ours.receive(frame).expect("understood");
    let mut frame = unframed(Bytes::from(ours.take_output().concat())).expect("framed");
    // Its head is v0 for ever.
    let head = ResponseHeader::decode(&mut frame, 0).expect("a head");
    assert_eq!(head.correlation_id, noise.number(7));
    read_all(&mut frame, version).expect("readable")
}

/// Advertised (key, version) pairs that the oracle says nothing about, and why.
fn exceptions() -> BTreeMap<(i16, i16), &'static str> {
    let why = "advertised for old librdkafka only, and refused (KAFKA-18659)";
    (0..=2).map(|version| ((0, version), why)).collect()
}

/// SASL where none is asked for: answered ILLEGAL_SASL_STATE, and the connection goes on.
fn sasl_is_refused() -> Vec<(i16, i16)> {
    fn ask<R: protocol::Request>(version: i16, request: &R) -> Bytes {
        let mut ours = server::Connection::new(HOST.into(), PORT, Limits::default());
        let quiet = Noise::default();
        let frame = their_request(version, request, &quiet).expect("said");
        ours.receive(frame).expect("understood");
        let mut frame = unframed(Bytes::from(ours.take_output().concat())).expect("framed");
        let head = R::Response::header_version(version);
        let head = ResponseHeader::decode(&mut frame, head).expect("a head");
        assert_eq!(head.correlation_id, 7);
        let versions = ApiVersionsRequest::default();
        let after = their_request(0, &versions, &quiet).expect("said");
        ours.receive(after).expect("the connection goes on");
        assert!(!ours.take_output().is_empty());
        frame
    }
    for version in 0..=1 {
        let wanted = SaslHandshakeRequest::default().with_mechanism(values::str_bytes("PLAIN"));
        let told: SaslHandshakeResponse =
            read_all(&mut ask(version, &wanted), version).expect("readable");
        assert_eq!(told, SaslHandshakeResponse::default().with_error_code(34));
    }
    for version in 0..=2 {
        let wanted = SaslAuthenticateRequest::default().with_auth_bytes("a".into());
        let told: SaslAuthenticateResponse =
            read_all(&mut ask(version, &wanted), version).expect("readable");
        assert!(told.error_message.is_some() && told.auth_bytes.is_empty());
        assert_eq!((told.error_code, told.session_lifetime_ms), (34, 0));
    }
    vec![(17, 0), (17, 1), (36, 0), (36, 1), (36, 2)]
}

/// ApiVersions v3 of a client that calls itself this: error code and keys told.
fn named_client(name: &str, version: &str) -> (i16, usize) {
    let ask = ApiVersionsRequest::default()
        .with_client_software_name(values::str_bytes(name))
        .with_client_software_version(values::str_bytes(version));
    let mut ours = server::Connection::new(HOST.into(), PORT, Limits::default());
    let frame = their_request(3, &ask, &Noise::default()).expect("said");
    ours.receive(frame.clone()).expect("the connection goes on");
    let mut frame = unframed(Bytes::from(ours.take_output().concat())).expect("framed");
    ResponseHeader::decode(&mut frame, 0).expect("a head");
    let told: ApiVersionsResponse = read_all(&mut frame, 3).expect("readable");
    (told.error_code, told.api_keys.len())
}

#[test]
fn clients_with_names_unfit_for_metrics_are_refused() {
    for (name, version) in [("a-b.c", "1"), ("a", "0.1-x"), ("9", "9")] {
        assert_eq!(
            named_client(name, version),
            (0, APIS.len()),
            "{name} {version}"
        );
    }
    for (name, version) in [
        ("my client", "1"),
        ("a_b", "1"),
        ("", "1"),
        ("a", ""),
        ("-a", "1"),
        ("a", "1."),
    ] {
        assert_eq!(named_client(name, version), (42, 0), "{name} {version}");
    }
}

#[test]
fn both_codecs_agree_at_every_version_advertised() {
    let mut covered: BTreeSet<(i16, i16)> = for_every_api!(agree).into_iter().flatten().collect();
    let strategy = values::noise();
    let mut runner = runner();
    let mut advertised = BTreeSet::new();
    let served = apis::find(API_VERSIONS).expect("served");
    for version in served.min..=served.max {
        for _ in 0..CASES {
            let noise = strategy.new_tree(&mut runner).expect("a value").current();
            let answer = ask_versions(version, &noise);
            let told = answer.api_keys.iter();
            let told: Vec<_> = told
                .map(|api| (api.api_key, api.min_version, api.max_version))
                .collect();
            let meant = APIS
                .iter()
                .map(|api| (api.key, api.advertised_min, api.max));
            assert_eq!(told, meant.collect::<Vec<_>>());
            let rest = ApiVersionsResponse::default().with_api_keys(answer.api_keys.clone());
            assert_eq!(answer, rest, "nothing but the keys is said");
            let pairs = told
                .iter()
                .flat_map(|(key, min, max)| (*min..=*max).map(|v| (*key, v)));
            advertised.extend(pairs);
        }
        covered.insert((API_VERSIONS, version));
    }
    let exceptions: BTreeSet<(i16, i16)> = exceptions().into_keys().collect();
    assert!(covered.is_disjoint(&exceptions));
    covered.extend(&exceptions);
    covered.extend(sasl_is_refused());
    // The crate ends at 10. Version 11 has its schema, and one special time more.
    covered.insert((2, 11));
    assert_eq!(covered, advertised);
}

#[test]
fn what_is_advertised_but_not_covered_is_refused() {
    for (key, version) in exceptions().into_keys() {
        let mut frame = BytesMut::new();
        frame.put_i32(10);
        frame.put_i16(key);
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        let mut ours = server::Connection::new(HOST.into(), PORT, Limits::default());
        assert!(ours.receive(frame.freeze()).is_err(), "{key} v{version}");
    }
}

#[test]
fn the_comparison_tells_contents_apart_in_every_frame() {
    for_every_api!(tell_apart);
}

/// The other half of the proof that the comparison sees: one wrong bit in a frame of the crate's.
/// (Not the other way round: the crate is never given wrong bytes.)
#[test]
fn one_flipped_bit_in_a_request_is_refused_or_read_as_something_else() {
    let name = "топик";
    let ask = CreateTopicsRequest {
        topics: vec![NewTopic {
            name: name.into(),
            partitions: 70_000,
            replication_factor: -1,
            assignments: vec![(3, vec![NodeId(1), NodeId(2)])],
            configs: vec![("a".into(), Some("b".into())), ("c".into(), None)],
        }],
        timeout_ms: 9_000,
        validate_only: false,
    };
    let meant = Request::CreateTopics(ask.clone());
    let read = |frame: Bytes| {
        let mut ours = server::Connection::new(HOST.into(), PORT, Limits::default());
        let received = ours.receive(frame).ok();
        received.and_then(|()| ours.next_call().map(|call| call.request))
    };
    let quiet = Noise::default();
    for version in versions::<topics::CreateTopics>() {
        let told = topics::CreateTopics::ask_to(version, &ask, &quiet);
        let frame = their_request(version, &told, &quiet).expect("said");
        assert_eq!(read(frame.clone()).as_ref(), Some(&meant), "v{version}");
        // Size, key, version, correlation id and a client id of null come first.
        // The length of the null: every negative one means the same. (A compact one has no others.)
        let null = frame.windows(5).position(|five| five == b"\0\x01c\xff\xff");
        for at in 14..frame.len() {
            let mut flipped = BytesMut::from(&frame[..]);
            flipped[at] ^= 1;
            let same = null.is_some_and(|null| (null + 3..null + 5).contains(&at));
            assert_eq!(
                read(flipped.freeze()).as_ref() == Some(&meant),
                same,
                "v{version}, byte {at}"
            );
        }
    }
}
