//! Tables as text: delimiters, ends of lines, encodings, compressions, headers and labels.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::check;
use crate::{Sample, data_folder};

const ROWS: [([&str; 2], usize); 4] =
    [(["1.5", "-2"], 0), (["0.25", "4e0"], 2), (["-3", "+0.5"], 1), (["1000", "0"], 2)];
const VALUES: [[f32; 2]; 4] = [[1.5, -2.0], [0.25, 4.0], [-3.0, 0.5], [1000.0, 0.0]];
const LABELS: [[&str; 3]; 4] =
    [["0", "1", "2"], ["0.0", "1.0", "2.0"], ["ant", "bee", "cat"], ["\"a, b\"", "\"b; c\"", "\"c|d\te\""]];

fn encoded(text: &str, encoding: &str) -> Vec<u8> {
    match encoding {
        "plain" => text.as_bytes().to_vec(),
        "mark" => [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
        "utf-16" => [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect(),
        _ => [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect(),
    }
}

fn packed(bytes: Vec<u8>, compression: &str) -> Vec<u8> {
    match compression {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zstandard" => zstd::encode_all(bytes.as_slice(), 1).unwrap(),
        _ => bytes,
    }
}

#[test]
fn every_variant_of_a_text_gives_the_same_samples() {
    let expected: Vec<Sample> =
        VALUES.iter().zip(ROWS).map(|(inputs, (_, class))| (inputs.to_vec(), class as u32)).collect();
    let (folder, environment) = data_folder();
    let mut variants = 0;
    for delimiter in [",", ";", "\t", "|"] {
        for end in ["\n", "\r\n", "\r"] {
            for labels in LABELS {
                for header in [true, false] {
                    let mut lines =
                        if header { vec![["a", "b", "label"].join(delimiter)] } else { Vec::new() };
                    lines.extend(ROWS.map(|([a, b], class)| [a, b, labels[class]].join(delimiter)));
                    let text = lines.join(end) + end;
                    for (encoding, compression) in
                        [("plain", "none"), ("mark", "gzip"), ("utf-16", "none"), ("utf-16be", "zstandard")]
                    {
                        fs::write(folder.path().join("train"), packed(encoded(&text, encoding), compression))
                            .unwrap();
                        let parameters = if header {
                            json!({ "train": "train" })
                        } else {
                            json!({ "train": "train", "header": false, "label": 2 })
                        };
                        let variant = format!("{text:?}, {encoding}, {compression}");
                        check("csv", &parameters, &environment, &expected, &variant);
                        variants += 1;
                    }
                }
            }
        }
    }
    assert_eq!(variants, 384);
}
