//! The weights that workers download: one version per job. They need no encoding: the bytes of a flat buffer are what
//! goes over the wire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lookbehind_common::blocks::{BlockDigest, BlockRange, Blocks};
use lookbehind_common::flat_buffer::{FlatBufferPool, shared_bytes};
use lookbehind_common::ids::JobId;
use lookbehind_common::model_state::{ModelState, Weights};
use lookbehind_proto::transfer::blocks::Block;
use lookbehind_proto::transfer::{RunningChecksum, Sender};

use super::abreast::Abreast;
use super::turns::{Pace, Turns};

/// Maximum number of flat buffers kept per job, so that partials of the next request reuse the memory of earlier ones.
const IDLE_FLAT_BUFFERS: usize = 16;

/// One version of a job's weights.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    version: u64,
    pub(crate) weights: Weights,
    /// Digests of the blocks; empty if they are not known.
    digests: Arc<[BlockDigest]>,
    /// Shared by all downloads of this version, which send the same bytes.
    checksum: RunningChecksum,
    /// Memory for the partials of the job that are received.
    flat_buffers: FlatBufferPool,
    /// Whose turn it is to download this version.
    pub(crate) turns: Arc<Turns>,
    /// What keeps downloads of ranges of this version abreast of each other.
    pub(crate) abreast: Arc<Abreast>,
    /// How fast the job's weights are downloaded.
    pace: Pace,
}

impl Published {
    /// A transfer of the weights.
    pub(crate) fn send(&self) -> Sender {
        let parts = [&self.weights.parameters, &self.weights.statistics].map(shared_bytes);
        Sender::sharing(self.checksum.clone(), parts, &[])
    }

    /// A range of blocks, in order; `None` if there are no such blocks, or they are not served singly.
    pub(crate) fn blocks(&self, range: BlockRange) -> Option<Vec<Block>> {
        let blocks = Blocks::new(self.weights.lengths());
        let bytes = [&self.weights.parameters, &self.weights.statistics].map(shared_bytes);
        let bytes = ModelState::from(bytes);
        let block = |(number, digest): (u32, &BlockDigest)| {
            let (kind, elements) = blocks.place(number);
            let range = elements.start * size_of::<f32>()..elements.end * size_of::<f32>();
            Block { bytes: bytes[kind].slice(range), digest: *digest }
        };
        Some(range.numbers().zip(range.of(&self.digests)?).map(block).collect())
    }
}

/// The newest weights of each running job.
#[derive(Debug, Default)]
pub(crate) struct WeightsTable(Mutex<HashMap<JobId, Published>>);

impl WeightsTable {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Published>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, job: JobId, version: u64, weights: Weights, digests: Arc<[BlockDigest]>) {
        let mut table = self.table();
        let earlier = table.get(&job).map(|earlier| (earlier.flat_buffers.clone(), earlier.pace.clone()));
        let (flat_buffers, pace) =
            earlier.unwrap_or_else(|| (FlatBufferPool::new(IDLE_FLAT_BUFFERS), Pace::default()));
        let (checksum, turns) = (RunningChecksum::default(), Arc::new(Turns::new(pace.clone())));
        let abreast = Arc::default();
        let published = Published { version, weights, digests, checksum, flat_buffers, turns, abreast, pace };
        table.insert(job, published);
    }

    /// Memory for a job's partials. It is freed when the job's weights are no longer served; for a job without
    /// published weights the pool keeps nothing.
    pub(crate) fn flat_buffers(&self, job: &JobId) -> FlatBufferPool {
        self.table()
            .get(job)
            .map_or_else(|| FlatBufferPool::new(0), |published| published.flat_buffers.clone())
    }

    pub(crate) fn unpublish(&self, job: &JobId) {
        self.table().remove(job);
    }

    /// The weights, if `version` is the newest; older versions are not kept.
    pub(crate) fn get(&self, job: &JobId, version: u64) -> Option<Published> {
        self.table().get(job).filter(|published| published.version == version).cloned()
    }
}
