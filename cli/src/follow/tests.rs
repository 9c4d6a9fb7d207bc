use lookbehind_proto::v1::watch_job_response::Event as Wire;

use super::*;
use crate::exit::Exit;
use crate::fake_test::{Fake, Out, Script, event, job, notice, step};

async fn follow(fake: &Fake, out: &Out, output: Option<Output>) -> Follow {
    let client = Client::connect(&fake.url()).await.unwrap();
    Follow::new(&Console::to(true, out.clone()), &client, job(v1::JobState::Queued), output)
}

#[tokio::test]
async fn a_failed_job_leaves_its_metrics_and_a_summary_and_says_why() {
    let events = vec![event(Wire::Step(step(1))), event(Wire::Notice(notice(2, v1::JobState::Failed)))];
    let failed = v1::Job { message: "tensor w: not finite".to_owned(), ..job(v1::JobState::Failed) };
    let fake = Fake::start(Script { watch: [events].into(), job: failed, ..Script::default() });
    let folder = tempfile::tempdir().unwrap();
    let output = Output::prepare(folder.path(), "", false, None).unwrap();
    let out = Out::default();
    let mut follow = follow(&fake, &out, Some(output)).await;
    follow.until_over().await.unwrap();
    let error = follow.conclude().await.unwrap_err();
    assert_eq!(error.to_string(), "job j00000000 failed: tensor w: not finite");
    assert_eq!(error.exit(), Exit::JobFailed);
    let kinds: Vec<String> =
        out.lines().iter().flat_map(|line| line.as_object().unwrap().keys().cloned()).collect();
    assert_eq!(
        kinds,
        ["step", "notice", "summary"],
        "a program reads one object per event, the summary last"
    );
    let summary = std::fs::read(folder.path().join("summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!((&summary["state"], &summary["outer_steps"]), (&"failed".into(), &1.into()));
    assert!(!folder.path().join("model.safetensors").exists());
}

#[tokio::test]
async fn a_pause_is_over_when_it_and_all_earlier_steps_have_been_told() {
    // An earlier pause in the job's history must not be mistaken for the one that was just requested.
    let paused = v1::JobNotice { outer_step: 3, ..notice(9, v1::JobState::Paused) };
    let mut events = vec![event(Wire::Notice(notice(2, v1::JobState::Paused))), event(Wire::Step(step(1)))];
    events.extend([event(Wire::Notice(paused)), event(Wire::Step(step(2))), event(Wire::Step(step(3)))]);
    let running = v1::Job { revision: 5, outer_step: 1, ..job(v1::JobState::Running) };
    let fake = Fake::start(Script { watch: [events].into(), job: running, ..Script::default() });
    let mut follow = follow(&fake, &Out::default(), None).await;
    follow.pause().await.unwrap();
    assert_eq!(follow.job().state(), v1::JobState::Paused);
    assert_eq!((follow.job().revision, follow.tally.outer_steps()), (9, 3));
}
