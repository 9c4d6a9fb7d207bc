//! Pooling.

use candle_core::{CudaStorage, Result, Shape, Tensor};

use super::{OnCuda, arguments, as_long_as};
use crate::cuda::kernels::{self, PoolWindows, WindowsOf};
use crate::cuda::{DType, by_dtype, current, storage, tensor, view};
use crate::pool::{self, Pool};

fn windows(pool: &Pool, channels: usize) -> Result<PoolWindows> {
    let window = &pool.window;
    PoolWindows::new(&WindowsOf {
        input: window.input,
        output: window.output,
        channels,
        size: window.size,
        stride: window.stride,
        padding: window.padding,
        is_max: pool.kind == pool::Kind::Max,
    })
}

impl OnCuda for Pool {
    fn forward(&self, given: &[&Tensor]) -> Result<(CudaStorage, Shape)> {
        let [x] = arguments(given)?;
        let (images, _, _, channels) = x.dims4()?;
        let (height, width) = self.window.output;
        let (gpu, windows, len) = (current()?, windows(self, channels)?, images * height * width * channels);
        let y = by_dtype!(DType::of(x)?, N => {
            storage(kernels::pool::<N>(&gpu, view(x)?, len, windows, images)?, &gpu)
        });
        Ok((y, Shape::from((images, height, width, channels))))
    }

    fn backward(&self, given: &[Tensor], result: &Tensor, gradient: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let [x] = arguments(given)?;
        let (images, _, _, channels) = x.dims4()?;
        let (gpu, windows, gradient) = (current()?, windows(self, channels)?, gradient.contiguous()?);
        let (len, shape) = (x.elem_count(), x.shape());
        let of_x = by_dtype!(DType::of(x)?, N => {
            let (x, result) = (view::<N>(x)?, view(result)?);
            let gradient = as_long_as(&gradient, &result)?;
            tensor(kernels::pool_gradient(&gpu, x, result, gradient, len, windows, images)?, shape, &gpu)
        });
        Ok(vec![Some(of_x)])
    }
}
