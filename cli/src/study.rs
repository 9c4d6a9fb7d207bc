//! Studies: variants of a job, each trained with the same seeds, and compared seed by seed.
//!
//! A study is fair as far as its file makes it so: equal budgets, grids with equal numbers of trials that are chosen on
//! validation with seeds of their own, and one baseline. What confounds a comparison stands beside it in the table:
//! α·k·lr, the radius that a method has in effect, and what it cost.

pub mod confounds;
pub mod evaluation;
pub mod execute;
pub mod file;
pub mod ledger;
pub mod plan;
pub mod progress;
pub mod results;

#[cfg(test)]
mod tests;
