//! Vectors of neighbouring elements, also where fewer are left than a vector holds.

use pulp::{Arch, Simd};

/// The widest instruction set of this machine for which there are kernels.
pub(super) fn arch() -> Arch {
    #[cfg(test)]
    if let Some(arch) = tests::FORCED.get() {
        return arch;
    }
    Arch::new()
}

/// Loads the elements from `start` on, and zeros beyond the end, which may come before `start`.
#[inline(always)]
pub(super) fn load<S: Simd>(simd: S, elements: &[f32], start: usize) -> S::f32s {
    match elements.get(start..start + S::F32_LANES) {
        Some(full) => S::as_simd_f32s(full).0[0],
        None => simd.partial_load_f32s(elements.get(start..).unwrap_or(&[])),
    }
}

/// Stores a vector from `start` on, cut at the end of `elements`.
///
/// # Panics
/// When `start` lies beyond the end.
#[inline(always)]
pub(super) fn store<S: Simd>(simd: S, elements: &mut [f32], start: usize, values: S::f32s) {
    match elements.get_mut(start..start + S::F32_LANES) {
        Some(full) => S::as_mut_simd_f32s(full).0[0] = values,
        None => simd.partial_store_f32s(&mut elements[start..], values),
    }
}

#[cfg(test)]
pub(super) mod tests;
