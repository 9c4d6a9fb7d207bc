//! The event queue of a schedule, in the order of virtual time.

use std::collections::BTreeMap;

use lookbehind_common::blocks::BlockRange;
use lookbehind_common::ids::Ticket;

use crate::dice::Micros;
use crate::executor::Step;
use crate::faults::Fault;
use crate::fetches::Fetch;
use crate::transfers::{Bulk, BulkAnswer};
use crate::weights::WeightsFetch;

/// An event of the simulation. Numbers of incarnations, process starts and streams let it recognise that what it
/// belongs to has ended.
#[derive(Debug)]
pub(crate) enum ScheduledEvent {
    /// The next message of a control stream reaches the coordinator.
    StreamUp(u64),
    /// The next message of a control stream reaches its worker.
    StreamDown(u64),
    /// The request of a transfer reaches the coordinator.
    BulkUp(Bulk),
    /// The answer to a transfer, or its timeout, reaches the worker: number of the worker, start of its process.
    BulkDown(usize, u64, BulkAnswer),
    /// A fetch of one worker from another arrives, or its answer.
    Fetch(Box<Fetch>),
    /// A fetch of a range of the weights arrives at its owner, or its answer.
    Weights(Box<WeightsFetch>),
    /// An owner has had the time to pass on a range: number of the worker that asked, start of its process.
    WeightsLate(usize, u64, Ticket, BlockRange),
    /// A worker connects: number of the worker, start of its process.
    Connect(usize, u64),
    /// A worker's heartbeat is due: number of the worker, stream.
    Beat(usize, u64),
    /// The executor has finished a step: number of the worker, start of its process, number of the step.
    Executed(usize, u64, u64, Box<Step>),
    /// The coordinator's clock ticks, in this incarnation.
    Tick(u64),
    /// The database thread has finished its next task, in this incarnation.
    Database(u64),
    /// The file thread has finished its next task, in this incarnation.
    Files(u64),
    /// The result of a command reaches the core, in this incarnation.
    Effect(u64, Box<lookbehind_coordinator::state::event::Event>),
    /// The coordinator starts, if it does not run.
    Start,
    /// The grace period of a shutdown ends, in this incarnation.
    GraceOver(u64),
    /// A fault occurs.
    Fault(Fault),
    /// Users check their jobs.
    Users,
    /// A worker whose process has ended starts again.
    Revive(usize),
    /// The phase of faults ends, and everything is repaired.
    Heal,
    /// By now every job must be in a terminal state.
    Deadline,
}

/// The process in which an event happens: while it is frozen, the event waits.
pub(crate) enum Place {
    Coordinator,
    /// The worker with this number.
    Worker(usize),
    /// In no process, or the event checks for itself.
    Elsewhere,
}

impl ScheduledEvent {
    /// The process in which the event happens.
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::BulkUp(_) | Self::Tick(_) | Self::Effect(..) | Self::Database(_) | Self::Files(_) => {
                Place::Coordinator
            }
            Self::BulkDown(worker, ..)
            | Self::Connect(worker, _)
            | Self::Beat(worker, _)
            | Self::Executed(worker, ..) => Place::Worker(*worker),
            _ => Place::Elsewhere,
        }
    }
}

/// The event queue.
#[derive(Default)]
pub(crate) struct Agenda {
    queue: BTreeMap<(Micros, u64), ScheduledEvent>,
    added: u64,
}

impl Agenda {
    /// Adds an event. Events at the same time happen in the order in which they were added, so that a schedule is
    /// deterministic.
    pub(crate) fn add(&mut self, at: Micros, event: ScheduledEvent) {
        self.added += 1;
        self.queue.insert((at, self.added), event);
    }

    /// Takes the next event.
    pub(crate) fn next(&mut self) -> Option<(Micros, ScheduledEvent)> {
        let ((at, _), event) = self.queue.pop_first()?;
        Some((at, event))
    }
}
