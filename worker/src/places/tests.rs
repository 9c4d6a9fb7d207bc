use std::backtrace::Backtrace;

use candle_core::Context as _;

use super::*;
use crate::compute::{ComputeError, PrepareError};
use crate::models::BuildError;
use crate::parameters::StateError;

/// An error as the tensor library makes it where backtraces are on.
fn with_backtrace() -> Error {
    let inner = Box::new(Error::Msg("shape mismatch".to_owned()));
    Error::WithBacktrace { inner, backtrace: Box::new(Backtrace::force_capture()) }
}

#[test]
fn a_backtrace_goes_and_the_message_with_its_context_stays() {
    for (error, expected) in [
        (with_backtrace(), "shape mismatch"),
        (with_backtrace().context("in the first layer"), "in the first layer\nshape mismatch"),
        (with_backtrace().with_path("a.safetensors"), "path: \"a.safetensors\" shape mismatch"),
        (Err::<(), _>(with_backtrace()).context("outside").unwrap_err(), "outside\nshape mismatch"),
    ] {
        assert!(error.to_string().len() > 100, "it has a backtrace");
        assert_eq!(without_places(error).to_string(), expected);
    }
}

#[test]
fn what_a_worker_reports_of_the_tensor_library_has_no_backtrace() {
    let built = BuildError::from(with_backtrace()).to_string();
    let state = StateError::tensor("layer.weight", with_backtrace());
    let computed = ComputeError::State { kind: "mlp".to_owned(), source: Box::new(state) };
    let prepared = PrepareError::from(computed).to_string();
    for text in [built, prepared] {
        assert!(text.ends_with("shape mismatch"), "{text}");
    }
}
