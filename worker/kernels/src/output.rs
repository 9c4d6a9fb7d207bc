//! Results of kernels. Each part is cleared by the thread that then computes it, so that it is in that thread's cache;
//! clearing the whole result first would be one more pass over memory, on one thread.

#![allow(unsafe_code, reason = "no safe way leads to a vector whose elements several threads write first")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::interruption::Interruption;

/// What a part holds before its kernel computes it. In tests NaN, so that a kernel that skips an element does not agree
/// with its definition.
const CLEARED: f32 = if cfg!(test) { f32::NAN } else { 0.0 };

/// Computes a vector of `len` elements in parts of `part` elements; the last may be shorter. `compute` gets each part's
/// index and the part, cleared; parts of a pass that is interrupted are left so.
pub(super) fn in_parts(len: usize, part: usize, compute: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let part = part.max(1);
    let lens: Vec<usize> = (0..len).step_by(part).map(|start| part.min(len - start)).collect();
    in_parts_of(&lens, compute)
}

/// The same in parts of the given lengths.
pub(super) fn in_parts_of(lens: &[usize], compute: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let len = lens.iter().sum();
    let mut elements = Vec::with_capacity(len);
    let mut memory = &mut elements.spare_capacity_mut()[..len];
    let mut parts = Vec::with_capacity(lens.len());
    for &len in lens {
        let (part, rest) = memory.split_at_mut(len);
        parts.push(part);
        memory = rest;
    }
    let interruption = Interruption::current();
    parts.into_par_iter().enumerate().for_each(|(number, part)| {
        let part = cleared(part);
        if !interruption.is_raised() {
            compute(number, part);
        }
    });
    // SAFETY: the capacity is `len` elements. The parts cover them all, and each was initialised when it was cleared.
    unsafe { elements.set_len(len) };
    elements
}

fn cleared(part: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    part.fill(MaybeUninit::new(CLEARED));
    // SAFETY: all of it has just been written, and `MaybeUninit<f32>` has the layout of `f32`.
    unsafe { &mut *(std::ptr::from_mut(part) as *mut [f32]) }
}

#[cfg(test)]
mod tests;
