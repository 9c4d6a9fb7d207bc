//! `optimizer.perturbation` and `train.exchange`: what they may be, and with what.

use super::*;

#[test]
fn a_job_says_whether_its_shards_climb_by_themselves() {
    let with = |lines: &str| parse(&SMALL.replace("k = 5\nalpha = \"adaptive\"", lines));
    let perturbation = |lines: &str| {
        let parts = with(lines).expect("a valid job").optimizer.method.parts();
        parts.ascent.expect("a method with ascents").perturbation
    };
    assert_eq!(perturbation("k = 5"), Perturbation::Global);
    for method in ["sam", "multistep_sam", "lookahead_sam", "lookbehind"] {
        let lines = format!("method = \"{method}\"\nperturbation = \"shard\"");
        assert_eq!(perturbation(&lines), Perturbation::Shard, "{method}");
    }
    let refused = |lines: &str| with(lines).expect_err("an impossible job");
    for method in ["sgd", "lookahead", "rwp"] {
        let error = refused(&format!("method = \"{method}\"\nperturbation = \"shard\""));
        assert_eq!(error.path, "optimizer.perturbation");
    }
    for switching in ["method = \"multistep_sam\"", "gradients = \"reference\""] {
        let error = refused(&format!("{switching}\nminibatch = \"switch\"\nperturbation = \"shard\""));
        assert_eq!(error.path, "optimizer.minibatch");
        assert!(error.problem.contains("perturbation = \"shard\""), "{error}");
    }
    assert_eq!(refused("perturbation = \"sample\"").path, "optimizer.perturbation");
}

#[test]
fn values_and_places_that_perturbation_and_exchange_cannot_have_are_refused_by_their_path() {
    for (section, line, path, names) in [
        ("[optimizer]", "perturbation = \"sample\"", "optimizer.perturbation", ["global", "shard"]),
        ("[optimizer]", "perturbation = \"Shard\"", "optimizer.perturbation", ["global", "shard"]),
        ("[optimizer]", "perturbation = \"\"", "optimizer.perturbation", ["global", "shard"]),
        ("[train]", "exchange = \"fp8\"", "train.exchange", ["f32", "bf16"]),
        ("[train]", "exchange = \"BF16\"", "train.exchange", ["f32", "bf16"]),
        ("[train]", "exchange = \"tf32\"", "train.exchange", ["f32", "bf16"]),
    ] {
        let error = refused(section, &format!("{section}\n{line}"));
        assert_eq!(error.path, path, "{line}");
        assert!(names.iter().all(|name| error.problem.contains(name)), "{line}: {error}");
    }
    for (section, line, path) in [
        ("[optimizer]", "perturbation = 1", "optimizer.perturbation"),
        ("[optimizer]", "perturbation = true", "optimizer.perturbation"),
        ("[optimizer]", "exchange = \"bf16\"", "optimizer.exchange"),
        ("[train]", "exchange = 16", "train.exchange"),
        ("[train]", "exchange = [\"bf16\"]", "train.exchange"),
        ("[train]", "perturbation = \"shard\"", "train.perturbation"),
    ] {
        assert_eq!(refused(section, &format!("{section}\n{line}")).path, path, "{line}");
    }
}

#[test]
fn every_method_takes_either_perturbation_with_either_format_or_says_which_key_cannot_be() {
    let with = |lines: &str, exchange: &str| {
        let optimizer = SMALL.replace("k = 5\nalpha = \"adaptive\"", lines);
        parse(&optimizer.replace("batch_size = 64", &format!("batch_size = 64\nexchange = \"{exchange}\"")))
    };
    // What is impossible with a perturbation for each shard, by the key that the error names.
    let switching = ["multistep_sam", "lookbehind\"\ngradients = \"reference"].map(|method| {
        (format!("method = \"{method}\"\nminibatch = \"switch\""), Some("optimizer.minibatch"))
    });
    let without_ascents = ["sgd", "lookahead", "rwp"]
        .map(|method| (format!("method = \"{method}\""), Some("optimizer.perturbation")));
    let possible = ["sam", "multistep_sam", "lookahead_sam", "lookbehind"].into_iter().flat_map(|method| {
        ["sam", "asam"].map(|ascent| (format!("method = \"{method}\"\nascent = \"{ascent}\""), None))
    });
    for (lines, impossible) in switching.into_iter().chain(without_ascents).chain(possible) {
        for exchange in ["f32", "bf16"] {
            assert!(with(&lines, exchange).is_ok(), "{lines}, {exchange}");
            let found = with(&format!("{lines}\nperturbation = \"shard\""), exchange);
            assert_eq!(found.err().map(|error| error.path).as_deref(), impossible, "{lines}, {exchange}");
        }
    }
}
