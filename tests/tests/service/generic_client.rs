//! A client that knows nothing about this service except the reflection protocol, like `grpcurl`: it fetches the file
//! descriptors, creates messages from JSON, and makes calls.

use std::collections::{BTreeMap, VecDeque};

use lookbehind_tests::client::Calls;
use lookbehind_tests::cluster::{Cluster, small_digest};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use prost_types::FileDescriptorProto;
use serde_json::json;
use tokio_stream::StreamExt as _;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// Sends one request to the reflection service.
async fn ask(channel: &Calls, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    answer.message_response.unwrap()
}

fn files(answer: MessageResponse) -> Vec<FileDescriptorProto> {
    match answer {
        MessageResponse::FileDescriptorResponse(files) => {
            let files = files.file_descriptor_proto.iter();
            files.map(|bytes| FileDescriptorProto::decode(bytes.as_slice()).unwrap()).collect()
        }
        other => panic!("expected a file, found {other:?}"),
    }
}

/// All descriptors that a service needs.
async fn descriptors(channel: &Calls, service: &str) -> DescriptorPool {
    let question = MessageRequest::FileContainingSymbol(service.to_owned());
    let mut waiting = VecDeque::from(files(ask(channel, question).await));
    let mut known = BTreeMap::new();
    while let Some(file) = waiting.pop_front() {
        for import in &file.dependency {
            if !known.contains_key(import) {
                waiting.extend(files(ask(channel, MessageRequest::FileByFilename(import.clone())).await));
            }
        }
        known.insert(file.name().to_owned(), file);
    }
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_protos(known.into_values()).unwrap();
    pool
}

/// Encodes and decodes messages by their descriptors.
#[derive(Clone)]
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), buffer);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Calls one method with a message from JSON; returns all messages of the response as JSON.
async fn call(
    channel: &Calls,
    service: &str,
    method: &str,
    request: serde_json::Value,
) -> Vec<serde_json::Value> {
    let pool = descriptors(channel, service).await;
    let service = pool.get_service_by_name(service).unwrap();
    let method = service.methods().find(|candidate| candidate.name() == method).unwrap();
    let request = DynamicMessage::deserialize(method.input(), request).unwrap();
    let path = PathAndQuery::try_from(format!("/{}/{}", service.full_name(), method.name())).unwrap();
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = Dynamic(method.output());
    let answers: Vec<DynamicMessage> = if method.is_server_streaming() {
        let stream = grpc.server_streaming(Request::new(request), path, codec).await.unwrap().into_inner();
        stream.map(|message| message.unwrap()).collect().await
    } else {
        vec![grpc.unary(Request::new(request), path, codec).await.unwrap().into_inner()]
    };
    answers.iter().map(|answer| serde_json::to_value(answer).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_only_knows_reflection_creates_a_job_and_watches_it_succeed() {
    const JOBS: &str = "lookbehind.v1.JobService";
    let cluster = Cluster::of(2).await;
    let channel = cluster.client().channel();
    let MessageResponse::ListServicesResponse(services) =
        ask(&channel, MessageRequest::ListServices(String::new())).await
    else {
        panic!("expected the services");
    };
    let services: Vec<&str> = services.service.iter().map(|service| service.name.as_str()).collect();
    for service in
        [JOBS, "lookbehind.v1.WorkerService", "lookbehind.v1.TensorService", "grpc.health.v1.Health"]
    {
        assert!(services.contains(&service), "{services:?} lack {service}");
    }
    let health = call(&channel, "grpc.health.v1.Health", "Check", json!({"service": JOBS})).await;
    assert_eq!(health[0]["status"], "SERVING");

    // The small job in protobuf's JSON mapping.
    let spec = json!({
        "name": "small",
        "seed": "3",
        "model": {"kind": "mlp", "parameters": {"hidden": [16]}},
        "data": {"kind": "safetensors", "parameters": {"train": "small.safetensors"}},
        "train": {"epochs": "2", "batchSize": "24", "shards": 8},
        "optimizer": {
            "method": "METHOD_LOOKBEHIND", "k": 2, "rho": 0.05, "alpha": 0.5,
            "base": {"kind": "BASE_OPTIMIZER_KIND_SGD", "lr": 0.1, "momentum": 0.9, "weightDecay": 5e-4},
        },
    });
    let created = call(&channel, JOBS, "CreateJob", json!({"requestId": "generic", "spec": spec})).await;
    let id = created[0]["job"]["id"].as_str().unwrap();
    let events = call(&channel, JOBS, "WatchJob", json!({"jobId": id})).await;
    assert_eq!(events.iter().filter(|event| event.get("step").is_some()).count(), 18);
    let last = &events.last().unwrap()["notice"];
    assert_eq!(last["state"], "JOB_STATE_SUCCEEDED");
    assert_eq!(last["digest"], small_digest().await);
}
