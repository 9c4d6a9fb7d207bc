//! What nobody waits for any more ends while it is computed, not at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;
use lookbehind_common::reduction::Segment;

use super::bits;
use crate::compute::fixture::*;
use crate::compute::{Backend, CandleBackend, PrepareError, PreparedJob, Stopped, Watch};
use crate::data::Cancellation;
use crate::models::{ForwardContext, Model};
use crate::registry::Registry;
use crate::test_support::{data_folder, job};

#[test]
fn a_shard_that_is_superseded_while_it_is_computed_ends_and_changes_nothing() {
    let (_folder, mut job, _) = loaded(MLP, "epochs = 1\nbatch_size = 22\nshards = 1");
    let request = gradient(0, 1);
    let watched = |job: &mut dyn PreparedJob, times: usize| {
        let patient = Arc::new(Patient { times, asked: AtomicUsize::new(0) });
        let watch: Arc<dyn Watch> = Arc::clone(&patient) as _;
        let computed = job.segment(&request, Segment { first: 0, end: 1 }, &watch);
        (computed, patient.asked.load(Ordering::Relaxed))
    };
    let (whole, asked) = watched(job.as_mut(), usize::MAX);
    let whole = bits(&whole.unwrap());
    assert!(asked > 4, "asked within the forward and the backward pass; found {asked}");
    for times in 1..asked {
        let (computed, _) = watched(job.as_mut(), times);
        assert!(matches!(computed, Err(Stopped::Superseded)), "{times}: {computed:?}");
    }
    assert_eq!(bits(&watched(job.as_mut(), usize::MAX).0.unwrap()), whole);
}

/// A linear classifier during whose first forward pass its job is cancelled.
struct Cancels {
    weight: Tensor,
    cancellation: Cancellation,
}

impl Model for Cancels {
    fn forward(&self, inputs: &Tensor, _context: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
        self.cancellation.cancel();
        let logits = lookbehind_kernels::linear(
            &inputs.flatten_from(1)?,
            &self.weight,
            &self.weight.get_on_dim(1, 0)?,
        );
        assert!(logits.is_err(), "an operation of a job that is cancelled is not computed");
        logits
    }
}

#[test]
fn a_job_that_is_cancelled_while_its_probe_is_computed_is_not_loaded_to_the_end() {
    let cancellation = Cancellation::default();
    let of_model = cancellation.clone();
    let registry = Registry::builtin().with_model("cancels", move |_, data, builder| {
        let weight = builder.get((data.classes, data.input_size()), "weight")?;
        Ok(Box::new(Cancels { weight, cancellation: of_model.clone() }))
    });
    let (_folder, environment) = data_folder();
    let spec = job("kind = \"cancels\"", "kind = \"digits\"", "epochs = 1\nbatch_size = 8\nshards = 1");
    let prepared = CandleBackend::new(registry, environment).prepare(&spec, &cancellation);
    assert_eq!(prepared.err(), Some(PrepareError::Cancelled));
}
