//! SaslHandshake (17) and SaslAuthenticate (36) where the listener asks for no SASL: refused, and the
//! connection goes on.
//!
//! Kafka advertises both on every listener and answers ILLEGAL_SASL_STATE (`KafkaApis`). A client set
//! up for SASL then tells its user so; if they were not advertised, librdkafka would send bare SASL
//! bytes, and the user would see a connection that closes without a reason.

use bytes::Bytes;
use seedlog_core::codec::{Codec, Malformed, Reader, Visit, Writer};
use seedlog_core::error_code::ErrorCode;

/// SaslHandshake's key.
pub const SASL_HANDSHAKE: i16 = 17;
/// SaslAuthenticate's key.
pub const SASL_AUTHENTICATE: i16 = 36;

/// The answer, if `key` is one of the two: header tags and body.
pub fn refuse(key: i16, reader: &mut Reader) -> Result<Option<Vec<Bytes>>, Malformed> {
    let mut writer = Writer::new(reader.version(), reader.flexible());
    writer.tags()?;
    match key {
        SASL_HANDSHAKE => {
            reader.string(&mut String::new())?;
            handshake_response(&mut writer)?;
        }
        SASL_AUTHENTICATE => {
            let mut bytes = None;
            reader.records(&mut bytes)?;
            bytes.ok_or(Malformed("the client's bytes are null"))?;
            reader.tags()?;
            authenticate_response(&mut writer)?;
        }
        _ => return Ok(None),
    }
    Ok(Some(writer.finish()))
}

fn handshake_response(c: &mut Writer) -> Visit {
    c.error(&mut { ErrorCode::IllegalSaslState })?;
    // Mechanisms: none are enabled here.
    c.array(&mut Vec::new(), |c, name: &mut String| c.string(name))
}

fn authenticate_response(c: &mut Writer) -> Visit {
    c.error(&mut { ErrorCode::IllegalSaslState })?;
    let text = "this listener takes clients without SASL";
    c.nullable_string(&mut Some(text.to_string()))?;
    // Bytes to the client: none, and never null.
    c.records(&mut Some(Vec::new()))?;
    if c.version() >= 1 {
        c.i64(&mut 0)?;
    }
    c.tags()
}
