//! Between tensors on a GPU and a flat buffer that holds them one after the other.

use candle_core::{Result, Tensor};
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};

use super::{Gpu, Staging, View, kernels, view};

/// Elements that a block copies.
pub(super) const PIECE: usize = 4096;

/// `Piece` of `kernels/arena.cu`: some elements of a tensor.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Piece {
    tensor: u32,
    len: u32,
    in_tensor: i64,
    in_arena: i64,
}

#[allow(unsafe_code, reason = "the kernel takes the same fields in the same order")]
// SAFETY: plain numbers, laid out as the kernel's structure is.
unsafe impl DeviceRepr for Piece {}

#[allow(unsafe_code, reason = "all its fields may be zero")]
// SAFETY: zeros are a valid piece.
unsafe impl ValidAsZeroBits for Piece {}

/// Tensors that lie in a part of a flat buffer, one after the other.
pub struct Segment {
    /// The elements of each tensor.
    lens: Vec<usize>,
    /// Where the first one begins in the buffer, and where the last one ends.
    first: usize,
    end: usize,
    pieces: CudaSlice<Piece>,
    blocks: usize,
    addresses: Staging<u64>,
}

impl Segment {
    /// Tensors of `lens` elements, from element `first` of the buffer on.
    ///
    /// # Errors
    /// When there are more tensors or elements than the kernels can count, or the driver refuses.
    pub fn new(lens: Vec<usize>, first: usize, gpu: &Gpu) -> Result<Self> {
        let (mut pieces, mut end) = (Vec::new(), first);
        for (tensor, &len) in (0..).zip(&lens) {
            for start in (0..len).step_by(PIECE) {
                let [in_tensor, in_arena] = [start, end + start].map(i64::try_from);
                let len = u32::try_from(PIECE.min(len - start));
                let (Ok(len), Ok(in_tensor), Ok(in_arena)) = (len, in_tensor, in_arena) else {
                    candle_core::bail!("a tensor of {len:?} elements is too large for the kernels")
                };
                pieces.push(Piece { tensor, len, in_tensor, in_arena });
            }
            end += len;
        }
        let blocks = pieces.len();
        let pieces = Staging::new().upload(&pieces, gpu)?;
        Ok(Self { lens, first, end, pieces, blocks, addresses: Staging::new() })
    }

    /// Where the tensors lie, in their order, on the device; 0 for one that is missing.
    fn addresses(&mut self, tensors: &[Option<Tensor>], gpu: &Gpu) -> Result<CudaSlice<u64>> {
        if tensors.len() != self.lens.len() {
            candle_core::bail!("{} tensors, expected {}", tensors.len(), self.lens.len());
        }
        let mut addresses = Vec::with_capacity(tensors.len());
        for (tensor, &len) in tensors.iter().zip(&self.lens) {
            addresses.push(match tensor {
                Some(tensor) => {
                    let elements = view::<f32>(tensor)?;
                    if elements.len() != len {
                        candle_core::bail!("{} elements, expected {len}", elements.len());
                    }
                    elements.expect(gpu, len)?;
                    elements.address()
                }
                None => 0,
            });
        }
        self.addresses.upload(&addresses, gpu)
    }
}

/// Adds the first `len` elements of one buffer to those of another.
///
/// # Errors
/// When one of them has fewer, or is not of this GPU.
pub fn add(gpu: &Gpu, into: &mut CudaSlice<f32>, right: View<'_, f32>, len: usize) -> Result<()> {
    kernels::add(gpu, into, right, len)
}

/// Copies tensors into a new buffer, each segment's times a factor; what is missing becomes 0. The segments lie in the buffer
/// one after the other, from its first element on.
///
/// # Errors
/// When they do not, when a tensor is not contiguous, not of f32 on this GPU or not as long as its segment says, or the
/// driver refuses.
#[allow(unsafe_code, reason = "the kernel takes addresses from memory")]
pub fn gather(
    segments: &mut [(&mut Segment, Vec<Option<Tensor>>, f32)],
    gpu: &Gpu,
) -> Result<CudaSlice<f32>> {
    let mut len = 0;
    for (segment, ..) in segments.iter() {
        if segment.first != len {
            candle_core::bail!("a segment from element {} on, expected {len}", segment.first);
        }
        len = segment.end;
    }
    // SAFETY: the segments fill it, each from where the one before ends, and every element of a segment lies in a piece.
    let mut buffer = unsafe { gpu.uninitialized::<f32>(len) }?;
    for (segment, tensors, factor) in segments {
        let addresses = segment.addresses(tensors, gpu)?;
        let (pieces, addresses) = (View::from(&segment.pieces), View::from(&addresses));
        // SAFETY: the pieces were made for tensors of these lengths, which were compared; the tensors are freed, if they are,
        // in the order of the stream; the segments lie within the buffer.
        unsafe { kernels::gather(gpu, pieces, addresses, &mut buffer, *factor, segment.blocks) }?;
    }
    Ok(buffer)
}

/// Tensors that a segment of a flat buffer is copied to again and again.
pub struct Destination {
    segment: Segment,
    addresses: CudaSlice<u64>,
    /// They hold the memory that is written.
    _tensors: Vec<Option<Tensor>>,
}

impl Destination {
    /// The tensors of a segment.
    ///
    /// # Errors
    /// When one is missing, not contiguous, not of f32 on this GPU or not as long as the segment says.
    pub fn new(mut segment: Segment, tensors: Vec<Tensor>, gpu: &Gpu) -> Result<Self> {
        let tensors: Vec<Option<Tensor>> = tensors.into_iter().map(Some).collect();
        let addresses = segment.addresses(&tensors, gpu)?;
        Ok(Self { segment, addresses, _tensors: tensors })
    }

    /// The segment.
    pub fn segment(&mut self) -> &mut Segment {
        &mut self.segment
    }

    /// Overwrites the tensors with what the buffer has for them.
    ///
    /// # Errors
    /// When the buffer ends before the segment, or the driver refuses.
    #[allow(unsafe_code, reason = "the kernel takes addresses from memory")]
    pub fn scatter(&self, buffer: View<'_, f32>, gpu: &Gpu) -> Result<()> {
        buffer.expect(gpu, self.segment.end)?;
        let (pieces, addresses) = (View::from(&self.segment.pieces), View::from(&self.addresses));
        // SAFETY: the pieces were made for tensors of these lengths, which are held; the segment ends within the buffer.
        unsafe { kernels::scatter(gpu, pieces, addresses, buffer, self.segment.blocks) }
    }
}
