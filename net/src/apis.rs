//! The APIs served: key, versions, first flexible version. Advertised as they stand here.

/// One API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    /// Kafka's key.
    pub key: i16,
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served.
    pub max: i16,
    /// First version with compact lengths and tagged fields.
    pub flexible: i16,
    /// Lowest version advertised, where that differs.
    pub advertised_min: i16,
}

const fn api(key: i16, name: &'static str, min: i16, max: i16, flexible: i16) -> Api {
    Api {
        key,
        name,
        min,
        max,
        flexible,
        advertised_min: min,
    }
}

/// ApiVersions' key: this layer answers it by itself.
pub const API_VERSIONS: i16 = 18;

/// Produce's key.
pub const PRODUCE: i16 = 0;

/// No version of the API is flexible.
const NEVER: i16 = i16::MAX;

/// Every API served. Produce is advertised from 0, as released librdkafka versions read message
/// format features from it (KAFKA-18659); 0-2 are refused.
pub const APIS: [Api; 14] = [
    Api {
        advertised_min: 0,
        ..api(PRODUCE, "Produce", 3, 13, 9)
    },
    api(1, "Fetch", 4, 18, 12),
    api(2, "ListOffsets", 1, 11, 6),
    api(3, "Metadata", 0, 13, 9),
    api(10, "FindCoordinator", 0, 5, 3),
    api(17, "SaslHandshake", 0, 1, NEVER),
    api(API_VERSIONS, "ApiVersions", 0, 4, 3),
    api(19, "CreateTopics", 2, 7, 5),
    api(20, "DeleteTopics", 1, 6, 4),
    api(21, "DeleteRecords", 0, 2, 2),
    api(22, "InitProducerId", 0, 5, 2),
    api(23, "OffsetForLeaderEpoch", 2, 4, 4),
    api(36, "SaslAuthenticate", 0, 2, 2),
    api(37, "CreatePartitions", 0, 3, 2),
];

/// The API with this key, if it is served.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key == key)
}
