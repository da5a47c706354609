//! Decisions about topics: pure functions of the metadata as appended so far.

use std::collections::BTreeMap;

use super::{Image, Record, TopicConfig, PRODUCER_ID_BLOCK};
use crate::api::*;
use crate::contract::Config;
use crate::error_code::ErrorCode;
use crate::ids::Uuid;

/// Most partitions one topic may have.
const MAX_PARTITIONS: i32 = 10_000;

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
pub fn decide(
    image: &Image,
    config: &Config,
    request: &Request,
    ids: &mut dyn FnMut() -> Uuid,
) -> Option<Decision> {
    Some(match request {
        Request::CreateTopics(request) => create_topics(image, config, request, ids),
        Request::DeleteTopics(request) => delete_topics(image, request),
        Request::CreatePartitions(request) => create_partitions(image, config, request),
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

fn create_topics(
    image: &Image,
    config: &Config,
    request: &CreateTopicsRequest,
    ids: &mut dyn FnMut() -> Uuid,
) -> Decision {
    let mut records = Vec::new();
    let mut topics = Vec::new();
    for topic in &request.topics {
        let twice = request
            .topics
            .iter()
            .filter(|other| other.name == topic.name)
            .count()
            > 1;
        let outcome = if twice {
            Err((
                ErrorCode::InvalidRequest,
                "the topic is named twice in the request".to_string(),
            ))
        } else {
            check_new_topic(image, config, topic)
        };
        topics.push(match outcome {
            Ok((partitions, effective)) => {
                let id = ids();
                if !request.validate_only {
                    records.push(Record::Topic {
                        id,
                        name: topic.name.clone(),
                        partitions,
                        configs: set_configs(topic).collect(),
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

fn set_configs(topic: &NewTopic) -> impl Iterator<Item = (String, String)> + '_ {
    topic
        .configs
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
}

fn created(topic: &NewTopic, id: Uuid, partitions: u32, effective: &TopicConfig) -> TopicCreated {
    let set: BTreeMap<String, String> = set_configs(topic).collect();
    let configs = effective
        .list()
        .into_iter()
        .map(|(name, value)| (name.to_string(), Some(value), !set.contains_key(name)))
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
            "topic name '{name}' is illegal: 1 to 249 ASCII letters, digits, '.', '_' or '-'"
        ));
    }
    Ok(())
}

fn check_new_topic(
    image: &Image,
    config: &Config,
    topic: &NewTopic,
) -> Result<(u32, TopicConfig), Refusal> {
    check_name(&topic.name).map_err(|text| (ErrorCode::InvalidTopic, text))?;
    if image.names.contains_key(&topic.name) {
        let text = format!("topic '{}' already exists", topic.name);
        return Err((ErrorCode::TopicAlreadyExists, text));
    }
    let folded = topic.name.replace('.', "_");
    if let Some(other) = image
        .names
        .keys()
        .find(|name| name.replace('.', "_") == folded)
    {
        let text = format!(
            "topic '{}' collides with '{other}' ('.' and '_' look alike)",
            topic.name
        );
        return Err((ErrorCode::InvalidTopic, text));
    }
    let partitions = if topic.assignments.is_empty() {
        match topic.partitions {
            -1 => config.default_partitions,
            n if (1..=MAX_PARTITIONS).contains(&n) => n as u32,
            n => {
                let text = format!("a topic has 1 to {MAX_PARTITIONS} partitions, not {n}");
                return Err((ErrorCode::InvalidPartitions, text));
            }
        }
    } else {
        check_assignments(config, topic)?
    };
    if topic.assignments.is_empty() && !matches!(topic.replication_factor, -1 | 1) {
        let text = format!(
            "replication factor {} with one broker",
            topic.replication_factor
        );
        return Err((ErrorCode::InvalidReplicationFactor, text));
    }
    let mut effective = TopicConfig::default();
    for (name, value) in set_configs(topic) {
        effective
            .set(&name, &value)
            .map_err(|text| (ErrorCode::InvalidConfig, text))?;
        let most = config.batch_bytes_max();
        if name == "max.message.bytes" && effective.max_message_bytes as u64 > most {
            let text = format!("{name} is at most {most} here: the journal holds no larger batch");
            return Err((ErrorCode::InvalidConfig, text));
        }
    }
    Ok((partitions, effective))
}

fn check_assignments(config: &Config, topic: &NewTopic) -> Result<u32, Refusal> {
    let bad = |text: &str| Err((ErrorCode::InvalidReplicaAssignment, text.to_string()));
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
    if indexes.len() as i32 > MAX_PARTITIONS {
        return bad("too many partitions");
    }
    Ok(indexes.len() as u32)
}

fn delete_topics(image: &Image, request: &DeleteTopicsRequest) -> Decision {
    let mut records: Vec<Record> = Vec::new();
    let mut topics = Vec::new();
    for wanted in &request.topics {
        let by_id = !wanted.id.is_zero();
        let id = if by_id {
            Some(wanted.id)
        } else {
            image.names.get(&wanted.name).copied()
        };
        match id.and_then(|id| image.topics.get(&id).map(|topic| (id, topic))) {
            Some((id, topic)) => {
                let record = Record::RemoveTopic { id };
                if !records.contains(&record) {
                    records.push(record);
                }
                let topic = TopicRef {
                    name: topic.name.clone(),
                    id,
                };
                topics.push((topic, ErrorCode::None, None));
            }
            None => {
                let code = match by_id {
                    true => ErrorCode::UnknownTopicId,
                    false => ErrorCode::UnknownTopicOrPartition,
                };
                topics.push((wanted.clone(), code, Some("no such topic".to_string())));
            }
        }
    }
    Decision {
        records,
        response: Response::DeleteTopics(DeleteTopicsResponse { topics }),
    }
}

fn create_partitions(
    image: &Image,
    config: &Config,
    request: &CreatePartitionsRequest,
) -> Decision {
    let mut records = Vec::new();
    let mut topics = Vec::new();
    for (name, total, assignment) in &request.topics {
        let known = image
            .names
            .get(name)
            .and_then(|id| Some((*id, image.topics.get(id)?.partitions)));
        let outcome = match known {
            None => Err((
                ErrorCode::UnknownTopicOrPartition,
                "no such topic".to_string(),
            )),
            Some((_, now)) if *total <= now as i32 => Err((
                ErrorCode::InvalidPartitions,
                format!("the topic has {now} partitions already"),
            )),
            Some(_) if *total > MAX_PARTITIONS => Err((
                ErrorCode::InvalidPartitions,
                format!("at most {MAX_PARTITIONS} partitions"),
            )),
            Some((id, now)) => {
                let added = (*total as usize) - now as usize;
                let fits = assignment.as_ref().is_none_or(|rows| {
                    rows.len() == added && rows.iter().all(|brokers| brokers == &[config.node])
                });
                match fits {
                    true => Ok((id, *total as u32)),
                    false => Err((
                        ErrorCode::InvalidReplicaAssignment,
                        "bad assignment".to_string(),
                    )),
                }
            }
        };
        match outcome {
            Ok((id, total)) => {
                if !request.validate_only {
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
