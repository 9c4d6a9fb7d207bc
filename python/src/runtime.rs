//! The threads behind the calls: one runtime for the process.

use std::sync::{Arc, Mutex, PoisonError};

use lookbehind::error::CliError;
use tokio::runtime::Runtime;

/// The runtime, and the process that has its threads.
static RUNTIME: Mutex<Option<(u32, Arc<Runtime>)>> = Mutex::new(None);

/// The runtime of this process. A process that was forked has none of its parent's threads and gets its own.
///
/// # Errors
/// If no threads can be started.
pub(crate) fn runtime() -> Result<Arc<Runtime>, CliError> {
    let process = std::process::id();
    let mut current = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, runtime)) = &*current
        && *owner == process
    {
        return Ok(Arc::clone(runtime));
    }
    let new = Runtime::new().map_err(|source| CliError::System { what: "cannot start threads", source })?;
    let new = Arc::new(new);
    // The parent's runtime is not dropped: that would wait for threads which are not in this process.
    std::mem::forget(current.replace((process, Arc::clone(&new))));
    Ok(new)
}
