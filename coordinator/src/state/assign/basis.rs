//! What the shards of a job's requests are divided by: who may be asked, and what was measured.

use std::time::Duration;

use lookbehind_common::ids::SessionId;
use lookbehind_common::reduction::Segment;

use super::model::{Route, Traffic};
use super::routes::Routes;
use super::{Candidate, Division, divide, quickest};
use crate::state::active::{Active, Member};
use crate::state::measured::median;

/// What shards are divided by.
#[derive(Clone, Debug)]
pub(crate) struct Basis {
    pub(crate) candidates: Vec<Candidate>,
    /// What moving tensors was measured to take.
    pub(crate) routes: Routes,
    /// The division that the workers know.
    pub(crate) kept: Division,
}

impl Basis {
    /// Divides some shards of a request whose tensors travel by this route; see [`divide`].
    pub(crate) fn divide(&self, range: Segment, shards: u32, route: Route) -> Division {
        divide(range, shards, &self.candidates, &self.traffic(route), &self.kept)
    }

    /// Seconds that a request of so many shards takes in the model if its tensors travel by this route.
    pub(crate) fn seconds(&self, shards: u32, route: Route) -> f64 {
        quickest(shards, &self.candidates, &self.traffic(route))
    }

    fn traffic(&self, route: Route) -> Traffic {
        let copy_seconds = self.routes.copy_seconds(route);
        Traffic { route, copy_seconds, workers: self.candidates.len() as u32 }
    }

    /// The same with some of the candidates.
    pub(crate) fn only(self, is_candidate: impl Fn(SessionId) -> bool) -> Self {
        let candidates = self.candidates.into_iter();
        Self { candidates: candidates.filter(|candidate| is_candidate(candidate.session)).collect(), ..self }
    }
}

impl Active {
    /// What shards are divided by. Candidates are the prepared workers, without those that are passed over, unless all are.
    pub(crate) fn basis(&self, now: Duration) -> Basis {
        let prepared = || self.members.iter().filter(|(_, member)| member.prepared);
        let is_passed_over = |member: &Member| member.passed_over_until > now;
        let all_passed_over = prepared().all(|(_, member)| is_passed_over(member));
        let fastest = prepared().filter_map(|(_, member)| member.measured.seconds_per_shard());
        let fastest = fastest.fold(f64::INFINITY, f64::min);
        let usual = median(prepared().filter_map(|(_, member)| member.measured.moving())).unwrap_or(0.0);
        let candidate = |(session, member): (&SessionId, &Member)| Candidate {
            session: *session,
            seconds_per_shard: member.measured.expected_per_shard(fastest),
            link: member.measured.link(usual),
        };
        let candidates = prepared().filter(|(_, member)| !is_passed_over(member) || all_passed_over);
        Basis {
            candidates: candidates.map(candidate).collect(),
            routes: self.training().map(|training| training.routes).unwrap_or_default(),
            kept: self.training().map(|training| training.division.clone()).unwrap_or_default(),
        }
    }
}
