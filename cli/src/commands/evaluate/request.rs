//! From the command line to the request, and its check.

use lookbehind_common::evaluate::{Hessian, Noise, Request, Sharpness};
use lookbehind_common::job::{JobError, JobSpec};
use lookbehind_worker::evaluate::Evaluation as Loaded;

use crate::args::Evaluate;
use crate::error::CliError;

/// The radii that are taken if none are given, in addition to those of the job's method.
const RADII: [f64; 7] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// What the command line asks for, checked as far as possible without data.
///
/// # Errors
/// Names the option that is wrong.
pub(super) fn of(args: &Evaluate, spec: &JobSpec) -> Result<Request, CliError> {
    let noise = args.noise.iter().map(|(kind, levels)| Noise {
        kind: *kind,
        levels: if levels.is_empty() { kind.usual_levels() } else { levels.clone() },
        draws: args.draws,
        statistics: args.batch_statistics.clone(),
    });
    let radii = if args.radii.is_empty() { usual_radii(spec) } else { args.radii.clone() };
    let sharpness = (!args.sharpness.is_empty()).then(|| Sharpness {
        measures: args.sharpness.clone(),
        radii,
        samples: args.samples,
        batch: args.m,
        draws: args.sharpness_draws,
        steps: args.ascent_steps,
    });
    let hessian = args.hessian.then_some(Hessian {
        eigenvalues: args.eigenvalues,
        iterations: args.iterations,
        probes: args.probes,
        samples: args.samples,
    });
    let request = Request {
        seed: args.seed,
        split: args.split,
        noise: noise.collect(),
        sharpness,
        hessian,
        recalibrate: args.recalibrate,
        recalibration_batches: args.recalibration_batches,
    };
    // Before any data are loaded; classes and running statistics are asked for again when they are known.
    request.check(usize::MAX, true).map_err(wrong)?;
    Ok(request)
}

/// Checks what depends on the data and the model.
///
/// # Errors
/// Names the option that is wrong.
pub(super) fn check(request: &Request, loaded: &Loaded) -> Result<(), CliError> {
    let layout = loaded.layout();
    request.check(loaded.report().description.classes, layout.statistics() > 0).map_err(wrong)?;
    if loaded.sizes(request.split).split == 0 {
        let problem =
            "--split test: the job's data have no test split; --split train evaluates on the training split";
        return Err(CliError::Usage(problem.to_owned()));
    }
    let Some(hessian) = &request.hessian else { return Ok(()) };
    // The space that is searched and its image, in f64.
    let needed = 16 * u64::from(hessian.iterations) * layout.parameters() as u64;
    let limit = loaded.memory_limit();
    if needed > limit {
        let problem = format!(
            "--hessian: {} products take {} MiB, the limit is {} MiB: fewer --iterations take less",
            hessian.iterations,
            needed >> 20,
            limit >> 20
        );
        return Err(CliError::Usage(problem));
    }
    Ok(())
}

/// The error names the key of a request; on the command line it is an option.
fn wrong(error: JobError) -> CliError {
    CliError::Usage(format!("--{error}"))
}

/// The usual radii, with ρ, k ρ and (k + 1) ρ / 2 of the job: where its method looked, and where SAM would look to the
/// same effect.
fn usual_radii(spec: &JobSpec) -> Vec<f64> {
    let parts = spec.optimizer.method.parts();
    let (k, mut radii) = (f64::from(parts.inner_steps()), RADII.to_vec());
    if let Some(ascent) = parts.ascent {
        radii.extend(
            [ascent.rho, k * ascent.rho, (k + 1.0) * ascent.rho / 2.0].into_iter().filter(|rho| *rho > 0.0),
        );
    }
    radii.sort_by(f64::total_cmp);
    radii.dedup();
    radii
}
