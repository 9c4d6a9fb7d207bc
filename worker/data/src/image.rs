//! Images: from the bytes of a PNG or JPEG file to pixels of the form that a data set needs.
//!
//! Every processor must make the same pixels of a file: the JPEG decoder is built without its SIMD paths (see the
//! workspace manifest), PNG is lossless, and the rest is whole-number arithmetic.

mod collector;
mod decode;
mod form;

pub(super) use collector::{Collector, Encoded, load};
pub use decode::ImageProblem;
pub(super) use form::FormParameters;
