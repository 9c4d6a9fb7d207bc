//! Runs kernels with each instruction set of the machine.

use std::cell::Cell;

use pulp::Arch;

thread_local! {
    /// The instruction set that kernels on this thread use instead of the widest.
    pub(crate) static FORCED: Cell<Option<Arch>> = const { Cell::new(None) };
}

/// The results of `compute` with each instruction set on one thread, and with the widest on three threads.
pub(crate) fn on_each_machine<T: Send>(compute: impl Fn() -> T + Sync) -> Vec<T> {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let mut results: Vec<T> = architectures()
        .into_iter()
        .map(|arch| {
            pool(1).install(|| {
                FORCED.set(Some(arch));
                compute()
            })
        })
        .collect();
    results.push(pool(3).install(&compute));
    results
}

fn architectures() -> Vec<Arch> {
    #[allow(unused_mut)]
    let mut known = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    {
        known.extend(pulp::x86::V3::try_new().map(Arch::V3));
        known.extend(pulp::x86::V4::try_new().map(Arch::V4));
    }
    known
}
