//! `export`: a trained model with its recipe in one file, for this program or for others.

use std::collections::BTreeMap;

use lookbehind_common::model_file::{self, CLASSES, JOB, list_text};
use lookbehind_worker::device::DeviceChoice;
use lookbehind_worker::registry::Registry;

use super::subject::{ModelFile, Models};
use crate::args::Export;
use crate::console::Console;
use crate::error::CliError;
use crate::local;
use crate::output::write_whole;

/// Exports a model.
///
/// # Errors
/// If the model or its job cannot be read, the model is not one of the job, or the file cannot be written.
pub(super) async fn run(args: &Export, console: &Console, registry: Registry) -> Result<(), CliError> {
    if args.out.exists() && !args.force {
        return Err(CliError::Occupied { path: args.out.clone(), reason: "exists already".to_owned() });
    }
    let models = Models::open(&args.subject, std::slice::from_ref(&args.model)).await?;
    let remote = args.subject.remote.clone().into_data();
    let backend = local::backend(registry, &models.folder, remote, 1, &DeviceChoice::Cpu)?;
    let Some(ModelFile { name, bytes }) = models.files.first() else {
        return Err(CliError::Usage("export: expected a model".to_owned()));
    };
    let wrong = |error: &dyn std::fmt::Display| CliError::Usage(format!("{name}: {error}"));
    let class_names = model_file::class_names(bytes).map_err(|error| wrong(&error))?;
    let mut recipe = BTreeMap::from([(JOB, models.job.clone())]);
    if !class_names.is_empty() {
        recipe.insert(CLASSES, list_text(&class_names));
    }
    let exported = if args.onnx {
        backend.onnx(&models.spec, bytes, &recipe).map_err(|error| wrong(&error))?
    } else {
        backend.check_model(&models.spec, bytes).map_err(|error| wrong(&error))?;
        model_file::with_metadata(bytes, &recipe).map_err(|error| wrong(&error))?
    };
    write_whole(&args.out, &exported)?;
    console.note(format_args!("{}: {} bytes", args.out.display(), exported.len()));
    Ok(())
}

#[cfg(test)]
mod tests;
