use super::*;
use crate::fake_test::source;

#[test]
fn evaluations_are_counted_as_the_method_defines_them() {
    use lookbehind_common::job::{Alpha, Ascent};
    let (ascent, alpha) = (Ascent { rho: 0.05, eta: None }, Alpha::Static(0.5));
    let lookbehind = |gradients| Method::Lookbehind { ascent, k: 5, alpha, gradients };
    assert_eq!(evaluations(&Method::Sgd), 1);
    assert_eq!(evaluations(&Method::Sam { ascent }), 2);
    assert_eq!(evaluations(&Method::Lookahead { k: 5, alpha }), 5);
    assert_eq!(evaluations(&Method::LookaheadSam { ascent, k: 5, alpha }), 10);
    let minibatch = lookbehind_common::job::Minibatch::Same;
    assert_eq!(evaluations(&Method::MultistepSam { ascent, k: 5, minibatch }), 6);
    assert_eq!(evaluations(&lookbehind(InnerGradients::Reuse)), 6);
    assert_eq!(evaluations(&lookbehind(InnerGradients::Reference(minibatch))), 10);
}

#[test]
fn a_job_is_described_in_words() {
    let source = source();
    let lines = describe(&source, 3);
    assert_eq!(lines[1], "20 epochs of batches of 128 samples in 8 shards");
    assert_eq!(lines[2], "3 evaluations on one batch per outer step");
}
