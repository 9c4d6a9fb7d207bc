//! A running job: outer steps, their gradient requests, tests, and the end of the job.

use std::collections::BTreeSet;
use std::sync::Arc;

use lookbehind_common::blocks::BlockDigest;
use lookbehind_common::ids::{RequestId, SessionId};
use lookbehind_common::model_state::Weights;
use lookbehind_common::optimizer::GradientRequest;
use lookbehind_common::reduction::{Segment, effective_shards};
use lookbehind_common::selection::Criteria;

use super::Core;
use super::active::{Active, Closing, Phase, Stage};
use super::assign::{Basis, Division, segments};
use super::cluster::Cluster;
use super::command::{Assignment, Command, Coordinates, RequestKind, WorkerCommand};
use super::event::Activation;
use super::exchange::Exchange;
use super::halt::{Halt, Handled};
use super::job::Job;
use super::partials::reduce_sums;
use super::request::Request;
use super::step::Step;
use super::step_end::next_test;
use super::verify::{Comparisons, drawn};
use crate::training::{Advance, Input, Outcome, Trainer};

impl Cluster {
    /// Begins the outer step at the trainer's position, or ends the job if that was the last one.
    pub(super) fn begin_outer_step(&mut self, job: &mut Job, trainer: Box<Trainer>) -> Handled {
        let position = trainer.position();
        let training = job.require_training()?;
        let (plan, selection) = (training.plan, training.selection);
        let learning_rate = job.spec.schedule.at(job.spec.optimizer.base.lr(), &plan, position);
        if position.outer_step >= plan.outer_steps || selection.stops(&Criteria::of(&job.spec)).is_some() {
            return self.close(job, &trainer, Closing::Done);
        }
        let Some(trainer) = self.await_second(job, trainer)? else { return Ok(()) };
        job.require_active_mut()?.has_computed = true;
        let batches = plan.batches_at(position);
        let samples = (position.batch..position.batch + batches).map(|batch| plan.batch_samples(batch)).sum();
        let training = job.require_training()?;
        training.step = Step::new(position, self.now.elapsed);
        training.step.samples = samples;
        training.step.first_sample = position.batch * plan.batch_size();
        training.step.learning_rate = learning_rate;
        training.phase = Phase::Advancing;
        let input = Input::Begin { batches: batches as u32, learning_rate };
        self.advance(job, trainer, input)
    }

    fn advance(&mut self, job: &Job, trainer: Box<Trainer>, input: Input) -> Handled {
        let active = job.require_active()?;
        let (activation, blocks) = (active.activation, self.exchanged_blocks(active));
        self.push(Command::Advance { job: job.id().clone(), activation, trainer, input, blocks });
        Ok(())
    }

    /// The trainer has finished a computation: issues the next gradient request, or ends the outer step.
    pub(super) fn advanced(&mut self, job: &mut Job, activation: Activation, advance: Advance) -> Handled {
        let training = job.in_activation(activation)?.require_training()?;
        training.step.note_advance(&advance);
        if matches!(advance.outcome, Outcome::Gradient(..) | Outcome::Finished(..)) {
            self.exclude_suspects(job)?;
        }
        // Without its last worker the job may have ended.
        let Ok(active) = job.in_activation(activation) else { return Ok(()) };
        let training = active.require_training()?;
        match advance.outcome {
            Outcome::Gradient(request, weights, digests) => {
                self.request_gradient(job, advance.trainer, request, weights, digests)
            }
            Outcome::Finished(report, digest, digests) => {
                training.step.report = Some((report, digest));
                self.step_computed(job, advance.trainer, digests)
            }
            Outcome::Diverged(reason) => Err(Halt::Failed(training.step.diverged(&reason))),
            Outcome::Failed(reason) => {
                Err(Halt::Failed(format!("outer step {}: {reason}", training.step.outer_step)))
            }
        }
    }

    /// Issues the gradient request that the optimizer asked for.
    fn request_gradient(
        &mut self,
        job: &mut Job,
        trainer: Box<Trainer>,
        request: GradientRequest,
        weights: Weights,
        digests: Arc<[BlockDigest]>,
    ) -> Handled {
        let training = job.require_training()?;
        let position = training.step.position;
        let batch = position.batch + u64::from(request.batch);
        let samples = training.plan.batch_samples(batch);
        let kind = RequestKind::Gradient { epoch: position.epoch, batch };
        // Version 0: nothing is published yet in this activation, changed or not. A version that was published without
        // digests cannot be exchanged by blocks.
        let lacks_digests = training.weights_digests.is_empty() && !digests.is_empty();
        let changed = request.weights_changed || training.weights_version == 0 || lacks_digests;
        // Otherwise the digests of the published version stay: its running statistics may be older than these, which
        // workers do not compute gradients with.
        self.issue_request(job, trainer, kind, samples, changed.then_some((weights, digests)))
    }

    /// Creates a request and assigns its shards. `weights` are `Some` if they may differ from the published ones; with
    /// the digests of their blocks, if these are known.
    pub(super) fn issue_request(
        &mut self,
        job: &mut Job,
        trainer: Box<Trainer>,
        kind: RequestKind,
        samples: u64,
        weights: Option<(Weights, Arc<[BlockDigest]>)>,
    ) -> Handled {
        let id = job.id().clone();
        let shards = effective_shards(samples, job.spec.train.shards);
        let training = job.require_training()?;
        let request = RequestId {
            job: id.clone(),
            outer_step: training.step.outer_step,
            index: training.step.requests,
        };
        training.step.requests += 1;
        // Workers that got the same weights for a test do not get them again for the gradient after it.
        let weights =
            weights.filter(|(_, digests)| digests.is_empty() || *digests != training.weights_digests);
        if let Some((_, digests)) = &weights {
            training.weights_version += 1;
            training.weights_digests = Arc::clone(digests);
        }
        let version = training.weights_version;
        let coordinates = Coordinates { kind, samples, shards };
        let compared = match kind {
            RequestKind::Gradient { .. } => {
                drawn(self.config.verification_key, &job.spec, request.outer_step, request.index, shards)
            }
            RequestKind::Test(_) => BTreeSet::new(),
        };
        let comparisons = Comparisons::of(compared);
        let (exchange, passing) = match kind {
            RequestKind::Gradient { .. } => (self.exchange(job, &request, shards), None),
            RequestKind::Test(_) => (None, self.passing(job, &request, shards)),
        };
        let mut request = Request::new(request, coordinates, version, self.now.elapsed, comparisons);
        if exchange.is_some() || passing.is_some() {
            request.weights_digests = Arc::clone(&job.require_training()?.weights_digests);
        }
        (request.exchange, request.passing) = (exchange, passing);
        let training = job.require_training()?;
        training.phase = Phase::Gathering(trainer, Box::new(request));
        // Before the assignments: a worker that gets one downloads this version.
        if let Some((weights, digests)) = weights {
            self.push(Command::Publish { job: id, version, weights, digests });
        }
        self.assign_unassigned(job.require_active_mut()?);
        Ok(())
    }

    /// Assigns all shards that are neither filled nor assigned. Does nothing between two requests.
    pub(super) fn assign_unassigned(&mut self, active: &mut Active) {
        let basis = active.basis(self.now.elapsed);
        let Some(training) = active.training_mut() else { return };
        let Phase::Gathering(_, request) = &mut training.phase else { return };
        for range in request.unassigned() {
            let division = self.assign_range(request, range, &basis, false);
            if range == Segment::root(request.coordinates.shards) {
                training.division = division;
            }
        }
        self.assign_seconds(request, &basis.candidates);
    }

    /// Divides a range of shards over candidates. `again`: late workers are computing these shards as well.
    pub(super) fn assign_range(
        &mut self,
        request: &mut Request,
        range: Segment,
        basis: &Basis,
        again: bool,
    ) -> Division {
        let shards = request.coordinates.shards;
        let division = basis.divide(range, shards, request.route());
        for (session, segments) in segments(&division, shards) {
            if !again {
                request.comparisons.begin(session, &segments);
            }
            self.assign_segments(request, session, segments, again);
        }
        division
    }

    /// Assigns segments to a worker.
    pub(super) fn assign_segments(
        &mut self,
        request: &mut Request,
        session: SessionId,
        segments: Vec<Segment>,
        again: bool,
    ) {
        request.assign(session, &segments, self.now.elapsed);
        let name = self.workers.shared_name(session);
        request.record_assignment((session, &name), &segments, again, self.now.elapsed);
        let assignment = Assignment {
            request: request.id.clone(),
            coordinates: request.coordinates,
            weights_version: request.weights_version,
            segments,
            exchange: self.plan_of(session, request),
            weights_digests: Arc::clone(&request.weights_digests),
        };
        self.push(Command::Send(session, WorkerCommand::Assign(assignment)));
    }

    /// Continues with the outer step if the open request is complete.
    pub(super) fn gathered(&mut self, job: &mut Job) -> Handled {
        let active = job.require_active_mut()?;
        self.continue_audit(active)?;
        let training = active.require_training()?;
        let Some((trainer, mut request)) = training.take_complete() else {
            // Other shards are not filled yet, or blocks are on their way.
            return Ok(());
        };
        if let Some(since) = request.exchange.as_ref().and_then(Exchange::announced_at) {
            training.measure_exchange(self.now.elapsed.saturating_sub(since).as_secs_f64());
        }
        if request.is_of_gradient() {
            active.measure_links(&request, self.now.elapsed);
        }
        let training = active.require_training()?;
        training.step.note_request(&mut request, self.now.elapsed);
        let (verified, without_second) = request.comparisons.outcome();
        let is_news = without_second > 0 && !active.unverified_noted;
        active.unverified_noted |= is_news;
        active.note_request(&request, self.now.elapsed);
        job.record.verified += verified;
        if is_news {
            let message = "resources.verify: there is no second worker of another identity for some shards; they are not verified";
            self.note(job, message);
        }
        let coordinates = request.coordinates;
        match coordinates.kind {
            RequestKind::Gradient { .. } => {
                let (parts, ranges) = request.into_parts();
                self.advance(job, trainer, Input::Gradient { shards: coordinates.shards, parts, ranges })
            }
            RequestKind::Test(set) => {
                let sums = reduce_sums(coordinates.shards, request.into_parts().0)
                    .map_err(|error| Halt::Failed(error.to_string()))?;
                job.require_training()?.step.note_test(set, sums);
                match next_test(job, Some(set))? {
                    // At the weights of the test before.
                    Some((set, samples)) => {
                        self.issue_request(job, trainer, RequestKind::Test(set), samples, None)
                    }
                    None => self.end_outer_step(job, trainer),
                }
            }
        }
    }
}

impl Core {
    /// During shutdown: stops the jobs that cannot finish an outer step. They resume from their newest checkpoint.
    pub(super) fn stop_idle_jobs(&mut self) {
        let is_idle = |active: &Active| {
            let trains = matches!(active.stage, Stage::Training(_));
            !trains || active.awaits_storage() || active.members.values().all(|member| !member.prepared)
        };
        let idle = self.jobs.values_mut().filter(|job| job.active.as_ref().is_some_and(is_idle));
        for job in idle {
            self.cluster.release(job);
        }
    }
}
