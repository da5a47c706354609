//! How a request over partitions is asked: what is refused before any partition is asked, and what it
//! names twice.

use std::collections::{BTreeMap, BTreeSet};

use super::parts::Shape;
use super::PartAsk;
use crate::api::*;
use crate::error_code::ErrorCode;
use crate::partition::{is_transactional, is_zstd, unfit_at_sight};

/// The questions about one topic, each with its partition index.
pub(super) type OfTopic = (TopicRef, Vec<(i32, PartAsk)>);
/// A request's questions by topic, in its order.
pub(super) type Topics = Vec<OfTopic>;

/// What a request says about all of its partitions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// Topics are named by their ids.
    pub by_id: bool,
    /// Every partition is answered with this, known or not.
    pub whole: Option<ErrorCode>,
    bad_acks: bool,
    no_zstd: bool,
    from_replica: bool,
    no_internal: bool,
}

/// Topics whose records only the broker writes (Kafka's `Topic.INTERNAL_TOPICS`): clients keep them
/// out of plain listings.
const INTERNAL_TOPICS: [&str; 3] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// The name is that of one of them.
pub(super) fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

impl Manner {
    pub fn of(request: &Request) -> Manner {
        match request {
            Request::Produce(request) => Manner {
                by_id: request.by_id,
                whole: has_transactional(request)
                    .then_some(ErrorCode::TransactionalIdAuthorizationFailed),
                bad_acks: !(-1..=1).contains(&request.acks),
                no_zstd: !request.zstd_allowed,
                no_internal: true,
                ..Manner::default()
            },
            Request::Fetch(request) => Manner {
                by_id: request.by_id,
                whole: bad_isolation(request.isolation),
                from_replica: request.from_replica,
                ..Manner::default()
            },
            Request::ListOffsets(request) => Manner {
                whole: bad_isolation(request.isolation),
                ..Manner::default()
            },
            Request::DeleteRecords(_) => Manner {
                no_internal: true,
                ..Manner::default()
            },
            _ => Manner::default(),
        }
    }

    /// Why a partition that exists is not asked, if it is not; `internal` if it is of a topic that
    /// clients do not write to. Kafka lets the client id `__admin_client` produce to those
    /// (`KafkaApis.handleProduceRequest`); the core does not know client ids, and lets none.
    pub fn refused(&self, ask: &PartAsk, internal: bool) -> Option<ErrorCode> {
        let error = match ask {
            PartAsk::Produce(batch) if self.no_zstd && is_zstd(batch) => {
                return Some(ErrorCode::UnsupportedCompressionType)
            }
            _ if self.bad_acks => ErrorCode::InvalidRequiredAcks,
            _ if self.from_replica => ErrorCode::NotLeaderOrFollower,
            _ if self.no_internal && internal => ErrorCode::InvalidTopic,
            _ => return None,
        };
        // Kafka looks at the bytes before (`ProduceRequest.validateRecords`).
        Some(match ask {
            PartAsk::Produce(batch) => unfit_at_sight(batch).unwrap_or(error),
            _ => error,
        })
    }
}

fn bad_isolation(level: i8) -> Option<ErrorCode> {
    (!(0..=1).contains(&level)).then_some(ErrorCode::InvalidRequest)
}

/// Some partition's first batch belongs to a transaction: Kafka then refuses all partitions
/// (`KafkaApis.handleProduceRequest`, `RequestUtils.hasTransactionalRecords`). The transactional id
/// alone refuses nothing: plain batches beside it are appended.
fn has_transactional(request: &ProduceRequest) -> bool {
    let mut parts = request.topics.iter().flat_map(|topic| &topic.partitions);
    parts.any(|(_, records)| records.as_deref().is_some_and(is_transactional))
}

/// A special time of ListOffsets that nobody knows, or not at the request's version.
pub(super) fn time_refused(ask: &PartAsk) -> Option<ErrorCode> {
    match ask {
        PartAsk::Offset(query) if query.timestamp < -6 => Some(ErrorCode::UnsupportedVersion),
        _ => None,
    }
}

/// Questions to be answered as they stand.
#[derive(Debug, Default)]
pub(super) struct Once {
    pub topics: Topics,
    /// Places of the questions that are refused because they were there twice: of the topic, and in it.
    pub twice: BTreeSet<(usize, usize)>,
}

/// Each topic and each of its partitions once, as Kafka answers them: of a partition that is named
/// twice the last question counts, in the place of the first. A ListOffsets is refused there instead
/// (`ListOffsetsRequest.duplicatePartitions`). Topics without a partition are left out. A Fetch names a
/// topic again where another one stands between: its order says what is read first.
///
/// OffsetForLeaderEpoch alone answers whatever is asked.
pub(super) fn told_once(shape: Shape, topics: Topics) -> Once {
    let mut once = Once::default();
    if shape == Shape::Epochs || is_plain(&topics) {
        once.topics = topics;
        return once;
    }
    // Topics are counted, so that their names are not copied for each partition.
    let (mut numbers, mut places, mut seen) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let all = &mut once.topics;
    for (topic, parts) in topics {
        let next = numbers.len();
        let number = *numbers.entry(topic.clone()).or_insert(next);
        for (index, ask) in parts {
            let first: Option<(usize, usize)> = seen.get(&(number, index)).copied();
            match first {
                Some(place) if shape == Shape::Offsets => drop(once.twice.insert(place)),
                Some((at, part)) => all[at].1[part].1 = ask,
                None => {
                    let place = places.get(&number).copied();
                    let place = place.filter(|at| shape != Shape::Fetch || at + 1 == all.len());
                    let at = place.unwrap_or_else(|| {
                        all.push((topic.clone(), Vec::new()));
                        all.len() - 1
                    });
                    places.insert(number, at);
                    seen.insert((number, index), (at, all[at].1.len()));
                    all[at].1.push((index, ask));
                }
            }
        }
    }
    once
}

/// Nothing is named twice, and every topic has a partition. Nearly every request is so: one topic, and
/// partitions in rising order, cost no allocation.
fn is_plain(topics: &[OfTopic]) -> bool {
    let whole = topics.iter().all(|(_, parts)| {
        let rising = parts.windows(2).all(|pair| pair[0].0 < pair[1].0);
        !parts.is_empty() && (rising || are_distinct(parts.iter().map(|(index, _)| *index)))
    });
    whole && (topics.len() < 2 || are_distinct(topics.iter().map(|(topic, _)| topic)))
}

fn are_distinct<T: Ord>(values: impl Iterator<Item = T>) -> bool {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.windows(2).all(|pair| pair[0] < pair[1])
}
