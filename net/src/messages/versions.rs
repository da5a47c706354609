//! ApiVersions (18), answered here: its header is v0 for ever, and a version that is not served is
//! answered in v0 with the range (KIP-511).

use seedlog_core::codec::{Codec, Visit, Writer};
use seedlog_core::error_code::ErrorCode;

use crate::apis::{APIS, API_VERSIONS};

/// Write the body for a request of `version`.
pub fn api_versions_response(c: &mut Writer, error: ErrorCode) -> Visit {
    c.error(&mut { error })?;
    let mut keys: Vec<(i16, i16, i16)> = match error {
        ErrorCode::None => APIS
            .iter()
            .map(|api| (api.key, api.advertised_min, api.max))
            .collect(),
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
