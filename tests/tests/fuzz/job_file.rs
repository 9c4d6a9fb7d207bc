//! The job file: an accepted file means the same to every reader.

use lookbehind_common::job::{JobError, JobFile, JobSpec, Length, parse_toml};
use lookbehind_common::sampling::Plan;
use lookbehind_proto::v1;
use lookbehind_proto::wire::{from_proto, to_proto};
use prost::Message as _;

use crate::memory;

/// An accepted file is unchanged after the transfer to the coordinator, and the error for a refused one says where it
/// is wrong.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let limit = (1 << 20) + 1000 * bytes.len();
    match memory::within(limit, || parse_toml(text)) {
        Ok(file) => is_sound(&file, bytes.len()),
        Err(error) => is_told(&error, bytes.len()),
    }
}

/// Checks a job whose types are correct; returns whether it is accepted.
pub(crate) fn is_sound(file: &JobFile, length: usize) -> bool {
    let spec = match file.validate() {
        Ok(spec) => spec,
        Err(error) => return is_told(&error, length),
    };
    let sent = to_proto(file).encode_to_vec();
    let message = v1::JobSpec::decode(sent.as_slice()).expect("a message as it was sent");
    let received =
        from_proto(&message).unwrap_or_else(|error| panic!("accepted, but not over the wire: {error}"));
    assert_eq!(received.validate().as_ref(), Ok(&spec), "the job means something else after the wire");
    assert_eq!(received, *file, "the job changed on the wire");
    assert_eq!(to_proto(&received).encode_to_vec(), sent, "the same job is another message");
    let stored = serde_json::to_string(file).expect("a job as JSON");
    assert_eq!(serde_json::from_str::<JobFile>(&stored).expect("a stored job"), *file);
    can_be_planned(&spec);
    true
}

/// An error names a place and a problem, and is not much longer than the input.
fn is_told(error: &JobError, length: usize) -> bool {
    let text = error.to_string();
    assert!(!error.path.is_empty() && !error.problem.is_empty(), "{text:?}");
    assert!(text.len() <= 4 * length + 1000, "an error of {} bytes about {length}", text.len());
    false
}

/// No accepted job can overflow the plan of its run, and its learning rates are finite.
fn can_be_planned(spec: &JobSpec) {
    let batches = spec.optimizer.method.batches_per_outer_step();
    assert!(batches > 0);
    let (Length::Epochs(units) | Length::Steps(units)) = spec.train.length;
    let base = spec.optimizer.base.lr();
    for unit in [0, units / 2, units - 1] {
        let rate = spec.schedule.learning_rate(base, unit, units);
        assert!(rate.is_finite() && rate >= 0.0, "learning rate {rate} at {unit} of {units}");
    }
    for samples in [1, 1797, 1 << 40] {
        let plan = Plan::new(samples, spec.train.batch_size, spec.data.drop_last, batches, spec.train.length);
        if let Some(plan) = plan {
            let end = plan.position(plan.outer_steps);
            assert!(plan.batch_samples(end.batch) <= spec.train.batch_size);
        }
    }
}
