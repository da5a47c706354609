//! Writing: small fields into one buffer, record batches as pieces of their own.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Codec, Visit};
use crate::ids::Uuid;

/// Writes a message as pieces to be sent one after the other.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    done: Vec<Bytes>,
    buffer: BytesMut,
    version: i16,
    flexible: bool,
}

impl Writer {
    /// Write at this version.
    pub fn new(version: i16, flexible: bool) -> Writer {
        Writer {
            version,
            flexible,
            ..Writer::default()
        }
    }

    /// The pieces.
    pub fn finish(mut self) -> Vec<Bytes> {
        if !self.buffer.is_empty() {
            self.done.push(self.buffer.freeze());
        }
        self.done
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buffer.put_u8((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    fn length(&mut self, length: Option<usize>, wide: bool) {
        match (self.flexible, wide) {
            (true, _) => self.varint(length.map_or(0, |length| length as u64 + 1)),
            (false, true) => self
                .buffer
                .put_i32(length.map_or(-1, |length| length as i32)),
            (false, false) => self
                .buffer
                .put_i16(length.map_or(-1, |length| length as i16)),
        }
    }
}

impl Codec for Writer {
    fn version(&self) -> i16 {
        self.version
    }

    fn flexible(&self) -> bool {
        self.flexible
    }

    fn reading(&self) -> bool {
        false
    }

    fn i8(&mut self, value: &mut i8) -> Visit {
        self.buffer.put_i8(*value);
        Ok(())
    }

    fn i16(&mut self, value: &mut i16) -> Visit {
        self.buffer.put_i16(*value);
        Ok(())
    }

    fn i32(&mut self, value: &mut i32) -> Visit {
        self.buffer.put_i32(*value);
        Ok(())
    }

    fn i64(&mut self, value: &mut i64) -> Visit {
        self.buffer.put_i64(*value);
        Ok(())
    }

    fn uuid(&mut self, value: &mut Uuid) -> Visit {
        self.buffer.put_slice(&value.0);
        Ok(())
    }

    fn nullable_string(&mut self, value: &mut Option<String>) -> Visit {
        self.length(value.as_ref().map(String::len), false);
        if let Some(text) = value {
            self.buffer.put_slice(text.as_bytes());
        }
        Ok(())
    }

    fn records(&mut self, pieces: &mut Option<Vec<Bytes>>) -> Visit {
        let size = pieces
            .as_ref()
            .map(|pieces| pieces.iter().map(Bytes::len).sum());
        self.length(size, true);
        for piece in pieces.take().unwrap_or_default() {
            if piece.len() < 512 {
                self.buffer.put_slice(&piece);
                continue;
            }
            if !self.buffer.is_empty() {
                self.done.push(self.buffer.split().freeze());
            }
            self.done.push(piece);
        }
        Ok(())
    }

    fn nullable_array<T: Default>(
        &mut self,
        value: &mut Option<Vec<T>>,
        mut item: impl FnMut(&mut Self, &mut T) -> Visit,
    ) -> Visit {
        self.length(value.as_ref().map(Vec::len), true);
        for next in value.iter_mut().flatten() {
            item(self, next)?;
        }
        Ok(())
    }

    fn tags_but(&mut self, _: i32, _: impl FnMut(&mut Self) -> Visit) -> Visit {
        if self.flexible {
            self.buffer.put_u8(0);
        }
        Ok(())
    }
}
