//! What an error text quotes of a client's words. A name or a value of a request may have 32,767 bytes,
//! which is as many as a text of an answer may have in all.

use std::fmt;

use crate::codec::front;

/// Bytes of a client's word that an error text repeats: more than a topic's longest name.
const QUOTED_MAX: usize = 256;

/// A client's word in an error text, cut where it is too long.
pub struct Quote<'a>(pub &'a str);

impl fmt::Display for Quote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = front(self.0, QUOTED_MAX);
        f.write_str(quoted)?;
        match quoted.len() < self.0.len() {
            true => f.write_str("..."),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_word_is_cut_between_characters() {
        let plain = "x".repeat(QUOTED_MAX);
        assert_eq!(Quote(&plain).to_string(), plain);
        assert_eq!(
            Quote(&format!("{plain}y")).to_string(),
            format!("{plain}...")
        );
        // Three bytes a character: 256 lies within the 86th.
        let wide = "\u{4e16}".repeat(200);
        assert_eq!(Quote(&wide).to_string(), format!("{}...", &wide[..255]));
    }
}
