//! The cost of an outer step: gradients, batches, samples.

use lookbehind_common::job::file::GradientsName;
use lookbehind_common::job::{JobFile, MethodName, Minibatch};
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::small_with;

/// The small job with k = 3, and without the keys that not all methods accept.
fn with_method(method: MethodName) -> JobFile {
    small_with(|job| {
        job.optimizer.method = method;
        job.optimizer.k = Some(3);
        job.optimizer.rho = None;
        job.optimizer.alpha = None;
    })
}

/// Batches of 24 in an epoch of 197 samples: eight, and one of 5.
const BATCHES: usize = 9;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reused_gradients_end_at_the_same_bytes_with_k_plus_one_gradients_instead_of_2k() {
    let cluster = Cluster::of(2).await;
    for k in [1, 2, 5] {
        let lookbehind = |gradients| {
            small_with(|job| {
                job.optimizer.k = Some(k);
                job.optimizer.gradients = Some(gradients);
            })
        };
        let reused = cluster.client().run(&lookbehind(GradientsName::Reuse)).await;
        let reference = cluster.client().run(&lookbehind(GradientsName::Reference)).await;
        assert_eq!(reused.digest(), reference.digest(), "k = {k}");
        assert_eq!(reused.gradients(), vec![k + 1; 2 * BATCHES], "k = {k}");
        assert_eq!(reference.gradients(), vec![2 * k; 2 * BATCHES], "k = {k}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_that_take_k_batches_close_a_shorter_outer_step_at_an_epochs_end() {
    let cluster = Cluster::of(2).await;
    let mut switching = with_method(MethodName::Lookbehind);
    switching.optimizer.gradients = Some(GradientsName::Reference);
    switching.optimizer.minibatch = Some(Minibatch::Switch);
    let mut ascending = with_method(MethodName::MultistepSam);
    ascending.optimizer.minibatch = Some(Minibatch::Switch);
    // Of 8 batches, three and three and two; gradients of a full outer step and of one with two batches.
    let cases = [
        (with_method(MethodName::Lookahead), 3, 2),
        (with_method(MethodName::LookaheadSam), 6, 4),
        (switching, 6, 4),
        (ascending, 4, 3),
    ];
    for (mut job, full, short) in cases {
        job.data.drop_last = Some(true);
        let what = format!("{:?}", job.optimizer.method);
        let history = cluster.client().run(&job).await;
        assert_eq!(history.gradients(), [full, full, short, full, full, short], "{what}");
        let samples: Vec<u64> = history.steps.iter().map(|step| step.samples).collect();
        assert_eq!(samples, [72, 72, 48, 72, 72, 48], "{what}");
        let epochs: Vec<u64> = history.steps.iter().map(|step| step.epoch).collect();
        assert_eq!(epochs, [0, 0, 0, 1, 1, 1], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epochs_last_smaller_batch_is_used_unless_the_job_drops_it() {
    let cluster = Cluster::of(2).await;
    for (drop_last, last, steps) in [(false, 5, 18), (true, 24, 16)] {
        let job = small_with(|job| job.data.drop_last = Some(drop_last));
        let history = cluster.client().run(&job).await;
        assert_eq!(history.step_numbers(), (1..=steps).collect::<Vec<u64>>());
        assert_eq!(history.steps.last().unwrap().samples, last);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reused_gradients_of_switched_batches_are_refused_by_their_key() {
    let cluster = Cluster::of(1).await;
    let job = small_with(|job| {
        job.optimizer.gradients = Some(GradientsName::Reuse);
        job.optimizer.minibatch = Some(Minibatch::Switch);
    });
    let status = cluster.client().create(lookbehind_proto::wire::to_proto(&job)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().starts_with("optimizer.gradients: "), "{status}");
    cluster.still_works().await;
}
