//! Compares the declarations of the kernels with their sources, on machines with and without a GPU: `cuda` itself is
//! compiled only with its feature.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Collects the declarations for the test: for each source the kernels' names, whether each has two instances, and its
/// arguments as written.
macro_rules! kernels {
    ($($source:ident { $(
        $(#[$meta:meta])*
        $safety:ident fn $name:ident $(<$number:ident>)? ($($arguments:tt)*)
            on $grid:expr $(, if $condition:expr)?;
    )* })*) => {
        pub(super) const DECLARED: &[(&str, &[(&str, bool, &str)])] = &[$((stringify!($source), &[$(
            (stringify!($name), !stringify!($($number)?).is_empty(), stringify!($($arguments)*))
        ),*])),*];
    };
}

mod table {
    include!("cuda/kernels/table.rs");
}

/// The instances of a kernel: suffix and element type.
const INSTANCES: [(&str, &str); 2] = [("_f32", "float"), ("_bf16", "__nv_bfloat16")];

/// A kernel's parameters by its name: type and name of each.
type Signatures = BTreeMap<String, Vec<(String, String)>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda/kernels")
}

/// A Rust type's name in CUDA C++.
fn translated(rust: &str) -> &str {
    match rust {
        "N" => "T",
        "i32" | "Int" | "Flag" | "Code" => "int",
        "i64" | "Long" => "long long",
        "u32" => "unsigned",
        "u64" => "unsigned long long",
        "f32" | "Float" => "float",
        "f64" | "Double" => "double",
        "bf16" => "__nv_bfloat16",
        "DeviceTarget" => "Target",
        same => same,
    }
}

/// The parameters of a declaration, which is given without spaces.
fn declared_parameters(arguments: &str) -> Vec<(String, String)> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in arguments.chars().filter(|c| !c.is_whitespace()) {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    let parameter = |part: &String| {
        let (name, class) = part.split_once(':').unwrap();
        let class = class.split('[').next().unwrap();
        let c = match class.trim_end_matches('>').split_once('<') {
            None => translated(class).to_owned(),
            Some(("In" | "MaybeIn", element)) => format!("const {}*", translated(element)),
            Some((_, element)) => format!("{}*", translated(element)),
        };
        (c, name.to_owned())
    };
    parts.iter().map(parameter).filter(|(c, _)| c != "Extent").collect()
}

fn declared(kernels: &[(&str, bool, &str)]) -> Signatures {
    kernels
        .iter()
        .flat_map(|&(name, two, arguments)| instances(name, two, &declared_parameters(arguments)))
        .collect()
}

/// The instances of a kernel, with `T` replaced by each element type.
fn instances(name: &str, two: bool, parameters: &[(String, String)]) -> Signatures {
    let of = |(suffix, number): (&str, &str)| {
        let replaced = |(c, name): &(String, String)| {
            let words = c.split(' ').map(|word| match word {
                "T" => number.to_owned(),
                "T*" => format!("{number}*"),
                other => other.to_owned(),
            });
            (words.collect::<Vec<_>>().join(" "), name.clone())
        };
        (format!("{name}{suffix}"), parameters.iter().map(replaced).collect())
    };
    if two { INSTANCES.into_iter().map(of).collect() } else { BTreeMap::from([of(("", "T"))]) }
}

/// CUDA C++ source with single spaces, without comments and continued lines.
fn plain(source: &str) -> String {
    let without =
        source.lines().map(|line| line.split("//").next().unwrap().trim_end().trim_end_matches('\\'));
    without.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The kernels that a source defines.
fn defined(source: &str) -> Signatures {
    let source = plain(source);
    let mut signatures = Signatures::new();
    for kernel in source.split("extern \"C\" __global__ void ").skip(1) {
        let (name, rest) = kernel.split_once('(').unwrap();
        let parameters = rest.split(')').next().unwrap().split(", ").map(|parameter| {
            let (c, name) = parameter.rsplit_once(' ').unwrap();
            (c.to_owned(), name.to_owned())
        });
        let (name, two) = name.strip_suffix("_##KIND").map_or((name, false), |name| (name, true));
        signatures.extend(instances(name, two, &parameters.collect::<Vec<_>>()));
    }
    signatures
}

#[test]
fn every_kernel_is_declared_as_its_source_defines_it() {
    let mut sources = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cu") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            sources.insert(name, defined(&fs::read_to_string(path).unwrap()));
        }
    }
    let declared: BTreeMap<String, Signatures> =
        table::DECLARED.iter().map(|(source, kernels)| ((*source).to_owned(), declared(kernels))).collect();
    assert_eq!(declared, sources);
}

/// The fields of a Rust structure: type and name of each.
fn fields(source: &str, name: &str) -> Vec<(String, String)> {
    let source = plain(source);
    let (_, rest) = source.split_once(&format!("struct {name} {{")).unwrap();
    let field = |field: &str| {
        let (name, rust) = field.split_once(": ").unwrap();
        (translated(rust).to_owned(), name.rsplit(' ').next().unwrap().to_owned())
    };
    let fields = rest.split('}').next().unwrap().split(',').map(str::trim);
    fields.filter(|text| !text.is_empty()).map(field).collect()
}

/// The fields of a CUDA C++ structure.
fn members(source: &str, name: &str) -> Vec<(String, String)> {
    let source = plain(source);
    let (_, rest) = source.split_once(&format!("struct {name} {{")).unwrap();
    let members = rest.split('}').next().unwrap().split(';').map(str::trim);
    let of_one_type = |text: &str| {
        let (first, more) = text.split_once(',').map_or((text, ""), |(first, more)| (first, more));
        let (c, name) = first.rsplit_once(' ').unwrap();
        let names = std::iter::once(name).chain(more.split(',')).map(str::trim);
        let member = |name: &str| (c.to_owned(), name.to_owned());
        names.filter(|name| !name.is_empty()).map(member).collect::<Vec<_>>()
    };
    members.filter(|text| !text.is_empty()).flat_map(of_one_type).collect()
}

#[test]
fn structures_have_the_same_fields_on_both_sides() {
    let read = |name: &str| fs::read_to_string(folder().join(name)).unwrap();
    for (rust, ours, cuda, theirs) in [
        ("../flat.rs", "Piece", "flat_buffer.cu", "Piece"),
        ("../targets.rs", "DeviceTarget", "softmax.cu", "Target"),
        ("argument.rs", "PoolWindows", "pool.cu", "Windows"),
    ] {
        assert_eq!(fields(&read(rust), ours), members(&read(cuda), theirs), "{ours}");
    }
}
