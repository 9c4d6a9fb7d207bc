//! Errors of the tensor library without the places in the code where they arose.

use candle_core::Error;

/// Removes the backtraces from an error. They are not for those who read a job's message, and an error is to be the same
/// text on every worker.
pub(crate) fn without_places(error: Error) -> Error {
    match error {
        Error::WithBacktrace { inner, .. } => without_places(*inner),
        Error::Context { inner, context } => {
            Error::Context { inner: Box::new(without_places(*inner)), context }
        }
        Error::WithPath { inner, path } => Error::WithPath { inner: Box::new(without_places(*inner)), path },
        Error::WrappedContext { wrapped, context } => match wrapped.downcast::<Error>() {
            Ok(inner) => {
                Error::Context { inner: Box::new(without_places(*inner)), context: Box::new(context) }
            }
            Err(wrapped) => Error::WrappedContext { wrapped, context },
        },
        other => other,
    }
}

#[cfg(test)]
mod tests;
