//! Steps of base optimizers that give each weight a step size of its own.

/// Factors of one step of Adam or AdamW.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate divided by the bias correction of the first moment.
    pub step_size: f32,
    /// Adam: weight decay, which is added to the gradient. AdamW: learning rate times weight decay.
    pub decay: f32,
    /// Weight of a new gradient in the first moment: 1 − β₁.
    pub first: f32,
    /// Weight of a new square in the second moment: 1 − β₂.
    pub second: f32,
    /// Square root of the bias correction of the second moment.
    pub correction: f32,
    /// Added to the denominator.
    pub eps: f32,
}

impl AdamStep {
    /// Updates the moments of one weight and returns its movement.
    ///
    /// The averages are written as steps towards the new value. Otherwise small factors would be subtracted from 1, and
    /// their rounding errors would be relative to 1.
    fn movement(&self, g: f32, m: &mut f32, v: &mut f32) -> f32 {
        *m += self.first * (g - *m);
        *v += self.second * (g * g - *v);
        let direction = *m / (v.sqrt() / self.correction + self.eps);
        self.step_size * direction
    }
}

/// Adam: with g + λw for g, `m += (1−β₁)(g − m)`, `v += (1−β₂)(g² − v)`, `w −= step·m / (√v / correction + ε)`.
pub fn adam(weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: AdamStep) {
    for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
        *w -= step.movement(g + step.decay * *w, m, v);
    }
}

/// AdamW: the moments of [`adam`] without decay, and `w −= lr λ w + step·m / (√v / correction + ε)`.
///
/// The decay is written as part of the step, for the reason given above.
pub fn adamw(weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: AdamStep) {
    for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
        let movement = step.movement(*g, m, v);
        *w -= step.decay * *w + movement;
    }
}

/// Factors of one step of Lion.
#[derive(Clone, Copy, Debug)]
pub struct LionStep {
    /// Learning rate.
    pub lr: f32,
    /// Learning rate times weight decay.
    pub decay: f32,
    /// Weight of the gradient in the step: 1 − β₁.
    pub step: f32,
    /// Weight of the gradient in the momentum: 1 − β₂.
    pub momentum: f32,
}

/// Lion: `c = m + (1−β₁)(g − m)`, `w −= lr λ w + lr·sign(c)`, `m += (1−β₂)(g − m)`, with sign(0) = 0.
pub fn lion(weights: &mut [f32], gradient: &[f32], momentum: &mut [f32], step: LionStep) {
    for ((w, g), m) in weights.iter_mut().zip(gradient).zip(momentum) {
        let c = *m + step.step * (g - *m);
        let sign = f32::from(c > 0.0) - f32::from(c < 0.0);
        *w -= step.decay * *w + step.lr * sign;
        *m += step.momentum * (g - *m);
    }
}

#[cfg(test)]
mod tests;
