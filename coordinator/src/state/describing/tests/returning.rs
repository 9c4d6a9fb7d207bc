//! A worker that takes shards, computes nothing and registers again does not get rid of what is held against it.

use std::collections::VecDeque;

use lookbehind_common::exchange_format::ExchangeFormat;
use lookbehind_common::partial::{Partial, Sums};
use lookbehind_common::reduction::shard_range;

use super::*;
use crate::state::command::{Assignment, WorkerCommand};
use crate::state::event::{Busy, PartialHeader};

impl Scene {
    /// Carries out what the core asks for. Only `diligent` computes, at once; returns how many assignments went to others.
    pub(in crate::state) fn work(&mut self, commands: Vec<Command>, diligent: &Origin) -> usize {
        let mut queue = VecDeque::from(commands);
        let mut others = 0;
        while let Some(command) = queue.pop_front() {
            match command {
                Command::Advance { job, activation, trainer, input, .. } => {
                    let advance = Box::new(trainer.advance(input, None));
                    queue.extend(self.handle(Event::Advanced { job, activation, advance }));
                }
                Command::Send(session, WorkerCommand::Assign(assignment))
                    if session == diligent.session() =>
                {
                    queue.extend(self.deliver(diligent, &assignment));
                }
                Command::Send(_, WorkerCommand::Assign(_)) => others += 1,
                Command::Checkpoint { snapshot, .. } => {
                    queue.extend(self.stored(snapshot.position.outer_step));
                }
                _ => {}
            }
        }
        others
    }

    fn deliver(&mut self, origin: &Origin, assignment: &Assignment) -> Vec<Command> {
        let range = |shard| shard_range(assignment.coordinates.samples, assignment.coordinates.shards, shard);
        let mut commands = Vec::new();
        for &segment in &assignment.segments {
            let samples = range(segment.end - 1).end - range(segment.first).start;
            let header = PartialHeader {
                origin: origin.clone(),
                request: assignment.request.clone(),
                segment,
                gradient: 2,
                statistics: 0,
                format: ExchangeFormat::F32,
                samples,
                busy: Busy::default(),
            };
            let sums = Sums { samples, ..Sums::default() };
            let partial = Partial { gradient: FlatBuffer::zeros(2), statistics: FlatBuffer::zeros(0), sums };
            commands.extend(self.handle(Event::PartialArrived {
                reply_to: ReplyTo(1 << 21),
                header,
                partial,
                checksum: 1,
                is_finite: true,
            }));
        }
        commands
    }

    /// The worker leaves its shards undone, and another session of it is prepared at once.
    fn register_again(&mut self, origin: &Origin) -> (Origin, Vec<Command>) {
        self.now.elapsed += Duration::from_millis(1500);
        let mut commands = self.handle(Event::WorkerLost(origin.session(), LossCause::StreamClosed));
        let again = self.registered("m", Some("mallory")).unwrap();
        let prepared = self.preparation(&again, "data", "probe", 2);
        commands.extend(self.handle(prepared));
        (again, commands)
    }
}

#[test]
fn a_worker_that_leaves_its_shards_undone_again_and_again_gets_none() {
    let mut scene = Scene::new();
    let alice = scene.registered("a", Some("alice")).unwrap();
    let mallory = scene.registered("m", Some("mallory")).unwrap();
    let create = tests::create_with(0, |file| file.train.epochs = Some(50));
    scene.handle(create);
    for worker in [&alice, &mallory] {
        scene.prepared(worker, "data");
    }
    let commands = scene.drawn(&alice);
    assert_eq!(scene.work(commands, &alice), 1, "it is waited for");
    // The first time it may have been an accident.
    let (mallory, commands) = scene.register_again(&mallory);
    assert_eq!(scene.work(commands, &alice), 1, "it is waited for");
    let (mallory, commands) = scene.register_again(&mallory);
    assert!(scene.active().members.contains_key(&mallory.session()));
    assert_eq!(scene.work(commands, &alice), 0, "it is passed over");
    assert_eq!(scene.record().state, JobState::Succeeded, "{}", scene.record().message);
}
