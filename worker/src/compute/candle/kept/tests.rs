use lookbehind_common::job::{Alpha, Ascent, InnerGradients, Method, Perturbation};
use lookbehind_common::layout::{TensorKind, TensorSpec};

use super::*;
use crate::compute::fixture::{FILES, MLP, backend};
use crate::test_support::job;

/// A model of 1,000 parameters and 10 running statistics.
fn model() -> Layout {
    let tensor = |name: &str, kind, length| TensorSpec { name: name.to_owned(), shape: vec![length], kind };
    let tensors =
        vec![tensor("weight", TensorKind::Parameter, 1000), tensor("mean", TensorKind::RunningStatistic, 10)];
    Layout::new(tensors).unwrap()
}

#[test]
fn partials_that_wait_count_and_of_visits_the_order_that_takes_less() {
    let (_folder, backend) = backend();
    let model = model();
    let mut spec = job(MLP, FILES, "epochs = 1\nbatch_size = 11\nshards = 8");
    for (shards, waiting) in [(1, 0), (2, 1), (7, 2), (8, 3)] {
        assert_eq!(
            backend.kept(&spec, &model, shards),
            Kept::Partials(4 * 1010 * waiting),
            "{shards} shards"
        );
    }
    let ascent = Ascent { rho: 0.05, eta: None, perturbation: Perturbation::Shard };
    let (alpha, gradients) = (Alpha::Static(0.5), InnerGradients::Reuse);
    spec.optimizer.method = Method::Lookbehind { ascent, k: 5, alpha, gradients };
    // 8 + 1 copies of the weights, 3 gradients that wait, 5 that are sent, and the statistics of 6.
    let in_step = 4 * (1010 + 8 * 1000 + 3 * 1010 + 5 * 1000 + 6 * 10);
    assert_eq!(backend.kept(&spec, &model, 8), Kept::Visits(in_step));
    let one_after_another = 4 * (1010 + 1000 + 4 * (5 * 1000 + 6 * 10));
    let backend = backend.with_climb_order(ClimbOrder::OneAfterAnother);
    assert_eq!(backend.kept(&spec, &model, 8), Kept::Visits(one_after_another));
}
