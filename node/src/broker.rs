//! Starting and stopping a broker: the data folder, a thread per shard, the acceptor, signals.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use seedlog_core::contract::{Config, Halt, Input, Knobs};
use seedlog_core::ids::ShardId;
use seedlog_core::limits::Limits;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, Signal, SignalKind};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};

use crate::acceptor::{Acceptor, Place};
use crate::disk::Executor;
use crate::folder::Folder;
use crate::limits::{raise_open_files, Descriptors};
use crate::operator::tell;
use crate::shard_loop::{self, Event, Lanes};
use crate::throttle::Throttle;

/// `max.connections`.
const CONNECTIONS_MAX: usize = 20_000;
/// How often the data folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Data folder.
    pub data: PathBuf,
    /// Shards; 0 for one per core. Another number than at the last start moves partitions first.
    pub shards: u16,
    /// First and largest size of each shard's journal, bytes.
    pub journal_bytes: (u64, u64),
    /// For tests: bytes that the disk takes in a second, all shards together.
    pub disk_bytes_per_second: Option<u64>,
}

/// Run a broker until it is told to stop. Returns the process' exit code.
pub fn run(options: &Options, greet: impl Fn(SocketAddr)) -> Result<u8, String> {
    let folder = Folder::open(&options.data)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(serve(options, &folder, greet))
}

/// Signals that ask for a stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is gone. Not there where it was said to be ignored (`nohup`).
    hangup: Option<Signal>,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        let hangup = SignalKind::hangup();
        let ignored = fs::read_to_string("/proc/self/status").is_ok_and(|status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask >> (hangup.as_raw_value() - 1) & 1 == 1)
        });
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignored { None } else { Some(signal(hangup)?) },
        })
    }

    /// Wait for one.
    async fn recv(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hangup => {}
        }
    }
}

async fn serve(
    options: &Options,
    folder: &Folder,
    greet: impl Fn(SocketAddr),
) -> Result<u8, String> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get().min(64) as u16);
    let wanted = match options.shards {
        0 => cores,
        shards => shards,
    };
    let listen = options.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| format!("{listen}: {e}"))?;
    let mut signals = Signals::listen().map_err(|e| e.to_string())?;
    let mut acceptor = Acceptor::new(listener);
    loop {
        let shards = Shards::start(options, folder, wanted)?;
        let live = shards.live(folder, &mut acceptor, &mut signals, &greet);
        if live.await? == Halt::Clean {
            return Ok(0);
        }
    }
}

/// The shards of one life of the broker, each on its thread.
struct Shards {
    wanted: u16,
    lanes: Vec<UnboundedSender<Event>>,
    halts: UnboundedReceiver<(ShardId, Halt)>,
    readies: UnboundedReceiver<ShardId>,
    /// Sockets that there are descriptors for.
    sockets: usize,
}

impl Shards {
    fn start(options: &Options, folder: &Folder, wanted: u16) -> Result<Shards, String> {
        let running = folder.shards_to_run(wanted)?;
        let (halted, halts) = unbounded_channel();
        let (ready, readies) = unbounded_channel();
        let (sends, receives): (Vec<_>, Vec<_>) = (0..running).map(|_| unbounded_channel()).unzip();
        let files = Descriptors::divide(raise_open_files(), running);
        if files.sockets == 0 {
            let limit = files.limit;
            return Err(format!(
                "{limit} open files (ulimit -n) are too few for {running} shards and a client"
            ));
        }
        let throttle = Throttle::new(options.disk_bytes_per_second);
        let work = crate::work::start(sends.clone()).map_err(|e| format!("no thread: {e}"))?;
        for (shard, events) in receives.into_iter().enumerate() {
            let shard = shard as u16;
            let disk = Executor::start(
                &folder.path,
                shard,
                files.per_thread,
                &sends[usize::from(shard)],
                &throttle,
            )
            .map_err(|e| format!("no thread: {e}"))?;
            let lanes = Lanes {
                events,
                shards: sends.clone(),
                disk,
                work: work.clone(),
                halted: halted.clone(),
                ready: ready.clone(),
            };
            let counts = (wanted, running);
            start_shard(config(folder, shard, counts, options.journal_bytes), lanes)?;
        }
        Ok(Shards {
            wanted,
            lanes: sends,
            halts,
            readies,
            sockets: usize::try_from(files.sockets).unwrap_or(usize::MAX),
        })
    }

    /// Serve until every shard is over: cleanly, or to be started again.
    async fn live(
        mut self,
        folder: &Folder,
        acceptor: &mut Acceptor,
        signals: &mut Signals,
        greet: &impl Fn(SocketAddr),
    ) -> Result<Halt, String> {
        acceptor.allow(self.sockets.min(CONNECTIONS_MAX));
        let local = acceptor.local_addr().map_err(|e| e.to_string())?;
        let wanted = usize::from(self.wanted);
        let mut stopping = false;
        let mut last = Halt::Clean;
        let (mut over, mut serving, mut next) = (0, 0, 0);
        let mut look = tokio::time::interval(LOOK_EVERY);
        while over < self.lanes.len() {
            tokio::select! {
                biased;
                halt = self.halts.recv() => match halt {
                    Some((shard, Halt::Fatal(reason))) => {
                        return Err(format!("shard {} stopped: {reason}", shard.0));
                    }
                    Some((_, halt)) => (over, last) = (over + 1, halt),
                    None => return Err("the shards are gone".into()),
                },
                Some(_) = self.readies.recv() => {
                    serving += 1;
                    if serving == wanted {
                        greet(local);
                    }
                }
                () = signals.recv() => stop(&mut stopping, &self.lanes),
                _ = look.tick() => folder.is_still_there()?,
                (stream, place) = acceptor.accept(), if !stopping && serving == wanted => {
                    hand_over(stream, place, &self.lanes[next % wanted]);
                    next += 1;
                }
            }
        }
        match stopping {
            true => Ok(Halt::Clean),
            false => Ok(last),
        }
    }
}

/// Move a socket to a shard's thread, whose own runtime will drive it.
fn hand_over(stream: tokio::net::TcpStream, place: Place, shard: &UnboundedSender<Event>) {
    if let Ok(stream) = stream.into_std() {
        let _ = shard.send(Event::Accepted(stream, place));
    }
}

/// The first signal asks for a clean stop, the second ends at once.
fn stop(stopping: &mut bool, shards: &[UnboundedSender<Event>]) {
    if std::mem::replace(stopping, true) {
        std::process::exit(130);
    }
    tell("stopping; another signal ends it at once");
    for shard in shards {
        let _ = shard.send(Event::Input(Input::Shutdown));
    }
}

fn start_shard(config: Config, lanes: Lanes) -> Result<(), String> {
    let name = format!("shard-{}", config.shard.0);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| format!("no randomness: {e}"))?;
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => {
                let local = tokio::task::LocalSet::new();
                runtime.block_on(local.run_until(shard_loop::run(config, seed, lanes)));
            }
            Err(error) => panic!("no runtime: {error}"),
        }
    };
    thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|e| format!("no thread: {e}"))?;
    Ok(())
}

fn config(
    folder: &Folder,
    shard: u16,
    (wanted, running): (u16, u16),
    journal_bytes: (u64, u64),
) -> Config {
    Config {
        node: folder.stamp.node,
        cluster_id: folder.stamp.cluster,
        directory_id: folder.stamp.directory,
        shard: ShardId(shard),
        shards: wanted,
        running,
        advertised: None,
        auto_create_topics: true,
        default_partitions: 1,
        limits: Limits::default().for_shards(wanted),
        journal_initial_bytes: journal_bytes.0,
        journal_max_bytes: journal_bytes.1,
        knobs: Knobs::default(),
    }
}
