//! A job as it comes over the wire, from whatever client.

use lookbehind_proto::v1;
use lookbehind_proto::wire::{from_proto, to_proto};
use prost::Message as _;

use crate::job_file_target::is_sound;
use crate::memory;

/// What can be read is written back as the same job, accepted or not.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let limit = (1 << 20) + 1000 * bytes.len();
    let Ok(message) = memory::within(limit, || v1::JobSpec::decode(bytes)) else { return false };
    let Ok(file) = memory::within(limit, || from_proto(&message)) else { return false };
    let written = to_proto(&file);
    let again = from_proto(&written).unwrap_or_else(|error| panic!("a job is not read back: {error}"));
    // Compared as bytes: what is not accepted may hold NaN.
    assert_eq!(to_proto(&again).encode_to_vec(), written.encode_to_vec());
    nothing_is_lost(message, &written);
    is_sound(&file, bytes.len())
}

/// Whatever a message says is said again: merging what is written into it brings nothing back.
fn nothing_is_lost(mut message: v1::JobSpec, written: &v1::JobSpec) {
    // Merging appends to lists.
    let milestones = message.schedule.as_mut().map(|schedule| std::mem::take(&mut schedule.milestones));
    let again = written.schedule.as_ref().map(|schedule| schedule.milestones.clone());
    assert_eq!(milestones.unwrap_or_default(), again.unwrap_or_default());
    let written = written.encode_to_vec();
    message.merge(written.as_slice()).expect("a message as it was written");
    assert_eq!(message.encode_to_vec(), written, "{message:?}");
}
