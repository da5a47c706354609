//! A blocking client for the command line: one connection, one request at a time.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use seedlog_core::api::{Request, Response};
use seedlog_core::error_code::ErrorCode;
use seedlog_net::client::Connection;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// Why a command failed, and the process' exit code.
#[derive(Debug)]
pub struct Failure {
    /// For the user.
    pub text: String,
    /// Exit code: 1 failed, 2 usage, 3 unreachable.
    pub code: u8,
}

impl Failure {
    /// The broker, or what was asked of it, failed.
    pub fn failed(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            code: 1,
        }
    }

    /// The command was used wrongly.
    pub fn usage(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            code: 2,
        }
    }
}

/// An error unless `code` is success; `what` is what was tried.
pub fn ok(code: ErrorCode, what: &str, message: Option<&str>) -> Result<(), Failure> {
    match code {
        ErrorCode::None => Ok(()),
        code => {
            let why = message
                .map(|message| format!(": {message}"))
                .unwrap_or_default();
            Err(Failure::failed(format!("{what}{why} [{}]", code.name())))
        }
    }
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    codec: Connection,
}

impl Client {
    /// Connect.
    pub fn connect(address: &str) -> Result<Client, Failure> {
        let unreachable = |why: String| Failure {
            text: format!("{address}: {why}"),
            code: 3,
        };
        let resolved = address
            .to_socket_addrs()
            .map_err(|e| unreachable(e.to_string()))?;
        let mut last = unreachable("no address".into());
        for target in resolved {
            match TcpStream::connect_timeout(&target, Duration::from_secs(5)) {
                Ok(stream) => {
                    let set = stream
                        .set_nodelay(true)
                        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
                    set.map_err(|e| unreachable(e.to_string()))?;
                    return Ok(Client {
                        stream,
                        codec: Connection::new("seedlog-cli"),
                    });
                }
                Err(e) => last = unreachable(e.to_string()),
            }
        }
        Err(last)
    }

    /// Ask, and wait for the answer.
    pub fn call(&mut self, request: &Request) -> Result<Response, Failure> {
        let (correlation, frame) = self.codec.request(request);
        let lost = |e: std::io::Error| Failure {
            text: format!("the connection broke: {e}"),
            code: 3,
        };
        self.stream.write_all(&frame).map_err(lost)?;
        let mut chunk = vec![0; 256 << 10];
        loop {
            let size = self.stream.read(&mut chunk).map_err(lost)?;
            if size == 0 {
                let text = "the broker closed the connection".to_string();
                return Err(Failure { text, code: 3 });
            }
            let responses = self
                .codec
                .receive(Bytes::copy_from_slice(&chunk[..size]))
                .map_err(|close| Failure::failed(close.reason))?;
            for (answered, response) in responses {
                if answered == correlation {
                    return Ok(response);
                }
            }
        }
    }
}
