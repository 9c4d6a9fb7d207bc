//! The model of the simulated workers: a perceptron with 26 parameters and 23 artificial samples. Its gradients are
//! real, so that a wrong sum cannot lead to the right weights.

use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{JobDescription, JobSpec};
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::{Climb, Visit, VisitPartial, partial_lengths};
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::random::{Key, Purpose};
use lookbehind_common::reduction::{MissingShard, Segment, effective_shards, reduce, shard_range};
use lookbehind_common::sampling::epoch_order;
use lookbehind_common::test_set::FurtherTests;
use lookbehind_coordinator::state::command::RequestKind;

const INPUTS: usize = 3;
const HIDDEN: usize = 4;
const CLASSES: usize = 2;
/// Index of the first parameter of the second layer.
const SECOND: usize = HIDDEN * (INPUTS + 1);
/// Number of elements of all parameters.
const PARAMETERS: usize = SECOND + CLASSES * (HIDDEN + 1);

/// Number of samples in the training split: a prime, so that no batch size divides it.
pub(crate) const TRAIN_SAMPLES: u64 = 23;

/// Number of samples in the test split of a job; every second job has no test split.
pub(crate) fn test_samples(spec: &JobSpec) -> u64 {
    if spec.seed.is_multiple_of(2) { 5 } else { 0 }
}

/// Samples of the other tests: every third job has some, a third of these without a test split.
pub(crate) fn further_tests(spec: &JobSpec) -> FurtherTests {
    if spec.seed.is_multiple_of(3) {
        FurtherTests { validation: 3, clean: TRAIN_SAMPLES, memorised: 9 }
    } else {
        FurtherTests::default()
    }
}

/// The description of model and data that a worker sends.
pub(crate) fn description(spec: &JobSpec) -> JobDescription {
    let tensor =
        |name: &str, shape: &[usize], kind| TensorSpec { name: name.into(), shape: shape.to_vec(), kind };
    let layout = Layout::new([
        tensor("layers.0.weight", &[HIDDEN, INPUTS], TensorKind::Parameter),
        tensor("layers.0.bias", &[HIDDEN], TensorKind::Parameter),
        tensor("norm.running_mean", &[HIDDEN], TensorKind::RunningStatistic),
        tensor("layers.1.weight", &[CLASSES, HIDDEN], TensorKind::Parameter),
        tensor("layers.1.bias", &[CLASSES], TensorKind::Parameter),
    ]);
    JobDescription {
        layout: layout.expect("a layout"),
        train_samples: TRAIN_SAMPLES,
        test_samples: test_samples(spec),
        further_tests: further_tests(spec),
        data_fingerprint: Digest::of(b"toy"),
        class_names: Vec::new(),
        data_report: Vec::new(),
    }
}

/// Lengths of the flat buffers of a gradient request's partial.
pub(crate) fn lengths(spec: &JobSpec) -> ModelState<usize> {
    partial_lengths(&spec.optimizer, &description(spec).layout)
}

/// Initial parameters and running statistics.
pub(crate) fn initial(spec: &JobSpec) -> ModelState<FlatBuffer> {
    let mut stream = Key::new(spec.seed, Purpose::InitialWeights).stream();
    let parameters: Vec<f32> = (0..PARAMETERS).map(|_| stream.uniform_between(-0.7, 0.7)).collect();
    ModelState { parameters: parameters.into(), statistics: FlatBuffer::zeros(HIDDEN) }
}

/// Number of samples of a request and number of shards.
pub(crate) fn extent(spec: &JobSpec, kind: RequestKind) -> (u64, u32) {
    let samples = match kind {
        RequestKind::Gradient { batch, .. } => {
            spec.train.batch_size.min(TRAIN_SAMPLES.saturating_sub(batch * spec.train.batch_size))
        }
        RequestKind::Test(set) => description(spec).samples_of(set),
    };
    (samples, effective_shards(samples, spec.train.shards))
}

/// The samples in a segment of a request, as indices into the split.
pub(crate) fn samples_of(spec: &JobSpec, kind: RequestKind, segment: Segment) -> Vec<u64> {
    let (samples, shards) = extent(spec, kind);
    let (first, last) =
        (shard_range(samples, shards, segment.first), shard_range(samples, shards, segment.end - 1));
    match kind {
        RequestKind::Gradient { epoch, batch } => {
            let order = epoch_order(spec.seed, epoch, TRAIN_SAMPLES, spec.data.shuffle);
            let start = (batch * spec.train.batch_size) as usize;
            order[start + first.start as usize..start + last.end as usize].to_vec()
        }
        RequestKind::Test(set) => {
            let before = TRAIN_SAMPLES * (1 + set as u64);
            (first.start..last.end).map(|sample| before + sample).collect()
        }
    }
}

/// The partial of a segment: the sum over its shards in the order of the reduction tree.
pub(crate) fn partial(spec: &JobSpec, weights: &FlatBuffer, kind: RequestKind, segment: Segment) -> Partial {
    let (samples, _) = extent(spec, kind);
    let sum = reduce::<MissingShard>(segment, spec.train.exchange, &mut |part: Segment| {
        Ok((part.len() == 1).then(|| visited(spec, weights, samples, kind, &samples_of(spec, kind, part))))
    });
    sum.expect("every shard is made")
}

/// The partial of a shard: of one gradient, or of all on its path if it climbs by itself.
fn visited(spec: &JobSpec, weights: &FlatBuffer, batch: u64, kind: RequestKind, samples: &[u64]) -> Partial {
    let visit = Visit::of(&spec.optimizer.method).filter(|_| matches!(kind, RequestKind::Gradient { .. }));
    let at = |weights: &[f32]| {
        let mut partial = shard(weights, batch, kind, samples);
        spec.train.exchange.round(&mut partial.gradient).expect("small values");
        partial
    };
    let Some(visit) = visit else { return at(weights) };
    let layout = description(spec).layout;
    let mut climb = Climb::new(visit, &spec.optimizer, &layout, weights).expect("weights of the layout");
    let mut sent = VisitPartial::new(visit, &spec.optimizer, &layout);
    loop {
        let mut found = at(climb.weights());
        climb.absorb(&mut found).expect("finite values");
        if let Some(partial) = sent.absorb(&found).expect("the layout's lengths") {
            return partial;
        }
    }
}

fn shard(weights: &[f32], batch: u64, kind: RequestKind, samples: &[u64]) -> Partial {
    let mut sums = Sums { samples: samples.len() as u64, ..Sums::default() };
    let mut gradient = vec![0.0_f32; PARAMETERS];
    let mut means = vec![0.0_f32; HIDDEN];
    for &sample in samples {
        let (input, target) = sample_at(sample);
        let hidden = forward(weights, &input, &mut means);
        let (loss, correct, delta) = loss_at(weights, &hidden, target);
        sums.loss += loss;
        sums.correct += u64::from(correct);
        backward(weights, &input, &hidden, &delta, &mut gradient);
    }
    if matches!(kind, RequestKind::Test(_)) {
        return Partial { sums, ..Partial::default() };
    }
    for number in gradient.iter_mut().chain(&mut means) {
        *number /= batch as f32;
    }
    Partial { gradient: gradient.into(), statistics: means.into(), sums }
}

/// A sample: a random point keyed by its index, and as class whether the sum of its coordinates is positive.
fn sample_at(sample: u64) -> ([f32; INPUTS], usize) {
    let mut stream = Key { sample, ..Key::new(1, Purpose::Augmentation) }.stream();
    let input: [f32; INPUTS] = std::array::from_fn(|_| stream.uniform_between(-1.0, 1.0));
    (input, usize::from(input.iter().sum::<f32>() > 0.0))
}

fn forward(weights: &[f32], input: &[f32], means: &mut [f32]) -> [f32; HIDDEN] {
    std::array::from_fn(|out| {
        let row = &weights[out * INPUTS..(out + 1) * INPUTS];
        let sum = row.iter().zip(input).fold(weights[HIDDEN * INPUTS + out], |sum, (w, x)| sum + w * x);
        means[out] += sum;
        sum.max(0.0)
    })
}

/// Loss, whether the prediction is correct, and the gradient of the loss with respect to the logits.
fn loss_at(weights: &[f32], hidden: &[f32], target: usize) -> (f64, bool, [f32; CLASSES]) {
    let logits: [f32; CLASSES] = std::array::from_fn(|out| {
        let row = &weights[SECOND + out * HIDDEN..SECOND + (out + 1) * HIDDEN];
        row.iter().zip(hidden).fold(weights[SECOND + CLASSES * HIDDEN + out], |sum, (w, x)| sum + w * x)
    });
    let total: f32 = logits.iter().map(|y| y.exp()).sum();
    let mut delta = logits.map(|y| y.exp() / total);
    let loss = -f64::from(delta[target].max(1e-12).ln());
    delta[target] -= 1.0;
    (loss, logits.iter().all(|y| *y <= logits[target]), delta)
}

fn backward(weights: &[f32], input: &[f32], hidden: &[f32], delta: &[f32], gradient: &mut [f32]) {
    for (out, d) in delta.iter().enumerate() {
        gradient[SECOND + CLASSES * HIDDEN + out] += d;
        for (at, h) in hidden.iter().enumerate() {
            gradient[SECOND + out * HIDDEN + at] += d * h;
        }
    }
    for (at, _) in hidden.iter().enumerate().filter(|(_, h)| **h > 0.0) {
        let below: f32 =
            delta.iter().enumerate().map(|(out, d)| d * weights[SECOND + out * HIDDEN + at]).sum();
        gradient[HIDDEN * INPUTS + at] += below;
        for (i, x) in input.iter().enumerate() {
            gradient[at * INPUTS + i] += below * x;
        }
    }
}
