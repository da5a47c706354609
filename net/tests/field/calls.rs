//! The requests of the cases, and their answers read to the last byte.

use super::broker::Broker;
use super::frames::{In, Out};

/// One partition's outcome of a Produce.
#[derive(Clone, Debug, PartialEq)]
pub struct Produced {
    pub error: i16,
    pub base: i64,
    pub time: i64,
    pub log_start: i64,
    /// Records that are named, each with a text.
    pub named: Vec<i32>,
    pub message: bool,
}

/// Produce to one partition, at a version from 3 to 8.
pub fn produce(version: i16, acks: i16, (topic, index): (&str, i32), records: &[u8]) -> Out {
    let out = Out::request(0, version).str(None).i16(acks).i32(5_000);
    out.list(&[topic], |out, topic| {
        out.str(Some(topic)).list(&[index], |out, index| {
            out.i32(*index).i32(records.len() as i32).raw(records)
        })
    })
}

/// Read the answer to [`produce`].
pub fn produced(version: i16, (topic, index): (&str, i32), mut answer: In) -> Produced {
    assert_eq!((answer.i32(), answer.str()), (1, Some(topic.to_string())));
    assert_eq!((answer.i32(), answer.i32()), (1, index));
    let (error, base, time) = (answer.i16(), answer.i64(), answer.i64());
    let log_start = if version >= 5 { answer.i64() } else { -1 };
    let (mut named, mut message) = (Vec::new(), false);
    if version >= 8 {
        named = answer.list(false, |answer| {
            let index = answer.i32();
            assert!(answer.str().is_some(), "why");
            index
        });
        message = answer.str().is_some();
    }
    assert_eq!(answer.i32(), 0, "no throttling");
    answer.end();
    Produced {
        error,
        base,
        time,
        log_start,
        named,
        message,
    }
}

/// Produce to partition 0 of the topic with this id, at version 13, and read the outcome's error.
pub fn produce_by_id(broker: &mut Broker, conn: u64, id: [u8; 16], records: &[u8]) -> i16 {
    let out = Out::flexible(0, 13).compact(None).i16(-1).i32(5_000);
    let out = out.compact_list(&[id], |out, id| {
        out.raw(id).compact_list(&[0], |out, index| {
            let out = out.i32(*index).varint(records.len() as u64 + 1);
            out.raw(records)
        })
    });
    let mut answer = broker.ask(conn, &out.u8(0));
    answer.tags(true);
    assert_eq!((answer.count(true), answer.uuid()), (1, id));
    assert_eq!((answer.count(true), answer.i32()), (1, 0));
    answer.i16()
}

/// What one partition of a Fetch is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub index: i32,
    pub epoch: i32,
    pub offset: i64,
    /// Epoch of the last record that the reader has.
    pub last_epoch: i32,
    pub max_bytes: i32,
}

impl Wanted {
    pub fn from(index: i32, offset: i64) -> Wanted {
        Wanted {
            index,
            epoch: -1,
            offset,
            last_epoch: -1,
            max_bytes: 1 << 20,
        }
    }
}

/// A topic as Fetch names it: by id from version 13 on.
#[derive(Clone, Copy, Debug)]
pub struct Topic<'a> {
    pub name: &'a str,
    pub id: [u8; 16],
}

pub fn named(name: &str) -> Topic<'_> {
    Topic { name, id: [0; 16] }
}

/// How long a Fetch waits, and for and up to how many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
}

/// Three seconds for one byte.
pub const PATIENT: Patience = Patience {
    wait_ms: 3_000,
    min_bytes: 1,
    max_bytes: 50 << 20,
};

/// Fetch without a session, at any version from 4 on.
pub fn fetch(version: i16, patience: Patience, topics: &[(Topic, &[Wanted])]) -> Out {
    let flexible = version >= 12;
    let list_len = |out: Out, len: usize| match flexible {
        true => out.varint(len as u64 + 1),
        false => out.i32(len as i32),
    };
    let tags = |out: Out| if flexible { out.u8(0) } else { out };
    let mut out = tags(Out::request(1, version));
    if version <= 14 {
        out = out.i32(-1);
    }
    out = out.i32(patience.wait_ms).i32(patience.min_bytes);
    out = out.i32(patience.max_bytes).u8(0);
    if version >= 7 {
        out = out.i32(0).i32(-1);
    }
    out = list_len(out, topics.len());
    for (topic, wanted) in topics {
        out = match version {
            13.. => out.raw(&topic.id),
            12 => out.compact(Some(topic.name)),
            _ => out.str(Some(topic.name)),
        };
        out = list_len(out, wanted.len());
        for part in *wanted {
            out = out.i32(part.index);
            if version >= 9 {
                out = out.i32(part.epoch);
            }
            out = out.i64(part.offset);
            if version >= 12 {
                out = out.i32(part.last_epoch);
            }
            if version >= 5 {
                out = out.i64(-1);
            }
            out = tags(out.i32(part.max_bytes));
        }
        out = tags(out);
    }
    if version >= 7 {
        out = list_len(out, 0);
    }
    if version >= 11 {
        out = match flexible {
            true => out.compact(Some("")),
            false => out.str(Some("")),
        };
    }
    tags(out)
}

/// One partition's outcome of a Fetch.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    pub index: i32,
    pub error: i16,
    pub high_watermark: i64,
    pub last_stable: i64,
    /// -1 where the version does not say.
    pub log_start: i64,
    /// The list of aborted transactions is there, and empty; else it is null.
    pub lists_aborted: bool,
    pub records: Vec<u8>,
    /// Where the reader's log and this one part: epoch and offset.
    pub diverging: Option<(i32, i64)>,
    /// Who leads, and its epoch.
    pub leader: Option<(i32, i32)>,
}

/// Read the answer to [`fetch`]: the topics as they are named, with their partitions.
pub fn fetched_topics(version: i16, mut answer: In) -> Vec<(Vec<u8>, Vec<Fetched>)> {
    let flexible = version >= 12;
    answer.tags(flexible);
    assert_eq!(answer.i32(), 0, "no throttling");
    if version >= 7 {
        assert_eq!((answer.i16(), answer.i32()), (0, 0), "no session");
    }
    let mut led = false;
    let topics = answer.list(flexible, |answer| {
        let name = match version {
            13.. => answer.uuid().to_vec(),
            _ => answer.string(flexible).expect("a name").into_bytes(),
        };
        let parts = answer.list(flexible, |answer| {
            let (index, error) = (answer.i32(), answer.i16());
            let (high_watermark, last_stable) = (answer.i64(), answer.i64());
            let log_start = if version >= 5 { answer.i64() } else { -1 };
            let aborted = match flexible {
                true => answer.varint() as i32 - 1,
                false => answer.i32(),
            };
            assert!(aborted <= 0, "no aborted transactions");
            if version >= 11 {
                assert_eq!(answer.i32(), -1, "no other replica to read from");
            }
            // Never null: librdkafka refuses the whole answer then.
            let len = answer.count(flexible);
            let records = answer.take(len);
            let tags = if flexible {
                answer.tagged()
            } else {
                Vec::new()
            };
            let (mut diverging, mut leader) = (None, None);
            for (tag, bytes) in tags {
                let mut field = In::new(bytes);
                match tag {
                    0 => diverging = Some((field.i32(), field.i64())),
                    1 if version >= 16 => leader = Some((field.i32(), field.i32())),
                    _ => panic!("tag {tag}"),
                }
                field.tags(true);
                field.end();
            }
            led |= leader.is_some();
            Fetched {
                index,
                error,
                high_watermark,
                last_stable,
                log_start,
                lists_aborted: aborted == 0,
                records,
                diverging,
                leader,
            }
        });
        answer.tags(flexible);
        (name, parts)
    });
    // Where a leader is named it is told how to reach it.
    let tags = if flexible {
        answer.tagged()
    } else {
        Vec::new()
    };
    assert!(tags.iter().map(|(tag, _)| *tag).eq(led.then_some(0)));
    answer.end();
    topics
}

/// The partitions of an answer to a [`fetch`] of one topic.
pub fn fetched(version: i16, answer: In) -> Vec<Fetched> {
    let topics = fetched_topics(version, answer);
    topics.into_iter().flat_map(|(_, parts)| parts).collect()
}

/// ListOffsets of one topic: partitions and times.
pub fn list_offsets(version: i16, topic: &str, asked: &[(i32, i64)]) -> Out {
    let flexible = version >= 6;
    let tags = |out: Out| if flexible { out.u8(0) } else { out };
    let mut out = tags(Out::request(2, version)).i32(-1);
    if version >= 2 {
        out = out.u8(0);
    }
    out = match flexible {
        true => out.varint(2).compact(Some(topic)),
        false => out.i32(1).str(Some(topic)),
    };
    let part = |out: Out, (index, time): &(i32, i64)| {
        let out = out.i32(*index);
        let out = if version >= 4 { out.i32(-1) } else { out };
        out.i64(*time)
    };
    out = match flexible {
        true => out.compact_list(asked, part),
        false => out.list(asked, part),
    };
    out = tags(out);
    if version >= 10 {
        out = out.i32(5_000);
    }
    tags(out)
}

/// Partition, error, time and offset, and the leader epoch where the version says it (else -1).
pub type Listed = (i32, i16, i64, i64, i32);

/// Read the answer to [`list_offsets`].
pub fn listed(version: i16, topic: &str, mut answer: In) -> Vec<Listed> {
    let flexible = version >= 6;
    answer.tags(flexible);
    if version >= 2 {
        assert_eq!(answer.i32(), 0, "no throttling");
    }
    assert_eq!(answer.count(flexible), 1);
    assert_eq!(answer.string(flexible).as_deref(), Some(topic));
    let parts = answer.list(flexible, |answer| {
        let (index, error) = (answer.i32(), answer.i16());
        let (time, offset) = (answer.i64(), answer.i64());
        let epoch = if version >= 4 { answer.i32() } else { -1 };
        answer.tags(flexible);
        (index, error, time, offset, epoch)
    });
    answer.tags(flexible);
    answer.tags(flexible);
    answer.end();
    parts
}

impl Broker {
    /// Produce at version 8 with acks -1 to the partition.
    pub fn produce(&mut self, conn: u64, at: (&str, i32), records: &[u8]) -> Produced {
        let answer = self.ask(conn, &produce(8, -1, at, records));
        produced(8, at, answer)
    }

    /// Error and base offset of such a Produce.
    pub fn append(&mut self, conn: u64, at: (&str, i32), records: &[u8]) -> (i16, i64) {
        let told = self.produce(conn, at, records);
        (told.error, told.base)
    }

    /// Fetch the partition from an offset, at once.
    pub fn fetch(&mut self, conn: u64, (topic, index): (&str, i32), offset: i64) -> Fetched {
        let patience = Patience {
            wait_ms: 0,
            ..PATIENT
        };
        let wanted = [Wanted::from(index, offset)];
        let answer = self.ask(conn, &fetch(11, patience, &[(named(topic), &wanted)]));
        fetched(11, answer).remove(0)
    }

    /// Time and offset that ListOffsets v7 finds in partition 0.
    pub fn found(&mut self, conn: u64, topic: &str, time: i64) -> (i64, i64) {
        let answer = self.ask(conn, &list_offsets(7, topic, &[(0, time)]));
        let (_, error, time, offset, _) = listed(7, topic, answer)[0];
        assert_eq!(error, 0);
        (time, offset)
    }

    /// DeleteRecords v1: error and low watermark.
    pub fn trim(&mut self, conn: u64, (topic, index): (&str, i32), offset: i64) -> (i16, i64) {
        let out = Out::request(21, 1).list(&[topic], |out, topic| {
            let out = out.str(Some(topic));
            out.list(&[index], |out, index| out.i32(*index).i64(offset))
        });
        let mut answer = self.ask(conn, &out.i32(5_000));
        assert_eq!((answer.i32(), answer.i32()), (0, 1));
        assert_eq!(answer.str().as_deref(), Some(topic));
        assert_eq!((answer.i32(), answer.i32()), (1, index));
        let (low, error) = (answer.i64(), answer.i16());
        answer.end();
        (error, low)
    }
}
