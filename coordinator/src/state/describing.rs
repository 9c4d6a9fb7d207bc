//! What prepared workers say of a job's model and data: whose description counts, and which workers take part.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lookbehind_common::digest::Digest;
use lookbehind_common::ids::SessionId;
use lookbehind_common::job::JobDescription;
use lookbehind_common::text::printable;
use lookbehind_proto::v1;
use prost::Message as _;

use super::active::{Active, Stage};
use super::cluster::Cluster;
use super::halt::{Halt, Handled};
use super::job::{Ground, Job, check_class};
use super::parties::Party;
use super::preparing::Left;
use super::workers::Worker;
use crate::training::ComputeClass;

/// What a prepared worker says of model, data and its class, before it is decided whose description counts.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) session: SessionId,
    /// Whose voice it is.
    pub(crate) party: Party,
    pub(crate) description: Arc<JobDescription>,
    pub(crate) class: ComputeClass,
    /// When it arrived.
    pub(crate) at: Duration,
}

/// How long the workers that are still preparing are waited for, in multiples of failure detection, at least.
const PATIENCE: u32 = 8;
/// Most characters of a data report that a notice has.
const MAX_TOLD: usize = 1000;

impl Claim {
    /// Whether both give the same description and, unless the job mixes classes, are of the same class. The class is
    /// decided together with the description: whoever is first must not bind a job to a class that nobody else is of.
    fn agrees(&self, other: &Self, mixes_classes: bool) -> bool {
        self.description.difference(&other.description).is_none()
            && (mixes_classes || self.class.probe == other.class.probe)
    }
}

impl Active {
    /// The claim that counts: of what most parties say, and among equals of what was said first; `None` as long as it is
    /// too early to tell. It is not, once more than half of the parties agree, all have answered, or the others have had
    /// as long again as the first, at least `patience`. `parties` are those that were asked.
    pub(super) fn decided_claim(
        &self,
        parties: &BTreeSet<Party>,
        mixes_classes: bool,
        now: Duration,
        patience: Duration,
    ) -> Option<usize> {
        let first = self.claims.first()?;
        let took =
            self.members.get(&first.session).map_or(patience, |member| first.at.saturating_sub(member.since));
        let supporters = |claim: &Claim| {
            let agreeing = self.claims.iter().filter(|other| claim.agrees(other, mixes_classes));
            agreeing.map(|other| &other.party).collect::<BTreeSet<_>>().len()
        };
        // The first of those with the most supporters.
        let (leading, most) =
            self.claims.iter().enumerate().fold((0, 0), |(leading, most), (index, claim)| {
                let count = supporters(claim);
                if count > most { (index, count) } else { (leading, most) }
            });
        let has_answered = |party: &Party| self.claims.iter().any(|claim| claim.party == *party);
        let all_answered = parties.iter().all(has_answered);
        let waited = now.saturating_sub(first.at) >= took.max(patience);
        (2 * most > parties.len() || all_answered || waited).then_some(leading)
    }
}

impl Cluster {
    /// A worker has loaded a job and computed the probe. `left` is what the other jobs leave free.
    pub(super) fn prepared(&mut self, job: &mut Job, claim: Claim, left: Left) -> Handled {
        let session = claim.session;
        let active = job.with_member(session)?;
        let answered = |claim: &Claim| claim.session == session;
        if active.members.get(&session).is_some_and(|member| member.prepared)
            || active.claims.iter().any(answered)
        {
            return Err(Halt::Stale("the worker has said before that it is prepared"));
        }
        if job.require_active()?.described.is_some() {
            return self.take_claim(job, claim);
        }
        if let Some((reason, ground)) = refusal(job, &claim) {
            return self.exclude(job, session, &reason, ground);
        }
        job.require_active_mut()?.claims.push(claim);
        self.decide_description(job, left)
    }

    /// Decides which description of model and data counts, if none does yet and it can be told. Workers that gave another
    /// one are excluded.
    pub(super) fn decide_description(&mut self, job: &mut Job, left: Left) -> Handled {
        let mixes_classes = job.mixes_classes();
        let Some(active) = job.active.as_mut().filter(|active| active.described.is_none()) else {
            return Ok(());
        };
        let parties = self.workers.parties(active.members.keys().copied());
        let patience = self.config.failure_detection * PATIENCE;
        let decided = active.decided_claim(&parties, mixes_classes, self.now.elapsed, patience);
        let Some(leading) = decided else { return Ok(()) };
        let mut claims = std::mem::take(&mut active.claims);
        let chosen = claims.remove(leading);
        if let Err(reason) = self.requirements(job, &chosen.description, left) {
            return self.refuse_impossible(job, chosen, claims, &reason, left);
        }
        let (session, description) = (chosen.session, Arc::clone(&chosen.description));
        let by = match claims.iter().filter(|claim| claim.agrees(&chosen, mixes_classes)).count() {
            0 => self.workers.name(session),
            others => format!("{} and {others} more", self.workers.name(session)),
        };
        job.require_active_mut()?.described = Some((Arc::clone(&description), by));
        // Once: when the job goes on after a restart, the data are the same.
        if job.record.description.is_none() && !description.data_report.is_empty() {
            self.note(job, &format!("data: {}", told(&description.data_report)));
        }
        self.enrol(job, chosen)?;
        self.described(job, session, &description, left)?;
        for claim in claims {
            // The job may have stopped meanwhile, for example for lack of memory.
            if job.active.is_some() {
                self.take_claim(job, claim)?;
            }
        }
        Ok(())
    }

    /// No job can run on what was claimed. That may be the job's fault, or an invention: it counts as a report that the job
    /// cannot be prepared, from each worker that claims it. Then the other claims count.
    fn refuse_impossible(
        &mut self,
        job: &mut Job,
        chosen: Claim,
        claims: Vec<Claim>,
        reason: &str,
        left: Left,
    ) -> Handled {
        let same = |claim: &Claim| claim.description.difference(&chosen.description).is_none();
        let (refused, others): (Vec<Claim>, Vec<Claim>) = claims.into_iter().partition(same);
        job.require_active_mut()?.claims = others;
        for claim in std::iter::once(chosen).chain(refused) {
            if job.with_member(claim.session).is_ok() {
                self.job_blamed(job, claim.session, reason)?;
            }
        }
        self.decide_description(job, left)
    }

    /// Lets a prepared worker take part in a job that has been described, or excludes it.
    fn take_claim(&mut self, job: &mut Job, claim: Claim) -> Handled {
        let session = claim.session;
        if let Some((reason, ground)) = refusal(job, &claim) {
            return self.exclude(job, session, &reason, ground);
        }
        self.enrol(job, claim)?;
        self.joined(job, session)
    }

    /// Notes that a worker is prepared, and binds the job to its description and class if it is bound to none.
    fn enrol(&mut self, job: &mut Job, claim: Claim) -> Handled {
        job.with_member(claim.session)?.note_prepared(claim.session);
        job.record.description.get_or_insert_with(|| digest(&claim.description));
        if let Some(account) = self.workers.get(claim.session).map(Worker::account) {
            job.standings.note_prepared(&account);
        }
        let name = self.workers.name(claim.session);
        self.bind_class(job, &name, claim.class);
        Ok(())
    }

    /// Binds a job to the class that was decided on.
    fn bind_class(&mut self, job: &mut Job, name: &str, class: ComputeClass) {
        if job.record.class.is_none() {
            tracing::info!(job = %job.id(), worker = name, class = class.description, "job bound to a compute class");
            let message = format!("bound to the compute class of worker {name}: {class}");
            job.record.class = Some(class);
            self.note(job, &message);
        }
    }

    /// A prepared worker joins a job that another one has described before.
    fn joined(&mut self, job: &mut Job, session: SessionId) -> Handled {
        let name = self.workers.name(session);
        tracing::info!(job = %job.id(), worker = name, "worker takes part");
        self.note_of_worker(job, &format!("worker {name} takes part"));
        match job.require_active()?.stage {
            // The worker that was asked before has left.
            Stage::Describing => self.request_initial_state(job, session),
            Stage::Training(_) => {
                self.assign_unassigned(job.require_active_mut()?);
                self.check_second_identity(job)
            }
            // It gets shards with the first request.
            Stage::Drawing(_) | Stage::Loading | Stage::Storing(_) => Ok(()),
        }
    }
}

/// Why the model, data or class of a prepared worker are not those of the job; `None` if they are, or the job has none
/// yet.
fn refusal(job: &Job, claim: &Claim) -> Option<(String, Ground)> {
    let described = job.active.as_ref().and_then(|active| active.described.as_ref());
    let difference = described.and_then(|(known, by)| Some((known.difference(&claim.description)?, by)));
    if let Some((difference, by)) = difference {
        return Some((format!("it differs from worker {by} in {difference}"), Ground::OtherDescription));
    }
    if job.record.description.is_some_and(|known| known != digest(&claim.description)) {
        let reason = "its model or data are not those that the job began with";
        return Some((reason.to_owned(), Ground::OtherDescription));
    }
    if job.mixes_classes() {
        return None;
    }
    let reason = check_class(job.record.class.as_ref(), &claim.class).err()?;
    Some((reason, Ground::OtherClass))
}

/// What a notice says of a data report.
fn told(data_report: &[String]) -> String {
    let text: String = data_report.join("; ").chars().take(MAX_TOLD).collect();
    printable(&text).into_owned()
}

/// What a job began with: its model and its data. What the classes are called is neither, nor what people are told.
fn digest(description: &JobDescription) -> Digest {
    let (class_names, data_report) = (Vec::new(), Vec::new());
    let message = v1::JobDescription { class_names, data_report, ..description.into() };
    Digest::of(&message.encode_to_vec())
}

#[cfg(test)]
pub(super) mod tests;
