//! Samples in memory while they are collected and afterwards: in blocks, so that a growing number of them is never
//! copied, and takes no more memory than it fills.

use super::Rows;

/// About how many bytes a block has; one that holds a single larger row has more.
const BLOCK: usize = 1 << 20;

/// Rows of equal length.
#[derive(Clone, Debug)]
pub(crate) struct Blocks<T> {
    /// Elements of a row; at least one.
    size: usize,
    /// Rows of every block but the last, which may have fewer.
    rows: usize,
    blocks: Vec<Vec<T>>,
    len: usize,
}

impl<T: Copy + Default> Blocks<T> {
    /// No rows yet, of `size` elements each; of no elements only if none follows.
    pub(crate) fn new(size: usize) -> Self {
        let size = size.max(1);
        Self { size, rows: (BLOCK / size_of::<T>() / size).max(1), blocks: Vec::new(), len: 0 }
    }

    /// Rows that lie in memory one after the other already.
    fn of(elements: Vec<T>, size: usize) -> Self {
        let len = elements.len() / size.max(1);
        Self { size: size.max(1), rows: len.max(1), blocks: vec![elements], len }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A row, if there are so many.
    pub(crate) fn get(&self, row: usize) -> Option<&[T]> {
        let start = row % self.rows * self.size;
        self.blocks.get(row / self.rows)?.get(start..start + self.size)
    }

    /// The elements of all rows in order, in slices.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[T]> {
        self.blocks.iter().map(Vec::as_slice)
    }

    /// Adds a row of exactly as many elements as a row has.
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = T>) {
        let block = self.room();
        let before = block.len();
        block.extend(row);
        debug_assert_eq!(block.len() - before, self.size, "a row has the length that was announced");
        self.len += 1;
    }

    /// Adds rows of zeros, and returns them to be filled.
    pub(crate) fn add(&mut self, rows: usize) -> Vec<&mut [T]> {
        let (first, start) = (self.len / self.rows, self.len % self.rows * self.size);
        for _ in 0..rows {
            let size = self.size;
            let block = self.room();
            block.resize(block.len() + size, T::default());
            self.len += 1;
        }
        let blocks = self.blocks.iter_mut().skip(first).enumerate();
        let new = blocks.map(|(place, block)| &mut block[if place == 0 { start } else { 0 }..]);
        new.flat_map(|elements| elements.chunks_exact_mut(self.size)).collect()
    }

    /// Of the last rows, keeps those that are marked, in their order.
    pub(crate) fn retain_last(&mut self, keep: &[bool]) {
        let first = self.len - keep.len();
        let mut target = first;
        for (place, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
            let row = self.get(first + place).map(<[T]>::to_vec);
            if let (Some(row), Some(place)) = (row, self.get_mut(target)) {
                place.copy_from_slice(&row);
            }
            target += 1;
        }
        self.truncate(target);
    }

    /// Rows of `size` elements each: `convert` appends that of a row of these to its second argument. Each block is given
    /// back once it is converted.
    pub(crate) fn converted<U: Copy + Default>(
        self,
        size: usize,
        convert: impl Fn(&[T], &mut Vec<U>),
    ) -> Blocks<U> {
        let mut result = Blocks::new(size);
        let mut row = Vec::with_capacity(size);
        for block in self.blocks {
            for elements in block.chunks_exact(self.size) {
                row.clear();
                convert(elements, &mut row);
                result.push(row.iter().copied());
            }
        }
        result
    }

    /// Changes all elements.
    pub(crate) fn for_each_mut(&mut self, change: impl FnMut(&mut T)) {
        self.blocks.iter_mut().flatten().for_each(change);
    }

    fn get_mut(&mut self, row: usize) -> Option<&mut [T]> {
        let start = row % self.rows * self.size;
        self.blocks.get_mut(row / self.rows)?.get_mut(start..start + self.size)
    }

    fn truncate(&mut self, len: usize) {
        self.len = len;
        let blocks = len.div_ceil(self.rows);
        self.blocks.truncate(blocks);
        if let Some(last) = self.blocks.last_mut() {
            last.truncate((len - (blocks - 1) * self.rows) * self.size);
        }
    }

    /// The block that has room for a row.
    fn room(&mut self) -> &mut Vec<T> {
        let full = self.rows * self.size;
        if self.len == self.rows * self.blocks.len() {
            // Few rows should not take a whole block. Later blocks are filled, so each is allocated at once.
            let first = if self.blocks.is_empty() { self.size } else { full };
            self.blocks.push(Vec::with_capacity(first));
        }
        #[expect(clippy::expect_used, reason = "a block was added if there was none with room")]
        self.blocks.last_mut().expect("a block with room")
    }
}

/// The samples of one split.
#[derive(Clone, Debug)]
pub(crate) struct Samples<T> {
    pub(crate) inputs: Blocks<T>,
    /// Class of each sample.
    pub(crate) targets: Blocks<u32>,
}

impl<T: Copy + Default> Samples<T> {
    /// No samples yet, whose inputs have `size` elements each.
    pub(crate) fn new(size: usize) -> Self {
        Self { inputs: Blocks::new(size), targets: Blocks::new(1) }
    }

    /// Samples whose inputs have `size` elements each; the caller has checked the numbers.
    pub(crate) fn of(rows: Rows<T>, size: usize) -> Self {
        Self { inputs: Blocks::of(rows.inputs, size), targets: Blocks::of(rows.targets, 1) }
    }

    /// Number of classes that the targets need: one more than the greatest target, 0 without samples.
    pub(crate) fn classes(&self) -> usize {
        let targets = self.targets.slices().flatten();
        targets.max().map_or(0, |&greatest| greatest as usize + 1)
    }
}

#[cfg(test)]
mod tests;
