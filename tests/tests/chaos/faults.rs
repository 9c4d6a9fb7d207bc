//! What can happen to processes.

use lookbehind_common::random::Stream;

/// Number of a worker's place: whoever is started in it takes a new name.
pub(crate) type Place = usize;

/// Whether there is a worker in a place, and how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It runs.
    Well,
    /// SIGSTOP holds it.
    Frozen,
    /// It was killed, or has ended.
    Gone,
}

/// One thing that happens.
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
    /// Another worker in the place of one that is gone.
    StartWorker(Place),
    /// SIGKILL to the coordinator, which is started again.
    KillCoordinator,
    /// SIGKILL to the coordinator and a worker; the coordinator is started again.
    KillBoth(Place),
    /// SIGTERM to the coordinator, which is started again.
    DismissCoordinator,
    /// SIGSTOP and SIGCONT to the coordinator, so soon that nobody notices.
    PauseCoordinator,
    /// SIGSTOP to the coordinator, and SIGCONT when a worker has given it up.
    FreezeCoordinator,
}

impl Fault {
    /// Draws one of those that can happen and leave a worker that runs.
    pub(crate) fn draw(dice: &mut Stream, workers: &[Health]) -> Self {
        let mut possible = vec![
            Self::KillCoordinator,
            Self::DismissCoordinator,
            Self::PauseCoordinator,
            Self::FreezeCoordinator,
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
                // A frozen worker may die as well.
                Health::Frozen => possible.extend([Self::ThawWorker(place), Self::KillWorker(place)]),
                Health::Gone => possible.extend([Self::StartWorker(place); 2]),
            }
        }
        possible[dice.below(possible.len() as u64) as usize]
    }
}
