//! Reading: bounded by what remains, borrowing from the frame.

use bytes::{Buf, Bytes};

use super::{Codec, Malformed, Visit};
use crate::ids::Uuid;

/// Reads a message from a frame.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
    version: i16,
    flexible: bool,
    /// Bytes of the whole frame.
    frame: usize,
    /// Elements that its arrays may still have, all together.
    items_left: u32,
    items: u32,
}

/// Elements of an array that room is made for before the first is read.
const ROOM_AT_ONCE: usize = 16;

/// Bytes of a string at most (Kafka's `MessageGenerator`).
const STRING_MAX: usize = i16::MAX as usize;
/// Bytes by which mended text may grow for the charge of one element.
const GROWTH_PER_ITEM: usize = 64;

const SHORT: Malformed = Malformed("the message is shorter than it says");

impl Reader {
    /// Read `bytes` at this version.
    pub fn new(bytes: Bytes, version: i16, flexible: bool) -> Reader {
        Reader {
            frame: bytes.len(),
            bytes,
            version,
            flexible,
            items_left: u32::MAX,
            items: 0,
        }
    }

    /// The same, with at most so many elements in all arrays together: an element takes a byte in the
    /// frame and up to a hundred in memory.
    pub fn with_items(self, items_left: u32) -> Reader {
        Reader { items_left, ..self }
    }

    /// Elements read so far, and what was charged like them.
    pub fn items(&self) -> u32 {
        self.items
    }

    /// The same place, read in the other form: a header's client id is never compact.
    pub fn with_flexible(self, flexible: bool) -> Reader {
        Reader { flexible, ..self }
    }

    /// What has not been read.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Up to five bytes of 32 bits; what a fifth byte has above them is dropped, as Kafka does.
    fn varint(&mut self) -> Result<i32, Malformed> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.bytes.try_get_u8().map_err(|_| SHORT)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value as u32 as i32);
            }
        }
        Err(Malformed("a varint is too long"))
    }

    fn take(&mut self, len: u64) -> Result<Bytes, Malformed> {
        match usize::try_from(len) {
            Ok(len) if len <= self.bytes.len() => Ok(self.bytes.split_to(len)),
            _ => Err(SHORT),
        }
    }

    /// A length, or null: Kafka takes every negative length for null.
    fn length(&mut self, wide: bool) -> Result<Option<u64>, Malformed> {
        let length = match (self.flexible, wide) {
            (true, _) => self.varint()?.wrapping_sub(1),
            (false, true) => self.bytes.try_get_i32().map_err(|_| SHORT)?,
            (false, false) => i32::from(self.bytes.try_get_i16().map_err(|_| SHORT)?),
        };
        Ok(u64::try_from(length).ok())
    }

    /// Text; what is not UTF-8 in it is replaced, as Kafka does. A text of more than 32,767 bytes could
    /// not be told back to a client whose version counts them with 16 bits.
    fn text(&mut self, len: u64) -> Result<String, Malformed> {
        let bytes = self.take(len)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.len() > STRING_MAX {
            return Err(Malformed("a string is too long"));
        }
        // A replaced byte takes three. They are charged as elements are, which have more room.
        let grown = text
            .len()
            .saturating_sub(bytes.len())
            .div_ceil(GROWTH_PER_ITEM);
        self.charge(grown as u32)?;
        Ok(text)
    }

    /// So many elements more.
    fn charge(&mut self, items: u32) -> Visit {
        self.items_left = self
            .items_left
            .checked_sub(items)
            .ok_or(Malformed("the request has too many elements"))?;
        self.items += items;
        Ok(())
    }
}

impl Codec for Reader {
    fn version(&self) -> i16 {
        self.version
    }

    fn flexible(&self) -> bool {
        self.flexible
    }

    fn reading(&self) -> bool {
        true
    }

    fn i8(&mut self, value: &mut i8) -> Visit {
        *value = self.bytes.try_get_i8().map_err(|_| SHORT)?;
        Ok(())
    }

    fn i16(&mut self, value: &mut i16) -> Visit {
        *value = self.bytes.try_get_i16().map_err(|_| SHORT)?;
        Ok(())
    }

    fn i32(&mut self, value: &mut i32) -> Visit {
        *value = self.bytes.try_get_i32().map_err(|_| SHORT)?;
        Ok(())
    }

    fn i64(&mut self, value: &mut i64) -> Visit {
        *value = self.bytes.try_get_i64().map_err(|_| SHORT)?;
        Ok(())
    }

    fn uuid(&mut self, value: &mut Uuid) -> Visit {
        self.bytes
            .try_copy_to_slice(&mut value.0)
            .map_err(|_| SHORT)
    }

    fn nullable_string(&mut self, value: &mut Option<String>) -> Visit {
        *value = match self.length(false)? {
            None => None,
            Some(len) => Some(self.text(len)?),
        };
        Ok(())
    }

    fn records(&mut self, pieces: &mut Option<Vec<Bytes>>) -> Visit {
        *pieces = match self.length(true)? {
            None => None,
            Some(len) => {
                let records = self.take(len)?;
                // A small part of a large frame would keep all of it in memory.
                Some(vec![match records.len() * 2 < self.frame {
                    true => Bytes::copy_from_slice(&records),
                    false => records,
                }])
            }
        };
        Ok(())
    }

    fn nullable_array<T: Default>(
        &mut self,
        value: &mut Option<Vec<T>>,
        mut item: impl FnMut(&mut Self, &mut T) -> Visit,
    ) -> Visit {
        let Some(count) = self.length(true)? else {
            *value = None;
            return Ok(());
        };
        // Every item takes at least a byte; the room grows with what was really read.
        if count > self.bytes.len() as u64 {
            return Err(SHORT);
        }
        let count = count as u32;
        self.charge(count)?;
        let mut items = Vec::with_capacity((count as usize).min(ROOM_AT_ONCE));
        for left in (1..=count as usize).rev() {
            if items.len() == items.capacity() {
                // Twice the room, but none for more than is to come.
                items.reserve_exact(left.min(items.len()));
            }
            let mut next = T::default();
            item(self, &mut next)?;
            items.push(next);
        }
        *value = Some(items);
        Ok(())
    }

    fn tagged(
        &mut self,
        known: &[(i32, bool)],
        mut field: impl FnMut(&mut Self, i32) -> Visit,
    ) -> Visit {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            let found = self.varint()?;
            let len = self.varint()?;
            let bytes = self.take(u64::try_from(len).map_err(|_| SHORT)?)?;
            if known.iter().any(|(tag, _)| *tag == found) {
                // It ends where its length says.
                let rest = std::mem::replace(&mut self.bytes, bytes);
                field(self, found)?;
                self.bytes = rest;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_keeps_no_room_for_more_than_it_has() {
        for count in [0, 1, 2, 15, 16, 17, 33, 1_000, 1_025] {
            let mut bytes = (count as u32).to_be_bytes().to_vec();
            bytes.resize(4 + count * 4, 7);
            let mut reader = Reader::new(bytes.into(), 0, false);
            let mut items: Vec<i32> = Vec::new();
            assert_eq!(reader.array(&mut items, |c, item| c.i32(item)), Ok(()));
            assert_eq!((items.len(), items.capacity()), (count, count));
            assert_eq!(reader.items(), count as u32);
        }
    }

    #[test]
    fn a_count_that_is_not_true_gets_little_room() {
        let mut bytes = 1_000u32.to_be_bytes().to_vec();
        bytes.resize(4 + 1_000, 7);
        let mut reader = Reader::new(bytes.into(), 0, false);
        let mut items: Vec<[i64; 8]> = Vec::new();
        let read = reader.array(&mut items, |c, item| c.i64(&mut item[0]));
        assert_eq!(read, Err(SHORT));
        assert!(items.is_empty());
    }

    /// Bytes outside a frame's memory do not keep it; those that are most of it need no copy.
    #[test]
    fn a_small_part_of_a_large_frame_gets_memory_of_its_own() {
        for (size, rest, own) in [
            (70, 1 << 20, true),
            (1_000, 1_010, true),
            (1_010, 1_000, false),
            (1 << 20, 70, false),
        ] {
            let mut bytes = (size as u32).to_be_bytes().to_vec();
            bytes.resize(4 + size + rest, 7);
            let frame = Bytes::from(bytes);
            let within = frame.as_ptr_range();
            let mut reader = Reader::new(frame.clone(), 0, false);
            let mut pieces = None;
            assert_eq!(reader.records(&mut pieces), Ok(()));
            let pieces = pieces.expect("records");
            assert_eq!(pieces, [frame.slice(4..4 + size)]);
            let outside = !within.contains(&pieces[0].as_ptr());
            assert_eq!(outside, own, "{size} of {} bytes", frame.len());
        }
    }
}
