//! Starting and stopping a broker: the data folder, a thread per shard, the acceptor, signals.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use seedlog_core::contract::{Config, Halt, Input, Knobs};
use seedlog_core::ids::ShardId;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::mpsc::{unbounded_channel, UnboundedSender};

use crate::disk::Executor;
use crate::folder::Folder;
use crate::shard_loop::{self, Event, Lanes};

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Data folder.
    pub data: PathBuf,
    /// Shards of a new data folder; 0 for one per core.
    pub shards: u16,
    /// First and largest size of each shard's journal, bytes.
    pub journal_bytes: (u64, u64),
}

/// Run a broker until it is told to stop. Returns the process' exit code.
pub fn run(options: &Options, greet: impl Fn(SocketAddr)) -> Result<u8, String> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get().min(64) as u16);
    let wanted = if options.shards == 0 {
        cores
    } else {
        options.shards
    };
    let folder = Folder::open(&options.data, wanted)?;
    if folder.stamp.shards != wanted && options.shards != 0 {
        let kept = folder.stamp.shards;
        eprintln!("seedlog: the data folder was made for {kept} shards and keeps them");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(serve(options, &folder, greet))
}

async fn serve(
    options: &Options,
    folder: &Folder,
    greet: impl Fn(SocketAddr),
) -> Result<u8, String> {
    let listen = options.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| format!("{listen}: {e}"))?;
    let local = listener
        .local_addr()
        .map_err(|e| format!("{listen}: {e}"))?;
    let (halted, mut halts) = unbounded_channel();
    let (ready, mut readies) = unbounded_channel();
    let count = folder.stamp.shards;
    let (sends, receives): (Vec<_>, Vec<_>) = (0..count).map(|_| unbounded_channel()).unzip();
    let work = crate::work::start(sends.clone()).map_err(|e| format!("no thread: {e}"))?;
    for (shard, events) in receives.into_iter().enumerate() {
        let shard = shard as u16;
        let disk = Executor::start(&folder.path, shard, &sends[usize::from(shard)])
            .map_err(|e| format!("no thread: {e}"))?;
        let lanes = Lanes {
            events,
            shards: sends.clone(),
            disk,
            work: work.clone(),
            halted: halted.clone(),
            ready: ready.clone(),
        };
        start_shard(config(folder, shard, options.journal_bytes), lanes)?;
    }
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let mut stopping = false;
    let (mut over, mut serving, mut next) = (0, 0, 0);
    while over < count {
        tokio::select! {
            biased;
            halt = halts.recv() => match halt {
                Some((_, Halt::Clean)) => over += 1,
                Some((shard, Halt::Fatal(reason))) => {
                    return Err(format!("shard {} stopped: {reason}", shard.0));
                }
                None => return Err("the shards are gone".into()),
            },
            Some(_) = readies.recv() => {
                serving += 1;
                if serving == count {
                    greet(local);
                }
            }
            _ = interrupt.recv() => stop(&mut stopping, &sends),
            _ = terminate.recv() => stop(&mut stopping, &sends),
            accepted = listener.accept(), if !stopping && serving == count => {
                if let Ok((stream, _)) = accepted {
                    hand_over(stream, &sends[next % usize::from(count)]);
                    next += 1;
                }
            }
        }
    }
    Ok(0)
}

/// Move a socket to a shard's thread, whose own runtime will drive it.
fn hand_over(stream: tokio::net::TcpStream, shard: &UnboundedSender<Event>) {
    if let Ok(stream) = stream.into_std() {
        let _ = shard.send(Event::Accepted(stream));
    }
}

/// The first signal asks for a clean stop, the second ends at once.
fn stop(stopping: &mut bool, shards: &[UnboundedSender<Event>]) {
    if std::mem::replace(stopping, true) {
        std::process::exit(130);
    }
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

fn config(folder: &Folder, shard: u16, journal_bytes: (u64, u64)) -> Config {
    Config {
        node: folder.stamp.node,
        cluster_id: folder.stamp.cluster,
        directory_id: folder.stamp.directory,
        shard: ShardId(shard),
        shards: folder.stamp.shards,
        advertised: None,
        auto_create_topics: true,
        default_partitions: 1,
        request_pool_bytes: 128 << 20,
        journal_initial_bytes: journal_bytes.0,
        journal_max_bytes: journal_bytes.1,
        knobs: Knobs::default(),
    }
}
