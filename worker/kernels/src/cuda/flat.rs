//! Copies between tensors on a GPU and a flat buffer that holds them one after the other.

use candle_core::{Result, Tensor};
use cudarc::driver::{CudaSlice, DeviceRepr, ValidAsZeroBits};

use super::{Gpu, Staging, View, kernels, view};

/// Elements that one block copies.
pub(super) const PIECE: usize = 4096;

/// A run of elements of one tensor; `Piece` of `kernels/flat_buffer.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Piece {
    tensor: u32,
    len: u32,
    in_tensor: i64,
    in_flat_buffer: i64,
}

#[allow(unsafe_code, reason = "the kernel takes the same fields in the same order")]
// SAFETY: integers, in the layout of the kernel's structure.
unsafe impl DeviceRepr for Piece {}

#[allow(unsafe_code, reason = "all its fields may be zero")]
// SAFETY: zeros are a valid piece.
unsafe impl ValidAsZeroBits for Piece {}

/// Consecutive tensors that occupy a range of a flat buffer.
pub struct Segment {
    /// Number of elements of each tensor.
    lens: Vec<usize>,
    /// First element of the range in the buffer, and the one after its last.
    first: usize,
    end: usize,
    pieces: CudaSlice<Piece>,
    blocks: usize,
    addresses: Staging<u64>,
}

impl Segment {
    /// A segment of tensors of `lens` elements each, from element `first` of the buffer on.
    ///
    /// # Errors
    /// When there are more tensors or elements than the kernels can count, or the driver refuses.
    pub fn new(lens: Vec<usize>, first: usize, gpu: &Gpu) -> Result<Self> {
        let (mut pieces, mut end) = (Vec::new(), first);
        for (tensor, &len) in (0..).zip(&lens) {
            for start in (0..len).step_by(PIECE) {
                let [in_tensor, in_flat_buffer] = [start, end + start].map(i64::try_from);
                let len = u32::try_from(PIECE.min(len - start));
                let (Ok(len), Ok(in_tensor), Ok(in_flat_buffer)) = (len, in_tensor, in_flat_buffer) else {
                    candle_core::bail!("a tensor of {len:?} elements is too large for the kernels")
                };
                pieces.push(Piece { tensor, len, in_tensor, in_flat_buffer });
            }
            end += len;
        }
        let blocks = pieces.len();
        let pieces = Staging::new().upload(&pieces, gpu)?;
        Ok(Self { lens, first, end, pieces, blocks, addresses: Staging::new() })
    }

    /// Copies the tensors' addresses to the device, in their order; 0 for a missing tensor.
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
/// When one of them has fewer, or belongs to another GPU.
pub fn add(gpu: &Gpu, into: &mut CudaSlice<f32>, right: View<'_, f32>, len: usize) -> Result<()> {
    kernels::add(gpu, into, right, len)
}

/// Rounds the first `len` elements of a buffer to bfloat16, to nearest, ties to even.
///
/// # Errors
/// When it has fewer, or belongs to another GPU.
pub fn round_to_bf16(gpu: &Gpu, values: &mut CudaSlice<f32>, len: usize) -> Result<()> {
    kernels::round_to_bf16(gpu, values, len)
}

/// Copies tensors into a new buffer, each segment's multiplied by its factor; missing tensors become 0. The segments
/// lie in the buffer one after the other, from its first element on.
///
/// # Errors
/// When they do not, when a tensor is not contiguous, not f32 on this GPU or not as long as its segment says, or when
/// the
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
    // SAFETY: the segments cover the buffer, each starting where the one before ends, and pieces cover every segment.
    let mut buffer = unsafe { gpu.uninitialized::<f32>(len) }?;
    for (segment, tensors, factor) in segments {
        let addresses = segment.addresses(tensors, gpu)?;
        let (pieces, addresses) = (View::from(&segment.pieces), View::from(&addresses));
        // SAFETY: the pieces were made for tensors of these lengths, which were checked; tensors are freed in the order
        // of the stream; the segments lie within the buffer.
        unsafe { kernels::gather(gpu, pieces, addresses, &mut buffer, *factor, segment.blocks) }?;
    }
    Ok(buffer)
}

/// Tensors that a range of a flat buffer is copied to repeatedly. Their addresses are copied to the device once.
pub struct Destination {
    segment: Segment,
    addresses: CudaSlice<u64>,
    /// They own the memory that is written.
    _tensors: Vec<Option<Tensor>>,
}

impl Destination {
    /// A destination of the tensors of a segment.
    ///
    /// # Errors
    /// When one is missing, not contiguous, not f32 on this GPU or not as long as the segment says.
    pub fn new(mut segment: Segment, tensors: Vec<Tensor>, gpu: &Gpu) -> Result<Self> {
        let tensors: Vec<Option<Tensor>> = tensors.into_iter().map(Some).collect();
        let addresses = segment.addresses(&tensors, gpu)?;
        Ok(Self { segment, addresses, _tensors: tensors })
    }

    /// The segment, with which the same tensors' gradients can be gathered.
    pub fn segment(&mut self) -> &mut Segment {
        &mut self.segment
    }

    /// Overwrites the tensors with their values in the buffer.
    ///
    /// # Errors
    /// When the buffer ends before the segment, or the driver refuses.
    #[allow(unsafe_code, reason = "the kernel takes addresses from memory")]
    pub fn scatter(&self, buffer: View<'_, f32>, gpu: &Gpu) -> Result<()> {
        buffer.expect(gpu, self.segment.end)?;
        let (pieces, addresses) = (View::from(&self.segment.pieces), View::from(&self.addresses));
        // SAFETY: the pieces were made for tensors of these lengths, which `self` owns; the segment ends within the
        // buffer.
        unsafe { kernels::scatter(gpu, pieces, addresses, buffer, self.segment.blocks) }
    }
}
