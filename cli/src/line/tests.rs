use lookbehind_proto::v1;

use super::*;
use crate::fake_test::{job, step};

#[test]
fn a_line_says_what_it_is() {
    let line = serde_json::to_value(Line::Step(Box::new(StepJson::from(&step(1))))).unwrap();
    assert_eq!(line["step"]["outer_step"], 1);
    let line = serde_json::to_value(Line::Job(Box::new(JobJson::from(&job(v1::JobState::Running))))).unwrap();
    assert_eq!(line["job"]["state"], "running");
}
