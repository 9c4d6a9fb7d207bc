//! Tensors on a GPU as the kernels see them: an address, a length and an element type, borrowed from what holds the memory.

use std::marker::PhantomData;

use candle_core::cuda::CudaDType;
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, DType, Result, Shape, Storage, Tensor};
use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use half::bf16;
use lookbehind_common::job::Precision;

use super::Gpu;

/// Element types that the kernels compute with, as they are known at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Single precision.
    F32,
    /// bfloat16.
    Bf16,
}

impl Kind {
    /// That of a tensor.
    ///
    /// # Errors
    /// When the kernels do not compute with it.
    pub fn of(tensor: &Tensor) -> Result<Self> {
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
}

/// Element types that the kernels compute with, as the compiler knows them.
pub trait Number: CudaDType + DeviceRepr + sealed::Sealed {
    /// The same type at run time.
    const KIND: Kind;
}

/// The kernels have instances for these types and no others.
mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}

impl Number for f32 {
    const KIND: Kind = Kind::F32;
}

impl Number for bf16 {
    const KIND: Kind = Kind::Bf16;
}

/// Evaluates an expression in which a name stands for the Rust type of a [`Kind`].
macro_rules! by_kind {
    ($kind:expr, $number:ident => $body:expr) => {
        match $kind {
            $crate::cuda::Kind::F32 => {
                type $number = f32;
                $body
            }
            $crate::cuda::Kind::Bf16 => {
                type $number = half::bf16;
                $body
            }
        }
    };
}

pub(crate) use by_kind;

/// Contiguous elements on a GPU, borrowed from the tensor or slice that owns the memory.
#[derive(Debug)]
pub struct View<'a, T> {
    address: u64,
    len: usize,
    /// The stream whose order decides when the memory is given back. The handle is compared and never used: its stream
    /// lives as long as the owner of the memory.
    stream: usize,
    owner: PhantomData<&'a [T]>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'a, T> From<&'a CudaSlice<T>> for View<'a, T> {
    fn from(slice: &'a CudaSlice<T>) -> Self {
        let stream = slice.stream().cu_stream() as usize;
        Self { address: address(slice), len: slice.len(), stream, owner: PhantomData }
    }
}

impl<'a, T> View<'a, T> {
    /// Elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where the elements lie on the device.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// The elements from one on, so many.
    ///
    /// # Errors
    /// When they are not all there.
    pub fn part(&self, first: usize, len: usize) -> Result<Self> {
        match first.checked_add(len) {
            Some(end) if end <= self.len => {
                let address = self.address + (first * size_of::<T>()) as u64;
                Ok(Self { address, len, ..*self })
            }
            _ => candle_core::bail!("elements {first} to {first} + {len}, expected at most {}", self.len),
        }
    }

    /// Refuses memory that is too small for what an operation on `gpu` touches, or whose return to the driver is not in the
    /// order of that GPU's stream.
    pub(super) fn expect(&self, gpu: &Gpu, len: usize) -> Result<()> {
        if self.len < len {
            candle_core::bail!("{} elements, expected {len}", self.len);
        }
        if self.stream != gpu.stream().cu_stream() as usize {
            candle_core::bail!("memory of another stream, expected that of cuda:{}", gpu.ordinal());
        }
        Ok(())
    }
}

/// The elements of a contiguous tensor on a GPU.
///
/// # Errors
/// When the tensor is not contiguous, not on a GPU, or of another type.
pub(crate) fn view<T: Number>(tensor: &Tensor) -> Result<View<'_, T>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { candle_core::bail!("expected a tensor on a GPU") };
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("expected a contiguous tensor")
    };
    let View { address, len, stream, .. } = View::from(T::as_cuda_slice(storage)?);
    // The tensor keeps its storage for as long as it is borrowed, and the tensor library never replaces the memory of one.
    View { address, len, stream, owner: PhantomData }.part(start, end - start)
}

/// Where a slice lies on the device.
pub(super) fn address<T>(slice: &CudaSlice<T>) -> u64 {
    slice.device_ptr(slice.stream()).0
}

/// The tensor library's storage of elements.
pub(crate) fn storage<T: Number>(slice: CudaSlice<T>, gpu: &Gpu) -> CudaStorage {
    CudaStorage::wrap_cuda_slice(slice, gpu.device().clone())
}

/// A tensor that no gradient goes through.
pub fn tensor<T: Number>(slice: CudaSlice<T>, shape: impl Into<Shape>, gpu: &Gpu) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage(slice, gpu)), shape, BackpropOp::none(), false)
}
