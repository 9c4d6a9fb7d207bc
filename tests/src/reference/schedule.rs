//! Learning rates over time.

use lookbehind_common::schedule::{Schedule, Shape};

/// Learning rate at position `unit` of a run of `units` units.
pub fn learning_rate(schedule: &Schedule, lr: f64, unit: u64, units: u64) -> f64 {
    let (unit, units, warmup) = (unit as f64, units as f64, schedule.warmup as f64);
    if unit < warmup {
        return lr * schedule.warmup_start + (lr - lr * schedule.warmup_start) * unit / warmup;
    }
    match &schedule.shape {
        Shape::Constant => lr,
        Shape::Multistep { milestones, gamma } => {
            let reached = milestones.iter().filter(|&&milestone| milestone as f64 <= unit).count();
            lr * gamma.powi(reached as i32)
        }
        Shape::Cosine { min_lr } => {
            let angle = std::f64::consts::PI * (unit - warmup) / (units - warmup);
            min_lr + (lr - min_lr) * (1.0 + angle.cos()) / 2.0
        }
        Shape::Polynomial { min_lr, power } => {
            min_lr + (lr - min_lr) * ((units - unit) / (units - warmup)).powf(*power)
        }
        Shape::OneCycle { pct_start, div_factor, final_div_factor } => {
            let peak = pct_start * units - 1.0;
            let (from, to, done) = if unit <= peak {
                (lr / div_factor, lr, unit / peak)
            } else {
                (lr, lr / (div_factor * final_div_factor), (unit - peak) / (units - 1.0 - peak))
            };
            from + (to - from) * (1.0 - (std::f64::consts::PI * done).cos()) / 2.0
        }
    }
}
