//! A topic that the keeper makes and removes while others write to it and read it: what they are answered
//! must fit what it may be at some time of their request.

use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_net::records;

use super::answered::Moment;
use super::ops::{fetch_request, topic_name, SHARED_FROM};
use super::records::{read_batches, record};
use crate::check::answers::{Api, Why};
use crate::check::history::History;

/// Its partitions.
const PARTITIONS: i32 = 2;
/// Who reads it waits so long for records: meanwhile it may be removed.
const WAIT_MS: i32 = 400;

/// Whether the topic is there, as far as the keeper knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum There {
    /// It is not.
    #[default]
    No,
    /// It is asked for, or its removal is.
    Maybe,
    /// It is.
    Yes,
}

/// What is known of it: under which name, whether it is there, and since when (microseconds).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are what the line above says")]
pub struct Shared {
    pub name: usize,
    pub there: There,
    pub since_us: u64,
}

impl Shared {
    fn becomes(&mut self, there: There, now_us: u64) {
        (self.there, self.since_us) = (there, now_us);
    }

    /// The keeper asks for it, or for its removal. True for the first.
    pub fn begin(&mut self, now_us: u64) -> bool {
        if self.there == There::Maybe {
            // What was asked for may still come about: another name is used from here on.
            self.name += 1;
            self.there = There::No;
        }
        let creates = self.there == There::No;
        self.becomes(There::Maybe, now_us);
        creates
    }

    /// The keeper's answer.
    pub fn done(&mut self, created: bool, now_us: u64) {
        let there = if created { There::Yes } else { There::No };
        self.becomes(there, now_us);
    }

    /// Reasons for answers to a request that was sent then.
    fn whys(&self, sent_us: u64) -> Vec<Why> {
        let moved = self.since_us >= sent_us;
        let mut why = Vec::new();
        if moved || self.there != There::No {
            why.push(Why::Sound);
        }
        if moved || self.there != There::Yes {
            why.push(Why::Unknown);
        }
        why
    }
}

fn topic(name: usize) -> TopicRef {
    TopicRef {
        name: topic_name(SHARED_FROM + name),
        id: Uuid::ZERO,
    }
}

/// Make it, or remove it.
pub fn change(name: usize, creates: bool) -> Request {
    let topic = topic(name);
    match creates {
        true => Request::CreateTopics(CreateTopicsRequest {
            topics: vec![NewTopic {
                name: topic.name,
                partitions: PARTITIONS,
                replication_factor: 1,
                assignments: Vec::new(),
                configs: Vec::new(),
            }],
            timeout_ms: 1_000,
            validate_only: false,
        }),
        false => Request::DeleteTopics(DeleteTopicsRequest {
            topics: vec![topic],
            misnamed: Vec::new(),
            timeout_ms: 30_000,
        }),
    }
}

/// Write this value to it, or read it from the beginning.
pub fn used(name: usize, value: u64, writes: bool) -> Request {
    let index = (value % PARTITIONS as u64) as i32;
    let topic = topic(name);
    if !writes {
        let mut request = fetch_request((0, index), 0, WAIT_MS);
        request.topics[0].topic = topic;
        return Request::Fetch(request);
    }
    let batch = records::build(&[record(value, 1, 200)], None);
    Request::Produce(ProduceRequest {
        transactional_id: None,
        acks: 1,
        timeout_ms: 1_000,
        zstd_allowed: true,
        by_id: false,
        topics: vec![TopicProduce {
            topic,
            partitions: vec![(index, Some(batch))],
        }],
    })
}

/// Judge what somebody who used it was answered.
pub fn judge(name: usize, response: &Response, at: Moment, history: &mut History) {
    let shared = history.shared;
    let moved = [Why::Sound, Why::Unknown].to_vec();
    let why = match name == shared.name {
        true => shared.whys(at.sent_us),
        false => moved,
    };
    let text = || format!("shared topic {name}, {shared:?}");
    let (api, index, code) = match response {
        Response::Produce(response) => {
            let told = &response.topics[0].1[0];
            (Api::Produce, told.index, told.error)
        }
        Response::Fetch(response) => {
            let told = &response.topics[0].1[0];
            (Api::Fetch, told.index, told.error)
        }
        _ => return history.violate("answer-shape", format!("{response:?}")),
    };
    let mut all = at.whys(why[0], api, (SHARED_FROM + name, index));
    all.extend(&why);
    history.judge(api, code, &all, text);
    history.mark(match code {
        ErrorCode::None => "shared-used",
        _ => "shared-refused",
    });
    if let Response::Fetch(response) = response {
        let told = &response.topics[0].1[0];
        if let Err(reason) = read_batches(&told.records, 0, &mut |_| {}) {
            history.violate("H2", format!("shared topic {name}: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::troubles::Troubles;

    fn told(shared: Shared, sent_us: u64, error: ErrorCode) -> usize {
        let told = PartitionFetched {
            error,
            ..PartitionFetched::default()
        };
        let response = Response::Fetch(FetchResponse {
            topics: vec![(TopicRef::default(), vec![told])],
            ..FetchResponse::default()
        });
        let mut history = History::default();
        history.shared = shared;
        let at = Moment {
            sent_us,
            now_us: 900,
            troubles: &Troubles::default(),
        };
        judge(shared.name, &response, at, &mut history);
        history.violations.len()
    }

    #[test]
    fn an_answer_fits_what_the_topic_may_be() {
        let (none, unknown) = (ErrorCode::None, ErrorCode::UnknownTopicOrPartition);
        let mut shared = Shared::default();
        assert_eq!((told(shared, 50, none), told(shared, 50, unknown)), (1, 0));
        assert!(shared.begin(100));
        assert_eq!(
            (told(shared, 150, none), told(shared, 150, unknown)),
            (0, 0)
        );
        shared.done(true, 200);
        assert_eq!(
            (told(shared, 250, none), told(shared, 250, unknown)),
            (0, 1)
        );
        assert_eq!(
            (told(shared, 150, none), told(shared, 150, unknown)),
            (0, 0)
        );
        assert!(!shared.begin(300));
        // Its outcome is never known: the next is made under another name.
        assert!(shared.begin(400));
        assert_eq!(shared.name, 1);
    }
}
