//! The commands that speak to a broker.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::event::PollFlags;
use seedlog_core::api::*;
use seedlog_core::batch::HEAD_LEN;
use seedlog_core::ids::Uuid;
use seedlog_core::work::plain;
use seedlog_net::records::{self, Record};

use crate::blocking::{ok, Client, Failure};
use crate::cli::{Consume, Produce, Target};
use crate::operator::is_ready;

/// Bytes of records gathered for a partition before they are sent.
const BATCH_BYTES: usize = 512 << 10;
/// A record weighs no more than this beside its key and its value: short lines are mostly that.
const RECORD_BYTES: usize = 32;
/// Bytes of standard input that are read at a time.
const INPUT_BYTES: usize = 64 << 10;
/// Bytes a batch may grow to when it is decompressed.
const PLAIN_BYTES_MAX: u64 = 256 << 20;

fn unexpected<T>(response: &Response) -> Result<T, Failure> {
    Err(Failure::failed(format!("the broker answered {response:?}")))
}

fn not_written(error: io::Error) -> Failure {
    Failure::failed(format!("what was asked for cannot be written: {error}"))
}

/// A line on standard output.
fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(not_written)
}

fn topic_ref(name: &str) -> TopicRef {
    TopicRef {
        name: name.to_string(),
        id: Uuid::ZERO,
    }
}

fn metadata(client: &mut Client, topic: Option<&str>) -> Result<Vec<TopicMetadata>, Failure> {
    let topics = topic.map(|name| vec![topic_ref(name)]);
    let request = MetadataRequest {
        topics,
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    match client.call(&Request::Metadata(request))? {
        Response::Metadata(response) => Ok(response.topics),
        other => unexpected(&other),
    }
}

/// A topic that must exist.
fn one_topic(client: &mut Client, name: &str) -> Result<TopicMetadata, Failure> {
    let topic = metadata(client, Some(name))?.into_iter().next();
    let topic = topic.ok_or_else(|| Failure::failed(format!("topic {name}: no answer")))?;
    ok(topic.error, &format!("topic {name}"), None)?;
    Ok(topic)
}

/// `topic ls`
pub fn list(target: &Target) -> Result<(), Failure> {
    let mut client = Client::connect(&target.bootstrap)?;
    for topic in metadata(&mut client, None)? {
        let (name, count) = (topic.topic.name, topic.partitions.len());
        say(&format!("{name}\t{count} partitions"))?;
    }
    Ok(())
}

/// `topic create`
pub fn create(
    target: &Target,
    name: &str,
    partitions: i32,
    configs: &[String],
) -> Result<(), Failure> {
    let split = |config: &String| match config.split_once('=') {
        Some((key, value)) => Ok((key.to_string(), Some(value.to_string()))),
        None => Err(Failure::usage(format!(
            "--config {config}: it must be name=value"
        ))),
    };
    let topic = NewTopic {
        name: name.to_string(),
        partitions,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: configs.iter().map(split).collect::<Result<_, _>>()?,
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        timeout_ms: 30_000,
        validate_only: false,
    };
    match Client::connect(&target.bootstrap)?.call(&Request::CreateTopics(request))? {
        Response::CreateTopics(response) => {
            for topic in response.topics {
                ok(
                    topic.error,
                    &format!("topic {name}"),
                    topic.error_message.as_deref(),
                )?;
                say(&format!("created {name} with {partitions} partitions"))?;
            }
            Ok(())
        }
        other => unexpected(&other),
    }
}

/// `topic rm`
pub fn remove(target: &Target, name: &str) -> Result<(), Failure> {
    let request = DeleteTopicsRequest {
        topics: vec![topic_ref(name)],
        misnamed: Vec::new(),
        timeout_ms: 30_000,
    };
    match Client::connect(&target.bootstrap)?.call(&Request::DeleteTopics(request))? {
        Response::DeleteTopics(response) => {
            for (_, error, message) in response.topics {
                ok(error, &format!("topic {name}"), message.as_deref())?;
                say(&format!("deleted {name}"))?;
            }
            Ok(())
        }
        other => unexpected(&other),
    }
}

fn offsets(
    client: &mut Client,
    topic: &TopicMetadata,
    timestamp: i64,
) -> Result<BTreeMap<i32, i64>, Failure> {
    let name = &topic.topic.name;
    let queries = topic
        .partitions
        .iter()
        .map(|partition| PartitionOffsetQuery {
            index: partition.index,
            current_leader_epoch: -1,
            timestamp,
        });
    let request = ListOffsetsRequest {
        topics: vec![(topic_ref(name), queries.collect())],
        timeout_ms: 30_000,
        isolation: 0,
    };
    match client.call(&Request::ListOffsets(request))? {
        Response::ListOffsets(response) => {
            let mut offsets = BTreeMap::new();
            for part in response.topics.into_iter().flat_map(|(_, parts)| parts) {
                ok(
                    part.error,
                    &format!("offsets of {name}/{}", part.index),
                    None,
                )?;
                offsets.insert(part.index, part.offset);
            }
            Ok(offsets)
        }
        other => unexpected(&other),
    }
}

/// `topic describe`
pub fn describe(target: &Target, name: &str) -> Result<(), Failure> {
    let mut client = Client::connect(&target.bootstrap)?;
    let topic = one_topic(&mut client, name)?;
    let starts = offsets(&mut client, &topic, -2)?;
    let ends = offsets(&mut client, &topic, -1)?;
    say(&format!("{name}  id={}", topic.topic.id.to_base64()))?;
    for partition in &topic.partitions {
        let index = partition.index;
        let mark = |marks: &BTreeMap<i32, i64>| marks.get(&index).copied().unwrap_or(-1);
        let (leader, epoch) = (partition.leader.0, partition.leader_epoch);
        let (start, end) = (mark(&starts), mark(&ends));
        say(&format!(
            "  {index}  leader={leader} epoch={epoch} start={start} end={end}"
        ))?;
    }
    Ok(())
}

/// Kafka's murmur2 (`Utils.java`): keyed records go to the same partition as with every client.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (word ^ (word >> 24)).wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

struct Sender<'a> {
    client: Client,
    topic: &'a str,
    producer: (i64, i16),
    sequences: BTreeMap<i32, i32>,
    pending: BTreeMap<i32, (Vec<Record>, usize)>,
    sent: u64,
}

impl Sender<'_> {
    fn add(&mut self, partition: i32, record: Record) -> Result<(), Failure> {
        let (records, size) = self.pending.entry(partition).or_default();
        let bytes = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        *size += RECORD_BYTES + bytes(&record.key) + bytes(&record.value);
        records.push(record);
        match *size >= BATCH_BYTES {
            true => self.flush(partition),
            false => Ok(()),
        }
    }

    fn flush_all(&mut self) -> Result<(), Failure> {
        let partitions: Vec<i32> = self.pending.keys().copied().collect();
        partitions
            .into_iter()
            .try_for_each(|partition| self.flush(partition))
    }

    fn flush(&mut self, partition: i32) -> Result<(), Failure> {
        let Some((records, _)) = self.pending.remove(&partition) else {
            return Ok(());
        };
        let sequence = self.sequences.entry(partition).or_default();
        let batch = records::build(
            &records,
            Some((self.producer.0, self.producer.1, *sequence)),
        );
        *sequence += records.len() as i32;
        let topic = TopicProduce {
            topic: topic_ref(self.topic),
            partitions: vec![(partition, Some(batch))],
        };
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 30_000,
            zstd_allowed: true,
            by_id: false,
            topics: vec![topic],
        };
        match self.client.call(&Request::Produce(request))? {
            Response::Produce(response) => {
                for part in response.topics.iter().flat_map(|(_, parts)| parts) {
                    let what = format!("produce to {}/{}", self.topic, part.index);
                    ok(part.error, &what, part.error_message.as_deref())?;
                }
                self.sent += records.len() as u64;
                Ok(())
            }
            other => unexpected(&other),
        }
    }
}

/// Read a line, without its end. False if there is none any more.
fn next_line(input: &mut impl BufRead, line: &mut String) -> Result<bool, Failure> {
    line.clear();
    let read = input.read_line(line);
    let read = read.map_err(|e| Failure::failed(format!("standard input: {e}")))?;
    if line.ends_with('\n') {
        line.pop();
        if line.ends_with('\r') {
            line.pop();
        }
    }
    Ok(read > 0)
}

/// An idempotent producer's id and epoch.
fn new_producer(client: &mut Client) -> Result<(i64, i16), Failure> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
    };
    match client.call(&Request::InitProducerId(request))? {
        Response::InitProducerId(response) => {
            ok(response.error, "a producer id", None)?;
            Ok((response.producer_id, response.producer_epoch))
        }
        other => unexpected(&other),
    }
}

/// `produce`
pub fn produce(options: &Produce) -> Result<(), Failure> {
    let mut client = Client::connect(&options.target.bootstrap)?;
    let topics = Some(vec![topic_ref(&options.topic)]);
    let request = MetadataRequest {
        topics,
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    client.call(&Request::Metadata(request))?;
    let partitions = one_topic(&mut client, &options.topic)?
        .partitions
        .len()
        .max(1) as u32;
    let producer = new_producer(&mut client)?;
    let topic = options.topic.as_str();
    let mut sender = Sender {
        client,
        topic,
        producer,
        sequences: BTreeMap::new(),
        pending: BTreeMap::new(),
        sent: 0,
    };
    let mut keyless = 0u32;
    let mut input = BufReader::with_capacity(INPUT_BYTES, io::stdin().lock());
    let mut line = String::new();
    while next_line(&mut input, &mut line)? {
        let separator = options.key_separator.as_deref();
        let (key, value) = match separator.and_then(|separator| line.split_once(separator)) {
            Some((key, value)) => (Some(Bytes::copy_from_slice(key.as_bytes())), value),
            None => (None, line.as_str()),
        };
        let partition = match &key {
            Some(key) => (murmur2(key) & 0x7fff_ffff) % partitions,
            None => {
                keyless = keyless.wrapping_add(1);
                // Keyless lines stay with a partition for a while: fewer, larger batches.
                (keyless / 1000) % partitions
            }
        };
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let record = Record {
            offset: 0,
            timestamp: wall.as_millis() as i64,
            key,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: Vec::new(),
        };
        sender.add(partition as i32, record)?;
        // Who types waits for nothing but the line's end.
        if input.buffer().is_empty() && is_ready(input.get_ref(), PollFlags::IN).is_ok_and(|is| !is)
        {
            sender.flush_all()?;
        }
    }
    sender.flush_all()?;
    let count = sender.sent;
    writeln!(io::stderr(), "{count} records acknowledged").map_err(not_written)
}

/// `consume`
pub fn consume(options: &Consume) -> Result<(), Failure> {
    let mut client = Client::connect(&options.target.bootstrap)?;
    let mut topic = one_topic(&mut client, &options.topic)?;
    if let Some(only) = options.partition {
        topic.partitions.retain(|partition| partition.index == only);
        if topic.partitions.is_empty() {
            return Err(Failure::failed(format!(
                "{}/{only}: no such partition",
                options.topic
            )));
        }
    }
    let ends = offsets(&mut client, &topic, -1)?;
    let mut next = match options.from.as_str() {
        "start" => offsets(&mut client, &topic, -2)?,
        "end" => ends.clone(),
        offset => {
            let offset = offset
                .parse::<i64>()
                .map_err(|_| Failure::usage(format!("--from {offset}: start, end or an offset")))?;
            topic
                .partitions
                .iter()
                .map(|partition| (partition.index, offset))
                .collect()
        }
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    loop {
        if options.until_end {
            next.retain(|index, offset| *offset < ends.get(index).copied().unwrap_or(0));
            if next.is_empty() {
                return out.flush().map_err(not_written);
            }
        }
        for (index, records) in fetch(&mut client, &options.topic, &next)? {
            for record in records {
                if record.offset < next[&index] {
                    continue;
                }
                print(&mut out, options.meta, index, &record).map_err(not_written)?;
                next.insert(index, record.offset + 1);
            }
        }
        out.flush().map_err(not_written)?;
    }
}

fn print(out: &mut impl Write, meta: bool, index: i32, record: &Record) -> io::Result<()> {
    if meta {
        let key = record.key.as_deref().unwrap_or_default();
        write!(
            out,
            "{index}\t{}\t{}\t{}\t",
            record.offset,
            record.timestamp,
            String::from_utf8_lossy(key)
        )?;
    }
    out.write_all(record.value.as_deref().unwrap_or_default())?;
    out.write_all(b"\n")
}

fn fetch(
    client: &mut Client,
    topic: &str,
    next: &BTreeMap<i32, i64>,
) -> Result<Vec<(i32, Vec<Record>)>, Failure> {
    let partitions = next.iter().map(|(index, offset)| PartitionFetch {
        index: *index,
        current_leader_epoch: -1,
        fetch_offset: *offset,
        last_fetched_epoch: -1,
        max_bytes: 4 << 20,
    });
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 16 << 20,
        session_id: 0,
        session_epoch: -1,
        by_id: false,
        from_replica: false,
        isolation: 0,
        topics: vec![TopicFetch {
            topic: topic_ref(topic),
            partitions: partitions.collect(),
        }],
    };
    let response = match client.call(&Request::Fetch(request))? {
        Response::Fetch(response) => response,
        other => return unexpected(&other),
    };
    ok(response.error, "fetch", None)?;
    let mut found = Vec::new();
    for part in response.topics.into_iter().flat_map(|(_, parts)| parts) {
        ok(
            part.error,
            &format!("fetch of {topic}/{}", part.index),
            None,
        )?;
        let mut records = Vec::new();
        let batches = records::batches(Bytes::from(part.records.concat()));
        for (head, batch) in batches.map_err(|e| Failure::failed(e.0))? {
            let inside = batch.slice(HEAD_LEN..);
            let plain = plain(head.attributes, &inside, PLAIN_BYTES_MAX).map_err(|_| {
                let at = head.base_offset;
                Failure::failed(format!(
                    "{topic}/{}@{at}: it cannot be decompressed",
                    part.index
                ))
            })?;
            records.extend(records::read(&head, plain).map_err(|e| Failure::failed(e.0))?);
        }
        found.push((part.index, records));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    #[test]
    fn keys_land_where_kafkas_clients_put_them() {
        // Values of the Java client's own hash for these keys.
        assert_eq!(murmur2(b"21") as i32, -973_932_308);
        assert_eq!(murmur2(b"foobar") as i32, -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string") as i32, -985_981_536);
    }
}
