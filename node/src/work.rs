//! The thread for CPU jobs: one for all shards, as they are rare and a shard's turn must not wait.

use std::io;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::thread;

use seedlog_core::contract::Input;
use seedlog_core::ids::ShardId;
use seedlog_core::work::{run, WorkJob};
use tokio::sync::mpsc::UnboundedSender;

use crate::shard_loop::Event;

/// Where shards send their jobs.
pub type Jobs = Sender<(ShardId, WorkJob)>;

/// Start the thread; outcomes go to the shard that asked.
pub fn start(shards: Vec<UnboundedSender<Event>>) -> io::Result<Jobs> {
    let (send, receive): (Jobs, Receiver<_>) = channel();
    let work = move || {
        for (shard, job) in receive {
            let result = run(&job.request);
            let done = Event::Input(Input::Work { id: job.id, result });
            // A shard that is gone has taken the process with it.
            let _ = shards[usize::from(shard.0)].send(done);
        }
    };
    thread::Builder::new().name("work".into()).spawn(work)?;
    Ok(send)
}
