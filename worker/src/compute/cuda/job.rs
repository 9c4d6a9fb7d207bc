//! A job on the GPUs of a machine.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use candle_core::CudaDevice;
use lookbehind_common::arena::Arena;
use lookbehind_common::contribution::{Contribution, Sums};
use lookbehind_common::digest::Digest;
use lookbehind_common::job::JobDescription;
use lookbehind_common::reduction::{Node, Reduction, reduce_with};

use super::division::{Share, divide};
use super::lane::{Lane, Pending};
use super::replica::Replica;
use super::sum::Sum;
use super::upload::Upload;
use crate::compute::evaluator::Evaluator;
use crate::compute::probe::{ProbeRequests, probe_digest};
use crate::compute::samples::{Inputs, Samples};
use crate::compute::{ComputeError, PreparedJob, Stopped, Timing, Unwatched, Watch, Work, WorkKind};
use crate::parameters::{StateError, check_length};

/// Shards whose samples may wait for a GPU.
const WAITING: usize = 1;

/// What a job is made of.
pub(in crate::compute) struct Parts {
    pub(in crate::compute) samples: Samples,
    /// A copy of the model on each device.
    pub(in crate::compute) copies: Vec<(CudaDevice, Evaluator)>,
}

/// A job that GPUs compute.
pub(in crate::compute) struct CudaJob {
    samples: Samples,
    lanes: Vec<Lane>,
    /// Weights on their way to all GPUs.
    weights: Upload,
    description: JobDescription,
    probe: Digest,
    loaded: bool,
}

impl CudaJob {
    /// Puts a job together and computes its probe, so that a model that cannot be evaluated on every shape of shard that
    /// the job has, or does not fit into the devices' memory, is refused before training.
    pub(in crate::compute) fn new(parts: Parts) -> Result<Self, ComputeError> {
        let Parts { samples, copies } = parts;
        let Some((device, evaluator)) = copies.first() else {
            return Err(ComputeError::Other("no device to compute on".to_owned()));
        };
        let description = samples.describe(evaluator.state.layout());
        let (parameters, statistics) = evaluator.state.probe(evaluator.seed);
        let lens = [parameters.len(), statistics.len()];
        let weights = Upload::new(lens, device.cuda_stream().context())?;
        let start = |(device, evaluator)| Lane::start(device, evaluator);
        let lanes = copies.into_iter().map(start).collect::<Result<_, _>>()?;
        let probe = Digest::of(b"");
        let mut job = Self { samples, lanes, weights, description, probe, loaded: false };
        job.load(&parameters, &statistics)?;
        job.probe = job.compute_probe()?;
        job.loaded = false;
        Ok(job)
    }

    /// On each GPU, which must agree: they are of one class, or the job cannot be divided among them.
    fn compute_probe(&mut self) -> Result<Digest, ComputeError> {
        let first = self.probe_of(0)?;
        let mut others = (1..self.lanes.len()).map(|lane| self.probe_of(lane));
        if others.try_fold(true, |all, probe| Ok::<_, ComputeError>(all & (probe? == first)))? {
            return Ok(first);
        }
        Err(ComputeError::Device(
            "its GPUs are of different compute classes: give each kind to a worker of its own".into(),
        ))
    }

    fn probe_of(&mut self, lane: usize) -> Result<Digest, ComputeError> {
        let watch: Arc<dyn Watch> = Arc::new(Unwatched);
        let ProbeRequests { shards, test } = ProbeRequests::new(&self.samples);
        let mut contributions = Vec::new();
        for (work, shard) in shards {
            let node = Node { first: shard, end: shard + 1 };
            contributions.push(self.sum(&work, node, &[Share { part: node, lane }], &watch).map_err(failed)?);
        }
        let work = Work { kind: WorkKind::Test, epoch: 0, batch: 0, shards: 1 };
        let test = test.map(|samples| self.count(&work, vec![(lane, vec![samples])], &watch));
        let test = test.transpose().map_err(failed)?;
        Ok(probe_digest(&contributions, test.and_then(|sums| sums.into_iter().next()).as_ref()))
    }

    /// The sum over a node that is divided in some way.
    fn sum(
        &mut self,
        work: &Work,
        node: Node,
        shares: &[Share],
        watch: &Arc<dyn Watch>,
    ) -> Result<Contribution, Stopped> {
        let of_lane = |number: usize| {
            let parts: Vec<Node> =
                shares.iter().filter(|share| share.lane == number).map(|share| share.part).collect();
            let shards: VecDeque<u32> = parts.iter().flat_map(|part| part.first..part.end).collect();
            let watch = Arc::clone(watch);
            (shards, move |replica: &mut Replica, samples: &_| replica.parts(&parts, samples, watch.as_ref()))
        };
        let computed = self.on_lanes(of_lane, |samples, shard| samples.shard(work, shard))?;
        let (mut counted, mut sums) = (VecDeque::new(), Vec::new());
        for computed in computed {
            counted.extend(computed.counted);
            sums.push(VecDeque::from(computed.sums));
        }
        let part = |share: &Share| Ok((share.part, share.lane, next(&mut sums, share.lane)?));
        let parts = shares.iter().map(part).collect::<Result<_, Stopped>>()?;
        let sums = reduce_with(node, &mut Counting { counted })?;
        let mut joining = Joining { lanes: &self.lanes, parts };
        let (lane, sum) = reduce_with(node, &mut joining)?;
        let (gradient, statistics) = joining.lane(lane)?.run(move |replica| replica.fetch(&sum)).wait()?;
        Ok(Contribution { gradient, statistics, sums })
    }

    /// What is counted in pieces of the test split: for each run of pieces, which a GPU takes, their sum.
    fn count(
        &mut self,
        work: &Work,
        runs: Vec<(usize, Vec<Range<u64>>)>,
        watch: &Arc<dyn Watch>,
    ) -> Result<Vec<Sums>, Stopped> {
        let of_lane = |number: usize| {
            let of_lane = runs.iter().filter(|(lane, _)| *lane == number);
            let pieces: VecDeque<Range<u64>> = of_lane.flat_map(|(_, pieces)| pieces.clone()).collect();
            let watch = Arc::clone(watch);
            (pieces, move |replica: &mut Replica, samples: &_| replica.test(samples, watch.as_ref()))
        };
        let counted = self.on_lanes(of_lane, |samples, piece| samples.test(work.epoch, piece, None))?;
        let mut counted: Vec<VecDeque<Sums>> = counted.into_iter().map(VecDeque::from).collect();
        let total = |(lane, pieces): (usize, Vec<Range<u64>>)| {
            let mut total = Sums::default();
            for _ in pieces {
                total.add(&next(&mut counted, lane)?);
            }
            Ok(total)
        };
        runs.into_iter().map(total).collect()
    }

    fn in_state(&self, source: StateError) -> ComputeError {
        ComputeError::State { kind: self.samples.kinds.model.clone(), source: Box::new(source) }
    }

    /// What each GPU makes of its samples. `of_lane` tells for a GPU's number which samples it gets, and what it does with
    /// them as they come.
    fn on_lanes<T, A, W>(
        &mut self,
        of_lane: impl Fn(usize) -> (VecDeque<T>, W),
        samples_of: impl FnMut(&mut Samples, T) -> Result<Inputs, ComputeError>,
    ) -> Result<Vec<A>, Stopped>
    where
        A: Send + 'static,
        W: FnOnce(&mut Replica, &Receiver<Inputs>) -> Result<A, Stopped> + Send + 'static,
    {
        let (mut senders, mut answers) = (Vec::new(), Vec::new());
        for (number, lane) in self.lanes.iter().enumerate() {
            let (waiting, work) = of_lane(number);
            let (sender, samples) = mpsc::sync_channel(WAITING);
            answers.push(lane.run(move |replica| work(replica, &samples)));
            senders.push((sender, waiting));
        }
        let fed = self.feed(senders, samples_of);
        answered(answers, fed)
    }

    /// Sends each GPU what it waits for, in turns, until all have all or one has stopped.
    fn feed<T>(
        &mut self,
        mut senders: Vec<(SyncSender<Inputs>, VecDeque<T>)>,
        mut samples_of: impl FnMut(&mut Samples, T) -> Result<Inputs, ComputeError>,
    ) -> Result<(), ComputeError> {
        while senders.iter().any(|(_, waiting)| !waiting.is_empty()) {
            for (sender, waiting) in &mut senders {
                if let Some(next) = waiting.pop_front()
                    && sender.send(samples_of(&mut self.samples, next)?).is_err()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The answers of all; the error that explains the others, if there is one.
fn answered<T>(answers: Vec<Pending<T, Stopped>>, fed: Result<(), ComputeError>) -> Result<Vec<T>, Stopped> {
    let answers: Vec<Result<T, Stopped>> = answers.into_iter().map(Pending::wait).collect();
    fed?;
    let (mut computed, mut stopped) = (Vec::new(), None);
    for answer in answers {
        match (answer, &stopped) {
            (Ok(answer), _) => computed.push(answer),
            // A GPU that got no more samples because another one failed says that it was overtaken.
            (Err(Stopped::Failed(error)), None | Some(Stopped::Overtaken)) => {
                stopped = Some(Stopped::Failed(error))
            }
            (Err(Stopped::Failed(lost @ ComputeError::DeviceLost(_))), _) => {
                stopped = Some(Stopped::Failed(lost))
            }
            (Err(error), None) => stopped = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    stopped.map_or(Ok(computed), Err)
}

/// What a GPU answered next; it has answered as often as it was asked.
fn next<T>(answers: &mut [VecDeque<T>], lane: usize) -> Result<T, Stopped> {
    let missing = || ComputeError::Other(format!("GPU {lane} of the job has answered too little"));
    answers.get_mut(lane).and_then(VecDeque::pop_front).ok_or_else(missing).map_err(Stopped::from)
}

/// Nobody overtakes a probe.
fn failed(stopped: Stopped) -> ComputeError {
    match stopped {
        Stopped::Failed(error) => error,
        Stopped::Overtaken => ComputeError::Other("overtaken".to_owned()),
    }
}

/// Adds what was counted in shards, which come in their order.
struct Counting {
    counted: VecDeque<Sums>,
}

impl Reduction for Counting {
    type Sum = Sums;
    type Error = Stopped;

    fn part(&mut self, node: Node) -> Result<Option<Sums>, Stopped> {
        Ok(if node.len() == 1 { self.counted.pop_front() } else { None })
    }

    fn add(&mut self, mut left: Sums, right: Sums) -> Result<Sums, Stopped> {
        left.add(&right);
        Ok(left)
    }
}

/// Adds the parts of a node, wherever they are: on the GPU of the left one.
struct Joining<'a> {
    lanes: &'a [Lane],
    parts: VecDeque<(Node, usize, Sum)>,
}

impl Joining<'_> {
    fn lane(&self, lane: usize) -> Result<&Lane, Stopped> {
        let missing = || ComputeError::Other(format!("no GPU has number {lane}"));
        self.lanes.get(lane).ok_or_else(missing).map_err(Stopped::from)
    }
}

impl Reduction for Joining<'_> {
    type Sum = (usize, Sum);
    type Error = Stopped;

    fn part(&mut self, node: Node) -> Result<Option<(usize, Sum)>, Stopped> {
        let known = self.parts.front().is_some_and(|(part, ..)| *part == node);
        let part = if known { self.parts.pop_front() } else { None };
        Ok(part.map(|(_, lane, sum)| (lane, sum)))
    }

    fn add(&mut self, left: (usize, Sum), right: (usize, Sum)) -> Result<(usize, Sum), Stopped> {
        let ((lane, left), (_, right)) = (left, right);
        let sum = self.lane(lane)?.run(move |replica| replica.add(left, right)).wait()?;
        Ok((lane, sum))
    }
}

impl PreparedJob for CudaJob {
    fn description(&self) -> &JobDescription {
        &self.description
    }

    fn initial_state(&self) -> Result<(Arena, Arena), ComputeError> {
        let Some(lane) = self.lanes.first() else { return Err(ComputeError::NotLoaded) };
        lane.run(|replica| Ok(replica.initial())).wait()
    }

    fn probe(&self) -> Digest {
        self.probe
    }

    fn load(&mut self, parameters: &[f32], statistics: &[f32]) -> Result<(), ComputeError> {
        self.loaded = false;
        let layout = &self.description.layout;
        check_length("parameters", parameters, layout.parameters())
            .map_err(|source| self.in_state(source))?;
        check_length("statistics", statistics, layout.statistics())
            .map_err(|source| self.in_state(source))?;
        let settled: Vec<_> = self.lanes.iter().map(|lane| lane.run(|replica| replica.settle())).collect();
        settled.into_iter().try_for_each(|settled| settled.wait())?;
        self.weights.send([parameters, statistics], &self.lanes)?;
        let taken: Vec<_> =
            self.lanes.iter().map(|lane| lane.run(|replica| replica.take_weights())).collect();
        taken.into_iter().try_for_each(|taken| taken.wait())?;
        self.loaded = true;
        Ok(())
    }

    fn waited_for_data(&self) -> Duration {
        self.samples.waited()
    }

    fn segment(&mut self, work: &Work, node: Node, watch: &Arc<dyn Watch>) -> Result<Contribution, Stopped> {
        if !self.loaded {
            return Err(ComputeError::NotLoaded.into());
        }
        if work.kind == WorkKind::Gradient {
            return self.sum(work, node, &divide(node, self.lanes.len()), watch);
        }
        let mut runs = Vec::new();
        for Share { part, lane } in divide(node, self.lanes.len()) {
            for shard in part.first..part.end {
                runs.push((lane, self.samples.test_pieces(work, shard)?));
            }
        }
        let counted = self.count(work, runs, watch)?;
        let sums = reduce_with(node, &mut Counting { counted: counted.into() })?;
        Ok(Contribution { sums, ..Contribution::default() })
    }

    fn timings(&mut self) -> Vec<Vec<Timing>> {
        let asked: Vec<_> = self.lanes.iter().map(|lane| lane.run(|replica| replica.timings())).collect();
        asked.into_iter().map(|asked| asked.wait().unwrap_or_default()).collect()
    }

    fn device_memory(&mut self) -> u64 {
        let asked: Vec<_> = self
            .lanes
            .iter()
            .map(|lane| lane.run(|replica| Ok::<_, ComputeError>(replica.peak_memory())))
            .collect();
        asked.into_iter().map(|asked| asked.wait().unwrap_or(0)).sum()
    }
}

#[cfg(test)]
mod tests;
