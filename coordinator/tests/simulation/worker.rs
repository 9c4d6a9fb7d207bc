//! A model of a worker's session: it registers, sends heartbeats, notices silence, and reconnects.

use std::collections::BTreeMap;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::ids::FencingToken;
use lookbehind_coordinator::state::command::WorkerCommand;
use lookbehind_coordinator::state::event::{
    BlocksHeader, PartialHeader, PeerEndpoint, Registration, WorkerMessage,
};
use lookbehind_proto::PROTOCOL_VERSION;

use crate::agenda::ScheduledEvent;
use crate::dice::{Dice, Micros, millis, seconds};
use crate::executor::{Context, Executor, Task};
use crate::lies::Lie;
use crate::peers::Round;
use crate::streams::{Down, Up};
use crate::transfers::{Bulk, What};
use crate::weights::Gathering;
use crate::world::{DETECTION, World};

const FIRST_WAIT: Micros = millis(100);
const LONGEST_WAIT: Micros = seconds(2);
/// Timeout of a registration.
const REGISTRATION: Micros = seconds(10);

/// One session of a worker.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stream: u64,
    /// `None` until the coordinator has registered the worker.
    pub(crate) fencing_token: Option<FencingToken>,
    heard: Micros,
}

/// A worker and its current faults.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) alive: bool,
    /// Counts the starts of its process.
    pub(crate) start: u64,
    pub(crate) session: Option<Session>,
    pub(crate) executor: Executor,
    pub(crate) transfers: BTreeMap<u64, Bulk>,
    /// The exchange with other workers that it takes part in.
    pub(crate) round: Option<Round>,
    /// Weights that it gets by ranges.
    pub(crate) gathering: Option<Gathering>,
    /// Whether it takes connections from other workers.
    listens: bool,
    /// Time that it needs for a shard.
    pub(crate) shard_time: Micros,
    pub(crate) draining: bool,
    pub(crate) progress: u64,
    /// `None` for an honest worker.
    pub(crate) lie: Option<Lie>,
    wait: Micros,
    pub(crate) frozen_until: Micros,
    pub(crate) stuck_until: Micros,
    pub(crate) slow_until: Micros,
    pub(crate) up_cut_until: Micros,
    pub(crate) down_cut_until: Micros,
    pub(crate) bulk_slow_until: Micros,
    pub(crate) bulk_lossy_until: Micros,
}

impl World {
    /// Adds a new worker and starts it.
    pub(crate) fn add_worker(&mut self) {
        let shard_time = self.dice.between(millis(2), self.slowest_shard);
        // From dice of its own, so that the rest of the schedule does not depend on it.
        let listens = !Dice::new(self.seed, 100 + self.workers.len() as u32).percent(10);
        self.workers.push(Worker {
            alive: false,
            start: 0,
            session: None,
            executor: Executor::default(),
            transfers: BTreeMap::new(),
            round: None,
            gathering: None,
            listens,
            shard_time,
            draining: false,
            progress: 0,
            lie: None,
            wait: FIRST_WAIT,
            frozen_until: 0,
            stuck_until: 0,
            slow_until: 0,
            up_cut_until: 0,
            down_cut_until: 0,
            bulk_slow_until: 0,
            bulk_lossy_until: 0,
        });
        self.start_worker(self.workers.len() - 1);
    }

    /// Starts a worker's process if it does not run.
    pub(crate) fn start_worker(&mut self, number: usize) {
        let delay = self.dice.between(1, millis(300));
        let worker = &mut self.workers[number];
        if worker.alive {
            return;
        }
        worker.alive = true;
        worker.draining = false;
        worker.start += 1;
        worker.wait = FIRST_WAIT;
        worker.frozen_until = 0;
        worker.stuck_until = 0;
        let start = worker.start;
        self.agenda.add(self.now + delay, ScheduledEvent::Connect(number, start));
    }

    /// Ends a worker's process: its state is lost, but what it has sent still arrives.
    pub(crate) fn kill_worker(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.alive = false;
        worker.executor = Executor::default();
        worker.transfers.clear();
        worker.round = None;
        worker.gathering = None;
        if let Some(session) = worker.session.take() {
            self.close_up(session.stream);
        }
    }

    pub(crate) fn connect(&mut self, number: usize, start: u64) {
        let worker = &self.workers[number];
        if !worker.alive || worker.start != start || worker.session.is_some() || worker.draining {
            return;
        }
        if self.process.is_none() {
            return self.connect_later(number);
        }
        let stream = self.open_stream(number);
        self.workers[number].session = Some(Session { stream, fencing_token: None, heard: self.now });
        let registration = Registration {
            protocol: PROTOCOL_VERSION,
            version: BUILD_VERSION.into(),
            name: format!("worker {number}"),
            device: "simulated".into(),
            endpoint: self.workers[number].listens.then(|| PeerEndpoint {
                address: format!("worker-{number}:1"),
                fingerprint: Some([number as u8; 32]),
                socket: None,
            }),
            // One of them is on the coordinator's host.
            beside_coordinator: number == 0,
        };
        self.send_stream_up(stream, Up::Register(registration));
        self.agenda.add(self.now + DETECTION / 4, ScheduledEvent::Beat(number, stream));
    }

    fn connect_later(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        let (wait, start) = (worker.wait, worker.start);
        worker.wait = (wait * 2).min(LONGEST_WAIT);
        self.agenda.add(self.now + wait, ScheduledEvent::Connect(number, start));
    }

    /// Sends a heartbeat, or gives up the session if the coordinator is silent.
    pub(crate) fn beat(&mut self, number: usize, stream: u64) {
        let worker = &self.workers[number];
        let Some(session) = worker.session.as_ref().filter(|session| session.stream == stream) else {
            return;
        };
        let patience = if session.fencing_token.is_some() { DETECTION } else { REGISTRATION };
        if self.now - session.heard > patience {
            return self.lose_session(number);
        }
        let claimed = u64::from(worker.lie == Some(Lie::Progress));
        if let Some(fencing_token) = session.fencing_token.clone() {
            let message = WorkerMessage::Heartbeat(worker.progress + claimed);
            self.workers[number].progress += claimed;
            self.send_stream_up(stream, Up::Message(fencing_token, message));
        }
        self.agenda.add(self.now + DETECTION / 4, ScheduledEvent::Beat(number, stream));
    }

    /// Ends the session and begins another one after a while.
    pub(crate) fn lose_session(&mut self, number: usize) {
        let Some(session) = self.workers[number].session.take() else { return };
        self.workers[number].round = None;
        self.close_up(session.stream);
        if self.workers[number].draining {
            return self.kill_worker(number);
        }
        self.connect_later(number);
    }

    /// Reports a transfer that was given up, if its session is still the current one.
    pub(crate) fn report_failure(&mut self, number: usize, bulk: &Bulk) {
        let worker = &self.workers[number];
        let (job, request) = match (&bulk.what, &worker.executor.current) {
            (What::Offer(upload) | What::Partial(upload), _) => {
                let PartialHeader { request, segment, .. } = &upload.header;
                (request.job.clone(), Some((request.clone(), vec![*segment])))
            }
            (What::OfferBlocks(upload) | What::Blocks(upload), _) => {
                let BlocksHeader { request, segment, .. } = &upload.header;
                (request.job.clone(), Some((request.clone(), vec![*segment])))
            }
            (What::OfferState(job, _) | What::State(job, _), _) => (job.clone(), None),
            (What::Weights(job, _) | What::WeightBlocks(job, ..), Some(Task::Compute(_, _, assignment))) => {
                (job.clone(), Some((assignment.request.clone(), assignment.segments.clone())))
            }
            (What::Weights(..) | What::WeightBlocks(..), _) => return,
        };
        let session = worker.session.as_ref();
        let session = session.filter(|session| session.fencing_token.as_ref() == Some(&bulk.fencing_token));
        if let Some(stream) = session.map(|session| session.stream) {
            let message = WorkerMessage::TransferFailed { job, request, reason: "no answer in time".into() };
            self.send_stream_up(stream, Up::Message(bulk.fencing_token.clone(), message));
            self.deliver_again(number, bulk);
        }
    }

    /// A worker is asked to end: it announces that it leaves and takes no more tasks.
    pub(crate) fn drain_worker(&mut self, number: usize) {
        let worker = &mut self.workers[number];
        worker.draining = true;
        worker.executor.stop();
        match worker
            .session
            .as_ref()
            .and_then(|session| Some((session.stream, session.fencing_token.clone()?)))
        {
            Some((stream, fencing_token)) => {
                self.send_stream_up(stream, Up::Message(fencing_token, WorkerMessage::Draining));
                self.close_up(stream);
            }
            None => self.kill_worker(number),
        }
    }

    /// Handles a message in the current session.
    pub(crate) fn worker_takes(&mut self, number: usize, message: Down) {
        let now = self.now;
        let worker = &mut self.workers[number];
        let Some(session) = worker.session.as_mut() else { return };
        session.heard = now;
        let message = match message {
            Down::Registered(fencing_token) => {
                worker.wait = FIRST_WAIT;
                session.fencing_token = Some(fencing_token);
                return;
            }
            Down::Refused | Down::Closed => return self.lose_session(number),
            Down::Message(message) => message,
        };
        let Some(fencing_token) = session.fencing_token.clone() else {
            return self.invariants.fail(format!("worker {number} got {message:?} before it was registered"));
        };
        let context = Context { stream: session.stream, fencing_token };
        let task = match message {
            WorkerCommand::Heartbeat(_) => return,
            WorkerCommand::Refused(_) => return self.lose_session(number),
            _ if worker.draining => return,
            WorkerCommand::Prepare(job, spec) => Task::Prepare(context, job, spec),
            WorkerCommand::SendInitialState(job) => Task::SendInitialState(context, job),
            WorkerCommand::Assign(assignment) => {
                let count = worker.executor.count_assignment(&assignment.request);
                self.join_exchange(number, &context, &assignment);
                Task::Compute(context, count, assignment)
            }
            WorkerCommand::Exchange(plan) => return self.change_exchange(number, plan),
            WorkerCommand::Audit(question) => return self.answer_audit(number, &context, question),
            WorkerCommand::Release(job) => {
                worker.executor.stop();
                worker.round = None;
                Task::Release(job)
            }
        };
        self.give_task(number, task);
    }

    /// Sends a message in a session, if it is still the current one.
    pub(crate) fn say(&mut self, number: usize, context: &Context, message: WorkerMessage) {
        let session = self.workers[number].session.as_ref();
        if session.is_some_and(|session| session.stream == context.stream) {
            self.send_stream_up(context.stream, Up::Message(context.fencing_token.clone(), message));
        }
    }
}
