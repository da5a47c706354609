//! Topic metadata: the first ledger. Hard state is the fold of the ledger's log; `decide` looks at it
//! and proposes records; the shard appends them, applies them, and answers once they are durable.

mod configs;
mod decide;
mod quote;
mod record;

pub use configs::TopicConfig;
pub use decide::{check_name as decide_name, decide, Decision, ADDED_MAX};
pub use record::{decode_records, encode_records, Record};

use std::collections::BTreeMap;

use crate::ids::{PartitionId, Uuid};

/// Producer ids are handed to shards in blocks of this many.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// Partitions that metadata may have which is read back: a log is made for each. Ten times what may be
/// created.
const PARTITIONS_READ_MAX: u64 = 1_000_000;

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: u32,
    /// Configs set by a user; others have their defaults.
    pub configs: BTreeMap<String, String>,
    /// All configs, resolved.
    pub effective: TopicConfig,
}

/// The metadata: a fold of records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// Next offset of the ledger's log.
    pub offset: i64,
    /// Starts of this broker so far: the leader epoch of all it leads, so that no epoch is ever
    /// resumed (KAFKA-10527).
    pub incarnation: i32,
    /// Journals that may hold something; 0 before the broker's first start is over.
    pub journals: u16,
    /// Every partition stands in the journal it has where so many shards run; 0 while some move.
    pub home: u16,
    /// First producer id not given out.
    pub next_producer_id: i64,
    /// Topics by id.
    pub topics: BTreeMap<Uuid, Topic>,
    /// Ids by name.
    pub names: BTreeMap<String, Uuid>,
    /// Names by what they look like: see [`fold_name`].
    pub folded: BTreeMap<String, String>,
    /// Partitions of all topics.
    pub partitions: u64,
    /// Bytes of the records that make the topics.
    pub topic_bytes: u64,
}

/// A topic's name as metrics see it, where '.' and '_' look alike: two topics must not share it
/// (Kafka's `Topic.unifyCollisionChars`).
pub fn fold_name(name: &str) -> String {
    name.replace('.', "_")
}

impl Topic {
    /// Bytes that it adds to the metadata, to within a few.
    fn bytes(&self) -> u64 {
        let configs = self.configs.iter();
        let configs: usize = configs.map(|(k, v)| 8 + k.len() + v.len()).sum();
        (30 + self.name.len() + configs) as u64
    }
}

impl Image {
    /// Apply one record. Total: what a record says cannot be refused any more.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Incarnation { number } => self.incarnation = *number,
            Record::Shards { journals, home } => (self.journals, self.home) = (*journals, *home),
            Record::ProducerIds { next } => self.next_producer_id = *next,
            Record::Topic {
                id,
                name,
                partitions,
                configs,
            } => {
                let mut effective = TopicConfig::default();
                for (key, value) in configs {
                    // Checked when the topic was created, and at each start when the log was read back
                    // (`shard/ledger.rs`); a record is never refused.
                    let _ = effective.set(key, value);
                }
                self.names.insert(name.clone(), *id);
                self.folded.insert(fold_name(name), name.clone());
                let topic = Topic {
                    name: name.clone(),
                    partitions: *partitions,
                    configs: configs.iter().cloned().collect(),
                    effective,
                };
                self.partitions += u64::from(*partitions);
                self.topic_bytes += topic.bytes();
                self.topics.insert(*id, topic);
            }
            Record::Partitions { id, total } => {
                if let Some(topic) = self.topics.get_mut(id) {
                    self.partitions += u64::from(total.saturating_sub(topic.partitions));
                    topic.partitions = *total;
                }
            }
            Record::RemoveTopic { id } => {
                if let Some(topic) = self.topics.remove(id) {
                    self.names.remove(&topic.name);
                    self.folded.remove(&fold_name(&topic.name));
                    self.partitions -= u64::from(topic.partitions);
                    self.topic_bytes -= topic.bytes();
                }
            }
        }
    }

    /// What in an image that was read back no broker can have written, if anything.
    pub fn fault(&self) -> Option<String> {
        if !(0..i32::MAX).contains(&self.incarnation) {
            return Some(format!("the broker's start number is {}", self.incarnation));
        }
        if !(0..=i64::MAX / 2).contains(&self.next_producer_id) {
            return Some(format!("the next producer id is {}", self.next_producer_id));
        }
        if self.partitions > PARTITIONS_READ_MAX {
            return Some(format!("there are {} partitions", self.partitions));
        }
        let named = |(id, topic): (&Uuid, &Topic)| self.names.get(&topic.name) == Some(id);
        if self.names.len() != self.topics.len() || !self.topics.iter().all(named) {
            return Some("a name has two topics, or a topic two names".into());
        }
        let sums = self
            .topics
            .values()
            .map(|topic| u64::from(topic.partitions));
        let sum: u64 = sums.sum();
        (sum != self.partitions).then(|| "partitions are miscounted".into())
    }

    /// Records that fold to this image.
    pub fn records(&self) -> Vec<Record> {
        let mut records = vec![
            Record::Incarnation {
                number: self.incarnation,
            },
            Record::Shards {
                journals: self.journals,
                home: self.home,
            },
            Record::ProducerIds {
                next: self.next_producer_id,
            },
        ];
        records.extend(self.topics.iter().map(|(id, topic)| {
            Record::Topic {
                id: *id,
                name: topic.name.clone(),
                partitions: topic.partitions,
                configs: topic
                    .configs
                    .iter()
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect(),
            }
        }));
        records
    }

    /// The topic a partition belongs to, if both exist.
    pub fn topic_of(&self, partition: PartitionId) -> Option<&Topic> {
        self.topics
            .get(&partition.topic)
            .filter(|topic| partition.index < topic.partitions)
    }
}

/// The shard that hosts a partition: spread by topic and index.
pub fn shard_of(partition: PartitionId, shards: u16) -> u16 {
    let mut word = [0; 4];
    word.copy_from_slice(&partition.topic.0[..4]);
    (u32::from_be_bytes(word).wrapping_add(partition.index) % u32::from(shards.max(1))) as u16
}
