//! What jobs say that they wait for.

use lookbehind_common::ids::SessionSecret;
use lookbehind_common::job::JobFile;
use lookbehind_proto::wire;

use super::*;
use crate::state::event::{Event, Fault, Origin, Reply, ReplyTo, UserCall, WorkerMessage};
use crate::state::{Caller, Command, CoreConfig, Now, Stored, tests};

/// A core, and the number of what was created.
struct Scene {
    core: Core,
    created: u64,
}

impl Scene {
    fn new() -> Self {
        Self::with(tests::config())
    }

    fn with(config: CoreConfig) -> Self {
        Self { core: Core::new(config, Stored::default(), Now::default()).0, created: 0 }
    }

    /// Creates a job and returns what the answer says.
    fn create(&mut self, change: impl FnOnce(&mut JobFile)) -> (JobId, Option<Wait>) {
        self.created += 1;
        let mut file = wire::from_proto(&tests::spec("", None)).expect("a job file");
        change(&mut file);
        let call = UserCall::Create {
            request_id: format!("{}", self.created),
            submission: tests::submission(&wire::to_proto(&file)),
            initial_checkpoint: Ok(None),
            entropy: self.created,
        };
        let view = self.ask(call);
        (view.record.id, view.waiting_for)
    }

    fn ask(&mut self, call: UserCall) -> crate::state::event::JobView {
        let event = Event::User { reply_to: ReplyTo(1), caller: Caller::Anyone, call };
        let commands = self.core.handle(Now::default(), event);
        let reply = commands.into_iter().find_map(|command| match command {
            Command::Reply(_, Reply::Job(view)) | Command::Acknowledge(_, Reply::Job(view)) => Some(*view),
            _ => None,
        });
        reply.expect("an answer").expect("a job")
    }

    fn wait(&mut self, id: &JobId) -> String {
        self.ask(UserCall::Get(id.clone())).waiting_for.map(|wait| wait.to_string()).unwrap_or_default()
    }

    fn register(&mut self, name: &str) -> Origin {
        self.created += 1;
        let commands = self.core.handle(
            Now::default(),
            Event::Register {
                reply_to: ReplyTo(2),
                registration: tests::registration(name),
                identity: None,
                secret: SessionSecret::from_entropy(u128::from(self.created)),
            },
        );
        Origin { fencing_token: tests::outcome(commands).expect("a session"), identity: None }
    }
}

#[test]
fn a_queued_job_says_what_it_waits_for_from_the_answer_to_its_creation_on() {
    let mut scene = Scene::new();
    let (first, wait) = scene.create(|file| file.resources.min_workers = Some(2));
    assert_eq!(wait, Some(Wait::AnyWorker));
    assert_eq!(scene.wait(&first), "a worker: none is connected");
    scene.register("a");
    let few = "workers: it needs 2, and 1 of those connected can serve it";
    assert_eq!(scene.wait(&first), few);
    // One that can run meanwhile does, and then has what others want.
    let (second, wait) = scene.create(|file| file.resources.max_workers = Some(1));
    assert_eq!((wait, scene.wait(&second)), (None, String::new()), "it starts at once");
    scene.register("b");
    scene.register("c");
    assert_eq!(scene.wait(&first), "", "two are free");
    let (third, _) = scene.create(|file| file.resources.min_workers = Some(3));
    assert!(scene.wait(&third).starts_with("workers: it needs 3, and 0 are free; others serve job "));
    let (fourth, _) = scene.create(|_| ());
    let turn = format!("job {third}, which is before it in the queue and waits for workers");
    assert_eq!(scene.wait(&fourth), turn);
    let (urgent, _) = scene.create(|file| file.resources.priority = Some(1));
    assert!(scene.wait(&urgent).starts_with("workers: it needs 1, and 0 are free"), "it is before the third");
}

#[test]
fn a_job_that_excluded_workers_says_which_and_why() {
    let mut scene = Scene::new();
    scene.register("bert");
    let (other, _) = scene.create(|file| file.resources.max_workers = Some(1));
    let origin = scene.register("anna");
    let (job, _) = scene.create(|_| ());
    let fault = Fault::Worker;
    let failed = WorkerMessage::PrepareFailed { job: job.clone(), fault, reason: "no such file".into() };
    scene.core.handle(Now::default(), Event::Worker(origin, failed));
    let said = scene.wait(&job);
    let expected = format!("workers: it needs 1, and 0 are free; others serve job {other}; excluded: ");
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.contains("anna") && said.contains("no such file") && !said.contains("bert"), "{said}");
}

#[test]
fn a_job_that_is_paused_or_has_ended_waits_for_nothing() {
    let mut scene = Scene::new();
    let (job, _) = scene.create(|_| ());
    assert_ne!(scene.wait(&job), "");
    scene.ask(UserCall::Pause(job.clone()));
    assert_eq!(scene.wait(&job), "");
    scene.ask(UserCall::Cancel(job.clone()));
    assert_eq!(scene.wait(&job), "");
}

#[test]
fn a_job_that_verifies_waits_for_a_second_identity() {
    let mut scene = Scene::new();
    scene.register("a");
    let (job, wait) = scene.create(|file| file.resources.verify = Some(1));
    // Without credentials each session is one voice.
    assert_eq!(wait, Some(Wait::SecondIdentity));
    scene.register("b");
    assert_eq!(scene.wait(&job), "");
}

#[test]
fn a_job_whose_user_has_as_many_active_ones_as_allowed_waits_for_the_end_of_one() {
    let mut config = tests::config();
    config.sharing.max_active_jobs = Some(1);
    let mut scene = Scene::with(config);
    scene.register("a");
    scene.register("b");
    scene.create(|file| file.resources.max_workers = Some(1));
    let (second, wait) = scene.create(|_| ());
    assert_eq!(wait, Some(Wait::OwnJobs { limit: 1 }));
    assert!(scene.wait(&second).ends_with("as many active ones as allowed (1)"), "{}", scene.wait(&second));
}
