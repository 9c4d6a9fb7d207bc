//! Traces of outer steps, as a collector receives them.

use std::collections::BTreeMap;

use lookbehind_tests::client::within;
use lookbehind_tests::cluster::{Cluster, small_digest};
use lookbehind_tests::http::{get, series};
use lookbehind_tests::jobs;
use lookbehind_worker::registry::Registry;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

struct Collector(mpsc::UnboundedSender<Span>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let _ = self.0.send(span);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outer_step_is_one_trace_that_says_who_computed_what() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, mut spans) = mpsc::unbounded_channel();
    let collector =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(collector.serve_with_incoming(TcpIncoming::from(listener)));
    let mut cluster = Cluster::with_config(|config| {
        config.traces = Some(endpoint);
        config.http = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add("w1", backend).await;
    let history = cluster.client().run(&jobs::small()).await;
    assert_eq!(history.digest(), small_digest().await, "watching changes nothing");

    let steps = history.steps.len();
    let mut traces: BTreeMap<Vec<u8>, Vec<Span>> = BTreeMap::new();
    // Per outer step: the step itself, three gradients, and for each gradient the worker's part, reduction and
    // optimizer. One step also has a test, if the job has a test split.
    let complete = |traces: &BTreeMap<Vec<u8>, Vec<Span>>| {
        let roots = traces.values().flatten().filter(|span| span.parent_span_id.is_empty());
        roots.count() == steps && traces.values().all(|spans| spans.len() > 3 * 4)
    };
    within("all spans", async {
        while !complete(&traces) {
            let span = spans.recv().await.expect("a collector");
            traces.entry(span.trace_id.clone()).or_default().push(span);
        }
    })
    .await;
    let sent: usize = traces.values().map(Vec::len).sum();
    within("the count of the sent spans", async {
        let name = "lookbehind_trace_spans_total{outcome=\"sent\"}";
        while series(&get(cluster.http_addr().unwrap(), "/metrics").await.text, name) != sent as f64 {}
    })
    .await;
    for spans in traces.values() {
        let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
        let [root] = named("outer step")[..] else { panic!("one root: {spans:?}") };
        let gradients = named("gradient");
        assert_eq!(gradients.len(), 3, "k + 1");
        assert!(gradients.iter().all(|span| span.parent_span_id == root.span_id));
        for part in named("shards") {
            assert!(format!("{:?}", part.attributes).contains("w1"), "{part:?}");
            assert!(part.start_time_unix_nano <= part.end_time_unix_nano);
            assert!(root.start_time_unix_nano <= part.start_time_unix_nano);
            assert!(part.end_time_unix_nano <= root.end_time_unix_nano);
        }
    }
}
