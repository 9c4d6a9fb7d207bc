//! Transfer of files from and to users in chunks. File access runs on blocking threads, not on those of the runtime.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use lookbehind_proto::transfer::{CHUNK_BYTES, Receiver, RunningChecksum};
use lookbehind_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::limits::Slot;
use super::views::IntoStatus;
use crate::runtime::Shared;
use crate::store::uploads::Upload;

/// Chunks that are read ahead of the network.
const AHEAD: usize = 4;

/// Opens a file and returns it with its length in bytes.
pub(super) fn open(path: &Path) -> Result<(File, u64), Status> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (length, file) = opened.map_err(|error| Status::internal(format!("{}: {error}", path.display())))?;
    Ok((file, length))
}

/// Sends a header and then a file. The slot becomes free when everything is sent or the receiver is dropped.
pub(super) fn send(
    header: v1::CheckpointHeader,
    file: File,
    slot: Slot,
) -> impl Stream<Item = Result<v1::DownloadCheckpointResponse, Status>> {
    use v1::download_checkpoint_response::Part;
    let (parts, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let (mut file, mut left, checksum) = (file, header.length, RunningChecksum::default());
        let mut sent = parts.blocking_send(Ok(Part::Header(header)));
        let mut offset = 0;
        while sent.is_ok() && left > 0 {
            let mut data = vec![0; left.min(CHUNK_BYTES as u64) as usize];
            if let Err(error) = file.read_exact(&mut data) {
                let _ = parts.blocking_send(Err(Status::data_loss(error.to_string())));
                return;
            }
            checksum.cover(offset, &data);
            left -= data.len() as u64;
            let chunk = v1::Chunk { offset, data: Bytes::from(data) };
            offset += chunk.data.len() as u64;
            sent = parts.blocking_send(Ok(Part::Chunk(chunk)));
        }
        if sent.is_ok() {
            let _ = parts.blocking_send(Ok(Part::Trailer(checksum.trailer(&[]))));
        }
    });
    ReceiverStream::new(receiver)
        .map(|part| part.map(|part| v1::DownloadCheckpointResponse { part: Some(part) }))
}

/// Receives a file into the uploads folder and returns its digest.
pub(super) async fn receive(
    shared: &Shared,
    mut stream: Streaming<v1::UploadInitialWeightsRequest>,
) -> Result<String, Status> {
    use v1::upload_initial_weights_request::Part;
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let Some(Part::Header(header)) = next_part(&mut stream).await? else {
        return Err(Status::invalid_argument("expected the header first"));
    };
    if header.length > shared.max_upload {
        let limit = shared.max_upload;
        return Err(Status::resource_exhausted(format!(
            "length: expected at most {limit}, found {}",
            header.length
        )));
    }
    let mut receiver = Receiver::new(header.length);
    let (folder, number) = (shared.store.uploads_folder(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut upload = off_runtime(move || Upload::begin(&folder, number)).await?;
    loop {
        match next_part(&mut stream).await? {
            Some(Part::Chunk(chunk)) => {
                receiver.accept(&chunk).map_err(IntoStatus::into_status)?;
                upload = off_runtime(move || upload.write(&chunk.data).map(|()| upload)).await?;
            }
            Some(Part::Trailer(trailer)) => {
                receiver.finish(&trailer, &[]).map_err(IntoStatus::into_status)?;
                return off_runtime(move || upload.finish()).await.map(String::from);
            }
            _ => return Err(Status::invalid_argument("expected a chunk or the trailer")),
        }
    }
}

/// Runs a closure that may block on the disk on a blocking thread.
pub(super) async fn off_runtime<T: Send + 'static, E: IntoStatus + Send + 'static>(
    act: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(act).await;
    done.map_err(|error| Status::internal(error.to_string()))?.map_err(IntoStatus::into_status)
}

async fn next_part(
    stream: &mut Streaming<v1::UploadInitialWeightsRequest>,
) -> Result<Option<v1::upload_initial_weights_request::Part>, Status> {
    let message = stream.message().await?;
    Ok(message.and_then(|message| message.part))
}
