//! Convolutions. The library wants a weight's channels last, as the images': it is turned on its way in, and its gradient on
//! the way back.

use candle_core::{CudaStorage, Result, Shape, Tensor};
use lookbehind_common::job::Precision;

use super::{Grid, Kind, OnCuda, Place, arguments, current, gradient_like, int, long, operand, singles};
use crate::cuda::{Convolution, Numbers, Shape4, numbers};
use crate::ops::conv::{Forward, Geometry, Plane};

/// What the library is asked for.
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

/// A weight `[out, in, kh, kw]` as the library takes it, `[out, kh, kw, in]`.
fn taps_first(weight: &Tensor, geometry: &Geometry, kind: Kind) -> Result<Place> {
    let (gpu, weight) = (current()?, singles(weight)?);
    let turned = Place::new(&gpu, kind, weight.len)?;
    let launched = [
        weight.into(),
        turned.argument(),
        long(weight.len),
        int(geometry.group_inputs())?,
        int(geometry.window.taps())?,
    ];
    gpu.launch(kind.choose(["taps_first_f32", "taps_first_bf16"]), Grid::over(weight.len), &launched)?;
    Ok(turned)
}

/// Back again, to f32.
fn taps_last(turned: Numbers, geometry: &Geometry) -> Result<Place> {
    let gpu = current()?;
    let weight = Place::new(&gpu, Kind::F32, turned.len)?;
    let launched = [
        turned.into(),
        weight.argument(),
        long(turned.len),
        int(geometry.group_inputs())?,
        int(geometry.window.taps())?,
    ];
    let kernel = turned.kind.choose(["taps_last_f32", "taps_last_bf16"]);
    gpu.launch(kernel, Grid::over(turned.len), &launched)?;
    Ok(weight)
}

impl OnCuda for Forward {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x, weight] = arguments(given)?;
        let geometry = Geometry::new(x.dims4()?, weight.dims4()?, self.options)?;
        let (gpu, kind) = (current()?, Kind::of_products(self.precision));
        let x = operand(x, kind)?;
        let weight = taps_first(weight, &geometry, kind)?;
        let y = Place::new(&gpu, kind, geometry.output_len())?;
        let operands = [numbers(&x)?, weight.numbers, y.numbers];
        gpu.convolve(&convolution(&geometry, self.precision), operands)?;
        Ok((y.storage, Shape::from(geometry.output_dims())))
    }

    fn backward(&self, given: &[Tensor], _result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x, weight] = arguments(given)?;
        let geometry = Geometry::new(x.dims4()?, weight.dims4()?, self.options)?;
        let (gpu, kind) = (current()?, Kind::of_products(self.precision));
        let convolution = convolution(&geometry, self.precision);
        let (from, gradient) = (operand(x, kind)?, operand(gradient, kind)?);
        let of_turned = Place::new(&gpu, kind, geometry.weight_len())?;
        let operands = [numbers(&from)?, of_turned.numbers, numbers(&gradient)?];
        gpu.convolution_weight_gradient(&convolution, operands)?;
        let of_weight = taps_last(of_turned.numbers, &geometry)?.tensor(weight.shape());
        let of_x = if x.track_op() {
            let turned = taps_first(weight, &geometry, kind)?;
            let of_x = Place::new(&gpu, kind, geometry.input_len())?;
            let operands = [of_x.numbers, turned.numbers, numbers(&gradient)?];
            gpu.convolution_input_gradient(&convolution, operands)?;
            Some(gradient_like(of_x.tensor(x.shape()), x)?)
        } else {
            None
        };
        Ok(vec![of_x, Some(of_weight)])
    }
}
