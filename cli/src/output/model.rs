//! `model.safetensors`: downloaded in chunks, checked twice (the transfer by its checksum, the weights by their
//! digest), and only then renamed to its final name.

use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lookbehind_common::digest::{Digest, weights_digest};
use lookbehind_common::job::{NamedCheckpoint, WhichCheckpoint};
use lookbehind_common::layout::{Layout, TensorKind, TensorSpec};
use lookbehind_common::model_file::{self, ModelFileError};
use lookbehind_proto::transfer::{Receiver, TransferError};
use lookbehind_proto::v1;
use lookbehind_proto::v1::download_checkpoint_response::Part;
use safetensors::SafeTensors;
use tempfile::NamedTempFile;
use tonic::Streaming;

use crate::client::Client;
use crate::error::CliError;
use crate::output::{place, temporary_file_for};

/// Longest wait for the next chunk of a download.
const PIECE: Duration = Duration::from_secs(60);

/// A downloaded model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Path of the file.
    pub path: PathBuf,
    /// Number of outer steps at the checkpoint.
    pub outer_step: u64,
    /// Digest of the weights, in lower-case hex.
    pub digest: String,
    /// Names of the classes in the order of the model's outputs; empty where classes are numbers.
    pub class_names: Vec<String>,
    /// What was read of the data that it was trained on, in lines; empty if the file does not say.
    pub data_report: Vec<String>,
}

/// A download of a checkpoint's model file.
pub struct Download {
    client: Client,
    what: String,
    header: v1::CheckpointHeader,
    stream: Streaming<v1::DownloadCheckpointResponse>,
}

impl Download {
    /// Starts the download of a checkpoint; of the newest one if none is named.
    ///
    /// # Errors
    /// If there is no such checkpoint, or no answer.
    pub async fn open(client: &Client, id: &str, which: Option<WhichCheckpoint>) -> Result<Self, CliError> {
        let stream = client.download(id, which).await?;
        let (client, what) = (client.clone(), checkpoint(id, which));
        let mut download = Self { client, what, header: v1::CheckpointHeader::default(), stream };
        match download.part().await? {
            Some(Part::Header(header)) => download.header = header,
            other => return Err(download.out_of_place("a header", other.as_ref())),
        }
        Ok(download)
    }

    /// Writes the file to `path` after checking it.
    ///
    /// # Errors
    /// If the transfer is interrupted or corrupt, the weights are not the announced ones, or the file cannot be
    /// written.
    pub async fn save(mut self, path: &Path) -> Result<Model, CliError> {
        let mut file = temporary_file_for(path)?;
        self.body(path, &mut file).await?;
        let v1::CheckpointHeader { outer_step, digest, .. } = self.header;
        let (class_names, data_report) = (Vec::new(), Vec::new());
        let model = Model { path: path.to_owned(), outer_step, digest, class_names, data_report };
        let kept = tokio::task::spawn_blocking(move || keep(file, model)).await;
        kept.map_err(|error| CliError::write(path, error.into()))?
    }

    /// Writes the chunks up to the trailer.
    async fn body(&mut self, path: &Path, file: &mut NamedTempFile) -> Result<(), CliError> {
        let mut receiver = Receiver::new(self.header.length);
        loop {
            match self.part().await? {
                Some(Part::Chunk(chunk)) => {
                    receiver.accept(&chunk).map_err(|error| self.damaged(error))?;
                    file.write_all(&chunk.data).map_err(|error| CliError::write(path, error))?;
                }
                Some(Part::Trailer(trailer)) => {
                    receiver.finish(&trailer, &[]).map_err(|error| self.damaged(error))?;
                    return Ok(());
                }
                other => return Err(self.out_of_place("a chunk or the trailer", other.as_ref())),
            }
        }
    }

    /// The next part; `None` at the end of the stream or for an empty message.
    async fn part(&mut self) -> Result<Option<Part>, CliError> {
        let message = tokio::time::timeout(PIECE, self.stream.message()).await.map_err(|_| {
            let status =
                tonic::Status::deadline_exceeded(format!("nothing was received for {} s", PIECE.as_secs()));
            self.client.error("fetch", &status)
        })?;
        Ok(message.map_err(|status| self.client.error("fetch", &status))?.and_then(|message| message.part))
    }

    fn out_of_place(&self, expected: &'static str, found: Option<&Part>) -> CliError {
        let found = match found {
            Some(Part::Header(_)) => "a header",
            Some(Part::Chunk(_)) => "a chunk",
            Some(Part::Trailer(_)) => "the trailer",
            None => "nothing",
        };
        self.damaged(TransferError::Protocol { expected, found })
    }

    fn damaged(&self, source: TransferError) -> CliError {
        CliError::Transfer { what: self.what.clone(), source }
    }
}

/// Name of a checkpoint in messages.
fn checkpoint(id: &str, which: Option<WhichCheckpoint>) -> String {
    match which {
        Some(WhichCheckpoint::OuterStep(step)) => format!("checkpoint of job {id} after outer step {step}"),
        Some(WhichCheckpoint::Named(NamedCheckpoint::Best)) => format!("best checkpoint of job {id}"),
        None => format!("newest checkpoint of job {id}"),
    }
}

/// Renames a downloaded file to its final name if its weights are the announced ones.
fn keep(mut file: NamedTempFile, mut model: Model) -> Result<Model, CliError> {
    // Read from the open file, because another one may have got its name.
    let mut bytes = Vec::new();
    let read = file.as_file_mut().rewind().and_then(|()| file.as_file_mut().read_to_end(&mut bytes));
    read.map_err(|error| CliError::write(&model.path, error))?;
    let problem = |problem| CliError::Model { path: model.path.clone(), problem };
    let found = digest(&bytes).map_err(problem)?;
    if found.to_string() != model.digest {
        return Err(CliError::Digest { path: model.path, found, expected: model.digest });
    }
    let unread = |error: ModelFileError| problem(error.to_string());
    model.class_names = model_file::class_names(&bytes).map_err(unread)?;
    model.data_report = model_file::data_report(&bytes).map_err(unread)?;
    place(file, &model.path)?;
    Ok(model)
}

/// The digest of the weights in a model file.
fn digest(bytes: &[u8]) -> Result<Digest, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    // The digest depends neither on the order of the tensors nor on their role for the optimizer. PyTorch's counters
    // are not part of the weights.
    let weights = file.iter().filter(|(name, _)| !model_file::is_counter(name));
    let tensors = weights.map(|(name, view)| TensorSpec {
        name: name.to_owned(),
        shape: view.shape().to_vec(),
        kind: TensorKind::Parameter,
    });
    let layout = Layout::new(tensors).map_err(|error| error.to_string())?;
    let weights = model_file::read(bytes, &layout).map_err(|error| error.to_string())?;
    Ok(weights_digest(&layout, &weights))
}

#[cfg(test)]
mod tests;
