//! Roles: no role may make the calls of another.

use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message;
use lookbehind_proto::v1::tensor_service_client::TensorServiceClient;
use lookbehind_proto::v1::worker_service_client::WorkerServiceClient;
use lookbehind_tests::fake_worker::hello;
use lookbehind_tests::guarded::{self, client};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_refused_everything_that_users_call() {
    let (cluster, credentials) = guarded::cluster().await;
    let mut jobs = client(cluster.url(), &credentials.folder("worker")).jobs();
    let job_id = "j00000000".to_owned();
    let refusals: Vec<Result<(), Status>> = vec![
        jobs.create_job(v1::CreateJobRequest::default()).await.map(drop),
        jobs.get_job(v1::GetJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.list_jobs(v1::ListJobsRequest::default()).await.map(drop),
        jobs.cancel_job(v1::CancelJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.pause_job(v1::PauseJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.resume_job(v1::ResumeJobRequest { job_id: job_id.clone(), accept_class: false }).await.map(drop),
        jobs.retry_job(v1::RetryJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.delete_job(v1::DeleteJobRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.list_checkpoints(v1::ListCheckpointsRequest { job_id: job_id.clone() }).await.map(drop),
        jobs.watch_job(v1::WatchJobRequest { job_id: job_id.clone(), ..Default::default() }).await.map(drop),
        jobs.list_workers(v1::ListWorkersRequest {}).await.map(drop),
        jobs.upload_initial_weights(tokio_stream::empty()).await.map(drop),
        jobs.download_checkpoint(v1::DownloadCheckpointRequest { job_id, outer_step: None, best: false })
            .await
            .map(drop),
    ];
    for (number, refused) in refusals.into_iter().enumerate() {
        let status = refused.expect_err("a worker is no user");
        assert_eq!(status.code(), Code::PermissionDenied, "method {number}: {status}");
        assert!(status.message().contains("users and admins"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_admins_are_refused_everything_that_workers_call() {
    let (cluster, credentials) = guarded::cluster().await;
    for name in ["alice", "admin"] {
        let calls = client(cluster.url(), &credentials.folder(name)).channel();
        let mut sessions = WorkerServiceClient::new(calls.clone());
        let register =
            v1::SessionRequest { fencing_token: None, message: Some(Message::Register(hello("mallory"))) };
        let mut tensors = TensorServiceClient::new(calls);
        let refusals: Vec<Result<(), Status>> = vec![
            sessions.session(tokio_stream::iter([register])).await.map(drop),
            tensors.download_weights(v1::DownloadWeightsRequest::default()).await.map(drop),
            tensors.upload_partial(tokio_stream::empty()).await.map(drop),
            tensors.upload_initial_state(tokio_stream::empty()).await.map(drop),
        ];
        for (number, refused) in refusals.into_iter().enumerate() {
            let status = refused.expect_err("a user is no worker");
            assert_eq!(status.code(), Code::PermissionDenied, "{name}, method {number}: {status}");
            assert!(status.message().contains("for workers") && status.message().contains(name), "{status}");
        }
    }
    assert!(cluster.client().workers().await.is_empty(), "no worker has registered");
}

async fn reflected(
    cluster: &lookbehind_tests::cluster::Cluster,
    folder: &std::path::Path,
) -> Result<(), Status> {
    let mut client = ServerReflectionClient::new(client(cluster.url(), folder).channel());
    let question = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
    answers.message().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_is_for_those_with_a_role_and_off_when_told_so() {
    let (cluster, credentials) = guarded::cluster().await;
    reflected(&cluster, &credentials.folder("alice")).await.expect("alice has a role");
    let anonymous = credentials.only("alice", &["ca.pem"], "anonymous");
    let status = reflected(&cluster, &anonymous).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let (coordinator, admin) = (credentials.folder("coordinator"), credentials.folder("admin"));
    let silent = lookbehind_tests::cluster::Cluster::guarded(&admin, |config| {
        config.credentials = Some(coordinator);
        config.reflection = false;
    })
    .await;
    let status = reflected(&silent, &admin).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
}
