//! Tests of whole outer steps: results that must be equal to the last bit, and what is refused.

use super::*;
use crate::job::{
    Alpha, Ascent, BaseOptimizer, BatchStatistics, DescentGradient, Group, Groups, InnerGradients, Minibatch,
    Perturbation,
};
use crate::layout::{TensorKind, TensorSpec};

pub(super) const SEED: u64 = 3;
pub(super) const SAM: Ascent = Ascent { rho: 0.05, eta: None, perturbation: Perturbation::Global };
pub(super) const ASAM: Ascent = Ascent { rho: 0.5, eta: Some(0.01), perturbation: Perturbation::Global };
pub(super) const SGD: BaseOptimizer =
    BaseOptimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 5e-4 };
pub(super) const ADAMW: BaseOptimizer =
    BaseOptimizer::AdamW { lr: 0.01, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.01 };
const SAME: InnerGradients = InnerGradients::Reference(Minibatch::Same);
const SWITCH: InnerGradients = InnerGradients::Reference(Minibatch::Switch);

pub(super) fn spec(method: Method, base: BaseOptimizer) -> OptimizerSpec {
    let (batch_statistics, groups) = (BatchStatistics::EveryPass, Groups::default());
    OptimizerSpec { method, batch_statistics, base, clip_norm: None, groups }
}

/// The same with a frozen tensor, one that is not perturbed, one with a learning rate and a decay of its own, frozen batch
/// statistics, and gradients that are clipped.
pub(super) fn grouped(spec: OptimizerSpec) -> OptimizerSpec {
    let group = |name: &str| Group { tensors: vec![name.to_owned()], ..Group::default() };
    let ascent = spec.method.parts().ascent.map(|_| false);
    let list = vec![
        Group { frozen: Some(true), ..group("b.*") },
        Group { ascent, ..group("norm.*") },
        Group { lr_factor: Some(0.5), weight_decay: Some(0.1), ..group("c.*") },
    ];
    let groups = Groups { list, decay_biases_and_norms: false };
    OptimizerSpec { batch_statistics: BatchStatistics::Frozen, clip_norm: Some(0.5), groups, ..spec }
}

fn lookbehind(ascent: Ascent, k: u32, alpha: Alpha, gradients: InnerGradients) -> Method {
    Method::Lookbehind { ascent, k, alpha, gradients }
}

fn mean_multistep(ascent: Ascent, k: u32) -> Method {
    Method::MultistepSam { ascent, k, minibatch: Minibatch::Same, descent: DescentGradient::Mean }
}

/// Every method with several choices of its options.
fn family() -> Vec<OptimizerSpec> {
    let mut methods = vec![Method::Sgd, Method::Rwp { rho: 0.5 }];
    for ascent in [SAM, ASAM] {
        methods.push(Method::Sam { ascent });
        for minibatch in [Minibatch::Same, Minibatch::Switch] {
            methods.push(Method::MultistepSam { ascent, k: 3, minibatch, descent: DescentGradient::Last });
        }
        methods.push(mean_multistep(ascent, 3));
        for alpha in [Alpha::Static(0.5), Alpha::Static(1.0), Alpha::Adaptive] {
            methods.push(Method::Lookahead { k: 3, alpha });
            methods.push(Method::LookaheadSam { ascent, k: 3, alpha });
            methods.extend(
                [InnerGradients::Reuse, SAME, SWITCH]
                    .map(|gradients| lookbehind(ascent, 3, alpha, gradients)),
            );
        }
    }
    let specs = methods.into_iter().flat_map(|method| [SGD, ADAMW].map(|base| spec(method, base)));
    specs.flat_map(|spec| [spec.clone(), grouped(spec)]).collect()
}

/// Tensors of very different sizes, together large enough for several threads.
pub(super) fn layout() -> Arc<Layout> {
    let tensor =
        |name: &str, shape: &[usize], kind| TensorSpec { name: name.into(), shape: shape.into(), kind };
    let parameter = |name: &str, shape: &[usize]| tensor(name, shape, TensorKind::Parameter);
    let tensors = [
        parameter("a.weight", &[150, 300]),
        parameter("a.bias", &[3]),
        parameter("b.weight", &[70_001]),
        parameter("norm.weight", &[17]),
        tensor("norm.running_mean", &[17], TensorKind::RunningStatistic),
        tensor("norm.running_var", &[17], TensorKind::RunningStatistic),
        parameter("c.bias", &[20_000]),
    ];
    Arc::new(Layout::new(tensors).expect("a valid layout"))
}

/// A pseudo-random value between 0 and 1.
fn noise(index: usize, salt: usize) -> f32 {
    let mixed = (index as u32).wrapping_mul(0x9E37_79B9) ^ (salt as u32).wrapping_mul(0x85EB_CA6B);
    (mixed.wrapping_mul(0xC2B2_AE35) >> 8) as f32 / (1_u32 << 24) as f32
}

pub(super) fn initial(layout: &Layout) -> ModelState<FlatBuffer> {
    let parameters: Vec<f32> = (0..layout.parameters()).map(|i| noise(i, 0) - 0.5).collect();
    ModelState { parameters: parameters.into(), statistics: vec![0.5; layout.statistics()].into() }
}

/// A gradient that depends on the weights and the batch alone: each batch has its minimum at another place.
pub(super) fn gradient(weights: &[f32], batch: u64) -> FlatBuffer {
    let well = |(i, w): (usize, &f32)| {
        let d = w - noise(i, 1 + batch as usize);
        (0.2 + noise(i, 999)) * d + 0.1 * d * d * d
    };
    weights.iter().enumerate().map(well).collect::<Vec<_>>().into()
}

/// A gradient of the tensors that an optimizer trains.
pub(super) fn trained_gradient(trained: &Trained, weights: &[f32], batch: u64) -> FlatBuffer {
    trained.of_all(&gradient(weights, batch))
}

pub(super) fn batch_statistics(weights: &[f32], layout: &Layout) -> FlatBuffer {
    weights[..layout.statistics()].to_vec().into()
}

/// One outer step with `batches` batches, starting with batch number `first`.
fn outer_step(optimizer: &mut Optimizer, batches: u32, first: u64) -> OuterStepReport {
    let mut request = optimizer.begin(batches, 0.1);
    loop {
        let weights = optimizer.weights();
        let gradient = trained_gradient(&optimizer.trained, &weights, first + u64::from(request.batch));
        let statistics = batch_statistics(&weights, &optimizer.trained.gradients);
        drop(weights);
        match optimizer.absorb(gradient, &statistics).expect("a finite gradient") {
            Next::Gradient(next) => request = next,
            Next::Finished(report) => return report,
        }
    }
}

fn optimizer(spec: &OptimizerSpec) -> Optimizer {
    let layout = layout();
    let initial = initial(&layout);
    Optimizer::new(spec, SEED, layout, initial).expect("flat buffers that fit")
}

/// The state after some outer steps, the last of which has fewer batches than a full one.
fn state_after(spec: &OptimizerSpec, outer_steps: u64) -> OptimizerState {
    let mut optimizer = optimizer(spec);
    for step in 0..outer_steps {
        outer_step(&mut optimizer, if step + 1 == outer_steps { 2 } else { 3 }, 3 * step);
    }
    optimizer.state()
}

#[test]
fn reused_gradients_give_the_bits_of_the_reference() {
    for (base, ascent, alpha) in [
        (SGD, SAM, Alpha::Static(0.5)),
        (SGD, ASAM, Alpha::Adaptive),
        (ADAMW, SAM, Alpha::Adaptive),
        (ADAMW, ASAM, Alpha::Static(0.2)),
    ] {
        for batch_statistics in [BatchStatistics::EveryPass, BatchStatistics::Unperturbed] {
            for k in [1, 2, 5] {
                let spec = |gradients| OptimizerSpec {
                    batch_statistics,
                    ..spec(lookbehind(ascent, k, alpha, gradients), base)
                };
                assert!(state_after(&spec(InnerGradients::Reuse), 3) == state_after(&spec(SAME), 3));
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for spec in family() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| state_after(&spec, 2))
        };
        let alone = run(1);
        for threads in [2, 3, 5] {
            assert!(run(threads) == alone, "{threads} threads: {spec:?}");
        }
    }
}

#[test]
fn a_restored_optimizer_goes_on_to_the_same_bits() {
    for spec in family() {
        let mut restored =
            Optimizer::restore(&spec, SEED, layout(), state_after(&spec, 1)).expect("its own state");
        let mut continued = optimizer(&spec);
        outer_step(&mut continued, 2, 0);
        for step in 1..4 {
            let reports = [&mut restored, &mut continued].map(|optimizer| outer_step(optimizer, 3, 3 * step));
            assert_eq!(reports[0], reports[1]);
        }
        assert!(restored.state() == continued.state(), "{spec:?}");
    }
}

#[test]
fn what_readers_hold_never_changes_and_their_holding_changes_nothing() {
    for spec in family() {
        let mut optimizer = optimizer(&spec);
        let mut held: Vec<(Arc<FlatBuffer>, FlatBuffer)> = Vec::new();
        let mut hold = |flat_buffer: &Arc<FlatBuffer>| {
            held.push((Arc::clone(flat_buffer), FlatBuffer::clone(flat_buffer)))
        };
        for step in 0..2 {
            let mut request = optimizer.begin(if step == 1 { 2 } else { 3 }, 0.1);
            loop {
                hold(&optimizer.weights());
                hold(optimizer.slow());
                hold(optimizer.statistics());
                let weights = optimizer.weights();
                let batch = 3 * step + u64::from(request.batch);
                let gradient = trained_gradient(&optimizer.trained, &weights, batch);
                let statistics = batch_statistics(&weights, &optimizer.trained.gradients);
                match optimizer.absorb(gradient, &statistics).expect("a finite gradient") {
                    Next::Gradient(next) => request = next,
                    Next::Finished(_) => break,
                }
            }
            optimizer.state().buffers.values().for_each(&mut hold);
        }
        assert!(optimizer.state() == state_after(&spec, 2), "{spec:?}");
        assert!(held.iter().all(|(flat_buffer, copy)| **flat_buffer == *copy), "{spec:?}");
    }
}

#[test]
fn methods_that_are_the_same_at_one_inner_step_give_the_same_bits() {
    let one = Alpha::Static(1.0);
    for ascent in [SAM, ASAM] {
        let sam = state_after(&spec(Method::Sam { ascent }, SGD), 3);
        for method in [
            lookbehind(ascent, 1, one, InnerGradients::Reuse),
            Method::LookaheadSam { ascent, k: 1, alpha: one },
            Method::MultistepSam { ascent, k: 1, minibatch: Minibatch::Same, descent: DescentGradient::Last },
            mean_multistep(ascent, 1),
        ] {
            assert!(state_after(&spec(method, SGD), 3) == sam, "{method:?}");
        }
    }
    let sgd = state_after(&spec(Method::Sgd, ADAMW), 3);
    assert!(state_after(&spec(Method::Lookahead { k: 1, alpha: one }, ADAMW), 3) == sgd);
}

/// The length is that of the ascent of SAM with the same ρ; seed and descent decide on the direction and nothing else does.
#[test]
fn a_random_perturbation_has_its_length_and_is_drawn_anew_for_each_descent() {
    const RHO: f64 = 0.5;
    let spec = spec(Method::Rwp { rho: RHO }, SGD);
    let moved = |optimizer: &mut Optimizer| -> Vec<f64> {
        let slow = Arc::clone(optimizer.slow());
        optimizer.begin(1, 0.1);
        let perturbed = optimizer.weights();
        perturbed.iter().zip(&slow[..]).map(|(p, w)| f64::from(*p) - f64::from(*w)).collect()
    };
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let mut first = optimizer(&spec);
    let one = moved(&mut first);
    assert!((dot(&one, &one).sqrt() - RHO).abs() < 1e-4 * RHO, "{}", dot(&one, &one).sqrt());
    assert!(one == moved(&mut optimizer(&spec)), "another optimizer with the same seed");
    let other = Optimizer::new(&spec, SEED + 1, layout(), initial(&layout()));
    outer_step(&mut first, 1, 0);
    let mut restored = Optimizer::restore(&spec, SEED, layout(), first.state()).expect("its own state");
    let next = moved(&mut first);
    assert!(next == moved(&mut restored), "an optimizer that goes on from a state");
    // Independent directions of n values have a cosine of about 1/√n.
    for another in [next, moved(&mut other.expect("flat buffers that fit"))] {
        assert!(dot(&one, &another).abs() < 0.02 * RHO * RHO, "{}", dot(&one, &another));
    }
}

/// k gradients of k points, in f64.
#[test]
fn the_mean_of_gradients_descends_as_their_sum_divided_by_their_number() {
    let plain = BaseOptimizer::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let mut optimizer = optimizer(&spec(mean_multistep(SAM, 3), plain));
    let slow = Arc::clone(optimizer.slow());
    let mut sum = vec![0.0_f64; slow.len()];
    let mut request = optimizer.begin(1, 0.1);
    loop {
        let found = gradient(&optimizer.weights(), 0);
        let statistics = batch_statistics(&found, &optimizer.layout);
        if request.index > 0 {
            sum.iter_mut().zip(&found[..]).for_each(|(sum, g)| *sum += f64::from(*g));
        }
        match optimizer.absorb(found, &statistics).expect("a finite gradient") {
            Next::Gradient(next) => request = next,
            Next::Finished(report) => break assert_eq!(report.gradients, 4),
        }
    }
    for ((new, old), sum) in optimizer.slow().iter().zip(&slow[..]).zip(sum) {
        let expected = f64::from(*old) - 0.1 * sum / 3.0;
        assert!((f64::from(*new) - expected).abs() < 1e-6, "{new} {expected}");
    }
}

#[test]
fn a_shorter_outer_step_is_one_with_fewer_inner_steps() {
    let method = |k| Method::LookaheadSam { ascent: SAM, k, alpha: Alpha::Adaptive };
    assert!(state_after(&spec(method(3), SGD), 1) == state_after(&spec(method(2), SGD), 1));
}

#[test]
fn weights_that_are_said_not_to_have_changed_are_the_same() {
    for spec in family() {
        let mut optimizer = optimizer(&spec);
        optimizer.begin(3, 0.1);
        let mut weights = optimizer.weights();
        let statistics = batch_statistics(&weights, &optimizer.trained.gradients);
        let gradient = trained_gradient(&optimizer.trained, &weights, 0);
        while let Ok(Next::Gradient(next)) = optimizer.absorb(gradient.clone(), &statistics) {
            assert_eq!(next.weights_changed, *optimizer.weights() != *weights, "{spec:?}");
            weights = optimizer.weights();
        }
    }
}

#[test]
fn outer_steps_go_round_in_the_buffers_of_the_first() {
    let spec = spec(lookbehind(SAM, 3, Alpha::Static(0.5), InnerGradients::Reuse), SGD);
    let mut optimizer = optimizer(&spec);
    let mut places = std::collections::BTreeSet::new();
    for step in 0..5 {
        let mut next = Next::Gradient(optimizer.begin(1, 0.1));
        while let Next::Gradient(_) = next {
            places.extend([optimizer.weights().as_ptr(), optimizer.slow().as_ptr()]);
            let gradient = gradient(&optimizer.weights(), step);
            let statistics = batch_statistics(optimizer.slow(), &optimizer.layout);
            next = optimizer.absorb(gradient, &statistics).expect("a finite gradient");
        }
    }
    assert!(
        places.len() <= 3,
        "slow, fast and perturbed weights need three flat buffers, found {}",
        places.len()
    );
}

#[test]
fn a_method_without_interpolation_descends_in_place() {
    let mut optimizer = optimizer(&spec(Method::Sam { ascent: SAM }, SGD));
    let place = optimizer.slow().as_ptr();
    outer_step(&mut optimizer, 1, 0);
    assert_eq!(optimizer.slow().as_ptr(), place);
}

#[test]
fn the_report_tells_what_was_done() {
    let method = Method::Lookahead { k: 3, alpha: Alpha::Static(0.25) };
    let mut lookahead = optimizer(&spec(method, SGD));
    let norm = gradient(lookahead.slow(), 0).iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    let report = outer_step(&mut lookahead, 2, 0);
    assert_eq!((report.gradients, report.inner_steps, report.alpha), (2, 2, 0.25));
    assert_eq!(report.alpha_range, None);
    assert!((report.gradient_norm - norm).abs() < 1e-9 * norm);
    let mut adaptive = optimizer(&spec(lookbehind(SAM, 3, Alpha::Adaptive, SAME), SGD));
    let report = outer_step(&mut adaptive, 1, 0);
    assert_eq!((report.gradients, report.inner_steps, report.learning_rate), (6, 3, 0.1));
    assert!(report.alpha > 0.5 && report.alpha < 1.0, "{}", report.alpha);
    let [least, greatest] = report.alpha_range.expect("a factor for each tensor");
    assert!(least < report.alpha && report.alpha < greatest && greatest <= 1.0, "{least} {greatest}");
}

#[test]
fn a_number_that_is_not_finite_is_named_and_changes_nothing() {
    let spec = spec(lookbehind(ASAM, 2, Alpha::Adaptive, InnerGradients::Reuse), ADAMW);
    let mut optimizer = optimizer(&spec);
    optimizer.begin(1, 0.1);
    let (good, statistics) = (gradient(optimizer.slow(), 0), batch_statistics(optimizer.slow(), &layout()));
    optimizer.absorb(good.clone(), &statistics).expect("a finite gradient");

    let mut bad = good.clone();
    bad[45_003 + 12] = f32::INFINITY;
    let error = optimizer.absorb(bad, &statistics).expect_err("an infinite number");
    let (tensor, what) = ("b.weight".to_owned(), "gradient");
    let expected = AbsorbError::NonFinite { gradient: 1, what, tensor, index: 12, value: f32::INFINITY };
    assert_eq!(error, expected);
    let mut bad = statistics.clone();
    bad[17] = f32::NAN;
    let error = optimizer.absorb(good, &bad).expect_err("not a number").to_string();
    let expected = "batch statistics of tensor \"norm.running_var\" is NaN at index 0";
    assert!(error.contains(expected), "{error}");

    for _ in 0..2 {
        let gradient = gradient(&optimizer.weights(), 0);
        let statistics = batch_statistics(&optimizer.weights(), &layout());
        optimizer.absorb(gradient, &statistics).expect("a finite gradient");
    }
    let mut undisturbed = self::optimizer(&spec);
    outer_step(&mut undisturbed, 1, 0);
    assert!(optimizer.state() == undisturbed.state());
}

#[test]
fn flat_buffers_of_the_wrong_length_are_refused() {
    let mut optimizer = optimizer(&spec(Method::Sgd, SGD));
    optimizer.begin(1, 0.1);
    let right = FlatBuffer::zeros(optimizer.layout.parameters());
    let error = optimizer.absorb(FlatBuffer::zeros(2), &FlatBuffer::zeros(34)).expect_err("a short gradient");
    assert!(matches!(error, AbsorbError::Length { what: "gradient", found: 2, .. }), "{error}");
    let error = optimizer.absorb(right, &FlatBuffer::zeros(2)).expect_err("short statistics");
    assert!(matches!(error, AbsorbError::Length { what: "batch statistics", expected: 34, .. }), "{error}");
    let short = ModelState { parameters: FlatBuffer::zeros(1), statistics: FlatBuffer::zeros(34) };
    let short = Optimizer::new(&spec(Method::Sgd, SGD), SEED, layout(), short);
    assert!(matches!(short, Err(StateError::Length { .. })));
}

#[test]
fn a_gradient_that_was_not_asked_for_is_refused() {
    let mut optimizer = optimizer(&spec(Method::Sgd, SGD));
    let gradient = FlatBuffer::zeros(optimizer.layout.parameters());
    let error = optimizer.absorb(gradient, &FlatBuffer::zeros(34)).expect_err("nothing was begun");
    assert_eq!(error, AbsorbError::NotAskedFor);
}

#[test]
fn a_gradient_of_zero_moves_nothing() {
    let plain = BaseOptimizer::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let mut optimizer = optimizer(&spec(lookbehind(ASAM, 2, Alpha::Adaptive, InnerGradients::Reuse), plain));
    let before = Arc::clone(optimizer.slow());
    optimizer.begin(1, 0.1);
    let zero = FlatBuffer::zeros(optimizer.layout.parameters());
    while let Next::Gradient(_) =
        optimizer.absorb(zero.clone(), &FlatBuffer::zeros(34)).expect("a finite gradient")
    {}
    assert!(**optimizer.slow() == *before);
}

#[test]
fn an_outer_step_that_is_begun_twice_goes_on() {
    let mut optimizer = optimizer(&spec(Method::Sam { ascent: SAM }, SGD));
    optimizer.begin(1, 0.1);
    let statistics = FlatBuffer::zeros(34);
    optimizer.absorb(gradient(optimizer.slow(), 0), &statistics).expect("a finite gradient");
    assert_eq!(optimizer.begin(1, 0.1), GradientRequest { index: 1, batch: 0, weights_changed: true });
}
