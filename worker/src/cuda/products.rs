//! Matrix products by cuBLAS, row-major.
//!
//! The library adds up in an order that depends on the shapes, the device and its own version alone, as long as a handle
//! stays on one stream and has a workspace of a fixed size.

use std::ffi::c_int;
use std::sync::Arc;

use candle_core::Result;
use candle_core::cuda::WrapErr;
use cudarc::cublas::{CudaBlas, result, sys};
use cudarc::driver::{CudaSlice, CudaStream};
use lookbehind_common::job::Precision;

use super::numbers::address;
use super::{Gpu, Kind, Numbers};

/// Bytes of the library's workspace: what it recommends for Hopper, and enough for the GPUs before.
const WORKSPACE: usize = 32 << 20;

/// An operand: every row of a matrix begins `row` numbers after the one before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub(crate) numbers: Numbers,
    /// Where the first row begins.
    pub(crate) first: usize,
    pub(crate) row: usize,
    /// Whether its transpose is meant.
    pub(crate) transposed: bool,
}

impl Matrix {
    /// A matrix of `columns` columns that fills its memory.
    pub(crate) fn new(numbers: Numbers, columns: usize) -> Self {
        Self { numbers, first: 0, row: columns, transposed: false }
    }

    /// Some columns of each row, from `first` on.
    pub(crate) fn columns_from(self, first: usize) -> Self {
        Self { first: self.first + first, ..self }
    }

    /// The transpose.
    pub(crate) fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn address(&self) -> u64 {
        self.numbers.pointer + (self.first * self.numbers.kind.size()) as u64
    }

    fn operation(&self) -> sys::cublasOperation_t {
        if self.transposed {
            sys::cublasOperation_t::CUBLAS_OP_T
        } else {
            sys::cublasOperation_t::CUBLAS_OP_N
        }
    }
}

/// Products of the same shape, whose operands and results lie so many numbers apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batches {
    pub(crate) count: usize,
    pub(crate) lhs: usize,
    pub(crate) rhs: usize,
    pub(crate) output: usize,
}

impl Batches {
    /// A single product.
    pub(crate) const ONE: Self = Self { count: 1, lhs: 0, rhs: 0, output: 0 };
}

/// output `[rows, columns]` = lhs `[rows, depth]` · rhs `[depth, columns]`, added up in f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
    pub(crate) lhs: Matrix,
    pub(crate) rhs: Matrix,
    /// Of f32.
    pub(crate) output: Matrix,
    pub(crate) batches: Batches,
}

/// The library, on one stream.
pub(super) struct Products {
    blas: CudaBlas,
    /// Held for the library.
    _workspace: CudaSlice<u8>,
}

impl Products {
    #[allow(unsafe_code, reason = "the library's workspace is set by its address")]
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let blas = CudaBlas::new(Arc::clone(stream)).w()?;
        // SAFETY: its content is the library's.
        let workspace = unsafe { stream.alloc::<u8>(WORKSPACE) }.w()?;
        // SAFETY: the workspace lives as long as the handle.
        let set =
            unsafe { sys::cublasSetWorkspace_v2(*blas.handle(), address(&workspace) as *mut _, WORKSPACE) };
        set.result().w()?;
        Ok(Self { blas, _workspace: workspace })
    }
}

impl Gpu {
    /// Multiplies.
    ///
    /// # Errors
    /// When the operands' kinds are not the same, a dimension is out of the library's range, or it refuses.
    #[allow(unsafe_code, reason = "the library takes addresses")]
    pub(crate) fn multiply(&self, precision: Precision, product: &Product) -> Result<()> {
        let Product { rows, columns, depth, lhs, rhs, output, batches } = product;
        if lhs.numbers.kind != rhs.numbers.kind || output.numbers.kind != Kind::F32 {
            candle_core::bail!("product of {:?} and {:?}", lhs.numbers.kind, rhs.numbers.kind);
        }
        let (one, zero) = (1_f32, 0_f32);
        // The library thinks column by column: it is asked for the transpose of the product.
        // SAFETY: the operands' shapes are those of tensors that the caller holds.
        unsafe {
            result::gemm_strided_batched_ex(
                *self.products().blas.handle(),
                rhs.operation(),
                lhs.operation(),
                int(*columns)?,
                int(*rows)?,
                int(*depth)?,
                (&raw const one).cast(),
                rhs.address() as *const _,
                data_type(rhs.numbers.kind),
                int(rhs.row)?,
                batches.rhs as i64,
                lhs.address() as *const _,
                data_type(lhs.numbers.kind),
                int(lhs.row)?,
                batches.lhs as i64,
                (&raw const zero).cast(),
                output.address() as *mut _,
                data_type(Kind::F32),
                int(output.row)?,
                batches.output as i64,
                int(batches.count)?,
                compute_type(precision),
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .w()
    }
}

fn compute_type(precision: Precision) -> sys::cublasComputeType_t {
    match precision {
        Precision::F32 | Precision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
    }
}

fn data_type(kind: Kind) -> sys::cudaDataType {
    match kind {
        Kind::F32 => sys::cudaDataType_t::CUDA_R_32F,
        Kind::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
    }
}

fn int(extent: usize) -> Result<c_int> {
    c_int::try_from(extent)
        .map_err(|_| candle_core::Error::Msg(format!("a matrix of {extent} rows or columns")))
}
