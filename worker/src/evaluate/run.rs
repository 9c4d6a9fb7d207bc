//! Computes the units of several models on the threads of this process. Which thread computes which unit does not matter.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use lookbehind_common::evaluate::{Plan, Record};
use lookbehind_common::flat_buffer::FlatBuffer;
use lookbehind_common::model_state::ModelState;

use super::units::{Orders, Units};
use super::{Evaluation, failed};
use crate::compute::{ComputeError, PrepareError};
use crate::parameters::check_lengths;

/// Records that are known already, by the numbers of model and unit.
pub type Known = HashMap<(usize, usize), Record>;

/// What a thread has to say about a unit.
type Told = (usize, Result<Record, ComputeError>);

impl Evaluation {
    /// The records of all units of all models, in the order of models and units. Those that are known are not computed
    /// again; each new one is passed to `each` as soon as it is there, with the numbers of model and unit.
    ///
    /// # Errors
    /// If weights do not have the layout's lengths; the error of the first unit that fails, or that of `each`. No further
    /// unit is begun then.
    pub fn run<E: From<PrepareError>>(
        &self,
        plan: &Plan,
        models: &[ModelState<FlatBuffer>],
        mut known: Known,
        threads: usize,
        mut each: impl FnMut(usize, usize, &Record) -> Result<(), E>,
    ) -> Result<Vec<Vec<Record>>, E> {
        models.iter().try_for_each(|weights| self.check(weights))?;
        let units = plan.units.len();
        let places = (0..models.len()).flat_map(|model| (0..units).map(move |unit| (model, unit)));
        let wanted: Vec<(usize, usize)> = places.filter(|place| !known.contains_key(place)).collect();
        let samples = Orders::of(plan);
        let at_once = threads.min(wanted.len()).max(1);
        let teams: Vec<Units<'_>> = (0..at_once)
            .map(|_| {
                let measuring = self.measuring((threads / at_once).max(1))?;
                Ok(Units { plan, samples: &samples, measuring })
            })
            .collect::<Result<_, PrepareError>>()?;
        let queue =
            Queue { models, wanted: &wanted, next: AtomicUsize::new(0), ended: AtomicBool::new(false) };
        let mut failure: Option<(usize, E)> = None;
        std::thread::scope(|scope| {
            let (tell, told) = channel();
            for team in teams {
                let (queue, tell) = (&queue, tell.clone());
                scope.spawn(move || queue.work(&team, &tell));
            }
            drop(tell);
            for (number, record) in told {
                let (model, unit) = wanted[number];
                let taken = record.map_err(|error| E::from(failed(error)));
                let taken = taken.and_then(|record| each(model, unit, &record).map(|()| record));
                match taken {
                    Ok(record) => drop(known.insert((model, unit), record)),
                    Err(error) => {
                        queue.ended.store(true, Ordering::Relaxed);
                        // Of several, the first in the order of the units, whichever thread met its own first.
                        if failure.as_ref().is_none_or(|(first, _)| number < *first) {
                            failure = Some((number, error));
                        }
                    }
                }
            }
        });
        if let Some((_, error)) = failure {
            return Err(error);
        }
        let record = |model, unit| {
            let missing = || ComputeError::Internal(format!("no record of unit {unit} of model {model}"));
            known.remove(&(model, unit)).ok_or_else(|| E::from(failed(missing())))
        };
        collect(models.len(), units, record)
    }
}

impl Evaluation {
    fn check(&self, weights: &ModelState<FlatBuffer>) -> Result<(), PrepareError> {
        check_lengths(&self.layout, weights.values()).map_err(|source| {
            let kind = self.spec.model.kind.clone();
            failed(ComputeError::State { kind, source: Box::new(source) })
        })
    }
}

fn collect<E>(
    models: usize,
    units: usize,
    mut record: impl FnMut(usize, usize) -> Result<Record, E>,
) -> Result<Vec<Vec<Record>>, E> {
    (0..models).map(|model| (0..units).map(|unit| record(model, unit)).collect()).collect()
}

/// The units that are to be computed.
struct Queue<'a> {
    models: &'a [ModelState<FlatBuffer>],
    wanted: &'a [(usize, usize)],
    next: AtomicUsize,
    ended: AtomicBool,
}

impl Queue<'_> {
    /// Computes one unit after the other until none is left.
    fn work(&self, team: &Units<'_>, tell: &Sender<Told>) {
        while !self.ended.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&(model, unit)) = self.wanted.get(number) else { return };
            let record = team.record(&team.plan.units[unit], &self.models[model]);
            if tell.send((number, record)).is_err() {
                return;
            }
        }
    }
}
