//! Checks `[schedule]`.

use super::super::file::{ScheduleName, ScheduleSection};
use super::super::{JobError, Length, Schedule};
use super::{Checked, number, refuse, unused};
use crate::schedule::{Shape, Unit};

impl ScheduleSection {
    pub(super) fn validate(&self, length: Length) -> Checked<Schedule> {
        self.refuse_unused()?;
        let (Length::Epochs(units) | Length::Steps(units)) = length;
        let unit = match (self.unit, length) {
            (Some(Unit::Epoch), Length::Steps(_)) => {
                let problem =
                    "\"epoch\" is possible only with train.epochs: the length of this job is in outer steps";
                return Err(JobError::new("schedule.unit", problem));
            }
            (None, Length::Epochs(_)) => Unit::Epoch,
            (None, Length::Steps(_)) => Unit::Step,
            (Some(unit), _) => unit,
        };
        let warmup = self.warmup.unwrap_or(0);
        // How many outer steps epochs have is known only with the data; the plan of the job is checked then.
        let is_known = unit == Unit::Epoch || matches!(length, Length::Steps(_));
        if is_known && warmup >= units {
            return refuse("schedule.warmup", &format!("less than the run's length of {units}"), warmup);
        }
        let start = self.warmup_start.unwrap_or(0.1);
        let warmup_start = number("schedule.warmup_start", start, PART, |s| s > 0.0 && s <= 1.0)?;
        Ok(Schedule { unit, shape: self.shape()?, warmup, warmup_start })
    }

    fn refuse_unused(&self) -> Checked<()> {
        use ScheduleName::{Cosine, Multistep, OneCycle, Polynomial};
        let chosen = &format!("kind {}", self.kind.as_str());
        if self.kind != Multistep {
            let milestones = (!self.milestones.is_empty()).then_some(());
            unused("schedule.milestones", &milestones, chosen)?;
            unused("schedule.gamma", &self.gamma, chosen)?;
        }
        if !matches!(self.kind, Cosine | Polynomial) {
            unused("schedule.min_lr", &self.min_lr, chosen)?;
        }
        if self.kind != Polynomial {
            unused("schedule.power", &self.power, chosen)?;
        }
        if self.kind != OneCycle {
            unused("schedule.pct_start", &self.pct_start, chosen)?;
            unused("schedule.div_factor", &self.div_factor, chosen)?;
            return unused("schedule.final_div_factor", &self.final_div_factor, chosen);
        }
        unused("schedule.warmup", &self.warmup, chosen)?;
        unused("schedule.warmup_start", &self.warmup_start, chosen)
    }

    fn shape(&self) -> Checked<Shape> {
        Ok(match self.kind {
            ScheduleName::Constant => Shape::Constant,
            ScheduleName::Multistep => self.multistep()?,
            ScheduleName::Cosine => Shape::Cosine { min_lr: self.min_lr()? },
            ScheduleName::Polynomial => {
                let power = self.power.unwrap_or(1.0);
                let holds = |power| power > 0.0 && power <= 100.0;
                let power = number("schedule.power", power, "a positive number up to 100", holds)?;
                Shape::Polynomial { min_lr: self.min_lr()?, power }
            }
            ScheduleName::OneCycle => {
                let part = self.pct_start.unwrap_or(0.3);
                let pct_start = number("schedule.pct_start", part, "a number from 0 to below 1", |part| {
                    (0.0..1.0).contains(&part)
                })?;
                Shape::OneCycle {
                    pct_start,
                    div_factor: divisor("schedule.div_factor", self.div_factor.unwrap_or(25.0))?,
                    final_div_factor: divisor(
                        "schedule.final_div_factor",
                        self.final_div_factor.unwrap_or(1e4),
                    )?,
                }
            }
        })
    }

    fn min_lr(&self) -> Checked<f64> {
        number("schedule.min_lr", self.min_lr.unwrap_or(0.0), "0 to 1e6", |lr| (0.0..=1e6).contains(&lr))
    }

    fn multistep(&self) -> Checked<Shape> {
        if self.milestones.is_empty() || !self.milestones.is_sorted_by(|a, b| a < b) {
            return refuse(
                "schedule.milestones",
                "a rising list of at least one",
                format!("{:?}", self.milestones),
            );
        }
        let gamma = number("schedule.gamma", self.gamma.unwrap_or(0.1), PART, |g| g > 0.0 && g <= 1.0)?;
        Ok(Shape::Multistep { milestones: self.milestones.clone(), gamma })
    }
}

const PART: &str = "a number above 0 and up to 1";

fn divisor(path: &str, value: f64) -> Checked<f64> {
    number(path, value, "1 to 1e12", |divisor| (1.0..=1e12).contains(&divisor))
}
