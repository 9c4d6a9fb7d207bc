use std::collections::BTreeSet;

use lookbehind_common::job::parse_toml;
use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{FieldDescriptorProto, FileDescriptorSet};

use super::*;

/// The fields of a message in the `.proto` files.
fn fields(message: &str) -> Vec<FieldDescriptorProto> {
    let files = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap().file;
    let mut messages = files.into_iter().flat_map(|file| file.message_type);
    messages.find(|found| found.name() == message).unwrap().field
}

fn names<'a>(fields: impl Iterator<Item = &'a FieldDescriptorProto>) -> BTreeSet<String> {
    fields.map(|field| field.name().to_owned()).collect()
}

/// Checks the keys of a message of which every field is set, and of one of which none is.
fn assert_keys(message: &str, whole: &impl Serialize, empty: &impl Serialize) {
    let keys = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let fields = fields(message);
    let always = |field: &&FieldDescriptorProto| field.r#type() != Type::Message && !field.proto3_optional();
    assert_eq!(keys(serde_json::to_value(whole).unwrap()), names(fields.iter()), "{message}");
    assert_eq!(keys(serde_json::to_value(empty).unwrap()), names(fields.iter().filter(always)), "{message}");
}

fn spec() -> v1::JobSpec {
    let text = "name = \"j\"\n[model]\nkind = \"mlp\"\n[data]\nkind = \"digits\"\n\
                [train]\nsteps = 1\nbatch_size = 128\nshards = 2\n[optimizer]\nmethod = \"lookbehind\"\n";
    wire::to_proto(&parse_toml(text).unwrap())
}

#[test]
fn keys_are_the_fields_of_the_protocol_and_absent_ones_are_omitted() {
    let at = Some(Timestamp::default());
    let best = v1::BestResult { metric: v1::Criterion::ValidationLoss.into(), ..v1::BestResult::default() };
    let test = Some(v1::TestMetrics::default());
    let results = v1::JobResults { test, best: Some(best), ..v1::JobResults::default() };
    let job = v1::Job {
        spec: Some(spec()),
        created_at: at,
        finished_at: at,
        results: Some(results),
        ..v1::Job::default()
    };
    assert_keys("Job", &JobJson::from(&job), &JobJson::from(&v1::Job::default()));
    assert_keys("JobResults", &ResultsJson::from(&results), &ResultsJson::from(&v1::JobResults::default()));
    assert_keys("BestResult", &BestJson::from(&best), &BestJson::from(&best));
    assert_eq!(BestJson::from(&best).metric, "validation_loss");
    let notice = v1::JobNotice { at, ..v1::JobNotice::default() };
    assert_keys("JobNotice", &NoticeJson::from(&notice), &NoticeJson::from(&v1::JobNotice::default()));
    let checkpoint = v1::Checkpoint { written_at: at, ..v1::Checkpoint::default() };
    let empty = CheckpointJson::from(&v1::Checkpoint::default());
    assert_keys("Checkpoint", &CheckpointJson::from(&checkpoint), &empty);
    let worker = WorkerJson::from(&v1::Worker::default());
    assert_keys("Worker", &worker, &worker);
    let (time, test) = (v1::TimeSplit::default(), v1::TestMetrics::default());
    let step = v1::OuterStepMetrics {
        time: Some(time),
        test: Some(test),
        validation: Some(test),
        clean: Some(test),
        memorised: Some(test),
        gradient_norm: Some(0.5),
        mean_shard_gradient_norm: Some(0.5),
        alpha_min: Some(0.25),
        alpha_max: Some(0.75),
        ..v1::OuterStepMetrics::default()
    };
    let empty = StepJson::from(&v1::OuterStepMetrics::default());
    assert_keys("OuterStepMetrics", &StepJson::from(&step), &empty);
    assert_keys("TimeSplit", &TimeJson::from(&time), &TimeJson::from(&time));
    assert_keys("TestMetrics", &TestJson::from(&test), &TestJson::from(&test));
}

#[test]
fn states_are_the_protocols_in_lower_case() {
    for number in 0..=7 {
        let state = v1::JobState::try_from(number).unwrap();
        let expected = state.as_str_name().strip_prefix("JOB_STATE_").unwrap().to_lowercase();
        assert_eq!(state_name(state), expected);
    }
    assert!(v1::JobState::try_from(8).is_err());
}

#[test]
fn times_are_rfc_3339() {
    assert_eq!(time(&Timestamp { seconds: 1_700_000_000, nanos: 0 }), "2023-11-14T22:13:20Z");
    assert_eq!(time(&Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }), "2023-11-14T22:13:20.005Z");
}

#[test]
fn a_job_shows_its_specification_as_a_job_file_would() {
    let job = v1::Job { spec: Some(spec()), ..v1::Job::default() };
    let value = serde_json::to_value(JobJson::from(&job)).unwrap();
    assert_eq!(value["spec"]["optimizer"]["method"], "lookbehind");
    assert_eq!(value["spec"]["train"]["batch_size"], 128);
}
