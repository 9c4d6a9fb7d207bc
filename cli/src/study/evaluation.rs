//! What a study evaluates of a trained model, on the CPU of this machine.

use std::sync::Arc;

use lookbehind_common::evaluate::{Plan, Request, summarise};
use lookbehind_common::job::JobSpec;
use lookbehind_common::model_file;
use lookbehind_worker::compute::CandleBackend;
use lookbehind_worker::evaluate::{Evaluation, Known};

use super::ledger::Measured;
use crate::error::CliError;
use crate::evaluate::check;

/// Evaluates the models of a study.
pub struct Evaluating {
    /// Loads the data and computes.
    pub backend: Arc<CandleBackend>,
    /// What is evaluated. Its seed keys the draws of all models: they are the same for each.
    pub request: Request,
    /// Threads for each model; no result depends on them.
    pub threads: usize,
}

impl Evaluating {
    /// The results of a job's model, which is given as a model file.
    ///
    /// # Errors
    /// If data, model or request do not fit together.
    pub fn evaluate(&self, spec: &JobSpec, model: &[u8]) -> Result<Vec<Measured>, CliError> {
        let loaded = Evaluation::load(Arc::clone(&self.backend), spec)?;
        check(&self.request, &loaded)?;
        let plan = Plan::new(self.request.clone(), loaded.sizes(self.request.split));
        let mut weights = model_file::read(model, loaded.layout())
            .map_err(|error| CliError::Usage(format!("{}: {error}", spec.name)))?;
        if plan.request.recalibrate {
            weights = loaded.recalibrated(&plan, weights, self.threads)?;
        }
        let records =
            loaded.run(&plan, &[weights], Known::new(), self.threads, |_, _, _| Ok::<(), CliError>(()))?;
        let named: Vec<_> = records.into_iter().map(|records| (spec.name.clone(), records)).collect();
        let measured = summarise(&plan, &named, None).into_iter().map(|row| Measured {
            measure: row.measure,
            at: row.at,
            quantity: row.quantity,
            value: Some(row.spread.mean).filter(|mean| mean.is_finite()),
        });
        Ok(measured.collect())
    }
}
