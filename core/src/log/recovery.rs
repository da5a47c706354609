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

/// The newest block whose whole run, from the tail it names up to itself, is there and linked.
///
/// A block above the highest attested sequence without such a run was never promised: it is torn, or
/// was cut off by an earlier recovery. One at or below it is damage.
fn chain(file: &Bytes, blocks: &Blocks, knobs: RecoveryKnobs) -> Result<Chain, String> {
    let attested = blocks
        .values()
        .flatten()
        .map(|(header, _)| header.attested)
        .max()
        .unwrap_or(0);
    let last = blocks.keys().next_back().copied().unwrap_or(0);
    for seq in (1..=last.max(attested)).rev() {
        let here = blocks.get(&seq).into_iter().flatten();
        let runs = here.map(|block| run(file, blocks, *block));
        let (whole, broken): (Vec<_>, Vec<_>) = runs.partition(Result::is_ok);
        // Of two that fit, neither was attested; the later one knew more to be durable.
        let newest = |live: &Vec<(BlockHeader, u64)>| live.last().map(|(block, _)| block.attested);
        if let Some(mut live) = whole.into_iter().flatten().max_by_key(newest) {
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
        if seq <= attested && !knobs.bad_block_is_torn_tail {
            let gap = broken.into_iter().filter_map(Result::err).min();
            return Err(format!(
                "block {} is damaged or missing, though it was durable (attested up to {attested})",
                gap.unwrap_or(seq)
            ));
        }
    }
    Ok(Chain {
        live: Vec::new(),
        torn: blocks.len() as u64,
        attested,
    })
}

/// The blocks from the tail that `newest` names up to itself, or the first sequence that is missing.
fn run(
    file: &Bytes,
    blocks: &Blocks,
    newest: (BlockHeader, u64),
) -> Result<Vec<(BlockHeader, u64)>, u64> {
    let mut live = vec![newest];
    let mut at = newest;
    loop {
        if !is_whole(file, &at.0, at.1) {
            return Err(at.0.seq);
        }
        if at.0.seq <= newest.0.tail {
            live.reverse();
            return Ok(live);
        }
        let before = at.0.seq - 1;
        let linked = blocks.get(&before).and_then(|found| {
            found
                .iter()
                .find(|(header, _)| header.link() == at.0.previous)
        });
        at = *linked.ok_or(before)?;
        live.push(at);
    }
}

fn assemble(file: &Bytes, ring: u64, capacity: u64, chain: Chain) -> Found {
    let mut out = Ring::fresh(ring, capacity);
    let mut frames = Vec::new();
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
