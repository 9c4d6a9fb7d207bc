use lookbehind_common::digest::Digest;

use super::*;

fn report(class_names: &[&str], samples: &[[u64; 2]], findings: Findings) -> DataReport {
    let count = |split: usize| samples.iter().map(|samples| samples[split]).sum();
    DataReport {
        description: DataDescription {
            train_samples: count(0),
            test_samples: count(1),
            input_shape: vec![3, 8, 8],
            classes: samples.len(),
            fingerprint: Digest::of(b""),
        },
        class_names: class_names.iter().map(ToString::to_string).collect(),
        samples: samples.to_vec(),
        findings: findings.into_vec(),
    }
}

#[test]
fn classes_are_listed_by_name_with_their_samples() {
    let lines = report(&["ant", "bee"], &[[4, 1], [5, 0]], Findings::default()).lines();
    assert_eq!(
        lines,
        [
            "9 training and 1 test samples of shape [3, 8, 8] in 2 classes",
            "classes, with training + test samples: 0 \"ant\" (4 + 1), 1 \"bee\" (5 + 0)",
            "1 of 2 classes has no test sample: \"bee\"",
        ]
    );
}

#[test]
fn classes_without_samples_are_listed_in_runs() {
    let mut samples = vec![[0, 0]; 301];
    for class in [1, 2, 300] {
        samples[class] = [20, 0];
    }
    let lines = report(&[], &samples, Findings::default()).lines();
    assert_eq!(lines[1..], ["298 of 301 classes have no training sample: 0, 3 to 299"]);
    let every_second: Vec<_> = (0..40).map(|class| [class % 2, 0]).collect();
    let lines = report(&[], &every_second, Findings::default()).lines();
    assert_eq!(lines[1..], ["20 of 40 classes have no training sample: 0, 2, 4, 6, 8, 10, 12, 14, …"]);
}

#[test]
fn a_single_class_is_said() {
    let lines = report(&["all"], &[[3, 0]], Findings::default()).lines();
    assert!(lines.contains(&"there is one class only: a model has nothing to learn".to_owned()));
}

#[test]
fn what_is_left_out_is_counted_with_the_first_names() {
    let mut findings = Findings::default();
    for number in 0..7 {
        findings.leave_out(Split::Train, Reason::Ending("heic".into()), || format!("bee/{number}.heic"));
    }
    findings.leave_out(Split::Test, Reason::Foreign, || "__MACOSX".to_owned());
    findings.convert(Change::Resized, 12);
    findings.convert(Change::Turned, 0);
    let lines = report(&[], &[[1, 0], [1, 0]], findings).lines();
    assert_eq!(
        lines[1..],
        [
            "left out of the training split: 7 with names that end in .heic (bee/0.heic, bee/1.heic, bee/2.heic, \
             bee/3.heic, bee/4.heic, …)",
            "left out of the test split: 1 file or folder of a system or tool (__MACOSX)",
            "12 images were resized",
        ]
    );
}
