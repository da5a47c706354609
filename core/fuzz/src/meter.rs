//! Memory that a decoder takes, measured by the allocator: a forged length must not make it allocate.
//! Only what Rust code allocates counts; zstd's own memory is bounded by its window.

#![allow(unsafe_code, reason = "an allocator cannot be stated without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use seedlog_core::decoders::Target;

/// The system's allocator, counting by thread.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(change: isize) {
    // A thread that is ending is not measured any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        System.alloc_zeroed(layout)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        System.dealloc(at, layout)
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new exist together while bytes are moved over.
        count(size as isize);
        count(-(layout.size() as isize));
        System.realloc(at, layout, size)
    }
}

/// Run a target, and panic if it held more memory at once than it may.
pub fn run(target: &Target, input: &[u8]) {
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    (target.run)(input);
    let took = PEAK.with(Cell::get) - before;
    let may = target.memory + target.memory_per_byte * input.len();
    assert!(
        took <= may as isize,
        "{} took {took} bytes of memory for {} bytes of input, {may} are allowed",
        target.name,
        input.len()
    );
}
