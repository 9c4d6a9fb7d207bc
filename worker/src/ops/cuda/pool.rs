//! Pooling.

use candle_core::{CudaStorage, Result, Shape, Tensor};

use super::{Argument, Grid, OnCuda, Place, arguments, current, extent_of, long};
use crate::cuda::{PoolWindows, numbers};
use crate::ops::pool::{Kind, Pool};

fn windows(pool: &Pool, channels: usize) -> Result<Argument> {
    let window = &pool.window;
    Ok(Argument::Windows(PoolWindows {
        height: extent_of(window.input.0)?,
        width: extent_of(window.input.1)?,
        out_height: extent_of(window.output.0)?,
        out_width: extent_of(window.output.1)?,
        channels: extent_of(channels)?,
        down: extent_of(window.size.0)?,
        across: extent_of(window.size.1)?,
        stride: extent_of(window.stride)?,
        padding: extent_of(window.padding)?,
        is_max: (pool.kind == Kind::Max).into(),
    }))
}

impl OnCuda for Pool {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x] = arguments(given)?;
        let (images, _, _, channels) = x.dims4()?;
        let (height, width) = self.window.output;
        let (gpu, from) = (current()?, numbers(x)?);
        let len = images * height * width * channels;
        let y = Place::new(&gpu, from.kind, len)?;
        let launched = [from.into(), y.argument(), long(len), windows(self, channels)?];
        gpu.launch(from.kind.choose(["pool_f32", "pool_bf16"]), Grid::over(len), &launched)?;
        Ok((y.storage, Shape::from((images, height, width, channels))))
    }

    fn backward(&self, given: &[Tensor], result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x] = arguments(given)?;
        let (gpu, gradient) = (current()?, gradient.contiguous()?);
        let (from, of_result) = (numbers(x)?, numbers(result)?);
        let of_gradient = numbers(&gradient)?.expect(of_result.kind, of_result.len)?;
        let of_x = Place::new(&gpu, from.kind, from.len)?;
        let launched = [
            from.into(),
            of_result.into(),
            of_gradient.into(),
            of_x.argument(),
            long(from.len),
            windows(self, x.dim(3)?)?,
        ];
        let kernel = from.kind.choose(["pool_gradient_f32", "pool_gradient_bf16"]);
        gpu.launch(kernel, Grid::over(from.len), &launched)?;
        Ok(vec![Some(of_x.tensor(x.shape()))])
    }
}
