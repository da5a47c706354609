//! Who stands still is given up in time, and not before.

use super::*;

/// Two connections have used up the room for requests, the second ten milliseconds after the first, and
/// take no answers.
fn without_room_for_requests() -> World {
    let mut world = World::start(1);
    world.topic("a", 100);
    world.unread = true;
    for conn in [0, 1] {
        for _ in 0..10 {
            world.send(conn, metadata(), LIMITS.request_bytes / 10);
        }
        world.pass(10);
    }
    assert_eq!(world.shards[0].appetite().request_bytes, 0);
    world
}

#[test]
fn calls_behind_answers_that_nobody_takes_give_way_when_there_is_no_room_for_others() {
    let mut world = without_room_for_requests();
    // What arrives now is not decoded, through no fault of who sends it.
    let conn = begins_a_request(&mut world, 2, LIMITS.frame_bytes);
    world.pass(LIMITS.pressed_stall_ms - 11);
    assert_eq!(world.closes, []);
    world.pass(1);
    let given_up = [0, 1].map(|conn| (ConnId(conn), CloseReason::StalledReader));
    assert_eq!(world.closes, given_up[..1], "no more than needed");
    assert!(world.shards[0].appetite().request_bytes > 0);
    // A request that stands still although it could be decoded is its client's fault.
    world.pass(LIMITS.pressed_stall_ms);
    assert_eq!(
        world.closes.last(),
        Some(&(conn, CloseReason::StalledRequest))
    );
}

/// A stop that ends as a client's deadline comes, so that no turn is late by itself.
#[test]
fn a_shard_that_wakes_for_a_deadline_hears_its_clients_first() {
    for takes in [false, true] {
        let mut world = without_room_for_requests();
        world.stop_for(LIMITS.pressed_stall_ms + 1);
        assert_eq!(world.closes, [], "the sockets have not been looked at");
        if takes {
            for (conn, _, answer) in std::mem::take(&mut world.answers) {
                let bytes = answer.held_bytes();
                world.inputs.push_back((0, Input::Sent { conn, bytes }));
            }
        }
        world.run();
        world.pass(60);
        assert_eq!(world.closes.is_empty(), takes);
    }
}

#[test]
fn who_is_idle_or_stalled_is_given_up_in_time_and_not_before() {
    let mut world = World::start(1);
    world.topic("a", 1);
    let wait = |world: &mut World, millis: u64, conn: u64, why: CloseReason| {
        world.pass(millis - 1);
        assert_eq!(world.closes, [], "{why:?}");
        world.pass(1);
        assert_eq!(world.closes.pop(), Some((ConnId(conn), why)));
    };
    world
        .inputs
        .push_back((0, Input::Hangup { conn: ConnId(0) }));
    world.run();
    // A parked fetch is no sign of life (field case 39).
    world.send(1, Request::Fetch(fetch("a", &[0], 1_000, i32::MAX)), 100);
    world.run();
    wait(&mut world, LIMITS.idle_ms, 1, CloseReason::Idle);
    let receiving = |conn, bytes| {
        (
            0,
            Input::Receiving {
                conn: ConnId(conn),
                bytes,
                whole: false,
            },
        )
    };
    world
        .inputs
        .push_back((0, Input::Connect { conn: ConnId(2) }));
    for bytes in [5, 10, 15] {
        world.inputs.push_back(receiving(2, bytes));
        world.run();
        world.pass(LIMITS.stalled_request_ms - 1);
    }
    assert_eq!(world.closes, [], "it moves");
    world.pass(1);
    let stalled = CloseReason::StalledRequest;
    assert_eq!(world.closes.pop(), Some((ConnId(2), stalled)));
    world.unread = true;
    world.send(3, metadata(), 100);
    world.run();
    let stalled = CloseReason::StalledReader;
    wait(&mut world, LIMITS.stalled_reader_ms, 3, stalled);
    assert_eq!(world.held(), 0);
}

/// SIGSTOP, or a machine that was suspended: nobody could be heard meanwhile.
#[test]
fn a_shard_that_was_stopped_hears_its_clients_before_it_gives_them_up() {
    let mut world = World::start(1);
    world.topic("a", 1);
    let connected = |conn| (0, Input::Connect { conn: ConnId(conn) });
    let receiving = |conn, bytes| {
        let conn = ConnId(conn);
        (
            0,
            Input::Receiving {
                conn,
                bytes,
                whole: false,
            },
        )
    };
    for conn in [1, 2] {
        world.inputs.push_back(connected(conn));
        world.inputs.push_back(receiving(conn, 5));
    }
    world.unread = true;
    for conn in [3, 4] {
        world.send(conn, metadata(), 100);
    }
    world.run();
    let bytes = world.answers.pop().expect("an answer").2.held_bytes();
    world.stop_for(LIMITS.stalled_request_ms + 500);
    assert_eq!(world.closes, [], "the sockets have not been looked at");
    // Those that went on meanwhile are heard, and the others given up soon.
    world.inputs.push_back(receiving(1, 10));
    let conn = ConnId(3);
    world.inputs.push_back((0, Input::Sent { conn, bytes }));
    world.run();
    world.pass(2_000);
    let mut closed: Vec<ConnId> = world.closes.iter().map(|row| row.0).collect();
    closed.sort();
    assert_eq!(closed, [ConnId(2), ConnId(4)]);
}

/// A client connects, and so much of a request of it arrives.
fn begins_a_request(world: &mut World, conn: u64, bytes: u64) -> ConnId {
    let conn = ConnId(conn);
    world.inputs.push_back((0, Input::Connect { conn }));
    world.inputs.push_back((
        0,
        Input::Receiving {
            conn,
            bytes,
            whole: false,
        },
    ));
    conn
}

/// A shard that is only slow is late again and again.
#[test]
fn a_shard_whose_turns_are_always_late_gives_up_who_stalls() {
    let mut world = World::start(1);
    world.topic("a", 1);
    let conn = begins_a_request(&mut world, 1, 5);
    world.run();
    for _ in 0..4 {
        world.stop_for(LIMITS.stalled_request_ms / 3);
    }
    let mut turns = 0;
    while world.closes.is_empty() && turns < 20 {
        world.stop_for(7_000);
        turns += 1;
    }
    assert_eq!(world.closes, [(conn, CloseReason::StalledRequest)]);
    assert!(turns <= 2, "{turns} late turns");
}

/// Work left for the next turn is due at once, and that turn is not late for it.
#[test]
fn a_shard_with_more_work_than_a_turn_takes_gives_up_who_stalls_in_time() {
    let mut world = World::start(1);
    world.topic("a", 1);
    let conn = begins_a_request(&mut world, 1, 5);
    world.run();
    world.pass(LIMITS.stalled_request_ms - 500);
    let fetch = || Request::Fetch(fetch("a", &[0], 1_000, 250));
    for other in 0..10_000 {
        world.send(10 + other, fetch(), 1);
        world.send(10 + other, find_coordinator(), 1);
    }
    world.run();
    let asked = world.answers.len();
    world.pass(250);
    assert_eq!(world.answers.len() - asked, 20_000, "all at one time");
    world.pass(249);
    assert_eq!(world.closes, []);
    world.pass(1);
    assert_eq!(world.closes, [(conn, CloseReason::StalledRequest)]);
}

#[test]
fn stalled_requests_give_way_when_there_is_no_room_for_others() {
    let mut world = World::start(1);
    for conn in 0..8 {
        begins_a_request(&mut world, conn, LIMITS.frame_bytes / 8);
        world.pass(10);
    }
    assert_eq!(world.shards[0].appetite().frame_bytes, 0);
    world.pass(LIMITS.pressed_stall_ms);
    let closed: Vec<ConnId> = world.closes.iter().map(|row| row.0).collect();
    assert_eq!(
        closed,
        [ConnId(0)],
        "the longest stalled, and no more than needed"
    );
    assert!(world.shards[0].appetite().frame_bytes > 0);
}

/// Its produce waits for room through no fault of its client, however long that takes.
#[test]
fn who_sent_a_whole_request_is_not_given_up_for_the_room_that_it_waits_for() {
    let mut world = World::start(1);
    world.topic("a", 1);
    let conn = begins_a_request(&mut world, 1, LIMITS.frame_bytes);
    let bytes = LIMITS.frame_bytes;
    let whole = |whole| Input::Receiving { conn, bytes, whole };
    world.inputs.push_back((0, whole(true)));
    world.run();
    world.pass(LIMITS.stalled_request_ms + 1_000);
    assert_eq!(world.closes, []);
    // The next one has begun and does not go on.
    world.inputs.push_back((0, whole(false)));
    world.run();
    world.pass(LIMITS.pressed_stall_ms);
    let given_up = (conn, CloseReason::StalledRequest);
    assert_eq!(world.closes.pop(), Some(given_up));
    // Behind answers that its client does not take it is given up as they are.
    world.unread = true;
    world.send(2, metadata(), 100);
    let conn = ConnId(2);
    let whole = Input::Receiving {
        conn,
        bytes,
        whole: true,
    };
    world.inputs.push_back((0, whole));
    world.run();
    world.pass(LIMITS.pressed_stall_ms);
    let given_up = (conn, CloseReason::StalledReader);
    assert_eq!(world.closes.pop(), Some(given_up));
    assert_eq!(world.held(), 0);
}
