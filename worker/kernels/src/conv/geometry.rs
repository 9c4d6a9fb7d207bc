//! The shapes of a convolution, validated.

use candle_core::Result;

/// Stride, padding, dilation and groups of a convolution. The default is 1, 0, 1 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Distance in pixels from one window to the next, down and across.
    pub stride: usize,
    /// Width in pixels of the border of zeros around the image.
    pub padding: usize,
    /// Distance in pixels from one tap of a window to the next.
    pub dilation: usize,
    /// Number of groups of channels; a group's outputs depend on its own inputs alone.
    pub groups: usize,
}

impl Default for Conv2d {
    fn default() -> Self {
        Self { stride: 1, padding: 0, dilation: 1, groups: 1 }
    }
}

/// A convolution's shapes, which are known to fit each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) images: usize,
    pub(crate) input: Plane,
    pub(crate) output: Plane,
    pub(crate) window: Window,
    pub(crate) options: Conv2d,
}

/// One image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Plane {
    /// Elements of an image.
    pub(crate) fn len(self) -> usize {
        self.pixels() * self.channels
    }

    pub(crate) fn pixels(self) -> usize {
        self.height * self.width
    }
}

/// The extents of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Window {
    pub(crate) fn taps(self) -> usize {
        self.height * self.width
    }
}

impl Geometry {
    /// Checks the shapes: input [n, h, w, c], weight [out, c / groups, kh, kw].
    pub(crate) fn new(
        (images, height, width, channels): (usize, usize, usize, usize),
        (out, in_group, window_height, window_width): (usize, usize, usize, usize),
        options: Conv2d,
    ) -> Result<Self> {
        let Conv2d { stride, padding, dilation, groups } = options;
        if images * height * width == 0 {
            candle_core::bail!("{images} images of {height}x{width}: expected at least one pixel");
        }
        if stride == 0 || dilation == 0 || groups == 0 {
            candle_core::bail!("stride {stride}, dilation {dilation}, groups {groups}: expected 1 or more");
        }
        if in_group * groups != channels || !out.is_multiple_of(groups) || out == 0 || in_group == 0 {
            candle_core::bail!(
                "inputs of {channels} channels and a weight [{out}, {in_group}, {window_height}, {window_width}] in \
                 {groups} groups do not fit each other"
            );
        }
        let extent = |size: usize, taps: usize| {
            let reach = dilation * taps.checked_sub(1)? + 1;
            Some((size + 2 * padding).checked_sub(reach)? / stride + 1)
        };
        let (Some(out_height), Some(out_width)) =
            (extent(height, window_height), extent(width, window_width))
        else {
            candle_core::bail!(
                "a window of {window_height}x{window_width} with dilation {dilation} does not fit into an image of \
                 {height}x{width} with padding {padding}"
            );
        };
        Ok(Self {
            images,
            input: Plane { height, width, channels },
            output: Plane { height: out_height, width: out_width, channels: out },
            window: Window { height: window_height, width: window_width },
            options,
        })
    }

    /// Whether it is computed in Winograd's domain: 3×3 windows with stride 1, over at least 8 channels on both sides.
    pub(crate) fn is_winograd(&self) -> bool {
        let moves = Conv2d { padding: self.options.padding, ..Conv2d::default() };
        self.window == Window { height: 3, width: 3 }
            && self.options == moves
            && self.options.padding <= 2
            && self.input.channels >= 8
            && self.output.channels >= 8
    }

    /// The convolution that computes the input's gradient from the output's, for 3×3 windows with stride 1.
    pub(crate) fn adjoint(&self) -> Self {
        let padding = 2 - self.options.padding;
        Self { input: self.output, output: self.input, options: Conv2d { padding, ..self.options }, ..*self }
    }

    pub(crate) fn group_inputs(&self) -> usize {
        self.input.channels / self.options.groups
    }

    pub(crate) fn group_outputs(&self) -> usize {
        self.output.channels / self.options.groups
    }

    /// Elements under a window of a group: the depth of the matrix product.
    pub(crate) fn depth(&self) -> usize {
        self.window.taps() * self.group_inputs()
    }

    pub(crate) fn output_pixels(&self) -> usize {
        self.images * self.output.pixels()
    }

    /// Whether each output pixel depends only on the input pixel with the same index.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.window.taps() == 1
            && self.options == Conv2d { dilation: self.options.dilation, ..Conv2d::default() }
    }

    /// The input's pixel under a tap of an output pixel, both indices within an image; `None` in the padding.
    pub(crate) fn source_pixel(&self, pixel: usize, tap: usize) -> Option<usize> {
        let (row, column) = (pixel / self.output.width, pixel % self.output.width);
        let (down, right) = (tap / self.window.width, tap % self.window.width);
        let row = self.source(row, down, self.input.height)?;
        let column = self.source(column, right, self.input.width)?;
        Some(row * self.input.width + column)
    }

    fn source(&self, position: usize, tap: usize, size: usize) -> Option<usize> {
        let Conv2d { stride, padding, dilation, .. } = self.options;
        (position * stride + tap * dilation).checked_sub(padding).filter(|&source| source < size)
    }

    pub(crate) fn input_dims(&self) -> (usize, usize, usize, usize) {
        (self.images, self.input.height, self.input.width, self.input.channels)
    }

    pub(crate) fn output_dims(&self) -> (usize, usize, usize, usize) {
        (self.images, self.output.height, self.output.width, self.output.channels)
    }

    pub(crate) fn weight_dims(&self) -> (usize, usize, usize, usize) {
        (self.output.channels, self.group_inputs(), self.window.height, self.window.width)
    }

    pub(crate) fn input_len(&self) -> usize {
        self.images * self.input.len()
    }

    pub(crate) fn output_len(&self) -> usize {
        self.images * self.output.len()
    }

    pub(crate) fn weight_len(&self) -> usize {
        self.output.channels * self.depth()
    }
}
