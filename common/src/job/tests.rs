mod perturbation;

use std::time::Duration;

use super::*;
use crate::digest::Digest;
use crate::ids::JobId;
use crate::schedule::Shape;

const SMALL: &str = r#"
name = "small"

[model]
kind = "mlp"
hidden = [32]

[data]
kind = "digits"

[train]
epochs = 3
batch_size = 64

[optimizer]
k = 5
alpha = "adaptive"
"#;

fn parse(text: &str) -> Result<JobSpec, JobError> {
    parse_toml(text).and_then(|file| file.validate())
}

/// The error after a change to the small job.
fn refused(from: &str, to: &str) -> JobError {
    assert!(SMALL.contains(from), "{from:?} is not in the job");
    parse(&SMALL.replace(from, to)).expect_err("an impossible job")
}

#[test]
fn what_is_not_written_takes_its_default() {
    let job = parse(SMALL).expect("a valid job");
    assert_eq!(job.seed, 0);
    assert_eq!(
        job.train,
        TrainSpec {
            length: Length::Epochs(3),
            batch_size: 64,
            shards: 8,
            precision: Precision::F32,
            exchange: ExchangeFormat::F32,
            compute_classes: ComputeClasses::One,
        }
    );
    assert_eq!(
        job.optimizer.method,
        Method::Lookbehind {
            ascent: Ascent { rho: 0.05, eta: None, perturbation: Perturbation::Global },
            k: 5,
            alpha: Alpha::Adaptive,
            gradients: InnerGradients::Reuse
        }
    );
    assert_eq!(job.schedule.shape, Shape::Constant);
    assert_eq!(job.eval_every_epochs, Some(1));
    assert_eq!(
        job.checkpoint,
        CheckpointSpec {
            every: CheckpointInterval::Time(Duration::from_secs(300)),
            keep: 2,
            on_failure: OnFailure::Continue,
            keep_best: None
        }
    );
    assert_eq!(job.resources, ResourcesSpec { min_workers: 1, max_workers: None, priority: 0, verify: 0 });
}

#[test]
fn checkpoints_are_apart_by_epochs_outer_steps_or_time() {
    let with = |lines: &str| parse(&format!("{SMALL}\n[checkpoint]\n{lines}\n"));
    let interval = |lines: &str| with(lines).expect("a valid job").checkpoint.every;
    assert_eq!(interval("every_epochs = 2"), CheckpointInterval::Length(Length::Epochs(2)));
    assert_eq!(interval("every_steps = 2"), CheckpointInterval::Length(Length::Steps(2)));
    assert_eq!(interval("every_minutes = 0.5"), CheckpointInterval::Time(Duration::from_secs(30)));
    assert_eq!(interval("every_minutes = 2"), CheckpointInterval::Time(Duration::from_secs(120)));
    for never in ["every_epochs = 0", "every_steps = 0", "every_minutes = 0"] {
        assert_eq!(interval(never), CheckpointInterval::AtEnd, "{never}");
    }
    let path = |lines: &str| with(lines).expect_err("an impossible interval").path;
    for wrong in ["-1", "nan", "inf", "0.001", "1e9"] {
        assert_eq!(path(&format!("every_minutes = {wrong}")), "checkpoint.every_minutes", "{wrong}");
    }
    assert_eq!(path("every_epochs = 1\nevery_minutes = 1"), "checkpoint.every_minutes");
    assert_eq!(path("every_steps = 1\nevery_minutes = 0"), "checkpoint.every_steps");
}

#[test]
fn the_best_evaluation_is_kept_and_training_stops_early_by_what_the_job_names() {
    let with = |lines: &str| parse(&format!("{SMALL}\n{lines}\n"));
    let spec = with("[checkpoint]\nkeep_best = \"test_accuracy\"\n[early_stopping]\npatience = 3")
        .expect("a valid job");
    assert_eq!(spec.checkpoint.keep_best, Some(Criterion::TestAccuracy));
    let expected = EarlyStopping { criterion: Criterion::ValidationLoss, patience: 3, min_delta: 0.0 };
    assert_eq!(spec.early_stopping, Some(expected));
    let path = |lines: &str| with(lines).expect_err("an impossible choice").path;
    assert_eq!(path("[early_stopping]\npatience = 0"), "early_stopping.patience");
    for wrong in ["-0.1", "nan", "inf"] {
        let keys = format!("[early_stopping]\npatience = 1\nmin_delta = {wrong}");
        assert_eq!(path(&keys), "early_stopping.min_delta", "{wrong}");
    }
    assert_eq!(path("[eval]\nevery_epochs = 0\n[early_stopping]\npatience = 1"), "early_stopping");
    let message = with("[checkpoint]\nkeep_best = \"test_los\"").expect_err("no such number").to_string();
    assert!(message.contains("did you mean \"test_loss\"?"), "{message}");
}

#[test]
fn a_job_starts_from_a_file_or_from_a_checkpoint_of_another_job() {
    let with = |init: &str| parse(&SMALL.replace("hidden = [32]", &format!("hidden = [32]\n{init}")));
    let init = |text: &str| with(text).expect("a valid job").model.init.expect("initial weights");
    let digest = Digest::of(b"weights");
    assert_eq!(init(&format!("init = \"{digest}\"")), InitSpec::File(digest));
    let job = JobId::parse("j0123abcd").expect("an identity");
    assert_eq!(
        init("[model.init]\njob = \"j0123abcd\""),
        InitSpec::Job { job: job.clone(), checkpoint: None, continues: false }
    );
    assert_eq!(
        init("init = { job = \"j0123abcd\", checkpoint = 7, continues = true }"),
        InitSpec::Job { job: job.clone(), checkpoint: Some(WhichCheckpoint::OuterStep(7)), continues: true }
    );
    assert_eq!(
        init("init = { job = \"j0123abcd\", checkpoint = \"best\" }"),
        InitSpec::Job { job, checkpoint: Some(WhichCheckpoint::BEST), continues: false }
    );
    let path = |text: &str| with(text).expect_err("no initial weights").path;
    assert_eq!(path("init = { job = \"latest\" }"), "model.init.job");
    assert_eq!(path("init = { checkpoint = 7 }"), "model.init");
    assert_eq!(path("init = { job = \"j0123abcd\", step = 7 }"), "model.init.step");
    assert_eq!(path("init = 7"), "model.init");
    assert_eq!(path("init = { file = \"a\", job = \"j0123abcd\" }"), "model.init");
    assert_eq!(path("init = { file = \"a\", continues = true }"), "model.init");
    assert_eq!(path("init = { job = \"j0123abcd\", strip_prefix = \"a.\" }"), "model.init");
    assert_eq!(path("init = { job = \"j0123abcd\", fresh = [\"head\"] }"), "model.init");
    assert_eq!(path("init = { file = \"a\", strip_prefix = \"a.\" }"), "model.init.file");
    assert_eq!(path("init = { file = \"a\", names = \"tim\" }"), "model.init.names");
    assert_eq!(path("init = { file = \"a\", positions = \"stretch\" }"), "model.init.positions");
}

#[test]
fn a_file_of_another_program_is_described_by_its_section() {
    let section = "[model.init]\nfile = \"a.safetensors\"\nstrip_prefix = \"module.\"\nnames = \"huggingface\"\n\
                   fresh = [\"head\"]\ndrop = [\"extra\"]\nmissing_statistics = \"initial\"\npositions = \"resample\"\n";
    let init = |section: &str| {
        let text = SMALL.replace("[data]", &format!("{section}[data]"));
        parse_toml(&text).expect("a job file").model.init.expect("initial weights")
    };
    let expected = ImportedFile {
        file: "a.safetensors".to_owned(),
        strip_prefix: "module.".to_owned(),
        names: Some(Naming::Library(Library::HuggingFace)),
        fresh: vec!["head".to_owned()],
        drop: vec!["extra".to_owned()],
        missing_statistics: MissingStatistics::Initial,
        positions: Positions::Resample,
    };
    assert_eq!(init(section), Init::Imported(expected));
    let replaced = init("init = { file = \"a\", names = { fc = \"linear\" } }\n");
    let names = [("fc".to_owned(), "linear".to_owned())].into();
    let expected = ImportedFile {
        file: "a".to_owned(),
        names: Some(Naming::Replaced(names)),
        ..ImportedFile::default()
    };
    assert_eq!(replaced, Init::Imported(expected));
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_by_their_path() {
    assert_eq!(refused("batch_size = 64", "batch_size = 64\nbatchsize = 3").path, "train.batchsize");
    assert_eq!(refused("[optimizer]", "[optimizer]\nlearning_rate = 1").path, "optimizer.learning_rate");
    assert_eq!(refused("[model]", "[modle]\n[model]").path, "modle");
    assert_eq!(refused("batch_size = 64", "batch_size = \"64\"").path, "train.batch_size");
    assert_eq!(refused("batch_size = 64", "batch_size = -1").path, "train.batch_size");
    assert_eq!(refused("batch_size = 64", "batch_size = 64\nprecision = \"f16\"").path, "train.precision");
    let exchange = refused("batch_size = 64", "batch_size = 64\nexchange = \"fp8\"");
    assert_eq!(exchange.path, "train.exchange");
    assert!(exchange.problem.contains("f32") && exchange.problem.contains("bf16"), "{exchange}");
    assert_eq!(refused("alpha = \"adaptive\"", "alpha = \"sometimes\"").path, "optimizer.alpha");
    assert_eq!(refused("name = \"small\"", "name = ").path, "job file");
}

#[test]
fn impossible_values_are_refused_by_their_path() {
    for (from, to, path) in [
        ("batch_size = 64", "batch_size = 0", "train.batch_size"),
        ("batch_size = 64", "batch_size = 9000000000000000000", "train.batch_size"),
        ("epochs = 3", "epochs = 0", "train.epochs"),
        ("epochs = 3", "epochs = 3\nsteps = 3", "train.steps"),
        ("epochs = 3\n", "", "train.epochs"),
        ("epochs = 3", "epochs = 3\nshards = 0", "train.shards"),
        ("epochs = 3", "epochs = 3\nshards = 100000", "train.shards"),
        ("k = 5", "k = 0", "optimizer.k"),
        ("k = 5", "rho = nan", "optimizer.rho"),
        ("k = 5", "rho = inf", "optimizer.rho"),
        ("k = 5", "rho = -0.1", "optimizer.rho"),
        ("k = 5", "rho = 0", "optimizer.rho"),
        ("k = 5", "eta = 0.1", "optimizer.eta"),
        ("alpha = \"adaptive\"", "alpha = 0", "optimizer.alpha"),
        ("alpha = \"adaptive\"", "alpha = 1.5", "optimizer.alpha"),
        ("name = \"small\"", "name = \"\"", "name"),
        ("name = \"small\"", "name = \"a\\u0000b\"", "name"),
        ("kind = \"digits\"", "kind = \"../digits\"", "data.kind"),
    ] {
        assert_eq!(refused(from, to).path, path, "{to}");
    }
    let base = |line: &str| {
        parse(&format!("{SMALL}\n[optimizer.base]\n{line}\n")).expect_err("an impossible base").path
    };
    assert_eq!(base("lr = 0"), "optimizer.base.lr");
    assert_eq!(base("momentum = 1"), "optimizer.base.momentum");
    assert_eq!(base("nesterov = true"), "optimizer.base.nesterov");
    assert_eq!(base("betas = [0.9, 0.999]"), "optimizer.base.betas");
    assert_eq!(base("kind = \"adamw\"\nmomentum = 0.9"), "optimizer.base.momentum");
    assert_eq!(base("weight_decay = nan"), "optimizer.base.weight_decay");
}

#[test]
fn keys_that_a_method_does_not_use_are_refused() {
    let with = |lines: &str| parse(&SMALL.replace("k = 5\nalpha = \"adaptive\"", lines));
    let path = |lines: &str| with(lines).expect_err("a key without meaning").path;
    assert_eq!(path("method = \"sgd\"\nrho = 0.1"), "optimizer.rho");
    assert_eq!(path("method = \"sgd\"\nk = 2"), "optimizer.k");
    assert_eq!(path("method = \"sam\"\nalpha = 0.5"), "optimizer.alpha");
    assert_eq!(path("method = \"lookahead\"\nascent = \"sam\""), "optimizer.ascent");
    assert_eq!(path("method = \"lookahead_sam\"\nminibatch = \"same\""), "optimizer.minibatch");
    assert_eq!(path("method = \"multistep_sam\"\ngradients = \"reuse\""), "optimizer.gradients");
    for key in [
        "ascent = \"sam\"",
        "k = 2",
        "eta = 0.1",
        "alpha = 0.5",
        "gradients = \"reuse\"",
        "minibatch = \"same\"",
        "perturbation = \"global\"",
        "descent = \"mean\"",
    ] {
        let name = key.split(' ').next().expect("a name");
        assert_eq!(path(&format!("method = \"rwp\"\n{key}")), format!("optimizer.{name}"));
    }
    assert!(with("method = \"rwp\"\nrho = 0.5").is_ok(), "the length of the perturbation");
    assert_eq!(path("method = \"rwp\"\nrho = 0"), "optimizer.rho");
    assert_eq!(path("method = \"lookbehind\"\ndescent = \"last\""), "optimizer.descent");
    let switching = "method = \"multistep_sam\"\nminibatch = \"switch\"\ndescent =";
    assert_eq!(path(&format!("{switching} \"mean\"")), "optimizer.descent");
    assert!(with(&format!("{switching} \"last\"")).is_ok(), "the default");
    assert!(with("method = \"sam\"\nk = 1\nalpha = 1.0").is_ok(), "sam is the family at k = 1 and alpha = 1");
}

#[test]
fn one_gradient_cannot_serve_two_batches() {
    let error = refused("k = 5", "minibatch = \"switch\"");
    assert_eq!(error.path, "optimizer.gradients");
    let both = SMALL.replace("k = 5", "minibatch = \"switch\"\ngradients = \"reference\"");
    let job = parse(&both).expect("a job with a batch for every inner step");
    assert_eq!(job.optimizer.method.batches_per_outer_step(), 2);
}

#[test]
fn parameters_are_read_by_their_kind_with_their_path() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Mlp {
        hidden: Vec<usize>,
    }
    let file = parse_toml(SMALL).expect("a valid job");
    let mlp: Mlp = parse_parameters("model", &file.model.parameters).expect("the mlp's parameters");
    assert_eq!(mlp.hidden, [32]);
    let wrong = parse_toml(&SMALL.replace("[32]", "[32, -1]")).expect("a job whose model is wrong");
    let error = parse_parameters::<Mlp>("model", &wrong.model.parameters).expect_err("a negative width");
    assert_eq!(error.path, "model.hidden[1]");
}

#[test]
fn parameters_that_would_change_on_the_wire_are_refused_by_their_path() {
    let deep = format!("hidden = {}1{}", "[".repeat(17), "]".repeat(17));
    for (parameter, path) in [
        ("hidden = [9007199254740993]", "model.hidden[0]"),
        ("hidden = -9007199254740993", "model.hidden"),
        ("norm = { eps = nan }", "model.norm.eps"),
        ("norm = [{ eps = 1.0 }, { eps = -inf }]", "model.norm[1].eps"),
        ("since = 1979-05-27", "model.since"),
        (&deep, &format!("model.hidden{}", "[0]".repeat(16))),
    ] {
        let error = refused("hidden = [32]", parameter);
        assert_eq!(error.path, path, "{error}");
    }
}

#[test]
fn a_section_holds_so_many_values_that_a_job_can_wait_in_little_memory() {
    let parameter = |values: usize, item: &str| format!("hidden = [{}]", vec![item; values].join(", "));
    let file = |parameter: &str| parse_toml(&SMALL.replace("hidden = [32]", parameter));
    for (most, item) in [(19_999, "1"), (1818, "{ a = true }")] {
        assert!(file(&parameter(most, item)).is_ok(), "{most} of {item}");
        let error = file(&parameter(most + 1, item)).expect_err("one value too many");
        assert_eq!(error.path, "model", "{error}");
    }
}

#[test]
fn numbers_of_parameters_have_one_form() {
    let parameters = |text: &str| {
        let file = parse_toml(&SMALL.replace("hidden = [32]", text)).expect("a valid job");
        serde_json::Value::Object(file.model.parameters)
    };
    let found = parameters("a = 1.0\nb = [-0.0, 1e300, 0.5, 9007199254740992]");
    let expected: serde_json::Value =
        serde_json::from_str("{ \"a\": 1, \"b\": [0, 1e300, 0.5, 9007199254740992] }").expect("JSON");
    assert_eq!(found, expected);
}

#[test]
fn a_method_has_the_name_that_job_files_give_it() {
    for name in ["sgd", "sam", "lookahead", "lookahead_sam", "multistep_sam", "lookbehind"] {
        let job = parse(&SMALL.replace("k = 5\nalpha = \"adaptive\"", &format!("method = \"{name}\"")));
        assert_eq!(job.expect("a job of the method").optimizer.method.parts().name.as_str(), name);
    }
}

#[test]
fn a_name_and_the_values_of_labels_may_be_settings() {
    let labels = "[labels]\nstudy = \"first\"\n\"grid.lr\" = \"0.1, k=5\"\n";
    let text = SMALL.replace("\"small\"", "\"lr=0.1, rho=0.05: seed 3\"") + labels;
    let job = parse(&text).expect("a valid job");
    assert_eq!(job.name, "lr=0.1, rho=0.05: seed 3");
    assert_eq!(
        job.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
        ["grid.lr=0.1, k=5", "study=first"]
    );
    assert_eq!(refused("\"mlp\"", "\"m=l\"").path, "model.kind");
}

#[test]
fn labels_that_could_not_be_shown_or_given_on_a_command_line_are_refused_by_name() {
    let labelled = |labels: &str| parse(&format!("{SMALL}\n[labels]\n{labels}")).expect_err(labels);
    for labels in ["\"a=b\" = \"c\"", "\"\" = \"c\"", "\"a b\" = \"c\"", "\"ä\" = \"c\""] {
        assert!(
            labelled(labels).to_string().starts_with("labels: expected keys of 1 to 64 ASCII letters"),
            "{labels}"
        );
    }
    for value in ["", " ", "a\\u001b", &"x".repeat(129)] {
        assert_eq!(labelled(&format!("study = \"{value}\"")).path, "labels.study");
    }
    let many: String = (0..17).map(|number| format!("l{number} = \"x\"\n")).collect();
    assert_eq!(labelled(&many).to_string(), "labels: expected at most 16, found 17");
}
