//! Owners of blocks that add something else than they say, and makers that announce something else than they have: they
//! are found, and no digest comes of it.

use lookbehind_proto::v1;
use lookbehind_proto::v1::session_request::Message;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::relay::{Lies, Relay};
use lookbehind_worker::registry::Registry;

use super::exchange::{expected, wide};

/// All shards of the wide job: the segment of a sum.
const ALL: v1::Segment = v1::Segment { first_shard: 0, end_shard: 8 };
/// Blocks of the wide job's gradients.
const BLOCKS: u32 = 5;

/// Changes the last bit of each value of a sum, which stays finite.
fn falsify(segment: v1::Segment, bytes: &mut [u8]) {
    if segment == ALL {
        bytes.chunks_exact_mut(size_of::<f32>()).for_each(|value| value[0] ^= 1);
    }
}

/// A cluster of two honest workers and one that lies.
async fn with_a_liar(lies: impl Lies) -> (Cluster, Relay) {
    let mut cluster = Cluster::of(2).await;
    let relay = Relay::start(cluster.url(), lies).await;
    let backend = cluster.backend(Registry::builtin());
    cluster.add_behind("liar", backend, relay.url()).await;
    (cluster, relay)
}

/// Reports what the makers announced, and sends another sum.
struct FalseSums;

impl Lies for FalseSums {
    fn blocks(&self, segment: v1::Segment, bytes: &mut [u8]) {
        falsify(segment, bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_sends_another_finite_sum_than_it_said_fails_the_job_by_name_within_the_stated_gradients()
 {
    let (mut cluster, _relay) = with_a_liar(FalseSums).await;
    let mut job = wide(3);
    job.train.epochs = Some(20);
    let history = cluster.client().finish(&cluster.client().submit(&job).await).await;
    assert_eq!(history.state(), v1::JobState::Failed, "{}", history.message());
    let message = history.message();
    assert!(message.contains("worker liar did not add block") && message.contains("as it said"), "{message}");
    let gradients: u32 = history.gradients().iter().sum();
    assert!(gradients < 20 * BLOCKS, "found after {gradients} gradients");
    cluster.stop("liar").await.unwrap();
    assert_eq!(cluster.client().run(&wide(2)).await.digest(), expected().await);
}

/// Sends another sum, and reports that it has added what no maker announced.
struct FalseReports;

impl Lies for FalseReports {
    fn message(&self, message: &mut Message) {
        if let Message::Reduced(reduced) = message {
            for addend in &mut reduced.addends {
                let mut digest = addend.digest.to_vec();
                digest[0] ^= 1;
                addend.digest = digest.into();
            }
        }
    }

    fn blocks(&self, segment: v1::Segment, bytes: &mut [u8]) {
        falsify(segment, bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_owner_added_that_nobody_announced_counts_for_nothing() {
    let (cluster, _relay) = with_a_liar(FalseReports).await;
    assert_eq!(cluster.client().run(&wide(3)).await.digest(), expected().await);
}

/// Announces digests of blocks that it does not have.
struct FalseAnnouncements;

impl Lies for FalseAnnouncements {
    fn message(&self, message: &mut Message) {
        if let Message::Computed(computed) = message {
            computed.digests = vec![0; computed.digests.len()].into();
        }
    }
}

/// Answers audits with other values than it announced.
struct FalseAnswers;

impl Lies for FalseAnswers {
    fn message(&self, message: &mut Message) {
        if let Message::Audited(audited) = message {
            audited.values = vec![7; audited.values.len()].into();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_maker_that_contradicts_itself_is_excluded_by_name_and_the_job_comes_to_its_weights() {
    async fn excluded(lies: impl Lies) {
        let (mut cluster, _relay) = with_a_liar(lies).await;
        let history = cluster.client().run(&wide(3)).await;
        assert_eq!(history.digest(), expected().await);
        assert!(history.said(&["worker liar refused", "it contradicts itself"]), "{:?}", history.notices);
        // They wait for nobody, and end when they are asked to.
        for honest in ["w1", "w2"] {
            assert!(!history.said(&[&format!("worker {honest} lost")]), "{:?}", history.notices);
            cluster.stop(honest).await.unwrap();
        }
    }
    excluded(FalseAnnouncements).await;
    excluded(FalseAnswers).await;
}
