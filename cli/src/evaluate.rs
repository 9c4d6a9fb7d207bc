//! What evaluations have in common, whoever asks for them: `evaluate`, or a study after training.

use lookbehind_common::evaluate::Request;
use lookbehind_common::job::JobError;
use lookbehind_worker::evaluate::Evaluation as Loaded;

use crate::client::Client;
use crate::error::CliError;
use crate::output;
use crate::output::model::Download;

/// Checks what depends on the data and the model.
///
/// # Errors
/// Names the option that is wrong.
pub fn check(request: &Request, loaded: &Loaded) -> Result<(), CliError> {
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
pub fn wrong(error: JobError) -> CliError {
    CliError::Usage(format!("--{error}"))
}

/// The newest checkpoint's model file of a job.
///
/// # Errors
/// If the job has none, or the coordinator cannot be reached.
pub async fn download(client: &Client, id: &str) -> Result<Vec<u8>, CliError> {
    let temporary = std::env::temp_dir();
    let folder = tempfile::tempdir().map_err(|error| CliError::write(&temporary, error))?;
    let path = folder.path().join(output::MODEL);
    let model = Download::open(client, id, None).await?.save(&path).await?;
    std::fs::read(&model.path).map_err(|error| CliError::read(&model.path, error))
}
