//! Hands samples to the GPUs of a job, and collects what they answer.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, SyncSender};

use super::CudaJob;
use crate::compute::cuda::device_thread::Pending;
use crate::compute::cuda::replica::Replica;
use crate::compute::samples::{Inputs, Samples};
use crate::compute::{ComputeError, Stopped};

/// Shards whose samples may wait for a GPU at a time.
const WAITING: usize = 1;

impl CudaJob {
    /// What each GPU computes from its samples. `of_device_thread` returns, for the index of a GPU, the samples that it
    /// gets, and the task that takes them as they arrive.
    pub(super) fn on_device_threads<T, A, W>(
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
pub(super) fn next<T>(answers: &mut [VecDeque<T>], device_thread: usize) -> Result<T, Stopped> {
    let missing =
        || ComputeError::Other(format!("GPU {device_thread} of the job has returned too few results"));
    answers.get_mut(device_thread).and_then(VecDeque::pop_front).ok_or_else(missing).map_err(Stopped::from)
}
