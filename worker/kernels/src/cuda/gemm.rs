//! Matrix products by cuBLAS, row-major.
//!
//! The library's order of addition depends only on the shapes, the device and the library's version, as long as a
//! handle stays on one stream and has a workspace of a fixed size.

use std::ffi::c_int;
use std::sync::Arc;

use candle_core::cuda::WrapErr;
use candle_core::{Error, Result};
use cudarc::cublas::{CudaBlas, result, sys};
use cudarc::driver::{CudaSlice, CudaStream};
use lookbehind_common::job::Precision;

use super::dtype::address;
use super::{DType, Gpu, Number, View};

/// Bytes of the library's workspace: its recommendation for Hopper, and enough for the generations before.
const WORKSPACE: usize = 32 << 20;

/// An operand: one matrix, or the matrices of a batch.
#[derive(Debug)]
pub(crate) struct Matrix<'a, N> {
    elements: View<'a, N>,
    place: Place,
    /// Whether the transpose is multiplied.
    transposed: bool,
}

/// Position of a matrix in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Index of the first row's first element.
    pub(crate) first: usize,
    /// Elements from one row to the next.
    pub(crate) row: usize,
    /// Elements from one matrix of a batch to the next.
    pub(crate) batch: usize,
}

impl Place {
    /// Number of elements, from the start of the memory on, that `count` matrices of these extents need.
    fn reach(self, count: usize, rows: usize, columns: usize) -> Result<usize> {
        if count == 0 || rows == 0 || columns == 0 {
            return Ok(0);
        }
        let batches = (count - 1).checked_mul(self.batch);
        let rows = (rows - 1).checked_mul(self.row);
        let reach = [batches, rows, Some(columns)]
            .into_iter()
            .try_fold(self.first, |reach, part| reach.checked_add(part?));
        reach.ok_or_else(|| Error::Msg("a matrix is too large for memory".to_owned()))
    }
}

impl<N> Clone for Matrix<'_, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for Matrix<'_, N> {}

impl<'a, N: Number> Matrix<'a, N> {
    /// A row-major matrix of `columns` columns that fills its memory.
    pub(crate) fn new(elements: View<'a, N>, columns: usize) -> Self {
        Self { elements, place: Place { first: 0, row: columns, batch: 0 }, transposed: false }
    }

    /// Matrices of a batch, `batch` elements apart.
    pub(crate) fn every(self, batch: usize) -> Self {
        Self { place: Place { batch, ..self.place }, ..self }
    }

    /// The columns from `first` on; the distance between rows stays the same.
    pub(crate) fn columns_from(self, first: usize) -> Self {
        Self { place: Place { first: self.place.first.saturating_add(first), ..self.place }, ..self }
    }

    /// The transpose.
    pub(crate) fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn address(&self) -> u64 {
        self.elements.address() + (self.place.first * size_of::<N>()) as u64
    }

    fn operation(&self) -> sys::cublasOperation_t {
        if self.transposed {
            sys::cublasOperation_t::CUBLAS_OP_T
        } else {
            sys::cublasOperation_t::CUBLAS_OP_N
        }
    }

    /// Refuses memory that ends before the last matrix does; the extents are those of the operand as it is multiplied.
    fn expect(&self, gpu: &Gpu, count: usize, [rows, columns]: [usize; 2]) -> Result<()> {
        let (rows, columns) = if self.transposed { (columns, rows) } else { (rows, columns) };
        self.elements.expect(gpu, self.place.reach(count, rows, columns)?)
    }
}

/// `[rows, columns]` = lhs `[rows, depth]` · rhs `[depth, columns]`, added in f32, for each of `count` pairs.
#[derive(Debug)]
pub(crate) struct Gemm<'a, N> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) depth: usize,
    pub(crate) count: usize,
    pub(crate) lhs: Matrix<'a, N>,
    pub(crate) rhs: Matrix<'a, N>,
}

/// cuBLAS on one stream.
pub(super) struct GemmLibrary {
    blas: CudaBlas,
    /// The library's workspace, which must live as long as the handle.
    _workspace: CudaSlice<u8>,
}

impl GemmLibrary {
    #[allow(unsafe_code, reason = "the library's workspace is set by its address")]
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let blas = CudaBlas::new(Arc::clone(stream)).w()?;
        // SAFETY: only the library uses its content.
        let workspace = unsafe { stream.alloc::<u8>(WORKSPACE) }.w()?;
        // SAFETY: the workspace lives as long as the handle.
        let set =
            unsafe { sys::cublasSetWorkspace_v2(*blas.handle(), address(&workspace) as *mut _, WORKSPACE) };
        set.result().w()?;
        Ok(Self { blas, _workspace: workspace })
    }
}

impl Gpu {
    /// Computes the matrix products `[count, rows, columns]`.
    ///
    /// # Errors
    /// When an operand's memory ends too early, a dimension is beyond the library's range, or the library fails.
    #[allow(unsafe_code, reason = "the library takes addresses")]
    pub(crate) fn gemm<N: Number>(
        &self,
        precision: Precision,
        product: &Gemm<'_, N>,
    ) -> Result<CudaSlice<f32>> {
        let Gemm { rows, columns, count, .. } = *product;
        let place = Place { first: 0, row: columns, batch: rows * columns };
        let len = place.reach(count, rows, columns)?;
        // SAFETY: the matrix products that are queued next write every element.
        let mut output = unsafe { self.uninitialized::<f32>(len) }?;
        self.gemm_into(precision, product, &mut output, place)?;
        Ok(output)
    }

    /// Overwrites a range of `output` with the matrix products.
    ///
    /// # Errors
    /// As [`Gpu::gemm`].
    #[allow(unsafe_code, reason = "the library takes addresses")]
    pub(crate) fn gemm_into<N: Number>(
        &self,
        precision: Precision,
        product: &Gemm<'_, N>,
        output: &mut CudaSlice<f32>,
        place: Place,
    ) -> Result<()> {
        let Gemm { rows, columns, depth, count, lhs, rhs } = product;
        if *depth == 0 {
            candle_core::bail!("a product over 0 elements, expected at least 1");
        }
        lhs.expect(self, *count, [*rows, *depth])?;
        rhs.expect(self, *count, [*depth, *columns])?;
        let output = Matrix { elements: View::from(&*output), place, transposed: false };
        output.expect(self, *count, [*rows, *columns])?;
        let (one, zero) = (1_f32, 0_f32);
        // The library is column-major: it computes the transpose of the matrix product, with the operands exchanged.
        // SAFETY: the operands have the extents that the library gets, as was checked.
        unsafe {
            result::gemm_strided_batched_ex(
                *self.gemm_library().blas.handle(),
                rhs.operation(),
                lhs.operation(),
                int(*columns)?,
                int(*rows)?,
                int(*depth)?,
                (&raw const one).cast(),
                rhs.address() as *const _,
                data_type(N::DTYPE),
                int(rhs.place.row)?,
                long(rhs.place.batch)?,
                lhs.address() as *const _,
                data_type(N::DTYPE),
                int(lhs.place.row)?,
                long(lhs.place.batch)?,
                (&raw const zero).cast(),
                output.address() as *mut _,
                data_type(DType::F32),
                int(output.place.row)?,
                long(output.place.batch)?,
                int(*count)?,
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

fn data_type(kind: DType) -> sys::cudaDataType {
    match kind {
        DType::F32 => sys::cudaDataType_t::CUDA_R_32F,
        DType::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
    }
}

fn int(extent: usize) -> Result<c_int> {
    c_int::try_from(extent)
        .map_err(|_| Error::Msg(format!("a matrix of {extent} rows or columns, expected less than 2^31")))
}

fn long(extent: usize) -> Result<i64> {
    i64::try_from(extent).map_err(|_| Error::Msg(format!("matrices {extent} elements apart")))
}
