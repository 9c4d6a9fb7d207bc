//! Jobs on GPUs: one worker process serves all GPUs of its machine.
//!
//! A node of the canonical reduction is divided into parts that lie next to each other, one run of them for each GPU
//! ([`division`]). Each GPU has a thread and a copy of the model ([`lane`]); it sums its parts where they were computed, and
//! the sums of different GPUs are added in the same tree on one of them ([`job`]). One contribution for the node leaves the
//! device, whatever the number of GPUs.

mod arenas;
mod division;
mod download;
mod gpus;
mod in_flight;
mod job;
mod lane;
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
