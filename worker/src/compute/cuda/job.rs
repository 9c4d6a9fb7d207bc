//! A job on the GPUs of a machine.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use candle_core::CudaDevice;
use lookbehind_common::digest::Digest;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::JobDescription;
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::reduction::{Reduction, Segment, reduce_with};

use super::device_thread::{DeviceThread, Pending};
use super::division::{Share, divide};
use super::replica::Replica;
use super::sum::Sum;
use super::upload::Upload;
use crate::compute::evaluator::Evaluator;
use crate::compute::probe::{ProbeRequests, probe_digest};
use crate::compute::samples::{Inputs, Samples};
use crate::compute::{ComputeError, PreparedJob, Request, RequestKind, Stopped, Timing, Unwatched, Watch};
use crate::parameters::{StateError, check_length};

/// Shards whose samples may wait for a GPU at a time.
const WAITING: usize = 1;

pub(in crate::compute) struct Parts {
    pub(in crate::compute) samples: Samples,
    /// A replica of the model on each device.
    pub(in crate::compute) copies: Vec<(CudaDevice, Evaluator)>,
}

/// A job that GPUs compute.
pub(in crate::compute) struct CudaJob {
    samples: Samples,
    device_threads: Vec<DeviceThread>,
    /// Copies weights to all GPUs.
    weights: Upload,
    description: JobDescription,
    probe: Digest,
    loaded: bool,
}

impl CudaJob {
    /// Assembles a job and computes its probe, so that a model that cannot be computed on every shard size of the job,
    /// or does not fit into the memory of the devices, is refused before training.
    pub(in crate::compute) fn new(parts: Parts) -> Result<Self, ComputeError> {
        let Parts { samples, copies } = parts;
        let Some((device, evaluator)) = copies.first() else {
            return Err(ComputeError::Other("no device to compute on".to_owned()));
        };
        let description = samples.describe(evaluator.state.layout());
        let (parameters, statistics) = evaluator.state.probe(evaluator.seed);
        let lens = [parameters.len(), statistics.len()];
        let weights = Upload::new(lens, device.cuda_stream().context())?;
        let start = |(device, evaluator)| DeviceThread::start(device, evaluator);
        let device_threads = copies.into_iter().map(start).collect::<Result<_, _>>()?;
        let probe = Digest::of(b"");
        let mut job = Self { samples, device_threads, weights, description, probe, loaded: false };
        job.load(&parameters, &statistics)?;
        job.probe = job.compute_probe()?;
        job.loaded = false;
        Ok(job)
    }

    /// Computes the probe on each GPU. All must agree: a job can only be divided among GPUs of one compute class.
    fn compute_probe(&mut self) -> Result<Digest, ComputeError> {
        let first = self.probe_of(0)?;
        let mut others = (1..self.device_threads.len()).map(|device_thread| self.probe_of(device_thread));
        if others.try_fold(true, |all, probe| Ok::<_, ComputeError>(all & (probe? == first)))? {
            return Ok(first);
        }
        Err(ComputeError::Device(
            "its GPUs are of different compute classes: give each kind to a worker of its own".into(),
        ))
    }

    fn probe_of(&mut self, device_thread: usize) -> Result<Digest, ComputeError> {
        let watch: Arc<dyn Watch> = Arc::new(Unwatched);
        let ProbeRequests { shards, test } = ProbeRequests::new(&self.samples);
        let mut partials = Vec::new();
        for (request, shard) in shards {
            let segment = Segment { first: shard, end: shard + 1 };
            partials.push(
                self.sum(&request, segment, &[Share { part: segment, device_thread }], &watch)
                    .map_err(failed)?,
            );
        }
        let request = Request { kind: RequestKind::Test, epoch: 0, batch: 0, shards: 1 };
        let test = test.map(|samples| self.count(&request, vec![(device_thread, vec![samples])], &watch));
        let test = test.transpose().map_err(failed)?;
        Ok(probe_digest(&partials, test.and_then(|sums| sums.into_iter().next()).as_ref()))
    }

    /// The sum over a segment that is divided as `shares` say.
    fn sum(
        &mut self,
        request: &Request,
        segment: Segment,
        shares: &[Share],
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        let of_device_thread = |number: usize| {
            let parts: Vec<Segment> =
                shares.iter().filter(|share| share.device_thread == number).map(|share| share.part).collect();
            let shards: VecDeque<u32> = parts.iter().flat_map(|part| part.first..part.end).collect();
            let watch = Arc::clone(watch);
            (shards, move |replica: &mut Replica, samples: &_| replica.parts(&parts, samples, watch.as_ref()))
        };
        let computed =
            self.on_device_threads(of_device_thread, |samples, shard| samples.shard(request, shard))?;
        let (mut counted, mut sums) = (VecDeque::new(), Vec::new());
        for computed in computed {
            counted.extend(computed.counted);
            sums.push(VecDeque::from(computed.sums));
        }
        let part =
            |share: &Share| Ok((share.part, share.device_thread, next(&mut sums, share.device_thread)?));
        let parts = shares.iter().map(part).collect::<Result<_, Stopped>>()?;
        let sums = reduce_with(segment, &mut Counting { counted })?;
        let mut joining = Joining { device_threads: &self.device_threads, parts };
        let (device_thread, sum) = reduce_with(segment, &mut joining)?;
        let (gradient, statistics) =
            joining.device_thread(device_thread)?.run(move |replica| replica.fetch(&sum)).wait()?;
        Ok(Partial { gradient, statistics, sums })
    }

    /// The counts over pieces of the test split: one sum for each run of pieces, which one GPU computes.
    fn count(
        &mut self,
        request: &Request,
        runs: Vec<(usize, Vec<Range<u64>>)>,
        watch: &Arc<dyn Watch>,
    ) -> Result<Vec<Sums>, Stopped> {
        let of_device_thread = |number: usize| {
            let of_device_thread = runs.iter().filter(|(device_thread, _)| *device_thread == number);
            let pieces: VecDeque<Range<u64>> =
                of_device_thread.flat_map(|(_, pieces)| pieces.clone()).collect();
            let watch = Arc::clone(watch);
            (pieces, move |replica: &mut Replica, samples: &_| replica.test(samples, watch.as_ref()))
        };
        let counted = self
            .on_device_threads(of_device_thread, |samples, piece| samples.test(request.epoch, piece, None))?;
        let mut counted: Vec<VecDeque<Sums>> = counted.into_iter().map(VecDeque::from).collect();
        let total = |(device_thread, pieces): (usize, Vec<Range<u64>>)| {
            let mut total = Sums::default();
            for _ in pieces {
                total.add(&next(&mut counted, device_thread)?);
            }
            Ok(total)
        };
        runs.into_iter().map(total).collect()
    }

    fn in_state(&self, source: StateError) -> ComputeError {
        ComputeError::State { kind: self.samples.kinds.model.clone(), source: Box::new(source) }
    }

    /// What each GPU computes from its samples. `of_device_thread` returns, for the index of a GPU, the samples that it
    /// gets, and the task that takes them as they arrive.
    fn on_device_threads<T, A, W>(
        &mut self,
        of_device_thread: impl Fn(usize) -> (VecDeque<T>, W),
        samples_of: impl FnMut(&mut Samples, T) -> Result<Inputs, ComputeError>,
    ) -> Result<Vec<A>, Stopped>
    where
        A: Send + 'static,
        W: FnOnce(&mut Replica, &Receiver<Inputs>) -> Result<A, Stopped> + Send + 'static,
    {
        let (mut senders, mut answers) = (Vec::new(), Vec::new());
        for (number, device_thread) in self.device_threads.iter().enumerate() {
            let (waiting, request) = of_device_thread(number);
            let (sender, samples) = mpsc::sync_channel(WAITING);
            answers.push(device_thread.run(move |replica| request(replica, &samples)));
            senders.push((sender, waiting));
        }
        let fed = self.feed(senders, samples_of);
        answered(answers, fed)
    }

    /// Sends each GPU its samples, in turns, until all are sent or one GPU has stopped.
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
                    // This GPU has stopped, and its answer says why; the others get no more samples either.
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The answers of all GPUs; if there are errors, the one that explains the others.
fn answered<T>(answers: Vec<Pending<T, Stopped>>, fed: Result<(), ComputeError>) -> Result<Vec<T>, Stopped> {
    let answers: Vec<Result<T, Stopped>> = answers.into_iter().map(Pending::wait).collect();
    fed?;
    let (mut computed, mut stopped) = (Vec::new(), None);
    for answer in answers {
        match (answer, &stopped) {
            (Ok(answer), _) => computed.push(answer),
            // A GPU whose samples end early, because another GPU failed, reports `Superseded`: the failure explains it.
            (Err(Stopped::Failed(error)), None | Some(Stopped::Superseded)) => {
                stopped = Some(Stopped::Failed(error))
            }
            // A lost device takes precedence over other failures: it ends the process.
            (Err(Stopped::Failed(lost @ ComputeError::DeviceLost(_))), _) => {
                stopped = Some(Stopped::Failed(lost))
            }
            (Err(error), None) => stopped = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    stopped.map_or(Ok(computed), Err)
}

/// The next answer of a GPU, which has answered as often as it was asked.
fn next<T>(answers: &mut [VecDeque<T>], device_thread: usize) -> Result<T, Stopped> {
    let missing =
        || ComputeError::Other(format!("GPU {device_thread} of the job has returned too few results"));
    answers.get_mut(device_thread).and_then(VecDeque::pop_front).ok_or_else(missing).map_err(Stopped::from)
}

/// The error of a probe, which no request can supersede.
fn failed(stopped: Stopped) -> ComputeError {
    match stopped {
        Stopped::Failed(error) => error,
        Stopped::Superseded => ComputeError::Other("superseded".to_owned()),
    }
}

/// Adds the counts of shards, which arrive in their order.
struct Counting {
    counted: VecDeque<Sums>,
}

impl Reduction for Counting {
    type Sum = Sums;
    type Error = Stopped;

    fn part(&mut self, segment: Segment) -> Result<Option<Sums>, Stopped> {
        Ok(if segment.len() == 1 { self.counted.pop_front() } else { None })
    }

    fn add(&mut self, mut left: Sums, right: Sums) -> Result<Sums, Stopped> {
        left.add(&right);
        Ok(left)
    }
}

/// Adds the parts of a segment, wherever they are: on the GPU of the left one.
struct Joining<'a> {
    device_threads: &'a [DeviceThread],
    parts: VecDeque<(Segment, usize, Sum)>,
}

impl Joining<'_> {
    fn device_thread(&self, device_thread: usize) -> Result<&DeviceThread, Stopped> {
        let missing = || ComputeError::Other(format!("no GPU has number {device_thread}"));
        self.device_threads.get(device_thread).ok_or_else(missing).map_err(Stopped::from)
    }
}

impl Reduction for Joining<'_> {
    type Sum = (usize, Sum);
    type Error = Stopped;

    fn part(&mut self, segment: Segment) -> Result<Option<(usize, Sum)>, Stopped> {
        let known = self.parts.front().is_some_and(|(part, ..)| *part == segment);
        let part = if known { self.parts.pop_front() } else { None };
        Ok(part.map(|(_, device_thread, sum)| (device_thread, sum)))
    }

    fn add(&mut self, left: (usize, Sum), right: (usize, Sum)) -> Result<(usize, Sum), Stopped> {
        let ((device_thread, left), (_, right)) = (left, right);
        let sum = self.device_thread(device_thread)?.run(move |replica| replica.add(left, right)).wait()?;
        Ok((device_thread, sum))
    }
}

impl PreparedJob for CudaJob {
    fn description(&self) -> &JobDescription {
        &self.description
    }

    fn initial_state(&self) -> Result<(FlatBuffer, FlatBuffer), ComputeError> {
        let Some(device_thread) = self.device_threads.first() else { return Err(ComputeError::NotLoaded) };
        device_thread.run(|replica| Ok(replica.initial())).wait()
    }

    fn probe(&self) -> Digest {
        self.probe
    }

    fn load(&mut self, parameters: &[f32], statistics: &[f32]) -> Result<(), ComputeError> {
        self.loaded = false;
        let layout = &self.description.layout;
        check_length("parameters", parameters, layout.parameters())
            .map_err(|source| self.in_state(source))?;
        check_length("running statistics", statistics, layout.statistics())
            .map_err(|source| self.in_state(source))?;
        let settled: Vec<_> = self
            .device_threads
            .iter()
            .map(|device_thread| device_thread.run(|replica| replica.settle()))
            .collect();
        settled.into_iter().try_for_each(|settled| settled.wait())?;
        self.weights.send([parameters, statistics], &self.device_threads)?;
        let taken: Vec<_> = self
            .device_threads
            .iter()
            .map(|device_thread| device_thread.run(|replica| replica.take_weights()))
            .collect();
        taken.into_iter().try_for_each(|taken| taken.wait())?;
        self.loaded = true;
        Ok(())
    }

    fn waited_for_data(&self) -> Duration {
        self.samples.waited()
    }

    fn segment(
        &mut self,
        request: &Request,
        segment: Segment,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        if !self.loaded {
            return Err(ComputeError::NotLoaded.into());
        }
        if request.kind == RequestKind::Gradient {
            return self.sum(request, segment, &divide(segment, self.device_threads.len()), watch);
        }
        let mut runs = Vec::new();
        for Share { part, device_thread } in divide(segment, self.device_threads.len()) {
            for shard in part.first..part.end {
                runs.push((device_thread, self.samples.test_pieces(request, shard)?));
            }
        }
        let counted = self.count(request, runs, watch)?;
        let sums = reduce_with(segment, &mut Counting { counted: counted.into() })?;
        Ok(Partial { sums, ..Partial::default() })
    }

    fn timings(&mut self) -> Vec<Vec<Timing>> {
        let asked: Vec<_> = self
            .device_threads
            .iter()
            .map(|device_thread| device_thread.run(|replica| replica.timings()))
            .collect();
        asked.into_iter().map(|asked| asked.wait().unwrap_or_default()).collect()
    }

    fn device_memory(&mut self) -> u64 {
        let asked: Vec<_> = self
            .device_threads
            .iter()
            .map(|device_thread| device_thread.run(|replica| Ok::<_, ComputeError>(replica.peak_memory())))
            .collect();
        asked.into_iter().map(|asked| asked.wait().unwrap_or(0)).sum()
    }
}

#[cfg(test)]
mod tests;
