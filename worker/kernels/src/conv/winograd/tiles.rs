//! Which tiles a convolution has, and which pixels they cover.

use std::ops::Range;

use super::super::geometry::{Geometry, Plane};
use super::tile::OUT;

/// The tiles of all images, numbered image by image, row by row.
pub(super) struct Tiles {
    geometry: Geometry,
    /// Tiles of an image from top to bottom.
    down: usize,
    /// Tiles of an image from left to right.
    across: usize,
}

/// Some tiles, and the pixels of the output that no other tiles cover.
pub(super) struct Block {
    pub(super) tiles: Range<usize>,
    /// Index of the first pixel, over all images.
    pub(super) first_pixel: usize,
    /// Number of pixels; they are contiguous.
    pub(super) pixels: usize,
}

/// Position of a tile.
#[derive(Clone, Copy)]
pub(super) struct Place {
    image: usize,
    top: usize,
    left: usize,
}

impl Tiles {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let Plane { height, width, .. } = geometry.output;
        Self { geometry: *geometry, down: height.div_ceil(OUT), across: width.div_ceil(OUT) }
    }

    pub(super) fn count(&self) -> usize {
        self.geometry.images * self.of_image()
    }

    pub(super) fn inputs(&self) -> usize {
        self.geometry.input.channels
    }

    pub(super) fn outputs(&self) -> usize {
        self.geometry.output.channels
    }

    fn of_image(&self) -> usize {
        self.down * self.across
    }

    /// Divides the output into blocks of about `wanted` tiles: whole images, or rows of tiles of one image.
    pub(super) fn blocks(&self, wanted: usize) -> Vec<Block> {
        let images = (wanted / self.of_image()).max(1);
        let rows = if wanted < self.of_image() { (wanted / self.across).max(1) } else { self.down };
        let mut blocks = Vec::new();
        let mut first_pixel = 0;
        for image in (0..self.geometry.images).step_by(images) {
            let images = images.min(self.geometry.images - image);
            for top in (0..self.down).step_by(rows) {
                let rows = rows.min(self.down - top);
                let start = image * self.of_image() + top * self.across;
                let pixels = self.pixels(images, top, rows);
                let tiles = start..start + if rows < self.down { rows } else { images * rows } * self.across;
                blocks.push(Block { tiles, first_pixel, pixels });
                first_pixel += pixels;
            }
        }
        blocks
    }

    /// Pixels that `rows` rows of tiles from `top` on cover, or those of `images` whole images.
    fn pixels(&self, images: usize, top: usize, rows: usize) -> usize {
        let Plane { height, width, .. } = self.geometry.output;
        if rows == self.down {
            images * height * width
        } else {
            (height.min((top + rows) * OUT) - top * OUT) * width
        }
    }

    pub(super) fn place(&self, tile: usize) -> Place {
        let (image, tile) = (tile / self.of_image(), tile % self.of_image());
        Place { image, top: tile / self.across * OUT, left: tile % self.across * OUT }
    }

    /// Index of a tile's input pixel over all images; `None` in the padding.
    pub(super) fn input_pixel(&self, place: Place, down: usize, right: usize) -> Option<usize> {
        let Plane { height, width, .. } = self.geometry.input;
        let padding = self.geometry.options.padding;
        let row = (place.top + down).checked_sub(padding).filter(|&row| row < height)?;
        let column = (place.left + right).checked_sub(padding).filter(|&column| column < width)?;
        Some((place.image * height + row) * width + column)
    }

    /// Index of a tile's output pixel over all images; `None` beyond the edge.
    pub(super) fn output_pixel(&self, place: Place, down: usize, right: usize) -> Option<usize> {
        let Plane { height, width, .. } = self.geometry.output;
        let (row, column) = (place.top + down, place.left + right);
        (row < height && column < width).then_some((place.image * height + row) * width + column)
    }
}
