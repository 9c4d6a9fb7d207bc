//! The task that owns the state machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lookbehind_common::blocks::Blocks;
use lookbehind_common::ids::{JobId, SessionId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::backlog::Change;
use super::database::{self, DatabaseTask};
use super::files::{self, FileTask, TASKS};
use super::storage::Storage;
use super::{Envelope, Mail, Shared};
use crate::observe::unix_now;
use crate::state::command::{Command, WorkerCommand};
use crate::state::event::{Activation, Event, LossCause, Reply, ReplyTo};
use crate::state::{Core, Now, StorageFailure};
use crate::training::{Input, Trainer};

/// Maximum number of parameters of a model whose arithmetic the owner does itself.
const SMALL: usize = 1 << 17;

/// The clocks of the coordinator: time since its start, and wall-clock time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Now {
        Now { elapsed: self.0.elapsed(), unix: unix_now() }
    }
}

/// The state machine and everything needed to carry out its commands.
pub(crate) struct Owner {
    core: Core,
    clock: Clock,
    shared: Shared,
    mail: Mail,
    /// Results of commands. Its capacity exceeds the number of tasks that can wait for the file thread, and the
    /// owner reads it first, so that owner and thread never wait for each other.
    effects: mpsc::Receiver<Event>,
    effects_sender: mpsc::Sender<Event>,
    files: mpsc::Sender<FileTask>,
    database: mpsc::Sender<DatabaseTask>,
    /// Why the state cannot be stored now.
    storage: watch::Receiver<Option<StorageFailure>>,
    outboxes: HashMap<SessionId, mpsc::Sender<WorkerCommand>>,
    calls: u64,
    waiting: HashMap<ReplyTo, Waiting>,
    /// Workers whose outbox is full, to be given up after the current event.
    overflowing: Vec<SessionId>,
    /// Cancelled when no job is active any more after a shutdown request.
    stopped: CancellationToken,
    /// The threads that read from `files` and `database`; they share the store.
    threads: [JoinHandle<()>; 2],
}

/// A call that waits for its answer.
struct Waiting {
    reply: oneshot::Sender<Reply>,
    outbox: Option<mpsc::Sender<WorkerCommand>>,
}

impl Owner {
    /// Prepares the owner and starts its threads. `stopped` is cancelled at `Command::Stopped`; the files of
    /// `removals` are removed.
    pub(crate) fn new(
        core: Core,
        clock: Clock,
        shared: Shared,
        mail: Mail,
        stopped: CancellationToken,
        removals: Vec<JobId>,
    ) -> std::io::Result<Self> {
        let (effects_sender, effects) = mpsc::channel(2 * TASKS);
        let storage = Storage::new(Arc::clone(&shared.store), Arc::clone(&shared.observer));
        // Before the threads start, and marked as new, so that the core learns of a failure that was there from the start.
        let mut failure = storage.subscribe();
        failure.mark_changed();
        let (files, files_thread) = files::start(&shared, storage.clone(), effects_sender.clone(), removals)?;
        let (database, database_thread) = database::start(&shared, files.clone(), storage)?;
        Ok(Self {
            core,
            clock,
            shared,
            mail,
            effects,
            effects_sender,
            files,
            database,
            storage: failure,
            outboxes: HashMap::new(),
            calls: 0,
            waiting: HashMap::new(),
            overflowing: Vec::new(),
            stopped,
            threads: [files_thread, database_thread],
        })
    }

    /// Runs until `end` is cancelled, then waits for all queued writes. `first` are the commands of the core's start.
    pub(crate) async fn run(mut self, first: Vec<Command>, tick: Duration, end: CancellationToken) {
        self.serve(first, tick, end).await;
        let Self { files, database, threads, effects, .. } = self;
        // The threads end when they have emptied their queues, whose senders are dropped here. Without `effects` the
        // file thread does not wait for its results to be read.
        drop((files, database, effects));
        let joined = tokio::task::spawn_blocking(|| threads.into_iter().try_for_each(JoinHandle::join));
        if !matches!(joined.await, Ok(Ok(()))) {
            tracing::error!("a thread that writes the state has panicked");
        }
    }

    async fn serve(&mut self, first: Vec<Command>, tick: Duration, end: CancellationToken) {
        self.carry_out(first).await;
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Results first: see `effects`.
                biased;
                () = end.cancelled() => return,
                // Before calls, so that one that comes after a failure is refused before it has an effect.
                Ok(()) = self.storage.changed() => {
                    let failure = self.storage.borrow_and_update().clone();
                    self.handle(Event::Storage(failure)).await;
                }
                Some(event) = self.effects.recv() => self.handle(event).await,
                _ = ticks.tick() => {
                    self.shared.observer.beat();
                    self.shared.observer.remind();
                    // If its queue is full, the thread is busy writing anyway.
                    let _ = self.database.try_send(DatabaseTask::Retry);
                    self.handle(Event::Tick).await;
                }
                // After the ticks: a flood of calls must not delay heartbeats.
                envelope = self.mail.next() => match envelope {
                    Some(envelope) => self.take(envelope).await,
                    None => return,
                },
            }
        }
    }

    async fn take(&mut self, envelope: Envelope) {
        self.calls += 1;
        let reply_to = ReplyTo(self.calls);
        if let Some(reply) = envelope.reply {
            self.waiting.insert(reply_to, Waiting { reply, outbox: envelope.outbox });
        }
        self.handle((envelope.make)(reply_to)).await;
    }

    async fn handle(&mut self, event: Event) {
        let commands = self.core.handle(self.clock.now(), event);
        self.carry_out(commands).await;
        while let Some(session) = self.overflowing.pop() {
            let commands =
                self.core.handle(self.clock.now(), Event::WorkerLost(session, LossCause::OutboxFull));
            self.carry_out(commands).await;
        }
    }

    async fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Reply(reply_to, reply) => self.reply(reply_to, reply, DatabaseTask::Reply).await,
                Command::Acknowledge(reply_to, reply) => {
                    self.reply(reply_to, reply, DatabaseTask::Acknowledge).await;
                }
                Command::Send(session, message) => self.send(session, message),
                Command::Disconnect(session) => {
                    self.outboxes.remove(&session);
                }
                Command::Persist(change) => self.store(Change::Job(change)).await,
                Command::Adopt(job, initial) => self.file_task(FileTask::Adopt(job, initial)).await,
                Command::Measure(job) => self.file_task(FileTask::Measure(job)).await,
                Command::Delete(job) => self.store(Change::Delete(job)).await,
                Command::KeepUpload { ticket, record } => {
                    self.store(Change::KeepUpload(ticket, record)).await;
                }
                Command::DropUpload(digest) => self.store(Change::DropUpload(digest)).await,
                Command::Load { job, activation, start } => {
                    self.file_task(FileTask::Load { job, activation, start }).await;
                }
                Command::Record { job, activation, metrics } => {
                    self.file_task(FileTask::Record { job, activation, metrics }).await;
                }
                Command::Checkpoint { job, activation, snapshot } => {
                    self.file_task(FileTask::Checkpoint { job, activation, snapshot }).await;
                }
                Command::Advance { job, activation, trainer, input, blocks } => {
                    self.advance((job, activation), trainer, input, blocks);
                }
                Command::Publish { job, version, weights, digests } => {
                    self.shared.weights.publish(job, version, weights, digests);
                }
                Command::Unpublish(job) => {
                    self.shared.weights.unpublish(&job);
                    self.file_task(FileTask::Close(job)).await;
                }
                Command::Observe(observation) => {
                    self.shared.observer.note(self.clock.now().unix, observation);
                }
                Command::Stopped => self.stopped.cancel(),
            }
        }
    }

    /// Runs the trainer on another thread, unless the model is so small that waking a thread would take as long as the
    /// computation.
    fn advance(
        &self,
        (job, activation): (JobId, Activation),
        trainer: Box<Trainer>,
        input: Input,
        blocks: Option<Blocks>,
    ) {
        let small = trainer.parameters() <= SMALL;
        let compute = move || {
            let advance = Box::new(trainer.advance(input, blocks));
            Event::Advanced { job, activation, advance }
        };
        let effects = self.effects_sender.clone();
        // Small models only if there is room for the result: the owner must not wait for its own channel. An error of
        // the send below means that the owner has ended with the process.
        if small && let Ok(room) = effects.try_reserve() {
            room.send(compute());
        } else {
            tokio::task::spawn_blocking(move || {
                let _ = effects.blocking_send(compute());
            });
        }
    }

    async fn store(&self, change: Change) {
        // No error: the thread ends only after this task.
        let _ = self.database.send(DatabaseTask::Store(change)).await;
    }

    async fn file_task(&self, task: FileTask) {
        // No error: the thread ends only after this task.
        let _ = self.files.send(task).await;
    }

    /// Answers a call. What a user learns about jobs goes through the database thread, as `task`.
    async fn reply(
        &mut self,
        reply_to: ReplyTo,
        reply: Reply,
        task: fn(oneshot::Sender<Reply>, Reply) -> DatabaseTask,
    ) {
        let Some(waiting) = self.waiting.remove(&reply_to) else {
            tracing::error!(?reply_to, "internal error: no call waits for this reply");
            return;
        };
        match reply {
            Reply::Registered(Ok(fencing_token)) => {
                if let Some(outbox) = waiting.outbox {
                    self.outboxes.insert(fencing_token.session, outbox);
                }
                let _ = waiting.reply.send(Reply::Registered(Ok(fencing_token)));
            }
            Reply::Job(_) | Reply::Jobs(..) | Reply::Done(_) => {
                let _ = self.database.send(task(waiting.reply, reply)).await;
            }
            immediate => {
                let _ = waiting.reply.send(immediate);
            }
        }
    }

    fn send(&mut self, session: SessionId, message: WorkerCommand) {
        let Some(outbox) = self.outboxes.get(&session) else {
            // Its outbox has overflowed, and the worker is given up after this event.
            return;
        };
        if outbox.try_send(message).is_err() {
            self.outboxes.remove(&session);
            self.overflowing.push(session);
        }
    }
}
