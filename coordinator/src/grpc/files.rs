//! Transfer of files to users in chunks. File access runs on blocking threads, not on those of the runtime.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use lookbehind_proto::transfer::{CHUNK_BYTES, RunningChecksum};
use lookbehind_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::views::IntoStatus;

/// Chunks that are read ahead of the network.
const AHEAD: usize = 4;

/// Opens a file and returns it with its length in bytes.
pub(super) fn open(path: &Path) -> Result<(File, u64), Status> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (length, file) = opened.map_err(|error| Status::internal(format!("{}: {error}", path.display())))?;
    Ok((file, length))
}

/// Sends a header and then a file.
pub(super) fn send(
    header: v1::CheckpointHeader,
    file: File,
) -> impl Stream<Item = Result<v1::DownloadCheckpointResponse, Status>> {
    use v1::download_checkpoint_response::Part;
    let (parts, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
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

/// Runs a closure that may block on the disk on a blocking thread.
pub(super) async fn off_runtime<T: Send + 'static, E: IntoStatus + Send + 'static>(
    act: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(act).await;
    done.map_err(|error| Status::internal(error.to_string()))?.map_err(IntoStatus::into_status)
}
