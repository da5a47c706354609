//! How much memory a request takes beside its bytes, by the allocator's count: frames of the smallest
//! elements, in every array of every API of the table.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use seedlog_core::limits::Limits;
use seedlog_net::apis::{Api, APIS};
use seedlog_net::server::Connection;

#[allow(dead_code, reason = "tests/field.rs writes whole batches")]
#[path = "field/batches.rs"]
mod batches;
#[allow(dead_code, reason = "tests/field.rs asks for more")]
#[path = "field/broker.rs"]
mod broker;
#[allow(dead_code, reason = "tests/field.rs breaks it")]
#[path = "../../core/tests/memory_broker/disk.rs"]
mod disk;
#[allow(dead_code, reason = "tests/field.rs reads answers")]
#[path = "field/frames.rs"]
mod frames;
#[path = "memory/shapes.rs"]
mod shapes;
#[path = "../../core/tests/memory_broker/turns.rs"]
mod turns;

use shapes::{shapes, Form, Shape};

/// What this thread has allocated since [`measure`] began: now, at most, and all together.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    live: i64,
    peak: i64,
    total: i64,
}

thread_local! {
    static COUNTS: Cell<Counts> = const {
        Cell::new(Counts {
            live: 0,
            peak: 0,
            total: 0,
        })
    };
}

fn count(more: i64, less: i64) {
    COUNTS.with(|cell| {
        let mut counts = cell.get();
        // The old room and the new one are both there while one is moved into the other.
        counts.live += more;
        counts.total += more;
        counts.peak = counts.peak.max(counts.live);
        counts.live -= less;
        cell.set(counts);
    });
}

struct Counting;

#[allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement, and only it sees every byte"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64, 0);
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size() as i64);
        System.dealloc(at, layout);
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64, layout.size() as i64);
        System.realloc(at, layout, size)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `run` allocates, what it returns still alive.
fn measure<T>(run: impl FnOnce() -> T) -> (T, Counts) {
    COUNTS.with(|cell| cell.set(Counts::default()));
    let value = run();
    (value, COUNTS.with(Cell::get))
}

/// The most that a frame of these sizes may make the decoder allocate, its own bytes included: at once,
/// and one after the other. The elements are bounded by `max.request.elements`, so a larger frame costs
/// no more but its own bytes.
const SIZES: [(usize, i64, i64); 2] = [
    (256 << 10, 12 << 20, 24 << 20),
    (4 << 20, 32 << 20, 64 << 20),
];

/// A frame of about `size` bytes with so many elements in the shape's array, filled up with zeroes
/// behind the request, which are passed over.
fn frame(api: &Api, version: i16, shape: &Shape, count: usize, size: usize) -> Vec<u8> {
    let form = Form::of(api, version);
    let mut body = [&api.key.to_be_bytes()[..], &version.to_be_bytes(), &[0; 4]].concat();
    body.extend_from_slice(&[0xff; 2]);
    if version >= api.flexible {
        body.push(0);
    }
    body.extend_from_slice(&shape.before);
    body.extend_from_slice(&form.count(count));
    body.extend(shape.element.repeat(count));
    body.extend_from_slice(&shape.after);
    body.resize(body.len().max(size), 0);
    [&(body.len() as i32).to_be_bytes()[..], &body].concat()
}

/// Every API's every array, at every version, with as many elements as are allowed and fit, and with
/// as many as fit.
fn hostile(size: usize, mut each: impl FnMut(&'static Api, i16, &Shape, Vec<u8>, bool)) {
    let allowed = Limits::DEFAULT.items_per_request as usize;
    for api in &APIS {
        for version in api.min..=api.max {
            // Of large frames the versions where the form changes are enough.
            let turns = [api.min, api.flexible - 1, api.flexible, 13, api.max];
            if size > 1 << 20 && !turns.contains(&version) {
                continue;
            }
            for shape in shapes(api, version) {
                let fit =
                    (size - shape.before.len() - shape.after.len() - 32) / shape.element.len();
                // Those that hold the array are elements too.
                let most = (allowed - 4) / shape.items;
                let counts = [(fit.min(most), true), (fit, fit <= most)];
                for (count, is_good) in counts {
                    let frame = frame(api, version, &shape, count, size);
                    each(api, version, &shape, frame, is_good);
                }
            }
        }
    }
}

#[test]
fn a_request_takes_no_more_memory_than_it_is_charged_with() {
    for (size, at_once, together) in SIZES {
        let (mut frames, mut most) = (0, Counts::default());
        hostile(size, |api, version, shape, frame, is_good| {
            let what = format!("{} v{version}, {}, {size} bytes", api.name, shape.what);
            let mut server = Connection::new("h".into(), 9, Limits::DEFAULT);
            let (call, counts) = measure(|| {
                server.arrived(&frame).expect("a frame");
                server.decode()
            });
            assert!(counts.peak <= at_once, "{what}: {counts:?}");
            assert!(counts.total <= together, "{what}: {counts:?}");
            assert_eq!(call.is_ok(), is_good, "{what}");
            if let Ok(Some(call)) = call {
                let held = call.held as i64;
                assert!(counts.live <= held, "{what}: {counts:?} for {held}");
            }
            most.live = most.live.max(counts.live);
            most.peak = most.peak.max(counts.peak);
            most.total = most.total.max(counts.total);
            frames += 1;
        });
        println!("{frames} frames of {size} bytes: {most:?}");
        assert!(frames > 100, "{frames} frames");
    }
}

/// As the issue says: frames of 4 MiB may make the broker grow by 64 MiB.
const GROWTH: i64 = 64 << 20;

#[test]
fn a_broker_grows_by_no_more_than_is_stated_while_it_answers() {
    let mut broker = broker::Broker::start(2);
    let mut most = 0;
    hostile(4 << 20, |api, version, shape, frame, is_good| {
        let conn = broker.connect();
        let (_, counts) = measure(|| {
            broker.send(conn, &frame);
            broker.pass(1);
        });
        assert!(is_good || broker.is_closed(conn), "too many elements");
        let what = format!("{} v{version}, {}", api.name, shape.what);
        assert!(counts.peak <= GROWTH, "{what}: {counts:?}");
        most = most.max(counts.peak);
    });
    println!("a broker grew by at most {most} bytes");
}

#[test]
fn small_requests_take_no_more_memory_than_they_are_charged_with() {
    // ApiVersions v0 without a client id, as many as one read brings.
    let one = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let stream = one.repeat((256 << 10) / one.len());
    let mut server = Connection::new("h".into(), 9, Limits::DEFAULT);
    let (told, counts) = measure(|| server.arrived(&stream));
    assert_eq!(told, Ok(()));
    let held = server.buffered_bytes() as i64;
    // What a connection has anyway is not charged.
    assert!(counts.live <= held + (4 << 10), "{counts:?} for {held}");
    assert!(counts.peak <= held + (4 << 10), "{counts:?} for {held}");
}

#[test]
fn the_allocator_counts() {
    let (bytes, counts) = measure(|| {
        let mut bytes: Vec<u8> = Vec::with_capacity(1_000);
        drop(Bytes::from(vec![7; 500]));
        bytes.reserve_exact(3_000);
        bytes
    });
    assert_eq!(bytes.capacity(), 3_000);
    assert_eq!(counts.live, 3_000);
    assert!((4_000..4_100).contains(&counts.peak), "{counts:?}");
    assert!((4_500..4_600).contains(&counts.total), "{counts:?}");
}
