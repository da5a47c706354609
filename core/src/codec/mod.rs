//! The wire's primitives, and the one form in which a versioned message is stated.
//!
//! A message is a function over a [`Codec`] that visits its fields in order. With a [`Reader`] the
//! visit fills them, with a [`Writer`] it writes them, so both directions are one statement:
//!
//! ```
//! use seedlog_core::codec::{Codec, Malformed};
//! fn member<C: Codec>(c: &mut C, id: &mut i32, rack: &mut Option<String>) -> Result<(), Malformed> {
//!     c.i32(id)?;
//!     if c.version() >= 2 {
//!         c.nullable_string(rack)?; // a version that lacks it reads the default and drops it
//!     }
//!     c.tags()
//! }
//! ```

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::ids::{NodeId, Uuid};

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Outcome of visiting a field.
pub type Visit = Result<(), Malformed>;

/// The front of a text: as many bytes as are allowed, or a few less where a character would be cut.
pub(crate) fn front(text: &str, max: usize) -> &str {
    let mut ends = (0..=max.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// One direction of the wire. Lengths read are bounded by the bytes that remain: a hostile length
/// allocates nothing.
pub trait Codec: Sized {
    /// The version being read or written.
    fn version(&self) -> i16;
    /// Compact lengths and tagged fields (KIP-482).
    fn flexible(&self) -> bool;
    /// True when fields are being filled.
    fn reading(&self) -> bool;
    /// Signed 8 bits.
    fn i8(&mut self, value: &mut i8) -> Visit;
    /// Signed 16 bits.
    fn i16(&mut self, value: &mut i16) -> Visit;
    /// Signed 32 bits.
    fn i32(&mut self, value: &mut i32) -> Visit;
    /// Signed 64 bits.
    fn i64(&mut self, value: &mut i64) -> Visit;
    /// 16 bytes of identity.
    fn uuid(&mut self, value: &mut Uuid) -> Visit;
    /// A string or null.
    fn nullable_string(&mut self, value: &mut Option<String>) -> Visit;
    /// Record batches or null, not copied. A writer takes several pieces as one.
    fn records(&mut self, pieces: &mut Option<Vec<Bytes>>) -> Visit;
    /// An array or null.
    fn nullable_array<T: Default>(
        &mut self,
        value: &mut Option<Vec<T>>,
        item: impl FnMut(&mut Self, &mut T) -> Visit,
    ) -> Visit;
    /// The tagged fields that end a flexible structure. `known` has the tags that mean something, in
    /// rising order, each with whether it is written; `field` visits one of them, which it finds alone.
    /// What else is there is skipped.
    fn tagged(
        &mut self,
        known: &[(i32, bool)],
        field: impl FnMut(&mut Self, i32) -> Visit,
    ) -> Visit;

    /// The same where none means anything.
    fn tags(&mut self) -> Visit {
        self.tagged(&[], |_, _| Ok(()))
    }

    /// A string.
    fn string(&mut self, value: &mut String) -> Visit {
        let mut some = Some(std::mem::take(value));
        self.nullable_string(&mut some)?;
        *value = some.ok_or(Malformed("a string is null"))?;
        Ok(())
    }

    /// An array that is never null (Kafka closes the connection where its schema has no null).
    fn array<T: Default>(
        &mut self,
        value: &mut Vec<T>,
        item: impl FnMut(&mut Self, &mut T) -> Visit,
    ) -> Visit {
        let mut some = Some(std::mem::take(value));
        self.nullable_array(&mut some, item)?;
        *value = some.ok_or(Malformed("an array is null"))?;
        Ok(())
    }

    /// An array that may be null and then reads as empty; it is never written as null.
    fn array_or_null<T: Default>(
        &mut self,
        value: &mut Vec<T>,
        item: impl FnMut(&mut Self, &mut T) -> Visit,
    ) -> Visit {
        let mut some = Some(std::mem::take(value));
        self.nullable_array(&mut some, item)?;
        *value = some.unwrap_or_default();
        Ok(())
    }

    /// A boolean.
    fn bool(&mut self, value: &mut bool) -> Visit {
        let mut byte = i8::from(*value);
        self.i8(&mut byte)?;
        *value = byte != 0;
        Ok(())
    }

    /// An error code.
    fn error(&mut self, value: &mut ErrorCode) -> Visit {
        let mut code = value.code();
        self.i16(&mut code)?;
        *value = ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
        Ok(())
    }

    /// A broker id.
    fn node(&mut self, value: &mut NodeId) -> Visit {
        self.i32(&mut value.0)
    }

    /// A field this broker has no use for: written as given, ignored when read.
    fn fixed_i32(&mut self, mut value: i32) -> Visit {
        self.i32(&mut value)
    }
}
