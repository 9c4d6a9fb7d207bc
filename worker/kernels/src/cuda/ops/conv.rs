//! Convolutions. The library takes weights channels last, like images: a weight is converted before the call, and its
//! gradient after it.

use candle_core::{CudaStorage, Result, Shape, Tensor};
use cudarc::driver::CudaSlice;
use lookbehind_common::job::Precision;

use super::{OnCuda, arguments, gradient_like, operand};
use crate::conv::{Forward, Geometry, Plane};
use crate::cuda::{
    Convolution, DType, Gpu, Number, Shape4, View, by_dtype, current, kernels, storage, tensor, view,
};

/// The library's description of a convolution.
fn convolution(geometry: &Geometry, precision: Precision) -> Convolution {
    let images = |plane: Plane| Shape4 {
        count: geometry.images,
        channels: plane.channels,
        height: plane.height,
        width: plane.width,
    };
    let (outputs, inputs, height, width) = geometry.weight_dims();
    Convolution {
        input: images(geometry.input),
        weight: Shape4 { count: outputs, channels: inputs, height, width },
        output: images(geometry.output),
        stride: geometry.options.stride,
        padding: geometry.options.padding,
        dilation: geometry.options.dilation,
        groups: geometry.options.groups,
        precision,
    }
}

/// Converts a weight `[out, in, kh, kw]` to the library's layout `[out, kh, kw, in]`.
fn taps_first<N: Number>(gpu: &Gpu, weight: &Tensor, geometry: &Geometry) -> Result<CudaSlice<N>> {
    let (len, inputs, taps) = (weight.elem_count(), geometry.group_inputs(), geometry.window.taps());
    kernels::taps_first(gpu, view(weight)?, len, inputs, taps)
}

/// Converts a weight back to the model's layout, as f32.
fn taps_last<N: Number>(gpu: &Gpu, turned: &CudaSlice<N>, geometry: &Geometry) -> Result<CudaSlice<f32>> {
    let (len, inputs, taps) = (geometry.weight_len(), geometry.group_inputs(), geometry.window.taps());
    kernels::taps_last(gpu, turned.into(), len, inputs, taps)
}

impl Forward {
    fn convolved<N: Number>(&self, x: &Tensor, weight: &Tensor, geometry: &Geometry) -> Result<CudaStorage> {
        let gpu = current()?;
        let weight = taps_first::<N>(&gpu, weight, geometry)?;
        let y = gpu.convolve(&convolution(geometry, self.precision), view(x)?, View::from(&weight))?;
        Ok(storage(y, &gpu))
    }

    fn of_weight<N: Number>(
        &self,
        x: &Tensor,
        gradient: &Tensor,
        geometry: &Geometry,
    ) -> Result<CudaSlice<f32>> {
        let (gpu, convolution) = (current()?, convolution(geometry, self.precision));
        let turned = gpu.convolution_weight_gradient::<N>(&convolution, view(x)?, view(gradient)?)?;
        taps_last(&gpu, &turned, geometry)
    }

    /// The input's gradient as the library computes it, in the shape and element type of the input.
    fn of_x<N: Number>(
        &self,
        weight: &Tensor,
        gradient: &Tensor,
        geometry: &Geometry,
        shape: &Shape,
    ) -> Result<Tensor> {
        let (gpu, convolution) = (current()?, convolution(geometry, self.precision));
        let weight = taps_first::<N>(&gpu, weight, geometry)?;
        let of_x = gpu.convolution_input_gradient(&convolution, View::from(&weight), view(gradient)?)?;
        Ok(tensor(of_x, shape, &gpu))
    }
}

impl OnCuda for Forward {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, weight] = arguments(given)?;
        let geometry = Geometry::new(x.dims4()?, weight.dims4()?, self.options)?;
        let kind = DType::of_products(self.precision);
        let x = operand(x, kind)?;
        let y = by_dtype!(kind, N => self.convolved::<N>(&x, weight, &geometry))?;
        Ok((y, Shape::from(geometry.output_dims())))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, weight] = arguments(given)?;
        let geometry = Geometry::new(x.dims4()?, weight.dims4()?, self.options)?;
        let kind = DType::of_products(self.precision);
        let (from, gradient) = (operand(x, kind)?, operand(gradient, kind)?);
        let of_weight = by_dtype!(kind, N => self.of_weight::<N>(&from, &gradient, &geometry))?;
        let of_weight = tensor(of_weight, weight.shape(), &*current()?);
        let of_x = if x.track_op() {
            let of_x = by_dtype!(kind, N => self.of_x::<N>(weight, &gradient, &geometry, x.shape()))?;
            Some(gradient_like(&of_x, x)?)
        } else {
            None
        };
        Ok(vec![of_x, Some(of_weight)])
    }
}
