//! The binary as its user meets it: one owner per folder, clean stops, refusals that touch nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const SEEDLOG: &str = env!("CARGO_BIN_EXE_seedlog");

struct Broker {
    process: Child,
    address: String,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A failed test must not leave a broker behind; one that has ended is no error.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("seedlog-binary-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

fn dev(data: &Path) -> Command {
    let mut command = Command::new(SEEDLOG);
    command.args(["dev", "--port", "0", "--journal-initial-bytes", "131072"]);
    command.arg("--data").arg(data);
    command.stdin(Stdio::null());
    command
}

/// Start a broker and wait until it says that it is ready.
fn start(data: &Path) -> Broker {
    let mut process = dev(data).stdout(Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    let out = process.stdout.as_mut().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    let address = line
        .strip_prefix("seedlog is ready on ")
        .and_then(|rest| rest.split(',').next());
    let address = address.unwrap_or_else(|| panic!("not ready: {line}"));
    Broker {
        address: address.into(),
        process,
    }
}

fn client(broker: &Broker, args: &[&str]) -> String {
    let out = Command::new(SEEDLOG)
        .args(args)
        .args(["-b", &broker.address])
        .stdin(Stdio::null())
        .output()
        .expect("run");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{args:?}: {told}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn send(broker: &Broker, signal: &str) {
    let id = broker.process.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.expect("kill").success());
}

/// Stop every thread of the broker where it is, and wait until the last one has.
fn hold_still(broker: &Broker) {
    send(broker, "-STOP");
    let tasks = format!("/proc/{}/task", broker.process.id());
    let stopped = |task: &fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" T"))
    };
    let all = || {
        fs::read_dir(&tasks)
            .expect("tasks")
            .flatten()
            .all(|task| stopped(&task))
    };
    while !all() {
        std::thread::yield_now();
    }
}

fn stop(broker: &mut Broker, signal: &str) -> Option<i32> {
    send(broker, signal);
    broker.process.wait().expect("ended").code()
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).expect("readable"))),
        }
    }
    found
}

fn refused(out: &Output) -> String {
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(told.lines().count(), 1, "{told}");
    told
}

#[test]
fn a_second_process_names_folder_and_owner_and_writes_nothing() {
    let data = folder("owner");
    let broker = start(&data);
    // The owner itself writes now and then; it keeps the lock while it is held still.
    hold_still(&broker);
    let before = contents(&data);
    let told = refused(&dev(&data).output().expect("run"));
    assert!(told.contains(&data.display().to_string()), "{told}");
    assert!(told.contains(&broker.process.id().to_string()), "{told}");
    assert!(contents(&data) == before, "something was written");
    drop(broker);
    fs::remove_dir_all(&data).expect("removed");
}

#[test]
fn both_signals_stop_cleanly_and_topics_stay() {
    let data = folder("signals");
    for (number, signal) in ["-TERM", "-INT"].into_iter().enumerate() {
        let mut broker = start(&data);
        let names: Vec<String> = (0..=number).map(|n| format!("topic-{n}")).collect();
        client(&broker, &["topic", "create", &names[number]]);
        let listed = client(&broker, &["topic", "ls"]);
        assert!(names.iter().all(|name| listed.contains(name)), "{listed}");
        assert_eq!(stop(&mut broker, signal), Some(0), "{signal}");
    }
    fs::remove_dir_all(&data).expect("removed");
}

#[test]
fn a_damaged_journal_stops_the_start_with_its_name_and_is_left_alone() {
    let data = folder("damaged");
    let mut broker = start(&data);
    client(&broker, &["topic", "create", "kept"]);
    assert_eq!(stop(&mut broker, "-TERM"), Some(0));
    let ring = data.join("journal/shard-0.ring");
    let mut bytes = fs::read(&ring).expect("readable");
    // Both header pages.
    bytes[20] ^= 1;
    bytes[4096 + 20] ^= 1;
    fs::write(&ring, &bytes).expect("written");
    let told = refused(&dev(&data).output().expect("run"));
    assert!(told.contains("journal/shard-0.ring"), "{told}");
    let after = fs::read(&ring).expect("readable");
    assert!(after == bytes, "a refused journal was written to");
    fs::remove_dir_all(&data).expect("removed");
}
