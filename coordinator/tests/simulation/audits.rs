//! The answers of workers to the audits of exchanges.

use lookbehind_common::blocks::slice;
use lookbehind_coordinator::state::command::AuditQuestion;
use lookbehind_coordinator::state::event::{Audited, WorkerMessage};

use crate::executor::Context;
use crate::world::World;

impl World {
    /// A worker answers if it has the partial.
    pub(crate) fn answer_audit(&mut self, number: usize, context: &Context, question: AuditQuestion) {
        let AuditQuestion { request, segment, of } = question;
        let round = self.workers[number].round.as_ref().filter(|round| round.plan.request == request);
        let Some((round, partial)) = round.and_then(|round| Some((round, round.computed.get(&segment)?)))
        else {
            return;
        };
        let (kind, elements) = round.blocks.place(of.block);
        let values = match kind {
            lookbehind_common::layout::TensorKind::Parameter => &partial.gradient,
            lookbehind_common::layout::TensorKind::RunningStatistic => &partial.statistics,
        };
        let block = round.blocks.format(kind).bytes_of(&values[elements]);
        let values = block[slice::place(block.len(), of.slice)].to_vec().into();
        let audited = Audited { segment, values, proof: slice::prove(&block, of.slice) };
        self.say(number, context, WorkerMessage::Audited { request, audited });
    }
}
