//! A job on the GPUs of a machine.

mod feeding;
mod joining;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use candle_core::CudaDevice;
use lookbehind_common::digest::Digest;
use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::job::JobDescription;
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::reduction::{Segment, reduce_with};
use lookbehind_common::test_set::TestSet;

use self::feeding::next;
use self::joining::{Counting, Joining};
use super::device_thread::{DeviceThread, Pending};
use super::division::{Share, divide};
use super::replica::Replica;
use super::upload::Upload;
use crate::compute::evaluator::Evaluator;
use crate::compute::probe::{ProbeRequests, probe_digest};
use crate::compute::samples::Samples;
use crate::compute::{ComputeError, PreparedJob, Request, RequestKind, Stopped, Timing, Unwatched, Watch};
use crate::parameters::{StateError, check_lengths};

pub(in crate::compute) struct Parts {
    pub(in crate::compute) samples: Samples,
    /// A replica of the model on each device.
    pub(in crate::compute) copies: Vec<(CudaDevice, Evaluator)>,
    /// Format in which gradients are added.
    pub(in crate::compute) exchange: ExchangeFormat,
}

/// A job that GPUs compute.
pub(in crate::compute) struct CudaJob {
    samples: Samples,
    device_threads: Vec<DeviceThread>,
    /// Copies weights to all GPUs.
    weights: Upload,
    description: JobDescription,
    exchange: ExchangeFormat,
    probe: Digest,
    loaded: bool,
}

impl CudaJob {
    /// Assembles a job and computes its probe, so that a model that cannot be computed on every shard size of the job,
    /// or does not fit into the memory of the devices, is refused before training.
    pub(in crate::compute) fn new(parts: Parts) -> Result<Self, ComputeError> {
        let Parts { samples, copies, exchange } = parts;
        let Some((device, evaluator)) = copies.first() else {
            return Err(ComputeError::Other("no device to compute on".to_owned()));
        };
        let description = samples.describe(evaluator.tensors.layout());
        let of_probe = evaluator.tensors.probe(evaluator.seed);
        let weights = Upload::new(of_probe.lengths(), device.cuda_stream().context())?;
        let start = |(device, evaluator)| DeviceThread::start(device, evaluator);
        let device_threads = copies.into_iter().map(start).collect::<Result<_, _>>()?;
        let probe = Digest::of(b"");
        let mut job = Self { samples, device_threads, weights, description, exchange, probe, loaded: false };
        job.load(of_probe.values())?;
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
            let shares = [Share { part: segment, device_thread }];
            // Not rounded: rounded gradients of different compute classes may be equal.
            let partial = self.sum(&request, segment, &shares, ExchangeFormat::F32, &watch);
            partials.push(partial.map_err(failed)?);
        }
        let request = Request { kind: RequestKind::Test(TestSet::Test), epoch: 0, batch: 0, shards: 1 };
        let test = test
            .map(|samples| self.count(TestSet::Test, &request, vec![(device_thread, vec![samples])], &watch));
        let test = test.transpose().map_err(failed)?;
        Ok(probe_digest(&partials, test.and_then(|sums| sums.into_iter().next()).as_ref()))
    }

    /// The sum over a segment that is divided as `shares` say, gradients in `format`.
    fn sum(
        &mut self,
        request: &Request,
        segment: Segment,
        shares: &[Share],
        format: ExchangeFormat,
        watch: &Arc<dyn Watch>,
    ) -> Result<Partial, Stopped> {
        let of_device_thread = |number: usize| {
            let parts: Vec<Segment> =
                shares.iter().filter(|share| share.device_thread == number).map(|share| share.part).collect();
            let shards: VecDeque<u32> = parts.iter().flat_map(|part| part.first..part.end).collect();
            let watch = Arc::clone(watch);
            (shards, move |replica: &mut Replica, samples: &_| {
                replica.parts(&parts, format, samples, watch.as_ref())
            })
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
        let mut joining = Joining { device_threads: &self.device_threads, parts, format };
        let (device_thread, sum) = reduce_with(segment, &mut joining)?;
        let (gradient, statistics) =
            joining.device_thread(device_thread)?.run(move |replica| replica.fetch(&sum)).wait()?;
        Ok(Partial { gradient, statistics, sums })
    }

    /// The counts over pieces of the test split: one sum for each run of pieces, which one GPU computes.
    fn count(
        &mut self,
        set: TestSet,
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
        let counted = self.on_device_threads(of_device_thread, |samples, piece| {
            samples.test(set, request.epoch, piece, None)
        })?;
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

    /// What each GPU answers; all are asked before the first answer is waited for.
    fn on_replicas<T: Send + 'static>(
        &self,
        ask: fn(&mut Replica) -> Result<T, ComputeError>,
    ) -> Result<Vec<T>, ComputeError> {
        let asked: Vec<_> = self.device_threads.iter().map(|device_thread| device_thread.run(ask)).collect();
        asked.into_iter().map(Pending::wait).collect()
    }

    fn in_state(&self, source: StateError) -> ComputeError {
        ComputeError::State { kind: self.samples.kinds.model.clone(), source: Box::new(source) }
    }
}

/// The error of a probe, which no request can supersede.
fn failed(stopped: Stopped) -> ComputeError {
    match stopped {
        Stopped::Failed(error) => error,
        Stopped::Superseded => ComputeError::Other("superseded".to_owned()),
    }
}

impl PreparedJob for CudaJob {
    fn description(&self) -> &JobDescription {
        &self.description
    }

    fn initial_state(&self) -> Result<ModelState<FlatBuffer>, ComputeError> {
        let Some(device_thread) = self.device_threads.first() else { return Err(ComputeError::NotLoaded) };
        device_thread.run(|replica| Ok(replica.initial())).wait()
    }

    fn probe(&self) -> Digest {
        self.probe
    }

    fn load(&mut self, weights: ModelState<&[f32]>) -> Result<(), ComputeError> {
        self.loaded = false;
        check_lengths(&self.description.layout, weights).map_err(|source| self.in_state(source))?;
        self.on_replicas(Replica::settle)?;
        self.weights.send(weights, &self.device_threads)?;
        self.on_replicas(Replica::take_weights)?;
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
        let RequestKind::Test(set) = request.kind else {
            let shares = divide(segment, self.device_threads.len());
            return self.sum(request, segment, &shares, self.exchange, watch);
        };
        let mut runs = Vec::new();
        for Share { part, device_thread } in divide(segment, self.device_threads.len()) {
            for shard in part.first..part.end {
                runs.push((device_thread, self.samples.test_pieces(set, request, shard)?));
            }
        }
        let counted = self.count(set, request, runs, watch)?;
        let sums = reduce_with(segment, &mut Counting { counted: counted.into() })?;
        Ok(Partial { sums, ..Partial::default() })
    }

    fn timings(&mut self) -> Result<Vec<Vec<Timing>>, ComputeError> {
        self.on_replicas(Replica::timings)
    }

    fn device_memory(&mut self) -> Result<Option<u64>, ComputeError> {
        Ok(self.on_replicas(Replica::peak_memory)?.into_iter().sum())
    }
}

#[cfg(test)]
mod tests;
