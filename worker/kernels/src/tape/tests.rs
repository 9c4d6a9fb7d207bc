use candle_core::{Device, Var};

use super::*;
use crate::agreement::normal_values;
use crate::{add_bias, linear, relu};

fn tensor(seed: u64, shape: (usize, usize)) -> Tensor {
    Tensor::from_vec(normal_values(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap()
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.to_vec2().unwrap()
}

/// Arguments of the forward passes below.
struct Leaves {
    x: Tensor,
    weight: Var,
    bias: Var,
}

impl Leaves {
    fn new() -> Self {
        let bias = Var::from_slice(&normal_values(3, 4), 4, &Device::Cpu).unwrap();
        Self { x: tensor(1, (3, 4)), weight: Var::from_tensor(&tensor(2, (4, 4))).unwrap(), bias }
    }

    fn layer(&self, x: &Tensor) -> Tensor {
        linear(x, &self.weight, &self.bias).unwrap()
    }
}

/// Gradients of weight and bias for a keyed gradient of the result: by the tape, and by the tensor library alone.
fn by_both(forward: impl Fn(&Leaves) -> Tensor) -> [Vec<Vec<f32>>; 2] {
    let leaves = Leaves::new();
    let gradient = tensor(9, (3, 4));
    let (output, tape) = record(|| forward(&leaves));
    let taped = tape.backward(output, gradient.clone()).unwrap();
    let loss = (forward(&leaves) * gradient).unwrap().sum_all().unwrap();
    let library = loss.backward().unwrap();
    let of = |weight: &Tensor, bias: &Tensor| {
        let mut all = rows(weight);
        all.push(bias.to_vec1().unwrap());
        all
    };
    [
        of(taped.get(&leaves.weight).unwrap(), taped.get(&leaves.bias).unwrap()),
        of(library.get(&leaves.weight).unwrap(), library.get(&leaves.bias).unwrap()),
    ]
}

fn assert_close(what: &str, [taped, library]: [Vec<Vec<f32>>; 2]) {
    for (found, expected) in taped.iter().flatten().zip(library.iter().flatten()) {
        assert!(
            (found - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
            "{what}: {found}, expected {expected}"
        );
    }
}

#[test]
fn gradients_are_those_of_the_tensor_library_whatever_lies_between_our_operations() {
    type Forward = fn(&Leaves) -> Tensor;
    let passes: [(&str, Forward); 7] = [
        ("ours alone", |of| relu(&of.layer(&of.x)).unwrap()),
        ("a shared weight", |of| of.layer(&relu(&of.layer(&of.x)).unwrap())),
        ("a branch that is joined by the library", |of| {
            let y = of.layer(&of.x);
            (relu(&y).unwrap() + of.layer(&y)).unwrap()
        }),
        ("the library between ours", |of| {
            of.layer(&of.layer(&of.x).sqr().unwrap().t().unwrap().t().unwrap())
        }),
        ("the library's result taken twice", |of| {
            let y = of.layer(&of.x).tanh().unwrap();
            add_bias(&(of.layer(&y) * of.layer(&relu(&y).unwrap())).unwrap(), &of.bias).unwrap()
        }),
        ("the library last, with a variable", |of| (of.layer(&of.x).broadcast_mul(&of.bias)).unwrap()),
        ("the library alone", |of| {
            of.x.matmul(&of.weight.t().unwrap()).unwrap().broadcast_add(&of.bias).unwrap()
        }),
    ];
    for (what, forward) in passes {
        assert_close(what, by_both(forward));
    }
}

#[test]
fn what_the_output_does_not_depend_on_has_no_gradient() {
    let leaves = Leaves::new();
    let other = Var::from_tensor(&tensor(4, (4, 4))).unwrap();
    let (output, tape) = record(|| {
        linear(&leaves.x, &other, &leaves.bias).unwrap();
        relu(&leaves.x).unwrap();
        leaves.layer(&leaves.x)
    });
    let gradients = tape.backward(output, tensor(9, (3, 4))).unwrap();
    assert!(gradients.get(&other).is_none());
    assert!(gradients.get(&leaves.weight).is_some());
}

#[test]
fn a_gradient_of_another_shape_is_refused() {
    let leaves = Leaves::new();
    for last in [|y: Tensor| y, |y: Tensor| y.tanh().unwrap()] {
        let (output, tape) = record(|| last(leaves.layer(&leaves.x)));
        let refused = tape.backward(output, tensor(9, (4, 3))).err().unwrap().to_string();
        assert!(refused.contains("gradient of shape [4, 3] for a tensor of shape [3, 4]"), "{refused}");
    }
}

#[test]
fn nothing_is_recorded_without_gradients_and_after_a_pass_that_panicked() {
    let leaves = Leaves::new();
    let (output, Tape { applied, .. }) = record(|| without_gradients(|| leaves.layer(&leaves.x)));
    assert!(applied.is_empty() && !output.track_op());
    let pass = std::panic::AssertUnwindSafe(|| record(|| panic!("a model's fault")));
    assert!(std::panic::catch_unwind(pass).is_err());
    // After the tape, the library tracks operations again.
    assert!(leaves.layer(&leaves.x).sum_all().unwrap().backward().unwrap().get(&leaves.weight).is_some());
}

#[test]
fn activations_are_let_go_of_while_gradients_are_computed() {
    /// Notes whether the activation is still there when the gradient arrives.
    struct Watching {
        later: std::sync::Weak<()>,
        _held: std::sync::Arc<()>,
    }
    #[cfg(feature = "cuda")]
    impl crate::cuda::ops::OnCuda for Watching {}
    impl Kernel<1> for Watching {
        fn name(&self) -> &'static str {
            "watching"
        }
        fn compute(&self, [x]: [&[f32]; 1], [shape]: [&Shape; 1]) -> Result<(Vec<f32>, Shape)> {
            Ok((x.to_vec(), shape.clone()))
        }
        fn gradients(
            &self,
            _arguments: [&Tensor; 1],
            _result: &Tensor,
            gradient: &Tensor,
        ) -> Result<[Option<Tensor>; 1]> {
            assert!(self.later.upgrade().is_none(), "a later operation is still held");
            Ok([Some(gradient.clone())])
        }
    }
    let leaves = Leaves::new();
    let (first, second) = (std::sync::Arc::new(()), std::sync::Arc::new(()));
    let unrelated = std::sync::Weak::new();
    let (output, tape) = record(|| {
        let y = leaves.layer(&leaves.x);
        let y = apply1(&y, Watching { later: std::sync::Arc::downgrade(&second), _held: first }).unwrap();
        apply1(&y, Watching { later: unrelated, _held: second }).unwrap()
    });
    assert!(tape.backward(output, tensor(9, (3, 4))).unwrap().get(&leaves.weight).is_some());
}
