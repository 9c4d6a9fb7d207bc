//! Checks `[schedule]`.

use super::super::file::{ScheduleName, ScheduleSection};
use super::super::{Length, Schedule};
use super::{Checked, number, refuse, unused};
use crate::schedule::Shape;

impl ScheduleSection {
    pub(super) fn validate(&self, length: Length) -> Checked<Schedule> {
        let (Length::Epochs(units) | Length::Steps(units)) = length;
        let shape = match self.kind {
            ScheduleName::Constant => Shape::Constant,
            ScheduleName::Multistep => self.multistep()?,
            ScheduleName::Cosine => Shape::Cosine {
                min_lr: number("schedule.min_lr", self.min_lr.unwrap_or(0.0), "0 to 1e6", |lr| {
                    (0.0..=1e6).contains(&lr)
                })?,
            },
        };
        if self.kind != ScheduleName::Multistep {
            let milestones = (!self.milestones.is_empty()).then_some(());
            unused("schedule.milestones", &milestones, "this schedule.kind")?;
            unused("schedule.gamma", &self.gamma, "this schedule.kind")?;
        }
        if self.kind != ScheduleName::Cosine {
            unused("schedule.min_lr", &self.min_lr, "this schedule.kind")?;
        }
        let warmup = self.warmup.unwrap_or(0);
        if warmup >= units {
            return refuse("schedule.warmup", &format!("less than the run's length of {units}"), warmup);
        }
        let start = self.warmup_start.unwrap_or(0.1);
        let expected = "a number above 0 and up to 1";
        let warmup_start = number("schedule.warmup_start", start, expected, |s| s > 0.0 && s <= 1.0)?;
        Ok(Schedule { shape, warmup, warmup_start })
    }

    fn multistep(&self) -> Checked<Shape> {
        if self.milestones.is_empty() || !self.milestones.is_sorted_by(|a, b| a < b) {
            return refuse(
                "schedule.milestones",
                "a rising list of at least one",
                format!("{:?}", self.milestones),
            );
        }
        let gamma =
            number("schedule.gamma", self.gamma.unwrap_or(0.1), "a number above 0 and up to 1", |g| {
                g > 0.0 && g <= 1.0
            })?;
        Ok(Shape::Multistep { milestones: self.milestones.clone(), gamma })
    }
}
