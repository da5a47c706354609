//! What a client may do, where it asks (KIP-430): all, as nobody is kept from anything here.

use super::broker::Broker;
use super::frames::Out;
use super::topics::{New, Ref};

/// What Kafka 4.3 says where it was not asked.
const NOT_ASKED: i32 = i32::MIN;
/// What it says without an authorizer: of topics, and of the cluster.
const OF_TOPICS: i32 = 3_576;
const OF_CLUSTER: i32 = 8_096;

/// Metadata of these topics that creates none, asking for what may be done with the cluster and with the
/// topics: the error and the operations of each topic, and those of the cluster where the version has them.
fn asked(
    broker: &mut Broker,
    (conn, version): (u64, i16),
    topics: &[Ref],
    (of_cluster, of_topics): (bool, bool),
) -> (Vec<(i16, i32)>, Option<i32>) {
    let flexible = version >= 9;
    let has_cluster = version <= 10;
    let mut out = match flexible {
        true => Out::flexible(3, version).compact_list(topics, |out, (name, id)| match version {
            9 => out.compact(*name),
            _ => out.raw(id).compact(*name),
        }),
        false => Out::request(3, version).list(topics, |out, (name, _)| out.str(*name)),
    };
    out = out.u8(0);
    if has_cluster {
        out = out.u8(of_cluster.into());
    }
    out = out.u8(of_topics.into());
    if flexible {
        out = out.u8(0);
    }
    let mut answer = broker.ask(conn, &out);
    answer.tags(flexible);
    assert_eq!((answer.i32(), answer.count(flexible)), (0, 1), "one broker");
    answer.i32();
    answer.string(flexible);
    answer.i32();
    answer.string(flexible);
    answer.tags(flexible);
    answer.string(flexible);
    answer.i32();
    let told = answer.list(flexible, |answer| {
        let error = answer.i16();
        answer.string(flexible);
        if version >= 10 {
            answer.uuid();
        }
        answer.u8();
        answer.list(flexible, |answer| {
            answer.take(14);
            for _ in 0..3 {
                answer.list(flexible, |answer| answer.i32());
            }
            answer.tags(flexible);
        });
        let operations = answer.i32();
        answer.tags(flexible);
        (error, operations)
    });
    let cluster = has_cluster.then(|| answer.i32());
    if version >= 13 {
        assert_eq!(answer.i16(), 0);
    }
    answer.tags(flexible);
    answer.end();
    (told, cluster)
}

#[test]
fn who_asks_what_it_may_do_is_told() {
    let mut broker = Broker::start(2);
    let conn = broker.connect();
    broker.topic(conn, New::of("a", 1));
    let names = [Some("a"), Some("no"), Some("no no")].map(|name| (name, [0; 16]));
    for version in 8..=13 {
        for flags in [(false, false), (true, false), (false, true), (true, true)] {
            let (told, cluster) = asked(&mut broker, (conn, version), &names, flags);
            let of_topic = if flags.1 { OF_TOPICS } else { NOT_ASKED };
            let wanted = [0, 3, 17].map(|error| (error, of_topic));
            assert_eq!(told, wanted, "version {version}");
            let of_cluster = if flags.0 { OF_CLUSTER } else { NOT_ASKED };
            assert_eq!(cluster, (version <= 10).then_some(of_cluster));
        }
    }
    // Of an id that nobody has nothing is said, nor where ids mean nothing yet.
    for (version, name, error) in [(12, None, 100), (13, None, 100), (10, Some("a"), 42)] {
        let stranger = [(name, [7; 16])];
        let told = asked(&mut broker, (conn, version), &stranger, (true, true));
        let cluster = (version <= 10).then_some(NOT_ASKED);
        assert_eq!(
            told,
            (vec![(error, NOT_ASKED)], cluster),
            "version {version}"
        );
    }
}
