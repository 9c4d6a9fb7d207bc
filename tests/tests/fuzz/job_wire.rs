//! A job as it arrives over the wire, from any client.

use lookbehind_proto::v1;
use lookbehind_proto::wire::{from_proto, to_proto};
use prost::Message as _;

use crate::job_file_target::is_sound;
use crate::memory;

/// A decoded job is encoded again as the same job, whether accepted or not.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let limit = (1 << 20) + 1000 * bytes.len();
    let Ok(message) = memory::within(limit, || v1::JobSpec::decode(bytes)) else { return false };
    let Ok(file) = memory::within(limit, || from_proto(&message)) else { return false };
    let written = to_proto(&file);
    let again = from_proto(&written).unwrap_or_else(|error| panic!("a job is not read back: {error}"));
    // Compared as bytes, because a job that is not accepted may contain NaN.
    assert_eq!(to_proto(&again).encode_to_vec(), written.encode_to_vec());
    nothing_is_lost(message, &written);
    is_sound(&file, bytes.len())
}

/// Nothing in a message is lost: merging the written message into it changes nothing.
fn nothing_is_lost(mut message: v1::JobSpec, written: &v1::JobSpec) {
    // Merging appends to lists, so the list of milestones is compared separately.
    let milestones = message.schedule.as_mut().map(|schedule| std::mem::take(&mut schedule.milestones));
    let again = written.schedule.as_ref().map(|schedule| schedule.milestones.clone());
    assert_eq!(milestones.unwrap_or_default(), again.unwrap_or_default());
    let written = written.encode_to_vec();
    message.merge(written.as_slice()).expect("a message as it was written");
    assert_eq!(message.encode_to_vec(), written, "{message:?}");
}
