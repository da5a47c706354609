//! Where the log starts: retention by time and bytes, and DeleteRecords.

use super::{Replica, Segment};

/// What retention asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The log is to start here.
    pub start: Option<i64>,
    /// The tail is to be written behind: what retention drops in pieces must be in segments.
    pub write_behind: bool,
}

/// A segment's share in retention, or that of the segment that is being filled: what its files hold
/// and the tail that is to join them.
struct Share {
    size: u64,
    max_timestamp: i64,
    begun_ms: i64,
    last_ms: i64,
}

impl Share {
    fn of(segment: &Segment) -> Share {
        Share {
            size: segment.size,
            max_timestamp: segment.max_timestamp,
            begun_ms: segment.begun_ms,
            last_ms: segment.last_ms.max(segment.begun_ms),
        }
    }
}

impl Replica {
    /// What retention asks for now. Whole segments go, oldest first; the one being filled too, with the
    /// batches that are only in the journal, so that a quiet topic expires (Kafka rolls it and deletes
    /// it): the log then starts at its end, and offsets go on. Nothing above the high watermark goes.
    ///
    /// A segment's age counts from its largest timestamp, held between the times when its first and
    /// its last batch were appended (and at most `segment.ms` before the last): a producer whose clock is wrong, or that brings in old records,
    /// neither has them deleted at once nor keeps them for ever. Kafka has the first half of this only
    /// as a bound on what it accepts (KIP-937), and where a topic lifts that bound
    /// (`message.timestamp.after.max.ms`) a stamp ten days ahead keeps its segment ten days longer, and
    /// one of the year 9999 for ever, with all that follows it. Here records go at the latest when
    /// `retention.ms` have passed since the segment's last append, which is what an operator who sets
    /// it for space or by law relies on; nobody needs records to stay for a stamp's sake.
    /// `trust` is on only for M78.
    ///
    /// `written` says when a journal block was written; `now_ms` for one that is not yet.
    pub fn retention(&self, now_ms: i64, written: &dyn Fn(u64) -> i64, trust: bool) -> Retention {
        let mut due = Retention::default();
        if self.quarantined {
            return due;
        }
        let closed = self.closed_segments(written);
        let sizes = self.segments.iter().map(|segment| segment.size);
        let mut bytes: u64 = sizes.sum::<u64>() + self.unwritten_bytes();
        let mut all = true;
        for segment in &self.segments[..closed] {
            let share = Share::of(segment);
            if !self.is_due(&share, bytes, now_ms, trust) {
                all = false;
                break;
            }
            bytes -= share.size;
            due.start = Some(segment.end);
        }
        if self.job.is_none() {
            self.judge_active(closed, (bytes, all), now_ms, written, trust, &mut due);
        }
        let moves = |start: &i64| *start > self.log_start && *start <= self.high_watermark;
        due.start = due.start.filter(moves);
        due
    }

    /// Segments that nothing is added to any more.
    fn closed_segments(&self, written: &dyn Fn(u64) -> i64) -> usize {
        let count = self.segments.len();
        match self.tail.front() {
            Some(front) if self.job.is_none() => {
                let joins = !self.must_roll(front.row.size, written(front.seq));
                count - usize::from(joins)
            }
            _ => count.saturating_sub(1),
        }
    }

    /// The segment that is being filled. `bytes` are its own and, if not `all` before it go, more.
    fn judge_active(
        &self,
        closed: usize,
        (bytes, all): (u64, bool),
        now_ms: i64,
        written: &dyn Fn(u64) -> i64,
        trust: bool,
        due: &mut Retention,
    ) {
        let mut share = self.segments.get(closed).map(Share::of);
        if let (Some(front), Some(back)) = (self.tail.front(), self.tail.back()) {
            let (begun_ms, last_ms) = (written(front.seq), written(back.seq));
            let share = share.get_or_insert(Share {
                size: 0,
                max_timestamp: -1,
                begun_ms,
                last_ms,
            });
            share.size += self.tail_bytes;
            share.last_ms = share.last_ms.max(last_ms);
        }
        let Some(mut share) = share.filter(|share| share.size > 0) else {
            return;
        };
        // Kafka would have rolled while it was filled: written behind it becomes several segments. What is
        // written already stays as it is, however long it was filled while segments did not roll.
        let lasted = share.last_ms.saturating_sub(share.begun_ms);
        let spans = !self.tail.is_empty() && lasted >= self.config.segment_ms;
        // Nothing is younger than its first append says, so the tail is rarely gone through.
        let (limit, _) = self.config.retention();
        let may_be_old = limit >= 0 && (trust || now_ms.saturating_sub(share.begun_ms) > limit);
        if may_be_old {
            let times = self.tail.iter().map(|batch| batch.row.max_timestamp);
            share.max_timestamp = times.fold(share.max_timestamp, i64::max);
        }
        let expired = all && !spans && self.is_due(&share, bytes, now_ms, trust);
        if expired && self.log_end <= self.high_watermark {
            due.start = Some(self.log_end);
            return;
        }
        let old = now_ms.saturating_sub(share.begun_ms) >= self.config.segment_ms;
        let full = self.tail_bytes as i64 >= self.config.segment_bytes;
        due.write_behind = (old || full) && !self.tail.is_empty();
    }

    /// A segment is too old, or the log of `bytes` in all, it and what comes after it, is large enough
    /// without it.
    fn is_due(&self, share: &Share, bytes: u64, now_ms: i64, trust: bool) -> bool {
        let time = match trust {
            true => share.max_timestamp.max(0),
            false => {
                // A wall clock that was set back makes the last append seem older than the first.
                let last = share.last_ms.max(share.begun_ms);
                // One that was filled for longer than a segment may be, as segments grow where no more
                // are listed, has records much younger than its first.
                let first = last.saturating_sub(self.config.segment_ms.max(0));
                share.max_timestamp.clamp(share.begun_ms.max(first), last)
            }
        };
        let age = now_ms.saturating_sub(time);
        let (most_ms, limit) = self.config.retention();
        let old = most_ms >= 0 && age > most_ms;
        old || (limit >= 0 && bytes.saturating_sub(share.size) >= limit as u64)
    }

    fn unwritten_bytes(&self) -> u64 {
        match self.job {
            Some(_) => 0,
            None => self.tail_bytes,
        }
    }

    /// The log start is durably at `offset`: segments below it are no longer listed, and their files
    /// go once a manifest without them is durable; so do batches that are only in the journal. Returns
    /// how many segments were dropped.
    pub fn start_at(&mut self, offset: i64) -> u64 {
        self.log_start = self.log_start.max(offset);
        let dropped = self.drop_passed();
        self.trim_epochs();
        dropped
    }

    /// Drop the segments that the log start has passed, and owe a manifest that says so.
    pub fn drop_passed(&mut self) -> u64 {
        let mut dropped = 0;
        // The newest segment stays while a write-behind may be using it.
        let kept = usize::from(self.job.is_some());
        while self.segments.len() > kept && self.segments[0].end <= self.log_start {
            let gone = self.segments.remove(0);
            self.doomed.push(gone.base);
            dropped += 1;
        }
        self.manifest_owed |= dropped > 0 || self.passed() > 0;
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, parse_head, BatchSpec, HEAD_LEN};
    use crate::ids::{PartitionId, Uuid};

    /// Of block 1 at 1,000 ms, of block 2 at 2,000 and so on; what is only staged, now.
    fn written(seq: u64) -> i64 {
        match seq {
            0 => 9_000,
            seq => seq as i64 * 1_000,
        }
    }

    /// One record per batch, each in a block of its own and as old as that; `durable` of them are.
    fn with_tail(batches: u64, durable: i64) -> Replica {
        let id = PartitionId {
            topic: Uuid([7; 16]),
            index: 0,
        };
        let mut replica = Replica::empty(id, Uuid([1; 16]), "topics/a-0".into());
        for seq in 1..=batches {
            let batch = build_batch(BatchSpec::plain(written(seq)), &[(None, b"a")]);
            let mut head = parse_head(&batch).expect("a head");
            head.base_offset = seq as i64 - 1;
            let pieces = [batch.slice(..HEAD_LEN), batch.slice(HEAD_LEN..)];
            replica.push_tail(&head, 0, pieces, seq);
        }
        (replica.durable_end, replica.high_watermark) = (durable, durable);
        replica
    }

    /// Filled from 1,000 to 3,000 ms.
    fn segment(base: i64, end: i64) -> Segment {
        Segment {
            base,
            end,
            size: 100,
            row_count: 1,
            max_timestamp: 3_000,
            begun_ms: 1_000,
            last_ms: 3_000,
            rows: None,
        }
    }

    fn start(replica: &Replica, now_ms: i64) -> Option<i64> {
        replica.retention(now_ms, &written, false).start
    }

    #[test]
    fn a_record_is_kept_for_retention_ms_and_not_longer() {
        // `LogSegment` goes if now - its largest timestamp > retention.ms (`UnifiedLog.java`).
        let mut replica = with_tail(3, 3);
        replica.config.retention_ms = 5_000;
        assert_eq!(start(&replica, 8_000), None);
        assert_eq!(start(&replica, 8_001), Some(3));
        replica.config.retention_ms = -1;
        assert_eq!(start(&replica, i64::MAX), None);
        // Any negative size is none.
        for bytes in [-1, -2, i64::MIN] {
            replica.config.retention_bytes = bytes;
            assert_eq!(start(&replica, i64::MAX), None, "{bytes}");
        }
    }

    #[test]
    fn a_segment_that_grew_beyond_segment_ms_expires_once_nothing_is_to_be_added() {
        let mut replica = with_tail(0, 0);
        (replica.config.retention_ms, replica.config.segment_ms) = (5_000, 1_000);
        replica.segments = vec![segment(0, 3)];
        replica.made_durable(3, true);
        replica.log_end = 3;
        assert_eq!(start(&replica, 8_000), None);
        assert_eq!(start(&replica, 8_001), Some(3));
    }

    #[test]
    fn the_last_records_of_a_segment_that_grew_beyond_segment_ms_do_not_expire_with_its_first() {
        let mut replica = with_tail(0, 0);
        (replica.config.retention_ms, replica.config.segment_ms) = (5_000, 800);
        replica.segments = vec![segment(0, 3)];
        replica.segments[0].max_timestamp = 17;
        replica.made_durable(3, true);
        replica.log_end = 3;
        assert_eq!(start(&replica, 7_200), None);
        assert_eq!(start(&replica, 7_201), Some(3));
        // As long as a segment may be, its first append counts.
        replica.config.segment_ms = 2_000;
        assert_eq!(start(&replica, 6_000), None);
        assert_eq!(start(&replica, 6_001), Some(3));
    }

    #[test]
    fn a_segment_that_a_failed_write_behind_kept_goes_if_the_log_start_has_passed_it() {
        let mut replica = with_tail(6, 3);
        let written_behind = |replica: &mut Replica| {
            let asked = replica.begin_write_behind(&written, u64::MAX, &mut 0);
            assert!(!asked.is_empty() && replica.job.is_some());
        };
        written_behind(&mut replica);
        replica.manifest_durable(3, 9, &[], true);
        (replica.durable_end, replica.high_watermark) = (6, 6);
        written_behind(&mut replica);
        let ends = |replica: &Replica| -> Vec<(i64, i64)> {
            let segments = replica.segments.iter();
            segments.map(|it| (it.base, it.end)).collect()
        };
        assert_eq!(ends(&replica), [(0, 6)]);
        replica.start_at(5);
        assert_eq!(ends(&replica), [(0, 6)], "it is being written to");
        replica.job_failed();
        assert_eq!((ends(&replica), &replica.doomed[..]), (vec![], &[0][..]));
        assert!(replica.manifest_owed);
        // What stands in the journal fits together as well.
        let mut read_back = with_tail(6, 6);
        let manifest = replica.manifest(replica.covered_end());
        read_back.adopt_manifest(manifest, 10).expect("a manifest");
        assert_eq!((read_back.log_start, read_back.fault()), (5, None));
    }

    #[test]
    fn nothing_goes_that_is_not_below_the_high_watermark() {
        let mut replica = with_tail(3, 2);
        (replica.config.retention_ms, replica.config.segment_ms) = (1, 10_000);
        let due = replica.retention(60_000, &written, false);
        assert_eq!((due.start, due.write_behind), (None, true), "it rolls");
        replica.high_watermark = 3;
        assert_eq!(start(&replica, 60_000), Some(3));
        // Segments hold what is durable here, and yet one may end above what all replicas hold.
        replica.segments = vec![segment(0, 2), segment(2, 3)];
        replica.tail.clear();
        for (watermark, wanted) in [(1, None), (2, Some(2)), (3, Some(3))] {
            replica.high_watermark = watermark;
            assert_eq!(start(&replica, 60_000), wanted, "{watermark}");
        }
        replica.log_start = 3;
        assert_eq!(start(&replica, 60_000), None, "it is there already");
    }
}
