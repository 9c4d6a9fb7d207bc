use super::*;
use crate::fake_test::{Fake, Script, event, notice, step};
use lookbehind_proto::v1;
use lookbehind_proto::v1::watch_job_response::Event as Wire;

#[tokio::test]
async fn metrics_end_at_the_checkpoint_even_while_the_job_runs_on() {
    let events = (1..=4).map(|n| event(Wire::Step(step(n))));
    let watch =
        std::iter::once(event(Wire::Notice(notice(1, v1::JobState::Running)))).chain(events).collect();
    let fake = Fake::start(Script { watch: [watch].into(), ..Script::default() });
    let folder = tempfile::tempdir().unwrap();
    let mut output = Output::prepare(folder.path(), "", false, None).unwrap();
    let watch = Watch::new(Client::connect(&fake.url()).await.unwrap(), "j00000000");
    let tally = gather(watch, 2, &mut output).await.unwrap();
    assert_eq!(tally.outer_steps(), 2);
    let metrics = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 2);
}

#[tokio::test]
async fn the_outer_steps_of_a_job_end_where_it_stands() {
    let events = (1..=4).map(|n| event(Wire::Step(step(n)))).collect();
    let fake = Fake::start(Script { watch: [events].into(), ..Script::default() });
    let client = Client::connect(&fake.url()).await.unwrap();
    let job = v1::Job { id: "j00000000".to_owned(), outer_step: 3, ..v1::Job::default() };
    let steps = steps(&client, &job).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.outer_step).collect::<Vec<_>>(), [1, 2, 3]);
}
