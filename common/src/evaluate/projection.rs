//! Projections on the sets within which an ascent may move, in f64 and in the order of the elements.

/// Most halvings of the interval of λ: no f64 has more bits.
const BISECTIONS: u32 = 100;
/// Relative distance from the radius at which a projection is accurate enough.
const ACCURACY: f64 = 1e-7;

/// Where δ may be, for weights w and radius ρ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ball {
    /// ‖δ‖ ≤ ρ.
    Sphere,
    /// ‖δ / |w|‖ ≤ ρ.
    Ellipsoid,
    /// |δ| ≤ ρ |w| for each element.
    Box,
}

impl Ball {
    /// Moves δ to the nearest point of the set. Where w = 0, the adaptive sets leave δ no room, and it becomes 0.
    pub(super) fn project(self, delta: &mut [f64], weights: &[f32], radius: f64) {
        match self {
            Self::Sphere => {
                let length = norm(delta.iter().copied());
                if length > radius {
                    delta.iter_mut().for_each(|value| *value *= radius / length);
                }
            }
            Self::Ellipsoid => project_on_ellipsoid(delta, weights, radius),
            Self::Box => {
                for (value, weight) in delta.iter_mut().zip(weights) {
                    let most = radius * f64::from(weight.abs());
                    *value = value.clamp(-most, most);
                }
            }
        }
    }
}

/// The Euclidean norm.
pub(super) fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// The nearest point is δ / (1 + 2λ/w²), with the λ ≥ 0 at which it lies on the surface; found by bisection.
fn project_on_ellipsoid(delta: &mut [f64], weights: &[f32], radius: f64) {
    for (value, weight) in delta.iter_mut().zip(weights) {
        if *weight == 0.0 {
            *value = 0.0;
        }
    }
    let shrunk = |value: f64, weight: f32, lambda: f64| {
        let square = f64::from(weight) * f64::from(weight);
        // Written so that tiny weights do not divide by zero.
        value * square / (square + 2.0 * lambda)
    };
    let length = |lambda: f64, delta: &[f64]| {
        let scaled = delta.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
        norm(scaled.map(|(&value, &weight)| shrunk(value, weight, lambda) / f64::from(weight.abs())))
    };
    if length(0.0, delta) <= radius {
        return;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while length(high, delta) > radius {
        (low, high) = (high, high * 2.0);
    }
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        let found = length(middle, delta);
        if found > radius {
            low = middle
        } else {
            high = middle
        }
        if (found - radius).abs() <= ACCURACY * radius {
            break;
        }
    }
    // The upper end, which is within the set.
    for (value, weight) in delta.iter_mut().zip(weights).filter(|(_, weight)| **weight != 0.0) {
        *value = shrunk(*value, *weight, high);
    }
}

#[cfg(test)]
mod tests;
