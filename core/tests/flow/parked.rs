//! What waits long, fetches for records and lookups for their turn, keeps nobody else waiting.

use super::*;

#[test]
fn fetches_that_wait_keep_no_room_from_other_requests_and_answer_early_beyond_their_own() {
    for shards in [1, 2] {
        let mut world = World::start(shards);
        world.topic("a", 2);
        let before = world.held();
        let each = 4 << 10;
        let calls: Vec<CallId> = (0..100)
            .map(|conn| {
                let asked = Request::Fetch(fetch("a", &[0, 1], 1_000, i32::MAX));
                let call = world.send(2 * conn, asked, each);
                world.run();
                call
            })
            .collect();
        let parked = world.shards[0].pools().parked.held();
        assert!(parked < LIMITS.parked_bytes && parked + each >= LIMITS.parked_bytes);
        let room = world.shards[0].appetite().request_bytes;
        assert_eq!(room, LIMITS.request_bytes, "of other requests all");
        // Who came first has waited longest.
        let answered: Vec<CallId> = world.answers.iter().map(|row| row.1).collect();
        let beyond = calls.len() - (parked / each) as usize;
        assert_eq!(answered, calls[..beyond]);
        // The others wait for records still, and have them at once.
        world.ask(2, produce("a", 1, -1, batch(10)));
        world.run();
        assert_eq!(world.answers.len(), calls.len());
        assert_eq!(world.held(), before);
    }
}

#[test]
fn one_fetch_that_waits_may_hold_more_than_all_may() {
    let mut world = World::start(1);
    world.topic("a", 1);
    let fetch = || Request::Fetch(fetch("a", &[0], 1_000, i32::MAX));
    let first = world.send(0, fetch(), 2 * LIMITS.parked_bytes);
    world.run();
    assert_eq!(world.answer(first), None);
    let second = world.send(1, fetch(), 10);
    world.run();
    assert!(world.answer(first).is_some(), "it gives way to the next");
    assert_eq!(world.answer(second), None);
}

#[test]
fn a_fetch_that_waits_gives_way_to_calls_behind_it_that_fill_a_pool() {
    let mut world = World::start(1);
    world.topic("a", 2);
    let before = world.held();
    world.send(0, Request::Fetch(fetch("a", &[0], 1_000, i32::MAX)), 100);
    world.run();
    let count = 600_000;
    for _ in 0..count {
        world.send(0, find_coordinator(), 1);
    }
    world.run();
    assert_eq!(world.answers.len(), count + 1);
    assert_eq!(world.held(), before);
    // Produces, which were there before the fetch had looked for records.
    world.send(2, Request::Fetch(fetch("a", &[0], 1_000, i32::MAX)), 100);
    let call = world.send(2, produce("a", 1, -1, batch(100)), LIMITS.produce_bytes);
    world.run();
    assert!(world.answer(call).is_some());
    assert_eq!(world.held(), before);
}

#[test]
fn lookups_of_who_is_gone_are_left() {
    for shards in [1, 2] {
        let mut world = World::start(shards);
        let partitions = 100;
        world.topic("a", partitions);
        for index in 0..partitions {
            world.ask(0, produce("a", index, -1, batch(10)));
        }
        let (held, jobs) = (world.held(), world.jobs);
        let of_time = |index| PartitionOffsetQuery {
            index,
            current_leader_epoch: -1,
            timestamp: 5,
        };
        let request = ListOffsetsRequest {
            topics: vec![(named("a"), (0..partitions).map(of_time).collect())],
            timeout_ms: -1,
            isolation: 0,
        };
        let asked = world.send(1, Request::ListOffsets(request.clone()), 1_000);
        world.run();
        assert!(world.answer(asked).is_some());
        assert_eq!(world.jobs - jobs, partitions as usize, "one for each");
        let jobs = world.jobs;
        world.send(1, Request::ListOffsets(request), 1_000);
        let (shard, conn) = (1 % usize::from(shards), ConnId(1));
        world.inputs.push_back((shard, Input::Hangup { conn }));
        world.run();
        let begun = world.jobs - jobs;
        assert!((1..=40).contains(&begun), "{begun} of {partitions}");
        assert_eq!(world.held(), held);
    }
}

/// Reading what is there again for each batch would cost the square of it.
#[test]
fn a_fetch_that_wants_much_is_looked_at_again_when_there_may_be_enough() {
    let mut world = World::start(2);
    world.topic("a", 2);
    let size = batch(1_000).len();
    let min_bytes = 40 * size;
    let mut asked = fetch("a", &[0, 1], 50 * size as i32, i32::MAX);
    asked.min_bytes = min_bytes as i32;
    let call = world.send(0, Request::Fetch(asked), 100);
    world.run();
    let mut given = 0;
    while world.answers.is_empty() {
        assert!(given < 45, "{given} batches are there");
        // All into the partition of another shard.
        let index = world.partition_elsewhere("a", 0);
        world.send(1, produce("a", index, 0, batch(1_000)), 100);
        world.run();
        world.answers.retain(|row| row.1 == call);
        given += 1;
    }
    assert_eq!(given, 40);
    let (_, bytes) = with_data(&fetched(world.answer(call).expect("an answer")));
    assert_eq!(bytes, min_bytes);
    // Each shard is asked for half of what is missing, and what it has is known a round later.
    assert!((2..=12).contains(&world.woken), "{} times", world.woken);
}

/// What is appended before the fetch looks and seen after that counts.
#[test]
fn a_fetch_is_told_of_what_was_on_its_way_when_it_looked() {
    let mut world = World::start(2);
    world.topic("a", 2);
    let index = world.partition_elsewhere("a", 0);
    let size = batch(1_000).len();
    world.stalled = Some("journal");
    for _ in 0..3 {
        world.send(1, produce("a", index, 1, batch(1_000)), 100);
    }
    world.run();
    let mut asked = fetch("a", &[index], 50 * size as i32, i32::MAX);
    asked.min_bytes = 3 * size as i32;
    let call = world.send(0, Request::Fetch(asked), 100);
    world.run();
    assert_eq!(world.answer(call), None);
    world.unstall();
    let (_, bytes) = with_data(&fetched(world.answer(call).expect("an answer")));
    assert_eq!(bytes, 3 * size);
}

/// `DelayedFetch.scala`, case F: a reader that is behind would wait at the end of each segment.
#[test]
fn a_fetch_that_ends_at_a_segment_is_answered_with_less_than_it_wants() {
    let mut world = World::start(1);
    world.topic_of("a", 1, &[("internal.segment.bytes", "50000")]);
    let size = batch(10_000).len();
    let segments = |world: &World| -> usize {
        let replicas = world.shards[0].replicas();
        replicas.map(|replica| replica.segments.len()).sum()
    };
    let mut count = 0;
    while segments(&world) < 3 {
        world.ask(0, produce("a", 0, 1, batch(10_000)));
        count += 1;
        assert!(count < 10_000, "nothing goes to segments");
    }
    let mut asked = fetch("a", &[0], 64_000, 500);
    asked.min_bytes = 60_000;
    let before = world.now;
    let (mut offset, mut rounds) = (0, 0);
    while offset + 6 < count {
        asked.topics[0].partitions[0].fetch_offset = offset;
        let parts = fetched(world.ask(0, Request::Fetch(asked.clone())));
        let (_, bytes) = with_data(&parts);
        assert!(bytes > 0, "{offset} of {count}");
        offset += (bytes / size) as i64;
        rounds += 1;
    }
    assert!(rounds >= 3);
    assert_eq!(world.now, before, "nothing was waited for");
}

/// Neither lookups that wait for their turn nor calls that do may be begun one inside the other.
fn lookups_without_recursion(shards: u16) {
    let mut world = World::start(shards);
    let partitions = 3_000;
    world.topic("a", partitions);
    let before = world.held();
    let asked = |indexes: std::ops::Range<i32>, timestamp| {
        let query = |index| PartitionOffsetQuery {
            index,
            current_leader_epoch: -1,
            timestamp,
        };
        Request::ListOffsets(ListOffsetsRequest {
            topics: vec![(named("a"), indexes.map(query).collect())],
            timeout_ms: -1,
            isolation: 0,
        })
    };
    let found = |response| {
        let Response::ListOffsets(response) = response else {
            panic!("an answer to something else");
        };
        let parts = response.topics.into_iter().flat_map(|(_, parts)| parts);
        let told = parts.map(|part| (part.index, part.error, part.offset));
        told.collect::<Vec<_>>()
    };
    // By time, of the youngest, the end and the start: nothing is there to look into.
    let times = [(5, -1), (-3, -1), (-1, 0), (-2, 0)];
    for (timestamp, offset) in times {
        let told = found(world.ask(1, asked(0..partitions, timestamp)));
        let all = (0..partitions).map(|index| (index, ErrorCode::None, offset));
        assert!(told.into_iter().eq(all), "{timestamp}");
    }
    // Calls of many connections that can all begin at once: they stood behind fetches. One connection
    // alone begins few, as its socket must take the answers.
    let mut calls = Vec::new();
    for conn in (0..500).map(|conn| conn * u64::from(shards)) {
        let fetch = fetch("a", &[0], 1_000, 300);
        calls.push((conn, world.send(conn, Request::Fetch(fetch), 100)));
        for (timestamp, _) in times {
            let index = conn as i32 % partitions;
            let call = world.send(conn, asked(index..index + 1, timestamp), 1);
            calls.push((conn, call));
        }
    }
    world.run();
    assert_eq!(world.answers.len(), 0);
    world.pass(300);
    // Each connection's answers are in order.
    world.answers.sort_by_key(|row| row.0);
    let order: Vec<_> = world.answers.iter().map(|row| (row.0 .0, row.1)).collect();
    assert_eq!(order, calls);
    for (at, (conn, _, response)) in world.answers.drain(..).enumerate() {
        if let Some((_, offset)) = (at % 5).checked_sub(1).map(|at| times[at]) {
            let index = conn.0 as i32 % partitions;
            assert_eq!(found(response), [(index, ErrorCode::None, offset)]);
        }
    }
    assert_eq!(world.held(), before);
}

#[test]
fn thousands_of_lookups_are_answered_on_a_small_stack() {
    for shards in [1, 2] {
        let thread = std::thread::Builder::new().stack_size(256 << 10);
        let run = thread.spawn(move || lookups_without_recursion(shards));
        run.expect("a thread").join().expect("all are answered");
    }
}
