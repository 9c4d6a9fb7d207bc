//! Every committed outer step has consumed exactly the samples that the plan gives it: the partials of each gradient
//! cover the batch once and equal those of a direct computation at the requested weights.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use lookbehind_common::blocks::BlockRange;
use lookbehind_common::ids::JobId;
use lookbehind_common::job::{JobSpec, Length};
use lookbehind_common::layout::TensorKind;
use lookbehind_common::model_state::Weights;
use lookbehind_common::partial::Partial;
use lookbehind_common::reduction::{MissingShard, Segment, reduce};
use lookbehind_coordinator::state::command::RequestKind;
use lookbehind_coordinator::state::{JobState, RangeParts};
use lookbehind_coordinator::training::{Advance, Input, Outcome};

use super::Broken;
use crate::disk::Disk;
use crate::jobs::Expected;
use crate::toy;

/// Samples of each batch that an outer step consumed, by epoch and batch.
type Consumed = BTreeMap<(u64, u64), Vec<u64>>;

/// What is known of one job.
#[derive(Default)]
struct Record {
    asked: Option<(RequestKind, Weights)>,
    outer_step: u64,
    consumed: Consumed,
    committed: BTreeMap<u64, Consumed>,
}

/// Records the samples of accepted gradients.
#[derive(Default)]
pub(crate) struct Samples {
    /// Jobs in which an owner has lied.
    deceived: BTreeSet<JobId>,
    /// The block of each job's open request that is audited.
    audited: BTreeMap<JobId, u32>,
    jobs: BTreeMap<JobId, Record>,
    pub(crate) broken: Broken,
}

impl Samples {
    /// See `Invariants::deceived`.
    pub(crate) fn deceived(&mut self, job: &JobId) {
        self.deceived.insert(job.clone());
    }

    /// The makers of a block's partials are asked for it.
    pub(crate) fn audited(&mut self, job: &JobId, block: u32) {
        self.audited.insert(job.clone(), block);
    }

    /// A new process begins without open requests.
    pub(crate) fn started(&mut self) {
        for record in self.jobs.values_mut() {
            record.asked = None;
        }
        self.audited.clear();
    }

    /// The trainer is about to take an input.
    pub(crate) fn advancing(&mut self, expected: &Expected, job: &JobId, outer_step: u64, input: &Input) {
        let record = self.jobs.entry(job.clone()).or_default();
        let broken = &mut self.broken;
        match input {
            Input::Begin { batches, .. } => {
                record.outer_step = outer_step;
                record.consumed.clear();
                let planned = expected.batches.get(outer_step as usize).map(Vec::len);
                broken.check(planned == Some(*batches as usize), || {
                    format!("job {job} outer step {outer_step}: takes {batches} batches, planned {planned:?}")
                });
            }
            Input::Gradient { shards, parts, ranges } => {
                let Some((kind, weights)) = record.asked.take() else {
                    return broken.note(format!("job {job}: a gradient came that was not asked for"));
                };
                let whole = toy::extent(&expected.spec, kind).1 == *shards && tiles(parts.keys(), *shards);
                broken.check(whole, || {
                    format!("job {job} {kind:?}: {:?} do not cover {shards} shards once", parts.keys())
                });
                let mut samples = Vec::new();
                for (segment, part) in parts.iter().filter(|(segment, _)| segment.end <= *shards) {
                    let right = toy::partial(&expected.spec, &weights.parameters, kind, *segment);
                    // Where workers exchange the tensors with each other, only sums over samples are here.
                    let is_right = if ranges.is_some() { right.sums == part.sums } else { right == *part };
                    broken.check(is_right, || {
                        format!(
                            "job {job} outer step {outer_step} {kind:?}: another partial stands for {segment}"
                        )
                    });
                    samples.extend(toy::samples_of(&expected.spec, kind, *segment));
                }
                if let Some(ranges) = ranges {
                    let whole =
                        toy::partial(&expected.spec, &weights.parameters, kind, Segment::root(*shards));
                    // An owner that hides what it does is found where it is audited.
                    let audited = self.audited.remove(job);
                    let is_checked = |range: &BlockRange| {
                        !self.deceived.contains(job) || audited.is_some_and(|block| range.contains(block))
                    };
                    if let Some(wrong) = wrong_range(ranges, *shards, &whole, is_checked) {
                        broken.note(format!("job {job} outer step {outer_step} {kind:?}: {wrong}"));
                    }
                }
                if let RequestKind::Gradient { epoch, batch } = kind {
                    record.consumed.insert((epoch, batch), samples);
                }
            }
        }
    }

    /// The trainer has finished a step.
    pub(crate) fn advanced(&mut self, expected: &Expected, job: &JobId, advance: &Advance) {
        let record = self.jobs.entry(job.clone()).or_default();
        match &advance.outcome {
            Outcome::Gradient(request, weights, _) => {
                let step = expected.batches.get(record.outer_step as usize);
                let batch = step.and_then(|step| step.get(request.batch as usize));
                record.asked =
                    batch.map(|&(epoch, batch)| (RequestKind::Gradient { epoch, batch }, weights.clone()));
            }
            Outcome::Finished(..) => {
                let consumed = std::mem::take(&mut record.consumed);
                record.committed.insert(record.outer_step, consumed);
            }
            Outcome::Diverged(_) if self.deceived.contains(job) => {}
            Outcome::Diverged(reason) | Outcome::Failed(reason) => {
                self.broken.note(format!("job {job}: {reason}"))
            }
        }
    }

    /// Every job has ended.
    pub(crate) fn at_end(&mut self, jobs: &BTreeMap<JobId, Rc<Expected>>, disk: &Disk) {
        for record in disk.records.values().filter(|record| record.state == JobState::Succeeded) {
            let expected = &jobs[&record.id];
            let steps = self.jobs.get(&record.id).map(|record| &record.committed);
            let committed = steps.map_or(0, BTreeMap::len) as u64;
            self.broken.check(committed == expected.outer_steps(), || {
                format!("job {}: {committed} outer steps of {}", record.id, expected.outer_steps())
            });
            let Some(steps) = steps else { continue };
            if let Some(wrong) = wrong_samples(expected, steps) {
                self.broken.note(format!("job {}: {wrong}", record.id));
            }
        }
    }
}

/// What is wrong with the ranges of an exchange between workers: together they must be all blocks once, and their sums
/// those of the whole batch, as far as they are checked.
fn wrong_range(
    parts: &RangeParts,
    shards: u32,
    whole: &Partial,
    is_checked: impl Fn(&BlockRange) -> bool,
) -> Option<String> {
    let end = parts.ranges.iter().try_fold(0, |end, (range, _)| (end == range.first).then_some(range.end));
    if end != Some(parts.blocks.count()) {
        return Some("the ranges are not all blocks once".into());
    }
    parts.ranges.iter().filter(|(range, _)| is_checked(range)).find_map(|(range, parts_of)| {
        let format = parts.blocks.format(TensorKind::Parameter);
        let sum = reduce::<MissingShard>(Segment::root(shards), format, &mut |segment| {
            Ok(parts_of.get(&segment).map(|part| Partial {
                gradient: part.parameters.clone(),
                statistics: part.statistics.clone(),
                ..Partial::default()
            }))
        });
        let elements = parts.blocks.elements(*range);
        let is_right = sum.is_ok_and(|sum| {
            sum.gradient[..] == whole.gradient[elements.parameters]
                && sum.statistics[..] == whole.statistics[elements.statistics]
        });
        (!is_right).then(|| format!("{range} are another sum"))
    })
}

/// Whether some segments cover every shard once.
fn tiles<'a>(mut segments: impl Iterator<Item = &'a Segment>, shards: u32) -> bool {
    let end = segments.try_fold(0, |end, segment| (end == segment.first).then_some(segment.end));
    end == Some(shards)
}

/// What is wrong with the samples of a job's outer steps, if anything.
fn wrong_samples(expected: &Expected, steps: &BTreeMap<u64, Consumed>) -> Option<String> {
    let mut epochs: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (step, planned) in expected.batches.iter().enumerate() {
        let consumed = steps.get(&(step as u64))?;
        if !consumed.keys().eq(planned.iter()) {
            return Some(format!("outer step {step} took {:?}, planned {planned:?}", consumed.keys()));
        }
        for ((epoch, _), samples) in consumed {
            epochs.entry(*epoch).or_default().extend(samples);
        }
    }
    let whole = whole_epoch(&expected.spec);
    let last = epochs.len() as u64 - 1;
    epochs.into_iter().find_map(|(epoch, mut samples)| {
        let count = samples.len() as u64;
        samples.sort_unstable();
        samples.dedup();
        let cut = epoch == last && matches!(expected.spec.train.length, Length::Steps(_));
        let right = samples.len() as u64 == count && (cut || count == whole);
        (!right)
            .then(|| format!("epoch {epoch} consumed {count} samples, {} of them different", samples.len()))
    })
}

/// Number of samples that an epoch consumes.
fn whole_epoch(spec: &JobSpec) -> u64 {
    let rest = if spec.data.drop_last { toy::TRAIN_SAMPLES % spec.train.batch_size } else { 0 };
    toy::TRAIN_SAMPLES - rest
}
