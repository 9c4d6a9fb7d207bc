//! Gradients of variables, straight from the operations that compute them. The tensor library would add each to zeros
//! first: for a large model two passes over all of its weights.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{Result, Tensor, TensorId};

thread_local! {
    /// Where operations on this thread leave gradients; none where nobody collects.
    static COLLECTING: RefCell<Option<Collected>> = const { RefCell::new(None) };
}

/// Gradients of variables by their tensors.
#[derive(Debug, Default)]
pub(crate) struct Collected(HashMap<TensorId, Tensor>);

impl Collected {
    /// The gradient of a variable, where an operation left one.
    pub(crate) fn get(&self, variable: &Tensor) -> Option<&Tensor> {
        self.0.get(&variable.id())
    }
}

/// Runs a backward pass on this thread; returns with its result the gradients of variables that our operations left
/// here and not with the tensor library.
pub(crate) fn collect<T>(backward: impl FnOnce() -> T) -> (T, Collected) {
    /// Ends the collecting, also when the pass panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            COLLECTING.take();
        }
    }
    COLLECTING.set(Some(Collected::default()));
    let end = End;
    let result = backward();
    let collected = COLLECTING.take().unwrap_or_default();
    drop(end);
    (result, collected)
}

/// What an operation's backward pass returns for an argument: nothing, where it is a variable whose gradient is collected.
pub(super) fn returned(argument: &Tensor, gradient: Tensor) -> Result<Option<Tensor>> {
    COLLECTING.with_borrow_mut(|collecting| match collecting {
        Some(Collected(gradients)) if argument.is_variable() => {
            let sum = match gradients.remove(&argument.id()) {
                Some(before) => (before + gradient)?,
                None => gradient,
            };
            gradients.insert(argument.id(), sum);
            Ok(None)
        }
        _ => Ok(Some(gradient)),
    })
}

#[cfg(test)]
#[path = "collected_test.rs"]
mod tests;
