//! Metadata records and their bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::ids::Uuid;

const VERSION: u8 = 1;

/// One change of the metadata.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Record {
    /// The broker started once more.
    Incarnation {
        /// Its number, from 1.
        number: i32,
    },
    /// The journals that may hold something, and for how many shards every partition is in its home's
    /// journal: 0 while some move.
    Shards {
        /// Journals.
        journals: u16,
        /// Shards.
        home: u16,
    },
    /// Producer ids below `next` are given out.
    ProducerIds {
        /// First id not given out.
        next: i64,
    },
    /// A topic was created.
    Topic {
        /// Id.
        id: Uuid,
        /// Name.
        name: String,
        /// Partitions.
        partitions: u32,
        /// Configs set.
        configs: Vec<(String, String)>,
    },
    /// A topic has more partitions.
    Partitions {
        /// Topic.
        id: Uuid,
        /// New number.
        total: u32,
    },
    /// A topic was deleted.
    RemoveTopic {
        /// Topic.
        id: Uuid,
    },
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32(text.len() as u32);
    out.put_slice(text.as_bytes());
}

fn get_text(bytes: &mut Bytes) -> Option<String> {
    let len = bytes.try_get_u32().ok()? as usize;
    if len > bytes.len() {
        return None;
    }
    String::from_utf8(bytes.split_to(len).to_vec()).ok()
}

fn get_uuid(bytes: &mut Bytes) -> Option<Uuid> {
    let mut id = [0; 16];
    bytes.try_copy_to_slice(&mut id).ok()?;
    Some(Uuid(id))
}

/// The bytes of records that take effect together.
pub fn encode_records(records: &[Record]) -> Bytes {
    let mut out = BytesMut::new();
    for record in records {
        match record {
            Record::Incarnation { number } => {
                out.put_slice(&[1, VERSION]);
                out.put_i32(*number);
            }
            Record::Shards { journals, home } => {
                out.put_slice(&[6, VERSION]);
                out.put_u16(*journals);
                out.put_u16(*home);
            }
            Record::ProducerIds { next } => {
                out.put_slice(&[2, VERSION]);
                out.put_i64(*next);
            }
            Record::Topic {
                id,
                name,
                partitions,
                configs,
            } => {
                out.put_slice(&[3, VERSION]);
                out.put_slice(&id.0);
                put_text(&mut out, name);
                out.put_u32(*partitions);
                out.put_u32(configs.len() as u32);
                for (key, value) in configs {
                    put_text(&mut out, key);
                    put_text(&mut out, value);
                }
            }
            Record::Partitions { id, total } => {
                out.put_slice(&[4, VERSION]);
                out.put_slice(&id.0);
                out.put_u32(*total);
            }
            Record::RemoveTopic { id } => {
                out.put_slice(&[5, VERSION]);
                out.put_slice(&id.0);
            }
        }
    }
    out.freeze()
}

/// Read records back; `None` for bytes that no version of this build wrote.
pub fn decode_records(mut bytes: Bytes) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let kind = bytes.get_u8();
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        records.push(match kind {
            1 => Record::Incarnation {
                number: bytes.try_get_i32().ok()?,
            },
            2 => Record::ProducerIds {
                next: bytes.try_get_i64().ok()?,
            },
            3 => {
                let id = get_uuid(&mut bytes)?;
                let name = get_text(&mut bytes)?;
                let partitions = bytes.try_get_u32().ok()?;
                let mut configs = Vec::new();
                for _ in 0..bytes.try_get_u32().ok()? {
                    configs.push((get_text(&mut bytes)?, get_text(&mut bytes)?));
                }
                Record::Topic {
                    id,
                    name,
                    partitions,
                    configs,
                }
            }
            4 => Record::Partitions {
                id: get_uuid(&mut bytes)?,
                total: bytes.try_get_u32().ok()?,
            },
            5 => Record::RemoveTopic {
                id: get_uuid(&mut bytes)?,
            },
            6 => Record::Shards {
                journals: bytes.try_get_u16().ok()?,
                home: bytes.try_get_u16().ok()?,
            },
            _ => return None,
        });
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Image;

    #[test]
    fn an_image_is_the_fold_of_its_records() {
        let id = Uuid([3; 16]);
        let configs = vec![("retention.ms".to_string(), "5".to_string())];
        let records = vec![
            Record::Incarnation { number: 2 },
            Record::Shards {
                journals: 3,
                home: 2,
            },
            Record::ProducerIds { next: 1000 },
            Record::Topic {
                id,
                name: "a".into(),
                partitions: 1,
                configs: configs.clone(),
            },
            Record::Topic {
                id: Uuid([4; 16]),
                name: "b".into(),
                partitions: 1,
                configs,
            },
            Record::Partitions { id, total: 3 },
            Record::RemoveTopic { id: Uuid([4; 16]) },
        ];
        let bytes = encode_records(&records);
        assert_eq!(decode_records(bytes.clone()).as_ref(), Some(&records));
        assert_eq!(decode_records(bytes.slice(..bytes.len() - 1)), None);
        let mut image = Image::default();
        records.iter().for_each(|record| image.apply(record));
        let mut again = Image::default();
        image
            .records()
            .iter()
            .for_each(|record| again.apply(record));
        assert_eq!(image, again);
        assert_eq!(image.topics[&id].effective.retention_ms, 5);
        assert_eq!((image.partitions, image.folded.len()), (3, 1));
    }

    /// A topic that was named again, and another of its new name: as many names as topics, and wrong.
    #[test]
    fn names_that_do_not_agree_with_topics_are_a_fault() {
        let topic = |id: u8, name: &str| Record::Topic {
            id: Uuid([id; 16]),
            name: name.into(),
            partitions: 1,
            configs: Vec::new(),
        };
        let fold = |records: &[Record]| {
            let mut image = Image::default();
            records.iter().for_each(|record| image.apply(record));
            image.fault()
        };
        assert_eq!(fold(&[topic(1, "a"), topic(2, "b")]), None);
        for records in [
            &[topic(1, "a"), topic(2, "a")][..],
            &[topic(1, "a"), topic(1, "b"), topic(2, "b")],
        ] {
            assert!(fold(records).is_some_and(|fault| fault.contains("a name has two topics")));
        }
    }
}
