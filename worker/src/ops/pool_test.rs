//! Pooling agrees with its definition.

use super::super::agreement::assert_agreement;
use super::*;
use crate::ops::{channels_first, channels_last};

const POOLS: [Pool2d; 3] = [
    Pool2d { size: 2, stride: 2, padding: 0 },
    Pool2d { size: 3, stride: 1, padding: 0 },
    Pool2d { size: 3, stride: 2, padding: 1 },
];

/// Windows of [n, c, h, w] as a last dimension, with `fill` around the image.
fn windows(x: &Tensor, pool: Pool2d, fill: f64) -> Result<Tensor> {
    let Pool2d { size, stride, padding } = pool;
    let (n, c, h, w) = x.dims4()?;
    let border = |shape: (usize, usize, usize, usize)| Tensor::full(fill, shape, x.device());
    let (above, beside) = (border((n, c, padding, w))?, border((n, c, h + 2 * padding, padding))?);
    let x = Tensor::cat(&[&above, x, &above], 2)?;
    let x = Tensor::cat(&[&beside, &x, &beside], 3)?;
    let mut taps = Vec::new();
    let indices = |start: usize, extent: usize| {
        let last = extent + 2 * padding - size;
        let indices: Vec<u32> = (0..=last).step_by(stride).map(|index| (index + start) as u32).collect();
        Tensor::new(indices, &Device::Cpu)
    };
    for down in 0..size {
        for right in 0..size {
            taps.push(x.index_select(&indices(down, h)?, 2)?.index_select(&indices(right, w)?, 3)?);
        }
    }
    Tensor::stack(&taps, 4)
}

#[test]
fn pooling_and_its_gradients_are_the_exact_ones_but_for_rounding() {
    for pool in POOLS {
        let shapes: [&[usize]; 1] = [&[2, 7, 6, 5]];
        assert_agreement(
            &shapes,
            |x| avg_pool2d(&x[0], pool),
            |x| channels_last(&windows(&channels_first(&x[0])?, pool, 0.0)?.mean(4)?),
        );
        assert_agreement(
            &shapes,
            |x| max_pool2d(&x[0], pool),
            |x| channels_last(&windows(&channels_first(&x[0])?, pool, -1e9)?.max(4)?),
        );
    }
    assert_agreement(&[&[3, 4, 5, 6]], |x| global_avg_pool(&x[0]), |x| x[0].flatten(1, 2)?.mean(1));
}

#[test]
fn the_first_of_equal_numbers_gets_the_gradient() {
    let x = candle_core::Var::from_tensor(
        &Tensor::ones((1, 2, 2, 1), candle_core::DType::F32, &Device::Cpu).unwrap(),
    );
    let x = x.unwrap();
    let gradients = max_pool2d(x.as_tensor(), POOLS[0]).unwrap().sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(gradient, [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let x = Tensor::zeros((1, 2, 5, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    for pool in
        [Pool2d { size: 3, ..POOLS[0] }, Pool2d { stride: 0, ..POOLS[0] }, Pool2d { padding: 2, ..POOLS[0] }]
    {
        let said = max_pool2d(&x, pool).unwrap_err().to_string();
        assert!(said.contains("do not fit into an image of 2x5"), "{said}");
    }
    let x = Tensor::zeros((0, 4, 4, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let said = avg_pool2d(&x, POOLS[0]).unwrap_err().to_string();
    assert!(said.contains("expected at least one number"), "{said}");
}
