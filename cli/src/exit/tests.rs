use super::*;

#[test]
fn codes_are_the_documented_ones() {
    let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 130, 141]);
}

#[test]
fn table_names_every_code_once() {
    let table = Exit::table();
    for exit in Exit::ALL {
        let start = format!("  {:>3}  ", exit.code());
        assert_eq!(table.lines().filter(|line| line.starts_with(&start)).count(), 1, "{exit:?}");
    }
}
