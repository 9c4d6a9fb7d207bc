//! Jobs on GPUs, real or emulated ones, as the driver presents them to the tests.

use std::sync::atomic::{AtomicU32, Ordering};

use candle_core::Tensor;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::job::JobSpec;

use super::*;
use crate::compute::fixture::*;
use crate::compute::{Backend, CandleBackend, RequestKind};
use crate::data::Cancellation;
use crate::device::DeviceChoice;
use crate::models::{ForwardContext, Model};
use crate::registry::Registry;
use crate::test_support::{data_folder, job};

const TRAIN: &str = "epochs = 1\nbatch_size = 20\nshards = 8";

/// A job on one GPU with its initial weights; the folder holds its data.
fn loaded() -> (tempfile::TempDir, Box<dyn PreparedJob>) {
    let (folder, backend) = backend();
    let spec = job(MLP, &format!("{FILES}\nshuffle = false"), TRAIN);
    let mut job =
        backend.on(&DeviceChoice::Cuda(vec![0])).unwrap().prepare(&spec, &Cancellation::default()).unwrap();
    load(job.as_mut());
    (folder, job)
}

fn load(job: &mut dyn PreparedJob) {
    let initial = job.initial_state().unwrap();
    job.load(initial.values()).unwrap();
}

/// Is superseded after a number of shards.
struct Until {
    left: AtomicU32,
    advanced: AtomicU32,
}

impl Watch for Until {
    fn advance(&self) {
        self.advanced.fetch_add(1, Ordering::Relaxed);
    }

    fn is_superseded(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

#[test]
fn a_segment_is_the_canonical_sum_of_its_shards_and_each_shard_is_progress() {
    let (_folder, mut job) = loaded();
    let request = gradient(0, 8);
    let shards: Vec<Partial> = (0..8).map(|number| shard(job.as_mut(), &request, number).unwrap()).collect();
    let until = Arc::new(Until { left: AtomicU32::new(u32::MAX), advanced: AtomicU32::new(0) });
    let watch: Arc<dyn Watch> = Arc::clone(&until) as _;
    let segment = job.segment(&request, Segment::root(8), &watch).unwrap();
    let sum = lookbehind_common::reduction::reduce::<Stopped>(
        Segment::root(8),
        ExchangeFormat::F32,
        &mut |part: Segment| Ok((part.len() == 1).then(|| shards[part.first as usize].clone())),
    );
    assert_eq!(segment, sum.unwrap());
    assert_eq!(until.advanced.load(Ordering::Relaxed), 8);
}

/// The job of [`loaded`] after a change of its specification.
fn changed(change: impl FnOnce(&mut JobSpec)) -> (tempfile::TempDir, Box<dyn PreparedJob>) {
    let (folder, backend) = backend();
    changed_on(folder, backend.on(&DeviceChoice::Cuda(vec![0])).unwrap(), change)
}

fn changed_on(
    folder: tempfile::TempDir,
    backend: CandleBackend,
    change: impl FnOnce(&mut JobSpec),
) -> (tempfile::TempDir, Box<dyn PreparedJob>) {
    let mut spec = job(MLP, &format!("{FILES}\nshuffle = false"), TRAIN);
    change(&mut spec);
    let mut job = backend.prepare(&spec, &Cancellation::default()).unwrap();
    load(job.as_mut());
    (folder, job)
}

#[test]
fn gradients_in_bf16_are_rounded_for_each_shard_and_each_sum_and_nothing_else_is() {
    let (_folder, mut exact) = loaded();
    let (_other, mut rounded) = changed(|spec| spec.train.exchange = ExchangeFormat::Bf16);
    assert_eq!(rounded.probe(), exact.probe(), "rounding hides differences between machines");
    let request = gradient(0, 8);
    let shards = (0..8).map(|number| {
        let mut partial = shard(exact.as_mut(), &request, number).unwrap();
        ExchangeFormat::Bf16.round(&mut partial.gradient).unwrap();
        assert_eq!(shard(rounded.as_mut(), &request, number).unwrap(), partial);
        partial
    });
    let shards: Vec<Partial> = shards.collect();
    let root = Segment::root(8);
    let sum = lookbehind_common::reduction::reduce::<Stopped>(root, ExchangeFormat::Bf16, &mut |part| {
        Ok((part.len() == 1).then(|| shards[part.first as usize].clone()))
    });
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    assert_eq!(rounded.segment(&request, root, &watch).unwrap(), sum.unwrap());
}

/// On all GPUs that there are, in either order.
#[test]
fn shards_climb_by_themselves_as_they_do_with_the_gradients_of_a_gpu_and_the_optimizers_arithmetic() {
    use lookbehind_common::job::{Alpha, Ascent, InnerGradients, Method, OptimizerSpec, Perturbation};
    use lookbehind_common::optimizer::{Climb, ClimbOrder, Visit, VisitPartial};
    for exchange in [ExchangeFormat::F32, ExchangeFormat::Bf16] {
        let ascent = Ascent { rho: 0.5, eta: Some(0.01), perturbation: Perturbation::Shard };
        let gradients = InnerGradients::Reuse;
        let method = Method::Lookbehind { ascent, k: 3, alpha: Alpha::Static(0.5), gradients };
        let mut optimizer = None;
        let (_folder, mut single) = changed(|spec| {
            spec.train.exchange = exchange;
            optimizer = Some(OptimizerSpec { method, ..spec.optimizer.clone() });
        });
        let optimizer = optimizer.unwrap();
        let (request, initial) = (gradient(0, 8), single.initial_state().unwrap());
        let visits = (0..8).map(|number| {
            let layout = single.description().layout.clone();
            let visit = Visit::of(&method).unwrap();
            let mut climb = Climb::new(visit, &optimizer, &layout, &initial.parameters).unwrap();
            let mut sent = VisitPartial::new(visit, &optimizer, &layout);
            loop {
                let weights = ModelState { parameters: climb.weights(), statistics: &initial.statistics[..] };
                single.load(weights).unwrap();
                let mut at = shard(single.as_mut(), &request, number).unwrap();
                climb.absorb(&mut at).unwrap();
                if let Some(partial) = sent.absorb(&at).unwrap() {
                    break partial;
                }
            }
        });
        let visits: Vec<Partial> = visits.collect();
        let root = Segment::root(8);
        let sum = lookbehind_common::reduction::reduce::<Stopped>(root, exchange, &mut |part| {
            Ok((part.len() == 1).then(|| visits[part.first as usize].clone()))
        });
        let sum = sum.unwrap();
        for order in ClimbOrder::ALL {
            let (folder, backend) = backend();
            let backend = backend.on(&DeviceChoice::Cuda(Vec::new())).unwrap().with_climb_order(order);
            let (_folder, mut climbing) = changed_on(folder, backend, |spec| {
                spec.train.exchange = exchange;
                spec.optimizer.method = method;
            });
            let watch: Arc<dyn Watch> = Arc::new(Unwatched);
            assert_eq!(climbing.segment(&request, root, &watch).unwrap(), sum, "{order:?}");
        }
    }
}

#[test]
fn the_test_split_is_counted_whole_whatever_its_shards() {
    let (_folder, mut job) = loaded();
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let whole = job.segment(&test_request(1), Segment::root(1), &watch).unwrap().sums;
    let parts = job.segment(&test_request(3), Segment::root(3), &watch).unwrap().sums;
    assert_eq!((whole.samples, whole.correct), (9, parts.correct));
    assert_eq!(parts.samples, 9);
    assert!((whole.loss - parts.loss).abs() < 1e-9 * whole.loss);
}

#[test]
fn request_that_is_superseded_stops_and_the_next_comes_out_as_if_nothing_had_been() {
    let (_folder, mut job) = loaded();
    let request = gradient(0, 8);
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let expected = job.segment(&request, Segment::root(8), &watch).unwrap();
    for shards in 0..6 {
        let until: Arc<dyn Watch> =
            Arc::new(Until { left: AtomicU32::new(shards), advanced: AtomicU32::new(0) });
        assert!(matches!(job.segment(&request, Segment::root(8), &until), Err(Stopped::Superseded)));
        assert_eq!(job.segment(&request, Segment::root(8), &watch).unwrap(), expected);
    }
}

#[test]
fn a_model_that_panics_is_said_to_have_and_the_gpu_goes_on() {
    /// Panics at its third shard of four samples.
    struct Panics {
        weight: Tensor,
        shards: AtomicU32,
    }
    impl Model for Panics {
        fn forward(&self, inputs: &Tensor, _pass: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
            let shards = self.shards.fetch_add(1, Ordering::Relaxed);
            assert!(inputs.dim(0)? != 4 || shards != 6, "a model's fault");
            lookbehind_kernels::linear(
                &inputs.flatten_from(1)?,
                &self.weight,
                &self.weight.narrow(1, 0, 1)?.flatten_all()?.contiguous()?,
            )
        }
    }
    let (_folder, environment) = data_folder();
    let registry = Registry::builtin().with_model("panics", |_, data, builder| {
        let weight = builder.get((data.classes, data.input_size()), "weight")?;
        Ok(Box::new(Panics { weight, shards: AtomicU32::new(0) }))
    });
    let backend = CandleBackend::new(registry, environment).on(&DeviceChoice::Cuda(vec![0])).unwrap();
    let spec = job("kind = \"panics\"", "kind = \"digits\"", "epochs = 1\nbatch_size = 32\nshards = 8");
    let mut job = backend.prepare(&spec, &Cancellation::default()).unwrap();
    load(job.as_mut());
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let request = Request { kind: RequestKind::Gradient, epoch: 0, batch: 0, shards: 8 };
    let results: Vec<_> = (0..3).map(|_| job.segment(&request, Segment::root(8), &watch)).collect();
    let panicked = results.iter().filter(|result| match result {
        Err(Stopped::Failed(error)) => {
            assert!(error.to_string().ends_with("panicked: a model's fault"), "{error}");
            true
        }
        _ => false,
    });
    assert_eq!(panicked.count(), 1);
    let sums: Vec<_> = results.iter().flatten().map(|partial| partial.sums).collect();
    assert_eq!(sums.len(), 2);
    assert!(sums.iter().all(|sum| *sum == sums[0] && sum.samples == 32), "{sums:?}");
}

#[test]
fn without_weights_nothing_is_computed() {
    let (folder, mut job) = loaded();
    let wrong = job.load(ModelState { parameters: &[0.0], statistics: &[] });
    assert!(wrong.is_err());
    assert!(matches!(shard(job.as_mut(), &gradient(0, 8), 0), Err(ComputeError::NotLoaded)));
    drop(folder);
}
