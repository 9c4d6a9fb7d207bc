//! Images: from the bytes of a PNG or JPEG file to pixels in the form that a data set needs.
//!
//! A file must give the same pixels on every processor: the JPEG decoder is built without its SIMD paths (see the
//! workspace manifest), PNG is lossless, and the rest is integer arithmetic.

mod collector;
mod decode;
mod form;

pub(super) use collector::{Collector, Encoded, load};
pub use decode::ImageProblem;
pub(super) use form::FormParameters;
