//! Identifiers, each a type of its own, so that one cannot stand for another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A job's identity: `j` and eight letters or digits, given by the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(String);

impl JobId {
    /// Makes an identity from 40 random bits.
    pub fn from_entropy(bits: u64) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let symbol = |i: u32| char::from(ALPHABET[(bits >> (5 * i)) as usize & 31]);
        Self(std::iter::once('j').chain((0..8).map(symbol)).collect())
    }

    /// Reads an identity that came over the wire; `None` if it cannot be one.
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

/// The cluster's random identity, made together with the coordinator's state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub String);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A start of the coordinator. It rises with each start on one state, by an amount that nobody can guess: two copies
/// of a state that are both started have different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A worker's registration within one incarnation, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who speaks to the coordinator: a message whose fencing token is not the current one is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencingToken {
    /// The cluster that the worker registered with.
    pub cluster: ClusterId,
    /// The coordinator's incarnation at that time.
    pub incarnation: Incarnation,
    /// The registration.
    pub session: SessionId,
}

/// One unit of work of a job: the gradient of a batch, or a pass over the test split.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// The job.
    pub job: JobId,
    /// Outer steps done before it.
    pub outer_step: u64,
    /// Counts the units of work within the outer step.
    pub index: u32,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} outer step {} request {}", self.job, self.outer_step, self.index)
    }
}
