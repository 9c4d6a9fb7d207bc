//! Invalid job specifications over the wire: each is refused immediately, the error names its key, and nothing is
//! queued.

use lookbehind_proto::v1;
use lookbehind_proto::wire;
use lookbehind_tests::cluster::Cluster;
use lookbehind_tests::jobs::small;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use tonic::Code;
use v1::optimizer_spec::Interpolation;

type Change = fn(&mut v1::JobSpec);

fn train(spec: &mut v1::JobSpec) -> &mut v1::TrainSpec {
    spec.train.as_mut().unwrap()
}

fn optimizer(spec: &mut v1::JobSpec) -> &mut v1::OptimizerSpec {
    spec.optimizer.as_mut().unwrap()
}

fn base(spec: &mut v1::JobSpec) -> &mut v1::BaseOptimizerSpec {
    optimizer(spec).base.as_mut().unwrap()
}

/// A group of all parameters.
fn group(spec: &mut v1::JobSpec) -> &mut v1::ParameterGroup {
    optimizer(spec).groups = vec![v1::ParameterGroup { tensors: vec!["*".into()], ..Default::default() }];
    &mut optimizer(spec).groups[0]
}

fn schedule(spec: &mut v1::JobSpec) -> &mut v1::ScheduleSpec {
    spec.schedule.as_mut().unwrap()
}

fn one_cycle(spec: &mut v1::JobSpec) -> &mut v1::ScheduleSpec {
    schedule(spec).kind = v1::ScheduleKind::OneCycle.into();
    schedule(spec)
}

/// Changes the kind of the base optimizer and removes everything of the old one.
fn adamw(spec: &mut v1::JobSpec) -> &mut v1::BaseOptimizerSpec {
    *base(spec) = v1::BaseOptimizerSpec { kind: v1::BaseOptimizerKind::Adamw.into(), ..Default::default() };
    base(spec)
}

fn multistep(spec: &mut v1::JobSpec) -> &mut v1::ScheduleSpec {
    schedule(spec).kind = v1::ScheduleKind::Multistep.into();
    schedule(spec).milestones = vec![1];
    schedule(spec)
}

fn set_model(spec: &mut v1::JobSpec, key: &str, kind: Kind) {
    let parameters = spec.model.as_mut().unwrap().parameters.get_or_insert_default();
    parameters.fields.insert(key.to_owned(), Value { kind: Some(kind) });
}

/// A value within `depth` nested lists.
fn nested(depth: usize) -> Kind {
    let list = |values| Kind::ListValue(ListValue { values });
    (0..depth).fold(Kind::NumberValue(1.0), |inner, _| list(vec![Value { kind: Some(inner) }]))
}

const NAMES: &[(&str, Change)] = &[
    ("name", |spec| spec.name.clear()),
    ("name", |spec| spec.name = "../../x".into()),
    ("name", |spec| spec.name = "a\0b".into()),
    ("name", |spec| spec.name = "x".repeat(1 << 18)),
    ("model", |spec| spec.model = None),
    ("model.kind", |spec| spec.model.as_mut().unwrap().kind = "../mlp".into()),
    ("model.init", |spec| spec.model.as_mut().unwrap().init = Some("../../x".into())),
    ("model.init", |spec| spec.model.as_mut().unwrap().init = Some("A".repeat(64))),
    ("model.init", |spec| spec.model.as_mut().unwrap().init = Some("x".repeat(1 << 18))),
    ("model.x", |spec| set_model(spec, "x", Kind::NumberValue(f64::NAN))),
    ("model.x", |spec| set_model(spec, "x", Kind::NumberValue(f64::INFINITY))),
    ("model.x[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]", |spec| set_model(spec, "x", nested(40))),
    ("data", |spec| spec.data = None),
    ("data.kind", |spec| spec.data.as_mut().unwrap().kind = "\0".into()),
    ("data.x", |spec| {
        let fields = [("x".to_owned(), Value { kind: Some(Kind::NumberValue(f64::NAN)) })].into();
        spec.data.as_mut().unwrap().parameters = Some(Struct { fields });
    }),
];

const LENGTHS: &[(&str, Change)] = &[
    ("train", |spec| spec.train = None),
    ("train.batch_size", |spec| train(spec).batch_size = 0),
    ("train.batch_size", |spec| train(spec).batch_size = u64::MAX),
    ("train.shards", |spec| train(spec).shards = Some(0)),
    ("train.shards", |spec| train(spec).shards = Some(u32::MAX)),
    ("train.exchange", |spec| train(spec).exchange = 99),
    ("train.epochs", |spec| train(spec).epochs = Some(0)),
    ("train.epochs", |spec| train(spec).epochs = Some(u64::MAX)),
    ("train.epochs", |spec| train(spec).epochs = None),
    ("train.steps", |spec| train(spec).steps = Some(5)),
    ("train.steps", |spec| *train(spec) = v1::TrainSpec { epochs: None, steps: Some(0), ..*train(spec) }),
    ("checkpoint.every_steps", |spec| {
        spec.checkpoint =
            Some(v1::CheckpointSpec { every_epochs: Some(1), every_steps: Some(1), ..Default::default() });
    }),
    ("checkpoint.every_epochs", |spec| spec.checkpoint.as_mut().unwrap().every_epochs = Some(u64::MAX)),
    ("checkpoint.keep", |spec| spec.checkpoint.as_mut().unwrap().keep = Some(0)),
    ("eval.every_epochs", |spec| spec.eval.as_mut().unwrap().every_epochs = Some(u64::MAX)),
    ("resources.min_workers", |spec| spec.resources.as_mut().unwrap().min_workers = Some(0)),
    ("resources.verify", |spec| {
        spec.resources = Some(v1::ResourcesSpec { verify: Some(5000), ..Default::default() });
    }),
    ("resources.verify", |spec| {
        spec.resources =
            Some(v1::ResourcesSpec { verify: Some(1), max_workers: Some(1), ..Default::default() });
    }),
    ("resources.verify", |spec| {
        spec.resources = Some(v1::ResourcesSpec { verify: Some(1), ..Default::default() });
        train(spec).compute_classes = v1::ComputeClasses::Any.into();
    }),
    ("resources.max_workers", |spec| {
        spec.resources =
            Some(v1::ResourcesSpec { min_workers: Some(3), max_workers: Some(2), ..Default::default() });
    }),
];

const OPTIMIZERS: &[(&str, Change)] = &[
    ("optimizer.method", |spec| optimizer(spec).method = 99),
    ("optimizer.method", |spec| optimizer(spec).method = -1),
    ("optimizer.ascent", |spec| optimizer(spec).ascent = 99),
    ("optimizer.gradients", |spec| optimizer(spec).gradients = 99),
    ("optimizer.minibatch", |spec| optimizer(spec).minibatch = 99),
    ("optimizer.batch_statistics", |spec| optimizer(spec).batch_statistics = 99),
    ("optimizer.perturbation", |spec| optimizer(spec).perturbation = 99),
    ("optimizer.k", |spec| optimizer(spec).k = Some(0)),
    ("optimizer.k", |spec| optimizer(spec).k = Some(u32::MAX)),
    ("optimizer.k", |spec| {
        *optimizer(spec) =
            v1::OptimizerSpec { method: v1::Method::Sgd.into(), k: Some(3), ..Default::default() };
    }),
    ("optimizer.rho", |spec| optimizer(spec).rho = Some(0.0)),
    ("optimizer.rho", |spec| optimizer(spec).rho = Some(-0.05)),
    ("optimizer.rho", |spec| optimizer(spec).rho = Some(f64::NAN)),
    ("optimizer.rho", |spec| optimizer(spec).rho = Some(f64::INFINITY)),
    ("optimizer.rho", |spec| optimizer(spec).rho = Some(1e300)),
    ("optimizer.eta", |spec| optimizer(spec).eta = Some(0.01)),
    ("optimizer.eta", |spec| {
        optimizer(spec).ascent = v1::Ascent::Asam.into();
        optimizer(spec).eta = Some(-1.0);
    }),
    ("optimizer.alpha", |spec| optimizer(spec).interpolation = Some(Interpolation::Alpha(0.0))),
    ("optimizer.alpha", |spec| optimizer(spec).interpolation = Some(Interpolation::Alpha(1.5))),
    ("optimizer.alpha", |spec| optimizer(spec).interpolation = Some(Interpolation::Alpha(f64::NAN))),
    ("optimizer.adaptive_alpha", |spec| {
        optimizer(spec).interpolation = Some(Interpolation::AdaptiveAlpha(false));
    }),
    ("optimizer.clip_norm", |spec| optimizer(spec).clip_norm = Some(0.0)),
    ("optimizer.clip_norm", |spec| optimizer(spec).clip_norm = Some(f64::NAN)),
    ("optimizer.groups", |spec| group(spec).tensors = vec!["*".into(); 257]),
    ("optimizer.groups[0].tensors", |spec| group(spec).tensors.clear()),
    ("optimizer.groups[0].tensors[1]", |spec| group(spec).tensors.push(String::new())),
    ("optimizer.groups[0].tensors[1]", |spec| group(spec).tensors.push("x".repeat(257))),
    ("optimizer.groups[0].lr_factor", |spec| group(spec).lr_factor = Some(0.0)),
    ("optimizer.groups[0].lr_factor", |spec| group(spec).lr_factor = Some(f64::INFINITY)),
    ("optimizer.groups[0].weight_decay", |spec| group(spec).weight_decay = Some(-1.0)),
    ("optimizer.groups[0].ascent", |spec| {
        *optimizer(spec) = v1::OptimizerSpec { method: v1::Method::Sgd.into(), ..Default::default() };
        group(spec).ascent = Some(false);
    }),
];

const BASES: &[(&str, Change)] = &[
    ("optimizer.base.kind", |spec| base(spec).kind = 99),
    ("optimizer.base.lr", |spec| base(spec).lr = Some(0.0)),
    ("optimizer.base.lr", |spec| base(spec).lr = Some(-0.1)),
    ("optimizer.base.lr", |spec| base(spec).lr = Some(f64::NAN)),
    ("optimizer.base.lr", |spec| base(spec).lr = Some(1e300)),
    ("optimizer.base.momentum", |spec| base(spec).momentum = Some(1.0)),
    ("optimizer.base.momentum", |spec| base(spec).momentum = Some(-0.1)),
    ("optimizer.base.momentum", |spec| base(spec).momentum = Some(f64::NAN)),
    ("optimizer.base.nesterov", |spec| {
        base(spec).momentum = None;
        base(spec).nesterov = Some(true);
    }),
    ("optimizer.base.weight_decay", |spec| base(spec).weight_decay = Some(-1.0)),
    ("optimizer.base.weight_decay", |spec| base(spec).weight_decay = Some(f64::INFINITY)),
    ("optimizer.base.betas", |spec| base(spec).beta1 = Some(0.9)),
    ("optimizer.base.betas[0]", |spec| adamw(spec).beta1 = Some(1.0)),
    ("optimizer.base.betas[1]", |spec| adamw(spec).beta2 = Some(f64::NAN)),
    ("optimizer.base.eps", |spec| adamw(spec).eps = Some(0.0)),
    ("optimizer.base.momentum", |spec| adamw(spec).momentum = Some(0.9)),
    ("optimizer.base.eps", |spec| {
        *adamw(spec) =
            v1::BaseOptimizerSpec { kind: v1::BaseOptimizerKind::Lion.into(), ..Default::default() };
        base(spec).eps = Some(1e-8);
    }),
    ("optimizer.base.nesterov", |spec| {
        adamw(spec).kind = v1::BaseOptimizerKind::Adam.into();
        base(spec).nesterov = Some(true);
    }),
    ("schedule.kind", |spec| schedule(spec).kind = 99),
    ("schedule.milestones", |spec| multistep(spec).milestones.clear()),
    ("schedule.milestones", |spec| multistep(spec).milestones = vec![3, 1]),
    ("schedule.milestones", |spec| schedule(spec).milestones = vec![1]),
    ("schedule.gamma", |spec| multistep(spec).gamma = Some(0.0)),
    ("schedule.gamma", |spec| multistep(spec).gamma = Some(f64::NAN)),
    ("schedule.min_lr", |spec| {
        schedule(spec).kind = v1::ScheduleKind::Cosine.into();
        schedule(spec).min_lr = Some(-1.0);
    }),
    ("schedule.min_lr", |spec| schedule(spec).min_lr = Some(0.1)),
    ("schedule.power", |spec| {
        schedule(spec).kind = v1::ScheduleKind::Polynomial.into();
        schedule(spec).power = Some(0.0);
    }),
    ("schedule.power", |spec| multistep(spec).power = Some(1.0)),
    ("schedule.pct_start", |spec| one_cycle(spec).pct_start = Some(1.0)),
    ("schedule.pct_start", |spec| multistep(spec).pct_start = Some(0.5)),
    ("schedule.div_factor", |spec| one_cycle(spec).div_factor = Some(0.5)),
    ("schedule.final_div_factor", |spec| one_cycle(spec).final_div_factor = Some(f64::NAN)),
    ("schedule.warmup", |spec| one_cycle(spec).warmup = Some(1)),
    ("schedule.unit", |spec| schedule(spec).unit = 99),
    ("schedule.unit", |spec| {
        (train(spec).epochs, train(spec).steps) = (None, Some(9));
        schedule(spec).unit = v1::ScheduleUnit::Epoch.into();
    }),
    ("schedule.warmup", |spec| schedule(spec).warmup = Some(u64::MAX)),
    ("schedule.warmup_start", |spec| schedule(spec).warmup_start = Some(0.0)),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impossible_specification_is_refused_by_its_key_and_harms_nothing() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let cases = [NAMES, LENGTHS, OPTIMIZERS, BASES].concat();
    for (number, (key, change)) in cases.iter().enumerate() {
        let mut spec = wire::to_proto(&small());
        change(&mut spec);
        let status = client.create(spec).await.expect_err(&format!("case {number}: {key}"));
        assert_eq!(status.code(), Code::InvalidArgument, "case {number}: {status}");
        assert!(status.message().starts_with(&format!("{key}: ")), "case {number}: {status}, expected {key}");
        assert!(status.message().len() < 1000, "case {number}: an answer of {}", status.message().len());
    }
    let listed = client.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner();
    assert!(listed.jobs.is_empty(), "{:?}", listed.jobs);
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_specification_beyond_the_size_of_a_control_message_is_refused() {
    let cluster = Cluster::of(1).await;
    let mut spec = wire::to_proto(&small());
    set_model(&mut spec, "x", Kind::StringValue("x".repeat(5 << 20)));
    let status = cluster.client().create(spec).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    cluster.still_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_specification_that_would_fill_every_list_is_refused() {
    let cluster = Cluster::of(1).await;
    let mut spec = wire::to_proto(&small());
    set_model(&mut spec, "x", Kind::StringValue("x".repeat(256 << 10)));
    let status = cluster.client().create(spec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("at most 262144 bytes"), "{status}");
    cluster.still_works().await;
}
