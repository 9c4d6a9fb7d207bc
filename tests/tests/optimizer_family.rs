//! The optimizer family in f32 compared with the reference in f64, with the same gradients, and both compared with the
//! parity fixtures.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{
    Alpha, Ascent, BaseOptimizer, DescentGradient, InnerGradients, JobSpec, Length, Method, Minibatch,
    Perturbation, parse_toml,
};
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::{Next, Optimizer};
use lookbehind_common::schedule::{Schedule, Shape};
use lookbehind_tests::reference::{self, Mlp, Samples, Tensors, Values};

/// Largest error of a run, relative to the distance that the weights moved.
const TOLERANCE: f64 = 1e-4;

struct Case {
    job: JobSpec,
    init: Tensors,
    samples: Samples,
    expected: Tensors,
}

fn case(name: &str) -> Case {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/parity").join(name);
    let text = std::fs::read_to_string(folder.join("job.toml")).expect("a job file");
    let mut file = parse_toml(&text).expect("a job");
    file.model.init = None;
    Case {
        job: file.validate().expect("a valid job"),
        init: reference::read_tensors(&folder.join("init.safetensors")),
        samples: reference::read_samples(&folder.join("data.safetensors")),
        expected: reference::read_tensors(&folder.join("expected.safetensors")),
    }
}

fn layout_of(tensors: &Tensors) -> Layout {
    let parameter = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f64>))| TensorSpec {
        name: name.clone(),
        shape: shape.clone(),
        kind: TensorKind::Parameter,
    };
    Layout::new(tensors.iter().map(parameter)).expect("a valid layout")
}

/// Rounds all tensors to f32, one after the other.
fn flat_buffer(values: &Values) -> FlatBuffer {
    values.iter().flatten().map(|&value| value as f32).collect::<Vec<_>>().into()
}

fn values(layout: &Layout, flat_buffer: &FlatBuffer) -> Values {
    let tensor =
        |range: &std::ops::Range<usize>| flat_buffer[range.clone()].iter().map(|&v| f64::from(v)).collect();
    layout.entries().iter().map(|entry| tensor(&entry.range)).collect()
}

/// Trains with the service's optimizer: gradients are computed in f64 at the weights that it asks for.
fn train(job: &JobSpec, init: &Tensors, samples: &Samples) -> Tensors {
    let (layout, mlp) = (Arc::new(layout_of(init)), Mlp::of(init));
    let parameters = flat_buffer(&init.values().map(|(_, values)| values.clone()).collect());
    let initial = ModelState { parameters, ..ModelState::default() };
    let mut optimizer = Optimizer::new(&job.optimizer, job.seed, Arc::clone(&layout), initial)
        .expect("flat buffers that fit");
    for step in reference::outer_steps(job, samples.targets.len()) {
        let mut request = optimizer.begin(step.batches.len() as u32, step.learning_rate);
        loop {
            let batch = &step.batches[request.batch as usize];
            let weights = values(&layout, &optimizer.weights());
            let gradient = flat_buffer(&reference::loss_and_gradient(&mlp, &weights, samples, batch).1);
            match optimizer.absorb(gradient, &FlatBuffer::default()).expect("a finite gradient") {
                Next::Gradient(next) => request = next,
                Next::Finished(_) => break,
            }
        }
    }
    let trained = values(&layout, optimizer.slow());
    init.iter()
        .zip(trained)
        .map(|((name, (shape, _)), values)| (name.clone(), (shape.clone(), values)))
        .collect()
}

fn assert_close(what: &str, got: &Tensors, expected: &Tensors, init: &Tensors, tolerance: f64) {
    let error = reference::relative_error(got, expected, init);
    println!("{what}: {error:.1e}");
    assert!(error <= tolerance, "{what}: off by {error:.1e} of the distance moved, expected {tolerance:.0e}");
}

const DIGITS: [&str; 7] = [
    "sgd",
    "sam",
    "asam",
    "lookbehind-sam-k2",
    "lookbehind-sam-k3-multistep",
    "lookbehind-sam-k5-adaptive",
    "lookbehind-asam-k2-adaptive",
];

#[test]
fn the_reference_reproduces_the_parity_fixtures() {
    for name in DIGITS {
        let case = case(name);
        let mut got = reference::train(&case.job, &case.init, &case.samples);
        // The fixtures are rounded to f32. After the result is rounded as well, they differ only where a value lies on
        // the edge between two.
        got.values_mut().flat_map(|(_, values)| values).for_each(|value| *value = f64::from(*value as f32));
        assert_close(name, &got, &case.expected, &case.init, 1e-8);
    }
}

#[test]
fn the_optimizer_reproduces_the_parity_fixtures() {
    for name in DIGITS {
        let case = case(name);
        let got = train(&case.job, &case.init, &case.samples);
        assert_close(name, &got, &case.expected, &case.init, TOLERANCE);
    }
}

/// A short run on few samples, whose epochs end with a smaller batch and, for methods that take several batches, a
/// shorter outer step.
fn short_case() -> Case {
    let mut case = case("sgd");
    case.samples.inputs.truncate(100);
    case.samples.targets.truncate(100);
    case.job.train.batch_size = 16;
    case.job.train.length = Length::Epochs(2);
    case
}

/// All but random weight perturbation, whose noise depends on the order of a model's tensors.
fn methods() -> Vec<Method> {
    let (sam, asam) = (
        Ascent { rho: 0.05, eta: None, perturbation: Perturbation::Global },
        Ascent { rho: 0.5, eta: Some(0.01), perturbation: Perturbation::Global },
    );
    let gradients = [
        InnerGradients::Reuse,
        InnerGradients::Reference(Minibatch::Same),
        InnerGradients::Reference(Minibatch::Switch),
    ];
    let mut methods = vec![Method::Sgd];
    for alpha in [Alpha::Static(0.5), Alpha::Static(1.0), Alpha::Adaptive] {
        methods.push(Method::Lookahead { k: 3, alpha });
        for ascent in [sam, asam] {
            methods.push(Method::LookaheadSam { ascent, k: 3, alpha });
            methods.extend(gradients.map(|gradients| Method::Lookbehind { ascent, k: 3, alpha, gradients }));
        }
    }
    for ascent in [sam, asam] {
        methods.push(Method::Sam { ascent });
        let multistep = [
            (Minibatch::Same, DescentGradient::Last),
            (Minibatch::Switch, DescentGradient::Last),
            (Minibatch::Same, DescentGradient::Mean),
        ];
        methods.extend(multistep.map(|(minibatch, descent)| Method::MultistepSam {
            ascent,
            k: 3,
            minibatch,
            descent,
        }));
    }
    methods
}

fn assert_agrees(case: &Case) {
    let expected = reference::train(&case.job, &case.init, &case.samples);
    let got = train(&case.job, &case.init, &case.samples);
    let what = format!("{:?} {:?} {:?}", case.job.optimizer, case.job.train.length, case.job.schedule);
    assert_close(&what, &got, &expected, &case.init, TOLERANCE);
}

#[test]
fn every_method_agrees_with_the_reference_with_every_base_optimizer() {
    let mut case = short_case();
    let bases = [
        BaseOptimizer::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 },
        BaseOptimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 5e-4 },
        BaseOptimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
        BaseOptimizer::AdamW { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 },
    ];
    for method in methods() {
        for base in bases {
            case.job.optimizer.method = method;
            case.job.optimizer.base = base;
            assert_agrees(&case);
        }
    }
}

#[test]
fn every_schedule_and_length_agrees_with_the_reference() {
    let mut case = short_case();
    let gradients = InnerGradients::Reference(Minibatch::Switch);
    let ascent = Ascent { rho: 0.05, eta: None, perturbation: Perturbation::Global };
    case.job.optimizer.method = Method::Lookbehind { ascent, k: 3, alpha: Alpha::Static(0.5), gradients };
    let shapes = [
        Shape::Constant,
        Shape::Multistep { milestones: vec![1, 2], gamma: 0.1 },
        Shape::Cosine { min_lr: 0.01 },
    ];
    for shape in shapes {
        for warmup in [0, 2] {
            case.job.schedule = Schedule { shape: shape.clone(), warmup, warmup_start: 0.2 };
            for (length, drop_last) in
                [(Length::Epochs(4), false), (Length::Epochs(4), true), (Length::Steps(5), false)]
            {
                case.job.train.length = length;
                case.job.data.drop_last = drop_last;
                assert_agrees(&case);
            }
        }
    }
}

#[test]
fn the_reference_gradient_is_the_slope_of_the_loss() {
    let case = short_case();
    let mlp = Mlp::of(&case.init);
    let weights: Values = case.init.values().map(|(_, values)| values.clone()).collect();
    let loss = |weights: &Values| reference::loss_and_gradient(&mlp, weights, &case.samples, &(3..20)).0;
    let (_, gradient) = reference::loss_and_gradient(&mlp, &weights, &case.samples, &(3..20));
    for tensor in 0..weights.len() {
        for index in (0..weights[tensor].len()).step_by(17) {
            let mut moved = [weights.clone(), weights.clone()];
            moved[0][tensor][index] -= 1e-6;
            moved[1][tensor][index] += 1e-6;
            let slope = (loss(&moved[1]) - loss(&moved[0])) / 2e-6;
            assert!((slope - gradient[tensor][index]).abs() < 1e-7, "{tensor} {index}");
        }
    }
}
