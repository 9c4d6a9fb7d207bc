use super::*;
use crate::evaluate::{Hessian, Noise, Sharpness};

fn plan() -> Plan {
    let mut request = Request::plain(7);
    request.noise = vec![Noise {
        kind: NoiseKind::Multiplicative,
        levels: vec![0.0, 0.1],
        draws: 5,
        statistics: vec![BatchStatistics::Frozen],
    }];
    request.sharpness = Some(Sharpness {
        measures: vec![SharpnessMeasure::WorstL2, SharpnessMeasure::AverageL2],
        radii: vec![0.1, 0.2],
        samples: 70,
        batch: 32,
        draws: 3,
        steps: 20,
    });
    request.hessian = Some(Hessian { eigenvalues: 1, iterations: 10, probes: 2, samples: 50 });
    Plan::new(request, Sizes { split: 40, train: 100, batch: 16 })
}

#[test]
fn the_units_are_counted() {
    let plan = plan();
    // Scores; one draw without noise and five with; start, 2 × 3 m-batches, 2 × 3 draws; two searches, two probes.
    assert_eq!(plan.units.len(), 1 + 6 + 1 + 6 + 6 + 2 + 2);
    let before: Vec<_> = (0..3).map(|batch| plan.batch(batch)).collect();
    assert_eq!(before, [0..32, 32..64, 64..70]);
}

#[test]
fn the_cost_is_that_of_all_units() {
    let plan = plan();
    let ascents = 2 * 70;
    let expected = Cost {
        gradients: 20 * ascents + 2 * 2 * 10 * 50 + 2 * 2 * 50,
        forwards: 7 * 40 + 70 + ascents + 6 * 70,
    };
    assert_eq!(plan.cost(), expected);
    let gradients = expected.gradients as f64 + expected.forwards as f64 / 3.0;
    assert!((expected.in_gradients(16) - gradients / 16.0).abs() < 1e-9);
}

#[test]
fn the_samples_are_keyed() {
    let plan = plan();
    let mut order = plan.order();
    assert_eq!(order, plan.order());
    assert_ne!(order, (0..100).collect::<Vec<_>>());
    order.sort_unstable();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
    let mut small = plan.clone();
    small.request.recalibration_batches = 2;
    assert_eq!(small.recalibration_order().len(), 32);
}
