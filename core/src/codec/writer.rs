//! Writing: small fields into one buffer, record batches as pieces of their own.

use bytes::{BufMut, Bytes, BytesMut};

use super::{front, Codec, Visit};
use crate::ids::Uuid;

/// Bytes of a text at most, in either form: more than 16 bits of length can say in the one, and refused
/// by Kafka's readers in the other.
const TEXT_MAX: usize = i16::MAX as usize;
/// Elements of an array, and bytes of records, at most.
const WIDE_MAX: usize = i32::MAX as usize;

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

    /// A length of at most [`WIDE_MAX`], for an array or for records; the callers cut what is longer.
    fn wide_length(&mut self, length: Option<usize>) {
        match self.flexible {
            true => self.varint(length.map_or(0, |length| length as u64 + 1)),
            false => self
                .buffer
                .put_i32(length.map_or(-1, |length| length as i32)),
        }
    }

    /// The length of a text, of at most [`TEXT_MAX`].
    fn text_length(&mut self, length: Option<usize>) {
        match self.flexible {
            true => self.wide_length(length),
            false => self
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
        // A text that is too long ends early: a length that does not hold it would make the whole answer
        // unreadable.
        let text = value.as_deref();
        let text = text.map(|text| front(text, TEXT_MAX));
        self.text_length(text.map(str::len));
        self.buffer.put_slice(text.unwrap_or_default().as_bytes());
        Ok(())
    }

    fn records(&mut self, pieces: &mut Option<Vec<Bytes>>) -> Visit {
        let Some(mut pieces) = pieces.take() else {
            self.wide_length(None);
            return Ok(());
        };
        // What does not fit comes with the next Fetch; nothing asks for so much at once.
        let mut size = 0;
        let fits = pieces.iter().take_while(|piece| {
            size += piece.len();
            size <= WIDE_MAX
        });
        let fits = fits.count();
        pieces.truncate(fits);
        self.wide_length(Some(pieces.iter().map(Bytes::len).sum()));
        for piece in pieces {
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
        let count = value.as_ref().map(|items| items.len().min(WIDE_MAX));
        self.wide_length(count);
        for next in value.iter_mut().flatten().take(WIDE_MAX) {
            item(self, next)?;
        }
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
        let written = known.iter().filter(|(_, written)| *written);
        self.varint(written.clone().count() as u64);
        for (tag, _) in written {
            let mut alone = Writer::new(self.version, self.flexible);
            field(&mut alone, *tag)?;
            let bytes = alone.finish().concat();
            self.varint(*tag as u64);
            self.varint(bytes.len() as u64);
            self.buffer.put_slice(&bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reader;

    /// A text as it comes back, and what is left behind it.
    fn there_and_back(text: &str, flexible: bool) -> (String, usize) {
        let mut writer = Writer::new(0, flexible);
        writer.string(&mut text.to_string()).expect("written");
        writer.i32(&mut 7).expect("written");
        let mut reader = Reader::new(writer.finish().concat().into(), 0, flexible);
        let mut back = String::new();
        reader.string(&mut back).expect("read");
        (back, reader.remaining())
    }

    #[test]
    fn a_text_that_is_too_long_ends_between_characters() {
        for flexible in [false, true] {
            for size in [
                0,
                1,
                127,
                TEXT_MAX - 1,
                TEXT_MAX,
                TEXT_MAX + 1,
                1 << 16,
                1 << 17,
            ] {
                let told = there_and_back(&"x".repeat(size), flexible);
                assert_eq!(told, ("x".repeat(size.min(TEXT_MAX)), 4), "{size}");
            }
            let wide = "\u{4e16}".repeat(20_000);
            let kept = wide[..TEXT_MAX / 3 * 3].to_string();
            assert_eq!(there_and_back(&wide, flexible), (kept, 4));
        }
    }

    #[test]
    fn records_of_more_than_a_length_can_say_end_at_a_piece() {
        let piece = Bytes::from(vec![9; 1 << 20]);
        for flexible in [false, true] {
            for (pieces, kept) in [(2_047, 2_047), (2_048, 2_047), (4_097, 2_047)] {
                let mut writer = Writer::new(0, flexible);
                writer
                    .records(&mut Some(vec![piece.clone(); pieces]))
                    .expect("written");
                let written = writer.finish();
                let size = kept << 20;
                let head: &[u8] = match flexible {
                    // 2_047 MiB and 1, seven bits a byte.
                    true => &[0x81, 0x80, 0xc0, 0xff, 0x07],
                    false => &(size as i32).to_be_bytes(),
                };
                assert_eq!(&written[0][..], head, "{pieces}");
                assert_eq!(written[1..].iter().map(Bytes::len).sum::<usize>(), size);
            }
        }
    }
}
