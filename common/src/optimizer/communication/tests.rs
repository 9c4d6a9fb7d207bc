use super::*;
use crate::job::{Alpha, Ascent, InnerGradients, Minibatch, Perturbation};

fn lookbehind(perturbation: Perturbation, gradients: InnerGradients) -> Method {
    let ascent = Ascent { rho: 0.05, eta: None, perturbation };
    Method::Lookbehind { ascent, k: 5, alpha: Alpha::Static(0.5), gradients }
}

#[test]
fn an_outer_step_sends_weights_where_they_are_new_and_gradients_where_they_are_used() {
    use ExchangeFormat::{Bf16, F32};
    let (reuse, reference) = (InnerGradients::Reuse, InnerGradients::Reference(Minibatch::Same));
    for (perturbation, gradients, format, expected) in [
        (Perturbation::Global, reuse, F32, 12.0),
        (Perturbation::Global, reuse, Bf16, 9.0),
        // Ten gradients, but only at six weights.
        (Perturbation::Global, reference, F32, 16.0),
        (Perturbation::Shard, reuse, F32, 6.0),
        (Perturbation::Shard, reference, F32, 6.0),
        (Perturbation::Shard, reuse, Bf16, 3.5),
    ] {
        let found = Communication::of(&lookbehind(perturbation, gradients), format);
        assert_eq!(
            found,
            Communication { each_way: expected, all_reduces: 10 },
            "{perturbation:?} {format:?}"
        );
    }
    let per_shard = Communication::of(&lookbehind(Perturbation::Shard, reuse), F32);
    assert!((per_shard.relative(8) - 6.0 / 17.5).abs() < 1e-12);
    assert!((per_shard.relative(2) - 0.6).abs() < 1e-12);
    assert_eq!(Communication::of(&Method::Sgd, F32), Communication { each_way: 2.0, all_reduces: 1 });
}

#[test]
fn methods_with_a_batch_for_each_inner_step_count_each_of_them() {
    let ascent = |perturbation| Ascent { rho: 0.05, eta: None, perturbation };
    let of =
        |perturbation| Method::LookaheadSam { ascent: ascent(perturbation), k: 3, alpha: Alpha::Adaptive };
    let found = |perturbation| Communication::of(&of(perturbation), ExchangeFormat::F32);
    assert_eq!(found(Perturbation::Global), Communication { each_way: 12.0, all_reduces: 6 });
    assert_eq!(found(Perturbation::Shard), Communication { each_way: 6.0, all_reduces: 6 });
}
