//! Names become partitions here, once, and parts become one response again.

use std::collections::BTreeSet;

use super::asked::{is_internal, time_refused, told_once, Manner, Once, Topics};
use super::{Part, PartAsk, Shard};
use crate::api::*;
use crate::error_code::ErrorCode;
use crate::ids::PartitionId;
use crate::metadata::{decide_name, Image};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    Produce,
    Fetch,
    Offsets,
    Epochs,
    Deletes,
}

/// The shape of an answer: topics and slots in request order, and what has come in.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    shape: Shape,
    topics: Vec<(TopicRef, usize)>,
    /// Partition index and outcome of each.
    slots: Vec<(i32, Option<Part>)>,
    /// Of a Fetch as a whole.
    error: ErrorCode,
    /// A Fetch asks for what is committed.
    committed: bool,
}

impl Layout {
    /// It answers a ListOffsets.
    pub fn is_of_offsets(&self) -> bool {
        self.shape == Shape::Offsets
    }

    pub fn put(&mut self, slot: u32, part: Part) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.1 = Some(part);
        }
    }

    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.slots.iter().filter_map(|(_, part)| part.as_ref())
    }

    pub fn slot(&self, slot: u32) -> Option<&Part> {
        self.slots.get(slot as usize)?.1.as_ref()
    }

    pub fn part_mut(&mut self, slot: u32) -> Option<&mut Part> {
        self.slots.get_mut(slot as usize)?.1.as_mut()
    }

    pub fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        self.slots.iter_mut().filter_map(|(_, part)| part.as_mut())
    }

    /// What has not come in is answered with this error.
    pub fn fill(&mut self, error: ErrorCode) {
        let ask = match self.shape {
            Shape::Produce => PartAsk::Produce(bytes::Bytes::new()),
            Shape::Fetch => PartAsk::Fetch(PartitionFetch::default()),
            Shape::Offsets => PartAsk::Offset(PartitionOffsetQuery::default()),
            Shape::Epochs => PartAsk::Epoch(-1, -1),
            Shape::Deletes => PartAsk::Delete(0),
        };
        for (index, part) in &mut self.slots {
            part.get_or_insert_with(|| ask.failed(*index, error, None));
        }
    }

    /// The fetch session that is asked for is not known here.
    pub fn refuse_session(&mut self) {
        self.error = ErrorCode::FetchSessionIdNotFound;
        self.topics.clear();
        self.slots.clear();
    }

    fn gather<T>(&mut self, pick: impl Fn(Part) -> Option<T>) -> Vec<(TopicRef, Vec<T>)> {
        let mut slots = std::mem::take(&mut self.slots).into_iter();
        let topics = std::mem::take(&mut self.topics);
        topics
            .into_iter()
            .map(|(topic, count)| {
                (
                    topic,
                    slots
                        .by_ref()
                        .take(count)
                        .filter_map(|(_, part)| pick(part?))
                        .collect(),
                )
            })
            .collect()
    }

    /// The response; the layout is empty afterwards.
    pub fn take(&mut self) -> Response {
        match self.shape {
            Shape::Produce => {
                let topics = self.gather(|part| match part {
                    Part::Produced(part) => Some(part),
                    _ => None,
                });
                Response::Produce(ProduceResponse { topics })
            }
            Shape::Fetch => {
                let committed = self.committed;
                let topics = self.gather(|part| match part {
                    Part::Fetched(part) => Some(PartitionFetched {
                        lists_aborted: lists_aborted(part.error, committed),
                        ..part
                    }),
                    _ => None,
                });
                Response::Fetch(FetchResponse {
                    error: self.error,
                    session_id: 0,
                    topics,
                    endpoints: Vec::new(),
                })
            }
            Shape::Offsets => {
                let topics = self.gather(|part| match part {
                    Part::Offset(part) => Some(part),
                    _ => None,
                });
                Response::ListOffsets(ListOffsetsResponse { topics })
            }
            Shape::Epochs => {
                let topics = self.gather(|part| match part {
                    Part::Epoch(part) => Some(part),
                    _ => None,
                });
                Response::OffsetForLeaderEpoch(OffsetForLeaderEpochResponse { topics })
            }
            Shape::Deletes => {
                let topics = self.gather(|part| match part {
                    Part::Deleted(index, low, error) => Some((index, low, error)),
                    _ => None,
                });
                Response::DeleteRecords(DeleteRecordsResponse { topics })
            }
        }
    }
}

/// A partition of a Fetch has a list of aborted transactions, as Kafka 4.3 answers: where it was read for
/// what is committed, and where it was refused before it was read.
fn lists_aborted(error: ErrorCode, committed: bool) -> bool {
    use ErrorCode::{InvalidRequest, UnknownTopicId, UnknownTopicOrPartition};
    match error {
        ErrorCode::None => committed,
        UnknownTopicOrPartition | UnknownTopicId | InvalidRequest => true,
        _ => false,
    }
}

/// What a client may do with a topic and with the cluster where nobody is kept from anything: a bit for each
/// operation that Kafka 4.3 has for them (`AclEntry.supportedOperations`).
const TOPIC_OPERATIONS: i32 = READ_AND_WRITE | ON_BOTH | 1 << 6;
const CLUSTER_OPERATIONS: i32 = ON_BOTH | 1 << 9 | 1 << 12;
const READ_AND_WRITE: i32 = 1 << 3 | 1 << 4;
/// To create, to alter and to describe it, and its configs.
const ON_BOTH: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// Partitions of the topics that one Metadata request may create.
const AUTO_CREATED_PARTITIONS: usize = 1_000;

type Asks = Vec<(u32, PartitionId, PartAsk)>;

fn resolve(
    image: &Image,
    topic: &TopicRef,
    by_id: bool,
    index: i32,
) -> Result<PartitionId, ErrorCode> {
    let id = if by_id || !topic.id.is_zero() {
        topic.id
    } else {
        *image
            .names
            .get(&topic.name)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?
    };
    let known = image.topics.get(&id).ok_or(ErrorCode::UnknownTopicId)?;
    match u32::try_from(index) {
        Ok(index) if index < known.partitions => Ok(PartitionId { topic: id, index }),
        _ => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

/// The name of a topic by its name or its id.
fn name_of<'a>(image: &'a Image, topic: &'a TopicRef) -> &'a str {
    match image.topics.get(&topic.id) {
        Some(known) => &known.name,
        None => &topic.name,
    }
}

/// A topic as it is told apart: by its id, whatever name came with it, if it has one.
fn one_name(topic: &TopicRef) -> TopicRef {
    let name = match topic.id.is_zero() {
        true => topic.name.clone(),
        false => String::new(),
    };
    TopicRef { name, id: topic.id }
}

/// A request's questions by topic, each with its partition index.
fn questions(request: Request) -> Option<(Shape, Topics)> {
    fn each<T>(
        topics: impl IntoIterator<Item = (TopicRef, Vec<T>)>,
        ask: impl Fn(T) -> (i32, PartAsk),
    ) -> Topics {
        topics
            .into_iter()
            .map(|(topic, parts)| (topic, parts.into_iter().map(&ask).collect()))
            .collect()
    }
    Some(match request {
        Request::Produce(request) => {
            let topics = request
                .topics
                .into_iter()
                .map(|topic| (topic.topic, topic.partitions));
            let ask = |(index, records): (i32, Option<bytes::Bytes>)| {
                (index, PartAsk::Produce(records.unwrap_or_default()))
            };
            (Shape::Produce, each(topics, ask))
        }
        Request::Fetch(request) => {
            let topics = request
                .topics
                .into_iter()
                .map(|topic| (topic.topic, topic.partitions));
            (
                Shape::Fetch,
                each(topics, |part: PartitionFetch| {
                    (part.index, PartAsk::Fetch(part))
                }),
            )
        }
        Request::ListOffsets(request) => {
            let ask = |part: PartitionOffsetQuery| (part.index, PartAsk::Offset(part));
            (Shape::Offsets, each(request.topics, ask))
        }
        Request::OffsetForLeaderEpoch(request) => {
            let ask = |(index, current, asked)| (index, PartAsk::Epoch(current, asked));
            (Shape::Epochs, each(request.topics, ask))
        }
        Request::DeleteRecords(request) => (
            Shape::Deletes,
            each(request.topics, |(index, offset)| {
                (index, PartAsk::Delete(offset))
            }),
        ),
        _ => return None,
    })
}

impl Shard {
    /// Turn a request over partitions into asks, and the shape of its answer. What cannot be resolved
    /// is answered in the layout already.
    pub(super) fn lay_out(&self, request: Request) -> (Layout, Asks) {
        let manner = Manner::of(&request);
        let mut layout = Layout {
            shape: Shape::Produce,
            topics: Vec::new(),
            slots: Vec::new(),
            error: ErrorCode::None,
            committed: matches!(&request, Request::Fetch(fetch) if fetch.isolation == 1),
        };
        let mut asks = Asks::new();
        let (Some((shape, topics)), Some(image)) = (questions(request), &self.image) else {
            return (layout, asks);
        };
        layout.shape = shape;
        if shape == Shape::Fetch {
            layout.error = manner.whole.unwrap_or(ErrorCode::None);
        }
        let Once { topics, twice } = told_once(shape, topics);
        for (at, (mut topic, parts)) in topics.into_iter().enumerate() {
            let count = parts.len();
            let internal = is_internal(name_of(image, &topic));
            for (part, (index, ask)) in parts.into_iter().enumerate() {
                let slot = layout.slots.len() as u32;
                layout.slots.push((index, None));
                let refusal = match manner.whole {
                    None if twice.contains(&(at, part)) => Some(ErrorCode::InvalidRequest),
                    None => time_refused(&ask),
                    whole => whole,
                };
                let resolved = match refusal {
                    Some(error) => Err(error),
                    None => resolve(image, &topic, manner.by_id, index),
                };
                match resolved.and_then(|id| manner.refused(&ask, internal).map_or(Ok(id), Err)) {
                    Ok(id) => asks.push((slot, id, ask)),
                    Err(error) => layout.put(slot, ask.failed(index, error, None)),
                }
            }
            if topic.id.is_zero() {
                topic.id = image.names.get(&topic.name).copied().unwrap_or_default();
            } else if let Some(known) = image.topics.get(&topic.id) {
                topic.name = known.name.clone();
            }
            layout.topics.push((topic, count));
        }
        (layout, asks)
    }

    /// Names a Metadata request would create.
    pub(super) fn topics_to_create(&self, request: &MetadataRequest) -> Vec<String> {
        let (Some(topics), Some(image)) = (&request.topics, &self.image) else {
            return Vec::new();
        };
        let may = request.allow_auto_topic_creation && self.config.auto_create_topics;
        if !may || request.badly_named || request.is_by_id() {
            return Vec::new();
        }
        let mut names: Vec<String> = topics
            .iter()
            .filter(|topic| topic.id.is_zero() && !image.names.contains_key(&topic.name))
            .filter(|topic| decide_name(&topic.name).is_ok())
            .map(|topic| topic.name.clone())
            .collect();
        names.sort();
        names.dedup();
        // The rest is answered UNKNOWN_TOPIC_OR_PARTITION; a client asks for it again.
        let partitions = self.config.default_partitions.max(1) as usize;
        names.truncate((AUTO_CREATED_PARTITIONS / partitions).max(1));
        names
    }

    /// Answer Metadata from the image.
    pub(super) fn describe(&self, request: &MetadataRequest) -> MetadataResponse {
        let node = self.config.node;
        let empty = Image::default();
        let image = self.image.as_ref().unwrap_or(&empty);
        let wanted: Vec<TopicRef> = match &request.topics {
            Some(topics) => topics.clone(),
            None => {
                let refs = image.names.iter();
                refs.map(|(name, id)| TopicRef {
                    name: name.clone(),
                    id: *id,
                })
                .collect()
            }
        };
        // A topic that is asked for twice is listed once, also if other names stand beside its id.
        let mut told = BTreeSet::new();
        let by_id = request.is_by_id();
        let topics = wanted
            .into_iter()
            .filter(|topic| !by_id || !topic.id.is_zero())
            .filter(|topic| told.insert(one_name(topic)))
            .map(|topic| match request.badly_named {
                // Kafka then names no broker; there is no reason to keep it back.
                true => TopicMetadata {
                    error: ErrorCode::InvalidRequest,
                    topic,
                    ..TopicMetadata::default()
                },
                false => self.describe_topic(image, topic),
            })
            .map(|topic| TopicMetadata {
                // Nothing is said of an id that nobody has.
                operations: (request.topic_operations && !request.badly_named)
                    .then_some(TOPIC_OPERATIONS)
                    .filter(|_| topic.error != ErrorCode::UnknownTopicId),
                ..topic
            })
            .collect();
        MetadataResponse {
            brokers: vec![(node, self.config.advertised.clone())],
            cluster_id: self.config.cluster_id,
            controller: node,
            topics,
            operations: (request.cluster_operations && !request.badly_named)
                .then_some(CLUSTER_OPERATIONS),
        }
    }

    fn describe_topic(&self, image: &Image, topic: TopicRef) -> TopicMetadata {
        let by_id = !topic.id.is_zero();
        let id = if by_id {
            Some(topic.id)
        } else {
            image.names.get(&topic.name).copied()
        };
        let Some((id, known)) = id.and_then(|id| Some((id, image.topics.get(&id)?))) else {
            let error = match decide_name(&topic.name) {
                _ if by_id => ErrorCode::UnknownTopicId,
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopic,
            };
            // Nobody has the id, whatever name came with it.
            let name = if by_id { String::new() } else { topic.name };
            return TopicMetadata {
                error,
                is_internal: is_internal(&name),
                topic: TopicRef { name, id: topic.id },
                ..TopicMetadata::default()
            };
        };
        let node = self.config.node;
        let partitions = (0..known.partitions)
            .map(|index| PartitionMetadata {
                error: ErrorCode::None,
                index: index as i32,
                leader: node,
                leader_epoch: image.incarnation,
                replicas: vec![node],
                isr: vec![node],
            })
            .collect();
        let topic = TopicRef {
            name: known.name.clone(),
            id,
        };
        TopicMetadata {
            error: ErrorCode::None,
            is_internal: is_internal(&topic.name),
            topic,
            partitions,
            operations: None,
        }
    }
}

#[cfg(test)]
mod tests;
