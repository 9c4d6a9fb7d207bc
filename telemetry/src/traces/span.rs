//! A finished span with its children.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

/// Name of the instrumentation scope.
const SCOPE: &str = "lookbehind";

/// An operation with known begin and end, and the operations that it consisted of.
#[derive(Clone, Debug)]
pub struct Span {
    name: Cow<'static, str>,
    begun: SystemTime,
    ended: SystemTime,
    attributes: Vec<KeyValue>,
    status: Status,
    children: Vec<Span>,
}

impl Span {
    /// Creates a span from its begin and end.
    pub fn new(name: impl Into<Cow<'static, str>>, begun: SystemTime, ended: SystemTime) -> Self {
        let (attributes, children) = (Vec::new(), Vec::new());
        Self { name: name.into(), begun, ended, attributes, status: Status::Unset, children }
    }

    /// Adds an attribute: a string, a number or a boolean.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Marks the span as failed, for the given reason.
    #[must_use]
    pub fn failed(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.status = Status::error(reason);
        self
    }

    /// Adds a child.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    /// This span and all its descendants as a trace of their own.
    pub(super) fn into_trace(self) -> Vec<SpanData> {
        let ids = RandomIdGenerator::default();
        let trace = ids.new_trace_id();
        let mut waiting = vec![(SpanId::INVALID, self)];
        let mut spans = Vec::new();
        while let Some((parent, mut span)) = waiting.pop() {
            let id = ids.new_span_id();
            waiting.extend(std::mem::take(&mut span.children).into_iter().map(|child| (id, child)));
            spans.push(span.into_data(trace, id, parent));
        }
        spans
    }

    fn into_data(self, trace: TraceId, id: SpanId, parent: SpanId) -> SpanData {
        SpanData {
            span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: self.name,
            start_time: self.begun,
            // The clock may have been set back during the operation.
            end_time: self.ended.max(self.begun),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.status,
            instrumentation_scope: InstrumentationScope::builder(SCOPE).build(),
        }
    }
}
