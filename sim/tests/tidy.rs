//! The house's rules over its own sources: arrows, sizes, banned paths, reasons for every `allow`.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("folder")
        .map(|entry| entry.expect("entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            found.push((path.display().to_string(), text));
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for room in ["core", "net", "sim", "node"] {
        sources(&root().join(room), &mut found);
    }
    assert!(found.len() > 40, "the sources were not found");
    found
}

/// Files and functions that are too long. Relies on rustfmt: a function ends at a brace indented
/// like its `fn`.
fn too_long(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut faults = Vec::new();
    if lines.len() > FILE_LINES_MAX {
        faults.push(format!("{path}: {} lines", lines.len()));
    }
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let opens = [
            "fn ",
            "pub fn ",
            "pub(super) fn ",
            "pub(crate) fn ",
            "async fn ",
            "pub async fn ",
        ];
        if !opens.iter().any(|open| code.starts_with(open)) {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let length = lines[start..]
            .iter()
            .position(|line| *line == close)
            .unwrap_or(0);
        if length > FUNCTION_LINES_MAX {
            faults.push(format!(
                "{path}:{}: a function of {length} lines",
                start + 1
            ));
        }
    }
    faults
}

/// Paths that core and net may not name.
fn banned(path: &str, text: &str) -> Vec<String> {
    let inside = ["/core/src/", "/net/src/"]
        .iter()
        .any(|room| path.contains(room));
    let names = [
        "tokio",
        "madsim",
        "std::fs",
        "std::net",
        "std::thread",
        "Instant::now",
        "SystemTime::now",
        "HashMap",
        "HashSet",
        "f32",
        "f64",
    ];
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let hit = |line: &str| {
        names
            .iter()
            .find(|name| line.contains(**name))
            .map(|name| name.to_string())
    };
    match inside {
        true => code
            .filter_map(hit)
            .map(|name| format!("{path}: names {name}"))
            .collect(),
        false => Vec::new(),
    }
}

/// Every `allow` has a reason; no test is ignored; no room is called a drawer.
fn manners(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let allow = concat!("#[", "allow(");
    for (at, _) in text.match_indices(allow) {
        let end = text[at..].find(")]").map_or(text.len(), |end| at + end);
        match text[at..end].contains("reason") {
            true => println!("{path}: {}", text[at..end].replace('\n', " ")),
            false => faults.push(format!("{path}: an allow without a reason")),
        }
    }
    if text.contains(concat!("#[", "ignore")) {
        faults.push(format!("{path}: an ignored test"));
    }
    let drawer = ["utils", "common", "helpers"];
    if drawer
        .iter()
        .any(|name| path.contains(&format!("/{name}.rs")) || path.contains(&format!("/{name}/")))
    {
        faults.push(format!("{path}: a drawer, not a room"));
    }
    faults
}

/// Dependencies that point the wrong way.
fn arrows(room: &str, manifest: &str) -> Vec<String> {
    let allowed: &[&str] = match room {
        "core" => &[],
        "net" => &["core"],
        _ => &["core", "net"],
    };
    let named = |other: &&str| {
        manifest
            .lines()
            .any(|line| line.starts_with(&format!("seedlog-{other}")))
    };
    let rooms = ["core", "net", "sim", "node"];
    let wrong = rooms
        .iter()
        .copied()
        .filter(|other| named(other) && !allowed.contains(other));
    wrong.map(|other| format!("{room} -> {other}")).collect()
}

#[test]
fn the_house_is_tidy() {
    let mut faults = Vec::new();
    for (path, text) in all_sources() {
        faults.extend(too_long(&path, &text));
        faults.extend(banned(&path, &text));
        faults.extend(manners(&path, &text));
    }
    for room in ["core", "net", "sim", "node"] {
        let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).expect("manifest");
        faults.extend(arrows(room, &manifest));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_rule_sees_a_fault() {
    let long = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(71));
    assert_eq!(too_long("x.rs", &long).len(), 1);
    assert_eq!(too_long("x.rs", &"\n".repeat(801)).len(), 1);
    assert_eq!(banned("/core/src/x.rs", "use std::fs;\n").len(), 1);
    assert_eq!(banned("/node/src/x.rs", "use std::fs;\n").len(), 0);
    assert_eq!(manners("x.rs", concat!("#[", "allow(dead_code)]")).len(), 1);
    assert_eq!(manners("x.rs", concat!("#[", "ignore]")).len(), 1);
    assert_eq!(manners("a/utils.rs", "").len(), 1);
    assert_eq!(
        arrows("core", "seedlog-net.workspace = true"),
        ["core -> net"]
    );
    assert_eq!(
        arrows("node", "seedlog-sim.workspace = true"),
        ["node -> sim"]
    );
    assert!(arrows("sim", "seedlog-net.workspace = true").is_empty());
}
