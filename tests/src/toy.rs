//! A job that needs no tensor library: nine parameters, twelve samples, gradients that do not depend on the weights.

use lookbehind_common::job::JobFile;
use lookbehind_common::partial::Sums;
use lookbehind_common::reduction::shard_range;
use lookbehind_proto::v1;

use crate::jobs::job;

/// Number of parameters of the model.
pub const PARAMETERS: usize = 9;
/// Number of samples in the training split.
pub const SAMPLES: u64 = 12;
/// Samples in a batch.
const BATCH: u64 = 8;

/// The job: two epochs of two batches, four shards, plain SGD.
pub fn toy() -> JobFile {
    job(r#"
        name = "toy"
        [model]
        kind = "toy"
        [data]
        kind = "toy"
        [train]
        epochs = 2
        batch_size = 8
        shards = 4
        [optimizer]
        method = "sgd"
        [optimizer.base]
        kind = "sgd"
        lr = 0.1
    "#)
}

/// The description of model and data that a worker sends.
pub fn description() -> v1::JobDescription {
    v1::JobDescription {
        tensors: vec![tensor("toy.weight", &[3, 2]), tensor("toy.bias", &[3])],
        train_samples: SAMPLES,
        test_samples: 0,
        validation_samples: 0,
        clean_samples: 0,
        memorised_samples: 0,
        data_fingerprint: vec![7; 32].into(),
        class_names: Vec::new(),
        data_report: Vec::new(),
    }
}

/// The layout entry of a parameter.
pub fn tensor(name: &str, shape: &[u64]) -> v1::TensorLayout {
    let kind = v1::TensorKind::Parameter.into();
    v1::TensorLayout { name: name.to_owned(), shape: shape.to_vec(), kind }
}

/// The initial weights, as the bytes that are sent.
pub fn initial() -> Vec<u8> {
    (0..PARAMETERS).flat_map(|index| (index as f32 / 4.0).to_le_bytes()).collect()
}

/// A segment's sums and gradient, as the bytes that are sent.
pub fn partial(assign: &v1::Assign, segment: v1::Segment) -> (Sums, Vec<u8>) {
    let batch_samples = BATCH.min(SAMPLES - assign.batch * BATCH);
    let range = |shard| shard_range(batch_samples, assign.shards, shard);
    let samples = range(segment.end_shard - 1).end - range(segment.first_shard).start;
    let share = samples as f32 / batch_samples as f32;
    let gradient = (0..PARAMETERS).flat_map(|index| (share * (index as f32 - 4.0)).to_le_bytes()).collect();
    (Sums { loss: 0.5 * samples as f64, correct: samples / 2, samples, visits: None }, gradient)
}
