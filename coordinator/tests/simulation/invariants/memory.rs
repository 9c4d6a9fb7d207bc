//! Queues stay bounded: commands to a worker, tasks in a worker, checkpoints that wait for the disk.

use std::collections::BTreeMap;

use lookbehind_common::ids::JobId;
use lookbehind_coordinator::state::command::Command;
use lookbehind_coordinator::state::event::Activation;

use super::Broken;
use crate::process::OUTBOX;

/// Maximum number of tasks that wait in a worker.
const TASKS: usize = 64;
/// Maximum number of checkpoints of one activation that wait for the disk: a periodic one and the last one.
const CHECKPOINTS: u64 = 2;

/// Counts what waits in queues.
#[derive(Default)]
pub(crate) struct Memory {
    checkpoints: BTreeMap<(JobId, Activation), u64>,
    pub(crate) broken: Broken,
}

impl Memory {
    /// A new process begins with empty queues.
    pub(crate) fn started(&mut self) {
        self.checkpoints.clear();
    }

    /// The core has emitted commands.
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

    /// A checkpoint no longer waits for the disk.
    pub(crate) fn written(&mut self, job: &JobId, activation: Activation) {
        if let Some(waiting) = self.checkpoints.get_mut(&(job.clone(), activation)) {
            *waiting -= 1;
        }
    }

    /// Checks the number of commands that wait for a worker.
    pub(crate) fn outbox(&mut self, waiting: usize) {
        self.broken.check(waiting <= OUTBOX, || format!("{waiting} messages wait for a worker"));
    }

    /// Checks the number of tasks that wait in a worker.
    pub(crate) fn tasks(&mut self, waiting: usize) {
        self.broken.check(waiting <= TASKS, || format!("{waiting} tasks wait in a worker, {TASKS} may"));
    }
}
