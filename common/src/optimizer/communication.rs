//! How much an outer step has to be sent, for people who choose between methods.

use super::methods::GradientSchedule;
use super::visit::Visit;
use crate::exchange_format::ExchangeFormat;
use crate::job::Method;

/// Communication of a full outer step, in multiples of the bytes of all parameters as f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Communication {
    /// What the link of a worker carries in each direction, where workers exchange with each other: all parameters for each
    /// request at new weights, and a gradient for each that descends or is asked for alone.
    pub each_way: f64,
    /// Gradients that the published code averages over the machines: one for each ascent and each descent.
    pub all_reduces: u32,
}

impl Communication {
    /// Communication of a method.
    pub fn of(method: &Method, format: ExchangeFormat) -> Self {
        let schedule = GradientSchedule::new(method, method.parts().inner_steps());
        let all = 0..schedule.len();
        let (weights, gradients) = match Visit::of(method) {
            Some(visit) => {
                let visits = schedule.len() / visit.gradients();
                (visits, visits * visit.descents())
            }
            None => {
                (all.clone().filter(|index| schedule.weights_changed(*index)).count() as u32, schedule.len())
            }
        };
        let gradient = format.bytes() as f64 / ExchangeFormat::F32.bytes() as f64;
        Self {
            each_way: f64::from(weights) + f64::from(gradients) * gradient,
            all_reduces: all.map(|index| schedule.gradient(index).replaced_passes()).sum(),
        }
    }

    /// What is sent, as a part of what the published code sends with ring all-reduces on this many machines, at least two:
    /// 2 (W − 1) / W for each.
    pub fn relative(&self, machines: u32) -> f64 {
        let machines = f64::from(machines.max(2));
        self.each_way / (f64::from(self.all_reduces) * 2.0 * (machines - 1.0) / machines)
    }
}

#[cfg(test)]
mod tests;
