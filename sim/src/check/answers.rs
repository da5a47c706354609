//! Which answer an API may give, and what must be so in the world for it: one table, so that an error
//! which nothing explains is a failure, whoever asked.

use seedlog_core::error_code::ErrorCode;

/// What was asked. A lookup by time reads the log, the other questions of ListOffsets do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Kafka's")]
pub enum Api {
    Produce,
    Fetch,
    ListOffsets,
    OffsetForTime,
    OffsetForLeaderEpoch,
    DeleteRecords,
    InitProducerId,
    Metadata,
    CreateTopics,
    DeleteTopics,
    CreatePartitions,
}

/// What is so in the world, as far as it can be told from outside, while a request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing is wrong with the request: it may succeed.
    Sound,
    /// Damage lies in the range it reads, or a read failed meanwhile.
    Damaged,
    /// The disk was full, slow or broken meanwhile: the journal may have had no room.
    NoRoom,
    /// It is open for as long as it said it would wait, and the broker's least wait.
    Slow,
    /// A batch of the same producer that came before it was refused.
    Gap,
    /// A batch of the same producer that came after it is in the log and none that came before it: it was
    /// refused when the broker did not know the producer yet, and then took any sequence (KIP-360).
    Overtaken,
    /// The log may start after the offset.
    BelowStart,
    /// The log may end before the offset.
    BeyondEnd,
    /// The leader epoch is not the current one any more.
    OldEpoch,
    /// No leader has had that epoch yet.
    NewEpoch,
    /// The batch's CRC is wrong on purpose.
    BadCrc,
    /// So are its counts, or what its compression says.
    BadContent,
    /// Its timestamps are out of bounds.
    BadTime,
    /// It is larger than the topic or the journal takes.
    TooLarge,
    /// There is no such topic or partition.
    Unknown,
    /// There is no topic of this id.
    UnknownId,
    /// There is such a topic.
    Exists,
    /// A number of partitions that cannot be.
    BadPartitions,
    /// More replicas than brokers.
    BadReplicas,
    /// A config that cannot be.
    BadConfig,
}

/// What may be answered, and why. Nothing else may.
const TABLE: &[(Api, ErrorCode, Why)] = {
    use Api::*;
    use ErrorCode as E;
    &[
        (Produce, E::None, Why::Sound),
        (Produce, E::KafkaStorageError, Why::NoRoom),
        (Produce, E::OutOfOrderSequenceNumber, Why::Gap),
        (Produce, E::OutOfOrderSequenceNumber, Why::Overtaken),
        (Produce, E::RequestTimedOut, Why::Slow),
        (Produce, E::CorruptMessage, Why::BadCrc),
        (Produce, E::InvalidRecord, Why::BadContent),
        (Produce, E::InvalidTimestamp, Why::BadTime),
        (Produce, E::MessageTooLarge, Why::TooLarge),
        (Produce, E::UnknownTopicOrPartition, Why::Unknown),
        (Produce, E::UnknownTopicId, Why::UnknownId),
        (Fetch, E::None, Why::Sound),
        (Fetch, E::KafkaStorageError, Why::Damaged),
        (Fetch, E::OffsetOutOfRange, Why::BelowStart),
        (Fetch, E::OffsetOutOfRange, Why::BeyondEnd),
        (Fetch, E::FencedLeaderEpoch, Why::OldEpoch),
        (Fetch, E::UnknownLeaderEpoch, Why::NewEpoch),
        (Fetch, E::UnknownTopicOrPartition, Why::Unknown),
        (Fetch, E::UnknownTopicId, Why::UnknownId),
        (ListOffsets, E::None, Why::Sound),
        (ListOffsets, E::FencedLeaderEpoch, Why::OldEpoch),
        (ListOffsets, E::UnknownLeaderEpoch, Why::NewEpoch),
        (OffsetForTime, E::None, Why::Sound),
        (OffsetForTime, E::KafkaStorageError, Why::Damaged),
        (OffsetForTime, E::FencedLeaderEpoch, Why::OldEpoch),
        (OffsetForTime, E::UnknownLeaderEpoch, Why::NewEpoch),
        (OffsetForLeaderEpoch, E::None, Why::Sound),
        (OffsetForLeaderEpoch, E::FencedLeaderEpoch, Why::OldEpoch),
        (OffsetForLeaderEpoch, E::UnknownLeaderEpoch, Why::NewEpoch),
        (DeleteRecords, E::None, Why::Sound),
        (DeleteRecords, E::OffsetOutOfRange, Why::BeyondEnd),
        (DeleteRecords, E::RequestTimedOut, Why::Slow),
        (InitProducerId, E::None, Why::Sound),
        (Metadata, E::None, Why::Sound),
        (Metadata, E::UnknownTopicOrPartition, Why::Unknown),
        (Metadata, E::UnknownTopicId, Why::UnknownId),
        (CreateTopics, E::None, Why::Sound),
        (CreateTopics, E::TopicAlreadyExists, Why::Exists),
        (CreateTopics, E::InvalidPartitions, Why::BadPartitions),
        (CreateTopics, E::InvalidReplicationFactor, Why::BadReplicas),
        (CreateTopics, E::InvalidConfig, Why::BadConfig),
        (CreateTopics, E::RequestTimedOut, Why::Slow),
        (DeleteTopics, E::None, Why::Sound),
        (DeleteTopics, E::UnknownTopicOrPartition, Why::Unknown),
        (DeleteTopics, E::RequestTimedOut, Why::Slow),
        (CreatePartitions, E::None, Why::Sound),
        (CreatePartitions, E::InvalidPartitions, Why::BadPartitions),
        (CreatePartitions, E::UnknownTopicOrPartition, Why::Unknown),
        (CreatePartitions, E::RequestTimedOut, Why::Slow),
    ]
};

/// True if this answer is explained.
pub fn is_allowed(api: Api, code: ErrorCode, why: &[Why]) -> bool {
    let mut rows = TABLE.iter();
    rows.any(|(of, answer, needs)| (*of, *answer) == (api, code) && why.contains(needs))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row passes with its reason, and is refused without it, whatever else is so.
    #[test]
    fn every_row_needs_its_reason() {
        for (api, code, why) in TABLE {
            assert!(is_allowed(*api, *code, &[*why]), "{api:?} {code:?}");
            let other = |row: &&(Api, ErrorCode, Why)| (row.0, row.1) != (*api, *code);
            let others: Vec<Why> = TABLE.iter().filter(other).map(|row| row.2).collect();
            let own: Vec<Why> = TABLE
                .iter()
                .filter(|row| !other(row))
                .map(|row| row.2)
                .collect();
            let others: Vec<Why> = others
                .into_iter()
                .filter(|why| !own.contains(why))
                .collect();
            assert!(!is_allowed(*api, *code, &others), "{api:?} {code:?}");
            assert!(!is_allowed(*api, *code, &[]));
        }
        let all: Vec<Why> = TABLE.iter().map(|row| row.2).collect();
        for code in [ErrorCode::UnknownServerError, ErrorCode::InvalidRequest] {
            assert!(!is_allowed(Api::Produce, code, &all), "{code:?}");
        }
        assert!(!is_allowed(
            Api::ListOffsets,
            ErrorCode::KafkaStorageError,
            &all
        ));
        assert!(!is_allowed(
            Api::CreateTopics,
            ErrorCode::KafkaStorageError,
            &all
        ));
    }
}
