//! Decisions about topics: pure functions of the metadata as appended so far.

use std::collections::{BTreeMap, BTreeSet};

use super::quote::Quote;
use super::{fold_name, Image, Record, TopicConfig, PRODUCER_ID_BLOCK};
use crate::api::*;
use crate::contract::Config;
use crate::error_code::ErrorCode;
use crate::ids::{NodeId, Uuid};

/// Most partitions that one request may add: Kafka's `MAX_PARTITIONS_PER_BATCH`
/// (`ReplicationControlManager`), answered POLICY_VIOLATION as there.
pub const ADDED_MAX: u64 = 10_000;

/// Most partitions of the broker. Each is a replica in memory, an entry of every checkpoint, and a
/// folder; Kafka has no limit and advises some thousands a broker. Where the journal is small there are
/// fewer: their manifests stand in it, an eighth of it being theirs, and take at least so many bytes.
const MAX_PARTITIONS: u64 = 100_000;
const MANIFEST_BYTES: u64 = 160;

/// Kafka's own log of metadata: not a topic that a client may have.
const CLUSTER_METADATA: &str = "__cluster_metadata";

/// What to append, and what to answer once it is durable and applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Records, one atomic batch; may be empty.
    pub records: Vec<Record>,
    /// The answer.
    pub response: Response,
}

type Refusal = (ErrorCode, String);

/// Decide an admin request; `ids` gives fresh topic ids. `None` if the request is not for the ledger.
///
/// `removing`: partitions of deleted topics whose folders are still there.
pub fn decide(
    image: &Image,
    removing: u64,
    config: &Config,
    request: &Request,
    ids: &mut dyn FnMut() -> Uuid,
) -> Option<Decision> {
    Some(match request {
        Request::CreateTopics(request) => create_topics(image, removing, config, request, ids),
        Request::DeleteTopics(request) => delete_topics(image, request),
        Request::CreatePartitions(request) => create_partitions(image, removing, config, request),
        Request::InitProducerId(_) => {
            let first = image.next_producer_id;
            let next = first + PRODUCER_ID_BLOCK;
            let response = InitProducerIdResponse {
                error: ErrorCode::None,
                producer_id: first,
                producer_epoch: 0,
            };
            Decision {
                records: vec![Record::ProducerIds { next }],
                response: Response::InitProducerId(response),
            }
        }
        _ => return None,
    })
}

/// What a request may still add, over all its topics.
struct Room<'a> {
    image: &'a Image,
    config: &'a Config,
    removing: u64,
    partitions: u64,
    bytes: u64,
}

impl<'a> Room<'a> {
    fn new(image: &'a Image, removing: u64, config: &'a Config) -> Room<'a> {
        Room {
            image,
            config,
            removing,
            partitions: 0,
            bytes: 0,
        }
    }

    /// Take room for partitions and for bytes of metadata. All topics are written into the journal
    /// as one snapshot, so they may fill an eighth of it.
    fn take(&mut self, partitions: u32, bytes: u64) -> Result<(), Refusal> {
        let all = self.image.partitions + self.partitions + u64::from(partitions);
        let journals = self.config.journal_max_bytes * u64::from(self.config.shards);
        let most = MAX_PARTITIONS.min(journals / 8 / MANIFEST_BYTES);
        if all > most {
            let text = format!("the broker has room for {most} partitions in all");
            return Err((ErrorCode::PolicyViolation, text));
        }
        // Each of those takes memory and the journal too. Kafka answers so where its controller is asked
        // for more changes than it is to make (KIP-599), and clients try again.
        if all + self.removing > most {
            let removing = self.removing;
            let text = format!("{removing} partitions of deleted topics are still being removed");
            return Err((ErrorCode::ThrottlingQuotaExceeded, text));
        }
        let all = self.image.topic_bytes + self.bytes + bytes;
        if all > self.config.journal_max_bytes / 8 {
            let text = "the broker has no room for the metadata of more topics";
            return Err((ErrorCode::PolicyViolation, text.to_string()));
        }
        self.partitions += u64::from(partitions);
        self.bytes += bytes;
        Ok(())
    }
}

/// Values that occur more than once.
fn doubled<T: Ord>(values: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for value in values {
        if seen.contains(&value) {
            twice.insert(value);
        } else {
            seen.insert(value);
        }
    }
    twice
}

fn create_topics(
    image: &Image,
    removing: u64,
    config: &Config,
    request: &CreateTopicsRequest,
    ids: &mut dyn FnMut() -> Uuid,
) -> Decision {
    let mut records = Vec::new();
    let mut topics = Vec::new();
    let twice = doubled(request.topics.iter().map(|topic| &topic.name[..]));
    let mut told = BTreeSet::new();
    // Names that this request takes, as they look.
    let mut taken = BTreeSet::new();
    let mut room = Room::new(image, removing, config);
    // Doubled topics are taken out before anything is counted (`ControllerApis.createTopics`).
    let single = |topic: &&NewTopic| !twice.contains(&topic.name[..]);
    let wanted = request.topics.iter().filter(single);
    let wanted = wanted.map(|topic| wanted_partitions(config, topic));
    let too_many = wanted.sum::<u64>() > ADDED_MAX;
    for topic in &request.topics {
        let outcome = if too_many {
            let text = format!("a request may create {ADDED_MAX} partitions in all");
            Err((ErrorCode::PolicyViolation, text))
        } else if twice.contains(&topic.name[..]) {
            if !told.insert(&topic.name[..]) {
                continue;
            }
            let text = "the topic is named twice in the request".to_string();
            Err((ErrorCode::InvalidRequest, text))
        } else {
            check_new_topic(image, config, topic, &taken).and_then(|checked| {
                room.take(checked.0, topic_bytes(topic))?;
                Ok(checked)
            })
        };
        topics.push(match outcome {
            Ok((partitions, effective)) => {
                let id = ids();
                taken.insert(fold_name(&topic.name));
                if !request.validate_only {
                    records.push(Record::Topic {
                        id,
                        name: topic.name.clone(),
                        partitions,
                        configs: set_configs(topic).into_iter().collect(),
                    });
                }
                created(topic, id, partitions, &effective)
            }
            Err((error, text)) => TopicCreated {
                name: topic.name.clone(),
                id: Uuid::ZERO,
                error,
                error_message: Some(text),
                partitions: -1,
                replication_factor: -1,
                configs: Vec::new(),
            },
        });
    }
    Decision {
        records,
        response: Response::CreateTopics(CreateTopicsResponse { topics }),
    }
}

/// Partitions that a topic asks for, valid or not.
fn wanted_partitions(config: &Config, topic: &NewTopic) -> u64 {
    match topic.partitions {
        _ if !topic.assignments.is_empty() => topic.assignments.len() as u64,
        -1 => config.default_partitions.into(),
        n => u64::try_from(n).unwrap_or(0),
    }
}

/// Bytes of the topic's record, to within a few.
fn topic_bytes(topic: &NewTopic) -> u64 {
    let configs = set_configs(topic).into_iter();
    let configs: usize = configs.map(|(k, v)| 8 + k.len() + v.len()).sum();
    (30 + topic.name.len() + configs) as u64
}

/// What is set: of a key that is named twice, the last.
fn set_configs(topic: &NewTopic) -> BTreeMap<String, String> {
    let set = topic.configs.iter();
    set.filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
        .collect()
}

fn created(topic: &NewTopic, id: Uuid, partitions: u32, effective: &TopicConfig) -> TopicCreated {
    let set = set_configs(topic);
    let configs = effective
        .list()
        .into_iter()
        .map(|(name, value)| {
            let value = set.get(name).cloned().unwrap_or(value);
            (name.to_string(), Some(value), !set.contains_key(name))
        })
        .collect();
    TopicCreated {
        name: topic.name.clone(),
        id,
        error: ErrorCode::None,
        error_message: None,
        partitions: partitions as i32,
        replication_factor: 1,
        configs,
    }
}

/// Kafka's rules for topic names (`Topic.java`).
pub fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty()
        || name == "."
        || name == ".."
        || name.len() > 249
        || !name.chars().all(legal)
    {
        return Err(format!(
            "topic name '{}' is illegal: 1 to 249 ASCII letters, digits, '.', '_' or '-'",
            Quote(name)
        ));
    }
    Ok(())
}

fn check_new_topic(
    image: &Image,
    config: &Config,
    topic: &NewTopic,
    taken: &BTreeSet<String>,
) -> Result<(u32, TopicConfig), Refusal> {
    check_name(&topic.name).map_err(|text| (ErrorCode::InvalidTopic, text))?;
    if topic.name == CLUSTER_METADATA {
        let text = "this is the name of the cluster's own metadata".to_string();
        return Err((ErrorCode::InvalidRequest, text));
    }
    if image.names.contains_key(&topic.name) {
        let text = format!("topic '{}' already exists", topic.name);
        return Err((ErrorCode::TopicAlreadyExists, text));
    }
    let folded = fold_name(&topic.name);
    let twin = image.folded.get(&folded);
    if twin.is_some() || taken.contains(&folded) {
        let text = format!(
            "topic '{}' collides with '{}' ('.' and '_' look alike)",
            topic.name,
            twin.unwrap_or(&folded)
        );
        return Err((ErrorCode::InvalidTopic, text));
    }
    // Configs go before counts (`ReplicationControlManager.createTopics`).
    let effective = check_configs(config, topic)?;
    let partitions = match topic.assignments.is_empty() {
        true => check_counts(config, topic)?,
        false => check_assignments(config, topic)?,
    };
    Ok((partitions, effective))
}

/// Of a key that is named twice the last value counts, but none may be null: as in Kafka 4.3.
fn check_configs(config: &Config, topic: &NewTopic) -> Result<TopicConfig, Refusal> {
    let invalid = |text| (ErrorCode::InvalidConfig, text);
    if let Some((name, _)) = topic.configs.iter().find(|(_, value)| value.is_none()) {
        return Err(invalid(format!("{} has no value", Quote(name))));
    }
    let mut effective = TopicConfig::default();
    let set = set_configs(topic);
    for (name, value) in &set {
        effective.set_new(name, value).map_err(invalid)?;
    }
    TopicConfig::fit_together(|name| set.get(name).map(String::as_str)).map_err(invalid)?;
    let most = config.batch_bytes_max();
    let is_set = set.contains_key("max.message.bytes");
    if is_set && effective.max_message_bytes as u64 > most {
        let name = "max.message.bytes";
        let text = format!("{name} is at most {most} here: the journal holds no larger batch");
        return Err(invalid(text));
    }
    Ok(effective)
}

/// Partitions, as `ReplicationControlManager.createTopic` judges the counts: a replication factor that
/// is no count, then the partitions, then whether there are brokers for it.
fn check_counts(config: &Config, topic: &NewTopic) -> Result<u32, Refusal> {
    let factor = topic.replication_factor;
    let bad_factor = Err((
        ErrorCode::InvalidReplicationFactor,
        format!("replication factor {factor} with one broker"),
    ));
    if factor < -1 || factor == 0 {
        return bad_factor;
    }
    let partitions = match topic.partitions {
        -1 => config.default_partitions,
        n if n > 0 => n as u32,
        n => {
            let text = format!("a topic has at least one partition, not {n}");
            return Err((ErrorCode::InvalidPartitions, text));
        }
    };
    match factor {
        -1 | 1 => Ok(partitions),
        _ => bad_factor,
    }
}

fn check_assignments(config: &Config, topic: &NewTopic) -> Result<u32, Refusal> {
    let bad = |text: &str| Err((ErrorCode::InvalidReplicaAssignment, text.to_string()));
    if (topic.partitions, topic.replication_factor) != (-1, -1) {
        let text = "a manual assignment needs a partition count and a replication factor of -1";
        return Err((ErrorCode::InvalidRequest, text.to_string()));
    }
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|(index, _)| *index).collect();
    indexes.sort();
    if !indexes.iter().copied().eq(0..indexes.len() as i32) {
        return bad("partitions must be numbered from 0 without a gap");
    }
    if topic
        .assignments
        .iter()
        .any(|(_, brokers)| brokers != &[config.node])
    {
        return bad("every partition must be assigned to this one broker");
    }
    Ok(indexes.len() as u32)
}

/// What a deletion does about one of its entries.
enum Deletion {
    /// The topic goes.
    Topic(Uuid),
    /// It is answered by another entry.
    Told,
    /// Nothing goes; the topic as the answer names it.
    Refused(TopicRef, ErrorCode, &'static str),
}

/// The topics that a deletion names, and how often: Kafka 4.3 deletes none that is named twice, by its
/// name, by its id or once by each, and answers INVALID_REQUEST once for it
/// (`ControllerApis.deleteTopics`).
struct Deletions<'a> {
    image: &'a Image,
    names_twice: BTreeSet<&'a str>,
    ids_twice: BTreeSet<Uuid>,
    /// Ids that are given, doubled or not.
    ids: BTreeSet<Uuid>,
    /// Ids of the topics that a name stands for which is given once.
    named: BTreeSet<Uuid>,
    told: BTreeSet<&'a TopicRef>,
}

/// The entries of a deletion, each with whether it is misnamed.
fn entries(request: &DeleteTopicsRequest) -> impl Iterator<Item = (&TopicRef, bool)> + Clone {
    let topics = (0u32..).zip(&request.topics);
    topics.map(move |(at, topic)| (topic, request.misnamed.binary_search(&at).is_ok()))
}

const NAMED_TWICE: &str = "the topic is named twice";

impl<'a> Deletions<'a> {
    fn of(image: &'a Image, request: &'a DeleteTopicsRequest) -> Deletions<'a> {
        let good = entries(request).filter(|(_, misnamed)| !misnamed);
        let good = good.map(|(topic, _)| topic);
        let by_name = good.clone().filter(|topic| topic.id.is_zero());
        let by_id = good.filter(|topic| topic.name.is_empty() && !topic.id.is_zero());
        let names_twice = doubled(by_name.clone().map(|topic| &topic.name[..]));
        let once = by_name.filter(|topic| !names_twice.contains(&topic.name[..]));
        let named = once.filter_map(|topic| image.names.get(&topic.name).copied());
        Deletions {
            image,
            ids_twice: doubled(by_id.clone().map(|topic| topic.id)),
            ids: by_id.map(|topic| topic.id).collect(),
            named: named.collect(),
            names_twice,
            told: BTreeSet::new(),
        }
    }

    fn judge(&mut self, wanted: &'a TopicRef, misnamed: bool) -> Deletion {
        let refused = |code, text| Deletion::Refused(wanted.clone(), code, text);
        let invalid = |text| refused(ErrorCode::InvalidRequest, text);
        let by_name = wanted.id.is_zero();
        match by_name {
            true if misnamed => return invalid("neither a name nor an id is given"),
            false if misnamed || !wanted.name.is_empty() => {
                return invalid("both a name and an id are given")
            }
            _ => {}
        }
        let twice = match by_name {
            true => self.names_twice.contains(&wanted.name[..]),
            false => self.ids_twice.contains(&wanted.id),
        };
        if twice {
            return match self.told.insert(wanted) {
                true => invalid(NAMED_TWICE),
                false => Deletion::Told,
            };
        }
        if !by_name {
            return match self.image.topics.contains_key(&wanted.id) {
                // The entry with the name answers for both.
                true if self.named.contains(&wanted.id) => Deletion::Told,
                true => Deletion::Topic(wanted.id),
                false => refused(ErrorCode::UnknownTopicId, "no such topic"),
            };
        }
        match self.image.names.get(&wanted.name).copied() {
            None => refused(ErrorCode::UnknownTopicOrPartition, "no such topic"),
            Some(id) if self.ids.contains(&id) => {
                let name = wanted.name.clone();
                Deletion::Refused(
                    TopicRef { name, id },
                    ErrorCode::InvalidRequest,
                    NAMED_TWICE,
                )
            }
            Some(id) => Deletion::Topic(id),
        }
    }
}

fn delete_topics(image: &Image, request: &DeleteTopicsRequest) -> Decision {
    let mut records: Vec<Record> = Vec::new();
    let mut topics = Vec::new();
    let mut deletions = Deletions::of(image, request);
    for (wanted, misnamed) in entries(request) {
        topics.push(match deletions.judge(wanted, misnamed) {
            Deletion::Told => continue,
            Deletion::Topic(id) => {
                records.push(Record::RemoveTopic { id });
                let known = image.topics.get(&id);
                let name = known.map(|topic| topic.name.clone()).unwrap_or_default();
                (TopicRef { name, id }, ErrorCode::None, None)
            }
            Deletion::Refused(topic, code, text) => (topic, code, Some(text.to_string())),
        });
    }
    Decision {
        records,
        response: Response::DeleteTopics(DeleteTopicsResponse { topics }),
    }
}

fn create_partitions(
    image: &Image,
    removing: u64,
    config: &Config,
    request: &CreatePartitionsRequest,
) -> Decision {
    let mut records = Vec::new();
    let mut topics = Vec::new();
    let twice = doubled(request.topics.iter().map(|(name, _, _)| &name[..]));
    let mut told = BTreeSet::new();
    let mut room = Room::new(image, removing, config);
    for (name, total, assignment) in &request.topics {
        let outcome = if twice.contains(&name[..]) {
            if !told.insert(&name[..]) {
                continue;
            }
            Err((ErrorCode::InvalidRequest, "the topic is named twice".into()))
        } else {
            check_growth(image, config, name, *total, assignment.as_deref()).and_then(
                |(id, added)| {
                    if room.partitions + u64::from(added) > ADDED_MAX {
                        let text = format!("a request may add {ADDED_MAX} partitions in all");
                        return Err((ErrorCode::PolicyViolation, text));
                    }
                    room.take(added, 0)?;
                    Ok(id)
                },
            )
        };
        match outcome {
            Ok(id) => {
                if !request.validate_only {
                    let total = *total as u32;
                    records.push(Record::Partitions { id, total });
                }
                topics.push((name.clone(), ErrorCode::None, None));
            }
            Err((code, text)) => topics.push((name.clone(), code, Some(text))),
        }
    }
    let response = CreatePartitionsResponse { topics };
    Decision {
        records,
        response: Response::CreatePartitions(response),
    }
}

/// The topic, and how many partitions are added to it.
fn check_growth(
    image: &Image,
    config: &Config,
    name: &str,
    total: i32,
    assignment: Option<&[Vec<NodeId>]>,
) -> Result<(Uuid, u32), Refusal> {
    let known = image.names.get(name);
    let Some((id, topic)) = known.and_then(|id| Some((*id, image.topics.get(id)?))) else {
        let text = "no such topic".to_string();
        return Err((ErrorCode::UnknownTopicOrPartition, text));
    };
    let now = topic.partitions;
    let added = u32::try_from(total).unwrap_or(0).saturating_sub(now);
    if added == 0 {
        let text = format!("the topic has {now} partitions already");
        return Err((ErrorCode::InvalidPartitions, text));
    }
    let fits = |rows: &[Vec<NodeId>]| {
        rows.len() == added as usize && rows.iter().all(|brokers| brokers == &[config.node])
    };
    if assignment.is_some_and(|rows| !fits(rows)) {
        let text = "every added partition must be assigned to this one broker".to_string();
        return Err((ErrorCode::InvalidReplicaAssignment, text));
    }
    Ok((id, added))
}

#[cfg(test)]
mod tests;
