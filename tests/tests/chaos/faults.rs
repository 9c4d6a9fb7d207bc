//! Faults that can happen to processes.

use lookbehind_common::random::Stream;

/// Number of a worker's place. A worker that is started in it gets a new name.
pub(crate) type Place = usize;

/// State of the worker in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Well,
    /// It is stopped by SIGSTOP.
    Frozen,
    /// It was killed, or has ended.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL to a worker.
    KillWorker(Place),
    /// SIGTERM to a worker.
    DismissWorker(Place),
    /// SIGSTOP to a worker.
    FreezeWorker(Place),
    /// SIGCONT to a worker.
    ThawWorker(Place),
    /// Start of another worker in the place of one that is gone.
    StartWorker(Place),
    /// SIGKILL to the coordinator, which is started again.
    KillCoordinator,
    /// SIGKILL to the coordinator and a worker; the coordinator is started again.
    KillBoth(Place),
    /// SIGTERM to the coordinator, which is started again.
    DismissCoordinator,
    /// SIGSTOP and SIGCONT to the coordinator, in such quick succession that no worker notices.
    PauseCoordinator,
    /// SIGSTOP to the coordinator, and SIGCONT when a worker has considered it lost.
    FreezeCoordinator,
    /// The coordinator's disk is full until the coordinator has noticed it.
    FillDisk,
    /// SIGKILL to the coordinator while its disk is full; it is started again when there is room.
    KillOnFullDisk,
    /// Coordinator, workers and users get new certificates.
    RenewCertificates,
}

impl Fault {
    /// Draws one of the faults that are possible now and leave at least one running worker.
    pub(crate) fn draw(dice: &mut Stream, workers: &[Health]) -> Self {
        let mut possible = vec![
            Self::KillCoordinator,
            Self::DismissCoordinator,
            Self::PauseCoordinator,
            Self::FreezeCoordinator,
            Self::FillDisk,
            Self::KillOnFullDisk,
            Self::RenewCertificates,
        ];
        let spare = workers.iter().filter(|health| **health == Health::Well).count() > 1;
        for (place, health) in workers.iter().enumerate() {
            match health {
                Health::Well if spare => possible.extend([
                    Self::KillWorker(place),
                    Self::DismissWorker(place),
                    Self::FreezeWorker(place),
                    Self::KillBoth(place),
                ]),
                Health::Well => {}
                // A frozen worker may also be killed.
                Health::Frozen => possible.extend([Self::ThawWorker(place), Self::KillWorker(place)]),
                Health::Gone => possible.extend([Self::StartWorker(place); 2]),
            }
        }
        possible[dice.below(possible.len() as u64) as usize]
    }
}
