use lookbehind_common::job::parse_toml;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::*;

const SMALL: &str = r#"
name = "small"
model = { kind = "mlp", hidden = [32] }
data = { kind = "digits" }
[train]
epochs = 3
batch_size = 64
[optimizer]
k = 5
alpha = "adaptive"
"#;

#[test]
fn a_job_is_the_same_after_a_journey_over_the_wire() {
    let full = format!(
        "{SMALL}rho = 0.3\nascent = \"asam\"\neta = 0.02\ngradients = \"reference\"\nminibatch = \"same\"\n\
         batch_statistics = \"frozen\"\nclip_norm = 1.5\nperturbation = \"shard\"\n\
         [optimizer.base]\nkind = \"adamw\"\nlr = 1e-3\nbetas = [0.8, 0.99]\neps = 1e-7\nweight_decay = 0.1\n\
         decay_biases_and_norms = false\n\
         [[optimizer.groups]]\ntensors = [\"*.bias\", \"norm?\"]\nlr_factor = 0.5\nweight_decay = 0.2\n\
         [[optimizer.groups]]\ntensors = [\"x\"]\nfrozen = true\nascent = false\n\
         [schedule]\nkind = \"multistep\"\nmilestones = [1, 2]\ngamma = 0.5\nwarmup = 1\nwarmup_start = 0.2\n\
         [checkpoint]\nevery_steps = 3\nkeep = 4\non_failure = \"pause\"\n[eval]\nevery_epochs = 0\n\
         [resources]\nmin_workers = 2\nmax_workers = 3\npriority = -7\nverify = 2\n"
    )
    .replace(
        "batch_size = 64",
        "batch_size = 64\nprecision = \"tf32\"\ncompute_classes = \"any\"\nexchange = \"bf16\"",
    );
    let after_another =
        SMALL.replace("[optimizer]", "[checkpoint]\nevery_minutes = 0.5\n[optimizer]").replace(
            "hidden = [32]",
            "hidden = [32], init = { job = \"j0123abcd\", checkpoint = 7, continues = true }",
        );
    let lion = format!("{SMALL}[optimizer.base]\nkind = \"lion\"\nbetas = [0.8, 0.99]\n");
    let adam = lion.replace("lion", "adam");
    let cycle = format!(
        "{SMALL}[schedule]\nkind = \"one_cycle\"\nunit = \"step\"\npct_start = 0.2\ndiv_factor = 9\n\
         final_div_factor = 99\n"
    );
    let polynomial = format!("{SMALL}[schedule]\nkind = \"polynomial\"\nunit = \"epoch\"\npower = 0.9\n");
    for text in [SMALL, &full, &after_another, &lion, &adam, &cycle, &polynomial] {
        let file = parse_toml(text).expect("a valid job");
        let travelled = from_proto(&to_proto(&file)).expect("its message");
        assert_eq!(travelled.validate(), file.validate());
        assert_eq!(travelled.model.parameters, file.model.parameters, "whole numbers stay whole");
    }
}

#[test]
fn initial_weights_of_a_file_and_of_a_job_together_are_refused() {
    let mut message = to_proto(&parse_toml(SMALL).expect("a valid job"));
    if let Some(model) = &mut message.model {
        model.init = Some("digest".into());
        model.init_job = Some(v1::InitialJob { job: "j0123abcd".into(), ..v1::InitialJob::default() });
    }
    assert_eq!(from_proto(&message).expect_err("two starts").path, "model.init");
}

#[test]
fn numbers_that_are_no_value_of_an_enum_are_refused() {
    let mut message = to_proto(&parse_toml(SMALL).expect("a valid job"));
    if let Some(optimizer) = &mut message.optimizer {
        optimizer.method = 77;
    }
    assert_eq!(from_proto(&message).expect_err("an unknown method").path, "optimizer.method");
}

#[test]
fn parameters_that_no_job_file_could_hold_are_refused_by_their_path() {
    let number = |number| Value { kind: Some(Kind::NumberValue(number)) };
    let list = |item| Value { kind: Some(Kind::ListValue(ListValue { values: vec![item] })) };
    let deep = (0..17).fold(number(1.0), |value, _| list(value));
    let null = Value { kind: Some(Kind::NullValue(0)) };
    for (value, path, problem) in [
        (null, "model.x", "expected a value, found null"),
        (Value { kind: None }, "model.x", "expected a value, found null"),
        (list(number(f64::NAN)), "model.x[0]", "expected a finite number, found NaN"),
        (deep, &format!("model.x{}", "[0]".repeat(16)), "is nested deeper than 16 levels"),
    ] {
        let mut message = to_proto(&parse_toml(SMALL).expect("a valid job"));
        if let Some(model) = &mut message.model {
            model.parameters = Some(Struct { fields: [("x".to_owned(), value)].into() });
        }
        let error = from_proto(&message).expect_err("a parameter that cannot be");
        assert_eq!((error.path.as_str(), error.problem.as_str()), (path, problem));
    }
}
