use candle_core::Tensor;
use lookbehind_common::digest::Digest;

use super::*;
use crate::compute::fixture::*;
use crate::data::{InMemory, Rows};
use crate::models::ForwardContext;
use crate::test_support::{data_folder, job};

fn refuse(model: &str, data: &str, train: &str) -> PrepareError {
    let (_folder, backend) = backend();
    backend.prepare(&job(model, data, train), &Cancellation::default()).err().unwrap()
}

#[test]
fn every_backend_finds_the_same_description_initial_state_and_probe() {
    let train = "epochs = 1\nbatch_size = 10\nshards = 4";
    let ((_a, first), (_b, second)) = (prepare(MLP, train), prepare(MLP, train));
    assert_eq!(first.description(), second.description());
    let description = first.description();
    assert_eq!((description.train_samples, description.test_samples), (22, 9));
    assert_eq!(description.layout.parameters(), 44);
    assert_eq!(first.initial_state().unwrap(), second.initial_state().unwrap());
    assert_eq!(first.probe(), second.probe());
}

#[test]
fn the_probe_covers_model_seed_and_shapes_of_shards() {
    let probe = |model: &str, seed: u64, train: &str| {
        let (_folder, backend) = backend();
        let mut spec = job(model, FILES, train);
        spec.seed = seed;
        backend.prepare(&spec, &Cancellation::default()).unwrap().probe()
    };
    let train = "epochs = 1\nbatch_size = 10\nshards = 4";
    let first = probe(MLP, 1, train);
    assert_ne!(first, probe(MLP, 2, train));
    assert_ne!(first, probe("kind = \"mlp\"\nhidden = [6]", 1, train));
    assert_ne!(first, probe(MLP, 1, "epochs = 1\nbatch_size = 10\nshards = 3"));
}

#[test]
fn what_the_job_asks_wrongly_is_the_jobs_fault() {
    let train = "epochs = 1\nbatch_size = 10\nshards = 4";
    for (model, data, train, expected) in [
        ("kind = \"none\"", FILES, train, "model.kind: expected one of"),
        ("kind = \"mlp\"\nhidden = [0]", FILES, train, "model.hidden[0]"),
        (MLP, "kind = \"none\"", train, "data.kind: expected one of"),
        (MLP, "kind = \"safetensors\"\ntrain = \"/train.st\"", train, "data.train"),
        (MLP, &format!("{FILES}\ndrop_last = true"), "epochs = 1\nbatch_size = 23", "train.batch_size"),
        (
            "kind = \"crooked\"",
            FILES,
            train,
            "model kind \"crooked\", shard of 3 samples: logits of shape [3, 5], expected [3, 4]",
        ),
        (
            "kind = \"centred\"",
            FILES,
            train,
            "model kind \"centred\", shard of 1 samples: a variance needs 2 values",
        ),
    ] {
        match refuse(model, data, train) {
            PrepareError::Job(reason) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("not this worker's fault: {other}"),
        }
    }
}

#[test]
fn what_this_worker_lacks_is_the_workers_fault() {
    let train = "epochs = 1\nbatch_size = 10\nshards = 4";
    let large = "kind = \"mlp\"\nhidden = [100000, 100000]";
    for (model, data, expected) in [
        (MLP, "kind = \"safetensors\"\ntrain = \"gone.st\"", "\"gone.st\": not found"),
        (large, FILES, "model kind \"mlp\": tensor \"layers.1.weight\""),
    ] {
        match refuse(model, data, train) {
            PrepareError::Worker(reason) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("not the job's fault: {other}"),
        }
    }
}

#[test]
fn a_panic_in_a_model_is_an_error_that_names_the_kind() {
    struct Panics(bool);
    impl Model for Panics {
        fn forward(&self, inputs: &Tensor, _pass: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
            assert!(self.0, "forward of {:?}", inputs.dims());
            inputs.narrow(1, 0, 1)
        }
    }
    let build = |when: &'static str| {
        let (_folder, environment) = data_folder();
        let registry = Registry::builtin().with_model("panics", move |_, _, builder| {
            assert!(when != "build", "constructor");
            builder.get(1, "weight")?;
            Ok(Box::new(Panics(false)))
        });
        let spec = job("kind = \"panics\"", "kind = \"digits\"", "epochs = 1\nbatch_size = 8\nshards = 1");
        CandleBackend::new(registry, environment).prepare(&spec, &Cancellation::default()).err().unwrap()
    };
    for (when, message) in [("build", "constructor"), ("forward", "forward of [8, 8, 8]")] {
        let expected = format!("model kind \"panics\", data kind \"digits\": panicked: {message}");
        assert_eq!(build(when), PrepareError::Job(expected));
    }
}

#[test]
fn a_shard_that_does_not_fit_into_memory_is_refused_before_it_is_computed() {
    struct Hungry;
    impl Model for Hungry {
        fn forward(&self, inputs: &Tensor, _pass: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
            assert!(inputs.dim(0)? < 100, "a large shard was computed");
            let wide = inputs.flatten_from(1)?.repeat((1, 4096))?; // 1 MiB a sample
            wide.narrow(1, 0, 10)
        }
    }
    let (_folder, environment) = data_folder();
    let environment = DataEnvironment { memory_limit: 900 << 20, ..environment };
    let registry = Registry::builtin().with_model("hungry", |_, _, builder| {
        builder.get(1, "weight")?;
        Ok(Box::new(Hungry))
    });
    let spec = job("kind = \"hungry\"", "kind = \"digits\"", "epochs = 1\nbatch_size = 1000\nshards = 1");
    let said =
        CandleBackend::new(registry, environment).prepare(&spec, &Cancellation::default()).err().unwrap();
    let PrepareError::Worker(said) = said else { panic!("{said:?}") };
    for part in [
        "model kind \"hungry\": a shard of 1000 samples takes",
        "this worker's limit is 900 MiB",
        "train.shards",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn weights_and_partials_on_their_way_count_towards_the_memory_limit() {
    struct Heavy;
    impl Model for Heavy {
        fn forward(&self, inputs: &Tensor, _pass: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
            inputs.flatten_from(1)?.narrow(1, 0, 10)
        }
    }
    // 64 MiB of weights.
    let prepared = |limit: u64, over_network: bool| {
        let (_folder, environment) = data_folder();
        let environment = DataEnvironment { memory_limit: limit << 20, ..environment };
        let registry = Registry::builtin().with_model("heavy", |_, _, builder| {
            builder.get(1 << 24, "weight")?;
            Ok(Box::new(Heavy))
        });
        let spec = job("kind = \"heavy\"", "kind = \"digits\"", "epochs = 1\nbatch_size = 8\nshards = 1");
        let backend = CandleBackend::new(registry, environment);
        let backend = if over_network { backend.over_network() } else { backend };
        backend.prepare(&spec, &Cancellation::default()).err()
    };
    assert_eq!(prepared(400, false), None);
    assert_eq!(prepared(400 + 128, true), None);
    let Some(PrepareError::Worker(said)) = prepared(260, true) else { panic!("it was not refused") };
    assert!(said.contains(", and 128 MiB for weights and partials on their way,"), "{said}");
}

#[test]
fn a_model_whose_layers_give_more_than_there_is_room_for_is_refused_before_any_sample_is_computed() {
    struct Boundless;
    impl Model for Boundless {
        fn forward(&self, _inputs: &Tensor, _pass: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
            panic!("a sample was computed")
        }

        fn elements_per_sample(&self) -> u64 {
            1 << 50
        }
    }
    let (_folder, environment) = data_folder();
    let registry = Registry::builtin().with_model("boundless", |_, _, builder| {
        builder.get(1, "weight")?;
        Ok(Box::new(Boundless))
    });
    let spec = job("kind = \"boundless\"", "kind = \"digits\"", "epochs = 1\nbatch_size = 8\nshards = 4");
    let said =
        CandleBackend::new(registry, environment).prepare(&spec, &Cancellation::default()).err().unwrap();
    let PrepareError::Worker(said) = said else { panic!("{said:?}") };
    let expected = "model kind \"boundless\": a shard of 2 samples takes 8589934592 MiB in addition to";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn a_model_that_does_not_follow_the_declared_precision_is_refused() {
    struct Own;
    impl Model for Own {
        fn forward(&self, inputs: &Tensor, _pass: &ForwardContext<'_>) -> candle_core::Result<Tensor> {
            inputs.flatten_from(1)?.narrow(1, 0, 10)
        }
    }
    let (_folder, environment) = data_folder();
    let registry = Registry::builtin().with_model("own", |_, _, builder| {
        builder.get(1, "weight")?;
        Ok(Box::new(Own))
    });
    let backend = CandleBackend::new(registry, environment);
    let prepare = |model: &str, precision: &str| {
        let train = format!("epochs = 1\nbatch_size = 8\nprecision = {precision:?}");
        backend.prepare(&job(model, "kind = \"digits\"", &train), &Cancellation::default()).err()
    };
    let said = prepare("kind = \"own\"", "bf16").unwrap();
    assert!(
        matches!(&said, PrepareError::Job(said) if said.starts_with("train.precision: model kind \"own\"")),
        "{said:?}"
    );
    assert!(prepare("kind = \"own\"", "f32").is_none());
    assert!(prepare("kind = \"mlp\"\nhidden = [8]", "bf16").is_none());
}

/// Large enough for the matrix product to use several threads.
fn wide_digest() -> Digest {
    let (_folder, environment) = data_folder();
    let backend = CandleBackend::new(Registry::builtin(), environment);
    let spec = job(
        "kind = \"mlp\"\nhidden = [384, 256]",
        "kind = \"digits\"",
        "epochs = 1\nbatch_size = 700\nshards = 2",
    );
    backend.prepare(&spec, &Cancellation::default()).unwrap().probe()
}

#[test]
fn the_digest_of_wide_shards_repeats() {
    let digest = wide_digest();
    assert_eq!(digest, wide_digest());
    println!("digest={digest}");
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let with_threads = |threads: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "compute::candle::tests::the_digest_of_wide_shards_repeats", "--nocapture"])
            .env("RAYON_NUM_THREADS", threads)
            .env("CANDLE_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let start = text.find("digest=").expect("the other test prints its digest");
        text[start..start + "digest=".len() + 64].to_owned()
    };
    let expected = format!("digest={}", wide_digest());
    for threads in ["1", "2", "5"] {
        assert_eq!(with_threads(threads), expected, "{threads} threads");
    }
}

#[test]
fn the_device_is_described_in_words() {
    let (_folder, backend) = backend();
    assert!(backend.device().contains("threads") && backend.device().contains("candle"));
    assert!(backend.class_description(Precision::F32).contains("caches"));
    assert!(!backend.class_description(Precision::F32).contains("threads"));
}

#[test]
fn the_jobs_of_one_process_share_a_data_set_while_one_of_them_uses_it() {
    let loads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&loads);
    let registry = Registry::builtin().with_dataset("counted", move |_, _| {
        *counted.lock().unwrap() += 1;
        let rows = Rows { inputs: vec![0.0, 1.0], targets: vec![0, 1] };
        Ok(Box::new(InMemory::new(vec![1], 2, rows, Rows::default())?))
    });
    let (_folder, environment) = data_folder();
    let backend = CandleBackend::new(registry, environment);
    let prepare = |seed: u64, data: &str| {
        let mut spec = job(MLP, &format!("kind = \"counted\"\n{data}"), "epochs = 1\nbatch_size = 2");
        spec.seed = seed;
        backend.prepare(&spec, &Cancellation::default()).unwrap()
    };
    let (first, second) = (prepare(1, ""), prepare(2, "shuffle = false"));
    assert_eq!(*loads.lock().unwrap(), 1);
    let other = prepare(1, "number = 1");
    assert_eq!(*loads.lock().unwrap(), 2);
    drop((first, second, other));
    prepare(1, "number = 1");
    assert_eq!(*loads.lock().unwrap(), 3);
}

#[test]
fn tf32_is_refused_where_there_is_no_gpu_as_this_workers_fault() {
    let train = "epochs = 1\nbatch_size = 10\nprecision = \"tf32\"";
    match refuse(MLP, FILES, train) {
        PrepareError::Worker(reason) => {
            assert!(reason.starts_with("train.precision: \"tf32\" needs a GPU"), "{reason}")
        }
        other => panic!("not the job's fault: {other}"),
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_cuda_has_the_cpu_alone() {
    use crate::device::{DeviceChoice, DeviceError};

    let (_folder, backend) = backend();
    let backend = backend.on(&DeviceChoice::Auto).unwrap().on(&DeviceChoice::Cpu).unwrap();
    assert!(backend.device().starts_with("CPU "), "{}", backend.device());
    let choice = DeviceChoice::Cuda(vec![0]);
    let refused = backend.on(&choice).err();
    assert_eq!(refused, Some(DeviceError::NotBuilt { choice }));
}
