//! What will happen when: the queue of a schedule, in the order of virtual time.

use std::collections::BTreeMap;

use crate::dice::Micros;
use crate::executor::Step;
use crate::faults::Fault;
use crate::transfers::{Bulk, BulkAnswer};

/// One thing that happens.
#[derive(Debug)]
pub(crate) enum ScheduledEvent {
    /// The next message of a control stream reaches the coordinator.
    StreamUp(u64),
    /// The next message of a control stream reaches its worker.
    StreamDown(u64),
    /// A transfer's request reaches the coordinator.
    BulkUp(Bulk),
    /// The coordinator's answer to a transfer reaches the worker (number and start of its process).
    BulkDown(usize, u64, BulkAnswer),
    /// A worker's process starts, or tries to connect again: number, start of the process.
    Connect(usize, u64),
    /// A worker's heartbeat is due: number and stream.
    Beat(usize, u64),
    /// The executor has done a step: number, start of the process, count of the step.
    Executed(usize, u64, u64, Box<Step>),
    /// The coordinator's clock ticks, in that incarnation.
    Tick(u64),
    /// The database has done its next task.
    Database(u64),
    /// The file thread has done its next task.
    Files(u64),
    /// An effect is told to the core.
    Effect(u64, Box<lookbehind_coordinator::state::event::Event>),
    /// A stopped coordinator starts.
    Start,
    /// A graceful end has taken long enough.
    GraceOver(u64),
    /// A fault.
    Fault(Fault),
    /// Users look after their jobs.
    Users,
    /// A worker that was ended starts again.
    Revive(usize),
    /// The faults end and everything is repaired.
    Heal,
    /// By now every job must be over.
    Deadline,
}

/// Who must be running for something to happen.
pub(crate) enum Place {
    /// The coordinator.
    Coordinator,
    /// A worker.
    Worker(usize),
    /// Nobody in particular.
    Elsewhere,
}

impl ScheduledEvent {
    /// Where it happens.
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

/// The queue.
#[derive(Default)]
pub(crate) struct Agenda {
    queue: BTreeMap<(Micros, u64), ScheduledEvent>,
    added: u64,
}

impl Agenda {
    /// Lets something happen at a time; what is added first happens first.
    pub(crate) fn add(&mut self, at: Micros, event: ScheduledEvent) {
        self.added += 1;
        self.queue.insert((at, self.added), event);
    }

    /// What happens next.
    pub(crate) fn next(&mut self) -> Option<(Micros, ScheduledEvent)> {
        let ((at, _), event) = self.queue.pop_first()?;
        Some((at, event))
    }
}
