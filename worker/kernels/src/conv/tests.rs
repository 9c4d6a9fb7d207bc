//! Convolutions agree with their definition in float64; gradients are adjoint to the forward pass and match numeric
//! differentiation.

use candle_core::{Device, Tensor, Var};

use super::*;
use crate::agreement::assert_agreement;
use crate::agreement::normal_values;
use crate::definitions;
use crate::lanes::tests::on_each_machine;

struct Case {
    input: (usize, usize, usize, usize),
    weight: (usize, usize, usize, usize),
    options: Conv2d,
}

fn case(
    input: (usize, usize, usize, usize),
    weight: (usize, usize, usize, usize),
    [stride, padding, dilation, groups]: [usize; 4],
) -> Case {
    Case { input, weight, options: Conv2d { stride, padding, dilation, groups } }
}

/// Windows with stride 1 and others, odd sizes, groups, images smaller than a window.
fn cases() -> Vec<Case> {
    vec![
        case((2, 8, 8, 16), (16, 16, 3, 3), [1, 1, 1, 1]),
        case((3, 5, 7, 9), (11, 9, 3, 3), [1, 1, 1, 1]),
        case((2, 6, 6, 40), (72, 40, 3, 3), [1, 1, 1, 1]),
        case((1, 9, 4, 8), (8, 8, 3, 3), [1, 0, 1, 1]),
        case((2, 3, 3, 8), (8, 8, 3, 3), [1, 2, 1, 1]),
        case((1, 1, 1, 8), (9, 8, 3, 3), [1, 1, 1, 1]),
        case((40, 4, 4, 16), (16, 16, 3, 3), [1, 1, 1, 1]),
        case((2, 9, 9, 3), (7, 3, 3, 3), [1, 1, 1, 1]),
        case((2, 9, 8, 16), (24, 16, 3, 3), [2, 1, 1, 1]),
        case((2, 8, 8, 16), (24, 16, 1, 1), [2, 0, 1, 1]),
        case((2, 8, 8, 16), (24, 16, 1, 1), [1, 0, 1, 1]),
        case((1, 12, 12, 6), (8, 3, 5, 3), [2, 2, 2, 2]),
        case((2, 7, 7, 12), (12, 1, 3, 3), [1, 1, 1, 12]),
        case((1, 16, 16, 3), (20, 3, 7, 7), [3, 3, 1, 1]),
    ]
}

impl Case {
    fn geometry(&self) -> Geometry {
        Geometry::new(self.input, self.weight, self.options).unwrap()
    }

    fn tensors(&self, seed: u64) -> (Var, Var, Tensor) {
        let geometry = self.geometry();
        let tensor = |seed, len, dims: (usize, usize, usize, usize)| {
            Tensor::from_vec(normal_values(seed, len), dims, &Device::Cpu).unwrap()
        };
        let x = Var::from_tensor(&tensor(seed, geometry.input_len(), geometry.input_dims())).unwrap();
        let weight =
            Var::from_tensor(&tensor(seed + 1, geometry.weight_len(), geometry.weight_dims())).unwrap();
        (x, weight, tensor(seed + 2, geometry.output_len(), geometry.output_dims()))
    }

    /// For each product of two elements in the definition: the indices of output, input and weight.
    fn for_each_product(&self, mut with: impl FnMut(usize, usize, usize)) {
        let geometry = self.geometry();
        let (inputs, outputs, taps) =
            (geometry.group_inputs(), geometry.group_outputs(), geometry.window.taps());
        for pixel in 0..geometry.output_pixels() {
            let (image, place) = (pixel / geometry.output.pixels(), pixel % geometry.output.pixels());
            for tap in 0..taps {
                let Some(source) = geometry.source_pixel(place, tap) else { continue };
                let source = (image * geometry.input.pixels() + source) * geometry.input.channels;
                for output in 0..geometry.output.channels {
                    for input in 0..inputs {
                        let x = source + output / outputs * inputs + input;
                        with(
                            pixel * geometry.output.channels + output,
                            x,
                            (output * inputs + input) * taps + tap,
                        );
                    }
                }
            }
        }
    }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The output and both gradients.
fn computed(case: &Case, seed: u64) -> [Vec<f32>; 3] {
    let (x, weight, seedling) = case.tensors(seed);
    let y = conv2d(x.as_tensor(), weight.as_tensor(), case.options).unwrap();
    let gradients = (&y * &seedling).unwrap().sum_all().unwrap().backward().unwrap();
    [flat(&y), flat(gradients.get(&x).unwrap()), flat(gradients.get(&weight).unwrap())]
}

#[test]
fn output_and_gradients_are_the_exact_ones_but_for_rounding() {
    for (seed, case) in (0..).step_by(10).zip(cases()) {
        let (x, weight, seedling) = case.tensors(seed);
        let (x, weight, seedling) = (flat(&x), flat(&weight), flat(&seedling));
        let results = computed(&case, seed);
        let mut exact = results.each_ref().map(|result| vec![(0_f64, 0_f64); result.len()]);
        case.for_each_product(|output, input, tap| {
            let (x, weight, seedling) =
                (f64::from(x[input]), f64::from(weight[tap]), f64::from(seedling[output]));
            let mut add = |which: usize, number: usize, term: f64| {
                let (sum, square) = &mut exact[which][number];
                (*sum, *square) = (*sum + term, *square + term * term);
            };
            add(0, output, x * weight);
            add(1, input, weight * seedling);
            add(2, tap, x * seedling);
        });
        for (which, (result, exact)) in results.iter().zip(&exact).enumerate() {
            let scale = exact.iter().map(|(_, square)| square.sqrt()).fold(0.0, f64::max);
            let error = result.iter().zip(exact).map(|(found, (exact, _))| (f64::from(*found) - exact).abs());
            let error = error.fold(0.0, f64::max) / (scale * f64::from(f32::EPSILON));
            assert!(error < 64.0, "{which} of {:?}: {error} ε", case.geometry());
        }
    }
}

#[test]
fn output_and_gradients_have_the_same_bytes_on_every_machine_and_any_number_of_threads() {
    for (seed, case) in (0..).step_by(10).zip(cases()) {
        let results = on_each_machine(|| computed(&case, seed));
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", case.geometry());
    }
}

#[test]
fn the_composed_definition_that_gpus_are_checked_against_is_the_same() {
    let shapes: [(&[usize], &[usize], [usize; 4]); 3] = [
        (&[2, 5, 6, 8], &[8, 8, 3, 3], [1, 1, 1, 1]),
        (&[2, 9, 8, 6], &[4, 3, 3, 2], [2, 2, 2, 2]),
        (&[1, 8, 8, 3], &[5, 3, 4, 4], [4, 0, 1, 1]),
    ];
    for (x, weight, [stride, padding, dilation, groups]) in shapes {
        let options = Conv2d { stride, padding, dilation, groups };
        assert_agreement(
            &[x, weight],
            |x| conv2d(&x[0], &x[1], options),
            |x| definitions::conv2d(&x[0], &x[1], options),
        );
    }
}

#[test]
fn gradients_match_numeric_differentiation() {
    let case = case((1, 4, 4, 8), (8, 8, 3, 3), [1, 1, 1, 1]);
    let (x, weight, seedling) = case.tensors(7);
    let gradient = computed(&case, 7)[2].clone();
    let loss = |weight: &Tensor| -> f64 {
        let y = conv2d(x.as_tensor(), weight, case.options).unwrap();
        flat(&y).iter().zip(flat(&seedling)).map(|(y, s)| f64::from(*y) * f64::from(s)).sum()
    };
    let step = 0.5_f32;
    for number in [0, 17, 300, 575] {
        let moved = |by: f32| {
            let mut elements = flat(&weight);
            elements[number] += by;
            loss(&Tensor::from_vec(elements, weight.shape(), &Device::Cpu).unwrap())
        };
        // A convolution is linear in its weight: the difference quotient is exact for any step.
        let numeric = (moved(step) - moved(-step)) / f64::from(2.0 * step);
        assert!(
            (numeric - f64::from(gradient[number])).abs() < 1e-4,
            "{number}: {numeric} {}",
            gradient[number]
        );
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let zeros = |dims: (usize, usize, usize, usize)| {
        Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu).unwrap()
    };
    let refused = |x, weight, options| conv2d(&zeros(x), &zeros(weight), options).unwrap_err().to_string();
    let said = refused((1, 8, 8, 16), (8, 12, 3, 3), Conv2d::default());
    assert!(said.contains("inputs of 16 channels and a weight [8, 12, 3, 3] in 1 groups"), "{said}");
    let said = refused((1, 2, 8, 16), (8, 16, 3, 3), Conv2d::default());
    assert!(said.contains("a window of 3x3 with dilation 1 does not fit into an image of 2x8"), "{said}");
    let said = refused((1, 8, 8, 16), (8, 16, 3, 3), Conv2d { stride: 0, ..Conv2d::default() });
    assert!(said.contains("stride 0"), "{said}");
    let said = refused((0, 8, 8, 16), (8, 16, 3, 3), Conv2d::default());
    assert!(said.contains("0 images of 8x8: expected at least one pixel"), "{said}");
}

#[test]
fn what_needs_no_gradient_gets_none_and_the_rest_stays_the_same() {
    let case = case((2, 8, 8, 16), (24, 16, 3, 3), [2, 1, 1, 1]);
    let (x, weight, outer) = case.tensors(3);
    let forward = Forward { options: case.options, precision: Precision::F32 };
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let gradients = |x: &Tensor, weight: &Tensor| {
        forward.gradients([x, weight], &outer, &outer).unwrap().map(|gradient| gradient.map(|g| values(&g)))
    };
    let (frozen_x, frozen_weight) = (x.as_detached_tensor(), weight.as_detached_tensor());
    let [of_x, of_weight] = gradients(&x, &weight);
    assert_eq!(gradients(&x, &frozen_weight), [of_x, None]);
    assert_eq!(gradients(&frozen_x, &weight), [None, of_weight]);
}
