//! Proof that `towpath-core` is pure: this static library has a panic handler and a global
//! allocator of its own, which is a compile error as soon as anything in its graph brings `std`.
//!
//! It is built (`cargo build --release -p towpath-purity`), never run; that is why it may contain
//! the only `unsafe` words of the project.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

struct NoMemory;

// SAFETY: it never hands out memory, so nothing can be wrong with what it hands out.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _layout: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _ptr: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Keeps the core's machines in the library.
#[must_use]
pub fn node(config: towpath_core::node::Config) -> towpath_core::node::Node {
    let rng = towpath_core::rng::Rng::new([0; 32]);
    towpath_core::node::Node::new(towpath_core::time::Instant::ZERO, rng, config)
}
