//! Files that a disk thread keeps open, so many at most: the one unused for longest is closed first.

use std::collections::BTreeMap;
use std::fs::File;

/// Open files by name.
#[derive(Debug)]
pub struct OpenFiles {
    most: usize,
    files: BTreeMap<String, (File, u64)>,
    /// Names by last use.
    by_use: BTreeMap<u64, String>,
    uses: u64,
}

impl OpenFiles {
    /// None is open yet; `most` may be, and one always.
    pub fn new(most: usize) -> OpenFiles {
        OpenFiles {
            most: most.max(1),
            files: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
        }
    }

    /// The file, if it is open; it counts as used now.
    pub fn get(&mut self, name: &str) -> Option<&mut File> {
        let (file, used) = self.files.get_mut(name)?;
        let name = self.by_use.remove(used)?;
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, name);
        Some(file)
    }

    /// Room for one more: others are closed.
    pub fn make_room(&mut self) {
        while self.files.len() >= self.most {
            let Some((_, name)) = self.by_use.pop_first() else {
                return;
            };
            self.files.remove(&name);
        }
    }

    /// Keep a file open that is not yet.
    pub fn keep(&mut self, name: &str, file: File) {
        self.remove(name);
        self.make_room();
        self.uses += 1;
        self.files.insert(name.to_string(), (file, self.uses));
        self.by_use.insert(self.uses, name.to_string());
    }

    /// Close it.
    pub fn remove(&mut self, name: &str) {
        if let Some((_, used)) = self.files.remove(name) {
            self.by_use.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_unused_for_longest_is_closed() {
        let file = || File::open("/dev/null").expect("open");
        let mut open = OpenFiles::new(3);
        for name in ["z", "a", "m"] {
            open.keep(name, file());
        }
        assert!(open.get("z").is_some());
        open.keep("b", file());
        let kept = ["a", "b", "m", "z"].map(|name| open.files.contains_key(name));
        assert_eq!(kept, [false, true, true, true]);
        open.remove("m");
        open.keep("c", file());
        open.keep("d", file());
        let kept = ["b", "c", "d", "z"].map(|name| open.files.contains_key(name));
        assert_eq!(kept, [true, true, true, false]);
        assert_eq!((open.files.len(), open.by_use.len()), (3, 3));
        open.keep("d", file());
        assert_eq!((open.files.len(), open.by_use.len()), (3, 3));
    }
}
