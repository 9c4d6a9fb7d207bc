//! One call. Python either waits for it in a thread of its own, or goes on and is called back.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lookbehind::error::CliError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use serde::Serialize;
use tokio::task::AbortHandle;

use crate::errors::exception;
use crate::runtime::runtime;

/// How often a thread that waits looks for signals, Ctrl-C above all.
const SIGNALS: Duration = Duration::from_millis(50);

/// What a call ends with: text, JSON unless the call says otherwise, or nothing.
pub(crate) type Answer = Result<Option<String>, CliError>;

/// A call under way, or not begun yet.
type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A call that is made once, by `wait` or by `start`.
#[pyclass(frozen, module = "lookbehind._native")]
pub(crate) struct Call {
    work: Mutex<Option<Work>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Call {
    /// A call that is not begun yet.
    pub(crate) fn new(work: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self { work: Mutex::new(Some(Box::pin(work))), task: Mutex::new(None) }
    }

    /// A call whose answer is JSON.
    pub(crate) fn json<T: Serialize>(
        work: impl Future<Output = Result<T, CliError>> + Send + 'static,
    ) -> Self {
        Self::new(async move { json(&work.await?).map(Some) })
    }

    /// A call without an answer.
    pub(crate) fn silent(work: impl Future<Output = Result<(), CliError>> + Send + 'static) -> Self {
        Self::new(async move { work.await.map(|()| None) })
    }

    fn begin(&self) -> PyResult<Work> {
        locked(&self.work).take().ok_or_else(|| PyRuntimeError::new_err("a call is made once"))
    }
}

#[pymethods]
impl Call {
    /// Makes the call and waits for its answer. Signals are handled meanwhile; an exception of a handler, such as
    /// KeyboardInterrupt, ends the call.
    fn wait(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let mut work = self.begin()?;
        let runtime = runtime().map_err(|error| exception(py, &error))?;
        loop {
            let ended =
                py.detach(|| runtime.block_on(async { tokio::time::timeout(SIGNALS, &mut work).await }));
            match ended {
                Ok(answer) => return answer.map_err(|error| exception(py, &error)),
                Err(_) => py.check_signals()?,
            }
        }
    }

    /// Makes the call and returns at once. When it has ended, `done` is called from another thread, with the answer and
    /// the exception, one of which is None.
    fn start(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<()> {
        let work = self.begin()?;
        let runtime = runtime().map_err(|error| exception(py, &error))?;
        let task = runtime.spawn(async move {
            let answer = work.await;
            // Python may be busy for long, and the threads of the runtime have connections to keep alive.
            tokio::task::spawn_blocking(move || tell(&done, answer));
        });
        *locked(&self.task) = Some(task.abort_handle());
        Ok(())
    }

    /// Ends a call that was started, if it has not ended yet: `done` is not called then.
    fn cancel(&self) {
        if let Some(task) = locked(&self.task).take() {
            task.abort();
        }
    }
}

/// Calls back. Without an interpreter, nobody waits any more.
fn tell(done: &Py<PyAny>, answer: Answer) {
    Python::try_attach(|py| {
        let called = match answer {
            Ok(answer) => done.call1(py, (answer, py.None())),
            Err(error) => done.call1(py, (py.None(), exception(py, &error).into_value(py))),
        };
        if let Err(error) = called {
            error.write_unraisable(py, None);
        }
    });
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string(value)
        .map_err(|error| CliError::System { what: "cannot write JSON", source: error.into() })
}

/// The content of a lock. Nothing panics that holds one.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
