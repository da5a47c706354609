//! Requests, answers and notes in words, for a reader of a trace.

use seedlog_core::api::{Request, Response, TopicRef};
use seedlog_core::contract::Note;
use seedlog_core::error_code::ErrorCode;

use super::short;

/// Where a batch tells how many records it has, less one: Kafka's record batch, version 2.
const COUNT_AT: usize = 23;

fn records_in(batch: &[u8]) -> Option<i64> {
    let (bytes, _) = batch.get(COUNT_AT..)?.split_first_chunk::<4>()?;
    Some(i64::from(i32::from_be_bytes(*bytes)) + 1)
}

fn place(topic: &TopicRef, index: i32) -> String {
    match topic.name.is_empty() {
        true => format!("{:?}/{index}", topic.id),
        false => format!("{}/{index}", topic.name),
    }
}

/// What a client asks.
pub fn asked(request: &Request) -> String {
    let mut parts = Vec::new();
    match request {
        Request::Produce(produce) => {
            for (topic, index, batch) in produce.topics.iter().flat_map(|topic| {
                let parts = topic.partitions.iter();
                parts.map(|(index, batch)| (&topic.topic, *index, batch))
            }) {
                let count = batch.as_ref().and_then(|batch| records_in(batch));
                let count = count.map_or("records".into(), |count| format!("{count} records"));
                parts.push(format!("{} takes {count}?", place(topic, index)));
            }
        }
        Request::Fetch(fetch) => {
            for topic in &fetch.topics {
                for part in &topic.partitions {
                    let place = place(&topic.topic, part.index);
                    parts.push(format!("{place} from {} on?", part.fetch_offset));
                }
            }
        }
        other => return short(other),
    }
    parts.join(", ")
}

/// What a client is told.
pub fn told(response: &Response) -> String {
    let mut parts = Vec::new();
    match response {
        Response::Produce(produce) => {
            for (topic, part) in produce
                .topics
                .iter()
                .flat_map(|(topic, parts)| parts.iter().map(move |part| (topic, part)))
            {
                let place = place(topic, part.index);
                parts.push(match part.error {
                    ErrorCode::None => format!("{place} acknowledged from {} on", part.base_offset),
                    error => format!("{place} refused: {}", error.name()),
                });
            }
        }
        Response::Fetch(fetch) => {
            for (topic, part) in fetch
                .topics
                .iter()
                .flat_map(|(topic, parts)| parts.iter().map(move |part| (topic, part)))
            {
                let place = place(topic, part.index);
                let bytes: usize = part.records.iter().map(|piece| piece.len()).sum();
                parts.push(match part.error {
                    ErrorCode::None => format!(
                        "{place} has {}..{}, {bytes} bytes of it",
                        part.log_start_offset, part.high_watermark
                    ),
                    error => format!("{place} not read: {}", error.name()),
                });
            }
        }
        other => return short(other),
    }
    parts.join(", ")
}

/// What a shard tells its operator.
pub fn noted(note: &Note) -> String {
    match note {
        Note::Ready => "serves".into(),
        Note::Resharding => "its partitions begin to move to other shards".into(),
        Note::TornTail { blocks } => format!("cuts a torn tail of {blocks} blocks off its journal"),
        Note::DiskFull => "finds the disk full and refuses records".into(),
        Note::DiskFullOver => "finds room on the disk again".into(),
        Note::DuplicateSequence => "takes a batch for one it has already".into(),
        Note::FaultyRange { file } => format!("cannot read a range of {file}"),
        Note::CannotWrite { dir } => format!("cannot write the files in {dir}"),
        Note::CannotRemove { dir } => format!("cannot remove {dir}"),
        Note::SetAside { dir, aside } => {
            format!(
                "sets {} aside, of {} in {dir}",
                aside.now.join(" "),
                aside.files
            )
        }
        Note::Quarantined { dir } => format!("does not know the partition in {dir}"),
        Note::LossyRestart => "may have lost records of a topic that opted out of syncing".into(),
        other => short(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::api::{PartitionProduced, ProduceResponse};

    #[test]
    fn an_acknowledgement_names_its_place() {
        let topic = TopicRef {
            name: "topic-1".into(),
            ..TopicRef::default()
        };
        let part = |error| PartitionProduced {
            index: 2,
            base_offset: 31,
            error,
            ..PartitionProduced::default()
        };
        let response = |error| {
            Response::Produce(ProduceResponse {
                topics: vec![(topic.clone(), vec![part(error)])],
            })
        };
        let text = told(&response(ErrorCode::None));
        assert_eq!(text, "topic-1/2 acknowledged from 31 on");
        assert!(told(&response(ErrorCode::KafkaStorageError)).starts_with("topic-1/2 refused"));
    }
}
