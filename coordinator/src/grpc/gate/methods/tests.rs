use lookbehind_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::FileDescriptorSet;

use super::*;

/// Paths of all methods in a descriptor set, and whether their requests are streams.
fn methods(descriptors: &[u8]) -> Vec<(String, bool)> {
    let set = FileDescriptorSet::decode(descriptors).unwrap();
    let mut found = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            let path = |name: &str| format!("/{service_name}/{name}");
            found
                .extend(service.method.iter().map(|method| (path(method.name()), method.client_streaming())));
        }
    }
    found
}

#[test]
fn every_method_that_is_served_has_its_limits() {
    let mut all = methods(FILE_DESCRIPTOR_SET);
    all.extend(methods(tonic_health::pb::FILE_DESCRIPTOR_SET));
    all.extend(methods(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET));
    all.extend(methods(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET));
    // Workers serve each other.
    all.retain(|(path, _)| !path.starts_with("/lookbehind.v1.PeerService/"));
    assert!(all.len() >= 17, "{all:?}");
    for (path, streams) in all {
        let method = Method::at(&path).unwrap_or_else(|| panic!("{path} would not be served"));
        assert_eq!(streams, !matches!(method.shape, Shape::Message { .. }), "{path}");
        let closed = !path.starts_with("/grpc.health.");
        assert_eq!(method.audience.is_closed(), closed, "{path}");
    }
}

#[test]
fn other_paths_are_no_methods() {
    for path in ["", "/", "/lookbehind.v1.JobService", "/lookbehind.v1.JobService/", "/x/GetJob", "//GetJob"]
    {
        assert!(Method::at(path).is_none(), "{path}");
    }
}

#[test]
fn calls_of_users_that_are_in_memory_as_a_whole_wait_for_their_turn_and_no_others_do() {
    let takes_turns = |path: &str| Method::at(path).expect(path).takes_turns();
    for method in ["CreateJob", "GetJob", "ListJobs", "CancelJob", "ListWorkers"] {
        assert!(takes_turns(&format!("/lookbehind.v1.JobService/{method}")), "{method}");
    }
    for path in [
        "/lookbehind.v1.JobService/WatchJob",
        "/lookbehind.v1.JobService/UploadInitialWeights",
        "/lookbehind.v1.TensorService/UploadPartial",
        "/lookbehind.v1.WorkerService/Session",
        "/grpc.health.v1.Health/Check",
    ] {
        assert!(!takes_turns(path), "{path}");
    }
}
