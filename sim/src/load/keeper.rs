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
use seedlog_net::records;

use super::answered::Moment;
use super::ops::{fetch_request, topic_name, KEPT_FROM};
use super::records::{self as content, read_batches, Seen};
use super::shared;
use crate::check::answers::{Api, Why};
use crate::check::history::{History, Part};
use crate::draws::Draws;

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
    /// Make the shared topic of this name, or remove it.
    Share(usize, bool),
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
    name: usize,
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

    fn topic(&self) -> usize {
        KEPT_FROM + self.name
    }

    fn name(&self) -> String {
        topic_name(self.topic())
    }

    fn part(&self, index: u32) -> Part {
        (self.topic(), index as i32)
    }

    /// What to do next. From the moment its removal is asked for, nothing of the topic is owed.
    pub fn next_step(&mut self, history: &mut History) -> Step {
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
        if choices.chance(1, 5) {
            let creates = history.shared.begin(history.now_us);
            return Step::Share(history.shared.name, creates);
        }
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
        if step == Step::Remove {
            history.forget(self.topic());
        }
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
            Step::Share(name, creates) => shared::change(*name, *creates),
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
                let mut request = fetch_request((0, *index as i32), 0, 0);
                request.max_bytes = 1 << 20;
                request.topics[0].topic = topic;
                request.topics[0].partitions[0].max_bytes = 1 << 20;
                Request::Fetch(request)
            }
            Step::Describe => Request::Metadata(MetadataRequest {
                topics: Some(vec![topic]),
                allow_auto_topic_creation: false,
                ..MetadataRequest::default()
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

    /// The answer to a step: it is judged, and the model goes on.
    pub fn answered(
        &mut self,
        step: &Step,
        response: &Response,
        at: Moment,
        history: &mut History,
    ) {
        if let Step::Share(_, creates) = step {
            return share(*creates, response, at, history);
        }
        self.pending = false;
        let (api, code, model) = match (step, response) {
            (Step::Read(index), Response::Fetch(response)) => {
                let told = &response.topics[0].1[0];
                let why = at.whys(self.judge_part(*index), Api::Fetch, self.part(*index));
                history.judge(Api::Fetch, told.error, &why, || format!("{step:?}"));
                if told.error == ErrorCode::None {
                    self.read(*index, told, history);
                }
                return;
            }
            (Step::Describe, Response::Metadata(response)) => {
                let told = &response.topics[0];
                (Api::Metadata, told.error, self.judge_known())
            }
            (Step::Create(flaw), Response::CreateTopics(response)) => {
                let told = response.topics[0].error;
                (Api::CreateTopics, told, self.judge_create(*flaw))
            }
            (Step::Grow(total), Response::CreatePartitions(response)) => {
                let told = response.topics[0].1;
                (Api::CreatePartitions, told, self.judge_grow(*total))
            }
            (Step::Remove, Response::DeleteTopics(response)) => {
                let told = response.topics[0].1;
                (Api::DeleteTopics, told, self.judge_known())
            }
            (Step::Send(index, value, size), Response::Produce(response)) => {
                let told = response.topics[0].1[0].error;
                let large = batch(*value, *size).len() > LARGEST;
                (Api::Produce, told, self.judge_send(*index, large))
            }
            _ => {
                let text = format!("{step:?} was answered {response:?}");
                return history.violate("answer-shape", text);
            }
        };
        let why = at.whys(model, api, (self.topic(), 0));
        let (name, topic) = (self.name(), &self.topic);
        history.judge(api, code, &why, || format!("{name} {topic:?}: {step:?}"));
        match code {
            // It may take effect yet.
            ErrorCode::RequestTimedOut => self.go_on_elsewhere(),
            ErrorCode::None => self.took_effect(step, response, history),
            _ if *step == Step::Remove && model == Why::Sound => self.go_on_elsewhere(),
            _ => {}
        }
    }

    fn took_effect(&mut self, step: &Step, response: &Response, history: &mut History) {
        let number = self.topic();
        match (step, response, &mut self.topic) {
            (Step::Create(Flaw::No), _, topic) => {
                self.made_again += u64::from(self.removed);
                *topic = Some(vec![Vec::new(); 2]);
                history.begins(number, 2);
            }
            (Step::Grow(total), _, Some(topic)) => {
                topic.resize(*total as usize, Vec::new());
                history.begins(number, *total as i32);
            }
            (Step::Remove, _, topic) => {
                self.removed = true;
                *topic = None;
            }
            (Step::Send(index, value, _), Response::Produce(response), Some(topic)) => {
                let base = response.topics[0].1[0].base_offset;
                // That there is no such partition was judged.
                let Some(values) = topic.get_mut(*index as usize) else {
                    return;
                };
                let end = values.len() as i64;
                values.push(*value);
                if base != end {
                    let text = format!("churn {number}: {step:?} is at {base}, not at {end}");
                    history.violate("keeper", text);
                }
                history.acked((number, *index as i32), base, &[*value], end - 1);
            }
            (Step::Describe, Response::Metadata(response), topic) => {
                let count = response.topics[0].partitions.len();
                let wanted = topic.as_ref().map(Vec::len);
                if Some(count) != wanted {
                    let text = format!("churn {number}: {count} partitions, not {wanted:?}");
                    history.violate("keeper", text);
                }
            }
            _ => {}
        }
    }

    fn values(&self, index: u32) -> Option<&Vec<u64>> {
        self.topic.as_ref()?.get(index as usize)
    }

    fn judge_known(&self) -> Why {
        match self.topic {
            Some(_) => Why::Sound,
            None => Why::Unknown,
        }
    }

    fn judge_part(&self, index: u32) -> Why {
        match self.values(index) {
            Some(_) => Why::Sound,
            None => Why::Unknown,
        }
    }

    fn judge_create(&self, flaw: Flaw) -> Why {
        match (&self.topic, flaw) {
            (Some(_), _) => Why::Exists,
            (None, Flaw::No | Flaw::OnlyLook) => Why::Sound,
            (None, Flaw::NoPartition) => Why::BadPartitions,
            (None, Flaw::TwoReplicas) => Why::BadReplicas,
            (None, Flaw::Config) => Why::BadConfig,
        }
    }

    fn judge_grow(&self, total: u32) -> Why {
        match &self.topic {
            None => Why::Unknown,
            Some(topic) if topic.len() >= total as usize => Why::BadPartitions,
            Some(_) => Why::Sound,
        }
    }

    fn judge_send(&self, index: u32, large: bool) -> Why {
        match self.values(index) {
            None => Why::Unknown,
            Some(_) if self.bounded() && large => Why::TooLarge,
            Some(_) => Why::Sound,
        }
    }

    fn read(&mut self, index: u32, told: &PartitionFetched, history: &mut History) {
        let part = self.part(index);
        let seen = match read_batches(&told.records, 0, &mut |_| {}) {
            Ok(seen) => seen,
            Err(reason) => return history.violate("H2", format!("{part:?}: {reason}")),
        };
        history.read(part, 0, &seen);
        let found: Vec<u64> = seen.iter().map(|one: &Seen| one.value).collect();
        self.read_back += found.len() as u64;
        // A fault may have struck one of its files further on.
        let end = told.high_watermark;
        let whole = found.len() as i64 == end;
        let wanted = self.values(index);
        let same = wanted.is_some_and(|wanted| {
            wanted.starts_with(&found) && wanted.len() as i64 == end && (whole || !found.is_empty())
        });
        if !same {
            let text = format!("{part:?}: {found:?} up to {end}, not {wanted:?}");
            history.violate("keeper", text);
        }
    }
}

/// The shared topic was made or removed.
fn share(creates: bool, response: &Response, at: Moment, history: &mut History) {
    let (api, code) = match response {
        Response::CreateTopics(response) => (Api::CreateTopics, response.topics[0].error),
        Response::DeleteTopics(response) => (Api::DeleteTopics, response.topics[0].1),
        _ => return history.violate("answer-shape", format!("{response:?}")),
    };
    let why = at.whys(Why::Sound, api, (0, 0));
    history.judge(api, code, &why, || "the shared topic".to_string());
    if code == ErrorCode::None {
        history.shared.done(creates, at.now_us);
    }
}

/// A batch of one record of this size.
fn batch(value: u64, size: usize) -> Bytes {
    records::build(&[content::record(value, 1, size)], None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::troubles::Troubles;

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
            topics: vec![(TopicRef::default(), vec![told])],
            ..FetchResponse::default()
        })
    }

    fn told(churn: &mut Churn, step: &Step, response: &Response) -> usize {
        let mut history = History::default();
        let troubles = Troubles::default();
        let at = Moment {
            sent_us: 0,
            now_us: 1_000,
            troubles: &troubles,
        };
        churn.answered(step, response, at, &mut history);
        history.violations.len()
    }

    #[test]
    fn wrong_answers_are_seen() {
        let mut churn = Churn::new(1);
        let (none, unknown) = (ErrorCode::None, ErrorCode::UnknownTopicOrPartition);
        let wrong = |churn: &Churn, step: Step, response: Response| {
            assert!(told(&mut churn.clone(), &step, &response) > 0, "{step:?}");
        };
        wrong(&churn, Step::Send(0, 1, 8), sent(none, 0));
        let create = Step::Create(Flaw::No);
        assert_eq!(told(&mut churn, &create, &created(none)), 0);
        wrong(&churn, create, created(none));
        wrong(&churn, Step::Send(0, 1, 8), sent(none, 1));
        wrong(&churn, Step::Send(0, 1, 8), sent(unknown, -1));
        wrong(&churn, Step::Send(2, 1, 8), sent(none, 0));
        wrong(&churn, Step::Send(0, 1, 900), sent(none, 0));
        wrong(
            &churn,
            Step::Send(0, 1, 8),
            sent(ErrorCode::KafkaStorageError, -1),
        );
        wrong(&churn, Step::Read(0), fetched(1, vec![batch(9, 8)]));
        assert_eq!(told(&mut churn, &Step::Send(0, 1, 8), &sent(none, 0)), 0);
        let whole = fetched(1, vec![batch(1, 8)]);
        assert_eq!(told(&mut churn, &Step::Read(0), &whole), 0);
        for (mark, records) in [(0, vec![]), (1, vec![]), (1, vec![batch(2, 8)])] {
            wrong(&churn, Step::Read(0), fetched(mark, records));
        }
        // What it never learned it does not hold against the broker.
        churn.pending = true;
        churn.next_step(&mut History::default());
        assert_eq!((churn.name, &churn.topic), (1, &None));
    }
}
