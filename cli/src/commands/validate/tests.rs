use super::*;
use crate::fake_test::source;

#[test]
fn a_job_is_described_in_words() {
    let source = source();
    let lines = describe(&source, 3);
    assert_eq!(lines[1], "20 epochs of batches of 128 samples in 8 shards");
    assert_eq!(lines[2], "3 gradients on one batch per outer step");
}

#[test]
fn the_rounds_of_shards_that_climb_by_themselves_are_told() {
    let told = |optimizer: &str| {
        let text = format!(
            "name = \"tiny\"\n[model]\nkind = \"mlp\"\n[data]\nkind = \"digits\"\n\
             [train]\nsteps = 1\nbatch_size = 8\n[optimizer]\nk = 5\n{optimizer}\n"
        );
        let source = JobSource::parse("job.toml".to_owned(), text, "/nonexistent".into(), None).unwrap();
        let method = &source.spec.optimizer.method;
        visits(method, requests_per_outer_step(method))
    };
    assert_eq!(told("perturbation = \"global\""), None);
    let of = |rounds: &str| Some(format!("optimizer.perturbation \"shard\": {rounds} per outer step"));
    assert_eq!(told("perturbation = \"shard\""), of("one round of 5 gradients"));
    let method = |method: &str| told(&format!("method = \"{method}\"\nperturbation = \"shard\""));
    assert_eq!(method("lookahead_sam"), of("5 rounds of one gradient"));
    assert_eq!(method("multistep_sam"), of("one round of one gradient"));
}

#[test]
fn the_communication_of_an_outer_step_is_told() {
    let told = |lines: &str, train: &str| {
        let text = format!(
            "name = \"tiny\"\n[model]\nkind = \"mlp\"\n[data]\nkind = \"digits\"\n\
             [train]\nsteps = 1\nbatch_size = 8\n{train}\n[optimizer]\nk = 5\n{lines}\n"
        );
        let source = JobSource::parse("job.toml".to_owned(), text, "/nonexistent".into(), None).unwrap();
        let spec = &source.spec;
        (rounded(spec), sent(Communication::of(&spec.optimizer.method, spec.train.exchange)))
    };
    let expected = |times: &str, part: &str| {
        format!(
            "per outer step, a worker sends and receives {times} times the parameters as f32: {part} of what 10 ring \
             all-reduces take on 8 machines"
        )
    };
    assert_eq!(told("", ""), (None, expected("12.0", "0.69")));
    assert_eq!(told("perturbation = \"shard\"", ""), (None, expected("6.0", "0.34")));
    let halved = "train.exchange \"bf16\": gradients of shards and their sums are rounded, and take 2 bytes per parameter";
    let both = told("perturbation = \"shard\"", "exchange = \"bf16\"");
    assert_eq!(both, (Some(halved.to_owned()), expected("3.5", "0.20")));
}

#[test]
fn what_is_frozen_and_what_is_not_perturbed_is_told_where_the_model_is_known() {
    let told = |method: &str, groups: &str| {
        let text = format!(
            "name = \"tiny\"\n[model]\nkind = \"mlp\"\nhidden = [5]\n[data]\nkind = \"digits\"\n\
             [train]\nsteps = 1\nbatch_size = 8\n[optimizer]\nmethod = \"{method}\"\n{groups}\n"
        );
        let source = JobSource::parse("job.toml".to_owned(), text, "/nonexistent".into(), None).unwrap();
        let args = args("").unwrap();
        check(&args, &source, &builtin(&args)).map(|checked| checked.groups)
    };
    assert_eq!(told("sam", "").unwrap(), None);
    let frozen = "groups = [{ tensors = [\"layers.0.*\"], frozen = true }]";
    let expected = "optimizer.groups: of 385 parameters 60 are trained";
    assert_eq!(told("sgd", frozen).unwrap().unwrap(), expected);
    let excluded = "groups = [{ tensors = [\"*.bias\"], ascent = false }]";
    let expected = "optimizer.groups: of 385 parameters 385 are trained, 370 are perturbed";
    assert_eq!(told("sam", excluded).unwrap().unwrap(), expected);
    let error = told("sgd", "groups = [{ tensors = [\"layers.2.*\"] }]").unwrap_err().to_string();
    assert!(error.contains("optimizer.groups[0].tensors: \"layers.2.*\" matches no parameter"), "{error}");
}

#[test]
fn the_memory_of_visits_is_told_where_the_model_is_known() {
    let bytes = |source: &JobSource| {
        check(&args("").unwrap(), source, &builtin(&args("").unwrap())).unwrap().visit_bytes
    };
    let perturbed = |perturbation: &str, data: &str| {
        let text = format!(
            "name = \"tiny\"\n[model]\nkind = \"mlp\"\nhidden = [4]\n[data]\n{data}\n[train]\nsteps = 1\n\
             batch_size = 8\nshards = 4\n[optimizer]\nk = 5\nperturbation = \"{perturbation}\"\n"
        );
        JobSource::parse("job.toml".to_owned(), text, "/nonexistent".into(), None).unwrap()
    };
    let digits = "kind = \"digits\"";
    assert_eq!(bytes(&perturbed("global", digits)), None);
    // 310 parameters, in four shards. One after the other: two copies of them, and five gradients in each of three partials
    // that wait. In step: five copies of them, five gradients that are sent, and two that wait.
    let expected = VisitBytes { one_after_another: 4 * 310 * (2 + 3 * 5), in_step: 4 * 310 * (5 + 5 + 2) };
    assert_eq!(bytes(&perturbed("shard", digits)), Some(expected));
    assert_eq!(bytes(&perturbed("shard", PARQUET)), None);
    let said = climbing(VisitBytes { one_after_another: 17 << 20, in_step: (12 << 20) - 1 });
    for words in ["takes 17 MiB more", "one shard after the other, 12 MiB in step"] {
        assert!(said.contains(words), "expected {words:?} in {said:?}");
    }
}

#[test]
fn the_cost_of_verification_is_told() {
    let mut source = source();
    assert_eq!(verified(&source, 3), None);
    source.spec.resources.verify = 6;
    let told = verified(&source, 3).unwrap();
    assert!(
        told.contains("6 segments") && told.contains("200 % / W") && told.contains("50 % on 4"),
        "{told}"
    );
}

/// A job with these tables, in a folder without other files.
fn written(model: &str, data: &str) -> JobSource {
    let text = format!(
        "name = \"tiny\"\n[model]\n{model}\n[data]\n{data}\n[train]\nsteps = 1\nbatch_size = 8\n\
         [optimizer]\nmethod = \"sgd\"\n"
    );
    JobSource::parse("job.toml".to_owned(), text, "/nonexistent".into(), None).unwrap()
}

fn args(line: &str) -> Result<Validate, String> {
    use clap::Parser;
    let line = format!("lookbehind validate job.toml {line}");
    let cli = crate::args::Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
    match cli.command {
        crate::args::Command::Validate(args) => Ok(args),
        other => panic!("{other:?}"),
    }
}

fn builtin(args: &Validate) -> Arc<CandleBackend> {
    backend(args, Registry::builtin()).unwrap()
}

fn checked(source: &JobSource, line: &str) -> Result<Option<String>, String> {
    let args = args(line)?;
    let checked = check(&args, source, &builtin(&args)).map_err(|error| error.to_string())?;
    assert_eq!(checked.not_checked.is_some(), checked.data.is_empty());
    Ok(checked.not_checked)
}

const UNFIT: &str = "kind = \"sequential\"\nlayers = [{ kind = \"relu\" }, { kind = \"linear\" }]";
const PARQUET: &str = "kind = \"parquet\"\ntrain = \"a.parquet\"";

#[test]
fn without_data_a_model_is_built_where_the_job_says_what_its_samples_are() {
    let expected = "the data, and that shards of it can be computed".to_owned();
    assert_eq!(checked(&source(), ""), Ok(Some(expected.clone())));
    let known = format!("{PARQUET}\nresize = [8, 8]\nchannels = 1\nclasses = 3");
    assert_eq!(checked(&written("kind = \"resnet\"\nname = \"resnet18\"", &known), ""), Ok(Some(expected)));
    for data in ["kind = \"digits\"", "kind = \"cifar10\"", &known] {
        let error = checked(&written(UNFIT, data), "").unwrap_err();
        let expected = "job.toml: model kind \"sequential\": model.layers[1] (linear): got an image of";
        assert!(error.starts_with(expected), "{error}");
    }
    let error = checked(&written(UNFIT, "kind = \"cifar10\"\nlabel = 3"), "").unwrap_err();
    assert!(error.starts_with("job.toml: data.label: unknown field"), "{error}");
}

#[test]
fn what_cannot_be_checked_without_data_is_said() {
    let huge = "kind = \"mlp\"\nhidden = [16000000, 16000000]";
    for (model, data, expected) in [
        (UNFIT, PARQUET, "data kind \"parquet\": the shape of its samples is known only from the data"),
        (huge, "kind = \"digits\"", "the model takes more than"),
    ] {
        let said = checked(&written(model, data), "").unwrap().unwrap();
        assert!(said.starts_with("model and data (") && said.contains(expected), "{said}");
    }
}

#[test]
fn a_job_whose_model_or_data_kind_is_unknown_is_not_valid() {
    for (model, data, expected) in [
        ("kind = \"mlpp\"", "kind = \"digits\"", "model.kind: expected one of mlp, "),
        (UNFIT, "kind = \"digit\"", "data.kind: expected one of cifar10, "),
    ] {
        let error = checked(&written(model, data), "").unwrap_err();
        assert!(error.starts_with(&format!("job.toml: {expected}")), "{error}");
        assert!(error.contains("did you mean"), "{error}");
    }
}

#[test]
fn initial_weights_that_are_not_those_of_the_model_are_refused_with_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let header = br#"{"other":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    std::fs::write(folder.path().join("init.safetensors"), bytes).unwrap();
    let text = "name = \"tiny\"\n[model]\nkind = \"mlp\"\nhidden = [4]\ninit = \"init.safetensors\"\n[data]\n\
                kind = \"digits\"\n[train]\nsteps = 1\nbatch_size = 8\n[optimizer]\nmethod = \"sgd\"\n";
    let source =
        JobSource::parse("job.toml".to_owned(), text.to_owned(), folder.path().to_owned(), None).unwrap();
    for line in ["", "--data ."] {
        let error = checked(&source, line).unwrap_err();
        assert!(
            error.starts_with("job.toml: model.init: ") && error.contains("init.safetensors: "),
            "{error}"
        );
        assert!(error.contains("layers.0.weight") || error.contains("other"), "{error}");
    }
}

#[test]
fn with_data_everything_is_checked_as_a_worker_with_the_same_options_would() {
    assert_eq!(checked(&source(), "--data ."), Ok(None));
    let job =
        written("kind = \"mlp\"\nhidden = []", "kind = \"csv\"\ntrain = \"https://other.invalid/a.csv\"");
    let error = checked(&job, "--data . --data-url https://host.invalid/data").unwrap_err();
    // The data crate reads URLs where another package of the same build asks for it, whatever this crate's features are.
    let refusals = [
        "not below a URL that this worker may read (--data-url): https://host.invalid/data",
        "this build reads no URLs: build with --features remote",
    ];
    assert!(refusals.iter().any(|refusal| error.contains(refusal)), "{error}");
}

#[test]
fn with_data_it_is_told_what_was_read_of_them() {
    let args = args("--data .").unwrap();
    let checked = check(&args, &source(), &builtin(&args)).unwrap();
    assert_eq!(checked.data, ["1438 training and 359 test samples of shape [8, 8] in 10 classes"]);
}
