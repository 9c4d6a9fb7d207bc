//! Lookahead with SAM steps, a baseline in the paper of Lookbehind:
//!
//! ```text
//! for i = 1..k, with a batch each:
//!     φ′ = f + ε(∇L(f))
//!     f = base(f, ∇L(φ′))
//! φ = φ + α (f − φ)
//! ```

use super::{GradientUse, sam};

pub(super) fn gradients(k: u32) -> Vec<GradientUse> {
    (0..k).flat_map(sam::gradients).collect()
}
