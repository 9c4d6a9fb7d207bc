//! The sending end of an event stream: one event at a time is in memory, until its last byte has left for the client.

use std::sync::Arc;

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::places::Place;

/// Sends events. Sending fails if the client has disconnected.
pub(super) struct Out {
    texts: mpsc::Sender<Bytes>,
    /// Has one permit, which belongs to the event that is being sent.
    room: Arc<Semaphore>,
}

/// The stream has ended: the client disconnected, or an event could not be serialized.
pub(super) struct Disconnected;

/// Room for an event: the one before has left.
pub(super) struct Room {
    _permit: OwnedSemaphorePermit,
    _place: Option<Place>,
}

/// The text of an event, and what it occupies until it has left.
struct Text {
    text: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Room {
    /// The place is given up as well when the event has left.
    pub(super) fn with(self, place: Place) -> Self {
        Self { _place: Some(place), ..self }
    }
}

/// The data of an event. If it cannot be serialized the stream ends, and the page opens another.
pub(super) fn json(value: &impl Serialize) -> Result<String, Disconnected> {
    serde_json::to_string(value).map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> Disconnected {
    tracing::error!(%error, "internal error: an event for the dashboard cannot be written");
    Disconnected
}

impl Out {
    /// The end, and what it sends.
    pub(super) fn new() -> (Self, mpsc::Receiver<Bytes>) {
        let (texts, sent) = mpsc::channel(1);
        (Self { texts, room: Arc::new(Semaphore::new(1)) }, sent)
    }

    /// Resolves when the client has disconnected.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let texts = self.texts.clone();
        async move { texts.closed().await }
    }

    /// Waits until the event before has left.
    pub(super) async fn room(&self) -> Result<Room, Disconnected> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Disconnected)?;
        Ok(Room { _permit: permit, _place: None })
    }

    /// Sends an event after the one before has left.
    pub(super) async fn tell(&self, name: &str, value: &impl Serialize) -> Result<(), Disconnected> {
        self.send(self.room().await?, name, value).await
    }

    /// Sends an event for which there is room.
    pub(super) async fn send(
        &self,
        room: Room,
        name: &str,
        value: &impl Serialize,
    ) -> Result<(), Disconnected> {
        let mut text = format!("event: {name}\ndata: ").into_bytes();
        serde_json::to_writer(&mut text, value).map_err(unwritten)?;
        text.extend(b"\n\n");
        self.pass_on(room, text).await
    }

    /// Sends a comment, which is not an event: it keeps the connection alive and detects a client that has gone.
    pub(super) async fn keep_alive(&self) -> Result<(), Disconnected> {
        self.pass_on(self.room().await?, b":\n\n".to_vec()).await
    }

    async fn pass_on(&self, room: Room, text: Vec<u8>) -> Result<(), Disconnected> {
        let text = Bytes::from_owner(Text { text, _room: room });
        self.texts.send(text).await.map_err(|_| Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_waits_until_the_last_part_of_the_one_before_has_left() {
        let (out, mut sent) = Out::new();
        out.tell("first", &1).await.unwrap_or_else(|_| panic!("there is room"));
        let mut text = sent.recv().await.unwrap();
        let part = text.split_to(3);
        drop(text);
        assert_eq!(out.room.available_permits(), 0, "a part is left");
        drop(part);
        out.tell("second", &2).await.unwrap_or_else(|_| panic!("there is room again"));
        assert_eq!(sent.recv().await.unwrap(), "event: second\ndata: 2\n\n");
        drop(sent);
        assert!(out.tell("third", &3).await.is_err());
    }
}
