//! Images: from the bytes of a file to pixels in the form that a data set needs.
//!
//! A file must give the same pixels on every processor: the JPEG decoder is built without its SIMD paths (see the
//! workspace manifest), the other decoders compute with integers, and so does the rest.

mod collector;
mod decode;
mod form;
mod formats;
mod header;
mod indexed;
mod orientation;
mod parameters;
mod resize;
mod stored;

pub(super) use collector::{Collector, Encoded, load, load_kept};
pub use decode::{ForeignBytes, ImageProblem};
pub(super) use parameters::FormParameters;
