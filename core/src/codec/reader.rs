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

    /// Elements read so far.
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

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.bytes.try_get_u8().map_err(|_| SHORT)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
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

    /// A length that is never negative, or null.
    fn length(&mut self, wide: bool) -> Result<Option<u64>, Malformed> {
        if self.flexible {
            return Ok(self.varint()?.checked_sub(1));
        }
        let length = match wide {
            true => i64::from(self.bytes.try_get_i32().map_err(|_| SHORT)?),
            false => i64::from(self.bytes.try_get_i16().map_err(|_| SHORT)?),
        };
        match length {
            -1 => Ok(None),
            length => u64::try_from(length)
                .map(Some)
                .map_err(|_| Malformed("a length is negative")),
        }
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
            Some(len) => {
                let text = self.take(len)?;
                let text =
                    std::str::from_utf8(&text).map_err(|_| Malformed("a string is not UTF-8"))?;
                Some(text.to_string())
            }
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
        self.items_left = self
            .items_left
            .checked_sub(count)
            .ok_or(Malformed("the request has too many elements"))?;
        self.items += count;
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

    fn tags(&mut self) -> Visit {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let len = self.varint()?;
            self.take(len)?;
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
}
