//! Tests of `[optimizer]`, its base and its groups. What is refused over the wire has a test of the whole service.

use super::super::super::parse_toml;
use super::*;

const JOB: &str = "name = 'x'\nmodel = { kind = 'mlp' }\ndata = { kind = 'digits' }\ntrain = { epochs = 1, batch_size = 8 }\n";

fn optimizer(text: &str) -> Checked<OptimizerSpec> {
    Ok(parse_toml(&format!("{JOB}{text}"))?.validate()?.optimizer)
}

#[test]
fn without_groups_all_tensors_are_trained_alike_and_gradients_are_not_clipped() {
    let spec = optimizer("[optimizer]\n").unwrap();
    assert_eq!((spec.groups, spec.clip_norm), (Groups::default(), None));
}

#[test]
fn groups_keep_their_order_and_what_they_do_not_say() {
    let spec = optimizer(
        "[optimizer]\nclip_norm = 1\n[optimizer.base]\ndecay_biases_and_norms = false\n\
         [[optimizer.groups]]\ntensors = ['*']\nfrozen = true\n\
         [[optimizer.groups]]\ntensors = ['head.*', 'norm']\nfrozen = false\nlr_factor = 10\nascent = false\n",
    );
    let spec = spec.unwrap();
    assert_eq!((spec.clip_norm, spec.groups.decay_biases_and_norms), (Some(1.0), false));
    let frozen = Group { tensors: vec!["*".into()], frozen: Some(true), ..Group::default() };
    let head = Group {
        tensors: vec!["head.*".into(), "norm".into()],
        frozen: Some(false),
        lr_factor: Some(10.0),
        ascent: Some(false),
        ..Group::default()
    };
    assert_eq!(spec.groups.list, [frozen, head]);
}

#[test]
fn unknown_keys_of_groups_and_keys_without_meaning_are_refused_by_their_path() {
    let refused = |text: &str| optimizer(text).unwrap_err().to_string();
    let unknown = refused("[[optimizer.groups]]\ntensors = ['*']\nlr = 0.1\n");
    assert!(unknown.starts_with("optimizer.groups[0].lr: unknown field `lr`"), "{unknown}");
    let missing = refused("[[optimizer.groups]]\nfrozen = true\n");
    assert!(missing.starts_with("optimizer.groups[0]: missing field `tensors`"), "{missing}");
    let ascent = "[optimizer]\nmethod = 'lookahead'\n[[optimizer.groups]]\ntensors = ['*']\nascent = true\n";
    assert_eq!(
        refused(ascent),
        "optimizer.groups[0].ascent: has no meaning with method lookahead; remove it"
    );
    let number = refused("[[optimizer.groups]]\ntensors = ['*']\nlr_factor = -1\n");
    assert_eq!(number, "optimizer.groups[0].lr_factor: expected a positive number up to 1e6, found -1");
}

#[test]
fn each_kind_of_base_optimizer_has_its_defaults() {
    let base = |kind: &str| optimizer(&format!("[optimizer.base]\nkind = '{kind}'\n")).unwrap().base;
    let (lr, betas, eps) = (0.001, [0.9, 0.999], 1e-8);
    assert_eq!(base("adam"), BaseOptimizer::Adam { lr, betas, eps, weight_decay: 0.0 });
    assert_eq!(base("adamw"), BaseOptimizer::AdamW { lr, betas, eps, weight_decay: 0.01 });
    assert_eq!(base("lion"), BaseOptimizer::Lion { lr: 0.0001, betas: [0.9, 0.99], weight_decay: 0.0 });
}
