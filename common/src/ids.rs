//! Identifiers. Each is a type of its own, so that one cannot be passed in place of another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identity of a job, assigned by the coordinator: `j` and eight lower-case letters or digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(String);

impl JobId {
    /// An identity from the lowest 40 bits of `bits`, which should be random.
    pub fn from_entropy(bits: u64) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let symbol = |i: u32| char::from(ALPHABET[(bits >> (5 * i)) as usize & 31]);
        Self(std::iter::once('j').chain((0..8).map(symbol)).collect())
    }

    /// Parses an identity that came over the wire; `None` if it does not have the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let plausible = text.len() == 9
            && text.starts_with('j')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        plausible.then(|| Self(text.to_owned()))
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Random identity of a cluster, created together with the coordinator's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub String);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of one start of the coordinator. It rises at each start on one state folder, by a random amount: if two
/// copies of a state folder are started, their incarnations differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a worker's registration within one incarnation, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 128 secret bits.
#[derive(Clone, Copy)]
struct Secret(u128);

impl PartialEq for Secret {
    /// Takes the same time wherever they differ, so that a secret cannot be found out bit by bit.
    fn eq(&self, other: &Self) -> bool {
        std::hint::black_box(self.0 ^ other.0) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    /// Secrets do not appear in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Secret of a worker's session, told only to the worker that opened it. Session numbers are counted and can be guessed;
/// with the secret, only that worker can speak in the session's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSecret(Secret);

impl SessionSecret {
    /// A secret from random bits.
    pub fn from_entropy(bits: u128) -> Self {
        Self(Secret(bits))
    }

    /// The secret as it is sent.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.0.to_be_bytes()
    }

    /// The secret as it was received; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self::from_entropy(u128::from_be_bytes(bytes)))
    }
}

/// Secret of a gradient request, told only to the workers that take part in its exchange: with it they prove to each other
/// that the coordinator sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(Secret);

impl Ticket {
    /// A ticket from bits that cannot be guessed.
    pub fn from_entropy(bits: u128) -> Self {
        Self(Secret(bits))
    }

    /// The ticket as it is sent.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.0.to_be_bytes()
    }

    /// The ticket as it was received; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self::from_entropy(u128::from_be_bytes(bytes)))
    }
}

/// Identity of a worker's session, sent with every message. A message whose fencing token is not current is stale: it
/// is refused and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencingToken {
    /// The cluster that the worker registered with.
    pub cluster: ClusterId,
    /// The coordinator's incarnation at that time.
    pub incarnation: Incarnation,
    /// The worker's registration within that incarnation.
    pub session: SessionId,
    /// The secret of that session.
    pub secret: SessionSecret,
}

/// Identity of a request: the gradient of a batch (gradient request), or an evaluation (test request).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// The job that the request belongs to.
    pub job: JobId,
    /// Outer steps done before the one that the request belongs to.
    pub outer_step: u64,
    /// Number of the request within the outer step, from 0.
    pub index: u32,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} outer step {} request {}", self.job, self.outer_step, self.index)
    }
}
