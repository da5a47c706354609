//! What a client says first on a connection: it asks for the API versions (KIP-511), now and then in a
//! version that no broker knows yet. The broker's codec answers by itself, in the order of the calls.

use bytes::{Buf, Bytes, BytesMut};
use seedlog_core::error_code::ErrorCode;
use seedlog_net::apis::{APIS, API_VERSIONS};

/// A version that nobody knows.
const TOO_NEW: i16 = 99;
const CORRELATION: i32 = -7;

/// The answer that is waited for, and what has come of it.
#[derive(Clone, Debug)]
pub struct Hello {
    too_new: bool,
    came: BytesMut,
}

impl Hello {
    /// A question, and its bytes.
    pub fn ask(too_new: bool) -> (Hello, Bytes) {
        let version = if too_new { TOO_NEW } else { 0 };
        let mut frame = 10i32.to_be_bytes().to_vec();
        frame.extend_from_slice(&API_VERSIONS.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&CORRELATION.to_be_bytes());
        // No client id.
        frame.extend_from_slice(&(-1i16).to_be_bytes());
        let came = BytesMut::new();
        (Hello { too_new, came }, frame.into())
    }

    /// Bytes came. Once the answer is whole: is it right, and what follows it.
    pub fn take(&mut self, bytes: &[u8]) -> Option<(bool, Bytes)> {
        self.came.extend_from_slice(bytes);
        let size = i32::from_be_bytes(*self.came.first_chunk()?);
        let size = usize::try_from(size).unwrap_or(0) + 4;
        if self.came.len() < size {
            return None;
        }
        let answer = self.came.split_to(size).freeze().slice(4..);
        let rest = std::mem::take(&mut self.came).freeze();
        Some((self.is_right(answer).unwrap_or(false), rest))
    }

    fn is_right(&self, mut answer: Bytes) -> Option<bool> {
        let correlation = answer.try_get_i32().ok()?;
        let error = answer.try_get_i16().ok()?;
        let count = answer.try_get_i32().ok()?;
        let mut rows = Vec::new();
        for _ in 0..count {
            let mut next = || answer.try_get_i16().ok();
            rows.push((next()?, next()?, next()?));
        }
        let served = APIS.iter();
        let served = served.filter(|api| !self.too_new || api.key == API_VERSIONS);
        let served: Vec<_> = served
            .map(|api| (api.key, api.advertised_min, api.max))
            .collect();
        let wanted = match self.too_new {
            true => ErrorCode::UnsupportedVersion,
            false => ErrorCode::None,
        };
        let same = (correlation, error) == (CORRELATION, wanted.code());
        Some(same && rows == served && answer.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedlog_core::limits::Limits;
    use seedlog_net::server::Connection;

    #[test]
    fn every_byte_of_the_answer_counts() {
        for too_new in [false, true] {
            let (hello, asked) = Hello::ask(too_new);
            let mut server = Connection::new("sim".into(), 9092, Limits::DEFAULT);
            server.receive(asked).expect("a request");
            let mut answer = server.take_output().concat();
            let (first, last) = answer.split_at(7);
            let mut halves = hello.clone();
            assert_eq!(halves.take(first), None);
            let rest = [last, b"more"].concat();
            assert_eq!(
                halves.take(&rest),
                Some((true, Bytes::from_static(b"more")))
            );
            for at in 4..answer.len() {
                answer[at] ^= 1;
                let (right, _) = hello.clone().take(&answer).expect("a whole answer");
                assert!(!right, "byte {at}");
                answer[at] ^= 1;
            }
        }
    }
}
