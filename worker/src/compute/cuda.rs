//! Jobs on GPUs: one worker process serves all GPUs of its machine.
//!
//! A segment of the canonical reduction is divided into adjacent parts, and each GPU gets a contiguous run of them
//! ([`division`]). Each GPU has a thread and a replica of the model ([`device_thread`]); it sums its parts where they
//! were computed, and the sums of different GPUs are added in the same tree on one of them ([`job`]). One partial for
//! the segment leaves the device, whatever the number of GPUs.

mod device_thread;
mod division;
mod download;
mod flat_buffers;
mod gpus;
mod in_flight;
mod job;
mod replica;
mod step;
mod sum;
mod summing;
mod timeline;
mod trouble;
mod upload;

pub(super) use gpus::Gpus;
pub(super) use trouble::in_building;
pub(crate) use trouble::of_device;
