use lookbehind_common::job::{Library, Naming};
use lookbehind_common::layout::TensorSpec;
use safetensors::tensor::Dtype;

use super::*;

fn layout(tensors: &[(&str, &[usize])]) -> Layout {
    let spec = |(name, shape): &(&str, &[usize])| TensorSpec {
        name: (*name).to_owned(),
        shape: shape.to_vec(),
        kind: match name.contains("running") {
            true => TensorKind::RunningStatistic,
            false => TensorKind::Parameter,
        },
    };
    Layout::new(tensors.iter().map(spec)).unwrap()
}

/// A body with a normalisation, and a head of three classes.
fn small() -> Layout {
    layout(&[("body.weight", &[2]), ("bn.running_mean", &[1]), ("head.weight", &[3, 1]), ("head.bias", &[3])])
}

/// A file whose values count from 1 on, with the given names and shapes.
fn file(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    file_of(tensors, Dtype::F32, |value| f32::to_le_bytes(value).to_vec())
}

fn file_of(tensors: &[(&str, &[usize])], dtype: Dtype, bytes: impl Fn(f32) -> Vec<u8>) -> Vec<u8> {
    let mut next = 0.0;
    let mut value = || {
        next += 1.0;
        bytes(next)
    };
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape)| (0..shape.iter().product::<usize>()).flat_map(|_| value()).collect())
        .collect();
    let views = tensors.iter().zip(&data);
    let views =
        views.map(|((name, shape), data)| (*name, TensorView::new(dtype, shape.to_vec(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// Imports for a model whose initial values are all 0.5.
fn imported(bytes: &[u8], from: &ImportedFile, layout: &Layout) -> Result<ModelState<FlatBuffer>, String> {
    imported_as("mlp", bytes, from, layout)
}

fn imported_as(
    kind: &str,
    bytes: &[u8],
    from: &ImportedFile,
    layout: &Layout,
) -> Result<ModelState<FlatBuffer>, String> {
    let initial = layout.lengths().map(|length| FlatBuffer::from(vec![0.5; length]));
    let file =
        import(bytes, from, Wanted { kind, layout, initial: &initial }).map_err(|error| error.to_string())?;
    Ok(model_file::read(&file, layout).unwrap())
}

const BODY: [(&str, &[usize]); 2] = [("body.weight", &[2]), ("bn.running_mean", &[1])];
const HEAD: [(&str, &[usize]); 2] = [("head.weight", &[3, 1]), ("head.bias", &[3])];

fn fresh(modules: &[&str]) -> ImportedFile {
    ImportedFile {
        fresh: modules.iter().map(|module| (*module).to_owned()).collect(),
        ..ImportedFile::default()
    }
}

#[test]
fn a_fresh_head_is_drawn_whatever_the_file_has_in_its_place() {
    let other: [(&str, &[usize]); 2] = [("head.weight", &[1000, 1]), ("head.bias", &[1000])];
    for head in [&HEAD[..], &other[..], &[]] {
        let found = imported(&file(&[&BODY, head].concat()), &fresh(&["head"]), &small()).unwrap();
        assert_eq!(found.parameters[..], [1.0, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(found.statistics[..], [3.0]);
    }
    let error = imported(&file(&[BODY, HEAD].concat()), &fresh(&["hea"]), &small()).unwrap_err();
    assert!(
        error.starts_with("fresh: no tensor belongs to \"hea\"; there are \"bn.running_mean\""),
        "{error}"
    );
}

#[test]
fn whatever_else_is_missing_misshapen_or_left_over_is_refused_by_name() {
    let none = ImportedFile::default();
    let refused = |tensors: &[(&str, &[usize])]| imported(&file(tensors), &none, &small()).unwrap_err();
    let missing = refused(&BODY);
    let expected =
        "tensor \"head.weight\" of the model: missing; the file has \"bn.running_mean\", \"body.weight\"";
    assert_eq!(missing, expected);
    let misshapen = refused(&[&BODY[..], &[("head.weight", &[5, 1]), ("head.bias", &[5])]].concat());
    let expected = "tensor \"head.weight\": expected shape [3, 1], found [5, 1]; fresh = [\"head\"] in model.init draws \
                    the module from the seed";
    assert_eq!(misshapen, expected);
    let all = [&BODY[..], &HEAD[..], &[("pooler.weight", &[1])]].concat();
    let left_over = refused(&all);
    assert!(
        left_over.starts_with("tensor \"pooler.weight\": the model has no \"pooler.weight\""),
        "{left_over}"
    );
    let dropped = ImportedFile { drop: vec!["pooler".to_owned()], ..none };
    assert_eq!(imported(&file(&all), &dropped, &small()).unwrap().parameters[..2], [1.0, 2.0]);
}

#[test]
fn a_prefix_is_named_with_the_key_that_takes_it_off() {
    let names: Vec<String> =
        [BODY, HEAD].concat().iter().map(|(name, _)| format!("module.net.{name}")).collect();
    let tensors: Vec<_> =
        names.iter().zip([BODY, HEAD].concat()).map(|(name, (_, shape))| (name.as_str(), shape)).collect();
    let error = imported(&file(&tensors), &ImportedFile::default(), &small()).unwrap_err();
    let expected = "; with strip_prefix = \"module.net.\" in model.init, all names are there";
    assert!(error.ends_with(expected), "{error}");
    let stripped = ImportedFile { strip_prefix: "module.net.".to_owned(), ..ImportedFile::default() };
    assert_eq!(imported(&file(&tensors), &stripped, &small()).unwrap().statistics[..], [3.0]);
    let other = ImportedFile { strip_prefix: "model.".to_owned(), ..ImportedFile::default() };
    let error = imported(&file(&tensors), &other, &small()).unwrap_err();
    assert!(
        error.starts_with("strip_prefix: no tensor belongs to \"model.\"; there are \"module.net."),
        "{error}"
    );
}

#[test]
fn a_librarys_names_are_recognised_behind_a_prefix() {
    let model = layout(&[("conv1.weight", &[1, 1, 1, 1]), ("linear.weight", &[2, 1]), ("linear.bias", &[2])]);
    let tensors: [(&str, &[usize]); 3] =
        [("module.conv1.weight", &[1, 1, 1, 1]), ("module.fc.weight", &[2, 1]), ("module.fc.bias", &[2])];
    let error = imported_as("resnet", &file(&tensors), &ImportedFile::default(), &model).unwrap_err();
    let expected = "; with strip_prefix = \"module.\", names = \"timm\" in model.init, all names are there";
    assert!(error.ends_with(expected), "{error}");
    let naming = Some(Naming::Library(Library::Timm));
    let from = ImportedFile { strip_prefix: "module.".to_owned(), names: naming, ..ImportedFile::default() };
    assert_eq!(
        imported_as("resnet", &file(&tensors), &from, &model).unwrap().parameters[..],
        [1.0, 2.0, 3.0, 4.0, 5.0]
    );
    let error = imported_as("mlp", &file(&tensors), &from, &model).unwrap_err();
    assert!(error.contains("\"timm\" has no names for model kind \"mlp\""), "{error}");
}

#[test]
fn parts_of_names_are_replaced_between_dots_and_the_longest_run_counts() {
    let table = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
        ImportedFile { names: Some(Naming::Replaced(pairs.collect())), ..ImportedFile::default() }
    };
    let tensors: [(&str, &[usize]); 4] = [
        ("net.backbone.weight", &[2]),
        ("net.norm.running_mean", &[1]),
        ("net.fc.weight", &[3, 1]),
        ("net.fc.bias", &[3]),
    ];
    let from = table(&[("net", ""), ("net.backbone", "body"), ("norm", "bn"), ("fc", "head")]);
    assert_eq!(imported(&file(&tensors), &from, &small()).unwrap().parameters[0], 1.0);
    let idle = table(&[("net", ""), ("net.backbone", "body"), ("norm", "bn"), ("fc", "head"), ("f", "x")]);
    let error = imported(&file(&tensors), &idle, &small()).unwrap_err();
    assert!(error.starts_with("names: no tensor belongs to \"f\""), "{error}");
    let twice = table(&[("net", ""), ("backbone", "body"), ("norm", "bn"), ("fc", "body")]);
    let error = imported(&file(&tensors), &twice, &small()).unwrap_err();
    assert!(
        error.contains("\"net.backbone.weight\" and \"net.fc.weight\": both would become \"body.weight\""),
        "{error}"
    );
}

#[test]
fn missing_running_statistics_start_as_in_a_new_model_if_the_job_says_so() {
    let tensors = [&BODY[..1], &HEAD].concat();
    let error = imported(&file(&tensors), &ImportedFile::default(), &small()).unwrap_err();
    assert!(error.starts_with("tensor \"bn.running_mean\" of the model: missing"), "{error}");
    let from = ImportedFile { missing_statistics: MissingStatistics::Initial, ..ImportedFile::default() };
    assert_eq!(imported(&file(&tensors), &from, &small()).unwrap().statistics[..], [0.5]);
}

#[test]
fn halves_and_doubles_become_singles_and_nothing_else_does() {
    let model = layout(&[("weight", &[3])]);
    let tensors: [(&str, &[usize]); 1] = [("weight", &[3])];
    let from = ImportedFile::default();
    let third = |value: f32| f64::from(value) / 3.0;
    for (dtype, bytes, expected) in [
        (Dtype::F16, (|value| half::f16::from_f32(value).to_le_bytes().to_vec()) as fn(f32) -> Vec<u8>, 1.0),
        (Dtype::BF16, |value| half::bf16::from_f32(value).to_le_bytes().to_vec(), 1.0),
        (Dtype::F64, |value| (f64::from(value) / 3.0).to_le_bytes().to_vec(), third(1.0) as f32),
    ] {
        let found = imported(&file_of(&tensors, dtype, bytes), &from, &model).unwrap();
        assert_eq!(found.parameters[0], expected, "{dtype:?}");
    }
    let integers = file_of(&tensors, Dtype::I32, |value| (value as i32).to_le_bytes().to_vec());
    let error = imported(&integers, &from, &model).unwrap_err();
    assert_eq!(error, "tensor \"weight\": expected F32, F16, BF16 or F64, found I32");
    let huge = file_of(&tensors, Dtype::F64, |value| (f64::from(value) * 1e308).to_le_bytes().to_vec());
    let error = imported(&huge, &from, &model).unwrap_err();
    assert_eq!(error, "tensor \"weight\": number 0 is not finite as f32");
}

#[test]
fn position_embeddings_of_another_size_need_a_word_in_the_job() {
    let model = layout(&[("cls_token", &[1, 1, 2]), ("pos_embed", &[1, 5, 2])]);
    let tensors: [(&str, &[usize]); 2] = [("cls_token", &[1, 1, 2]), ("pos_embed", &[1, 10, 2])];
    let error = imported(&file(&tensors), &ImportedFile::default(), &model).unwrap_err();
    assert!(
        error.ends_with("positions = \"resample\" in model.init fits them to the model's patches"),
        "{error}"
    );
    let from = ImportedFile { positions: Positions::Resample, ..ImportedFile::default() };
    let found = imported(&file(&tensors), &from, &model).unwrap();
    // The class token's position is kept.
    assert_eq!(found.parameters[2..4], [3.0, 4.0]);
    let tensors: [(&str, &[usize]); 2] = [("cls_token", &[1, 1, 2]), ("pos_embed", &[1, 9, 2])];
    let error = imported(&file(&tensors), &from, &model).unwrap_err();
    assert!(error.starts_with("positions: expected [1, 1 + a square of patches, 2]"), "{error}");
}

#[test]
fn an_archive_of_torch_save_is_recognised() {
    let error = imported(b"PK\x03\x04archive", &ImportedFile::default(), &small()).unwrap_err();
    assert!(error.contains("found an archive such as torch.save writes"), "{error}");
}
