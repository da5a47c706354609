//! Batches as producers send them: of every size, some compressed, some wrong on purpose.

use bytes::Bytes;
use seedlog_core::batch::{complete, HEAD_LEN};
use seedlog_net::records::{self, Producer, Record};

use super::records::{record, stored, PREFIX};
use crate::check::answers::Why;
use crate::check::history::Part;
use crate::plan::Choices;

/// The largest batch that a simulated shard's journal takes, bytes.
pub const BATCH_MAX: usize = 32 << 10;

/// A batch of one partition and what is to be known when its answer comes. `acked_before` is what had been
/// acknowledged when it was first sent, at `sent_ms`; `order` its place among its client's.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are what the line above says")]
pub struct Sent {
    pub part: Part,
    pub batch: Bytes,
    pub values: Vec<u64>,
    pub times: Vec<i64>,
    pub acked_before: i64,
    pub order: u64,
    pub sent_ms: i64,
    pub flaw: Option<Flaw>,
}

/// What is wrong with a batch on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the reasons of `Flaw::why` say more")]
pub enum Flaw {
    Crc,
    Count,
    Garbled,
    Future,
    TooLarge,
}

impl Flaw {
    /// A flaw that a topic does refuse; one that stamps records itself takes any timestamp.
    pub fn draw(choice: &mut Choices, stamped: bool) -> Flaw {
        let all = [
            Flaw::Crc,
            Flaw::Count,
            Flaw::Garbled,
            Flaw::TooLarge,
            Flaw::Future,
        ];
        all[choice.below(if stamped { 4 } else { 5 }) as usize]
    }

    /// Why it is refused.
    pub fn why(self) -> Why {
        match self {
            Flaw::Crc => Why::BadCrc,
            Flaw::Count | Flaw::Garbled => Why::BadContent,
            Flaw::Future => Why::BadTime,
            Flaw::TooLarge => Why::TooLarge,
        }
    }
}

/// Sizes of the values of a batch's records.
pub fn sizes(choice: &mut Choices) -> Vec<usize> {
    let small = |choice: &mut Choices| PREFIX + choice.below(900) as usize;
    match choice.below(64) {
        // Alone, and as large as can be.
        0 => vec![BATCH_MAX],
        1..=3 => (0..choice.between(1, 3))
            .map(|_| PREFIX + choice.below(6_000) as usize)
            .collect(),
        _ => (0..choice.between(1, 4)).map(|_| small(choice)).collect(),
    }
}

/// A batch of these values and timestamps. A single value of [`BATCH_MAX`] is cut so that the batch, not
/// the value, has that size.
pub fn build(
    (values, times, sizes): (&[u64], &[i64], &[usize]),
    producer: Option<Producer>,
    flaw: Option<Flaw>,
) -> Bytes {
    let of_sizes = |sizes: &[usize]| {
        let rows = values.iter().zip(times).zip(sizes);
        let rows: Vec<Record> = rows
            .map(|((value, time), size)| record(*value, *time, *size))
            .collect();
        records::build(&rows, producer)
    };
    let limit = match flaw {
        Some(Flaw::TooLarge) => BATCH_MAX + 1,
        _ => BATCH_MAX,
    };
    let mut sizes = sizes.to_vec();
    let mut batch = of_sizes(&sizes);
    while sizes[0] >= BATCH_MAX / 2 && batch.len() != limit {
        sizes[0] = sizes[0] + limit - batch.len();
        batch = of_sizes(&sizes);
    }
    match flaw {
        None if values[0] % 8 == 0 && batch.len() < BATCH_MAX / 2 => stored(batch),
        None | Some(Flaw::Future | Flaw::TooLarge) => batch,
        Some(flaw) => spoil(batch, flaw),
    }
}

fn spoil(batch: Bytes, flaw: Flaw) -> Bytes {
    const GZIP: u8 = 1;
    let mut bytes = batch.to_vec();
    match flaw {
        Flaw::Crc => {
            let last = bytes.len() - 1;
            bytes[last] ^= 0x40;
            return bytes.into();
        }
        // One record more than the offsets say.
        Flaw::Count => bytes[HEAD_LEN - 1] = bytes[HEAD_LEN - 1].wrapping_add(1),
        _ => bytes[22] |= GZIP,
    }
    complete(&mut bytes);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::records::read_batches;

    #[test]
    fn a_batch_of_the_limit_is_as_large_as_can_be() {
        let one = (&[77][..], &[5][..], &[BATCH_MAX][..]);
        let whole = build(one, None, None);
        assert_eq!(whole.len(), BATCH_MAX);
        assert_eq!(build(one, None, Some(Flaw::TooLarge)).len(), BATCH_MAX + 1);
        assert!(read_batches(&[whole], 0, &mut |_| {}).is_ok());
        for flaw in [Flaw::Crc, Flaw::Garbled] {
            let bad = build((&[9], &[5], &[60]), None, Some(flaw));
            assert!(read_batches(&[bad], 0, &mut |_| {}).is_err(), "{flaw:?}");
        }
    }
}
