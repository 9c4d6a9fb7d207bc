use super::*;

fn step(outer_step: u64, digest: &str) -> AuditStep {
    AuditStep {
        outer_step,
        epoch: 0,
        first_sample: 64 * (outer_step - 1),
        samples: 64,
        compute_class: "c".into(),
        digest: digest.into(),
    }
}

fn run(digests: &[&str]) -> Vec<AuditStep> {
    digests.iter().enumerate().map(|(index, digest)| step(index as u64 + 1, digest)).collect()
}

#[test]
fn equal_runs_do_not_differ() {
    let audit = compare(&run(&["a", "b"]), &run(&["a", "b"]));
    assert_eq!(audit, Audit { same_outer_steps: 2, difference: None });
    assert_eq!(compare(&[], &[]), Audit { same_outer_steps: 0, difference: None });
}

#[test]
fn the_first_difference_is_named_and_only_that() {
    let audit = compare(&run(&["a", "b", "c"]), &run(&["a", "x", "y"]));
    let difference = audit.difference.expect("a difference");
    assert_eq!((audit.same_outer_steps, difference.outer_step), (1, 2));
    assert_eq!(difference.what, ["weights: b and x"]);
}

#[test]
fn samples_and_class_are_named_before_the_weights_that_follow_from_them() {
    let (first, mut second) = (run(&["a", "b"]), run(&["a", "x"]));
    second[1].first_sample = 128;
    second[1].compute_class = "d".into();
    let what = compare(&first, &second).difference.expect("a difference").what;
    assert_eq!(
        what,
        ["samples: 64..128 of epoch 0 and 128..192 of epoch 0", "compute class: c and d", "weights: b and x"]
    );
}

#[test]
fn a_run_that_ends_early_differs_where_it_ends() {
    let difference = compare(&run(&["a"]), &run(&["a", "b"])).difference.expect("a difference");
    assert_eq!(difference.outer_step, 2);
    assert!(difference.what[0].contains("only the second run"), "{:?}", difference.what);
}
