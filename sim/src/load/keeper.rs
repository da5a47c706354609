//! A client that makes, grows and removes topics of its own. As nobody else touches them it knows what
//! every answer must be, the refusals too: records of a topic that was removed never come back under
//! its name (X9 of `failures.md`), and what was acknowledged is all there is.
//!
//! An operation whose outcome it never learns may still take effect later: it goes on with a topic of
//! another name then.

use bytes::Bytes;
use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_net::records::{self, Record};

use crate::draws::Draws;
use crate::load::client::values;

/// A batch of the topics that have a bound may not be larger.
const LARGEST: usize = 400;

/// One operation on the topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make it.
    Create(Flaw),
    /// Give it so many partitions.
    Grow(u32),
    /// Remove it.
    Remove,
    /// Send one record of so many bytes to a partition.
    Send(u32, u64, usize),
    /// Read a partition from its beginning.
    Read(u32),
    /// Ask for its metadata.
    Describe,
}

/// What is wrong with a request to make a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    No,
    /// It is only to be looked at.
    OnlyLook,
    /// No partition.
    NoPartition,
    /// Two replicas on one broker.
    TwoReplicas,
    /// A config that is no number.
    Config,
}

/// The client's model of its topic.
#[derive(Clone, Debug)]
pub struct Churn {
    draws: Draws,
    name: u64,
    /// The topic as it must be, if it exists: values acknowledged, by partition.
    topic: Option<Vec<Vec<u64>>>,
    /// One of this name was removed.
    removed: bool,
    pending: bool,
    next_value: u64,
    /// Topics made again under the name of a removed one.
    pub made_again: u64,
    /// Values read back.
    pub read_back: u64,
}

impl Churn {
    /// Of a seed.
    pub fn new(seed: u64) -> Churn {
        Churn {
            draws: Draws::new(seed),
            name: 0,
            topic: None,
            removed: false,
            pending: false,
            next_value: 1 << 60,
            made_again: 0,
            read_back: 0,
        }
    }

    fn name(&self) -> String {
        format!("churn-{}", self.name)
    }

    /// What to do next.
    pub fn next_step(&mut self) -> Step {
        if std::mem::replace(&mut self.pending, false) {
            self.go_on_elsewhere();
        }
        let mut choices = self.draws.of("keeper", 0);
        let count = self.topic.as_ref().map_or(1, Vec::len);
        // Now and then one beyond the last.
        let index = choices.below(count as u64 + 1) as u32;
        let index = match choices.chance(7, 8) {
            true => index.min(count as u32 - 1),
            false => index,
        };
        let flaws = [
            Flaw::OnlyLook,
            Flaw::NoPartition,
            Flaw::TwoReplicas,
            Flaw::Config,
        ];
        let step = match (choices.below(20), &self.topic) {
            (0..=11, None) => Step::Create(Flaw::No),
            (0, Some(_)) => Step::Create(Flaw::No),
            (1..=2, _) => Step::Create(flaws[choices.below(4) as usize]),
            (12..=13, _) | (3, _) => Step::Grow(choices.between(1, count as u64 + 2) as u32),
            (14..=15, _) => Step::Remove,
            (4..=8, _) => {
                self.next_value += 1;
                Step::Send(index, self.next_value, 8 + choices.below(600) as usize)
            }
            (16..=17, _) => Step::Describe,
            _ => Step::Read(index),
        };
        self.pending = !matches!(step, Step::Describe | Step::Read(_));
        step
    }

    fn go_on_elsewhere(&mut self) {
        self.name += 1;
        self.topic = None;
        self.removed = false;
    }

    /// The request of a step.
    pub fn request(&self, step: &Step) -> Request {
        let topic = TopicRef {
            name: self.name(),
            id: Uuid::ZERO,
        };
        match step {
            Step::Create(flaw) => self.create(*flaw),
            Step::Grow(total) => Request::CreatePartitions(CreatePartitionsRequest {
                topics: vec![(topic.name, *total as i32, None)],
                timeout_ms: 30_000,
                validate_only: false,
            }),
            Step::Remove => Request::DeleteTopics(DeleteTopicsRequest {
                topics: vec![topic],
                misnamed: Vec::new(),
                timeout_ms: 30_000,
            }),
            Step::Send(index, value, size) => Request::Produce(ProduceRequest {
                transactional_id: None,
                acks: -1,
                timeout_ms: 1000,
                zstd_allowed: true,
                by_id: false,
                topics: vec![TopicProduce {
                    topic,
                    partitions: vec![(*index as i32, Some(batch(*value, *size)))],
                }],
            }),
            Step::Read(index) => {
                let mut request = crate::load::client::fetch_request((0, *index as i32), 0, 0);
                request.max_bytes = 1 << 20;
                request.topics[0].topic = topic;
                request.topics[0].partitions[0].max_bytes = 1 << 20;
                Request::Fetch(request)
            }
            Step::Describe => Request::Metadata(MetadataRequest {
                topics: Some(vec![topic]),
                allow_auto_topic_creation: false,
                badly_named: false,
            }),
        }
    }

    fn create(&self, flaw: Flaw) -> Request {
        let mut configs = vec![(
            "internal.segment.bytes".to_string(),
            Some("4000".to_string()),
        )];
        if self.bounded() {
            let bound = LARGEST.to_string();
            configs.push(("max.message.bytes".to_string(), Some(bound)));
        }
        if flaw == Flaw::Config {
            configs.push(("retention.ms".to_string(), Some("long".to_string())));
        }
        let new = NewTopic {
            name: self.name(),
            partitions: if flaw == Flaw::NoPartition { 0 } else { 2 },
            replication_factor: if flaw == Flaw::TwoReplicas { 2 } else { 1 },
            assignments: Vec::new(),
            configs,
        };
        Request::CreateTopics(CreateTopicsRequest {
            topics: vec![new],
            timeout_ms: 1000,
            validate_only: flaw == Flaw::OnlyLook,
        })
    }

    /// Topics of every other name have a bound on their batches.
    fn bounded(&self) -> bool {
        self.name.is_multiple_of(2)
    }

    /// The answer to a step. What is wrong with it?
    pub fn answered(&mut self, step: &Step, response: &Response) -> Option<String> {
        self.pending = false;
        let (code, wanted) = match (step, response) {
            (Step::Read(index), Response::Fetch(response)) => {
                return self.read(*index, &response.topics[0].1[0])
            }
            (Step::Describe, Response::Metadata(response)) => {
                return self.described(&response.topics[0])
            }
            (Step::Create(flaw), Response::CreateTopics(response)) => {
                (response.topics[0].error, self.judge_create(*flaw))
            }
            (Step::Grow(total), Response::CreatePartitions(response)) => {
                (response.topics[0].1, self.judge_grow(*total))
            }
            (Step::Remove, Response::DeleteTopics(response)) => {
                (response.topics[0].1, self.judge_known())
            }
            (Step::Send(index, _, size), Response::Produce(response)) => {
                let told = &response.topics[0].1[0];
                let wanted = self.judge_send(*index, *size);
                if (told.error, wanted) == (ErrorCode::None, ErrorCode::None) {
                    let end = self.values(*index).map_or(0, Vec::len) as i64;
                    if told.base_offset != end {
                        let offset = told.base_offset;
                        return Some(format!("{step:?} is at {offset}, not at {end}"));
                    }
                }
                (told.error, wanted)
            }
            _ => return Some(format!("{step:?} was answered {response:?}")),
        };
        if matches!(code, ErrorCode::RequestTimedOut) {
            // It may take effect yet.
            self.go_on_elsewhere();
            return None;
        }
        // Refused for the disk's sake: nothing has changed.
        if code == ErrorCode::KafkaStorageError {
            return None;
        }
        if code != wanted {
            let (name, topic) = (self.name(), &self.topic);
            let text = format!("{name} {topic:?}: {step:?}: {code:?}, not {wanted:?}");
            self.go_on_elsewhere();
            return Some(text);
        }
        if code == ErrorCode::None {
            self.took_effect(step);
        }
        None
    }

    fn took_effect(&mut self, step: &Step) {
        match (step, &mut self.topic) {
            (Step::Create(Flaw::No), topic) => {
                self.made_again += u64::from(self.removed);
                *topic = Some(vec![Vec::new(); 2]);
            }
            (Step::Grow(total), Some(topic)) => topic.resize(*total as usize, Vec::new()),
            (Step::Remove, topic) => {
                self.removed = true;
                *topic = None;
            }
            (Step::Send(index, value, _), Some(topic)) => topic[*index as usize].push(*value),
            _ => {}
        }
    }

    fn values(&self, index: u32) -> Option<&Vec<u64>> {
        self.topic.as_ref()?.get(index as usize)
    }

    fn judge_known(&self) -> ErrorCode {
        match self.topic {
            Some(_) => ErrorCode::None,
            None => ErrorCode::UnknownTopicOrPartition,
        }
    }

    fn judge_create(&self, flaw: Flaw) -> ErrorCode {
        match (&self.topic, flaw) {
            (Some(_), _) => ErrorCode::TopicAlreadyExists,
            (None, Flaw::No | Flaw::OnlyLook) => ErrorCode::None,
            (None, Flaw::NoPartition) => ErrorCode::InvalidPartitions,
            (None, Flaw::TwoReplicas) => ErrorCode::InvalidReplicationFactor,
            (None, Flaw::Config) => ErrorCode::InvalidConfig,
        }
    }

    fn judge_grow(&self, total: u32) -> ErrorCode {
        match &self.topic {
            None => ErrorCode::UnknownTopicOrPartition,
            Some(topic) if topic.len() >= total as usize => ErrorCode::InvalidPartitions,
            Some(_) => ErrorCode::None,
        }
    }

    fn judge_send(&self, index: u32, size: usize) -> ErrorCode {
        match self.values(index) {
            None => ErrorCode::UnknownTopicOrPartition,
            Some(_) if self.bounded() && batch(0, size).len() > LARGEST => {
                ErrorCode::MessageTooLarge
            }
            Some(_) => ErrorCode::None,
        }
    }

    fn described(&self, told: &TopicMetadata) -> Option<String> {
        let wanted = self.topic.as_ref().map(Vec::len);
        let count = match told.error {
            ErrorCode::None => Some(told.partitions.len()),
            ErrorCode::UnknownTopicOrPartition => None,
            code => return Some(format!("{}: described as {code:?}", self.name())),
        };
        let text = || format!("{}: {count:?} partitions, not {wanted:?}", self.name());
        (count != wanted).then(text)
    }

    fn read(&mut self, index: u32, told: &PartitionFetched) -> Option<String> {
        let name = format!("{}-{index}", self.name());
        let found = match told.error {
            // A fault may have struck one of its files.
            ErrorCode::KafkaStorageError => return None,
            ErrorCode::UnknownTopicOrPartition => None,
            ErrorCode::None => match values(&told.records, 0) {
                Ok(found) => Some(found.into_iter().map(|(_, value)| value).collect()),
                Err(reason) => return Some(format!("{name}: {reason}")),
            },
            code => return Some(format!("{name}: read as {code:?}")),
        };
        self.read_back += found.as_ref().map_or(0, Vec::len) as u64;
        let wanted = self.values(index);
        // A fault may have struck one of its files further on.
        let whole =
            found.as_ref().map(|found: &Vec<u64>| found.len() as i64) == Some(told.high_watermark);
        let same = match (&found, wanted) {
            (Some(found), Some(wanted)) => {
                wanted.starts_with(found)
                    && wanted.len() as i64 == told.high_watermark
                    && (whole || !found.is_empty())
            }
            (None, None) => true,
            _ => false,
        };
        let text = || {
            format!(
                "{name}: {found:?} up to {}, not {wanted:?}",
                told.high_watermark
            )
        };
        (!same).then(text)
    }
}

fn batch(value: u64, size: usize) -> Bytes {
    let mut bytes = value.to_be_bytes().to_vec();
    bytes.resize(size, b'.');
    let record = Record {
        offset: 0,
        timestamp: 1,
        key: None,
        value: Some(Bytes::from(bytes)),
        headers: Vec::new(),
    };
    records::build(&[record], None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(error: ErrorCode) -> Response {
        Response::CreateTopics(CreateTopicsResponse {
            topics: vec![TopicCreated {
                error,
                ..TopicCreated::default()
            }],
        })
    }

    fn sent(error: ErrorCode, base_offset: i64) -> Response {
        let told = PartitionProduced {
            error,
            base_offset,
            ..PartitionProduced::default()
        };
        Response::Produce(ProduceResponse {
            topics: vec![(TopicRef::default(), vec![told])],
        })
    }

    fn fetched(high_watermark: i64, records: Vec<Bytes>) -> Response {
        let told = PartitionFetched {
            high_watermark,
            records,
            ..PartitionFetched::default()
        };
        Response::Fetch(FetchResponse {
            error: ErrorCode::None,
            session_id: 0,
            topics: vec![(TopicRef::default(), vec![told])],
        })
    }

    #[test]
    fn wrong_answers_are_seen() {
        let mut churn = Churn::new(1);
        let (none, unknown) = (ErrorCode::None, ErrorCode::UnknownTopicOrPartition);
        assert!(churn
            .clone()
            .answered(&Step::Send(0, 1, 8), &sent(none, 0))
            .is_some());
        assert_eq!(
            churn.answered(&Step::Create(Flaw::No), &created(none)),
            None
        );
        for wrong in [
            churn
                .clone()
                .answered(&Step::Create(Flaw::No), &created(none)),
            churn.clone().answered(&Step::Send(0, 1, 8), &sent(none, 1)),
            churn
                .clone()
                .answered(&Step::Send(0, 1, 8), &sent(unknown, -1)),
            churn.clone().answered(&Step::Send(2, 1, 8), &sent(none, 0)),
            churn
                .clone()
                .answered(&Step::Send(0, 1, 900), &sent(none, 0)),
            churn
                .clone()
                .answered(&Step::Read(0), &fetched(1, vec![batch(9, 8)])),
        ] {
            assert!(wrong.is_some());
        }
        assert_eq!(churn.answered(&Step::Send(0, 1, 8), &sent(none, 0)), None);
        assert_eq!(
            churn.answered(&Step::Read(0), &fetched(1, vec![batch(1, 8)])),
            None
        );
        for (mark, records) in [(0, vec![]), (1, vec![]), (1, vec![batch(2, 8)])] {
            assert!(churn
                .answered(&Step::Read(0), &fetched(mark, records))
                .is_some());
        }
        // What it never learned it does not hold against the broker.
        churn.pending = true;
        churn.next_step();
        assert_eq!((churn.name, &churn.topic), (1, &None));
    }
}
