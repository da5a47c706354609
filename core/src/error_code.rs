//! Kafka's error codes (`Errors.java`), those that this broker answers.

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// A Kafka error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Default)]
        #[repr(i16)]
        pub enum ErrorCode { $($(#[$doc])* $name = $value),* }

        impl ErrorCode {
            /// The number on the wire.
            pub fn code(self) -> i16 { self as i16 }
            /// The code for a number on the wire; unknown numbers are `None`.
            pub fn from_code(code: i16) -> Option<ErrorCode> {
                match code { $($value => Some(ErrorCode::$name),)* _ => None }
            }
            /// Kafka's name, such as `UNKNOWN_TOPIC_OR_PARTITION`.
            pub fn name(self) -> &'static str { match self { $(ErrorCode::$name => $text),* } }
        }
    };
}

error_codes! {
    /// The server met an unexpected error.
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR";
    /// Success.
    #[default]
    None = 0, "NONE";
    /// The offset lies outside the partition's log.
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE";
    /// The batch failed its CRC or is malformed.
    CorruptMessage = 2, "CORRUPT_MESSAGE";
    /// No such topic or partition here.
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION";
    /// The partition has no leader now.
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE";
    /// This broker does not lead the partition.
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER";
    /// The request timed out.
    RequestTimedOut = 7, "REQUEST_TIMED_OUT";
    /// The batch is larger than `max.message.bytes`.
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE";
    /// No coordinator is available.
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE";
    /// The topic name or operation is invalid.
    InvalidTopic = 17, "INVALID_TOPIC_EXCEPTION";
    /// The batch is larger than a segment of its topic may be.
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE";
    /// `acks` is none of -1, 0, 1.
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS";
    /// The client may not touch this topic; nobody may touch the broker's own.
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED";
    /// The record's timestamp is out of bounds.
    InvalidTimestamp = 32, "INVALID_TIMESTAMP";
    /// A SASL message where none is expected.
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE";
    /// The API version is not supported.
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION";
    /// A topic of this name exists.
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS";
    /// The number of partitions is invalid.
    InvalidPartitions = 37, "INVALID_PARTITIONS";
    /// The replication factor is invalid.
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR";
    /// The replica assignment is invalid.
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT";
    /// A config is invalid.
    InvalidConfig = 40, "INVALID_CONFIG";
    /// This broker is not the controller.
    NotController = 41, "NOT_CONTROLLER";
    /// The request is malformed.
    InvalidRequest = 42, "INVALID_REQUEST";
    /// The message format does not support the request.
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT";
    /// A limit of the broker forbids it.
    PolicyViolation = 44, "POLICY_VIOLATION";
    /// The producer's sequence is out of order.
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER";
    /// The batch was appended before and its offset is no longer known.
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER";
    /// The producer's epoch is older than the latest.
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH";
    /// Transactional ids are not available here.
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED";
    /// A disk error reached this partition.
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR";
    /// The broker has no state for this producer id.
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID";
    /// The fetch session is unknown.
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND";
    /// The fetch session's epoch is wrong.
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH";
    /// The leader epoch is older than the broker's.
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH";
    /// The leader epoch is newer than the broker's.
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH";
    /// The compression type is not supported by the version.
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE";
    /// A record failed validation.
    InvalidRecord = 87, "INVALID_RECORD";
    /// So many changes at once are too many: try again.
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED";
    /// The topic id is unknown.
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID";
    /// The topic id does not match the name.
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID";
}
