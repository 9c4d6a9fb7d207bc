use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result, Tensor, Var};

use super::interruptible;
use crate::output::in_parts;
use crate::{Conv2d, conv2d, linear, record, relu};

/// Becomes unwanted after it was asked a number of times.
fn after(times: usize) -> (Arc<AtomicUsize>, impl Fn() -> bool + Send + Sync + 'static) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    (asked, move || counted.fetch_add(1, Ordering::Relaxed) >= times)
}

#[test]
fn parts_are_left_out_once_the_result_is_not_wanted() {
    let computed = AtomicUsize::new(0);
    let (_, unwanted) = after(3);
    let result = interruptible(unwanted, || {
        in_parts(1000, 10, |_, _| {
            computed.fetch_add(1, Ordering::Relaxed);
        })
    });
    assert_eq!((result, computed.into_inner()), (None, 3));
}

#[test]
fn a_pass_that_is_not_wanted_ends_at_its_first_operation_and_the_next_one_is_computed() -> Result<()> {
    let x = Tensor::ones((4, 3), DType::F32, &Device::Cpu)?;
    let weight = Var::ones((2, 3), DType::F32, &Device::Cpu)?;
    let bias = Var::zeros(2, DType::F32, &Device::Cpu)?;
    let mut operations = 0;
    let interrupted = interruptible(
        || true,
        || {
            record(|| {
                let hidden = linear(&x, &weight, &bias)?;
                operations += 1;
                relu(&hidden)
            })
        },
    );
    assert!(interrupted.is_none());
    assert_eq!(operations, 0, "the first operation ends the pass");
    let (logits, _) = record(|| linear(&x, &weight, &bias));
    assert_eq!(logits?.to_vec2::<f32>()?, vec![vec![3.0, 3.0]; 4]);
    Ok(())
}

#[test]
fn a_backward_pass_ends_within_the_operation_that_it_computes() -> Result<()> {
    let x = Var::ones((64, 5, 5, 3), DType::F32, &Device::Cpu)?;
    let weight = Var::ones((4, 3, 2, 2), DType::F32, &Device::Cpu)?;
    let whole = asked_by_backward(&x, &weight, usize::MAX)?;
    assert!(whole > 64, "a convolution asks in each of its parts; it asked {whole} times");
    for times in 1..whole {
        let asked = asked_by_backward(&x, &weight, times)?;
        assert!(asked <= times + 2 + rayon::current_num_threads(), "{asked} > {times}");
    }
    Ok(())
}

/// How often a convolution's backward pass asks when it becomes unwanted after some of them; checks that it fails then.
fn asked_by_backward(x: &Tensor, weight: &Var, times: usize) -> Result<usize> {
    let (y, tape) = record(|| conv2d(x, weight, Conv2d::default()));
    let y = y?;
    let gradient = y.ones_like()?;
    let (asked, unwanted) = after(times);
    let gradients = interruptible(unwanted, || tape.backward(y, gradient));
    let asked = asked.load(Ordering::Relaxed);
    assert_eq!(gradients.is_none(), asked > times, "{asked} of {times}");
    Ok(asked)
}
