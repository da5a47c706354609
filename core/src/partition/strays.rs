//! Files of segments that no manifest lists, looked for in a partition's folder before the first
//! write-behind of a life.
//!
//! A write-behind that a crash cut short leaves such files: all that is in them stands in the journal
//! too. So does a journal that is older than its files, be it that an operator put it back or that a disk
//! lost it and gave up an old one: then they may hold what was acknowledged and stands nowhere else.
//! Nothing is removed because nobody lists it (design.md section 3). One thing proves that a file is of
//! no use: what is in it, where that was read and the journal holds all of it. Every other file, one that
//! cannot be read too, gets another name, which no segment ever has, and is kept until an operator decides.
//!
//! A name below the end of what is listed proves nothing: where a look failed, the journal may have come to
//! that end without the folder having been looked through. A name that a manifest gives as to be unlinked
//! proves nothing at or above that end: a write-behind that failed had begun it, and one that did not fail
//! may have begun it again since.

use std::collections::BTreeSet;

use bytes::BytesMut;

use super::{Job, Replica};
use crate::disk::{DiskDone, DiskError, DiskRequest, DiskResult, Path};
use crate::log::rows::{Owner, Row, ROW_LEN};

/// What a file's name that was set aside ends with; a number follows where one of that name is there.
pub const SET_ASIDE: &str = ".unlisted";
/// Bytes that are compared at a time, whole rows.
const PIECE: usize = ROW_LEN << 14;

/// How far a look through a folder is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    step: Step,
    /// The names in the folder.
    names: BTreeSet<String>,
    /// Segments that nobody lists, the next one last.
    left: Vec<Stray>,
    /// Names that were set aside now.
    set_aside: Vec<String>,
    /// Files that stand aside, and their bytes.
    aside: (u64, u64),
    /// Base offsets of segments that are of no use.
    useless: BTreeSet<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Step {
    #[default]
    Listing,
    Comparing,
    Renaming,
    Syncing,
}

/// The files of a segment that nobody lists.
#[derive(Clone, Debug, PartialEq)]
struct Stray {
    base: i64,
    /// Names and sizes.
    files: Vec<(String, u64)>,
    /// The file under comparison, how far that is, and where in the tail.
    file: usize,
    at: u64,
    place: Place,
    /// The tail's batch that it begins with.
    first: usize,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Verdict {
    /// Its files are being compared.
    #[default]
    Open,
    /// It is of no use.
    Useless,
    /// It may hold what stands nowhere else: its files get other names, the next one by `file`.
    Unknown,
}

/// A place in the tail.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Place {
    /// The batch.
    index: usize,
    /// Where it would stand in the segment.
    position: u64,
    /// Bytes of it that were taken already.
    taken: usize,
}

/// What a look comes to, so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// This is to be done next.
    Ask(DiskRequest),
    /// It cannot go on.
    Failed(DiskError),
    /// The driver answered something else than was asked.
    Wrong(DiskDone),
    /// It is over.
    Over(Aside),
}

/// Files that stand aside in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Aside {
    /// The names of those that were set aside now.
    pub now: Vec<String>,
    /// How many there are in all.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The base offset that a segment's file, or its side file, is named by.
fn segment_base(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(".log").or(name.strip_suffix(".seal"))?;
    let all = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all)
}

/// A segment's file, or its side file, that was set aside.
fn is_aside(name: &str) -> bool {
    let of_segment = |(name, _): (&str, &str)| segment_base(name).is_some();
    name.rsplit_once(SET_ASIDE).is_some_and(of_segment)
}

/// These bytes of a file hold nothing but what is in `known`. A power cut may have taken some of it: there
/// are zeroes. A batch of other records has another checksum, so that it differs in more than zeroes.
fn is_copy(found: &[u8], known: &[u8]) -> bool {
    let mut pairs = found.iter().zip(known);
    found.len() <= known.len() && pairs.all(|(found, known)| found == known || *found == 0)
}

impl Replica {
    /// It is read back. Below its tail all segments are listed, and no write-behind begins one there again,
    /// so that what a manifest names as to be unlinked holds; from there on it is left to the look.
    pub fn read_back(&mut self) {
        let first = self.tail.front().map(|batch| batch.row.base);
        let listed_to = first.unwrap_or(self.log_end);
        self.listed = self.knobs.has(141) && self.tail.is_empty();
        let trusts = self.knobs.has(142);
        self.gone.retain(|base| *base < listed_to || trusts);
    }

    /// Begin to look through the folder.
    pub fn begin_look(&mut self) -> DiskRequest {
        self.job_number += 1;
        self.job = Some(Job::Looking(Look::default()));
        let dir = self.dir.as_str().into();
        DiskRequest::List { dir }
    }

    /// What the look had asked for is done. Once it is over, what is of no use is doomed.
    pub fn look_on(&mut self, result: DiskResult) -> Looked {
        let Some(Job::Looking(mut look)) = self.job.take() else {
            return Looked::Over(Aside::default());
        };
        let aside = match (look.step, result) {
            (Step::Listing, Ok(DiskDone::Listing(files))) => {
                self.begin_comparing(&mut look, files);
                self.next_of_look(&mut look)
            }
            (Step::Comparing, Ok(DiskDone::Data(found))) => {
                self.compare(&mut look, &found);
                self.next_of_look(&mut look)
            }
            // It cannot be told what is in it.
            (Step::Comparing, Err(_)) => {
                look.left.last_mut().into_iter().for_each(Stray::give_up);
                self.next_of_look(&mut look)
            }
            (Step::Renaming, Ok(DiskDone::Done)) => {
                look.renamed();
                self.next_of_look(&mut look)
            }
            (Step::Syncing, Ok(DiskDone::Done)) => None,
            (_, Err(error)) => return Looked::Failed(error),
            (_, Ok(done)) => return Looked::Wrong(done),
        };
        match aside {
            Some(request) => {
                self.job = Some(Job::Looking(look));
                Looked::Ask(request)
            }
            None => Looked::Over(self.end_look(look)),
        }
    }

    fn begin_comparing(&self, look: &mut Look, files: Vec<(String, u64)>) {
        for (name, size) in files {
            let aside = is_aside(&name);
            look.aside.0 += u64::from(aside);
            look.aside.1 += size * u64::from(aside);
            if let Some(base) = segment_base(&name).filter(|base| !self.knows_files_of(*base)) {
                look.found(base, name.clone(), size);
            }
            look.names.insert(name);
        }
        // An append that is under way is no proof yet.
        let durable = self
            .tail
            .iter()
            .take_while(|it| it.row.next <= self.durable_end);
        let bases: Vec<i64> = durable.map(|batch| batch.row.base).collect();
        for stray in &mut look.left {
            let empty = stray.files.iter().all(|(_, size)| *size == 0);
            if empty || self.knobs.has(140) {
                stray.verdict = Verdict::Useless;
                continue;
            }
            match bases.binary_search(&stray.base) {
                Ok(index) => (stray.first, stray.place.index) = (index, index),
                Err(_) => stray.verdict = Verdict::Unknown,
            }
        }
        look.left.reverse();
    }

    /// A segment of this base offset is listed, or its files are on their way to be unlinked.
    fn knows_files_of(&self, base: i64) -> bool {
        let mut dropped = self.doomed.iter().chain(&self.gone);
        dropped.any(|it| *it == base) || self.segments.iter().any(|it| it.base == base)
    }

    fn compare(&self, look: &mut Look, found: &[u8]) {
        let Some(stray) = look.left.last_mut() else {
            return;
        };
        let wanted = stray.piece_len();
        let rows = stray.files[stray.file].0.ends_with(".seal");
        let known = self.copy_of(rows, &mut stray.place, wanted);
        stray.at += wanted as u64;
        if found.len() != wanted || !is_copy(found, &known) {
            stray.give_up();
        }
    }

    /// The next bytes of a segment that begins in the tail, or of its rows.
    fn copy_of(&self, rows: bool, place: &mut Place, len: usize) -> BytesMut {
        let mut out = BytesMut::with_capacity(len);
        let owner = Owner::of(self.cluster, self.id);
        while out.len() < len {
            let batch = self.tail.get(place.index);
            let Some(batch) = batch.filter(|it| it.row.next <= self.durable_end) else {
                break;
            };
            let size = batch.row.size as usize;
            if rows {
                let position = place.position;
                let row = Row {
                    position,
                    ..batch.row
                };
                row.encode(owner, &mut out);
                place.taken = size;
            } else {
                let mut skipped = place.taken;
                for piece in &batch.pieces {
                    let from = skipped.min(piece.len());
                    skipped -= from;
                    let more = (len - out.len()).min(piece.len() - from);
                    out.extend_from_slice(&piece[from..from + more]);
                    place.taken += more;
                }
            }
            if place.taken == size {
                let position = place.position + size as u64;
                *place = Place {
                    index: place.index + 1,
                    position,
                    taken: 0,
                };
            }
        }
        out.truncate(len);
        out
    }

    fn next_of_look(&self, look: &mut Look) -> Option<DiskRequest> {
        let path = |name: &str| -> Path { format!("{}/{name}", self.dir).into() };
        while let Some(stray) = look.left.last_mut() {
            if stray.verdict == Verdict::Useless {
                look.useless.insert(stray.base);
                look.left.pop();
                continue;
            }
            if stray.verdict == Verdict::Unknown {
                // Both files of a segment stay together.
                if let Some((name, _)) = stray.files.get(stray.file) {
                    let (from, to) = (path(name), path(&free_name(&look.names, name)));
                    look.step = Step::Renaming;
                    return Some(DiskRequest::Rename { from, to });
                }
                look.left.pop();
                continue;
            }
            let Some((name, size)) = stray.files.get(stray.file) else {
                stray.verdict = Verdict::Useless;
                continue;
            };
            if stray.at < *size {
                look.step = Step::Comparing;
                return Some(DiskRequest::Read {
                    file: path(name),
                    offset: stray.at,
                    len: stray.piece_len() as u64,
                    past_cache: false,
                });
            }
            stray.next_file();
        }
        // Also for those of a life that ended before this was done: then a segment may take the name.
        look.step = Step::Syncing;
        let dir = self.dir.as_str().into();
        (look.aside.0 > 0).then_some(DiskRequest::SyncDir { dir })
    }

    fn end_look(&mut self, look: Look) -> Aside {
        self.job = None;
        self.listed = true;
        // Held back while this was under way.
        self.drop_passed();
        self.manifest_owed |= !look.useless.is_empty();
        self.doomed.extend(&look.useless);
        let (files, bytes) = look.aside;
        Aside {
            now: look.set_aside,
            files,
            bytes,
        }
    }
}

impl Look {
    fn found(&mut self, base: i64, name: String, size: u64) {
        // A listing is sorted by name: the files of a segment follow each other.
        if let Some(stray) = self.left.last_mut().filter(|stray| stray.base == base) {
            return stray.files.push((name, size));
        }
        self.left.push(Stray {
            base,
            files: vec![(name, size)],
            file: 0,
            at: 0,
            place: Place::default(),
            first: 0,
            verdict: Verdict::Open,
        });
    }

    fn renamed(&mut self) {
        let Some(stray) = self.left.last_mut() else {
            return;
        };
        let (name, size) = &stray.files[stray.file];
        self.names.insert(free_name(&self.names, name));
        self.set_aside.push(name.clone());
        self.aside.0 += 1;
        self.aside.1 += size;
        stray.file += 1;
    }
}

impl Stray {
    fn piece_len(&self) -> usize {
        let size = self.files.get(self.file).map_or(0, |(_, size)| *size);
        size.saturating_sub(self.at).min(PIECE as u64) as usize
    }

    fn next_file(&mut self) {
        self.file += 1;
        self.at = 0;
        self.place = Place {
            index: self.first,
            ..Place::default()
        };
    }

    fn give_up(&mut self) {
        (self.verdict, self.file) = (Verdict::Unknown, 0);
    }
}

/// A name beside this one that no file has.
fn free_name(names: &BTreeSet<String>, name: &str) -> String {
    let mut free = format!("{name}{SET_ASIDE}");
    let mut number = 1;
    while names.contains(&free) {
        number += 1;
        free = format!("{name}{SET_ASIDE}{number}");
    }
    free
}
