//! A worker whose messages a test sends itself, and the toy job that it can compute: for what the coordinator must do
//! when a worker misbehaves.

use bytes::Bytes;
use lookbehind_common::BUILD_VERSION;
use lookbehind_common::partial::{Sums, VisitSums};
use lookbehind_proto::PROTOCOL_VERSION;
use lookbehind_proto::transfer::{Piece, Sender, sums_bytes};
use lookbehind_proto::v1;
use lookbehind_proto::v1::tensor_service_client::TensorServiceClient;
use lookbehind_proto::v1::upload_initial_state_request::Part as StatePart;
use lookbehind_proto::v1::upload_partial_request::Part as PartialPart;
use lookbehind_proto::v1::worker_service_client::WorkerServiceClient;
use lookbehind_proto::v1::{session_request, session_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::client::{Calls, Client, within};
use crate::toy;

/// A registered worker that does nothing by itself. It sends no heartbeats, so failure detection must be patient.
pub struct FakeWorker {
    /// The fencing token that the coordinator gave it.
    pub fencing_token: v1::FencingToken,
    outgoing: mpsc::Sender<v1::SessionRequest>,
    incoming: Streaming<v1::SessionResponse>,
    tensors: TensorServiceClient<Calls>,
}

/// The registration that a worker of this build sends.
pub fn hello(name: &str) -> v1::Register {
    v1::Register {
        protocol: PROTOCOL_VERSION,
        version: BUILD_VERSION.to_owned(),
        name: name.to_owned(),
        device: "a test".to_owned(),
        endpoint: None,
    }
}

impl FakeWorker {
    /// Registers.
    ///
    /// # Errors
    /// The coordinator's refusal.
    ///
    /// # Panics
    /// If the coordinator neither refuses nor registers it.
    pub async fn register(client: &Client, hello: v1::Register) -> Result<Self, v1::Refused> {
        let (outgoing, messages) = mpsc::channel(16);
        let first = session_request::Message::Register(hello);
        let first = v1::SessionRequest { fencing_token: None, message: Some(first) };
        outgoing.send(first).await.expect("an open stream");
        let mut service = WorkerServiceClient::new(client.channel());
        let mut incoming =
            service.session(ReceiverStream::new(messages)).await.expect("a session").into_inner();
        let answer = within("an answer", incoming.message()).await.expect("an answer").expect("an answer");
        match answer.message {
            Some(session_response::Message::Registered(_)) => {
                let fencing_token = answer.fencing_token.expect("a fencing_token");
                let tensors = TensorServiceClient::new(client.channel());
                Ok(Self { fencing_token, outgoing, incoming, tensors })
            }
            Some(session_response::Message::Refused(refused)) => Err(refused),
            other => panic!("expected registered or refused, found {other:?}"),
        }
    }

    /// Sends a message on the control stream.
    pub async fn say(&self, message: session_request::Message) {
        self.say_as(&self.fencing_token, message).await;
    }

    /// Sends a message; a closed stream is ignored.
    pub async fn try_say(&self, message: session_request::Message) {
        let request =
            v1::SessionRequest { fencing_token: Some(self.fencing_token.clone()), message: Some(message) };
        let _ = self.outgoing.send(request).await;
    }

    /// Sends a message with another fencing token.
    ///
    /// # Panics
    /// If the stream is closed.
    pub async fn say_as(&self, fencing_token: &v1::FencingToken, message: session_request::Message) {
        let request =
            v1::SessionRequest { fencing_token: Some(fencing_token.clone()), message: Some(message) };
        self.outgoing.send(request).await.expect("an open stream");
    }

    /// The coordinator's next message other than a heartbeat; `None` if it closed the stream.
    pub async fn next(&mut self) -> Option<session_response::Message> {
        loop {
            let message = within("a message", self.incoming.message()).await.ok().flatten()?.message;
            match message {
                Some(session_response::Message::Heartbeat(_)) => {}
                other => return other,
            }
        }
    }

    /// Waits for a job and returns its id.
    ///
    /// # Panics
    /// If another message arrives.
    pub async fn prepare(&mut self) -> String {
        match self.next().await {
            Some(session_response::Message::Prepare(prepare)) => prepare.job_id,
            other => panic!("expected a job, found {other:?}"),
        }
    }

    /// Reports that the toy job is loaded.
    pub async fn prepared(&self, job_id: &str) {
        self.described(job_id, toy::description()).await;
    }

    /// Reports that a job is loaded, with a description.
    pub async fn described(&self, job_id: &str, description: v1::JobDescription) {
        let prepared = v1::Prepared {
            job_id: job_id.to_owned(),
            description: Some(description),
            probe_digest: vec![1; 32].into(),
            class_description: "a test".to_owned(),
        };
        self.say(session_request::Message::Prepared(prepared)).await;
    }

    /// Waits until the initial weights are requested.
    ///
    /// # Panics
    /// If another message arrives.
    pub async fn asked_for_state(&mut self) {
        match self.next().await {
            Some(session_response::Message::SendInitialState(_)) => {}
            other => panic!("expected the question for initial weights, found {other:?}"),
        }
    }

    /// Waits for an assignment.
    ///
    /// # Panics
    /// If another message arrives.
    pub async fn assigned(&mut self) -> v1::Assign {
        match self.next().await {
            Some(session_response::Message::Assign(assign)) => assign,
            other => panic!("expected work, found {other:?}"),
        }
    }

    /// Takes a toy job to its first assignment.
    ///
    /// # Panics
    /// If the coordinator refuses the initial weights.
    pub async fn start_toy(&mut self) -> v1::Assign {
        let job = self.prepare().await;
        self.prepared(&job).await;
        self.asked_for_state().await;
        let header = self.state_header(&job);
        self.upload_state(header, whole(toy::initial(), &[])).await.expect("the initial weights are taken");
        self.assigned().await
    }

    /// Computes a toy job, starting at an assignment, until the coordinator releases it.
    ///
    /// # Panics
    /// If a partial is not accepted.
    pub async fn finish_toy(&mut self, mut assign: v1::Assign) {
        loop {
            self.compute(&assign).await;
            match self.next().await {
                Some(session_response::Message::Assign(next)) => assign = next,
                Some(session_response::Message::Release(_)) => return,
                other => panic!("expected work or a release, found {other:?}"),
            }
        }
    }

    /// Computes and sends the segments of an assignment.
    ///
    /// # Panics
    /// If one is not accepted.
    pub async fn compute(&self, assign: &v1::Assign) {
        for segment in &assign.segments {
            let (header, pieces) = self.partial(assign, *segment);
            let outcome = self.upload_partial(header, pieces).await.expect("an accepted partial");
            assert_eq!(outcome, v1::UploadOutcome::Accepted);
        }
    }

    /// Header and body of the partial that a correct worker would send for a segment of the toy job.
    pub fn partial(&self, assign: &v1::Assign, segment: v1::Segment) -> (v1::PartialHeader, Vec<Piece>) {
        let (sums, gradient) = toy::partial(assign, segment);
        let header = v1::PartialHeader {
            gradient_format: v1::ExchangeFormat::Unspecified.into(),
            fencing_token: Some(self.fencing_token.clone()),
            request: assign.request.clone(),
            segment: Some(segment),
            gradient: toy::PARAMETERS as u64,
            statistics: 0,
            loss_sum: sums.loss,
            correct: sums.correct,
            samples: sums.samples,
            compute_seconds: 0.001,
            data_seconds: 0.0,
            visits: None,
        };
        (header, whole(gradient, &sums_bytes(&sums)))
    }

    /// The header with which a correct worker would begin the transfer of the toy job's initial weights.
    pub fn state_header(&self, job_id: &str) -> v1::InitialStateHeader {
        let state = v1::StateHeader { parameters: toy::PARAMETERS as u64, statistics: 0 };
        v1::InitialStateHeader {
            fencing_token: Some(self.fencing_token.clone()),
            job_id: job_id.to_owned(),
            state: Some(state),
        }
    }

    /// Sends a partial.
    ///
    /// # Errors
    /// The status of the coordinator.
    pub async fn upload_partial(
        &self,
        header: v1::PartialHeader,
        pieces: Vec<Piece>,
    ) -> Result<v1::UploadOutcome, Status> {
        let pieces = pieces.into_iter().map(|piece| match piece {
            Piece::Chunk(chunk) => PartialPart::Chunk(chunk),
            Piece::Trailer(trailer) => PartialPart::Trailer(trailer),
        });
        self.upload_partial_parts(std::iter::once(PartialPart::Header(header)).chain(pieces).collect()).await
    }

    /// Sends the parts of a partial unchanged.
    ///
    /// # Errors
    /// The status of the coordinator.
    pub async fn upload_partial_parts(&self, parts: Vec<PartialPart>) -> Result<v1::UploadOutcome, Status> {
        let messages = parts.into_iter().map(|part| v1::UploadPartialRequest { part: Some(part) });
        let answer = self.tensors.clone().upload_partial(tokio_stream::iter(messages)).await?;
        Ok(answer.into_inner().outcome())
    }

    /// Sends initial weights.
    ///
    /// # Errors
    /// The status of the coordinator.
    pub async fn upload_state(
        &self,
        header: v1::InitialStateHeader,
        pieces: Vec<Piece>,
    ) -> Result<(), Status> {
        let pieces = pieces.into_iter().map(|piece| match piece {
            Piece::Chunk(chunk) => StatePart::Chunk(chunk),
            Piece::Trailer(trailer) => StatePart::Trailer(trailer),
        });
        let parts = std::iter::once(StatePart::Header(header)).chain(pieces);
        let messages: Vec<_> = parts.map(|part| v1::UploadInitialStateRequest { part: Some(part) }).collect();
        self.tensors.clone().upload_initial_state(tokio_stream::iter(messages)).await?;
        Ok(())
    }

    /// Begins to download the weights of an assignment.
    ///
    /// # Panics
    /// If the coordinator refuses.
    pub async fn weights(&self, job_id: &str, version: u64) -> Streaming<v1::DownloadWeightsResponse> {
        let fencing_token = Some(self.fencing_token.clone());
        let request =
            v1::DownloadWeightsRequest { fencing_token, job_id: job_id.to_owned(), version, blocks: None };
        let answer = self.tensors.clone().download_weights(request).await;
        answer.expect("weights that are served").into_inner()
    }

    /// Requests weights with the given fencing token.
    ///
    /// # Errors
    /// The status of the coordinator.
    pub async fn download(
        &self,
        fencing_token: &v1::FencingToken,
        job_id: &str,
        version: u64,
    ) -> Result<(), Status> {
        let fencing_token = Some(fencing_token.clone());
        let request =
            v1::DownloadWeightsRequest { fencing_token, job_id: job_id.to_owned(), version, blocks: None };
        self.tensors.clone().download_weights(request).await?;
        Ok(())
    }
}

/// The pieces of a complete transfer.
pub fn whole(body: Vec<u8>, covered: &[u8]) -> Vec<Piece> {
    Sender::new([Bytes::from(body)], covered).collect()
}

/// Sums as a partial's header carries them.
pub fn header_sums(header: &v1::PartialHeader) -> Sums {
    Sums {
        loss: header.loss_sum,
        correct: header.correct,
        samples: header.samples,
        visits: header.visits.map(VisitSums::from),
    }
}
