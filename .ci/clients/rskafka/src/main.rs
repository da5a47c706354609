//! rskafka, a client that shares no code with librdkafka or the Python ones.
//!
//! write ADDR BASE            create the topic, produce with every codec, print what was acknowledged
//! read ADDR                  print every record of every partition
//! times ADDR                 for each [topic, partition, timestamp] of standard input: where reading starts
//! tail ADDR TOPIC PARTITION  print the end, then the first record that arrives there
//!
//! rskafka is not idempotent: its batches carry no producer id, and a retry would write a batch twice.
//! So it writes only while nothing is killed, and the kill loop is librdkafka's.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead};
use std::time::Duration;

use chrono::DateTime;
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use rskafka::BackoffConfig;
use serde_json::{json, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TOPIC: &str = "rskafka";
const PARTITIONS: i32 = 2;
const RECORDS: i64 = 200;
const BATCH: i64 = 25;
const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::NoCompression),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

fn text(bytes: &Option<Vec<u8>>) -> Value {
    match bytes {
        Some(bytes) => json!(String::from_utf8_lossy(bytes)),
        None => Value::Null,
    }
}

/// The row that the Python readers print too.
fn row(topic: &str, partition: i32, offset: i64, record: &Record) -> Value {
    let headers = record.headers.iter();
    let headers: Vec<Value> = headers
        .map(|(name, value)| json!([name, String::from_utf8_lossy(value)]))
        .collect();
    let (key, value) = (text(&record.key), text(&record.value));
    let time = record.timestamp.timestamp_millis();
    json!([topic, partition, offset, key, value, headers, time])
}

fn record(codec: &str, index: i64, time: i64) -> Result<Record> {
    let value = format!("{TOPIC}-{codec}-{index}-{}", "x".repeat(index as usize));
    let headers = BTreeMap::from([("i".to_string(), index.to_string().into_bytes())]);
    Ok(Record {
        key: Some(format!("k{}", index % 17).into_bytes()),
        value: Some(value.into_bytes()),
        headers,
        timestamp: DateTime::from_timestamp_millis(time).ok_or("no such time")?,
    })
}

async fn partition(client: &Client, topic: &str, index: i32) -> Result<PartitionClient> {
    let handling = UnknownTopicHandling::Error;
    Ok(client.partition_client(topic, index, handling).await?)
}

async fn write(client: &Client, base: i64) -> Result<()> {
    let controller = client.controller_client()?;
    controller
        .create_topic(TOPIC, PARTITIONS, 1, 30_000)
        .await?;
    let mut partitions = Vec::new();
    for index in 0..PARTITIONS {
        partitions.push(partition(client, TOPIC, index).await?);
    }
    for (run, (codec, compression)) in CODECS.into_iter().enumerate() {
        for first in (0..RECORDS).step_by(BATCH as usize) {
            let to = &partitions[(first / BATCH) as usize % partitions.len()];
            // Times repeat and run backwards within a batch, as with the other writers.
            let time = |index| base + (run as i64 * RECORDS + index) / 3 * 10 + 25 * (index % 2);
            let records = (first..first + BATCH).map(|index| record(codec, index, time(index)));
            let records: Vec<Record> = records.collect::<Result<_>>()?;
            let offsets = to.produce(records.clone(), compression).await?;
            if offsets.len() != records.len() {
                return Err(format!("{} offsets for a batch of {BATCH}", offsets.len()).into());
            }
            for (offset, record) in offsets.into_iter().zip(&records) {
                println!("{}", row(TOPIC, to.partition(), offset, record));
            }
        }
    }
    Ok(())
}

async fn read(client: &Client) -> Result<()> {
    let mut topics = client.list_topics().await?;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    for topic in topics {
        for index in topic.partitions {
            let from = partition(client, &topic.name, index).await?;
            let mut next = from.get_offset(OffsetAt::Earliest).await?;
            let end = from.get_offset(OffsetAt::Latest).await?;
            while next < end {
                let (records, _) = from.fetch_records(next, 1..1 << 20, 500).await?;
                for found in records {
                    println!("{}", row(&topic.name, index, found.offset, &found.record));
                    next = found.offset + 1;
                }
            }
        }
    }
    Ok(())
}

async fn times(client: &Client) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let (topic, index, time): (String, i32, i64) = serde_json::from_str(&line?)?;
        let from = partition(client, &topic, index).await?;
        let at = DateTime::from_timestamp_millis(time).ok_or("no such time")?;
        let found = from.get_offset(OffsetAt::Timestamp(at)).await?;
        if found < 0 {
            println!("{}", json!([topic, index, time, null, null]));
            continue;
        }
        let (records, _) = from.fetch_records(found, 1..1 << 20, 5_000).await?;
        let first = records.first().map(|record| record.offset);
        println!("{}", json!([topic, index, time, found, first]));
    }
    Ok(())
}

async fn tail(client: &Client, topic: &str, index: i32) -> Result<()> {
    let from = partition(client, topic, index).await?;
    let end = from.get_offset(OffsetAt::Latest).await?;
    println!("{}", json!(end));
    loop {
        let (records, _) = from.fetch_records(end, 1..1 << 20, 5_000).await?;
        if let Some(found) = records.first() {
            println!("{}", row(topic, index, found.offset, &found.record));
            return Ok(());
        }
    }
}

async fn run(arguments: &[&str]) -> Result<()> {
    let [verb, address, rest @ ..] = arguments else {
        return Err("a verb and an address".into());
    };
    // Without a deadline rskafka retries for ever.
    let backoff = BackoffConfig {
        deadline: Some(Duration::from_secs(30)),
        ..BackoffConfig::default()
    };
    let builder = ClientBuilder::new(vec![address.to_string()]).backoff_config(backoff);
    let client = builder.build().await?;
    match (*verb, rest) {
        ("write", [base]) => write(&client, base.parse()?).await,
        ("read", []) => read(&client).await,
        ("times", []) => times(&client).await,
        ("tail", [topic, index]) => tail(&client, topic, index.parse()?).await,
        _ => Err(format!("{arguments:?}: see the top of main.rs").into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // A reader must end even if the broker never answers; the stage's own limits are shorter.
    tokio::time::timeout(Duration::from_secs(180), run(&arguments)).await?
}
