//! Arguments of kernels.

use candle_core::Result;
use cudarc::driver::DeviceRepr;

#[derive(Clone, Copy, Debug)]
pub(super) enum Argument {
    /// An address on the device; 0 stands for null.
    Pointer(u64),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Windows(PoolWindows),
}

impl Argument {
    /// An extent that the kernel takes as `int`.
    pub(super) fn int(extent: usize) -> Result<Self> {
        int(extent).map(Self::Int)
    }

    /// An extent that the kernel takes as `long long`.
    pub(super) fn long(extent: usize) -> Result<Self> {
        match i64::try_from(extent) {
            Ok(extent) => Ok(Self::Long(extent)),
            Err(_) => too_large(extent),
        }
    }
}

fn int(extent: usize) -> Result<i32> {
    i32::try_from(extent).or_else(|_| too_large(extent))
}

fn too_large<T>(extent: usize) -> Result<T> {
    candle_core::bail!("an extent of {extent} is too large for the kernels")
}

/// The windows of a pooling layer, as the layer describes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowsOf {
    pub(crate) input: (usize, usize),
    pub(crate) output: (usize, usize),
    pub(crate) channels: usize,
    pub(crate) size: (usize, usize),
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    /// Whether the maximum is computed; otherwise the mean.
    pub(crate) is_max: bool,
}

/// `Windows` of `pool.cu`: no extent is negative, and the stride is not 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct PoolWindows {
    height: i32,
    width: i32,
    out_height: i32,
    out_width: i32,
    channels: i32,
    down: i32,
    across: i32,
    stride: i32,
    padding: i32,
    is_max: i32,
}

#[allow(unsafe_code, reason = "the kernel takes the same fields in the same order")]
// SAFETY: integers, in the layout of the kernel's structure.
unsafe impl DeviceRepr for PoolWindows {}

impl PoolWindows {
    /// Converts the layer's description to the kernel's structure.
    ///
    /// # Errors
    /// When an extent is too large, or the stride is 0.
    pub(crate) fn new(of: &WindowsOf) -> Result<Self> {
        if of.stride == 0 {
            candle_core::bail!("pooling windows with stride 0, expected at least 1");
        }
        Ok(Self {
            height: int(of.input.0)?,
            width: int(of.input.1)?,
            out_height: int(of.output.0)?,
            out_width: int(of.output.1)?,
            channels: int(of.channels)?,
            down: int(of.size.0)?,
            across: int(of.size.1)?,
            stride: int(of.stride)?,
            padding: int(of.padding)?,
            is_max: of.is_max.into(),
        })
    }

    /// Elements of an input image: height · width · channels.
    pub(super) fn input(&self) -> Result<usize> {
        product([self.height, self.width, self.channels])
    }

    /// Elements of an output image: height · width · channels.
    pub(super) fn output(&self) -> Result<usize> {
        product([self.out_height, self.out_width, self.channels])
    }
}

fn product(extents: [i32; 3]) -> Result<usize> {
    let extents = extents.map(usize::try_from).into_iter().collect::<std::result::Result<Vec<_>, _>>();
    super::elements(&extents.map_err(candle_core::Error::wrap)?)
}
