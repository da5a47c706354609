//! Requests about topics: CreateTopics, DeleteTopics, CreatePartitions, Metadata.

use super::broker::Broker;
use super::frames::Out;

/// A topic to be created.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    pub name: &'a str,
    pub partitions: i32,
    pub replicas: i16,
    pub configs: &'a [(&'a str, Option<&'a str>)],
}

impl<'a> New<'a> {
    pub fn of(name: &'a str, partitions: i32) -> New<'a> {
        New {
            name,
            partitions,
            replicas: 1,
            configs: &[],
        }
    }

    pub fn with(self, configs: &'a [(&'a str, Option<&'a str>)]) -> New<'a> {
        New { configs, ..self }
    }
}

/// Name and error of each topic of an answer.
pub type Told = Vec<(String, i16)>;

pub fn told(rows: &[(&str, i16)]) -> Told {
    let rows = rows.iter();
    rows.map(|(name, error)| (name.to_string(), *error))
        .collect()
}

/// How DeleteTopics v6 names a topic: name, id.
pub type Ref<'a> = (Option<&'a str>, [u8; 16]);

/// What Metadata says of a topic: error, name, id, partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    pub error: i16,
    pub name: Option<String>,
    pub id: [u8; 16],
    pub partitions: Vec<i32>,
    /// The leader epoch of the first partition.
    pub epoch: i32,
}

impl Broker {
    /// CreateTopics at version 2, 3 or 4.
    pub fn create_at(&mut self, version: i16, conn: u64, topics: &[New], validate: bool) -> Told {
        let out = Out::request(19, version).list(topics, |out, topic| {
            let out = out.str(Some(topic.name)).i32(topic.partitions);
            let out = out.i16(topic.replicas).i32(0);
            out.list(topic.configs, |out, (key, value)| {
                out.str(Some(key)).str(*value)
            })
        });
        self.told_of_topics(conn, &out.i32(5_000).u8(validate.into()))
    }

    /// Names and errors, each error with a text.
    fn told_of_topics(&mut self, conn: u64, asked: &Out) -> Told {
        let mut answer = self.ask(conn, asked);
        assert_eq!(answer.i32(), 0, "no throttling");
        let topics = answer.list(false, |answer| {
            let (name, error) = (answer.str().expect("a name"), answer.i16());
            assert_eq!(answer.str().is_some(), error != 0, "why");
            (name, error)
        });
        answer.end();
        topics
    }

    /// CreateTopics v4.
    pub fn create(&mut self, conn: u64, topics: &[New]) -> Told {
        self.create_at(4, conn, topics, false)
    }

    /// A topic that must come into being.
    pub fn topic(&mut self, conn: u64, topic: New) {
        assert_eq!(self.create(conn, &[topic]), told(&[(topic.name, 0)]));
    }

    /// DeleteTopics v1.
    pub fn delete(&mut self, conn: u64, names: &[&str]) -> Told {
        let out = Out::request(20, 1).list(names, |out, name| out.str(Some(name)));
        let mut answer = self.ask(conn, &out.i32(5_000));
        assert_eq!(answer.i32(), 0, "no throttling");
        let topics = answer.list(false, |answer| {
            (answer.str().expect("a name"), answer.i16())
        });
        answer.end();
        topics
    }

    /// DeleteTopics v6: name, id, error of each.
    pub fn delete_refs(
        &mut self,
        conn: u64,
        topics: &[Ref],
    ) -> Vec<(Option<String>, [u8; 16], i16)> {
        let out = Out::flexible(20, 6);
        let out = out.compact_list(topics, |out, (name, id)| out.compact(*name).raw(id));
        let mut answer = self.ask(conn, &out.i32(5_000).u8(0));
        answer.tags(true);
        assert_eq!(answer.i32(), 0, "no throttling");
        let topics = answer.list(true, |answer| {
            let (name, id, error) = (answer.compact(), answer.uuid(), answer.i16());
            assert_eq!(answer.compact().is_some(), error != 0, "why");
            answer.tags(true);
            (name, id, error)
        });
        answer.tags(true);
        answer.end();
        topics
    }

    /// CreatePartitions v1: names and new totals.
    pub fn grow(&mut self, conn: u64, topics: &[(&str, i32)], validate: bool) -> Told {
        let out = Out::request(37, 1).list(topics, |out, (name, total)| {
            out.str(Some(name)).i32(*total).i32(-1)
        });
        self.told_of_topics(conn, &out.i32(5_000).u8(validate.into()))
    }

    /// Metadata v7, which creates nothing unless told to; `None` asks for all topics.
    pub fn metadata(&mut self, conn: u64, names: Option<&[&str]>, create: bool) -> Vec<Described> {
        let out = Out::request(3, 7);
        let out = match names {
            None => out.i32(-1),
            Some(names) => out.list(names, |out, name| out.str(Some(name))),
        };
        let mut answer = self.ask(conn, &out.u8(create.into()));
        assert_eq!((answer.i32(), answer.i32()), (0, 1), "one broker");
        assert_eq!(answer.i32(), 0);
        let address = (answer.str(), answer.i32());
        assert_eq!(address, (Some("localhost".into()), 9092));
        assert_eq!(answer.str(), None, "no rack");
        assert_eq!(answer.str().map(|id| id.len()), Some(22));
        assert_eq!(answer.i32(), 0, "the controller");
        let topics = answer.list(false, |answer| {
            let (error, name) = (answer.i16(), answer.str());
            assert_eq!(answer.u8(), 0, "not internal");
            let mut epoch = -1;
            let partitions = answer.list(false, |answer| {
                assert_eq!(answer.i16(), 0);
                let index = answer.i32();
                assert_eq!(answer.i32(), 0, "the leader");
                epoch = answer.i32();
                for nodes in [&[0][..], &[0], &[]] {
                    assert_eq!(answer.list(false, |answer| answer.i32()), nodes);
                }
                index
            });
            Described {
                error,
                name,
                id: [0; 16],
                partitions,
                epoch,
            }
        });
        answer.end();
        topics
    }

    /// Metadata v12 of topics by name and id: error, name and id of each.
    pub fn metadata_refs(
        &mut self,
        conn: u64,
        topics: &[Ref],
    ) -> Vec<(i16, Option<String>, [u8; 16])> {
        let out = Out::flexible(3, 12);
        let out = out.compact_list(topics, |out, (name, id)| out.raw(id).compact(*name));
        let mut answer = self.ask(conn, &out.u8(0).u8(0).u8(0));
        answer.tags(true);
        assert_eq!((answer.i32(), answer.count(true)), (0, 1), "one broker");
        assert_eq!(answer.i32(), 0);
        let address = (answer.compact(), answer.i32());
        assert_eq!(address, (Some("localhost".into()), 9092));
        assert_eq!(answer.compact(), None, "no rack");
        answer.tags(true);
        assert_eq!(answer.compact().map(|id| id.len()), Some(22));
        assert_eq!(answer.i32(), 0, "the controller");
        let topics = answer.list(true, |answer| {
            let (error, name, id) = (answer.i16(), answer.compact(), answer.uuid());
            assert_eq!(answer.u8(), 0, "not internal");
            answer.list(true, |answer| {
                assert_eq!(answer.i16(), 0);
                answer.take(12);
                for nodes in [&[0][..], &[0], &[]] {
                    assert_eq!(answer.list(true, |answer| answer.i32()), nodes);
                }
                answer.tags(true);
            });
            assert_eq!(answer.i32(), i32::MIN, "no authorized operations asked for");
            answer.tags(true);
            (error, name, id)
        });
        answer.tags(true);
        answer.end();
        topics
    }

    /// The ids of topics that exist.
    pub fn ids<const N: usize>(&mut self, conn: u64, names: [&str; N]) -> [[u8; 16]; N] {
        let refs = names.map(|name| (Some(name), [0; 16]));
        let told = self.metadata_refs(conn, &refs);
        names.map(|name| {
            let row = told.iter().find(|row| row.1.as_deref() == Some(name));
            row.expect("it exists").2
        })
    }
}
