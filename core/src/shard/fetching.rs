//! Fetches: how many bytes one may take, parking one that has too little, and joining what shards
//! answered.
//!
//! Only the first partition with data, in the order of the request, may exceed `max_bytes`, by one
//! batch (KIP-74). Shards read at the same time and know nothing of each other, so what is too much
//! together is cut off here, at a batch. All that may be read is held in the pool until it is: twice what
//! the client gets where several shards read, and a batch of each in any case.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::gateway::{Asks, Call, Kind};
use super::parts::Layout;
use super::{Part, PartAsk, Shard};
use crate::api::*;
use crate::contract::Effects;
use crate::error_code::ErrorCode;
use crate::metadata::shard_of;
use crate::time::Now;

/// A fetch takes at most this part of the room that is to spare for fetched records, so that many of them
/// share it. Where only the part is left that is kept back, it is a small answer.
const SHARE_OF_SPARE: u64 = 3;

/// A fetch being worked on.
#[derive(Clone, Debug)]
pub(super) struct Fetching {
    pub layout: Layout,
    pub asks: Asks,
    min_bytes: usize,
    /// What the client takes.
    max_bytes: usize,
    /// What this round may take, and is held for it in the pool.
    granted: usize,
    pub reserved: u64,
    /// Bytes of one batch from each of the shards, which give it in any case.
    least: u64,
    /// Shards that are asked.
    shards: u64,
    /// Bytes that each shard had in the last round.
    have: BTreeMap<u16, u64>,
    /// Something moved while the shards were asked.
    woken: bool,
    /// Time is up: whatever there is goes out.
    last: bool,
    /// The client hung up.
    pub gone: bool,
}

impl Fetching {
    /// Bytes that are waited for. What the client wants and there is no room for is not. Half of what was
    /// granted is as good as all of it: it ends at a batch.
    fn wanted_least(&self) -> usize {
        match self.granted < self.max_bytes {
            true => self.min_bytes.min((self.granted / 2).max(1)),
            false => self.min_bytes,
        }
    }
}

impl Shard {
    pub(super) fn begin_fetch(
        &mut self,
        now: Now,
        call: Call,
        request: FetchRequest,
        out: &mut Effects,
    ) {
        // Every epoch but these two, also one below them, goes on with a session (`FetchMetadata`).
        let session = !(-1..=0).contains(&request.session_epoch);
        let wait = u64::try_from(request.max_wait_ms).unwrap_or(0);
        let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0);
        let max_bytes = max_bytes.min(self.config.limits.fetch_max_bytes);
        // More than an answer may hold is not waited for (`KafkaApis.handleFetchRequest`).
        let min_bytes = min_bytes.min(max_bytes);
        let (mut layout, mut asks) = self.lay_out(Request::Fetch(request));
        if session {
            // No session is ever granted, so none can be continued (KIP-227).
            layout.refuse_session();
            asks.clear();
        }
        let last = wait == 0 || asks.is_empty() || self.is_leaving(call.conn);
        let batches = self.largest_batches(&asks);
        let fetch = Fetching {
            layout,
            asks,
            min_bytes,
            max_bytes,
            granted: 0,
            reserved: 0,
            least: batches.values().sum(),
            shards: batches.len().max(1) as u64,
            have: BTreeMap::new(),
            woken: false,
            last,
            gone: false,
        };
        let deadline = Some(now.mono.plus_millis(wait)).filter(|_| !last);
        let token = self.open_call(Call {
            deadline,
            kind: Kind::Fetch(Box::new(fetch)),
            ..call
        });
        self.ask_for_records(now, token, out);
    }

    /// The largest batch that each shard may have in the partitions it is asked for, bytes.
    fn largest_batches(&self, asks: &Asks) -> BTreeMap<u16, u64> {
        let mut largest = BTreeMap::new();
        for (_, id, _) in asks {
            let topic = self
                .image
                .as_ref()
                .and_then(|image| image.topics.get(&id.topic));
            let bytes = topic.map_or(0, |topic| topic.effective.max_message_bytes.unsigned_abs());
            let shard = largest.entry(shard_of(*id, self.config.shards));
            let before: &mut u64 = shard.or_default();
            *before = bytes.max(*before);
        }
        largest
    }

    /// Ask the shards of a fetch, for as much as there is room for.
    fn ask_for_records(&mut self, now: Now, token: u64, out: &mut Effects) {
        let spare = self.pools.fetches.spare();
        let small = self.config.limits.small_answer_bytes;
        let Some(Call {
            kind: Kind::Fetch(fetch),
            ..
        }) = self.calls.get_mut(&token)
        else {
            return;
        };
        let share = (spare / SHARE_OF_SPARE).max(small);
        let wanted = wanted_bytes(&fetch.asks);
        fetch.granted = fetch
            .max_bytes
            .min(usize::try_from(share).unwrap_or(usize::MAX));
        let granted = fetch.granted;
        // Where all together would be too much, a shard reads up to twice its share: what is cut off
        // later is read in vain, and held until then.
        let most = granted.saturating_mul(if fetch.shards > 1 { 2 } else { 1 });
        let reserved = fetch.least.max(wanted.min(most) as u64);
        self.pools.fetches.take(reserved);
        self.pools
            .fetches
            .give(std::mem::replace(&mut fetch.reserved, reserved));
        let asks = fetch.asks.clone();
        // The next round tells what each has then.
        let have = std::mem::take(&mut fetch.have);
        let missing = (fetch.wanted_least() as u64).saturating_sub(have.values().sum());
        let more = (!fetch.last).then(|| missing.div_ceil(fetch.shards).max(1));
        let partitions = asks.len();
        let budget = |shard: u16, parts: &Asks| {
            let share = (granted * 2 / partitions).saturating_mul(parts.len());
            let bytes = if wanted <= granted {
                granted
            } else {
                granted.min(share)
            };
            let enough = more.map(|more| more + have.get(&shard).copied().unwrap_or(0));
            (bytes, enough)
        };
        self.spread(now, token, asks, budget, out);
    }

    /// All shards have answered: answer the client, or park.
    pub(super) fn fetch_joined(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        let shards = self.config.shards;
        let Kind::Fetch(fetch) = &mut call.kind else {
            return;
        };
        if fetch.gone {
            return self.drop_call(token, out);
        }
        fetch.have = fetch.layout.bytes_by_shard(&fetch.asks, shards);
        let bytes = fetch.have.values().sum::<u64>() as usize;
        fetch.layout.limit_bytes(&fetch.asks, fetch.granted);
        let least = match self.config.knobs.has(117) {
            true => fetch.min_bytes,
            false => fetch.wanted_least(),
        };
        let enough = bytes >= least || fetch.layout.has_news();
        // One read does not go beyond a segment, and an answer not beyond its size: what follows is asked
        // for next, and not waited for (`DelayedFetch.scala`, case F; it counts what could be read).
        let enough = enough || (bytes > 0 && fetch.layout.any_ends_early());
        if enough || fetch.last {
            let mut response = fetch.layout.take();
            self.name_leaders(&mut response);
            return self.reply(now, token, response, out);
        }
        if std::mem::take(&mut fetch.woken) && !self.config.knobs.has(118) {
            return self.ask_for_records(now, token, out);
        }
        // Parked: what was read is read again when it is wanted, and not held meanwhile.
        fetch.layout.drop_records();
        self.pools.fetches.give(std::mem::take(&mut fetch.reserved));
        self.park(now, token, out);
    }

    /// Who asked another leader, or of an older epoch, is told who leads and how it is reached (KIP-951).
    fn name_leaders(&self, response: &mut Response) {
        let (Response::Fetch(fetch), Some(image)) = (response, &self.image) else {
            return;
        };
        let node = self.config.node;
        let parts = fetch.topics.iter_mut().flat_map(|(_, parts)| parts);
        for part in parts {
            use ErrorCode::{FencedLeaderEpoch, NotLeaderOrFollower};
            if [FencedLeaderEpoch, NotLeaderOrFollower].contains(&part.error) {
                part.leader = Some((node, image.incarnation));
                fetch.endpoints = vec![(node, self.config.advertised.clone())];
            }
        }
    }

    /// Something a parked fetch waits for has moved.
    pub(super) fn woken(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        let pending = call.pending;
        if let Kind::Fetch(fetch) = &mut call.kind {
            fetch.woken = true;
            if pending == 0 {
                fetch.woken = false;
                self.ask_for_records(now, token, out);
            }
        }
    }

    /// Answer a parked fetch at once with what there is; one that still waits for parts answers when
    /// they are in.
    pub(super) fn give_up(&mut self, now: Now, token: u64, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&token) else {
            return;
        };
        let pending = call.pending;
        let Kind::Fetch(fetch) = &mut call.kind else {
            return;
        };
        let before = std::mem::replace(&mut fetch.last, true);
        self.drop_deadline(token);
        if pending == 0 && !before {
            self.ask_for_records(now, token, out);
        }
    }
}

/// Bytes that all partitions of a fetch may give together.
fn wanted_bytes(asks: &Asks) -> usize {
    let each = asks.iter().map(|(_, _, ask)| match ask {
        PartAsk::Fetch(fetch) => usize::try_from(fetch.max_bytes).unwrap_or(0).max(1),
        _ => 0,
    });
    each.fold(0, usize::saturating_add)
}

impl Layout {
    /// Bytes that were fetched from each shard.
    fn bytes_by_shard(&self, asks: &Asks, shards: u16) -> BTreeMap<u16, u64> {
        let mut sums = BTreeMap::new();
        for (slot, id, _) in asks {
            let part = self.slot(*slot);
            *sums.entry(shard_of(*id, shards)).or_default() += part.map_or(0, Part::bytes);
        }
        sums
    }

    /// Cut what was fetched to `max_bytes` in all and each partition to its own, in the order of the
    /// request; the first batch is always given.
    fn limit_bytes(&mut self, asks: &Asks, max_bytes: usize) {
        let mut total = 0;
        for (slot, _, ask) in asks {
            let (Some(Part::Fetched(fetched)), PartAsk::Fetch(ask)) = (self.part_mut(*slot), ask)
            else {
                continue;
            };
            let size = fetched.bytes();
            let of_partition = usize::try_from(ask.max_bytes).unwrap_or(0);
            let left = max_bytes.saturating_sub(total).min(of_partition);
            total += match size <= left || total == 0 {
                true => size,
                false => cut_at_batch(&mut fetched.records, left),
            };
        }
    }

    /// Forget what was fetched, but not that it was there.
    fn drop_records(&mut self) {
        for part in self.parts_mut() {
            if let Part::Fetched(fetched) = part {
                fetched.records.clear();
            }
        }
    }

    /// More follows what was read of some partition.
    fn any_ends_early(&self) -> bool {
        let early = |part: &Part| matches!(part, Part::Fetched(fetched) if fetched.ends_early);
        self.parts().any(early)
    }

    /// A partition tells something else than records, which is not kept waiting.
    fn has_news(&self) -> bool {
        let diverges =
            |part: &Part| matches!(part, Part::Fetched(part) if part.diverging.is_some());
        self.any_error() || self.parts().any(diverges)
    }

    pub(super) fn any_error(&self) -> bool {
        self.parts().any(|part| part.error() != ErrorCode::None)
    }
}

/// Keep the whole batches at the front that fit into `max_bytes`. Returns their bytes. If that is the
/// lesser part, it gets memory of its own: all was read into one piece of memory, which nobody counts
/// once the answer is made.
fn cut_at_batch(pieces: &mut Vec<Bytes>, max_bytes: usize) -> usize {
    let (mut kept, mut size) = (0, 0);
    while let Some(head) = pieces.get(kept).and_then(|piece| piece.get(8..12)) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize + 12;
        if size + length > max_bytes {
            break;
        }
        size += length;
        // A batch stands in one piece or in two.
        let mut seen = 0;
        while seen < length && kept < pieces.len() {
            seen += pieces[kept].len();
            kept += 1;
        }
    }
    let all: usize = pieces.iter().map(Bytes::len).sum();
    pieces.truncate(kept);
    if size * 2 < all {
        for piece in pieces {
            *piece = Bytes::copy_from_slice(piece);
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{build_batch, BatchSpec, HEAD_LEN};

    #[test]
    fn what_is_too_much_is_cut_at_a_batch() {
        let batch = build_batch(BatchSpec::plain(7), &[(None, b"some value")]);
        let size = batch.len();
        let halves = [batch.slice(..HEAD_LEN), batch.slice(HEAD_LEN..)];
        let pieces = [batch.clone(), halves[0].clone(), halves[1].clone(), batch];
        for (max_bytes, count) in [
            (0, 0),
            (size - 1, 0),
            (size, 1),
            (size * 2 - 1, 1),
            (size * 2, 3),
            (size * 9, 4),
        ] {
            let mut cut = pieces.to_vec();
            let left = cut_at_batch(&mut cut, max_bytes);
            assert_eq!(cut.len(), count, "{max_bytes}");
            assert_eq!(left, cut.iter().map(|piece| piece.len()).sum::<usize>());
            // The lesser part stands alone.
            let same = |(new, old): (&Bytes, &Bytes)| new.as_ptr() == old.as_ptr();
            let shared = cut.iter().zip(&pieces).all(same);
            assert_eq!(shared, count == 0 || left >= size * 3 / 2, "{max_bytes}");
        }
    }
}
