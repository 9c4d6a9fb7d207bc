//! Control streams: messages arrive in order and with delay, and wait while the network is cut; either end may close.

use std::collections::VecDeque;

use lookbehind_common::ids::{FencingToken, SessionId, SessionSecret};
use lookbehind_coordinator::state::command::WorkerCommand;
use lookbehind_coordinator::state::event::{Event, LossCause, Origin, Registration, WorkerMessage};

use crate::agenda::ScheduledEvent;
use crate::dice::{Micros, millis};
use crate::process::Caller;
use crate::world::World;

/// A message from worker to coordinator.
#[derive(Debug)]
pub(crate) enum Up {
    Register(Registration),
    Message(FencingToken, WorkerMessage),
    Closed,
}

/// A message from coordinator to worker.
#[derive(Debug)]
pub(crate) enum Down {
    Registered(FencingToken),
    Refused,
    Message(WorkerCommand),
    Closed,
}

/// One control stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) worker: usize,
    /// Incarnation of the coordinator that it was opened to.
    pub(crate) incarnation: u64,
    pub(crate) session: Option<SessionId>,
    pub(crate) up: VecDeque<Up>,
    pub(crate) down: VecDeque<Down>,
    /// When the coordinator last received a message on it.
    pub(crate) heard: Micros,
    up_closed: bool,
    down_closed: bool,
    /// When the last message of each direction arrives: later ones never arrive earlier.
    last_up: Micros,
    last_down: Micros,
}

impl World {
    /// Opens a stream to the running coordinator.
    pub(crate) fn open_stream(&mut self, worker: usize) -> u64 {
        self.streams_made += 1;
        let stream = Stream {
            worker,
            incarnation: self.incarnation,
            session: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            heard: self.now,
            up_closed: false,
            down_closed: false,
            last_up: self.now,
            last_down: self.now,
        };
        self.streams.insert(self.streams_made, stream);
        self.streams_made
    }

    fn control_delay(&mut self) -> Micros {
        let longest = if self.dice.percent(3) { millis(200) } else { millis(2) };
        self.dice.between(50, longest)
    }

    pub(crate) fn send_stream_up(&mut self, id: u64, message: Up) {
        let delay = self.control_delay();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.up_closed {
            return;
        }
        stream.up_closed = matches!(message, Up::Closed);
        stream.up.push_back(message);
        stream.last_up = stream.last_up.max(self.now + delay);
        self.agenda.add(stream.last_up, ScheduledEvent::StreamUp(id));
    }

    pub(crate) fn send_stream_down(&mut self, id: u64, message: Down) {
        let delay = self.control_delay();
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.down_closed {
            return;
        }
        stream.down_closed = matches!(message, Down::Closed);
        stream.down.push_back(message);
        stream.last_down = stream.last_down.max(self.now + delay);
        self.agenda.add(stream.last_down, ScheduledEvent::StreamDown(id));
    }

    /// The worker closes its end.
    pub(crate) fn close_up(&mut self, id: u64) {
        self.send_stream_up(id, Up::Closed);
    }

    /// The coordinator closes its end.
    pub(crate) fn close_down(&mut self, id: u64) {
        self.send_stream_down(id, Down::Closed);
    }

    /// Delivers a message to the coordinator, or delays it while the network is cut or the coordinator is frozen.
    pub(crate) fn stream_up(&mut self, id: u64) {
        let Some(stream) = self.streams.get(&id) else { return };
        let blocked = self.workers[stream.worker].up_cut_until.max(self.frozen_until);
        if blocked > self.now {
            return self.agenda.add(blocked, ScheduledEvent::StreamUp(id));
        }
        let (running, session) = (self.is_running(stream.incarnation), stream.session);
        let identity = identity_of(stream.worker);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.heard = self.now;
        let Some(message) = stream.up.pop_front() else { return };
        match (message, session) {
            _ if !running => {}
            (Up::Register(registration), _) => {
                // Different for each stream, and never what a forged message says.
                let secret = SessionSecret::from_entropy(u128::from(id) + 1000);
                let register = |reply_to| Event::Register { reply_to, registration, identity, secret };
                self.ask(Caller::Register(id), register);
            }
            (Up::Message(fencing_token, message), Some(_)) => {
                self.feed(Event::Worker(Origin { fencing_token, identity }, message))
            }
            (Up::Closed, Some(session)) => self.feed(Event::WorkerLost(session, LossCause::StreamClosed)),
            _ => {}
        }
    }

    /// Delivers a message to its worker, or delays it while the network is cut or the worker is frozen.
    pub(crate) fn stream_down(&mut self, id: u64) {
        let Some(stream) = self.streams.get(&id) else { return };
        let worker = &self.workers[stream.worker];
        let blocked = worker.down_cut_until.max(worker.frozen_until);
        if blocked > self.now {
            return self.agenda.add(blocked, ScheduledEvent::StreamDown(id));
        }
        let number = stream.worker;
        let listens = worker.session.as_ref().is_some_and(|session| session.stream == id);
        let Some(message) = self.streams.get_mut(&id).and_then(|stream| stream.down.pop_front()) else {
            return;
        };
        if listens {
            self.worker_takes(number, message);
        }
    }
}

/// The identity in the credentials of a worker. Some workers share one.
pub(crate) fn identity_of(worker: usize) -> Option<std::sync::Arc<str>> {
    Some(format!("machine-{}", worker / 2).into())
}
