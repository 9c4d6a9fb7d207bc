//! What an outer step exchanges, and how much that is.

use lookbehind_common::job::{ExchangeFormat, JobSpec, parse_toml};
use lookbehind_common::optimizer::Communication;

use super::Failure;

/// What an outer step exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// Gradients that each shard sends for one version of the weights: 1, or the k of shards that climb by themselves.
    pub gradients: u32,
    /// Format of the gradients.
    pub format: ExchangeFormat,
}

impl Scheme {
    /// The `[optimizer]` section of a job file, without its heading. Each outer step is one round.
    pub(super) fn optimizer(self) -> String {
        match self.gradients {
            1 => "method = \"sgd\"\nbase.lr = 1e-3".to_owned(),
            k => format!("method = \"lookbehind\"\nk = {k}\nperturbation = \"shard\"\nbase.lr = 1e-3"),
        }
    }

    /// What the link of a worker carries each way in an outer step, in multiples of the parameters as f32.
    ///
    /// # Errors
    /// If there is no such method.
    pub fn each_way(self) -> Result<f64, Failure> {
        let text = format!(
            "name = \"scheme\"\nmodel.kind = \"constant\"\ndata.kind = \"constant\"\n[train]\nsteps = 1\nbatch_size = 1\n\
             [optimizer]\n{}",
            self.optimizer()
        );
        let spec: JobSpec = parse_toml(&text)?.validate()?;
        Ok(Communication::of(&spec.optimizer.method, self.format).each_way)
    }
}

/// `f32`, `bf16`, or one of these with the number of gradients of a visit, as in `shard-5` and `shard-5-bf16`.
impl std::str::FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("expected f32, bf16, shard-K or shard-K-bf16 with K from 2 on, found {text:?}");
        let (rest, format) = match text.strip_suffix("bf16") {
            Some(rest) => (rest.trim_end_matches('-'), ExchangeFormat::Bf16),
            None => (text.trim_end_matches("f32").trim_end_matches('-'), ExchangeFormat::F32),
        };
        let gradients = match rest.strip_prefix("shard-") {
            Some(k) => k.parse().ok().filter(|k| *k > 1).ok_or_else(wrong)?,
            None if rest.is_empty() && !text.is_empty() => 1,
            None => return Err(wrong()),
        };
        Ok(Self { gradients, format })
    }
}

impl std::fmt::Display for Scheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.gradients {
            1 => f.write_str(self.format.as_str()),
            k => write!(f, "shard-{k}-{}", self.format.as_str()),
        }
    }
}

#[cfg(test)]
mod tests;
