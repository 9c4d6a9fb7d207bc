//! Activations agree with their definitions.

use super::super::agreement::assert_agreement;
use super::*;
use crate::definitions;

#[test]
fn activations_and_their_gradients_are_the_exact_ones_but_for_rounding() {
    let shapes: [&[usize]; 1] = [&[3, 5, 7]];
    assert_agreement(&shapes, |x| sigmoid(&x[0]), |x| definitions::sigmoid(&x[0]));
    assert_agreement(&shapes, |x| tanh(&x[0]), |x| x[0].tanh());
    assert_agreement(&shapes, |x| silu(&x[0]), |x| definitions::silu(&x[0]));
    assert_agreement(&shapes, |x| gelu(&x[0]), |x| definitions::gelu(&x[0]));
}

#[test]
fn far_from_zero_nothing_overflows() {
    let x = Tensor::new(&[-1e4_f32, 1e4], &Device::Cpu).unwrap();
    for (function, expected) in [
        (gelu as fn(&Tensor) -> Result<Tensor>, [-0.0, 1e4]),
        (silu, [-0.0, 1e4]),
        (tanh, [-1.0, 1.0]),
        (sigmoid, [0.0, 1.0]),
    ] {
        assert_eq!(function(&x).unwrap().to_vec1::<f32>().unwrap(), expected);
    }
}
