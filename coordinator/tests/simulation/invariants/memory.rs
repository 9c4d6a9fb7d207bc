//! Nothing piles up: messages for a worker, tasks of a worker, what waits for the disk.

use std::collections::BTreeMap;

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::command::Command;
use lookbehind_coordinator::state::event::Activation;

use super::Broken;
use crate::process::OUTBOX;

/// Tasks that may wait in a worker.
const TASKS: usize = 64;
/// Checkpoints of one activation of a job that may wait for the disk: a periodic one and the one that ends it.
const CHECKPOINTS: u64 = 2;

/// Counts what waits.
#[derive(Default)]
pub(crate) struct Memory {
    checkpoints: BTreeMap<(JobId, Activation), u64>,
    pub(crate) broken: Broken,
}

impl Memory {
    /// Another process begins with nothing.
    pub(crate) fn started(&mut self) {
        self.checkpoints.clear();
    }

    /// The core wants something done.
    pub(crate) fn commands(&mut self, commands: &[Command]) {
        for command in commands {
            let Command::Checkpoint { job, activation, .. } = command else { continue };
            let waiting = self.checkpoints.entry((job.clone(), *activation)).or_default();
            *waiting += 1;
            let waiting = *waiting;
            self.broken.check(waiting <= CHECKPOINTS, || {
                format!("job {job}: {waiting} checkpoints wait for the disk, {CHECKPOINTS} may")
            });
        }
    }

    /// The disk has taken a checkpoint.
    pub(crate) fn written(&mut self, job: &JobId, activation: Activation) {
        if let Some(waiting) = self.checkpoints.get_mut(&(job.clone(), activation)) {
            *waiting -= 1;
        }
    }

    /// So many messages wait for a worker.
    pub(crate) fn outbox(&mut self, waiting: usize) {
        self.broken.check(waiting <= OUTBOX, || format!("{waiting} messages wait for a worker"));
    }

    /// So many tasks wait in a worker.
    pub(crate) fn tasks(&mut self, waiting: usize) {
        self.broken.check(waiting <= TASKS, || format!("{waiting} tasks wait in a worker, {TASKS} may"));
    }
}
