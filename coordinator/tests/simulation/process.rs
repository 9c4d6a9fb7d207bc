//! The coordinator's process: the real core, and a model of the runtime that carries out its commands.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lookbehind_common::blocks::Blocks;
use lookbehind_common::ids::{JobId, SessionId};
use lookbehind_common::model_state::Weights;
use lookbehind_coordinator::state::command::{Command, WorkerCommand};
use lookbehind_coordinator::state::event::{Activation, Event, LossCause, Reply, ReplyTo};
use lookbehind_coordinator::state::{Core, Now, UnixMillis};
use lookbehind_coordinator::training::{Input, Trainer};

use crate::agenda::ScheduledEvent;
use crate::dice::{Micros, millis};
use crate::lies::LIE;
use crate::lies::Lie;
use crate::storage::{DatabaseTask, FileTask};
use crate::streams::Down;
use crate::transfers::Bulk;
use crate::world::{DETECTION, World};

/// Maximum number of commands that wait for a worker, as in the runtime.
pub(crate) const OUTBOX: usize = 256;

/// The sender of a call that waits for its answer.
#[derive(Debug)]
pub(crate) enum Caller {
    /// A user, with the index of the job in `World::requests`.
    User(usize),
    /// A worker that registers on this stream.
    Register(u64),
    /// A transfer of a worker.
    Bulk(Bulk),
    /// The sender of a stale message.
    Stale,
}

/// A running coordinator.
pub(crate) struct Process {
    pub(crate) core: Core,
    pub(crate) incarnation: u64,
    pub(crate) started: Micros,
    pub(crate) waiting: BTreeMap<u64, Caller>,
    /// The stream of each session.
    pub(crate) outboxes: BTreeMap<SessionId, u64>,
    pub(crate) published: BTreeMap<JobId, (u64, Weights)>,
    pub(crate) database: VecDeque<DatabaseTask>,
    pub(crate) files: VecDeque<FileTask>,
    asked: u64,
    overflowing: Vec<SessionId>,
}

impl World {
    /// Starts the coordinator with the contents of the disk.
    pub(crate) fn start_coordinator(&mut self) {
        if self.process.is_some() {
            return;
        }
        self.incarnation += 1;
        let stored = self.disk.stored();
        self.invariants.acknowledged.started(&self.disk);
        self.invariants.memory.started();
        self.invariants.fencing.started();
        self.invariants.samples.started();
        let now = Now { elapsed: Duration::ZERO, unix: UnixMillis(self.now / 1000) };
        let (core, commands) = Core::new(self.core_config(), stored, now);
        self.process = Some(Process {
            core,
            incarnation: self.incarnation,
            started: self.now,
            waiting: BTreeMap::new(),
            outboxes: BTreeMap::new(),
            published: BTreeMap::new(),
            database: VecDeque::new(),
            files: VecDeque::new(),
            asked: 0,
            overflowing: Vec::new(),
        });
        self.carry_out(commands);
        self.agenda.add(self.now, ScheduledEvent::Tick(self.incarnation));
    }

    /// Ends the process at once and starts it again after a while. What is not durable is lost.
    pub(crate) fn crash(&mut self, down: Micros) {
        if self.process.take().is_none() {
            return;
        }
        self.frozen_until = 0;
        self.agenda.add(self.now + down, ScheduledEvent::Start);
        self.calls_failed();
        let streams: Vec<u64> = self.streams.keys().copied().collect();
        for stream in streams {
            self.close_down(stream);
        }
    }

    pub(crate) fn tick(&mut self, incarnation: u64) {
        if self.is_running(incarnation) {
            self.feed(Event::Tick);
            let heard = self.process.iter().flat_map(|process| process.outboxes.iter());
            let heard = heard.filter_map(|(session, id)| Some((*session, self.streams.get(id)?.heard)));
            self.invariants.silence.ticked(self.now, heard);
            self.agenda.add(self.now + DETECTION / 8, ScheduledEvent::Tick(incarnation));
        }
    }

    /// Gives the core an event that has no answer.
    pub(crate) fn feed(&mut self, event: Event) {
        let Some(process) = self.process.as_mut() else { return };
        let elapsed = Duration::from_micros(self.now - process.started);
        let commands = process.core.handle(Now { elapsed, unix: UnixMillis(self.now / 1000) }, event);
        self.events += 1;
        self.carry_out(commands);
        while let Some(session) = self.process.as_mut().and_then(|process| process.overflowing.pop()) {
            self.feed(Event::WorkerLost(session, LossCause::OutboxFull));
        }
        self.invariants.collect();
    }

    /// Gives the core an event that has an answer.
    pub(crate) fn ask(&mut self, caller: Caller, make: impl FnOnce(ReplyTo) -> Event) {
        let Some(process) = self.process.as_mut() else { return };
        process.asked += 1;
        let reply_to = process.asked;
        process.waiting.insert(reply_to, caller);
        self.feed(make(ReplyTo(reply_to)));
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        self.invariants.memory.commands(&commands);
        self.invariants.fencing.commands(&commands);
        if self.trace {
            for command in &commands {
                let text: String = format!("{command:?}").chars().take(200).collect();
                if !text.contains("Heartbeat") {
                    println!("{:>12}     -> {text}", "");
                }
            }
        }
        for command in commands {
            match command {
                Command::Reply(reply_to, reply) | Command::Acknowledge(reply_to, reply) => {
                    self.reply(reply_to, reply)
                }
                Command::Send(session, message) => {
                    if let WorkerCommand::Audit(question) = &message {
                        self.invariants.samples.audited(&question.request.job, question.of.block);
                    }
                    self.send_down(session, message);
                }
                Command::Disconnect(session) => self.disconnect(session),
                Command::Persist(change) => {
                    // Where nobody else is there, nobody can know better.
                    if change.record.message.contains(LIE) && self.hears_liars_only() {
                        self.invariants.terminal.given_up(&change.record.id);
                    }
                    self.database_task(DatabaseTask::Put(change));
                }
                Command::Delete(job) => self.database_task(DatabaseTask::Delete(job)),
                Command::KeepUpload { .. } | Command::DropUpload(_) | Command::Adopt(..) => {
                    self.invariants.fail("no job starts from given weights in a simulation".into());
                }
                Command::Measure(_) => {
                    self.invariants.fail("the size of files counts for nothing in a simulation".into());
                }
                Command::Load { job, activation, start } => {
                    self.file_task(FileTask::Load(job, activation, start));
                }
                Command::Advance { job, activation, trainer, input, blocks } => {
                    self.advance((job, activation), trainer, input, blocks);
                }
                Command::Publish { job, version, weights, digests } => {
                    self.invariants.once.published(&job, version, &digests);
                    if let Some(process) = self.process.as_mut() {
                        process.published.insert(job, (version, weights));
                    }
                }
                Command::Unpublish(job) => {
                    if let Some(process) = self.process.as_mut() {
                        process.published.remove(&job);
                    }
                    self.file_task(FileTask::Close);
                }
                Command::Record { job, metrics, .. } => {
                    self.invariants.digest.recorded(
                        &self.expected,
                        &job,
                        metrics.outer_step,
                        &metrics.digest,
                    );
                    self.file_task(FileTask::Record);
                }
                Command::Checkpoint { job, activation, snapshot } => {
                    self.invariants.digest.snapshot(&self.expected, &snapshot);
                    self.file_task(FileTask::Checkpoint(job, activation, snapshot));
                }
                Command::Observe(_) => {}
                Command::Stopped => self.crash(millis(500)),
            }
        }
    }

    /// Whether no worker is registered that would not say that nobody can prepare a job.
    fn hears_liars_only(&self) -> bool {
        let outboxes = self.process.iter().flat_map(|process| process.outboxes.values());
        let streams = outboxes.filter_map(|stream| self.streams.get(stream));
        streams.into_iter().all(|stream| self.workers[stream.worker].lie == Some(Lie::Job))
    }

    fn advance(
        &mut self,
        (job, activation): (JobId, Activation),
        trainer: Box<Trainer>,
        input: Input,
        blocks: Option<Blocks>,
    ) {
        let Some(expected) = self.expected.get(&job).cloned() else { return };
        self.invariants.samples.advancing(&expected, &job, trainer.position().outer_step, &input);
        let advance = Box::new(trainer.advance(input, blocks));
        self.invariants.samples.advanced(&expected, &job, &advance);
        let longest = if self.dice.percent(5) { millis(300) } else { millis(3) };
        let took = self.dice.between(50, longest);
        let event = Box::new(Event::Advanced { job, activation, advance });
        self.agenda.add(self.now + took, ScheduledEvent::Effect(self.incarnation, event));
    }

    fn reply(&mut self, reply_to: ReplyTo, reply: Reply) {
        let Some(process) = self.process.as_mut() else { return };
        let Some(caller) = process.waiting.remove(&reply_to.0) else { return };
        match (caller, reply) {
            (Caller::User(request), Reply::Job(result)) => {
                self.database_task(DatabaseTask::Reply(request, result));
            }
            (Caller::User(request), Reply::Done(result)) => {
                self.database_task(DatabaseTask::Done(request, result));
            }
            (Caller::Register(stream), Reply::Registered(Ok(fencing_token))) => {
                process.outboxes.insert(fencing_token.session, stream);
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.session = Some(fencing_token.session);
                }
                self.send_stream_down(stream, Down::Registered(fencing_token));
            }
            (Caller::Register(stream), Reply::Registered(Err(_))) => {
                self.send_stream_down(stream, Down::Refused);
                self.close_down(stream);
            }
            (Caller::Bulk(bulk), reply) => self.answer_bulk(bulk, reply),
            (Caller::Stale, reply) => self.invariants.fencing.stale_answer(&reply),
            (caller, reply) => self.invariants.fail(format!("{caller:?} was answered with {reply:?}")),
        }
    }

    fn send_down(&mut self, session: SessionId, message: WorkerCommand) {
        let Some(process) = self.process.as_mut() else { return };
        let Some(&id) = process.outboxes.get(&session) else { return };
        let waiting = self.streams.get(&id).map_or(0, |stream| stream.down.len());
        self.invariants.memory.outbox(waiting);
        if waiting >= OUTBOX {
            process.outboxes.remove(&session);
            process.overflowing.push(session);
            return;
        }
        self.send_stream_down(id, Down::Message(message));
    }

    fn disconnect(&mut self, session: SessionId) {
        let Some(process) = self.process.as_mut() else { return };
        if let Some(stream) = process.outboxes.remove(&session) {
            self.close_down(stream);
        }
    }
}
