//! Checks `[optimizer]`, `[optimizer.base]` and `[[optimizer.groups]]`.

use super::super::file::{AlphaValue, AscentName, BaseName, BaseSection, GradientsName, OptimizerSection};
use super::super::{
    Alpha, Ascent, BaseOptimizer, DescentGradient, Group, Groups, InnerGradients, JobError, Method,
    MethodName, Minibatch, OptimizerSpec, Perturbation,
};
use super::{Checked, number, refuse, small, unused};
use crate::text::printable;

/// Most inner steps.
const MAX_K: u64 = 1000;
/// Most patterns of all groups together, and most bytes of one: a name has no more.
const MAX_PATTERNS: usize = 256;
const MAX_PATTERN: usize = 256;

impl OptimizerSection {
    pub(super) fn validate(&self) -> Checked<OptimizerSpec> {
        let method = self.method()?;
        let clip_norm = self.clip_norm.map(|norm| {
            number("optimizer.clip_norm", norm, "a positive number up to 1e6", |norm| {
                norm > 0.0 && norm <= 1e6
            })
        });
        Ok(OptimizerSpec {
            batch_statistics: self.batch_statistics.unwrap_or_default(),
            base: self.base.validate()?,
            clip_norm: clip_norm.transpose()?,
            groups: Groups {
                list: self.groups(&method)?,
                decay_biases_and_norms: self.base.decay_biases_and_norms.unwrap_or(true),
            },
            method,
        })
    }

    fn groups(&self, method: &Method) -> Checked<Vec<Group>> {
        let patterns = self.groups.iter().map(|group| group.tensors.len()).sum::<usize>();
        if patterns > MAX_PATTERNS {
            return refuse(
                "optimizer.groups",
                &format!("at most {MAX_PATTERNS} patterns together"),
                patterns,
            );
        }
        for (index, group) in self.groups.iter().enumerate() {
            let path = format!("optimizer.groups[{index}]");
            check_group(&path, group)?;
            if method.parts().ascent.is_none() {
                let chosen = format!("method {}", self.method.as_str());
                unused(&format!("{path}.ascent"), &group.ascent, &chosen)?;
            }
        }
        Ok(self.groups.clone())
    }

    fn method(&self) -> Checked<Method> {
        use MethodName::{Lookahead, LookaheadSam, Lookbehind, MultistepSam, Rwp, Sam, Sgd};
        let chosen = &format!("method {}", self.method.as_str());
        if matches!(self.method, Sgd | Lookahead) {
            unused("optimizer.rho", &self.rho, chosen)?;
        }
        if matches!(self.method, Sgd | Lookahead | Rwp) {
            unused("optimizer.ascent", &self.ascent, chosen)?;
            unused("optimizer.eta", &self.eta, chosen)?;
            unused("optimizer.perturbation", &self.perturbation, chosen)?;
        }
        // sgd and sam are what the family does with k = 1 and α = 1, so a job may say so.
        if matches!(self.method, Sgd | Sam | Rwp) {
            unused("optimizer.k", &self.k.filter(|&k| k != 1), chosen)?;
        }
        if matches!(self.method, Sgd | Sam | MultistepSam | Rwp) {
            let alpha = self.alpha.filter(|&alpha| alpha != AlphaValue::Static(1.0));
            unused("optimizer.alpha", &alpha, chosen)?;
        }
        if !matches!(self.method, Lookbehind) {
            unused("optimizer.gradients", &self.gradients, chosen)?;
        }
        if !matches!(self.method, Lookbehind | MultistepSam) {
            unused("optimizer.minibatch", &self.minibatch, chosen)?;
        }
        if self.method != MultistepSam {
            unused("optimizer.descent", &self.descent, chosen)?;
        }
        if (self.descent, self.minibatch()) == (Some(DescentGradient::Mean), Minibatch::Switch) {
            return Err(JobError::new(
                "optimizer.descent",
                "\"mean\" needs minibatch = \"same\": the gradients that are averaged are of one batch",
            ));
        }
        if (self.perturbation, self.minibatch()) == (Some(Perturbation::Shard), Minibatch::Switch) {
            return Err(JobError::new(
                "optimizer.minibatch",
                "\"switch\" is not possible with perturbation = \"shard\": a shard climbs on its own samples only; \
                 set minibatch = \"same\" or perturbation = \"global\"",
            ));
        }
        Ok(match self.method {
            Sgd => Method::Sgd,
            Sam => Method::Sam { ascent: self.ascent()? },
            Lookahead => Method::Lookahead { k: self.k()?, alpha: self.alpha()? },
            LookaheadSam => {
                Method::LookaheadSam { ascent: self.ascent()?, k: self.k()?, alpha: self.alpha()? }
            }
            MultistepSam => Method::MultistepSam {
                ascent: self.ascent()?,
                k: self.k()?,
                minibatch: self.minibatch(),
                descent: self.descent.unwrap_or_default(),
            },
            Lookbehind => Method::Lookbehind {
                ascent: self.ascent()?,
                k: self.k()?,
                alpha: self.alpha()?,
                gradients: self.gradients()?,
            },
            Rwp => Method::Rwp { rho: self.rho()? },
        })
    }

    fn rho(&self) -> Checked<f64> {
        number("optimizer.rho", self.rho.unwrap_or(0.05), "a positive number up to 1e6", |rho| {
            rho > 0.0 && rho <= 1e6
        })
    }

    fn ascent(&self) -> Checked<Ascent> {
        let rho = self.rho()?;
        let eta = match self.ascent.unwrap_or(AscentName::Sam) {
            AscentName::Sam => {
                unused("optimizer.eta", &self.eta, "ascent sam")?;
                None
            }
            AscentName::Asam => Some(number("optimizer.eta", self.eta.unwrap_or(0.01), "0 to 1e6", |eta| {
                (0.0..=1e6).contains(&eta)
            })?),
        };
        Ok(Ascent { rho, eta, perturbation: self.perturbation.unwrap_or_default() })
    }

    fn k(&self) -> Checked<u32> {
        small("optimizer.k", self.k.unwrap_or(2), 1, MAX_K)
    }

    fn alpha(&self) -> Checked<Alpha> {
        match self.alpha.unwrap_or(AlphaValue::Static(0.5)) {
            AlphaValue::Adaptive => Ok(Alpha::Adaptive),
            AlphaValue::Static(alpha) => {
                let expected = "a number above 0 and up to 1, or \"adaptive\"";
                number("optimizer.alpha", alpha, expected, |alpha| alpha > 0.0 && alpha <= 1.0)
                    .map(Alpha::Static)
            }
        }
    }

    fn minibatch(&self) -> Minibatch {
        self.minibatch.unwrap_or_default()
    }

    fn gradients(&self) -> Checked<InnerGradients> {
        match (self.gradients.unwrap_or(GradientsName::Reuse), self.minibatch()) {
            (GradientsName::Reuse, Minibatch::Same) => Ok(InnerGradients::Reuse),
            (GradientsName::Reuse, Minibatch::Switch) => Err(JobError::new(
                "optimizer.gradients",
                "\"reuse\" needs minibatch = \"same\": a gradient of one batch cannot serve another; \
                 set gradients = \"reference\"",
            )),
            (GradientsName::Reference, minibatch) => Ok(InnerGradients::Reference(minibatch)),
        }
    }
}

impl BaseSection {
    pub(super) fn validate(&self) -> Checked<BaseOptimizer> {
        let (default_lr, default_decay) = match self.kind {
            BaseName::Sgd => (0.1, 0.0),
            BaseName::Adam => (0.001, 0.0),
            BaseName::Adamw => (0.001, 0.01),
            BaseName::Lion => (0.0001, 0.0),
        };
        let lr = number(
            "optimizer.base.lr",
            self.lr.unwrap_or(default_lr),
            "a positive number up to 1e6",
            |lr| lr > 0.0 && lr <= 1e6,
        )?;
        let decay = self.weight_decay.unwrap_or(default_decay);
        let weight_decay = decay_rate("optimizer.base.weight_decay", decay)?;
        let chosen = &format!("kind {}", self.kind.as_str());
        if self.kind != BaseName::Sgd {
            unused("optimizer.base.momentum", &self.momentum, chosen)?;
            unused("optimizer.base.nesterov", &self.nesterov, chosen)?;
        }
        if self.kind == BaseName::Sgd {
            unused("optimizer.base.betas", &self.betas, chosen)?;
        }
        if matches!(self.kind, BaseName::Sgd | BaseName::Lion) {
            unused("optimizer.base.eps", &self.eps, chosen)?;
        }
        Ok(match self.kind {
            BaseName::Sgd => self.sgd(lr, weight_decay)?,
            BaseName::Adam => {
                BaseOptimizer::Adam { lr, betas: self.betas()?, eps: self.eps()?, weight_decay }
            }
            BaseName::Adamw => {
                BaseOptimizer::AdamW { lr, betas: self.betas()?, eps: self.eps()?, weight_decay }
            }
            BaseName::Lion => BaseOptimizer::Lion { lr, betas: self.betas()?, weight_decay },
        })
    }

    fn sgd(&self, lr: f64, weight_decay: f64) -> Checked<BaseOptimizer> {
        let momentum = fraction("optimizer.base.momentum", self.momentum.unwrap_or(0.0))?;
        let nesterov = self.nesterov.unwrap_or(false);
        if nesterov && momentum == 0.0 {
            return Err(JobError::new("optimizer.base.nesterov", "needs a momentum above 0"));
        }
        Ok(BaseOptimizer::Sgd { lr, momentum, nesterov, weight_decay })
    }

    fn betas(&self) -> Checked<[f64; 2]> {
        let [first, second] = self.betas.unwrap_or(self.kind.default_betas());
        Ok([fraction("optimizer.base.betas[0]", first)?, fraction("optimizer.base.betas[1]", second)?])
    }

    fn eps(&self) -> Checked<f64> {
        let eps = self.eps.unwrap_or(1e-8);
        number("optimizer.base.eps", eps, "a number above 0 up to 1", |eps| eps > 0.0 && eps <= 1.0)
    }
}

fn check_group(path: &str, group: &Group) -> Checked<()> {
    let tensors = format!("{path}.tensors");
    if group.tensors.is_empty() {
        return refuse(&tensors, "at least one pattern of names of tensors", "none");
    }
    for (index, pattern) in group.tensors.iter().enumerate() {
        if pattern.is_empty() || pattern.len() > MAX_PATTERN {
            let shown: String = pattern.chars().take(40).collect();
            let expected = format!("a pattern of 1 to {MAX_PATTERN} bytes");
            return refuse(&format!("{tensors}[{index}]"), &expected, format!("{:?}", printable(&shown)));
        }
    }
    if let Some(factor) = group.lr_factor {
        let expected = "a positive number up to 1e6";
        number(&format!("{path}.lr_factor"), factor, expected, |factor| factor > 0.0 && factor <= 1e6)?;
    }
    if let Some(decay) = group.weight_decay {
        decay_rate(&format!("{path}.weight_decay"), decay)?;
    }
    Ok(())
}

fn decay_rate(path: &str, decay: f64) -> Checked<f64> {
    number(path, decay, "0 to 1e6", |decay| (0.0..=1e6).contains(&decay))
}

fn fraction(path: &str, value: f64) -> Checked<f64> {
    number(path, value, "a number from 0 to below 1", |v| (0.0..1.0).contains(&v))
}

#[cfg(test)]
mod tests;
