//! Those who do not read what was answered use up the room for answers; those who do hardly notice.

use super::*;

/// Of so many clients none reads, each has asked for all there is, and asks on.
fn crowd(world: &mut World, conns: std::ops::Range<u64>, request: &dyn Fn() -> Request) {
    world.unread = true;
    for conn in conns {
        for _ in 0..3 {
            world.send(conn, request(), 100);
        }
    }
    world.run();
}

fn of_topic(name: &str) -> Request {
    Request::Metadata(MetadataRequest {
        topics: Some(vec![named(name)]),
        ..MetadataRequest::default()
    })
}

#[test]
fn small_answers_do_not_wait_for_a_crowd_that_reads_nothing() {
    for shards in [1, 2] {
        let mut world = World::start(shards);
        world.topic("a", 200);
        world.topic("b", 2);
        world.ask(0, produce("b", 0, -1, batch(10)));
        crowd(&mut world, 0..300, &metadata);
        let pools = world.shards[0].pools();
        assert!(!pools.large_replies.has_room(), "the crowd has it all");
        assert!(pools.large_replies.held() < LIMITS.reply_bytes + 20_000);
        for (conn, request) in [
            (1_000, of_topic("b")),
            (1_001, produce("b", 1, -1, batch(10))),
            (1_002, Request::Fetch(fetch("b", &[0], i32::MAX, 500))),
        ] {
            let call = world.send(conn, request, 100);
            world.run();
            assert!(world.answer(call).is_some(), "{conn} waits");
        }
        assert_eq!(world.closes, []);
    }
}

#[test]
fn fetches_do_not_wait_for_a_crowd_that_reads_nothing() {
    for shards in [1, 2] {
        let mut world = World::start(shards);
        world.topic("a", 2);
        for index in [0, 1] {
            for _ in 0..300 {
                world.ask(0, produce("a", index, -1, batch(500)));
            }
        }
        let all = || Request::Fetch(fetch("a", &[0, 1], i32::MAX, 0));
        let known = 1_000;
        (0..8).for_each(|_| drop(world.ask(known, of_topic("a"))));
        crowd(&mut world, 0..20, &all);
        assert_eq!(world.shards[0].pools().fetches.spare(), 0);
        // One of which it is not known whether it reads waits with the crowd, but not as long as all of it.
        let new = world.send(known + 1_000, all(), 100);
        let call = world.send(known, all(), 100);
        world.run();
        let answer = world.answer(call).expect("it does not wait");
        let (_, bytes) = with_data(&fetched(answer));
        let small = LIMITS.small_answer_bytes as usize;
        assert!((1..=small).contains(&bytes), "{bytes}");
        assert_eq!((world.closes.len(), world.answer(new)), (0, None));
        world.pass(LIMITS.pressed_stall_ms);
        assert!(world.answer(new).is_some());
    }
}

/// Who came last is among the first that get the room of those that are given up.
#[test]
fn a_large_answer_waits_until_some_of_a_crowd_are_given_up_not_all() {
    let mut world = World::start(1);
    world.topic("a", 200);
    crowd(&mut world, 0..300, &metadata);
    let begun = world.answers.len();
    let call = world.send(1_000, metadata(), 100);
    world.run();
    assert_eq!(world.answer(call), None);
    world.pass(LIMITS.pressed_stall_ms);
    assert!(world.answer(call).is_some());
    assert!(world.closes.len() <= begun, "{} of 300", world.closes.len());
    // The oldest have their turns as well.
    let oldest = begun as u64;
    (0..2).for_each(|_| world.pass(LIMITS.pressed_stall_ms));
    let of_oldest = |row: &&(ConnId, CallId, Response)| row.0 == ConnId(oldest);
    assert!(world.answers.iter().any(|row| of_oldest(&row)));
}

/// The ledger answers many at once; what it will answer is counted when they begin.
#[test]
fn calls_that_the_ledger_works_on_do_not_answer_more_than_there_is_room_for() {
    for shards in [1, 2] {
        let mut world = World::start(shards);
        world.topic("a", 1);
        let before = world.held();
        world.stalled = Some("journal");
        let create = |name: String| {
            let topic = |number| NewTopic {
                name: format!("{name}-{number}"),
                partitions: 1,
                replication_factor: 1,
                ..NewTopic::default()
            };
            Request::CreateTopics(CreateTopicsRequest {
                topics: (0..10).map(topic).collect(),
                timeout_ms: 60_000,
                validate_only: false,
            })
        };
        let conns = 40;
        for conn in 0..conns {
            world.send(conn, create(format!("t{conn}")), 100);
        }
        world.run();
        world.unread = true;
        world.unstall();
        let most = LIMITS.reply_bytes + 25_000;
        for shard in &world.shards {
            let held = shard.pools().large_replies.held();
            assert!((1..=most).contains(&held), "{held}");
        }
        // Something else is answered all the same.
        let call = world.send(1_000, of_topic("a"), 100);
        world.run();
        assert!(world.answers.iter().any(|row| row.1 == call));
        world.unread = false;
        for (conn, _, response) in std::mem::take(&mut world.answers) {
            let shard = conn.0 as usize % world.shards.len();
            let bytes = response.held_bytes();
            world.inputs.push_back((shard, Input::Sent { conn, bytes }));
        }
        world.run();
        world.pass(10);
        assert_eq!(world.closes, []);
        assert_eq!(world.held(), before);
    }
}

#[test]
fn who_has_not_read_a_large_answer_gets_no_other() {
    let mut world = World::start(1);
    world.topic("a", 20);
    world.unread = true;
    let calls = [0, 1, 2].map(|_| world.send(0, metadata(), 100));
    world.run();
    let answers: Vec<CallId> = world.answers.iter().map(|row| row.1).collect();
    assert_eq!(answers, calls[..1]);
    let bytes = world.answers[0].2.held_bytes();
    assert!((LIMITS.small_answer_bytes..LIMITS.unsent_per_connection).contains(&bytes));
    let conn = ConnId(0);
    world.inputs.push_back((0, Input::Sent { conn, bytes }));
    world.run();
    assert_eq!(world.answers.len(), 2);
}

/// A byte now and then keeps nobody's room: there are many who could do that.
#[test]
fn who_takes_next_to_nothing_is_given_up_where_there_is_no_room() {
    let mut world = World::start(1);
    world.topic("a", 200);
    crowd(&mut world, 0..10, &metadata);
    assert!(!world.shards[0].pools().large_replies.has_room());
    // It alone takes enough, each time.
    let paced = LIMITS.pressed_pace_bytes;
    for _ in 0..4 {
        world.pass(LIMITS.pressed_stall_ms / 2 - 10);
        for conn in 0..10 {
            let bytes = if conn == 0 { paced } else { 1 };
            let conn = ConnId(conn);
            world.inputs.push_back((0, Input::Sent { conn, bytes }));
        }
        world.run();
    }
    assert!(world.closes.len() >= 2, "{:?}", world.closes);
    let stalled =
        |row: &(ConnId, CloseReason)| row.1 == CloseReason::StalledReader && row.0 != ConnId(0);
    assert!(world.closes.iter().all(stalled), "{:?}", world.closes);
}
