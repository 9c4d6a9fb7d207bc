//! The optimizer family in f32 compared with the reference in f64, with the same gradients, and both compared with the
//! parity fixtures.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::{
    Alpha, Ascent, BaseOptimizer, DescentGradient, Group, Groups, InnerGradients, JobSpec, Length, Method,
    Minibatch, Perturbation, parse_toml,
};
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::optimizer::{Next, Optimizer};
use lookbehind_common::random::{Key, Purpose};
use lookbehind_common::schedule::{Schedule, Shape, Unit};
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
            let gradient = reference::loss_and_gradient(&mlp, &weights, samples, batch).1;
            // A gradient has a place for each tensor that is trained.
            let pairs = gradient.into_iter().zip(layout.entries());
            let trained = pairs.filter(|(_, entry)| !job.optimizer.groups.rule(&entry.spec).frozen);
            let gradient = flat_buffer(&trained.map(|(values, _)| values).collect());
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
        BaseOptimizer::Adam { lr: 1e-3, betas: [0.9, 0.99], eps: 1e-6, weight_decay: 0.01 },
        BaseOptimizer::Lion { lr: 1e-3, betas: [0.9, 0.99], weight_decay: 0.1 },
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
fn every_method_agrees_with_the_reference_where_gradients_are_clipped() {
    let mut case = short_case();
    for method in methods() {
        for clip_norm in [0.3, 1.0] {
            case.job.optimizer.method = method;
            case.job.optimizer.clip_norm = Some(clip_norm);
            assert_agrees(&case);
        }
    }
}

#[test]
fn every_method_agrees_with_the_reference_with_groups_of_every_kind() {
    let mut case = short_case();
    let group = |pattern: &str| Group { tensors: vec![pattern.to_owned()], ..Group::default() };
    let groups = |ascends: bool| {
        let excluded = Group { ascent: ascends.then_some(false), ..group("*.0.bias") };
        let slower = Group { lr_factor: Some(0.3), weight_decay: Some(0.05), ..group("layers.1.*") };
        let frozen = Group { frozen: Some(true), ..group("layers.0.weight") };
        let some = vec![excluded.clone(), slower.clone()];
        let exempt = Groups { list: vec![excluded.clone()], decay_biases_and_norms: false };
        let fine_tuning = Groups { list: vec![frozen, excluded, slower], decay_biases_and_norms: true };
        [Groups { list: some, decay_biases_and_norms: true }, exempt, fine_tuning]
    };
    let base = BaseOptimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false, weight_decay: 0.02 };
    case.job.optimizer.base = base;
    for method in methods() {
        for groups in groups(method.parts().ascent.is_some()) {
            case.job.optimizer.method = method;
            case.job.optimizer.groups = groups;
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
        Shape::Polynomial { min_lr: 0.01, power: 2.0 },
        Shape::OneCycle { pct_start: 0.5, div_factor: 10.0, final_div_factor: 100.0 },
    ];
    for shape in shapes {
        for warmup in [0, 2] {
            if warmup > 0 && matches!(shape, Shape::OneCycle { .. }) {
                continue;
            }
            for (length, drop_last) in
                [(Length::Epochs(4), false), (Length::Epochs(4), true), (Length::Steps(5), false)]
            {
                case.job.train.length = length;
                case.job.data.drop_last = drop_last;
                let by_length = if matches!(length, Length::Epochs(_)) { Unit::Epoch } else { Unit::Step };
                for unit in [by_length, Unit::Step] {
                    let shape = shape.clone();
                    case.job.schedule = Schedule { unit, shape, warmup, warmup_start: 0.2 };
                    assert_agrees(&case);
                }
            }
        }
    }
}

/// A combination of the keys of `[optimizer]`, `[optimizer.base]`, `[[optimizer.groups]]` and `[schedule]`, by a number.
fn combination(case: &mut Case, number: u64) {
    let mut stream = Key { batch: number, ..Key::new(7, Purpose::Order) }.stream();
    let mut draw = |below: u64| stream.below(below) as usize;
    let all = methods();
    let method = all[draw(all.len() as u64)];
    let weight_decay = [0.0, 0.01, 0.1][draw(3)];
    let betas = [0.9, [0.95, 0.999][draw(2)]];
    let base = match draw(4) {
        0 => BaseOptimizer::Sgd { lr: 0.1, momentum: [0.0, 0.5][draw(2)], nesterov: false, weight_decay },
        1 => BaseOptimizer::Adam { lr: 1e-3, betas, eps: 1e-6, weight_decay },
        2 => BaseOptimizer::AdamW { lr: 1e-3, betas, eps: 1e-6, weight_decay },
        _ => BaseOptimizer::Lion { lr: 1e-3, betas, weight_decay },
    };
    let ascends = method.parts().ascent.is_some();
    let patterns = ["*", "*.bias", "layers.0.*", "layers.?.weight", "layers.1.bias"];
    let list = (0..draw(4)).map(|_| Group {
        tensors: vec![patterns[draw(5)].to_owned()],
        lr_factor: [None, Some(0.5), Some(2.0)][draw(3)],
        weight_decay: [None, Some(0.0), Some(0.05)][draw(3)],
        frozen: [None, Some(false), Some(true)][draw(3)],
        ascent: [None, Some(true), Some(false)][draw(3)].filter(|_| ascends),
    });
    let list = list.collect();
    let groups = Groups { list, decay_biases_and_norms: draw(2) == 0 };
    let layout = layout_of(&case.init);
    let fits = groups.check(&layout, ascends).is_ok();
    let shape = match draw(5) {
        0 => Shape::Constant,
        1 => Shape::Multistep { milestones: vec![1], gamma: 0.3 },
        2 => Shape::Cosine { min_lr: 0.0 },
        3 => Shape::Polynomial { min_lr: 1e-4, power: 0.9 },
        _ => Shape::OneCycle { pct_start: 0.4, div_factor: 4.0, final_div_factor: 10.0 },
    };
    let warmup = if matches!(shape, Shape::OneCycle { .. }) { 0 } else { draw(2) as u64 };
    case.job.schedule = Schedule { unit: Unit::Step, shape, warmup, warmup_start: 0.5 };
    case.job.train.length = Length::Steps(5);
    let optimizer = &mut case.job.optimizer;
    (optimizer.method, optimizer.base) = (method, base);
    optimizer.clip_norm = [None, Some(0.2), Some(1.0)][draw(3)];
    // With nothing left to train or to perturb, the job would be refused.
    optimizer.groups = if fits { groups } else { Groups::default() };
}

#[test]
fn a_hundred_combinations_of_keys_agree_with_the_reference() {
    let mut case = short_case();
    let mut grouped = 0;
    for number in 0..100 {
        combination(&mut case, number);
        grouped += u32::from(!case.job.optimizer.groups.list.is_empty());
        assert_agrees(&case);
    }
    assert!(grouped > 40, "{grouped} combinations have groups");
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
