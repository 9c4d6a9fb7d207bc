use std::net::{Ipv4Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans};
use prometheus_client::encoding::text::encode;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;

/// A collector that forwards the spans that it receives.
struct Collector(mpsc::UnboundedSender<ResourceSpans>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for spans in request.into_inner().resource_spans {
            self.0.send(spans).unwrap();
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector(listener: TcpListener) -> mpsc::UnboundedReceiver<ResourceSpans> {
    let (collect, collected) = mpsc::unbounded_channel();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(collect)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    collected
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    (listener, format!("http://{address}"))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn outer_step() -> Span {
    let shards = Span::new("shards", at(101), at(103)).with("worker", "first").failed("lost");
    let gradient = Span::new("gradient", at(100), at(105)).with("gradient", 0).child(shards);
    Span::new("outer step", at(100), at(109)).with("outer", 7_i64).children([gradient])
}

fn named<'a>(spans: &'a [otlp::Span], name: &str) -> &'a otlp::Span {
    spans.iter().find(|span| span.name == name).unwrap()
}

#[tokio::test]
async fn a_finished_step_arrives_with_times_parents_and_attributes() {
    let (listener, endpoint) = listener().await;
    let mut collected = collector(listener).await;
    let traces = Traces::start(Some(&endpoint), "lookbehind-test", "1.2.3").unwrap();
    assert!(traces.enabled());
    traces.emit(outer_step());
    traces.shutdown(Duration::from_secs(10)).await;
    assert_eq!(traces.counts(), Counts { sent: 3, dropped: 0 });

    let ResourceSpans { resource, scope_spans, .. } = collected.recv().await.unwrap();
    let service = resource.unwrap().attributes.into_iter().find(|attribute| attribute.key == "service.name");
    let service = service.unwrap().value.unwrap().value.unwrap();
    assert_eq!(service, any_value::Value::StringValue("lookbehind-test".into()));
    let spans = &scope_spans[0].spans;
    let [step, gradient, shards] = ["outer step", "gradient", "shards"].map(|name| named(spans, name));
    assert_eq!((step.start_time_unix_nano, step.end_time_unix_nano), (100_000_000_000, 109_000_000_000));
    assert!(step.parent_span_id.is_empty());
    assert_eq!(gradient.parent_span_id, step.span_id);
    assert_eq!(shards.parent_span_id, gradient.span_id);
    assert!([gradient, shards].iter().all(|span| span.trace_id == step.trace_id));
    let attribute = &shards.attributes[0];
    assert_eq!(attribute.key, "worker");
    let first = any_value::Value::StringValue("first".into());
    assert_eq!(attribute.value.as_ref().unwrap().value, Some(first));
    assert_eq!(shards.status.as_ref().unwrap().message, "lost");
}

#[tokio::test]
async fn each_root_is_a_trace_of_its_own() {
    let (listener, endpoint) = listener().await;
    let mut collected = collector(listener).await;
    let traces = Traces::start(Some(&endpoint), "lookbehind-test", "1.2.3").unwrap();
    traces.emit(Span::new("first", at(1), at(2)));
    traces.clone().emit(Span::new("second", at(2), at(1)));
    traces.shutdown(Duration::from_secs(10)).await;
    let mut spans = Vec::new();
    while let Ok(received) = collected.try_recv() {
        spans.extend(received.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    let [first, second] = ["first", "second"].map(|name| named(&spans, name));
    assert_ne!(first.trace_id, second.trace_id);
    assert_eq!(second.start_time_unix_nano, second.end_time_unix_nano, "no span ends before it begins");
}

#[tokio::test]
async fn spans_that_an_absent_collector_does_not_take_are_counted_and_delay_nothing() {
    let (listener, endpoint) = listener().await;
    drop(listener);
    let traces = Traces::start(Some(&endpoint), "lookbehind-test", "1.2.3").unwrap();
    let mut registry = Registry::default();
    traces.register(&mut registry);
    let emitted = QUEUE as u64 / 3 + 10;
    for _ in 0..emitted {
        traces.emit(outer_step());
    }
    assert_eq!(traces.counts().dropped % 3, 0, "never a part of a trace");
    traces.shutdown(Duration::from_secs(60)).await;
    assert_eq!(traces.counts(), Counts { sent: 0, dropped: 3 * emitted });
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    let series = format!("lookbehind_trace_spans_total{{outcome=\"dropped\"}} {}\n", 3 * emitted);
    assert!(text.contains(&series), "{text}");
}

#[tokio::test]
async fn a_collector_that_says_nothing_does_not_hold_up_the_end() {
    let (_listener, endpoint) = listener().await;
    let traces = Traces::start(Some(&endpoint), "lookbehind-test", "1.2.3").unwrap();
    traces.emit(outer_step());
    traces.shutdown(Duration::from_millis(100)).await;
    assert_eq!(traces.counts(), Counts { sent: 0, dropped: 3 });
    traces.emit(outer_step());
    assert_eq!(traces.counts(), Counts { sent: 0, dropped: 6 }, "nothing is taken after the end");
}

#[tokio::test]
async fn without_an_endpoint_nothing_happens() {
    for endpoint in [None, Some(""), Some("  ")] {
        let traces = Traces::start(endpoint, "lookbehind-test", "1.2.3").unwrap();
        assert!(!traces.enabled());
        traces.emit(outer_step());
        traces.shutdown(Duration::ZERO).await;
        assert_eq!(traces.counts(), Counts::default());
    }
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_refused() {
    let secret =
        Traces::start(Some("http://user:hunter2@collector:4317"), "lookbehind-test", "1.2.3").unwrap_err();
    assert!(!secret.to_string().contains("hunter2"), "{secret}");
    for endpoint in ["localhost:4317", "ftp://collector:21", "http://", "http://a b"] {
        let error = Traces::start(Some(endpoint), "lookbehind-test", "1.2.3").unwrap_err().to_string();
        assert!(error.starts_with(&format!("traces to {endpoint:?}: expected an address like")), "{error}");
    }
    Traces::start(Some("https://collector.example:4317"), "lookbehind-test", "1.2.3").unwrap();
}
