//! Leader epochs as clients see them: does theirs fit, and where one ends (KIP-101, KIP-320).

use super::{Part, PartAsk, Shard};
use crate::api::*;
use crate::error_code::ErrorCode;
use crate::ids::PartitionId;
use crate::partition::Replica;

impl Shard {
    /// Does the client's view of the leader epoch fit (KIP-320)? Only -1 is no view
    /// (`RequestUtils.getLeaderEpoch`).
    pub(super) fn epoch_error(replica: &Replica, current: i32) -> Option<ErrorCode> {
        match current {
            -1 => None,
            epoch if epoch < replica.leader_epoch => Some(ErrorCode::FencedLeaderEpoch),
            epoch if epoch > replica.leader_epoch => Some(ErrorCode::UnknownLeaderEpoch),
            _ => None,
        }
    }

    /// Where the asked epoch ends here (OffsetForLeaderEpoch).
    pub(super) fn epoch_end(&self, id: PartitionId, current: i32, asked: i32) -> Part {
        let index = id.index as i32;
        let failed = |code| PartAsk::Epoch(current, asked).failed(index, code, None);
        let Some(replica) = self.replicas.get(&id) else {
            return failed(ErrorCode::UnknownTopicOrPartition);
        };
        if let Some(code) = Self::epoch_error(replica, current) {
            return failed(code);
        }
        let (leader_epoch, end_offset) = replica.epoch_end(asked);
        Part::Epoch(EpochEnd {
            index,
            error: ErrorCode::None,
            leader_epoch,
            end_offset,
        })
    }
}
