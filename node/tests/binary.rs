//! The binary as its user meets it: one owner per folder, clean stops, refusals that touch nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::time::Duration;

use bytes::Bytes;
use seedlog_core::api::*;
use seedlog_core::error_code::ErrorCode;
use seedlog_core::ids::Uuid;
use seedlog_net::client::Connection;

const SEEDLOG: &str = env!("CARGO_BIN_EXE_seedlog");

/// No process that a test starts lives longer: whatever waits for it then comes to an end.
const LIFE_MAX: Duration = Duration::from_secs(120);

/// Ends a process that outlives [`LIFE_MAX`], unless this is dropped before.
struct Watchdog(#[allow(dead_code, reason = "dropping it tells the thread")] Sender<()>);

fn watch(process: &Child) -> Watchdog {
    let (done, over) = channel();
    let id = process.id().to_string();
    std::thread::spawn(move || {
        if over.recv_timeout(LIFE_MAX) == Err(RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
    });
    Watchdog(done)
}

/// Wait for a process to end.
fn ended(process: Child) -> Output {
    let _watched = watch(&process);
    process.wait_with_output().expect("ended")
}

/// Run a command to its end.
fn output_of(command: &mut Command) -> Output {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    ended(command.spawn().expect("run"))
}

struct Broker {
    process: Child,
    address: String,
    _watched: Watchdog,
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
    dev_with_journal(data, "131072")
}

fn dev_with_journal(data: &Path, bytes: &str) -> Command {
    let mut command = Command::new(SEEDLOG);
    command.args(["dev", "--port", "0", "--journal-initial-bytes", bytes]);
    command.arg("--data").arg(data);
    command.stdin(Stdio::null());
    command
}

/// Start a broker and wait until it says that it is ready.
fn start(data: &Path) -> Broker {
    started(&mut dev(data))
}

fn started(command: &mut Command) -> Broker {
    let mut process = command.stdout(Stdio::piped()).spawn().expect("started");
    let watched = watch(&process);
    let mut line = String::new();
    let out = process.stdout.as_mut().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    let address = line
        .strip_prefix("seedlog is ready on ")
        .and_then(|rest| rest.split(',').next());
    let address = address.unwrap_or_else(|| {
        let mut told = String::new();
        if let Some(stderr) = process.stderr.as_mut() {
            let _ = stderr.read_to_string(&mut told);
        }
        panic!("not ready: {line}{told}")
    });
    Broker {
        address: address.into(),
        process,
        _watched: watched,
    }
}

fn client(broker: &Broker, args: &[&str]) -> String {
    client_with(broker, args, &[])
}

/// Run a command with this standard input; returns its standard output.
fn client_with(broker: &Broker, args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(SEEDLOG);
    command.args(args).args(["-b", &broker.address]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.stderr(Stdio::piped()).spawn().expect("run");
    let _watched = watch(&process);
    let mut stdin = process.stdin.take().expect("piped");
    stdin.write_all(input).expect("read");
    drop(stdin);
    let out = process.wait_with_output().expect("ended");
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
    let told = refused(&output_of(&mut dev(&data)));
    assert!(told.contains(&data.display().to_string()), "{told}");
    assert!(told.contains(&broker.process.id().to_string()), "{told}");
    assert!(contents(&data) == before, "something was written");
    drop(broker);
    fs::remove_dir_all(&data).expect("removed");
}

/// Its open files would take records that no start finds, or a second broker would come in.
#[test]
fn a_broker_whose_folder_or_lock_is_gone_ends() {
    for whole in [true, false] {
        let (data, moved) = (folder("removed"), folder("removed-moved"));
        let mut broker = started(dev(&data).stderr(Stdio::piped()));
        match whole {
            true => fs::rename(&data, &moved).expect("moved"),
            false => fs::remove_file(data.join("lock")).expect("removed"),
        }
        let mut told = String::new();
        let stderr = broker.process.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut told).expect("text");
        let code = broker.process.wait().expect("ended").code();
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(&data.display().to_string()), "{told}");
        assert!(told.contains("removed while the broker ran"), "{told}");
        // Until it noticed it may have made files anew.
        for path in [data, moved] {
            let _ = fs::remove_dir_all(&path);
        }
    }
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

/// `nohup` has the signal ignored, and a terminal has not.
#[test]
fn a_terminal_that_is_gone_stops_cleanly_unless_that_is_ignored() {
    let data = folder("hangup");
    for (how, stops) in [
        ("--default-signal=HUP", true),
        ("--ignore-signal=HUP", false),
    ] {
        let plain = dev(&data);
        let mut command = Command::new("env");
        command.arg(how).arg(SEEDLOG).args(plain.get_args());
        command.stdin(Stdio::null());
        let mut broker = started(&mut command);
        if !stops {
            send(&broker, "-HUP");
            client(&broker, &["topic", "ls"]);
        }
        let signal = if stops { "-HUP" } else { "-TERM" };
        assert_eq!(stop(&mut broker, signal), Some(0), "{how}");
    }
    fs::remove_dir_all(&data).expect("removed");
}

#[test]
fn what_cannot_be_written_is_said_and_no_panic() {
    let data = folder("full-output");
    let broker = start(&data);
    client_with(&broker, &["produce", "a"], b"x\n");
    let full = || fs::OpenOptions::new().write(true).open("/dev/full");
    for args in [
        &["topic", "ls"][..],
        &["topic", "describe", "a"],
        &["topic", "create", "b"],
        &["consume", "a", "--until-end"],
    ] {
        let mut command = Command::new(SEEDLOG);
        command.args(args).args(["-b", &broker.address]);
        command.stdout(full().expect("a device"));
        let out = ended(command.stderr(Stdio::piped()).spawn().expect("run"));
        let told = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {told}");
        assert!(told.contains("No space left"), "{args:?}: {told}");
    }
    drop(broker);
    fs::remove_dir_all(&data).expect("removed");
}

#[test]
fn a_line_that_is_typed_is_sent_at_once() {
    let data = folder("typed");
    let broker = start(&data);
    client(&broker, &["topic", "create", "a"]);
    let all = || client(&broker, &["consume", "a", "--until-end"]);
    let mut command = Command::new(SEEDLOG);
    command.args(["produce", "a", "-b", &broker.address]);
    let command = command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("run");
    let _watched = watch(&process);
    let mut typed = process.stdin.take().expect("piped");
    let mut sent = String::new();
    for line in ["x y\n", "\n", "z\r\n"] {
        typed.write_all(line.as_bytes()).expect("read");
        sent += &line.replace('\r', "");
        // The watchdog ends a wait in vain.
        while all() != sent {}
    }
    typed.write_all(b"no end").expect("read");
    drop(typed);
    let out = process.wait_with_output().expect("ended");
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(told.starts_with("4 records acknowledged"), "{told}");
    assert_eq!(all(), sent + "no end\n");
    drop(broker);
    fs::remove_dir_all(&data).expect("removed");
}

/// Short lines: what a record weighs beside its value is most of a batch.
#[test]
fn many_short_lines_fit_into_their_batches() {
    let data = folder("short");
    let broker = start(&data);
    client(&broker, &["topic", "create", "short"]);
    let lines: Vec<String> = (100_000..250_000).map(|n| n.to_string()).collect();
    client_with(&broker, &["produce", "short"], lines.join("\n").as_bytes());
    assert!(all_lines(&broker, "short") == lines);
    drop(broker);
    fs::remove_dir_all(&data).expect("removed");
}

/// A pipe that nobody reads from, full to the last byte.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // As many as a pipe of Linux holds unless it is told otherwise (pipe(7)).
    writer.write_all(&[b'x'; 64 << 10]).expect("taken");
    (reader, writer)
}

/// `seedlog dev | less`, or a terminal that Ctrl-S holds: nobody takes what the broker tells.
#[test]
fn a_full_pipe_that_nobody_reads_stops_nothing() {
    let data = folder("full-pipe");
    let (_reader, writer) = full_pipe();
    let mut command = dev(&data);
    let mut broker = started(command.stderr(writer));
    client(&broker, &["topic", "create", "served"]);
    // Each is told of, at most: no request begins so.
    let garbage = || {
        let mut stream = TcpStream::connect(&broker.address).expect("connected");
        stream.write_all(&[255; 8]).expect("sent");
        let mut rest = Vec::new();
        // Closed, one way or the other.
        let _ = stream.read_to_end(&mut rest);
    };
    (0..8).for_each(|_| garbage());
    for _ in 0..4 {
        client_with(&broker, &["produce", "served"], b"line");
    }
    assert_eq!(all_lines(&broker, "served").len(), 4);
    assert_eq!(stop(&mut broker, "-TERM"), Some(0));
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
    let told = refused(&output_of(&mut dev(&data)));
    assert!(told.contains("journal/shard-0.ring"), "{told}");
    let after = fs::read(&ring).expect("readable");
    assert!(after == bytes, "a refused journal was written to");
    fs::remove_dir_all(&data).expect("removed");
}

/// Every line of a topic as a reader that starts now finds it, sorted.
fn all_lines(broker: &Broker, topic: &str) -> Vec<String> {
    let told = client(broker, &["consume", topic, "--until-end"]);
    let mut lines: Vec<String> = told.lines().map(str::to_string).collect();
    lines.sort();
    lines
}

#[test]
fn another_number_of_shards_is_only_another_start() {
    let data = folder("shards");
    let with = |shards: &str| started(dev(&data).args(["--shards", shards]));
    let mut broker = with("2");
    client(&broker, &["topic", "create", "clicks", "--partitions", "6"]);
    let lines: Vec<String> = (1000..3000).map(|n| format!("line {n}")).collect();
    let input = lines.join("\n");
    client_with(&broker, &["produce", "clicks"], input.as_bytes());
    for (shards, signal) in [("3", "-KILL"), ("1", "-TERM"), ("2", "-KILL")] {
        stop(&mut broker, signal);
        broker = with(shards);
        assert!(
            all_lines(&broker, "clicks") == lines,
            "with {shards} shards"
        );
        let journal = fs::read_dir(data.join("journal")).expect("a folder");
        let names = journal.flatten().map(|entry| entry.file_name());
        let rings = names.filter(|name| name.to_string_lossy().ends_with(".ring"));
        assert_eq!(rings.count().to_string(), shards);
    }
    drop(broker);
    fs::remove_dir_all(&data).expect("removed");
}

/// A batch larger than a journal block usually is: one block takes it whole.
#[test]
fn a_batch_of_ten_megabytes_goes_in_and_comes_out() {
    let data = folder("megabytes");
    let mut command = Command::new(SEEDLOG);
    command.args(["dev", "--port", "0", "--shards", "1", "--data"]);
    let mut broker = started(command.arg(&data).stdin(Stdio::null()));
    let config = ["--config", "max.message.bytes=16000000"];
    client(
        &broker,
        &[&["topic", "create", "large"], &config[..]].concat(),
    );
    let line = "y".repeat(10_000_000);
    client_with(&broker, &["produce", "large"], line.as_bytes());
    client_with(&broker, &["produce", "large"], b"small");
    stop(&mut broker, "-KILL");
    let broker = started(&mut command);
    assert!(all_lines(&broker, "large") == ["small".to_string(), line]);
    drop(broker);
    fs::remove_dir_all(&data).expect("removed");
}

/// A request larger than what all of its shard's connections may have waiting together is taken.
#[test]
fn a_request_larger_than_its_shards_room_is_heard() {
    let data = folder("large-request");
    let mut command = dev(&data);
    let broker = started(command.args(["--shards", "16"]));
    client(&broker, &["topic", "create", "small"]);
    let topic = TopicRef {
        name: "small".into(),
        id: Uuid::ZERO,
    };
    let partitions = vec![(0, Some(Bytes::from(vec![7; 12 << 20])))];
    let request = Request::Produce(ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topics: vec![TopicProduce { topic, partitions }],
        ..Default::default()
    });
    let mut stream = TcpStream::connect(&broker.address).expect("connected");
    let mut codec = Connection::new("large");
    for _ in 0..3 {
        let (_, bytes) = codec.request(&request);
        stream.write_all(&bytes).expect("taken");
        match answers(&mut stream, &mut codec, 1).remove(0) {
            Response::Produce(told) => {
                let error = told.topics[0].1[0].error;
                assert_eq!(error, ErrorCode::CorruptMessage);
            }
            other => panic!("{other:?}"),
        }
    }
    drop(broker);
    fs::remove_dir_all(&data).expect("removed");
}

fn fetch(topic: &str, max_wait_ms: i32) -> Request {
    let partition = PartitionFetch {
        index: 0,
        current_leader_epoch: -1,
        fetch_offset: 0,
        last_fetched_epoch: -1,
        max_bytes: 32 << 20,
    };
    let topic = TopicRef {
        name: topic.into(),
        id: Uuid::ZERO,
    };
    Request::Fetch(FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 32 << 20,
        session_epoch: -1,
        topics: vec![TopicFetch {
            topic,
            partitions: vec![partition],
        }],
        ..Default::default()
    })
}

/// The answers that arrive until there are `count`.
fn answers(stream: &mut TcpStream, codec: &mut Connection, count: usize) -> Vec<Response> {
    let mut found = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while found.len() < count {
        let size = stream.read(&mut chunk).expect("read");
        assert!(size > 0, "closed after {} answers", found.len());
        let chunk = Bytes::copy_from_slice(&chunk[..size]);
        let more = codec.receive(chunk).expect("understood");
        found.extend(more.into_iter().map(|(_, response)| response));
    }
    found
}

#[test]
fn a_stop_answers_who_waits() {
    let data = folder("parked");
    let mut broker = start(&data);
    client(&broker, &["topic", "create", "empty"]);
    let mut stream = TcpStream::connect(&broker.address).expect("connected");
    let mut codec = Connection::new("test");
    // Both in one piece: when the first is answered, the second has been taken too, and waits.
    let first = codec
        .request(&Request::Metadata(MetadataRequest::default()))
        .1;
    let second = codec.request(&fetch("empty", 600_000)).1;
    stream.write_all(&[first, second].concat()).expect("sent");
    answers(&mut stream, &mut codec, 1);
    assert_eq!(stop(&mut broker, "-TERM"), Some(0));
    let answer = answers(&mut stream, &mut codec, 1);
    assert!(matches!(&answer[0], Response::Fetch(fetch) if fetch.topics.len() == 1));
    fs::remove_dir_all(&data).expect("removed");
}

#[test]
fn a_second_signal_stops_at_once() {
    let data = folder("twice");
    // So large that nothing is written behind: an answer ends where the segments do.
    let mut command = dev_with_journal(&data, "134217728");
    // One shard has all the room for fetched records; an answer takes a quarter of it.
    command.args(["--shards", "1"]);
    let mut broker = started(command.stderr(Stdio::piped()));
    client(&broker, &["topic", "create", "large"]);
    let line = "x".repeat(100_000);
    let input = vec![line; 300].join("\n");
    client_with(&broker, &["produce", "large"], input.as_bytes());
    // A client that asks for more than sockets hold, and reads no more of it than its size.
    let mut stream = TcpStream::connect(&broker.address).expect("connected");
    let (_, frame) = Connection::new("test").request(&fetch("large", 1000));
    stream.write_all(&frame).expect("sent");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer begins");
    assert!(i32::from_be_bytes(size) > 20 << 20);
    send(&broker, "-TERM");
    let mut told = String::new();
    let errors = broker.process.stderr.take().expect("piped");
    BufReader::new(errors).read_line(&mut told).expect("a line");
    assert!(told.contains("stopping"), "{told}");
    assert_eq!(stop(&mut broker, "-INT"), Some(130));
    fs::remove_dir_all(&data).expect("removed");
}
