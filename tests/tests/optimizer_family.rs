//! The optimizer family in f32 against the reference in f64, with the same gradients, and both against the parity
//! fixtures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lookbehind_common::arena::Arena;
use lookbehind_common::job::{
    Alpha, Ascent, BaseOptimizer, BatchStatistics, InnerGradients, JobSpec, Length, Method, Minibatch, parse_toml,
};
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::optimizer::{Next, Optimizer};
use lookbehind_common::schedule::{Schedule, Shape};
use lookbehind_tests::reference::{self, Mlp, Samples, Tensors, Values};

/// What a run may be off, relative to the distance that it moved.
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

/// Rounds to f32, one tensor after the other.
fn arena(values: &Values) -> Arena {
    values.iter().flatten().map(|&value| value as f32).collect::<Vec<_>>().into()
}

fn values(layout: &Layout, arena: &Arena) -> Values {
    let tensor = |range: &std::ops::Range<usize>| arena[range.clone()].iter().map(|&v| f64::from(v)).collect();
    layout.entries().iter().map(|entry| tensor(&entry.range)).collect()
}

/// Trains with the service's optimizer: gradients are computed in f64 at the weights that it asks for.
fn train(job: &JobSpec, init: &Tensors, samples: &Samples) -> Tensors {
    let (layout, mlp) = (Arc::new(layout_of(init)), Mlp::of(init));
    let parameters = arena(&init.values().map(|(_, values)| values.clone()).collect());
    let mut optimizer = Optimizer::new(&job.optimizer, Arc::clone(&layout), parameters, Arena::default())
        .expect("arenas that fit");
    for step in reference::outer_steps(job, samples.targets.len()) {
        let mut evaluation = optimizer.begin(step.batches.len() as u32, step.learning_rate);
        loop {
            let batch = &step.batches[evaluation.batch as usize];
            let weights = values(&layout, &optimizer.weights());
            let gradient = arena(&reference::loss_and_gradient(&mlp, &weights, samples, batch).1);
            match optimizer.absorb(gradient, &Arena::default()).expect("a finite gradient") {
                Next::Evaluate(next) => evaluation = next,
                Next::Finished(_) => break,
            }
        }
    }
    let trained = values(&layout, optimizer.slow());
    init.iter().zip(trained).map(|((name, (shape, _)), values)| (name.clone(), (shape.clone(), values))).collect()
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
        let got = reference::train(&case.job, &case.init, &case.samples);
        // The fixtures are rounded to f32.
        assert_close(name, &got, &case.expected, &case.init, 1e-6);
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
