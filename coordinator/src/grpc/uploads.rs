//! Uploads of model files: room is set aside first, the file is checked while it arrives, and it is kept only when it is
//! complete and its record is durable.

use lookbehind_proto::transfer::Receiver;
use lookbehind_proto::v1;
use lookbehind_proto::v1::upload_initial_weights_request::Part;
use tonic::{Status, Streaming};

use super::files::off_runtime;
use super::unexpected;
use super::views::IntoStatus;
use crate::runtime::{Mailbox, Shared};
use crate::state::Caller;
use crate::state::event::{Event, Reply, UserCall};
use crate::store::uploads::Upload;

/// Room that was set aside for a file. It is given back on drop, unless the file is kept.
struct Room {
    ticket: u64,
    mailbox: Mailbox,
}

impl Room {
    async fn reserve(shared: &Shared, caller: Caller, bytes: u64) -> Result<Self, Status> {
        let call = UserCall::AnnounceUpload(bytes);
        let asked = shared.mailbox.call(caller, call);
        match asked.await? {
            Reply::Ticket(Ok(ticket)) => Ok(Self { ticket, mailbox: shared.mailbox.clone() }),
            Reply::Ticket(Err(refused)) => Err(refused.into_status()),
            _ => Err(unexpected()),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let (mailbox, ticket) = (self.mailbox.clone(), self.ticket);
        // An error means that the coordinator has ended.
        tokio::spawn(async move { mailbox.tell(Event::UploadAbandoned(ticket)).await });
    }
}

/// Receives a file and returns its digest.
pub(super) async fn receive(
    shared: &Shared,
    caller: Caller,
    mut stream: Streaming<v1::UploadInitialWeightsRequest>,
) -> Result<String, Status> {
    let Some(Part::Header(header)) = next_part(&mut stream).await? else {
        return Err(Status::invalid_argument("expected the header first"));
    };
    let (length, limit) = (header.length, shared.max_upload);
    if length > limit {
        return Err(Status::resource_exhausted(format!("length: expected at most {limit}, found {length}")));
    }
    let room = Room::reserve(shared, caller.clone(), length).await?;
    let mut receiver = Receiver::new(length);
    let (folder, ticket) = (shared.store.uploads_folder(), room.ticket);
    let mut upload = off_runtime(move || Upload::begin(&folder, ticket, length)).await?;
    loop {
        match next_part(&mut stream).await? {
            Some(Part::Chunk(chunk)) => {
                receiver.accept(&chunk).map_err(IntoStatus::into_status)?;
                upload = off_runtime(move || upload.write(&chunk.data).map(|()| upload)).await?;
            }
            Some(Part::Trailer(trailer)) => {
                receiver.finish(&trailer, &[]).map_err(IntoStatus::into_status)?;
                // In a task of its own: a caller who leaves now does not stop it between the file and its record.
                let kept = tokio::spawn(keep(upload, room, caller));
                return kept.await.map_err(|error| Status::internal(error.to_string()))?;
            }
            _ => return Err(Status::invalid_argument("expected a chunk or the trailer")),
        }
    }
}

/// Makes a received file durable and has it recorded. Returns its digest.
async fn keep(upload: Upload, room: Room, caller: Caller) -> Result<String, Status> {
    let digest = off_runtime(move || upload.finish()).await?;
    let call = UserCall::KeepUpload { ticket: room.ticket, digest };
    match room.mailbox.call(caller, call).await? {
        Reply::Done(Ok(())) => Ok(digest.into()),
        Reply::Done(Err(refused)) => Err(refused.into_status()),
        _ => Err(unexpected()),
    }
}

async fn next_part(stream: &mut Streaming<v1::UploadInitialWeightsRequest>) -> Result<Option<Part>, Status> {
    let message = stream.message().await?;
    Ok(message.and_then(|message| message.part))
}
