use super::*;
use crate::test_support::data_folder;

fn dialect(decimal: char) -> Dialect {
    Dialect { delimiter: Delimiter::Found, quote: b'"', decimal, thousands: None }
}

fn read(bytes: &[u8], dialect: &Dialect) -> Result<(u8, String), DataError> {
    let (folder, environment) = data_folder();
    std::fs::write(folder.path().join("t.csv"), bytes).unwrap();
    let file = Source::find(&environment, "t.csv", "data.train")?;
    let loading = Loading::new(&environment);
    let Text { mut reader, delimiter } = Text::open(&file, dialect, &loading)?;
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(|error| file.error(crate::FileProblem::Io(error)))?;
    Ok((delimiter, text))
}

#[test]
fn the_delimiter_is_the_one_that_the_first_line_has_most_of() {
    for (line, expected) in [
        ("a,b,label", b','),
        ("a;b;label", b';'),
        ("a\tb\tlabel", b'\t'),
        ("a|b|label", b'|'),
        ("\"a;b;c;d\",e,label", b','),
        ("\u{feff}a;b", b';'),
        ("alone", b','),
        ("", b','),
    ] {
        assert_eq!(read(line.as_bytes(), &dialect('.')).unwrap().0, expected, "{line}");
    }
    assert_eq!(read(b"1,5;2,5;0", &dialect(',')).unwrap().0, b';');
}

#[test]
fn a_line_of_a_spreadsheet_names_the_delimiter() {
    assert_eq!(read(b"sep=;\na;b\n", &dialect('.')).unwrap(), (b';', "\na;b\n".to_owned()));
}

#[test]
fn runs_of_whitespace_are_one_delimiter() {
    let (delimiter, text) = read(b"  a   b  label\n 1.5 2   0  \n", &dialect('.')).unwrap();
    assert_eq!((delimiter, text.as_str()), (b'\t', "a\tb\tlabel\n1.5\t2\t0\n"));
    let given = Dialect { delimiter: Delimiter::Whitespace, ..dialect('.') };
    assert_eq!(read(b"a \t b\t\n1\t \"2 3\"", &given).unwrap().1, "a\tb\n1\t\"2 3\"");
}

#[test]
fn utf_16_is_read_in_both_orders() {
    let text = "ä,😀,label\r\n1,2,0\r\n".repeat(5000);
    for unit in [u16::to_le_bytes, u16::to_be_bytes] {
        let marked = format!("\u{feff}{text}");
        let bytes: Vec<u8> = marked.encode_utf16().flat_map(unit).collect();
        assert_eq!(read(&bytes, &dialect('.')).unwrap(), (b',', text.clone()));
        let odd = read(&bytes[..bytes.len() - 1], &dialect('.')).unwrap_err().to_string();
        assert!(odd.starts_with("data file \"t.csv\": cannot be read"), "{odd}");
    }
    let alone = read(&[0xff, 0xfe, 0x00, 0xd8, b'a', 0], &dialect('.')).unwrap_err().to_string();
    assert!(alone.contains("its beginning says UTF-16, and it is none"), "{alone}");
}
