//! Where a call of a worker comes from.

use std::sync::Arc;

use lookbehind_proto::convert::required;
use lookbehind_proto::v1;
use tonic::Status;
use tonic::codegen::http;

use super::callers::Who;
use super::gate::Ledger;
use super::views::IntoStatus;
use crate::state::event::Origin;

/// What is known of a call from outside its messages.
#[derive(Clone)]
pub(super) struct CallOrigin {
    identity: Option<Arc<str>>,
    /// The memory that the call has taken; `None` for calls from this process.
    pub(super) ledger: Option<Arc<Ledger>>,
}

impl CallOrigin {
    /// Takes what the gate has noted of the call.
    pub(super) fn of(extensions: &mut http::Extensions) -> Self {
        let identity = extensions.get::<Who>().and_then(Who::name).map(Arc::from);
        Self { identity, ledger: extensions.remove::<Arc<Ledger>>() }
    }

    /// The origin of a message of the call, with the token in it.
    pub(super) fn origin(&self, fencing_token: Option<v1::FencingToken>) -> Result<Origin, Status> {
        let fencing_token = required(fencing_token, "fencing_token").and_then(TryInto::try_into);
        Ok(Origin {
            fencing_token: fencing_token.map_err(IntoStatus::into_status)?,
            identity: self.identity.clone(),
        })
    }
}
