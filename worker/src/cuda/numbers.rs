//! Tensors on a GPU as the kernels see them: an address, a length and a kind of number.

use candle_core::cuda::{CudaStorageSlice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, DType, Result, Shape, Storage, Tensor};
use cudarc::driver::{CudaSlice, DevicePtr};
use half::bf16;
use lookbehind_common::job::Precision;

use super::{Argument, Gpu};

/// Kinds of numbers that the kernels work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
}

impl Kind {
    /// That of a tensor.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        match tensor.dtype() {
            DType::F32 => Ok(Self::F32),
            DType::BF16 => Ok(Self::Bf16),
            other => candle_core::bail!("numbers of type {other:?} on a GPU, expected F32 or BF16"),
        }
    }

    /// What products of a precision take.
    pub(crate) fn of_products(precision: Precision) -> Self {
        match precision {
            Precision::F32 | Precision::Tf32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }

    /// Bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::Bf16 => size_of::<bf16>(),
        }
    }

    /// The kernel for this kind, of the two that there are.
    pub(crate) fn choose(self, [f32, bf16]: [&'static str; 2]) -> &'static str {
        match self {
            Self::F32 => f32,
            Self::Bf16 => bf16,
        }
    }
}

/// The contiguous numbers of a tensor on a GPU. They are there as long as the tensor is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) pointer: u64,
    pub(crate) len: usize,
    pub(crate) kind: Kind,
}

impl From<Numbers> for Argument {
    fn from(numbers: Numbers) -> Self {
        Self::Pointer(numbers.pointer)
    }
}

impl Numbers {
    /// Refuses numbers of another kind or length, as a kernel must not get them.
    pub(crate) fn expect(self, kind: Kind, len: usize) -> Result<Self> {
        if self.kind == kind && self.len == len {
            return Ok(self);
        }
        candle_core::bail!("{} numbers of {:?}, expected {len} of {kind:?}", self.len, self.kind)
    }
}

/// The numbers of a contiguous tensor.
///
/// # Errors
/// When the tensor is not contiguous, not on a GPU, or of another kind.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Numbers> {
    let kind = Kind::of(tensor)?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { candle_core::bail!("expected a tensor on a GPU") };
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("expected a contiguous tensor")
    };
    let pointer = match &storage.slice {
        CudaStorageSlice::F32(slice) => address(slice),
        CudaStorageSlice::BF16(slice) => address(slice),
        _ => candle_core::bail!("expected F32 or BF16"),
    };
    Ok(Numbers { pointer: pointer + (start * kind.size()) as u64, len: end - start, kind })
}

/// Where numbers lie on the device.
pub(crate) fn address<T>(slice: &CudaSlice<T>) -> u64 {
    slice.device_ptr(slice.stream()).0
}

/// Memory for numbers of no particular value, with its address.
pub(crate) fn allocate(gpu: &Gpu, kind: Kind, len: usize) -> Result<(CudaStorage, Numbers)> {
    let device = gpu.device().clone();
    let (storage, pointer) = match kind {
        Kind::F32 => {
            let slice = gpu.uninitialized::<f32>(len)?;
            let pointer = address(&slice);
            (CudaStorage::wrap_cuda_slice(slice, device), pointer)
        }
        Kind::Bf16 => {
            let slice = gpu.uninitialized::<bf16>(len)?;
            let pointer = address(&slice);
            (CudaStorage::wrap_cuda_slice(slice, device), pointer)
        }
    };
    Ok((storage, Numbers { pointer, len, kind }))
}

/// Zeros.
pub(crate) fn zeros(gpu: &Gpu, len: usize) -> Result<CudaStorage> {
    let slice = gpu.stream().alloc_zeros::<f32>(len).w()?;
    Ok(CudaStorage::wrap_cuda_slice(slice, gpu.device().clone()))
}

/// A tensor that no gradient goes through.
pub(crate) fn tensor(storage: CudaStorage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}
