//! Leader epochs of a log: where each begins and ends (`LeaderEpochFileCache.java`).

use super::Replica;
use crate::error_code::ErrorCode;

impl Replica {
    /// Where the asked epoch ends, as `LeaderEpochFileCache.endOffsetFor` answers a client: the largest
    /// epoch not above it that is kept, and the offset where the next one begins. One below all that
    /// are kept ended where the first of these begins: a consumer that stands there has lost nothing,
    /// and is not to be told that its epoch is unknown. (-1, -1) for one that has not begun, and for -1.
    ///
    /// The leader's own epoch counts from its start on, as in Kafka, though it is only noted in
    /// `epochs` with its first record: until then it begins at the log's end.
    pub fn epoch_end(&self, asked: i32) -> (i32, i64) {
        if asked == -1 || asked > self.leader_epoch {
            return (-1, -1);
        }
        if asked == self.leader_epoch {
            return (asked, self.log_end);
        }
        let later = self.epochs.partition_point(|(epoch, _)| *epoch <= asked);
        let end = self.epochs.get(later);
        let end = end.map_or(self.log_end, |(_, start)| *start);
        let floor = later.checked_sub(1).and_then(|at| self.epochs.get(at));
        (floor.map_or(asked, |(epoch, _)| *epoch), end)
    }

    /// Where the log of a reader has parted from this one, if it has: its last record is of epoch `last`,
    /// and it goes on at `offset` (KIP-595, `Partition.readRecords`). Answered is the largest epoch of this
    /// log not above `last`, and its end. A reader without a last epoch, which is negative then, is not
    /// judged.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE where the epoch has not begun, or the log begins after `offset`.
    pub fn diverging(&self, last: i32, offset: i64) -> Result<Option<(i32, i64)>, ErrorCode> {
        if last < 0 {
            return Ok(None);
        }
        let (epoch, end) = self.epoch_end(last);
        if epoch == -1 || offset < self.log_start {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok((epoch < last || end < offset).then_some((epoch, end)))
    }

    /// Note that `epoch` begins at `offset`, if it is new. One that holds no record, as the log start
    /// has passed all of them, is forgotten (`LeaderEpochFileCache.java`).
    pub fn note_epoch(&mut self, epoch: i32, offset: i64) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.retain(|(_, start)| *start < offset);
            self.epochs.push((epoch, offset));
        }
    }

    /// Epochs that ended before the log starts are forgotten; the first one begins with the log.
    pub(super) fn trim_epochs(&mut self) {
        let start = self.log_start;
        let later = self
            .epochs
            .iter()
            .rposition(|(_, first)| *first <= start)
            .unwrap_or(0);
        self.epochs.drain(..later);
        if let Some((_, first)) = self.epochs.first_mut() {
            *first = (*first).max(start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionId, Uuid};

    fn replica(leader_epoch: i32, log_end: i64, epochs: &[(i32, i64)]) -> Replica {
        let id = PartitionId {
            topic: Uuid([7; 16]),
            index: 0,
        };
        Replica {
            leader_epoch,
            log_end,
            epochs: epochs.to_vec(),
            ..Replica::empty(id, Uuid([1; 16]), "topics/a-0".into())
        }
    }

    /// (asked, epoch answered, offset answered), after `LeaderEpochFileCache.endOffsetFor`.
    fn answers(replica: &Replica, wanted: &[(i32, i32, i64)]) {
        for (asked, epoch, end) in wanted {
            let told = replica.epoch_end(*asked);
            assert_eq!(told, (*epoch, *end), "{asked} of {:?}", replica.epochs);
        }
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_kept_begins() {
        let kept = replica(9, 30, &[(3, 10), (5, 20)]);
        let below = [(-1, -1, -1), (0, 0, 10), (2, 2, 10)];
        let among = [(3, 3, 20), (4, 3, 20), (5, 5, 30), (7, 5, 30)];
        let above = [(9, 9, 30), (10, -1, -1), (i32::MAX, -1, -1)];
        for wanted in [&below[..], &among, &above] {
            answers(&kept, wanted);
        }
    }

    #[test]
    fn a_reader_that_went_another_way_is_told_where() {
        // After what Kafka 4.3 answered with epochs 0 and 2 at 0 and 2, led in epoch 2.
        let log = Replica {
            log_start: 1,
            ..replica(2, 3, &[(0, 1), (2, 2)])
        };
        for (last, offset, told) in [
            (-1, 0, Ok(None)),
            (-7, 90, Ok(None)),
            (0, 1, Ok(None)),
            (0, 2, Ok(None)),
            (0, 3, Ok(Some((0, 2)))),
            (1, 1, Ok(Some((0, 2)))),
            (1, 9, Ok(Some((0, 2)))),
            (2, 3, Ok(None)),
            (2, 4, Ok(Some((2, 3)))),
            (3, 2, Err(ErrorCode::OffsetOutOfRange)),
            (0, 0, Err(ErrorCode::OffsetOutOfRange)),
            (1, 0, Err(ErrorCode::OffsetOutOfRange)),
        ] {
            assert_eq!(log.diverging(last, offset), told, "{last} at {offset}");
        }
    }

    #[test]
    fn a_log_without_a_record_answers_for_epochs_gone_by() {
        answers(
            &replica(2, 0, &[]),
            &[(-1, -1, -1), (0, 0, 0), (1, 1, 0), (2, 2, 0), (3, -1, -1)],
        );
        // Ten records came in epoch 2: who stood at 0 in epoch 1 goes on from there.
        answers(&replica(2, 10, &[(2, 0)]), &[(1, 1, 0), (2, 2, 10)]);
    }

    #[test]
    fn an_emptied_log_says_where_it_ends() {
        let mut emptied = replica(2, 12, &[(1, 0), (2, 7)]);
        emptied.log_start = 7;
        emptied.trim_epochs();
        answers(&emptied, &[(0, 0, 7), (1, 1, 7), (2, 2, 12)]);
        emptied.log_start = 12;
        emptied.trim_epochs();
        answers(&emptied, &[(0, 0, 12), (1, 1, 12), (2, 2, 12), (3, -1, -1)]);
        // A later life appends: the epoch that holds nothing any more is forgotten, and still answered.
        emptied.leader_epoch = 4;
        answers(&emptied, &[(1, 1, 12), (2, 2, 12), (3, 2, 12), (4, 4, 12)]);
        emptied.note_epoch(4, 12);
        emptied.log_end = 15;
        answers(&emptied, &[(2, 2, 12), (3, 3, 12), (4, 4, 15)]);
    }
}
