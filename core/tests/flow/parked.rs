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
                world.send(
                    2 * conn,
                    Request::Fetch(fetch("a", &[0, 1], 1_000, i32::MAX)),
                    each,
                )
            })
            .collect();
        world.run();
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
