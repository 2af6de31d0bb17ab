//! Fuzz targets as libFuzzer programs, one for each target, and what they have in common: a limit
//! on the memory that an input may cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use towpath_fuzz::{corpus, targets};

pub use libfuzzer_sys;

/// Makes the program of a target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::begin($name),
            |data: &[u8]| { $crate::run($name, data) }
        );
    };
}

/// If `TOWPATH_SEEDS` names a folder: writes the seeds there, says how long inputs may be, ends.
///
/// # Panics
/// If they cannot be written.
pub fn begin(name: &str) {
    let Some(folder) = std::env::var_os("TOWPATH_SEEDS") else { return };
    let target = targets::find(name).expect("the programs are named after targets");
    corpus::write_seeds(target, Path::new(&folder)).expect("the folder is writable");
    println!("{}", target.max_input_bytes);
    std::process::exit(0);
}

/// Feeds a target.
///
/// # Panics
/// If something does not hold, or if it took more memory than it may.
pub fn run(name: &str, data: &[u8]) {
    let target = targets::find(name).expect("the programs are named after targets");
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    (target.run)(data);
    let taken = MOST.load(Ordering::Relaxed) - before;
    let most = target.max_heap_bytes;
    assert!(taken <= most, "{name} took {taken} bytes of memory, more than {most}");
}

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

fn take(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(held, Ordering::Relaxed);
}
