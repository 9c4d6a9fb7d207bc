//! Convolutions by cuDNN, channels last.
//!
//! # Algorithms
//!
//! The algorithms are the same for every shape and device:
//!
//! | operation | algorithm | precision f32 | tf32 | bf16 |
//! |---|---|---|---|---|
//! | forward | `IMPLICIT_PRECOMP_GEMM` | `FMA_MATH` | `DEFAULT_MATH` on f32 | `TENSOR_OP_MATH` on bf16 |
//! | input gradient | `BWD_DATA_ALGO_1` | the same | the same | the same |
//! | weight gradient | `BWD_FILTER_ALGO_1` | the same | the same | the same |
//!
//! All three are documented as deterministic. Their workspace has the size that the library reports for the algorithm
//! and the shape, at most [`MAX_WORKSPACE`]. A shape that the library does not support with them is refused.

mod plan;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::{Error, Result};
use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys::{self, cudnnMathType_t as Math};
use cudarc::driver::{CudaSlice, CudaStream};
use lookbehind_common::job::Precision;

use self::plan::{Handle, Plan};
use super::{DType, Gpu, Number, View};

const FORWARD: sys::cudnnConvolutionFwdAlgo_t =
    sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
const INPUT_GRADIENT: sys::cudnnConvolutionBwdDataAlgo_t =
    sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
const WEIGHT_GRADIENT: sys::cudnnConvolutionBwdFilterAlgo_t =
    sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;

/// Most bytes of an algorithm's workspace; a shape that needs more is refused.
const MAX_WORKSPACE: usize = 2 << 30;

static ONE: f32 = 1.0;
static ZERO: f32 = 0.0;

/// Extents of a tensor of images or weights, whatever the order of its dimensions in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape4 {
    /// Number of images, or output channels of a weight.
    pub(crate) count: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Shape4 {
    fn len(self) -> usize {
        [self.channels, self.height, self.width].into_iter().fold(self.count, usize::saturating_mul)
    }
}

/// Shapes, stride, padding, dilation, groups and precision of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Convolution {
    pub(crate) input: Shape4,
    pub(crate) weight: Shape4,
    pub(crate) output: Shape4,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
    pub(crate) precision: Precision,
}

impl Convolution {
    /// Element type of its operands.
    fn kind(&self) -> DType {
        DType::of_products(self.precision)
    }

    fn math(&self) -> Math {
        match self.precision {
            Precision::F32 => Math::CUDNN_FMA_MATH,
            Precision::Tf32 => Math::CUDNN_DEFAULT_MATH,
            Precision::Bf16 => Math::CUDNN_TENSOR_OP_MATH,
        }
    }

    fn refused(&self, what: &str, error: CudnnError) -> Error {
        let Self { input, weight, stride, padding, dilation, groups, precision, .. } = self;
        Error::Cuda(Box::from(format!(
            "{what} of a convolution of {}x{}x{} with {} channels and a weight of {}x{} for {} channels (stride {stride}, \
             padding {padding}, dilation {dilation}, groups {groups}, {precision:?}): {error:?}",
            input.count, input.height, input.width, input.channels, weight.height, weight.width, weight.count
        )))
    }
}

/// cuDNN on one stream, with the plans of the shapes so far.
pub(super) struct Convolutions {
    handle: Handle,
    plans: RefCell<HashMap<Convolution, Rc<Plan>>>,
}

impl Convolutions {
    #[allow(unsafe_code, reason = "the library takes addresses")]
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = Handle(result::create_handle().map_err(Error::wrap)?);
        // SAFETY: handle and stream exist; `Gpu` drops the handle before the stream.
        unsafe { result::set_stream(handle.0, stream.cu_stream().cast()) }.map_err(Error::wrap)?;
        Ok(Self { handle, plans: RefCell::default() })
    }

    fn plan(&self, convolution: &Convolution) -> Result<Rc<Plan>> {
        match self.plans.borrow_mut().entry(*convolution) {
            Entry::Occupied(known) => Ok(Rc::clone(known.get())),
            Entry::Vacant(place) => {
                let plan = Plan::new(convolution);
                let plan = plan.map_err(|error| convolution.refused("the shapes", error))?;
                Ok(Rc::clone(place.insert(Rc::new(plan))))
            }
        }
    }
}

impl Gpu {
    /// The output `[n, h', w', out]` of an input `[n, h, w, c]` and a weight `[out, kh, kw, c / groups]`.
    ///
    /// # Errors
    /// When a length or element type is not the convolution's, or the library does not support its shape.
    #[allow(unsafe_code, reason = "the library takes addresses")]
    pub(crate) fn convolve<N: Number>(
        &self,
        convolution: &Convolution,
        input: View<'_, N>,
        weight: View<'_, N>,
    ) -> Result<CudaSlice<N>> {
        let (plan, handle) = (self.plan_for::<N>(convolution)?, &self.convolutions().handle);
        input.expect(self, convolution.input.len())?;
        weight.expect(self, convolution.weight.len())?;
        // SAFETY: the library writes every element.
        let output = unsafe { self.uninitialized::<N>(convolution.output.len()) }?;
        // SAFETY: the operands have the lengths of the descriptors.
        let run = |workspace: u64, bytes: usize| unsafe {
            result::convolution_forward(
                handle.0,
                (&raw const ONE).cast(),
                plan.input.0,
                input.address() as *const _,
                plan.weight.0,
                weight.address() as *const _,
                plan.moves.0,
                FORWARD,
                workspace as *mut _,
                bytes,
                (&raw const ZERO).cast(),
                plan.output.0,
                View::from(&output).address() as *mut _,
            )
        };
        self.run(convolution, "forward pass", plan.forward_workspace(handle), run)?;
        Ok(output)
    }

    /// The input's gradient from the weight and the output's gradient.
    ///
    /// # Errors
    /// When a length or element type is not the convolution's, or the library does not support its shape.
    #[allow(unsafe_code, reason = "the library takes addresses")]
    pub(crate) fn convolution_input_gradient<N: Number>(
        &self,
        convolution: &Convolution,
        weight: View<'_, N>,
        gradient: View<'_, N>,
    ) -> Result<CudaSlice<N>> {
        let (plan, handle) = (self.plan_for::<N>(convolution)?, &self.convolutions().handle);
        weight.expect(self, convolution.weight.len())?;
        gradient.expect(self, convolution.output.len())?;
        // SAFETY: the library writes every element.
        let of_input = unsafe { self.uninitialized::<N>(convolution.input.len()) }?;
        // SAFETY: the operands have the lengths of the descriptors.
        let run = |workspace: u64, bytes: usize| unsafe {
            result::convolution_backward_data(
                handle.0,
                (&raw const ONE).cast(),
                plan.weight.0,
                weight.address() as *const _,
                plan.output.0,
                gradient.address() as *const _,
                plan.moves.0,
                INPUT_GRADIENT,
                workspace as *mut _,
                bytes,
                (&raw const ZERO).cast(),
                plan.input.0,
                View::from(&of_input).address() as *mut _,
            )
        };
        self.run(convolution, "input gradient", plan.input_gradient_workspace(handle), run)?;
        Ok(of_input)
    }

    /// The weight's gradient from the input and the output's gradient.
    ///
    /// # Errors
    /// When a length or element type is not the convolution's, or the library does not support its shape.
    #[allow(unsafe_code, reason = "the library takes addresses")]
    pub(crate) fn convolution_weight_gradient<N: Number>(
        &self,
        convolution: &Convolution,
        input: View<'_, N>,
        gradient: View<'_, N>,
    ) -> Result<CudaSlice<N>> {
        let (plan, handle) = (self.plan_for::<N>(convolution)?, &self.convolutions().handle);
        input.expect(self, convolution.input.len())?;
        gradient.expect(self, convolution.output.len())?;
        // SAFETY: the library writes every element.
        let of_weight = unsafe { self.uninitialized::<N>(convolution.weight.len()) }?;
        // SAFETY: the operands have the lengths of the descriptors.
        let run = |workspace: u64, bytes: usize| unsafe {
            result::convolution_backward_filter(
                handle.0,
                (&raw const ONE).cast(),
                plan.input.0,
                input.address() as *const _,
                plan.output.0,
                gradient.address() as *const _,
                plan.moves.0,
                WEIGHT_GRADIENT,
                workspace as *mut _,
                bytes,
                (&raw const ZERO).cast(),
                plan.weight.0,
                View::from(&of_weight).address() as *mut _,
            )
        };
        self.run(convolution, "weight gradient", plan.weight_gradient_workspace(handle), run)?;
        Ok(of_weight)
    }

    /// The plan of a convolution whose operands have elements of type `N`, made on its first use.
    fn plan_for<N: Number>(&self, convolution: &Convolution) -> Result<Rc<Plan>> {
        if N::DTYPE != convolution.kind() {
            candle_core::bail!("operands of {:?}, expected {:?}", N::DTYPE, convolution.kind());
        }
        for shape in [convolution.input, convolution.weight, convolution.output] {
            if i32::try_from(shape.len()).is_err() {
                candle_core::bail!("a tensor of {} elements is too large for a convolution", shape.len());
            }
        }
        self.convolutions().plan(convolution)
    }

    fn run(
        &self,
        convolution: &Convolution,
        what: &str,
        workspace: std::result::Result<usize, CudnnError>,
        run: impl FnOnce(u64, usize) -> std::result::Result<(), CudnnError>,
    ) -> Result<()> {
        let refused = |error| convolution.refused(what, error);
        let bytes = workspace.map_err(refused)?;
        if bytes > MAX_WORKSPACE {
            candle_core::bail!(
                "{what} of {convolution:?}: a workspace of {bytes} bytes, at most {MAX_WORKSPACE}"
            );
        }
        self.with_workspace(bytes, |workspace| run(workspace, bytes).map_err(refused))
    }
}
