//! The content of a file as pages that copies share: a copy costs nothing, a change only the page it is in.

use std::sync::Arc;

use bytes::Bytes;

/// Bytes of a page.
pub const PAGE: usize = 4096;

type Page = [u8; PAGE];

/// A page of zeroes is not stored. What a page holds beyond `len` is zero, so that growing writes nothing.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    pages: Arc<Vec<Option<Arc<Page>>>>,
    len: usize,
}

/// A page for a reader, without a copy.
struct Shared(Arc<Page>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0[..]
    }
}

impl Pages {
    /// Bytes of the content.
    pub fn len(&self) -> usize {
        self.len
    }

    /// It holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Make it so long: with zeroes at its end, or without what is beyond.
    pub fn resize(&mut self, len: usize) {
        if len == self.len {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        pages.resize(len.div_ceil(PAGE), None);
        let rest = len % PAGE;
        if let Some(Some(last)) = pages.last_mut().filter(|_| len < self.len && rest > 0) {
            Arc::make_mut(last)[rest..].fill(0);
        }
        self.len = len;
    }

    /// Write at an offset, growing as needed; a gap reads as zeroes.
    pub fn write(&mut self, mut at: usize, mut data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.resize(self.len.max(at + data.len()));
        let pages = Arc::make_mut(&mut self.pages);
        while !data.is_empty() {
            let from = at % PAGE;
            let (now, later) = data.split_at(data.len().min(PAGE - from));
            let page = pages[at / PAGE].get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[from..from + now.len()].copy_from_slice(now);
            (at, data) = (at + now.len(), later);
        }
    }

    /// The bytes `from..to`, as far as they exist.
    pub fn read(&self, from: usize, to: usize) -> Bytes {
        let (from, to) = (from.min(self.len), to.min(self.len));
        if from >= to {
            return Bytes::new();
        }
        let at = from / PAGE;
        if (to - 1) / PAGE == at {
            return match &self.pages[at] {
                Some(page) => {
                    Bytes::from_owner(Shared(page.clone())).slice(from - at * PAGE..to - at * PAGE)
                }
                None => Bytes::from(vec![0; to - from]),
            };
        }
        let mut bytes = Vec::with_capacity(to - from);
        let mut next = from;
        while next < to {
            let (start, end) = (next % PAGE, PAGE.min(to - next / PAGE * PAGE));
            match &self.pages[next / PAGE] {
                Some(page) => bytes.extend_from_slice(&page[start..end]),
                None => bytes.resize(bytes.len() + end - start, 0),
            }
            next += end - start;
        }
        Bytes::from(bytes)
    }

    /// All of it.
    pub fn all(&self) -> Bytes {
        self.read(0, self.len)
    }

    /// Flip bits of one byte, if it exists.
    pub fn flip(&mut self, at: usize, bits: u8) {
        if let [byte] = self.read(at, at + 1)[..] {
            self.write(at, &[byte ^ bits]);
        }
    }

    /// Pages that are stored, and are not shared with this copy.
    #[cfg(test)]
    pub fn own_pages(&self, other: &Pages) -> usize {
        let shared = |(index, page): &(usize, &Option<Arc<Page>>)| {
            let theirs = other.pages.get(*index).and_then(Option::as_ref);
            match (page, theirs) {
                (Some(page), Some(theirs)) => Arc::ptr_eq(page, theirs),
                (page, _) => page.is_none(),
            }
        };
        let pages = self.pages.iter().enumerate();
        pages.filter(|page| !shared(page)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Choices;

    #[test]
    fn pages_hold_what_a_vector_holds() {
        let mut choices = Choices::new(3, "pages", 0);
        let (mut pages, mut plain) = (Pages::default(), Vec::<u8>::new());
        for round in 0..2_000u64 {
            let at = choices.below(20_000) as usize;
            let len = choices.below(9_000) as usize;
            match choices.below(8) {
                0 => {
                    pages.resize(at);
                    plain.resize(at, 0);
                }
                1 => {
                    pages.flip(at, 4);
                    if let Some(byte) = plain.get_mut(at) {
                        *byte ^= 4;
                    }
                }
                2..=4 => {
                    let data: Vec<u8> = (0..len as u64).map(|n| (n * 7 + round) as u8).collect();
                    pages.write(at, &data);
                    if !data.is_empty() {
                        plain.resize(plain.len().max(at + len), 0);
                        plain[at..at + len].copy_from_slice(&data);
                    }
                }
                _ => {
                    let (from, to) = (at.min(plain.len()), (at + len).min(plain.len()));
                    assert_eq!(pages.read(at, at + len)[..], plain[from..to]);
                }
            }
            assert_eq!(pages.len(), plain.len());
        }
        assert_eq!(pages.all()[..], plain[..]);
    }

    #[test]
    fn a_small_write_to_a_copy_copies_one_page() {
        let mut pages = Pages::default();
        pages.write(0, &[7; 50 * PAGE]);
        let before = pages.clone();
        assert_eq!(pages.own_pages(&before), 0);
        pages.write(PAGE + 5, b"x");
        assert_eq!(pages.own_pages(&before), 1);
        assert_eq!(before.read(PAGE + 5, PAGE + 6)[..], [7]);
    }
}
