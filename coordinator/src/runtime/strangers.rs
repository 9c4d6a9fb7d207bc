//! The threads that serve everybody but workers: handshakes, calls of users, and HTTP. A flood of these waits for its own
//! threads, and not before what the state machine and the workers' connections do.

use std::io;
use std::num::NonZeroUsize;

use tokio::runtime::{Builder, Handle, Runtime};

/// One thread for this many processors, but at least one.
const PROCESSORS: usize = 4;
/// Most threads for file operations and for checking specifications.
const BLOCKING: usize = 16;

/// The runtime of those threads. It ends with this value, at once and without waiting for its tasks.
#[derive(Debug)]
pub(crate) struct Strangers {
    handle: Handle,
    /// Taken on drop: a runtime must not be dropped where tasks run.
    runtime: Option<Runtime>,
}

impl Strangers {
    pub(crate) fn start() -> io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads((processors / PROCESSORS).max(1))
            .max_blocking_threads(BLOCKING)
            .thread_name("strangers")
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
