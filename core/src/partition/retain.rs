//! Where the log starts: retention by time and bytes, and DeleteRecords.

use super::Replica;

impl Replica {
    /// The offset that retention lets the log start at, if it moved. Only whole closed segments go.
    ///
    /// A segment's age counts from its largest timestamp, held between the times when it was begun
    /// and last written to: a producer whose clock is wrong, or that brings in old records, neither
    /// has them deleted at once nor keeps them for ever. `trust` is on only for M78.
    pub fn retention_start(&self, now_ms: i64, trust: bool) -> Option<i64> {
        let closed = self.segments.len().saturating_sub(1);
        let mut start = None;
        let mut bytes: u64 = self
            .segments
            .iter()
            .map(|segment| segment.size)
            .sum::<u64>()
            + self.unwritten_bytes();
        for segment in &self.segments[..closed] {
            let (begun, last) = (segment.begun_ms, segment.last_ms.max(segment.begun_ms));
            let time = match trust {
                true => segment.max_timestamp.max(0),
                false => segment.max_timestamp.clamp(begun, last),
            };
            let age = now_ms.saturating_sub(time);
            let old = self.config.retention_ms >= 0 && age > self.config.retention_ms;
            let limit = self.config.retention_bytes;
            let big = limit >= 0 && bytes.saturating_sub(segment.size) >= limit as u64;
            if !(old || big) {
                break;
            }
            bytes -= segment.size;
            start = Some(segment.end);
        }
        start.filter(|start| *start > self.log_start && *start <= self.high_watermark)
    }

    fn unwritten_bytes(&self) -> u64 {
        match self.job {
            Some(_) => 0,
            None => self.tail_bytes,
        }
    }

    /// The log start is durably at `offset`: segments below it are no longer listed, and their files
    /// go once a manifest without them is durable. Returns how many were dropped.
    pub fn start_at(&mut self, offset: i64) -> u64 {
        self.log_start = self.log_start.max(offset);
        let mut dropped = 0;
        // The newest segment stays while a write-behind may be using it.
        let kept = usize::from(self.job.is_some());
        while self.segments.len() > kept && self.segments[0].end <= self.log_start {
            let gone = self.segments.remove(0);
            self.doomed.push(self.segment_path(gone.base));
            self.doomed.push(self.rows_path(gone.base));
            dropped += 1;
        }
        self.trim_epochs();
        self.manifest_owed |= dropped > 0;
        dropped
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
