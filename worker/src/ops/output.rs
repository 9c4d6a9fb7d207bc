//! Results of kernels in memory that nobody clears first: zeros that are overwritten at once cost as much as a pass over
//! the result.

/// A vector of `len` numbers that `write` writes.
///
/// `write` must write every number, and read none that it has not written. In tests they are NaN before, so that a kernel
/// that leaves one out does not agree with its definition.
#[allow(unsafe_code, reason = "memory whose content is written before it is read need not be cleared")]
#[allow(
    clippy::uninit_vec,
    reason = "every number is written before it is read; floats have no invalid bytes"
)]
pub(crate) fn written(len: usize, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and `write` writes every number before anybody reads it.
    unsafe { numbers.set_len(len) };
    if cfg!(test) {
        numbers.fill(f32::NAN);
    }
    write(&mut numbers);
    numbers
}
