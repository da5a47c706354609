//! Records inside a batch, for clients: building batches and reading them. Uncompressed here; who
//! decompresses hands in the plain records.

use bytes::{BufMut, Bytes, BytesMut};
use seedlog_core::batch::{complete, parse_head, put_varint, take_record, BatchHead, HEAD_LEN};
use seedlog_core::codec::Malformed;

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its offset; ignored when a batch is built.
    pub offset: i64,
    /// Timestamp, ms.
    pub timestamp: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// Value.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// Who produces, for an idempotent producer: id, epoch, first sequence.
pub type Producer = (i64, i16, i32);

/// A batch of these records.
pub fn build(records: &[Record], producer: Option<Producer>) -> Bytes {
    let (producer_id, epoch, sequence) = producer.unwrap_or((-1, -1, -1));
    let base = records.first().map_or(-1, |record| record.timestamp);
    let newest = records
        .iter()
        .map(|record| record.timestamp)
        .max()
        .unwrap_or(-1);
    let mut out = BytesMut::new();
    out.put_i64(0);
    out.put_i32(0);
    out.put_i32(-1);
    out.put_u8(2);
    out.put_u32(0);
    out.put_i16(0);
    out.put_i32(records.len() as i32 - 1);
    out.put_i64(base);
    out.put_i64(newest);
    out.put_i64(producer_id);
    out.put_i16(epoch);
    out.put_i32(sequence);
    out.put_i32(records.len() as i32);
    let mut body = BytesMut::new();
    for (index, record) in records.iter().enumerate() {
        body.clear();
        body.put_u8(0);
        put_varint(&mut body, record.timestamp.wrapping_sub(base));
        put_varint(&mut body, index as i64);
        put_bytes(&mut body, record.key.as_deref());
        put_bytes(&mut body, record.value.as_deref());
        put_varint(&mut body, record.headers.len() as i64);
        for (name, value) in &record.headers {
            put_bytes(&mut body, Some(name.as_bytes()));
            put_bytes(&mut body, value.as_deref());
        }
        put_varint(&mut out, body.len() as i64);
        out.put_slice(&body);
    }
    complete(&mut out);
    out.freeze()
}

/// The records of the batches in `bytes`, with the head of each batch. A cut-off batch at the end is
/// left out, as Kafka's clients do.
pub fn batches(mut bytes: Bytes) -> Result<Vec<(BatchHead, Bytes)>, Malformed> {
    let mut found = Vec::new();
    while bytes.len() >= HEAD_LEN {
        let Ok(head) = parse_head(&bytes) else {
            return Err(Malformed("a batch is malformed"));
        };
        found.push((head, bytes.split_to(head.size)));
    }
    Ok(found)
}

/// A record where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Borrowed<'a> {
    /// Its offset.
    pub offset: i64,
    /// Timestamp, ms.
    pub timestamp: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: Vec<(&'a str, Option<&'a [u8]>)>,
}

/// Go through the records of a batch whose plain (decompressed) records section is `plain`.
pub fn each<'a>(
    head: &BatchHead,
    mut plain: &'a [u8],
    mut take: impl FnMut(Borrowed<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for _ in 0..head.record_count {
        let record = take_record(&mut plain)?;
        take(Borrowed {
            offset: head.base_offset.wrapping_add(record.offset_delta),
            timestamp: head.base_timestamp.wrapping_add(record.time_delta),
            key: record.key,
            value: record.value,
            headers: record.headers.collect::<Result<_, _>>()?,
        })?;
    }
    Ok(())
}

/// The records of a batch whose plain (decompressed) records section is `plain`.
pub fn read(head: &BatchHead, plain: Bytes) -> Result<Vec<Record>, Malformed> {
    let mut records = Vec::new();
    let keep = |field: &[u8]| plain.slice_ref(field);
    each(head, &plain, |record| {
        let headers = record.headers.into_iter();
        records.push(Record {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(keep),
            value: record.value.map(keep),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.map(keep)))
                .collect(),
        });
        Ok(())
    })?;
    Ok(records)
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.put_slice(bytes.unwrap_or_default());
}
