//! Kafka's frames as this test writes and reads them, byte by byte: the project's own encoder has no
//! part in it, so that codec and core are both held to the wire.

/// A request that is being written.
#[derive(Clone, Default)]
pub struct Out(pub Vec<u8>);

impl Out {
    /// A request of the key and version whose header ends in the client id: `t`.
    pub fn request(key: i16, version: i16) -> Out {
        let out = Out::default().i16(key).i16(version);
        out.i32(CORRELATION).str(Some("t"))
    }

    /// The same at a flexible version: the header has tagged fields, here none.
    pub fn flexible(key: i16, version: i16) -> Out {
        Out::request(key, version).u8(0)
    }

    /// The frame: four bytes of length, and what was written.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = (self.0.len() as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(&self.0);
        frame
    }

    pub fn raw(mut self, bytes: &[u8]) -> Out {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u8(self, value: u8) -> Out {
        self.raw(&[value])
    }

    pub fn i16(self, value: i16) -> Out {
        self.raw(&value.to_be_bytes())
    }

    pub fn i32(self, value: i32) -> Out {
        self.raw(&value.to_be_bytes())
    }

    pub fn i64(self, value: i64) -> Out {
        self.raw(&value.to_be_bytes())
    }

    /// A string with two bytes of length, or null.
    pub fn str(self, text: Option<&str>) -> Out {
        match text {
            None => self.i16(-1),
            Some(text) => self.i16(text.len() as i16).raw(text.as_bytes()),
        }
    }

    /// Unsigned, seven bits a byte, the lowest first.
    pub fn varint(self, value: u64) -> Out {
        match value < 0x80 {
            true => self.u8(value as u8),
            false => self.u8(value as u8 | 0x80).varint(value >> 7),
        }
    }

    /// A string with its length plus one as a varint, or null.
    pub fn compact(self, text: Option<&str>) -> Out {
        match text {
            None => self.u8(0),
            Some(text) => self.varint(text.len() as u64 + 1).raw(text.as_bytes()),
        }
    }

    /// An array with four bytes of count.
    pub fn list<T>(self, items: &[T], write: impl Fn(Out, &T) -> Out) -> Out {
        let out = self.i32(items.len() as i32);
        items.iter().fold(out, write)
    }

    /// An array with its count plus one as a varint; its elements end in no tagged fields.
    pub fn compact_list<T>(self, items: &[T], write: impl Fn(Out, &T) -> Out) -> Out {
        let out = self.varint(items.len() as u64 + 1);
        items.iter().fold(out, |out, item| write(out, item).u8(0))
    }
}

/// The correlation id of every request that [`Out::request`] begins.
pub const CORRELATION: i32 = 0x5ee_d106;

/// An answer that is being read. Every byte must be read: [`In::end`].
pub struct In {
    bytes: Vec<u8>,
    at: usize,
}

impl In {
    pub fn new(bytes: Vec<u8>) -> In {
        In { bytes, at: 0 }
    }

    pub fn end(self) {
        let rest = &self.bytes[self.at..];
        assert!(rest.is_empty(), "bytes are left over: {rest:02x?}");
    }

    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let taken = self.bytes[self.at..self.at + len].to_vec();
        self.at += len;
        taken
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().expect("as many as were taken")
    }

    pub fn u8(&mut self) -> u8 {
        self.number::<1>()[0]
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.number())
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.number())
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.number())
    }

    pub fn varint(&mut self) -> u64 {
        let byte = self.u8();
        let low = u64::from(byte & 0x7f);
        match byte < 0x80 {
            true => low,
            false => low | (self.varint() << 7),
        }
    }

    fn text(&mut self, len: Option<usize>) -> Option<String> {
        let bytes = len.map(|len| self.take(len))?;
        Some(String::from_utf8(bytes).expect("text"))
    }

    pub fn str(&mut self) -> Option<String> {
        let len = usize::try_from(self.i16()).ok();
        self.text(len)
    }

    pub fn compact(&mut self) -> Option<String> {
        let len = self.varint().checked_sub(1);
        self.text(len.map(|len| len as usize))
    }

    pub fn uuid(&mut self) -> [u8; 16] {
        self.number()
    }

    /// Tagged fields: tag and bytes of each.
    pub fn tagged(&mut self) -> Vec<(u64, Vec<u8>)> {
        let count = self.varint();
        let mut field = |_| {
            let (tag, len) = (self.varint(), self.varint());
            (tag, self.take(len as usize))
        };
        (0..count).map(&mut field).collect()
    }

    /// No tagged fields, where the version has any.
    pub fn tags(&mut self, flexible: bool) {
        if flexible {
            assert_eq!(self.u8(), 0, "no tagged fields");
        }
    }

    /// A string of either form.
    pub fn string(&mut self, flexible: bool) -> Option<String> {
        match flexible {
            true => self.compact(),
            false => self.str(),
        }
    }

    /// The count of an array of either form; never null.
    pub fn count(&mut self, flexible: bool) -> usize {
        let count = match flexible {
            true => self.varint().checked_sub(1),
            false => u64::try_from(self.i32()).ok(),
        };
        count.expect("no array of an answer is null") as usize
    }

    /// An array of either form.
    pub fn list<T>(&mut self, flexible: bool, mut read: impl FnMut(&mut In) -> T) -> Vec<T> {
        let count = self.count(flexible);
        (0..count).map(|_| read(self)).collect()
    }
}
