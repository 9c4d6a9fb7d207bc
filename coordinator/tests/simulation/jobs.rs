//! Small random jobs, each with the result that it must have: that of a run without coordinator, workers or faults.

use lookbehind_common::digest::{Digest, weights_digest};
use lookbehind_common::job::file::{AlphaValue, BaseName, GradientsName};
use lookbehind_common::job::{
    Criterion, DescentGradient, EarlyStoppingSection, ExchangeFormat, JobFile, JobSpec, Length, MethodName,
    Minibatch, Perturbation, Unit,
};
use lookbehind_common::model_state::Weights;
use lookbehind_common::partial::Sums;
use lookbehind_common::reduction::Segment;
use lookbehind_common::selection::{Criteria, Selection};
use lookbehind_common::test_set::TestSet;
use lookbehind_coordinator::state::command::RequestKind;
use lookbehind_coordinator::training::{Input, Outcome, Trainer};
use lookbehind_proto::v1;
use lookbehind_proto::wire;
use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::toy;

/// A job and its expected result.
pub(crate) struct Expected {
    /// The specification as it is sent.
    pub(crate) message: v1::JobSpec,
    /// The validated specification.
    pub(crate) spec: JobSpec,
    /// Epoch and index of the batches that each outer step takes.
    pub(crate) batches: Vec<Vec<(u64, u64)>>,
    /// Digest of the weights by the number of outer steps done.
    pub(crate) digests: Vec<Digest>,
}

impl Expected {
    /// A random job.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        Self::of(draw(dice))
    }

    /// A random job that starts on at least this many workers.
    pub(crate) fn draw_for(dice: &mut Dice, workers: u32) -> Self {
        let mut file = draw(dice);
        file.resources.min_workers = Some(workers);
        Self::of(file)
    }

    /// A random job of this priority.
    pub(crate) fn draw_of_priority(dice: &mut Dice, priority: i32) -> Self {
        let mut file = draw(dice);
        file.resources.priority = Some(priority);
        Self::of(file)
    }

    fn of(file: JobFile) -> Self {
        let spec = file.validate().expect("a possible job");
        let mut batches = planned(&spec);
        let digests = run(&spec, &batches);
        // Training may have stopped early.
        batches.truncate(digests.len() - 1);
        Self { message: wire::to_proto(&file), spec, batches, digests }
    }

    /// Total number of outer steps.
    pub(crate) fn outer_steps(&self) -> u64 {
        self.batches.len() as u64
    }

    /// The digest of some weights of this job.
    pub(crate) fn digest_of(&self, weights: &Weights) -> Digest {
        weights_digest(&toy::description(&self.spec).layout, weights)
    }
}

fn draw(dice: &mut Dice) -> JobFile {
    let mut file =
        JobFile { name: "simulated".into(), seed: Some(dice.below(1 << 20)), ..JobFile::default() };
    file.model.kind = "toy".into();
    file.data.kind = "toy".into();
    file.data.shuffle = Some(dice.percent(70));
    file.data.drop_last = Some(dice.percent(20));
    // By the seed, so that other draws stay what they are.
    file.train.exchange = file.seed.is_some_and(|seed| seed % 4 == 1).then_some(ExchangeFormat::Bf16);
    file.train.batch_size = dice.pick(&[3, 4, 5, 7, 8, 10, 16, 23]);
    file.train.shards = Some(dice.between(1, 8.min(file.train.batch_size)) as u32);
    match dice.percent(50) {
        true => file.train.epochs = Some(dice.between(1, 3)),
        false => file.train.steps = Some(dice.between(1, 9)),
    }
    match dice.below(4) {
        0 => file.checkpoint.every_epochs = Some(1),
        1 => file.checkpoint.every_minutes = Some(0.01),
        _ => file.checkpoint.every_steps = Some(dice.between(1, 3)),
    }
    file.checkpoint.keep = Some(dice.between(1, 3) as u32);
    file.eval.every_epochs = Some(dice.below(3));
    draw_selection(&mut file);
    file.resources.min_workers = Some(dice.between(1, 2) as u32);
    if dice.percent(30) {
        file.resources.verify = Some(dice.between(1, 3) as u32);
    }
    draw_optimizer(dice, &mut file);
    file
}

/// By the seed, so that other draws stay what they are. By the seed there also are samples to test with.
fn draw_selection(file: &mut JobFile) {
    let seed = file.seed.unwrap_or_default();
    let criterion = match (seed % 2, seed % 3) {
        (0, _) => Criterion::TestLoss,
        (_, 0) => Criterion::ValidationAccuracy,
        _ => return,
    };
    file.checkpoint.keep_best = (seed / 6).is_multiple_of(2).then_some(criterion);
    if (seed / 12).is_multiple_of(3) && file.eval.every_epochs != Some(0) {
        let section = EarlyStoppingSection { metric: Some(criterion), patience: 1, min_delta: None };
        file.early_stopping = Some(section);
    }
}

fn draw_optimizer(dice: &mut Dice, file: &mut JobFile) {
    let optimizer = &mut file.optimizer;
    optimizer.method = dice.pick(&[
        MethodName::Lookbehind,
        MethodName::Lookbehind,
        MethodName::Sam,
        MethodName::Lookahead,
        MethodName::MultistepSam,
        MethodName::Rwp,
        MethodName::Sgd,
    ]);
    if !matches!(optimizer.method, MethodName::Sgd | MethodName::Sam | MethodName::Rwp) {
        optimizer.k = Some(dice.between(2, 3) as u32);
    }
    if matches!(optimizer.method, MethodName::Lookbehind | MethodName::Lookahead) {
        let adaptive = dice.percent(30);
        optimizer.alpha = Some(if adaptive { AlphaValue::Adaptive } else { AlphaValue::Static(0.5) });
    }
    if optimizer.method == MethodName::Lookbehind && dice.percent(50) {
        optimizer.gradients = Some(GradientsName::Reference);
        optimizer.minibatch = Some(dice.pick(&[Minibatch::Same, Minibatch::Switch]));
    }
    if optimizer.method == MethodName::MultistepSam && dice.percent(50) {
        optimizer.descent = Some(DescentGradient::Mean);
    }
    let climbs = !matches!(optimizer.method, MethodName::Sgd | MethodName::Lookahead | MethodName::Rwp);
    if climbs && optimizer.minibatch != Some(Minibatch::Switch) && dice.percent(30) {
        optimizer.perturbation = Some(Perturbation::Shard);
    }
    let base = &mut optimizer.base;
    base.lr = Some(0.05);
    match dice.percent(60) {
        true => base.momentum = Some(0.9),
        false => base.kind = BaseName::Adamw,
    }
}

/// The batches that each outer step takes, computed independently of `Plan`.
fn planned(spec: &JobSpec) -> Vec<Vec<(u64, u64)>> {
    let full = toy::TRAIN_SAMPLES / spec.train.batch_size;
    let rest = u64::from(!spec.data.drop_last && !toy::TRAIN_SAMPLES.is_multiple_of(spec.train.batch_size));
    let batches: Vec<u64> = (0..full + rest).collect();
    let at_once = spec.optimizer.method.batches_per_outer_step() as usize;
    let epoch = |epoch: u64| {
        let steps: Vec<Vec<_>> =
            batches.chunks(at_once).map(|step| step.iter().map(|batch| (epoch, *batch)).collect()).collect();
        steps
    };
    match spec.train.length {
        Length::Epochs(epochs) => (0..epochs).flat_map(epoch).collect(),
        Length::Steps(steps) => (0..).flat_map(epoch).take(steps as usize).collect(),
    }
}

/// The evaluation that is due after an outer step, of all samples at once.
fn tested(spec: &JobSpec, weights: &Weights, set: TestSet) -> Option<Sums> {
    let kind = RequestKind::Test(set);
    let (samples, shards) = toy::extent(spec, kind);
    (samples > 0).then(|| toy::partial(spec, &weights.parameters, kind, Segment::root(shards)).sums)
}

/// Whether tests are due after an outer step, computed independently of the coordinator.
fn is_tested(spec: &JobSpec, batches: &[Vec<(u64, u64)>], step: usize) -> bool {
    let epoch_of = |step: usize| batches.get(step).map(|taken| taken[0].0);
    let (now, next) = (epoch_of(step), epoch_of(step + 1));
    let every = spec.eval_every_epochs.unwrap_or(u64::MAX);
    let ends_epoch = next != now && now.is_some_and(|epoch| (epoch + 1).is_multiple_of(every));
    next.is_none() || ends_epoch
}

/// Trains in this process and returns the digests of the weights before the first and after every outer step.
fn run(spec: &JobSpec, batches: &[Vec<(u64, u64)>]) -> Vec<Digest> {
    let description = toy::description(spec);
    let mut trainer = Box::new(Trainer::new(spec, &description, toy::initial(spec)).expect("a trainer"));
    let mut digests = vec![weights_digest(&description.layout, &trainer.slow())];
    let (criteria, mut selection) = (Criteria::of(spec), Selection::default());
    for (step, taken) in batches.iter().enumerate() {
        let (units, unit) = match (spec.schedule.unit, spec.train.length) {
            (Unit::Epoch, Length::Epochs(epochs)) => (epochs, taken[0].0),
            _ => (batches.len() as u64, step as u64),
        };
        let learning_rate = spec.schedule.learning_rate(spec.optimizer.base.lr(), unit, units);
        let mut input = Input::Begin { batches: taken.len() as u32, learning_rate };
        loop {
            let advance = trainer.advance(input, None);
            trainer = advance.trainer;
            match advance.outcome {
                Outcome::Gradient(request, weights, _) => {
                    let (epoch, batch) = taken[request.batch as usize];
                    let kind = RequestKind::Gradient { epoch, batch };
                    let (_, shards) = toy::extent(spec, kind);
                    let root = Segment::root(shards);
                    let whole = toy::partial(spec, &weights.parameters, kind, root);
                    let parts = BTreeMap::from([(root, whole)]);
                    input = Input::Gradient { shards, parts, ranges: None };
                }
                Outcome::Finished(_, digest, _) => break digests.push(digest),
                Outcome::Diverged(reason) | Outcome::Failed(reason) => {
                    panic!("the fault-free run failed: {reason}")
                }
            }
        }
        if is_tested(spec, batches, step) {
            let slow = trainer.slow();
            selection.note(&criteria, step as u64 + 1, |set| tested(spec, &slow, set));
        }
        if selection.stops(&criteria).is_some() {
            break;
        }
    }
    digests
}
