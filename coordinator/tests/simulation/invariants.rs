//! The invariants that hold in every schedule, one file each.

mod acknowledged;
mod digest;
mod fencing;
mod memory;
mod once;
mod progress;
mod samples;
mod silence;
mod terminal;

use lookbehind_common::ids::JobId;

/// The first violation that an invariant has found.
#[derive(Debug, Default)]
pub(crate) struct Broken(Option<String>);

impl Broken {
    fn note(&mut self, what: String) {
        self.0.get_or_insert(what);
    }

    fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.note(what());
        }
    }
}

/// All invariants.
#[derive(Default)]
pub(crate) struct Invariants {
    pub(crate) acknowledged: acknowledged::Acknowledged,
    pub(crate) digest: digest::Digests,
    pub(crate) fencing: fencing::Fencing,
    pub(crate) memory: memory::Memory,
    pub(crate) once: once::Once,
    pub(crate) progress: progress::Progress,
    pub(crate) samples: samples::Samples,
    pub(crate) silence: silence::Silence,
    pub(crate) terminal: terminal::Terminal,
    /// The first violation of any of them.
    pub(crate) violation: Option<String>,
}

impl Invariants {
    /// An owner has added blocks of a job wrongly and hides it: that is found in some gradient, not in each. Until then the
    /// weights may be wrong, and the job may fail.
    pub(crate) fn deceived(&mut self, job: &JobId) {
        self.digest.deceived(job);
        self.samples.deceived(job);
        self.terminal.deceived(job);
    }

    /// Reports something that must never happen.
    pub(crate) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Collects the violations found so far.
    pub(crate) fn collect(&mut self) {
        let all = [
            ("acknowledged", &mut self.acknowledged.broken),
            ("digest", &mut self.digest.broken),
            ("fencing", &mut self.fencing.broken),
            ("memory", &mut self.memory.broken),
            ("once", &mut self.once.broken),
            ("progress", &mut self.progress.broken),
            ("samples", &mut self.samples.broken),
            ("silence", &mut self.silence.broken),
            ("terminal", &mut self.terminal.broken),
        ];
        for (name, broken) in all {
            if let Some(what) = broken.0.take() {
                self.violation.get_or_insert(format!("{name}: {what}"));
            }
        }
    }
}
