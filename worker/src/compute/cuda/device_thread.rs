//! A GPU and its own thread.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use candle_core::CudaDevice;

use super::flat_buffers::Weights;
use super::replica::Replica;
use crate::compute::evaluator::Evaluator;
use crate::compute::{ComputeError, panics};

type Task = Box<dyn FnOnce(&mut Replica) + Send>;

/// Handle of a GPU's thread; the thread ends when this is dropped.
pub(super) struct DeviceThread {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    /// The GPU's ordinal.
    pub(super) ordinal: usize,
    /// The memory that receives weights.
    pub(super) weights: Weights,
    name: String,
}

/// The result of a task that the thread has yet to complete.
pub(super) struct Pending<T, E> {
    answer: Receiver<Result<T, E>>,
    name: String,
}

impl<T, E: From<ComputeError>> Pending<T, E> {
    /// Waits for the result.
    pub(super) fn wait(self) -> Result<T, E> {
        self.answer.recv().unwrap_or_else(|_| {
            let reason = format!("{}: its thread ended unexpectedly", self.name);
            Err(ComputeError::DeviceLost(reason).into())
        })
    }
}

impl DeviceThread {
    /// Starts the thread; the model's variables are on the device already.
    ///
    /// # Errors
    /// If no thread can be started, or the device is unusable.
    pub(super) fn start(device: CudaDevice, evaluator: Evaluator) -> Result<Self, ComputeError> {
        let ordinal = device.cuda_stream().context().ordinal();
        let name = format!("cuda:{ordinal}");
        let (tasks, queue) = mpsc::channel::<Task>();
        let (say, answer) = mpsc::channel();
        let run = move || match Replica::new(device, evaluator) {
            Ok(mut replica) => {
                let _ = say.send(Ok(replica.weights()));
                drop(say);
                queue.into_iter().for_each(|task| task(&mut replica));
                replica.leave();
            }
            Err(error) => {
                let _ = say.send(Err(error));
            }
        };
        let system = |error: std::io::Error| ComputeError::Other(format!("{name}: {error}"));
        let thread = std::thread::Builder::new().name(name.clone()).spawn(run).map_err(system)?;
        let weights = Pending { answer, name: name.clone() }.wait()?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread), ordinal, weights, name })
    }

    /// Queues a task for the thread. A panic of the model becomes an error, after which nothing is left queued on the
    /// GPU.
    pub(super) fn run<T: Send + 'static, E: From<ComputeError> + Send + 'static>(
        &self,
        request: impl FnOnce(&mut Replica) -> Result<T, E> + Send + 'static,
    ) -> Pending<T, E> {
        let (say, answer) = mpsc::channel();
        let task: Task = Box::new(move |replica| {
            let answer = panics::catch(|| request(replica));
            let _ = say.send(answer.unwrap_or_else(|panic| Err(replica.panicked(panic).into())));
        });
        if let Some(tasks) = &self.tasks {
            // If the thread has ended, `send` fails, and `wait` reports the missing answer.
            let _ = tasks.send(task);
        }
        Pending { answer, name: self.name.clone() }
    }
}

impl Drop for DeviceThread {
    fn drop(&mut self) {
        // Closing the queue ends the thread after the tasks that it has; the device is released before this returns.
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
