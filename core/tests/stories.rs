//! Golden stories: a few verbs in a text file, the states they lead to printed below `----`.
//! `REWRITE=1 cargo test -p seedlog-core` writes what happens now; read the diff before you keep it.

mod memory_broker;

use memory_broker::Broker;

/// Run a story's verbs; one printed line per line of outcome.
fn tell(script: &str) -> String {
    let mut broker = Broker::start(2);
    let mut told = String::new();
    for line in script.lines().filter(|line| !line.trim().is_empty()) {
        told.push_str(&format!("{line}\n"));
        for outcome in broker.verb(line) {
            told.push_str(&format!("    {outcome}\n"));
        }
    }
    told
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test reads its golden files")]
fn stories_are_told_as_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("golden folder")
        .map(|entry| entry.expect("entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "stories are missing");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let (script, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let told = tell(script);
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&file, format!("{script}----\n{told}")).expect("writable");
            continue;
        }
        assert!(told == expected, "{file:?} went otherwise:\n{told}");
    }
}

#[test]
fn a_story_told_otherwise_is_seen() {
    let script = "topic a partitions=1\nproduce a/0 x\n";
    assert_ne!(tell(script), tell("topic a partitions=1\nproduce a/0 yy\n"));
}
