//! Working memory of the kernels, reused from step to step: fresh pages cost more than the arithmetic on them.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Most bytes of idle memory that are kept.
const KEPT: usize = 1 << 29;

static IDLE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// Elements of arbitrary value; their memory returns to the idle list when they are dropped.
pub(super) struct Scratch {
    elements: Vec<f32>,
    len: usize,
}

/// Takes working memory of `len` elements of arbitrary value: NaN in tests, so that reading before writing is noticed.
pub(super) fn take(len: usize) -> Scratch {
    let mut elements = smallest_fitting(len).unwrap_or_else(|| vec![0.0; len]);
    if cfg!(test) {
        elements.fill(f32::NAN);
    }
    Scratch { elements, len }
}

/// Idle memory of at most four times the length, so that small requests do not occupy what large ones need.
fn smallest_fitting(len: usize) -> Option<Vec<f32>> {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = idle.iter().enumerate().filter(|(_, elements)| (len..=4 * len).contains(&elements.len()));
    let index = fitting.min_by_key(|(_, elements)| elements.len()).map(|(index, _)| index)?;
    Some(idle.remove(index))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let elements = std::mem::take(&mut self.elements);
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(elements);
        // The memory that has been idle longest is freed first: its size is most likely no longer needed.
        while idle.iter().map(|elements| size_of::<f32>() * elements.len()).sum::<usize>() > KEPT {
            idle.remove(0);
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.elements[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.elements[..self.len]
    }
}
