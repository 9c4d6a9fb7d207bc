//! Who may call which method, and what its request may take.

use lookbehind_identity::Role;
use lookbehind_proto::transfer::{MAX_MESSAGE_BYTES, MAX_WHOLE_BYTES};
use tonic::Status;

use super::super::callers::Who;

/// Largest message of a worker's control stream. It must hold the description of a model with ten thousand tensors, and
/// its weight must fit into what one connection gets.
const MAX_CONTROL_BYTES: usize = 3 << 19;
/// Largest request to create a job: more than a specification may have, so that one that is a little too large gets a
/// better answer than this limit.
const MAX_JOB_BYTES: usize = 512 << 10;
/// Largest request of the other methods for users, which hold identities and numbers.
const MAX_CALL_BYTES: usize = 16 << 10;
/// Largest question to the health and reflection services, which is the name of a service or type.
const MAX_QUESTION_BYTES: usize = 4 << 10;

/// What is known of a method before it is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) audience: Audience,
    pub(super) shape: Shape,
    /// Whether calls count towards the rate limit of the connection.
    pub(super) limits_rate: bool,
    pub(super) answer: Answer,
}

/// What an answer consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// One message, which is in memory as a whole.
    Message,
    /// Messages one after another, each made when the one before has left.
    Stream,
    /// As a stream, of tensors in memory that all downloads of them share.
    Tensors,
    /// The messages of a session, whose worker is given up if it does not read them.
    Session,
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Everyone who can connect.
    Everyone,
    /// Everyone with a role.
    Identified,
    /// Users and administrators.
    Users,
    /// Workers.
    Workers,
}

/// What a request consists of. Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// One message, which must arrive completely within the patience.
    Message { largest: usize },
    /// Messages one after another. The sender must not stand still for longer than the patience, and must keep a least
    /// rate. The service keeps at most `gathered` bytes of a message that is not complete.
    Transfer { largest: usize, gathered: usize },
    /// Messages at any time. One that has begun must be completed within the patience.
    Conversation { largest: usize },
}

impl Method {
    /// The method at a path; `None` if there is none.
    pub(super) fn at(path: &str) -> Option<Self> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        Some(match (service, method) {
            ("grpc.health.v1.Health", "Check" | "List") => Self::question(Audience::Everyone),
            ("grpc.health.v1.Health", "Watch") => Self::question(Audience::Everyone).with(Answer::Stream),
            (
                "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection",
                "ServerReflectionInfo",
            ) => {
                let (largest, gathered) = (MAX_QUESTION_BYTES, MAX_QUESTION_BYTES);
                Self::new(Audience::Identified, Shape::Transfer { largest, gathered }).with(Answer::Stream)
            }
            ("lookbehind.v1.JobService", method) => Self::of_users(method)?,
            ("lookbehind.v1.WorkerService", "Session") => {
                let shape = Shape::Conversation { largest: MAX_CONTROL_BYTES };
                Self::new(Audience::Workers, shape).with(Answer::Session)
            }
            ("lookbehind.v1.TensorService", "DownloadWeights") => {
                let shape = Shape::Message { largest: MAX_CALL_BYTES };
                Self::new(Audience::Workers, shape).with(Answer::Tensors)
            }
            ("lookbehind.v1.TensorService", "UploadPartial" | "UploadBlocks" | "UploadInitialState") => {
                // The data of a chunk go straight into memory that the state machine has granted.
                let (largest, gathered) = (MAX_MESSAGE_BYTES, MAX_WHOLE_BYTES);
                Self::new(Audience::Workers, Shape::Transfer { largest, gathered })
            }
            _ => return None,
        })
    }

    /// Whether calls wait for their turn: those of users whose request and answer are in memory as a whole.
    pub(super) fn takes_turns(&self) -> bool {
        let is_whole = matches!(self.shape, Shape::Message { .. }) && self.answer == Answer::Message;
        is_whole && self.audience == Audience::Users
    }

    fn of_users(method: &str) -> Option<Self> {
        let largest = if method == "CreateJob" { MAX_JOB_BYTES } else { MAX_CALL_BYTES };
        let call = Self { limits_rate: true, ..Self::new(Audience::Users, Shape::Message { largest }) };
        match method {
            "CreateJob" | "GetJob" | "ListJobs" | "CancelJob" | "PauseJob" | "ResumeJob" | "RetryJob"
            | "DeleteJob" | "ListWorkers" | "ListCheckpoints" => Some(call),
            "WatchJob" | "DownloadCheckpoint" => Some(call.with(Answer::Stream)),
            "UploadInitialWeights" => {
                let (largest, gathered) = (MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES);
                Some(Self { shape: Shape::Transfer { largest, gathered }, ..call })
            }
            _ => None,
        }
    }

    fn new(audience: Audience, shape: Shape) -> Self {
        Self { audience, shape, limits_rate: false, answer: Answer::Message }
    }

    fn question(audience: Audience) -> Self {
        let largest = MAX_QUESTION_BYTES;
        Self { limits_rate: true, ..Self::new(audience, Shape::Message { largest }) }
    }

    fn with(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }
}

impl Audience {
    /// Whether callers need a role.
    pub(super) fn is_closed(self) -> bool {
        self != Self::Everyone
    }

    /// Refuses callers who do not belong to the audience.
    pub(super) fn check(self, who: &Who) -> Result<(), Status> {
        match who {
            Who::Unknown(status) if self.is_closed() => Err(status.clone()),
            Who::Known(identity) if !self.includes(identity.role) => Err(Status::permission_denied(format!(
                "this is for {}; the caller is {identity}",
                self.name()
            ))),
            Who::Anyone | Who::Known(_) | Who::Unknown(_) => Ok(()),
        }
    }

    fn includes(self, role: Role) -> bool {
        match self {
            Self::Everyone | Self::Identified => true,
            Self::Users => role != Role::Worker,
            Self::Workers => role == Role::Worker,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::Identified => "callers with a role",
            Self::Users => "users and admins",
            Self::Workers => "workers",
        }
    }
}

#[cfg(test)]
mod tests;
