//! How much memory the process has in use, as its allocator sees it.
//!
//! A program whose memory limit is to cover what models compute makes [`Metered`] its allocator:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: lookbehind_worker::memory::Metered<std::alloc::System> =
//!     lookbehind_worker::memory::Metered(std::alloc::System);
//! ```

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Smaller allocations are not counted: they add up to little, and counting costs time.
const COUNTED: usize = 1 << 12;

static IN_USE: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What this thread allocated minus what it freed, and the maximum of that.
    static OF_THREAD: Cell<OfThread> = const { Cell::new(OfThread { now: 0, peak: 0 }) };
}

#[derive(Clone, Copy)]
struct OfThread {
    now: i64,
    peak: i64,
}

/// An allocator that counts the allocations of the one within.
#[derive(Debug)]
pub struct Metered<A>(pub A);

#[allow(unsafe_code, reason = "an allocator is unsafe to implement; every call goes to the one within")]
// SAFETY: every call is forwarded unchanged, and counting does not allocate.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Metered<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        counted(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        counted(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        remove(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let moved = unsafe { self.0.realloc(pointer, layout, size) };
        if !moved.is_null() {
            remove(layout.size());
        }
        counted(moved, size)
    }
}

/// Counts an allocation if it succeeded.
fn counted(pointer: *mut u8, size: usize) -> *mut u8 {
    if !pointer.is_null() {
        add(size);
    }
    pointer
}

fn add(size: usize) {
    if size >= COUNTED {
        IN_USE.fetch_add(size as u64, Ordering::Relaxed);
        of_thread(size as i64);
    }
}

fn remove(size: usize) {
    if size >= COUNTED {
        IN_USE.fetch_sub(size as u64, Ordering::Relaxed);
        of_thread(-(size as i64));
    }
}

fn of_thread(more: i64) {
    // The counters of a thread that is ending may be gone.
    let _ = OF_THREAD.try_with(|counters| {
        let OfThread { now, peak } = counters.get();
        counters.set(OfThread { now: now + more, peak: peak.max(now + more) });
    });
}

/// Bytes in use now; 0 if the allocator is not metered.
pub fn in_use() -> u64 {
    IN_USE.load(Ordering::Relaxed)
}

/// Runs a function, and returns the most bytes that this thread had in use at once for it; 0 if the allocator is not
/// metered.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = OF_THREAD.get();
    OF_THREAD.set(OfThread { peak: before.now, ..before });
    let result = work();
    let after = OF_THREAD.get();
    // When such calls are nested, the inner peak counts towards the outer one as well.
    OF_THREAD.set(OfThread { peak: before.peak.max(after.peak), ..after });
    (result, before.now.abs_diff(after.peak))
}

#[cfg(test)]
mod tests;
