use std::path::{Path, PathBuf};

use lookbehind_common::evaluate::{
    BatchStatistics, Hessian, Noise, NoiseDraw, NoiseKind, Plan, Record, Request, Sharpness,
    SharpnessMeasure, Spread, Unit, WorstCase, is_noisy, perturb, rademacher,
};
use lookbehind_common::job::parse_toml;
use lookbehind_common::model_file;
use serde_json::Value;

use super::*;
use crate::data::DataEnvironment;
use crate::registry::Registry;

/// The model that `tests/python/make_evaluation_cases.py` trained, and what PyTorch says about it.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/evaluation")
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

fn loaded() -> (Evaluation, ModelState<FlatBuffer>) {
    let text = std::fs::read_to_string(folder().join("job.toml")).unwrap();
    let spec = parse_toml(&text).unwrap().validate().unwrap();
    let environment = DataEnvironment::local(folder(), 1 << 30);
    let backend = Arc::new(CandleBackend::new(Registry::builtin(), environment));
    let evaluation = Evaluation::load(backend, &spec).unwrap();
    let bytes = std::fs::read(folder().join("model.safetensors")).unwrap();
    let weights = model_file::read(&bytes, evaluation.layout()).unwrap();
    (evaluation, weights)
}

fn plan(evaluation: &Evaluation, change: impl FnOnce(&mut Request)) -> Plan {
    let mut request = Request::plain(5);
    change(&mut request);
    Plan::new(request, evaluation.sizes(EvaluatedSplit::Test))
}

/// The records of a plan on this number of threads.
fn run(
    evaluation: &Evaluation,
    plan: &Plan,
    weights: &ModelState<FlatBuffer>,
    threads: usize,
) -> Vec<Record> {
    let models = [weights.clone()];
    let none = |_: usize, _: usize, _: &Record| Ok::<_, PrepareError>(());
    let mut records = evaluation.run(plan, &models, Known::new(), threads, none).unwrap();
    records.remove(0)
}

/// The whole training split as one m-batch, so that the order of samples does not matter.
fn sharpness(measures: &[SharpnessMeasure], radii: &[f64]) -> Sharpness {
    let (measures, radii) = (measures.to_vec(), radii.to_vec());
    Sharpness { measures, radii, samples: 120, batch: 120, draws: 200, steps: 20 }
}

fn assert_near(what: &str, found: f64, expected: f64, tolerance: f64) {
    let distance = (found - expected).abs();
    assert!(distance <= tolerance * expected.abs(), "{what}: {found}, PyTorch says {expected}");
}

#[test]
fn scores_are_those_of_pytorch() {
    let (evaluation, weights) = loaded();
    let records = run(&evaluation, &plan(&evaluation, |_| {}), &weights, 1);
    let [Record::Scores(scores)] = &records[..] else { panic!("{records:?}") };
    let expected = &expected()["scores"];
    let number = |key: &str| expected[key].as_f64().unwrap();
    assert_near("loss", scores.loss, number("loss"), 1e-5);
    assert_eq!(scores.accuracy, number("accuracy"));
    assert_eq!(scores.top5_accuracy, Some(number("top5_accuracy")));
    assert_near("calibration error", scores.calibration_error, number("calibration_error"), 1e-4);
    assert_eq!(serde_json::to_value(&scores.confusion).unwrap(), expected["confusion"]);
}

#[test]
fn sharpness_is_that_of_pytorch() {
    let (evaluation, weights) = loaded();
    for case in expected()["sharpness"].as_array().unwrap() {
        let measure: SharpnessMeasure = case["measure"].as_str().unwrap().parse().unwrap();
        let radius = case["radius"].as_f64().unwrap();
        let plan = plan(&evaluation, |request| request.sharpness = Some(sharpness(&[measure], &[radius])));
        let records = run(&evaluation, &plan, &weights, 1);
        let found = records.iter().find_map(|record| match record {
            Record::Climb { loss, worst_loss, error_increase, .. } => {
                Some((*loss, *worst_loss, *error_increase))
            }
            _ => None,
        });
        let (loss, worst_loss, error_increase) = found.expect("a record of an ascent");
        let number = |key: &str| case[key].as_f64().unwrap();
        let what = format!("{measure} {radius}");
        assert_near(&what, loss, number("loss"), 1e-5);
        let tolerance = match measure {
            SharpnessMeasure::WorstAdaptiveLinf => 1e-2,
            SharpnessMeasure::WorstAdaptiveL2 => 1e-3,
            // An ascent from a flat place amplifies rounding: PyTorch in float32 differs from float64 by up to 1e-3 here.
            SharpnessMeasure::WorstL2 if radius > 0.4 => 2e-3,
            // Differences of losses in f32 have an error of about 1e-7 of the loss.
            _ => 1e-4 + 1e-6 * number("loss") / (number("worst_loss") - number("loss")),
        };
        assert_near(&what, worst_loss - loss, number("worst_loss") - number("loss"), tolerance);
        // One sample near the border may fall to the other side.
        assert!(
            (error_increase - number("error_increase")).abs() <= 1.01 / 120.0,
            "{what}: {error_increase}"
        );
    }
}

/// The Hessian by automatic differentiation, row-major.
fn hessian() -> Vec<f64> {
    let bytes = std::fs::read(folder().join("hessian.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let (values, _) = file.tensor("hessian").unwrap().data().as_chunks::<4>();
    values.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
}

#[test]
fn curvature_is_that_of_pytorch() {
    let (evaluation, weights) = loaded();
    let plan = plan(&evaluation, |request| {
        request.hessian = Some(Hessian { eigenvalues: 5, iterations: 60, probes: 8, samples: 120 });
    });
    let (hessian, n) = (hessian(), weights.parameters.len());
    let mut checked = 0;
    for record in run(&evaluation, &plan, &weights, 2) {
        match record {
            Record::Eigenvalues { half, eigenvalues, .. } => {
                let known = expected()["eigenvalues"].as_array().unwrap().clone();
                for (place, (found, known)) in eigenvalues.iter().zip(&known).enumerate() {
                    let tolerance = if place == 0 { 0.01 } else { 0.05 };
                    let what = format!("eigenvalue {place}, half {half}");
                    assert_near(&what, *found, known.as_f64().unwrap(), tolerance);
                    checked += 1;
                }
            }
            Record::Trace { probe, value } => {
                let vector = rademacher(5, probe, n);
                let image =
                    |row: usize| (0..n).map(|column| hessian[row * n + column] * vector[column]).sum::<f64>();
                let exact: f64 = (0..n).map(|row| vector[row] * image(row)).sum();
                assert_near(&format!("probe {probe}"), value, exact, 0.01);
                checked += 1;
            }
            _ => {}
        }
    }
    assert_eq!(checked, 18);
}

#[test]
fn no_noise_and_no_radius_change_nothing() {
    let (evaluation, weights) = loaded();
    let plan = plan(&evaluation, |request| {
        let noise = |kind| {
            let statistics = vec![BatchStatistics::Frozen];
            Noise { kind, levels: vec![0.0], draws: 7, statistics }
        };
        request.noise =
            [NoiseKind::Multiplicative, NoiseKind::RelativeMax, NoiseKind::Additive].map(noise).to_vec();
        request.sharpness = Some(sharpness(SharpnessMeasure::ALL, &[0.1]));
    });
    // A radius of 0 is refused when it is asked for; here it shows that the measures have no error of their own.
    let mut still = plan.clone();
    for unit in &mut still.units {
        if let Unit::Climb { radius, .. } | Unit::Average { radius, .. } = unit {
            *radius = 0.0;
        }
    }
    let records = run(&evaluation, &still, &weights, 2);
    let Record::Scores(scores) = &records[0] else { panic!("{:?}", records[0]) };
    let mut start = f64::NAN;
    for record in &records {
        match record {
            Record::Noise { loss, accuracy, draw, .. } => {
                assert_eq!((*accuracy, *draw), (scores.accuracy, 0));
                assert!((loss - scores.loss).abs() < 1e-12);
            }
            Record::Start { loss, .. } => start = *loss,
            Record::Climb { loss, worst_loss, error_increase, .. } => {
                assert_eq!((worst_loss - loss, *error_increase), (0.0, 0.0), "{record:?}");
            }
            Record::Average { loss, .. } => assert_eq!(*loss, start, "{record:?}"),
            _ => {}
        }
    }
}

#[test]
fn small_noise_grows_with_the_curvature() {
    let (evaluation, weights) = loaded();
    let (hessian, n) = (hessian(), weights.parameters.len());
    let sigma = 0.02;
    // Multiplicative noise on the weights of the layers: E[L] − L = σ²/2 Σ w² H_ww; on all parameters alike, for
    // `average_l2`: ρ²/2 tr H.
    let noisy: Vec<usize> = (evaluation.layout().parameter_entries())
        .filter(|entry| is_noisy(&entry.spec))
        .flat_map(|entry| entry.range.clone())
        .collect();
    let curvature: f64 =
        noisy.iter().map(|&i| f64::from(weights.parameters[i]).powi(2) * hessian[i * n + i]).sum();
    let trace: f64 = (0..n).map(|i| hessian[i * n + i]).sum();
    let mut request = Request::plain(5);
    request.split = EvaluatedSplit::Train;
    let statistics = vec![BatchStatistics::Frozen];
    request.noise =
        vec![Noise { kind: NoiseKind::Multiplicative, levels: vec![sigma], draws: 2000, statistics }];
    request.sharpness =
        Some(Sharpness { draws: 2000, ..sharpness(&[SharpnessMeasure::AverageL2], &[sigma]) });
    let plan = Plan::new(request, evaluation.sizes(EvaluatedSplit::Train));
    let records = run(&evaluation, &plan, &weights, 2);
    let Record::Scores(scores) = &records[0] else { panic!("{:?}", records[0]) };
    for (what, expected) in [("noise", curvature), ("average", trace)] {
        let of = |record: &Record| match record {
            Record::Noise { loss, .. } if what == "noise" => Some(loss - scores.loss),
            Record::Average { loss, .. } if what == "average" => Some(loss - scores.loss),
            _ => None,
        };
        let spread = Spread::of(&records.iter().filter_map(of).collect::<Vec<_>>()).unwrap();
        let error = spread.std.unwrap() / (spread.n as f64).sqrt();
        let expected = sigma * sigma / 2.0 * expected;
        assert!(
            (spread.mean - expected).abs() < 3.0 * error + 0.05 * expected,
            "{what}: {spread:?} {expected}"
        );
    }
}

#[test]
fn a_draw_of_noise_is_the_model_with_these_weights() {
    let (evaluation, weights) = loaded();
    let plan_of = |change: &dyn Fn(&mut Request)| plan(&evaluation, |request| change(request));
    let noisy = plan_of(&|request| {
        let statistics = vec![BatchStatistics::Frozen];
        request.noise = vec![Noise { kind: NoiseKind::RelativeMax, levels: vec![0.1], draws: 3, statistics }];
    });
    let records = run(&evaluation, &noisy, &weights, 1);
    let draw = NoiseDraw { seed: 5, draw: 2 };
    let parameters = perturb(NoiseKind::RelativeMax, 0.1, evaluation.layout(), &weights.parameters, draw);
    let moved = ModelState { parameters, ..weights };
    let alone = run(&evaluation, &plan_of(&|_| {}), &moved, 1);
    let (Record::Noise { accuracy, loss, .. }, Record::Scores(scores)) = (&records[3], &alone[0]) else {
        panic!("{records:?} {alone:?}")
    };
    assert_eq!(*accuracy, scores.accuracy);
    assert!((loss - scores.loss).abs() < 1e-12);
}

fn everything(request: &mut Request) {
    let statistics = vec![BatchStatistics::Frozen];
    request.noise =
        vec![Noise { kind: NoiseKind::Multiplicative, levels: vec![0.0, 0.2], draws: 4, statistics }];
    let measures =
        [SharpnessMeasure::WorstL2, SharpnessMeasure::WorstAdaptiveLinf, SharpnessMeasure::AverageL2];
    request.sharpness =
        Some(Sharpness { batch: 50, draws: 3, steps: 5, ..sharpness(&measures, &[0.05, 0.1]) });
    request.hessian = Some(Hessian { eigenvalues: 2, iterations: 5, probes: 3, samples: 60 });
}

#[test]
fn the_records_do_not_depend_on_threads_or_on_what_is_known() {
    let (evaluation, weights) = loaded();
    let plan = plan(&evaluation, everything);
    let text = |records: &[Record]| serde_json::to_string(records).unwrap();
    let one = run(&evaluation, &plan, &weights, 1);
    for threads in [2, 3, 64] {
        assert_eq!(text(&run(&evaluation, &plan, &weights, threads)), text(&one), "{threads} threads");
    }
    // As after an interruption: some records are there, as they were written.
    let written = |unit: usize| serde_json::from_str(&serde_json::to_string(&one[unit]).unwrap()).unwrap();
    let known: Known = (0..plan.units.len()).step_by(2).map(|unit| ((0, unit), written(unit))).collect();
    let mut computed = 0;
    let all = evaluation.run(&plan, &[weights], known, 2, |_, unit, _| {
        assert_eq!(unit % 2, 1, "unit {unit} was known");
        computed += 1;
        Ok::<_, PrepareError>(())
    });
    assert_eq!(text(&all.unwrap()[0]), text(&one));
    assert_eq!(computed, plan.units.len() / 2);
}

#[test]
fn an_error_ends_the_run_and_names_what_failed() {
    let (evaluation, weights) = loaded();
    let plan = plan(&evaluation, everything);
    let short = ModelState { parameters: FlatBuffer::zeros(3), ..weights };
    let none = |_: usize, _: usize, _: &Record| Ok::<_, PrepareError>(());
    let error = evaluation.run(&plan, &[short], Known::new(), 2, none).unwrap_err().to_string();
    assert!(error.contains("parameters: 3 elements, expected 146"), "{error}");
}

#[test]
fn an_ascent_takes_the_gradients_that_are_announced() {
    assert_eq!(WorstCase::cost(SharpnessMeasure::OneStep, 20), (1, 1));
    assert_eq!(WorstCase::cost(SharpnessMeasure::WorstL2, 20), (20, 1));
}

#[test]
fn predictions_are_those_of_the_scores() {
    let (evaluation, weights) = loaded();
    let records = run(&evaluation, &plan(&evaluation, |_| {}), &weights, 1);
    let Record::Scores(scores) = &records[0] else { panic!("{:?}", records[0]) };
    let mut predictions = Vec::new();
    evaluation
        .predict(&weights, EvaluatedSplit::Test, 2, |prediction| {
            predictions.push(prediction);
            Ok::<_, PrepareError>(())
        })
        .unwrap();
    let correct = predictions.iter().filter(|found| found.class == Some(found.target)).count();
    assert_eq!(correct as f64 / predictions.len() as f64, scores.accuracy);
    for (number, prediction) in predictions.iter().enumerate() {
        assert_eq!(prediction.sample, number as u64);
        assert!((prediction.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}

#[test]
fn running_statistics_of_the_same_weights_come_back() {
    // A model whose running statistics were computed from the batches is not changed by computing them again.
    let job = "name = \"norm\"\nseed = 4\n[model]\nkind = \"sequential\"\nlayers = [\n\
               { kind = \"flatten\" }, { kind = \"linear\", out_features = 8 }, { kind = \"batch_norm\" }, { kind = \"relu\" }, { kind = \"linear\" }]\n\
               [data]\nkind = \"digits\"\n[train]\nsteps = 1\nbatch_size = 64\nshards = 2\n[optimizer]\nmethod = \"sgd\"\n";
    let spec = parse_toml(job).unwrap().validate().unwrap();
    let backend =
        Arc::new(CandleBackend::new(Registry::builtin(), DataEnvironment::local(folder(), 1 << 30)));
    let evaluation = Evaluation::load(backend, &spec).unwrap();
    let measuring = evaluation.measuring(1).unwrap();
    let lengths = measuring.layout().lengths();
    let weights = ModelState {
        parameters: (0..lengths.parameters)
            .map(|i| ((i * 7 % 13) as f32 - 6.0) / 10.0)
            .collect::<Vec<_>>()
            .into(),
        statistics: vec![1.0; lengths.statistics].into(),
    };
    let plan = plan(&evaluation, |request| {
        let statistics = vec![BatchStatistics::Frozen, BatchStatistics::Recalibrated];
        request.noise = vec![Noise { kind: NoiseKind::Additive, levels: vec![0.0], draws: 1, statistics }];
    });
    let anew = evaluation.recalibrated(&plan, weights.clone(), 2).unwrap();
    assert_eq!(anew.parameters, weights.parameters);
    assert_ne!(anew.statistics, weights.statistics);
    let records = run(&evaluation, &plan, &anew, 2);
    let losses: Vec<f64> = records
        .iter()
        .filter_map(|record| match record {
            Record::Noise { loss, .. } => Some(*loss),
            _ => None,
        })
        .collect();
    assert_eq!(losses[0], losses[1]);
}
