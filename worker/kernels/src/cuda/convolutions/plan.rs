//! The library's descriptors of a convolution, and the workspace that its algorithms need.

use std::cell::OnceCell;
use std::ffi::c_int;

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;

use super::{Convolution, FORWARD, INPUT_GRADIENT, Shape4, WEIGHT_GRADIENT};
use crate::cuda::DType;

/// The library's descriptors of a convolution.
pub(super) struct Plan {
    pub(super) input: Images,
    pub(super) weight: Filter,
    pub(super) output: Images,
    pub(super) moves: Moves,
    /// Bytes of workspace for forward pass, input gradient and weight gradient, each once it has been asked for.
    workspaces: [OnceCell<usize>; 3],
}

#[allow(unsafe_code, reason = "the library takes addresses")]
impl Plan {
    pub(super) fn new(convolution: &Convolution) -> std::result::Result<Self, CudnnError> {
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let kind = data_type(convolution.kind());
        let plan = Self {
            input: Images(result::create_tensor_descriptor()?),
            weight: Filter(result::create_filter_descriptor()?),
            output: Images(result::create_tensor_descriptor()?),
            moves: Moves(result::create_convolution_descriptor()?),
            workspaces: Default::default(),
        };
        let Convolution { stride, padding, dilation, groups, .. } = *convolution;
        let [stride, padding, dilation, groups] = ints([stride, padding, dilation, groups])?;
        // SAFETY: the descriptors were made above.
        unsafe {
            result::set_tensor4d_descriptor(plan.input.0, format, kind, extents(convolution.input)?)?;
            result::set_filter4d_descriptor(plan.weight.0, kind, format, extents(convolution.weight)?)?;
            result::set_tensor4d_descriptor(plan.output.0, format, kind, extents(convolution.output)?)?;
            result::set_convolution2d_descriptor(
                plan.moves.0,
                padding,
                padding,
                stride,
                stride,
                dilation,
                dilation,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )?;
            result::set_convolution_group_count(plan.moves.0, groups)?;
            result::set_convolution_math_type(plan.moves.0, convolution.math())?;
        }
        Ok(plan)
    }

    pub(super) fn forward_workspace(&self, handle: &Handle) -> std::result::Result<usize, CudnnError> {
        known(&self.workspaces[0], || {
            let (input, weight, output) = (self.input.0, self.weight.0, self.output.0);
            // SAFETY: handle and descriptors exist.
            unsafe {
                result::get_convolution_forward_workspace_size(
                    handle.0,
                    input,
                    weight,
                    self.moves.0,
                    output,
                    FORWARD,
                )
            }
        })
    }

    pub(super) fn input_gradient_workspace(&self, handle: &Handle) -> std::result::Result<usize, CudnnError> {
        known(&self.workspaces[1], || {
            let (input, weight, output) = (self.input.0, self.weight.0, self.output.0);
            // SAFETY: handle and descriptors exist.
            unsafe {
                result::get_convolution_backward_data_workspace_size(
                    handle.0,
                    weight,
                    output,
                    self.moves.0,
                    input,
                    INPUT_GRADIENT,
                )
            }
        })
    }

    pub(super) fn weight_gradient_workspace(
        &self,
        handle: &Handle,
    ) -> std::result::Result<usize, CudnnError> {
        known(&self.workspaces[2], || {
            let (input, weight, output) = (self.input.0, self.weight.0, self.output.0);
            // SAFETY: handle and descriptors exist.
            unsafe {
                result::get_convolution_backward_filter_workspace_size(
                    handle.0,
                    input,
                    output,
                    self.moves.0,
                    weight,
                    WEIGHT_GRADIENT,
                )
            }
        })
    }
}

/// Returns a known value, or finds it out and remembers it.
fn known(
    place: &OnceCell<usize>,
    ask: impl FnOnce() -> std::result::Result<usize, CudnnError>,
) -> std::result::Result<usize, CudnnError> {
    match place.get() {
        Some(&known) => Ok(known),
        None => ask().map(|found| *place.get_or_init(|| found)),
    }
}

fn data_type(kind: DType) -> sys::cudnnDataType_t {
    match kind {
        DType::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
        DType::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
    }
}

fn extents(shape: Shape4) -> std::result::Result<[c_int; 4], CudnnError> {
    ints([shape.count, shape.channels, shape.height, shape.width])
}

fn ints<const N: usize>(extents: [usize; N]) -> std::result::Result<[c_int; N], CudnnError> {
    let mut ints = [0; N];
    for (int, extent) in ints.iter_mut().zip(extents) {
        *int = c_int::try_from(extent)
            .map_err(|_| CudnnError(sys::cudnnStatus_t::CUDNN_STATUS_BAD_PARAM_OUT_OF_BOUND))?;
    }
    Ok(ints)
}

/// Wraps a handle that is destroyed on drop. Errors are ignored: a lost device has nothing left to destroy.
macro_rules! given_back {
    ($(#[$doc:meta])* $name:ident($raw:ty), $destroy:path) => {
        $(#[$doc])*
        pub(super) struct $name(pub(super) $raw);

        impl Drop for $name {
            #[allow(unsafe_code, reason = "the library takes addresses")]
            fn drop(&mut self) {
                // SAFETY: created by the library, and not used any more.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    };
}

given_back! {
    /// The library's handle for a stream.
    Handle(sys::cudnnHandle_t), result::destroy_handle
}
given_back! {
    /// Shape, element type and order in memory of images.
    Images(sys::cudnnTensorDescriptor_t), result::destroy_tensor_descriptor
}
given_back! {
    /// Shape, element type and order in memory of a weight.
    Filter(sys::cudnnFilterDescriptor_t), result::destroy_filter_descriptor
}
given_back! {
    /// Stride, padding, dilation and groups, and the precision of the computation.
    Moves(sys::cudnnConvolutionDescriptor_t), result::destroy_convolution_descriptor
}
