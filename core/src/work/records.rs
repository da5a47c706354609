//! Looking at the records of a batch one by one, as far as needed.

use std::io::{self, BufRead, BufReader, Read};

use super::check::check_batch;
use super::compression::{open, PLAIN_BYTES_MAX};
use super::{WorkRequest, WorkResult};
use crate::batch::{get_varint, BatchHead, ATTRIBUTE_LOG_APPEND_TIME};

/// Run a job.
pub fn run(request: &WorkRequest) -> WorkResult {
    match request {
        WorkRequest::FindTimestamp {
            head,
            records,
            from,
            timestamp,
            youngest,
        } => find_timestamp(head, records, *from, *timestamp, *youngest)
            .unwrap_or(WorkResult::Unreadable),
        WorkRequest::CheckBatch {
            head,
            records,
            bounds,
            plain_max,
        } => check_batch(head, records, *bounds, *plain_max),
    }
}

/// As Kafka's `FileRecords.searchForTimestamp`: the first such record, whatever follows it.
fn find_timestamp(
    head: &BatchHead,
    records: &[u8],
    from: i64,
    timestamp: i64,
    youngest: bool,
) -> io::Result<WorkResult> {
    if head.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0 {
        // All its records have the batch's time.
        let offset = head.base_offset.max(from);
        return Ok(match offset <= head.last_offset() {
            true if head.max_timestamp >= timestamp => WorkResult::Found {
                offset,
                timestamp: head.max_timestamp,
            },
            _ => WorkResult::Nothing,
        });
    }
    let mut plain =
        BufReader::new(open(head.attributes, records, PLAIN_BYTES_MAX)?.take(PLAIN_BYTES_MAX));
    let (mut wanted, mut found) = (timestamp, WorkResult::Nothing);
    for _ in 0..head.record_count {
        let (time_delta, offset_delta) = next_record(&mut plain)?;
        let time = head.base_timestamp.saturating_add(time_delta);
        let offset = head.base_offset.saturating_add(offset_delta);
        if time < wanted || offset < from {
            continue;
        }
        let timestamp = time;
        found = WorkResult::Found { offset, timestamp };
        if !youngest {
            break;
        }
        wanted = time.saturating_add(1);
    }
    Ok(found)
}

/// The deltas of the next record: of its timestamp and of its offset. The rest of it is passed over.
fn next_record(plain: &mut impl BufRead) -> io::Result<(i64, i64)> {
    let length = u64::try_from(get_varint(plain)?).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut record = plain.take(length);
    let mut attributes = [0];
    record.read_exact(&mut attributes)?;
    let deltas = (get_varint(&mut record)?, get_varint(&mut record)?);
    let left = record.limit();
    match io::copy(&mut record, &mut io::sink())? == left {
        true => Ok(deltas),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, head_alone, BatchSpec, HEAD_LEN};
    use crate::work::plain;
    use crate::work::samples::KINDS;
    use bytes::Bytes;

    /// A batch at offset 100 of records at 1000, 1005, 1003, 1010: head and plain records.
    fn batch() -> (BatchHead, Vec<u8>) {
        let mut plain = Vec::new();
        for (index, late) in [0u8, 5, 3, 10].iter().enumerate() {
            let body = [0, late * 2, index as u8 * 2, 1, 6, b'a', b'b', b'c', 0];
            plain.push(body.len() as u8 * 2);
            plain.extend(body);
        }
        let built = build_batch(BatchSpec::plain(1000), &[(None, &b"x"[..]); 4]);
        let head = BatchHead {
            base_offset: 100,
            max_timestamp: 1010,
            ..head_alone(&built[..HEAD_LEN]).expect("a head")
        };
        (head, plain)
    }

    fn look(head: BatchHead, records: Vec<u8>, from: i64, timestamp: i64) -> WorkResult {
        run(&WorkRequest::FindTimestamp {
            head,
            records: records.into(),
            from,
            timestamp,
            youngest: false,
        })
    }

    #[test]
    fn the_youngest_record_is_the_first_of_its_time() {
        let (head, records) = batch();
        let youngest = |from, timestamp| {
            run(&WorkRequest::FindTimestamp {
                head,
                records: records.clone().into(),
                from,
                timestamp,
                youngest: true,
            })
        };
        let found = |offset, timestamp| WorkResult::Found { offset, timestamp };
        assert_eq!(youngest(0, 1001), found(103, 1010));
        assert_eq!(youngest(101, 0), found(103, 1010));
        assert_eq!(youngest(0, 1011), WorkResult::Nothing);
    }

    #[test]
    fn the_first_record_of_a_time_is_found_in_every_compression() {
        let (head, records) = batch();
        let found = |offset, timestamp| WorkResult::Found { offset, timestamp };
        for (attributes, compress) in KINDS {
            let head = BatchHead { attributes, ..head };
            let look = |from, timestamp| look(head, compress(&records), from, timestamp);
            assert_eq!(look(0, 0), found(100, 1000), "{attributes}");
            assert_eq!(look(0, 1001), found(101, 1005), "{attributes}");
            assert_eq!(look(102, 1001), found(102, 1003), "{attributes}");
            assert_eq!(look(0, 1006), found(103, 1010), "{attributes}");
            assert_eq!(look(0, 1011), WorkResult::Nothing, "{attributes}");
            assert_eq!(look(104, 0), WorkResult::Nothing, "{attributes}");
        }
    }

    #[test]
    fn a_batch_of_the_brokers_time_is_not_read() {
        let (head, _) = batch();
        let attributes = ATTRIBUTE_LOG_APPEND_TIME | 4;
        let head = BatchHead { attributes, ..head };
        let (offset, timestamp) = (102, 1010);
        let found = WorkResult::Found { offset, timestamp };
        assert_eq!(look(head, vec![9], 102, 7), found);
        assert_eq!(look(head, vec![9], 0, 1011), WorkResult::Nothing);
    }

    #[test]
    fn bytes_that_are_no_records_are_told_and_never_a_panic() {
        let (head, records) = batch();
        for (attributes, compress) in KINDS {
            let head = BatchHead { attributes, ..head };
            let good = compress(&records);
            for cut in 0..good.len() {
                let found = look(head, good[..cut].to_vec(), 0, 1011);
                // What only ends the stream may be missing after the last record.
                let ended = cut + 12 > good.len() && found == WorkResult::Nothing;
                assert!(
                    found == WorkResult::Unreadable || ended,
                    "{attributes}@{cut}"
                );
            }
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0xff;
                look(head, bad, 0, 1011);
            }
        }
        let attributes = 5;
        let head = BatchHead { attributes, ..head };
        assert_eq!(look(head, records, 0, 0), WorkResult::Unreadable);
    }

    #[test]
    fn what_comes_out_is_bounded() {
        let zeroes = vec![0; 4 << 20];
        for (attributes, compress) in KINDS {
            let small = Bytes::from(compress(&zeroes));
            let size = |limit| plain(attributes, &small, limit).map(|plain| plain.len());
            assert_eq!(size(4 << 20), Ok(4 << 20), "{attributes}");
            let over = size((4 << 20) - 1);
            assert!(over.is_err() || attributes == 0, "{attributes}: {over:?}");
        }
        // A snappy block that claims to be 4 GB.
        let claim = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert!(plain(2, &claim, u64::MAX).is_err());
    }
}
