//! Conversions of identifiers, segments and lengths between messages and the types of `lookbehind_common`.

use bytes::{BufMut, Bytes, BytesMut};
use lookbehind_common::blocks::{BlockDigest, BlockRange};
use lookbehind_common::ids::{
    ClusterId, FencingToken, Incarnation, JobId, RequestId, SessionId, SessionSecret,
};
use lookbehind_common::model_state::ModelState;
use lookbehind_common::partial::VisitSums;
use lookbehind_common::reduction::Segment;
use lookbehind_common::text::is_harmless;

use crate::v1;

/// Most bytes of a cluster's identity, which is 16 hex digits.
const MAX_CLUSTER_ID: usize = 64;

/// A field of a message is missing or not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is missing or not valid")]
pub struct FieldError {
    /// Name of the field.
    pub field: &'static str,
}

/// Unwraps a required field.
///
/// # Errors
/// Names the field if it is absent.
pub fn required<T>(value: Option<T>, field: &'static str) -> Result<T, FieldError> {
    value.ok_or(FieldError { field })
}

/// Parses the identity of a job.
///
/// # Errors
/// If the text does not have the form of one.
pub fn job_id(text: &str) -> Result<JobId, FieldError> {
    required(JobId::parse(text), "job_id")
}

impl From<&FencingToken> for v1::FencingToken {
    fn from(fencing_token: &FencingToken) -> Self {
        Self {
            cluster_id: fencing_token.cluster.0.clone(),
            incarnation: fencing_token.incarnation.0,
            session: fencing_token.session.0,
            secret: fencing_token.secret.to_bytes().to_vec().into(),
        }
    }
}

impl TryFrom<v1::FencingToken> for FencingToken {
    type Error = FieldError;

    fn try_from(fencing_token: v1::FencingToken) -> Result<Self, FieldError> {
        // It is shown and logged.
        let cluster =
            Some(fencing_token.cluster_id).filter(|id| id.len() <= MAX_CLUSTER_ID && is_harmless(id));
        Ok(Self {
            cluster: ClusterId(required(cluster, "fencing_token.cluster_id")?),
            incarnation: Incarnation(fencing_token.incarnation),
            session: SessionId(fencing_token.session),
            secret: required(SessionSecret::from_bytes(&fencing_token.secret), "fencing_token.secret")?,
        })
    }
}

impl From<&RequestId> for v1::RequestId {
    fn from(request: &RequestId) -> Self {
        Self { job_id: request.job.to_string(), outer_step: request.outer_step, index: request.index }
    }
}

impl TryFrom<v1::RequestId> for RequestId {
    type Error = FieldError;

    fn try_from(request: v1::RequestId) -> Result<Self, FieldError> {
        Ok(Self { job: job_id(&request.job_id)?, outer_step: request.outer_step, index: request.index })
    }
}

impl From<VisitSums> for v1::VisitSums {
    fn from(visits: VisitSums) -> Self {
        Self { last_loss_sum: visits.last_loss, gradient_norm_sum: visits.gradient_norm }
    }
}

impl From<v1::VisitSums> for VisitSums {
    fn from(visits: v1::VisitSums) -> Self {
        Self { last_loss: visits.last_loss_sum, gradient_norm: visits.gradient_norm_sum }
    }
}

impl From<ModelState<usize>> for v1::StateHeader {
    fn from(lengths: ModelState<usize>) -> Self {
        let ModelState { parameters, statistics } = lengths.map(|length| length as u64);
        Self { parameters, statistics }
    }
}

impl From<v1::StateHeader> for ModelState<u64> {
    fn from(lengths: v1::StateHeader) -> Self {
        Self { parameters: lengths.parameters, statistics: lengths.statistics }
    }
}

impl From<Segment> for v1::Segment {
    fn from(segment: Segment) -> Self {
        Self { first_shard: segment.first, end_shard: segment.end }
    }
}

impl TryFrom<v1::Segment> for Segment {
    type Error = FieldError;

    fn try_from(segment: v1::Segment) -> Result<Self, FieldError> {
        let segment = Segment { first: segment.first_shard, end: segment.end_shard };
        required((!segment.is_empty()).then_some(segment), "segment")
    }
}

impl From<BlockRange> for v1::BlockRange {
    fn from(range: BlockRange) -> Self {
        Self { first: range.first, end: range.end }
    }
}

impl TryFrom<v1::BlockRange> for BlockRange {
    type Error = FieldError;

    fn try_from(range: v1::BlockRange) -> Result<Self, FieldError> {
        required(Self::new(range.first, range.end), "blocks")
    }
}

/// The digests of blocks, one after the other.
pub fn digests_to_bytes(digests: &[BlockDigest]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(digests.len() * BlockDigest::BYTES);
    digests.iter().for_each(|digest| bytes.put_slice(digest.as_bytes()));
    bytes.freeze()
}

/// Reads what [`digests_to_bytes`] wrote.
///
/// # Errors
/// If the last digest is not whole.
pub fn digests_from_bytes(bytes: &[u8], field: &'static str) -> Result<Vec<BlockDigest>, FieldError> {
    let (digests, rest) = bytes.as_chunks::<{ BlockDigest::BYTES }>();
    required(
        rest.is_empty().then(|| digests.iter().map(|digest| BlockDigest::from_bytes(*digest)).collect()),
        field,
    )
}
