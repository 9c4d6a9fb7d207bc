//! Passes that end early. Nobody can end a thread that computes, so the operations of a pass ask from time to time
//! whether its result is still wanted: between two operations, and within a long one before each part of it. What a pass
//! has computed by then is never seen.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Result;

type Unwanted = dyn Fn() -> bool + Send + Sync;

thread_local! {
    /// What interrupts the operations that are applied on this thread.
    static CURRENT: RefCell<Interruption> = const { RefCell::new(Interruption(None)) };
}

/// What interrupts an operation, for the threads that compute it.
#[derive(Clone)]
pub(super) struct Interruption(Option<Arc<Source>>);

/// Where it comes from.
struct Source {
    unwanted: Box<Unwanted>,
    /// Whether it was seen: from then on parts may be missing, so it cannot be taken back.
    raised: AtomicBool,
}

/// Runs a pass on this thread that ends soon after `unwanted` says so. The result is `None` then, as it may not be
/// whole. `unwanted` is asked on all threads that compute, and often, so it should answer at once.
pub fn interruptible<T>(
    unwanted: impl Fn() -> bool + Send + Sync + 'static,
    pass: impl FnOnce() -> T,
) -> Option<T> {
    /// Restores what was before, also when the pass panics.
    struct Before(Interruption);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(|current| std::mem::swap(current, &mut self.0));
        }
    }
    let source = Source { unwanted: Box::new(unwanted), raised: AtomicBool::new(false) };
    let interruption = Interruption(Some(Arc::new(source)));
    let _before = Before(CURRENT.replace(interruption.clone()));
    let result = pass();
    (!interruption.is_raised()).then_some(result)
}

impl Interruption {
    /// That of the operation which is applied on this thread.
    pub(super) fn current() -> Self {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Whether what is left of the operation need not be computed.
    pub(super) fn is_raised(&self) -> bool {
        self.0.as_ref().is_some_and(|source| source.is_raised())
    }
}

impl Source {
    /// Relaxed ordering suffices: who skips a part has stored it before, and the pass ends after all its parts.
    fn is_raised(&self) -> bool {
        if self.raised.load(Ordering::Relaxed) {
            return true;
        }
        let raised = (self.unwanted)();
        if raised {
            self.raised.store(true, Ordering::Relaxed);
        }
        raised
    }
}

/// Ends a pass that is not wanted any more, between two operations.
///
/// # Errors
/// If it is not.
pub(super) fn check() -> Result<()> {
    if CURRENT.with_borrow(Interruption::is_raised) {
        candle_core::bail!("interrupted: the result is not wanted any more");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
