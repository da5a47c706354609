//! Reading a journal back: which blocks are there, where the tail is torn, what is damaged.
//!
//! At most one block is in flight at a time and the next one attests it, so a bad block at or below
//! the highest attested sequence is damage, and only above it is it torn and cut.

use bytes::{Buf, Bytes};
use std::collections::BTreeMap;

use super::frame::Frame;
use super::journal::{
    BlockHeader, BlockPlace, Ring, BLOCK_HEADER, FILE_MAGIC, FIRST_PAGE, FORMAT_VERSION, PAGE,
};
use crate::ids::Uuid;

/// What a journal file turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Never written: all zeroes, or no bytes at all.
    Blank,
    /// A journal: its ring and the frames in order, each with its block's sequence.
    Journal(Box<Recovered>),
    /// It cannot be used; the text says why.
    Unusable(String),
}

/// A journal read back.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The ring, ready to go on.
    pub ring: Ring,
    /// Frames in order.
    pub frames: Vec<(u64, Frame)>,
    /// Blocks cut off as torn.
    pub torn: u64,
    /// A topic that opted out of syncing may have lost its last acknowledged records.
    pub loose: bool,
}

impl PartialEq for Recovered {
    fn eq(&self, other: &Recovered) -> bool {
        self.frames == other.frames && self.torn == other.torn
    }
}

/// Who the journal must belong to.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Cluster.
    pub cluster: Uuid,
    /// Data folder.
    pub directory: Uuid,
    /// Shard.
    pub shard: u16,
}

/// The planted bugs that live here (M43, M44, M79).
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryKnobs {
    /// M44: damage below the attested point is taken for a torn tail.
    pub bad_block_is_torn_tail: bool,
    /// M43: a closing block is the end although blocks follow it.
    pub stale_closing_block: bool,
    /// M79: any format version is read as this one.
    pub ignore_format_version: bool,
}

fn read_header(page: &[u8], owner: Owner, knobs: RecoveryKnobs) -> Result<u64, String> {
    const LEN: usize = 54;
    if page.len() < LEN + 4 || page[LEN..LEN + 4] != crc32c::crc32c(&page[..LEN]).to_be_bytes() {
        return Err("both header pages are damaged".into());
    }
    let mut bytes = page;
    if bytes.get_u64() != FILE_MAGIC {
        return Err("it is not a journal".into());
    }
    let version = bytes.get_u32();
    if version != FORMAT_VERSION && !knobs.ignore_format_version {
        return Err(format!(
            "format version {version} is unknown (this build reads {FORMAT_VERSION})"
        ));
    }
    let ring = bytes.get_u64();
    let mut id = [0; 16];
    bytes.copy_to_slice(&mut id);
    if Uuid(id) != owner.cluster {
        return Err(format!("it belongs to cluster {:?}", Uuid(id)));
    }
    bytes.copy_to_slice(&mut id);
    if Uuid(id) != owner.directory {
        return Err(format!("it belongs to data folder {:?}", Uuid(id)));
    }
    let shard = bytes.get_u16();
    if shard != owner.shard {
        return Err(format!("it belongs to shard {shard}"));
    }
    Ok(ring)
}

/// Read a whole journal file.
pub fn recover(file: &Bytes, owner: Owner, knobs: RecoveryKnobs) -> Found {
    if file.iter().all(|byte| *byte == 0) {
        return Found::Blank;
    }
    let page = |index: u64| {
        let from = ((index * PAGE) as usize).min(file.len());
        let to = (((index + 1) * PAGE) as usize).min(file.len());
        &file[from..to]
    };
    let ring = match read_header(page(0), owner, knobs) {
        Ok(ring) => ring,
        Err(first) => match read_header(page(1), owner, knobs) {
            Ok(ring) => ring,
            Err(_) => return Found::Unusable(first),
        },
    };
    let capacity = file.len() as u64 / PAGE;
    let blocks = scan(file, ring, capacity);
    match chain(file, &blocks, knobs) {
        Ok(chain) => assemble(file, ring, capacity, chain),
        Err(reason) => Found::Unusable(reason),
    }
}

/// Blocks by sequence. Two may carry the same one: a block cut off by an earlier recovery, and the
/// one written in its stead.
type Blocks = BTreeMap<u64, Vec<(BlockHeader, u64)>>;

/// Every block header of this ring, wherever it stands.
fn scan(file: &Bytes, ring: u64, capacity: u64) -> Blocks {
    let mut blocks = Blocks::new();
    for page in FIRST_PAGE..capacity {
        let at = (page * PAGE) as usize;
        if let Some(header) = BlockHeader::decode(&file[at..]) {
            if header.ring == ring && page + header.pages() <= capacity {
                blocks.entry(header.seq).or_default().push((header, page));
            }
        }
    }
    blocks
}

fn payload<'a>(file: &'a Bytes, header: &BlockHeader, page: u64) -> &'a [u8] {
    let at = (page * PAGE) as usize + BLOCK_HEADER;
    &file[at..at + header.payload as usize]
}

fn is_whole(file: &Bytes, header: &BlockHeader, page: u64) -> bool {
    crc32c::crc32c(payload(file, header, page)) == header.payload_crc
}

struct Chain {
    live: Vec<(BlockHeader, u64)>,
    torn: u64,
    attested: u64,
}

/// No journal comes near this sequence: a block that says so is forged, and the next would overflow.
const SEQ_MAX: u64 = u64::MAX / 2;
/// Blocks may say that they lie over each other: stale ones do over newer ones, hardly any twice. More
/// payload than so many times the file is forged, and would take for ever to be checked.
const OVERLAP_MAX: u64 = 16;

/// The newest block whose whole run, from the tail it names up to itself, is there and linked.
///
/// A block above the highest attested sequence without such a run was never promised: it is torn, or
/// was cut off by an earlier recovery. One at or below it is damage.
fn chain(file: &Bytes, blocks: &Blocks, knobs: RecoveryKnobs) -> Result<Chain, String> {
    let headers = || blocks.values().flatten().map(|(header, _)| header);
    let attested = headers().map(|header| header.attested).max().unwrap_or(0);
    let last = blocks.keys().next_back().copied().unwrap_or(0);
    if last.max(attested) > SEQ_MAX {
        let most = last.max(attested);
        return Err(format!(
            "a block speaks of block {most}: no journal has as many"
        ));
    }
    let payload: u64 = headers().map(|header| u64::from(header.payload)).sum();
    if payload > file.len() as u64 * OVERLAP_MAX {
        return Err("its blocks lie over each other".into());
    }
    let runs = Runs::new(file, blocks);
    let damaged = |seq: u64| {
        format!(
            "block {seq} is damaged or missing, though it was durable (attested up to {attested})"
        )
    };
    // Only the blocks that are there are gone through: the numbers between them may be any.
    for (&seq, here) in blocks.range(1..).rev() {
        if seq < attested && !knobs.bad_block_is_torn_tail {
            return Err(damaged(attested));
        }
        let whole = (0..here.len()).filter(|index| runs.gap(seq, *index).is_none());
        let whole = whole.filter(|index| runs.counts(seq, *index));
        // Of two that fit, neither was attested; the later one knew more to be durable.
        if let Some(newest) = whole.max_by_key(|index| here[*index].0.attested) {
            let mut live = runs.live(seq, newest);
            let closing = live.iter().rposition(|(block, _)| block.payload == 0);
            if let Some(at) = closing.filter(|_| knobs.stale_closing_block) {
                live.truncate(at + 1);
            }
            let torn = last.saturating_sub(seq);
            return Ok(Chain {
                live,
                torn,
                attested,
            });
        }
        if seq == attested && !knobs.bad_block_is_torn_tail {
            let gap = (0..here.len()).filter_map(|index| runs.gap(seq, index));
            return Err(damaged(gap.min().unwrap_or(seq)));
        }
    }
    if attested > 0 && !knobs.bad_block_is_torn_tail {
        return Err(damaged(attested));
    }
    Ok(Chain {
        live: Vec::new(),
        torn: blocks.len() as u64,
        attested,
    })
}

/// How far down each block is linked to whole ones. Found once for all, in ascending order, so that a
/// long run which is broken at its start is not walked again from each of its blocks.
struct Runs<'a> {
    blocks: &'a Blocks,
    /// The block of a sequence with this [`BlockHeader::link`] that counts, as a place in its list.
    links: BTreeMap<(u64, u32), usize>,
    /// Lowest sequence of the unbroken run that ends in a block; none if it is not whole itself.
    floors: BTreeMap<(u64, usize), Option<u64>>,
}

impl<'a> Runs<'a> {
    fn new(file: &Bytes, blocks: &'a Blocks) -> Runs<'a> {
        let mut runs = Runs {
            blocks,
            links: BTreeMap::new(),
            floors: BTreeMap::new(),
        };
        for (&seq, here) in blocks {
            for (index, (header, page)) in here.iter().enumerate() {
                let before = runs.before(seq, header);
                let below = before.and_then(|key| runs.floors.get(&key).copied().flatten());
                let whole = is_whole(file, header, *page);
                let floor = whole.then_some(below.unwrap_or(seq));
                runs.floors.insert((seq, index), floor);
                // Of two that look the same, as after a misdirected write, a whole one counts, and
                // best the one that stands where the block before it ends.
                let stands = |index: usize| match (runs.floors.get(&(seq, index)), here.get(index))
                {
                    (Some(Some(_)), Some((_, page))) => 1 + u8::from(runs.follows(before, *page)),
                    _ => 0,
                };
                let link = (seq, header.link());
                let twin = runs.links.get(&link).copied();
                if twin.is_none_or(|twin| stands(index) > stands(twin)) {
                    runs.links.insert(link, index);
                }
            }
        }
        runs
    }

    /// A block at this page stands where the one before it ends, or at the ring's start.
    fn follows(&self, before: Option<(u64, usize)>, page: u64) -> bool {
        let before = before.and_then(|(seq, index)| self.blocks.get(&seq)?.get(index));
        before.is_some_and(|(header, at)| page == at + header.pages() || page == FIRST_PAGE)
    }

    /// Of blocks that look the same, this is the one that counts.
    fn counts(&self, seq: u64, index: usize) -> bool {
        let header = self.blocks.get(&seq).and_then(|here| here.get(index));
        let link = header.map(|(header, _)| (seq, header.link()));
        link.and_then(|link| self.links.get(&link)) == Some(&index)
    }

    /// The block that this one names as its predecessor.
    fn before(&self, seq: u64, header: &BlockHeader) -> Option<(u64, usize)> {
        let before = seq.checked_sub(1)?;
        let index = self.links.get(&(before, header.previous))?;
        Some((before, *index))
    }

    /// The newest sequence that is missing or damaged between this block and the tail that it names.
    fn gap(&self, seq: u64, index: usize) -> Option<u64> {
        let tail = self.blocks.get(&seq)?.get(index)?.0.tail;
        match self.floors.get(&(seq, index)).copied().flatten() {
            None => Some(seq),
            Some(floor) => (floor > tail).then(|| floor - 1),
        }
    }

    /// The blocks from the tail that this one names up to itself.
    fn live(&self, seq: u64, index: usize) -> Vec<(BlockHeader, u64)> {
        let mut live = Vec::new();
        let mut at = Some((seq, index));
        let mut tail = None;
        while let Some((seq, index)) = at {
            let Some(block) = self.blocks.get(&seq).and_then(|here| here.get(index)) else {
                break;
            };
            live.push(*block);
            let tail = *tail.get_or_insert(block.0.tail);
            at = self.before(seq, &block.0).filter(|_| seq > tail);
        }
        live.reverse();
        live
    }
}

/// Blocks of a ring stand one after the other, and begin again at its start at most once.
fn are_in_a_ring(live: &[(BlockHeader, u64)]) -> bool {
    let end = |(header, page): &(BlockHeader, u64)| page + header.pages();
    let back = live.windows(2).filter(|pair| pair[1].1 < end(&pair[0]));
    match (live.first(), live.last()) {
        (Some(first), Some(last)) => match back.count() {
            0 => true,
            1 => end(last) <= first.1,
            _ => false,
        },
        _ => true,
    }
}

fn assemble(file: &Bytes, ring: u64, capacity: u64, chain: Chain) -> Found {
    let mut out = Ring::fresh(ring, capacity);
    let mut frames = Vec::new();
    if !are_in_a_ring(&chain.live) {
        return Found::Unusable("its blocks lie over each other".into());
    }
    for (header, page) in &chain.live {
        let at = (page * PAGE) as usize + BLOCK_HEADER;
        let mut bytes = file.slice(at..at + header.payload as usize);
        while !bytes.is_empty() {
            match Frame::decode(&mut bytes) {
                Ok(frame) => frames.push((header.seq, frame)),
                Err(_) => {
                    return Found::Unusable(format!("block {} holds a bad frame", header.seq))
                }
            }
        }
        out.hold(BlockPlace {
            seq: header.seq,
            page: *page,
            pages: header.pages(),
            written_ms: header.written_ms,
        });
        out.head = page + header.pages();
        out.next_seq = header.seq + 1;
        out.previous = header.link();
    }
    out.durable_seq = chain.attested.min(out.next_seq - 1);
    Found::Journal(Box::new(Recovered {
        ring: out,
        frames,
        torn: chain.torn,
        loose: chain.live.last().is_some_and(|(block, _)| block.loose),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PartitionId;
    use crate::log::journal::file_header;

    const OWNER: Owner = Owner {
        cluster: Uuid([1; 16]),
        directory: Uuid([2; 16]),
        shard: 0,
    };

    fn frame(offset: i64) -> Frame {
        Frame::LogStart {
            partition: PartitionId {
                topic: Uuid([7; 16]),
                index: 3,
            },
            offset,
        }
    }

    /// A file with `blocks` blocks of one frame each, every one but the last attested.
    fn journal(blocks: i64) -> (Vec<u8>, Ring) {
        let mut file = vec![0; 64 * PAGE as usize];
        let header = file_header(9, OWNER.cluster, OWNER.directory, OWNER.shard);
        file[..PAGE as usize].copy_from_slice(&header);
        file[PAGE as usize..2 * PAGE as usize].copy_from_slice(&header);
        let mut ring = Ring::fresh(9, 64);
        for offset in 0..blocks {
            let page = ring.room_for(1).expect("room");
            let (seq, pieces) = ring.next_block(page, vec![frame(offset).encode()], 1, 7);
            ring.durable_seq = seq;
            ring.incarnation = 5;
            let at = (page * PAGE) as usize;
            let bytes = pieces.concat();
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        (file, ring)
    }

    fn read(file: &[u8]) -> Found {
        recover(
            &Bytes::copy_from_slice(file),
            OWNER,
            RecoveryKnobs::default(),
        )
    }

    #[test]
    fn a_whole_journal_comes_back() {
        let (file, ring) = journal(5);
        let Found::Journal(found) = read(&file) else {
            panic!("journal")
        };
        let offsets: Vec<_> = found
            .frames
            .iter()
            .map(|(seq, f)| (*seq, f.clone()))
            .collect();
        assert_eq!(
            offsets,
            (0..5).map(|o| (o as u64 + 1, frame(o))).collect::<Vec<_>>()
        );
        assert_eq!(
            (found.ring.head, found.ring.next_seq, found.torn),
            (ring.head, 6, 0)
        );
    }

    #[test]
    fn only_the_last_block_may_be_torn() {
        let (file, _) = journal(5);
        for block in 0..5u64 {
            let mut bad = file.clone();
            bad[((FIRST_PAGE + block) * PAGE) as usize + BLOCK_HEADER + 3] ^= 1;
            match (block, read(&bad)) {
                (4, Found::Journal(found)) => assert_eq!((found.frames.len(), found.torn), (4, 1)),
                (0..=3, Found::Unusable(_)) => {}
                (_, found) => panic!("block {block}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_planted_bug_cuts_durable_blocks() {
        let (mut file, _) = journal(5);
        file[((FIRST_PAGE + 2) * PAGE) as usize + BLOCK_HEADER + 3] ^= 1;
        let knobs = RecoveryKnobs {
            bad_block_is_torn_tail: true,
            ..RecoveryKnobs::default()
        };
        let Found::Journal(found) = recover(&Bytes::from(file), OWNER, knobs) else {
            panic!()
        };
        assert_eq!(found.frames.len(), 2);
    }

    #[test]
    fn a_block_that_was_cut_off_does_not_come_back() {
        let (file, _) = journal(5);
        // Block 4 is lost, so 5 is cut; the next start writes another block 4 that looks the same.
        let mut cut = file.clone();
        let at = ((FIRST_PAGE + 3) * PAGE) as usize;
        cut[at..at + PAGE as usize].fill(0);
        let last = ((FIRST_PAGE + 4) * PAGE) as usize;
        let mut header = BlockHeader::decode(&cut[last..]).expect("block 5");
        header.attested = 3;
        cut[last..last + BLOCK_HEADER].copy_from_slice(&header.encode());
        let Found::Journal(mut found) = read(&cut) else {
            panic!("journal")
        };
        assert_eq!((found.frames.len(), found.torn), (3, 2));
        found.ring.incarnation = 6;
        let (_, pieces) = found
            .ring
            .next_block(FIRST_PAGE + 3, vec![frame(3).encode()], 1, 8);
        cut[at..at + PAGE as usize].copy_from_slice(&pieces.concat());
        let Found::Journal(found) = read(&cut) else {
            panic!("journal")
        };
        assert_eq!((found.frames.len(), found.torn), (4, 1));
    }

    /// The block at this place with other words in its header.
    fn reword(file: &mut [u8], block: u64, change: impl FnOnce(&mut BlockHeader)) {
        let at = ((FIRST_PAGE + block) * PAGE) as usize;
        let mut header = BlockHeader::decode(&file[at..]).expect("a block");
        change(&mut header);
        file[at..at + BLOCK_HEADER].copy_from_slice(&header.encode());
    }

    #[test]
    fn a_forged_sequence_is_neither_counted_down_from_nor_gone_on_from() {
        let (good, _) = journal(5);
        // A far one that is not linked is torn, however many numbers lie between.
        let mut file = good.clone();
        reword(&mut file, 4, |header| header.seq = SEQ_MAX);
        let Found::Journal(found) = read(&file) else {
            panic!("journal")
        };
        assert_eq!((found.frames.len(), found.torn), (4, SEQ_MAX - 4));
        for forge in [
            |header: &mut BlockHeader| header.seq = u64::MAX,
            |header: &mut BlockHeader| header.attested = u64::MAX,
            |header: &mut BlockHeader| (header.seq, header.tail) = (u64::MAX, u64::MAX),
            |header: &mut BlockHeader| header.attested = SEQ_MAX,
            |header: &mut BlockHeader| header.attested = 9,
        ] {
            let mut file = good.clone();
            reword(&mut file, 4, forge);
            assert!(matches!(read(&file), Found::Unusable(_)));
        }
        let mut only = good.clone();
        reword(&mut only, 0, |header| {
            (header.seq, header.tail) = (SEQ_MAX, SEQ_MAX)
        });
        for block in 1..5 {
            let at = ((FIRST_PAGE + block) * PAGE) as usize;
            only[at..at + PAGE as usize].fill(0);
        }
        let Found::Journal(found) = read(&only) else {
            panic!("journal")
        };
        assert_eq!(found.ring.next_seq, SEQ_MAX + 1);
    }

    #[test]
    fn a_damaged_twin_of_a_block_does_not_stand_in_for_it() {
        let (mut file, _) = journal(5);
        // Block 3 stands a second time, before the others' pages end or after them, and is damaged.
        let at = ((FIRST_PAGE + 2) * PAGE) as usize;
        let twin = (40 * PAGE) as usize;
        file.copy_within(at..at + PAGE as usize, twin);
        for damaged in [at, twin] {
            let mut file = file.clone();
            file[damaged + BLOCK_HEADER + 3] ^= 1;
            match (damaged == twin, read(&file)) {
                (true, Found::Journal(found)) => assert_eq!(found.frames.len(), 5),
                // Whole, but not where a ring would have put it.
                (false, Found::Unusable(reason)) => assert!(reason.contains("over each other")),
                (_, found) => panic!("{found:?}"),
            }
        }
    }

    #[test]
    fn a_link_tells_every_header_from_another() {
        let (file, _) = journal(1);
        let header = BlockHeader::decode(&file[(FIRST_PAGE * PAGE) as usize..]).expect("a block");
        let links = (0..100_000).map(|payload_crc| {
            BlockHeader {
                payload_crc,
                ..header
            }
            .link()
        });
        assert_eq!(
            links.collect::<std::collections::BTreeSet<_>>().len(),
            100_000
        );
    }

    #[test]
    fn a_whole_twin_of_a_block_does_not_move_the_ring() {
        let (mut file, mut ring) = journal(0);
        let mut put = |file: &mut [u8], page: u64| {
            let (seq, pieces) = ring.next_block(page, vec![frame(1).encode()], 1, 7);
            ring.durable_seq = seq;
            let (bytes, at) = (pieces.concat(), (page * PAGE) as usize);
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        };
        (20..25).for_each(|page| put(&mut file, page));
        let mut last = file.clone();
        put(&mut last, 25);
        for (block, twin) in (20..25).flat_map(|block| [(block, 5), (block, 40)]) {
            let at = (block * PAGE) as usize..((block + 1) * PAGE) as usize;
            for (file, head) in [(&file, 25), (&last, 26)] {
                let mut file = file.clone();
                file.copy_within(at.clone(), (twin * PAGE) as usize);
                let Found::Journal(found) = read(&file) else {
                    panic!("{block} at {twin}");
                };
                assert_eq!(found.ring.head, head, "{block} at {twin}");
                assert_eq!(found.frames.len() as u64, head - 20, "{block} at {twin}");
            }
        }
    }

    #[test]
    fn blocks_that_lie_over_each_other_are_refused() {
        let (_, mut ring) = journal(0);
        let (mut file, _) = journal(0);
        // The third block stands before the first, and the fourth before that.
        for page in [20, 21, 10, 5] {
            let (seq, pieces) = ring.next_block(page, vec![frame(1).encode()], 1, 7);
            ring.durable_seq = seq;
            let bytes = pieces.concat();
            let at = (page * PAGE) as usize;
            file[at..at + bytes.len()].copy_from_slice(&bytes);
            match (page, read(&file)) {
                (5, Found::Unusable(reason)) => assert!(reason.contains("over each other")),
                (10 | 20 | 21, Found::Journal(_)) => {}
                (_, found) => panic!("{page}: {found:?}"),
            }
        }
    }

    #[test]
    fn strangers_and_unknown_versions_are_refused() {
        let (file, _) = journal(2);
        let other = Owner {
            directory: Uuid([3; 16]),
            ..OWNER
        };
        let bytes = Bytes::from(file.clone());
        assert!(matches!(
            recover(&bytes, other, RecoveryKnobs::default()),
            Found::Unusable(_)
        ));
        for version in [FORMAT_VERSION as u8 - 1, FORMAT_VERSION as u8 + 1] {
            let mut stamped = file.clone();
            for copy in 0..2 {
                let at = copy * PAGE as usize;
                stamped[at + 11] = version;
                let crc = crc32c::crc32c(&stamped[at..at + 54]);
                stamped[at + 54..at + 58].copy_from_slice(&crc.to_be_bytes());
            }
            let named = format!("version {version} ");
            assert!(
                matches!(read(&stamped), Found::Unusable(reason) if reason.contains(&named)),
                "{named}"
            );
        }
        assert_eq!(read(&[0; 8192]), Found::Blank);
    }
}
