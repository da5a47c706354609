//! ApiVersions (18), answered here: its header is v0 for ever, and a version that is not served is
//! answered in v0 with the range (KIP-511).

use seedlog_core::codec::{Codec, Malformed, Reader, Visit, Writer};
use seedlog_core::error_code::ErrorCode;

use crate::apis::{APIS, API_VERSIONS};

/// Read the body, and tell whether the client may be told the versions: what it calls itself from v3 on
/// must be letters, digits, '.' and '-' with a letter or digit at both ends (KIP-511,
/// `ApiVersionsRequest.isValid`). Metrics bear these names.
pub fn api_versions_request(c: &mut Reader) -> Result<ErrorCode, Malformed> {
    if c.version() < 3 {
        return Ok(ErrorCode::None);
    }
    let (mut name, mut version) = (String::new(), String::new());
    c.string(&mut name)?;
    c.string(&mut version)?;
    c.tags()?;
    Ok(match is_client_name(&name) && is_client_name(&version) {
        true => ErrorCode::None,
        false => ErrorCode::InvalidRequest,
    })
}

fn is_client_name(name: &str) -> bool {
    let (name, outer) = (name.as_bytes(), |c: &u8| c.is_ascii_alphanumeric());
    let inner = |c: &u8| outer(c) || matches!(c, b'.' | b'-');
    name.first().is_some_and(outer) && name.last().is_some_and(outer) && name.iter().all(inner)
}

/// Write the body for a request of `version`.
pub fn api_versions_response(c: &mut Writer, error: ErrorCode) -> Visit {
    c.error(&mut { error })?;
    let mut keys: Vec<(i16, i16, i16)> = match error {
        ErrorCode::None => APIS
            .iter()
            .map(|api| (api.key, api.advertised_min, api.max))
            .collect(),
        ErrorCode::InvalidRequest => Vec::new(),
        _ => APIS
            .iter()
            .filter(|api| api.key == API_VERSIONS)
            .map(|api| (api.key, api.advertised_min, api.max))
            .collect(),
    };
    c.array(&mut keys, |c, (key, min, max)| {
        c.i16(key)?;
        c.i16(min)?;
        c.i16(max)?;
        c.tags()
    })?;
    if c.version() >= 1 {
        c.fixed_i32(0)?;
    }
    c.tags()
}
