//! From the command line to the request, and its check.

use lookbehind_common::evaluate::{Hessian, Noise, Request, Sharpness};
use lookbehind_common::job::JobSpec;

use crate::args::Evaluate;
use crate::error::CliError;
use crate::evaluate::wrong;

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
