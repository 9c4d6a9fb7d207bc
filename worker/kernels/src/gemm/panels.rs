//! Right operands in panels: each holds the columns that the kernel takes at once, row after row along the depth, so
//! that the kernel reads memory in order.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Rhs;
use crate::lanes::arch;
use crate::scratch::{self, Scratch};

/// Vectors of columns in a row of a panel.
pub(super) const VECTORS: usize = 2;
/// Columns of the widest panel of any instruction set.
pub(crate) const MAX_WIDTH: usize = 64;

/// How a right operand lies in panels: one panel after the other, in each the steps of the depth, in each step the
/// columns. The last panel is padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PanelLayout {
    /// Number of terms in each sum.
    pub(crate) depth: usize,
    /// Columns of the matrix product.
    pub(crate) columns: usize,
    /// Columns of a panel with this machine's instruction set.
    pub(crate) width: usize,
}

impl PanelLayout {
    pub(crate) fn new(depth: usize, columns: usize) -> Self {
        struct Width;
        impl WithSimd for Width {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _simd: S) -> usize {
                VECTORS * S::F32_LANES
            }
        }
        Self { depth, columns, width: arch().dispatch(Width) }
    }

    pub(crate) fn panels(self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Elements of all panels together.
    pub(crate) fn len(self) -> usize {
        self.panels() * self.panel_len()
    }

    /// Elements that have this layout, as the operand of a matrix product.
    pub(crate) fn rhs(self, elements: &[f32]) -> Rhs<'_> {
        Rhs { elements, panel: self.panel_len(), first: 0, layout: self }
    }

    /// Elements of one panel.
    pub(crate) fn panel_len(self) -> usize {
        self.depth * self.width
    }
}

/// A packed right operand.
pub(crate) struct Panels {
    elements: Scratch,
    layout: PanelLayout,
}

impl Panels {
    /// Packs a matrix whose element (p, j) is computed by `fill`. It is called with p, the first column of a panel and
    /// the panel's row to fill, which is cut to the matrix' columns.
    pub(crate) fn pack(depth: usize, columns: usize, fill: impl Fn(usize, usize, &mut [f32]) + Sync) -> Self {
        let layout = PanelLayout::new(depth, columns);
        let mut elements = scratch::take(layout.len());
        let width = layout.width;
        let pack = |(panel, target): (usize, &mut [f32])| {
            let first = panel * width;
            let used = width.min(columns - first);
            for (p, row) in target.chunks_exact_mut(width).enumerate() {
                let (row, rest) = row.split_at_mut(used);
                fill(p, first, row);
                rest.fill(0.0);
            }
        };
        let panels = elements.par_chunks_mut(layout.panel_len().max(1)).enumerate();
        panels.with_min_len((1 << 14) / layout.panel_len().max(1) + 1).for_each(pack);
        Self { elements, layout }
    }

    /// Packs a row-major matrix with rows of `columns` elements.
    pub(crate) fn of_rows(matrix: &[f32], depth: usize, columns: usize) -> Self {
        Self::pack(depth, columns, |p, first, target| {
            let start = p * columns + first;
            target.copy_from_slice(&matrix[start..start + target.len()]);
        })
    }

    /// Packs the transpose of a row-major matrix with rows of `depth` elements.
    pub(crate) fn of_columns(matrix: &[f32], depth: usize, columns: usize) -> Self {
        Self::pack(depth, columns, |p, first, target| {
            for (j, value) in target.iter_mut().enumerate() {
                *value = matrix[(first + j) * depth + p];
            }
        })
    }

    pub(crate) fn rhs(&self) -> Rhs<'_> {
        self.layout.rhs(&self.elements)
    }
}
