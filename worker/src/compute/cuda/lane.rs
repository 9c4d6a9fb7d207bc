//! A GPU with a thread of its own.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use candle_core::CudaDevice;

use super::arenas::Weights;
use super::replica::Replica;
use crate::compute::evaluator::Evaluator;
use crate::compute::{ComputeError, panics};

type Task = Box<dyn FnOnce(&mut Replica) + Send>;

/// The thread.
pub(super) struct Lane {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
    /// The GPU's number.
    pub(super) ordinal: usize,
    /// Where weights are copied to.
    pub(super) weights: Weights,
    name: String,
}

/// An answer that is on its way.
pub(super) struct Pending<T, E> {
    answer: Receiver<Result<T, E>>,
    name: String,
}

impl<T, E: From<ComputeError>> Pending<T, E> {
    /// Waits for it.
    pub(super) fn wait(self) -> Result<T, E> {
        self.answer.recv().unwrap_or_else(|_| {
            let reason = format!("{}: its thread ended unexpectedly", self.name);
            Err(ComputeError::DeviceLost(reason).into())
        })
    }
}

impl Lane {
    /// Starts the thread; the model's variables are on the device.
    ///
    /// # Errors
    /// When the system gives no thread, or the device is of no use.
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

    /// Lets the thread do something when it comes to it. A panic of the model is an error, behind which nothing stays
    /// queued on the GPU.
    pub(super) fn run<T: Send + 'static, E: From<ComputeError> + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Replica) -> Result<T, E> + Send + 'static,
    ) -> Pending<T, E> {
        let (say, answer) = mpsc::channel();
        let task: Task = Box::new(move |replica| {
            let answer = panics::catch(|| work(replica));
            let _ = say.send(answer.unwrap_or_else(|panic| Err(replica.panicked(panic).into())));
        });
        if let Some(tasks) = &self.tasks {
            // Where the thread is gone, there will be no answer either.
            let _ = tasks.send(task);
        }
        Pending { answer, name: self.name.clone() }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
