use super::*;

/// The beginning of a batch as Python 2 wrote it: a dictionary, then the keys.
fn python2(label: &str, data: &[u8], rows: u16) -> Vec<u8> {
    let mut bytes = b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x03oneq\x03".to_vec();
    bytes.extend([b'U', label.len() as u8]);
    bytes.extend(label.as_bytes());
    bytes.extend(b"q\x04]q\x05(K\x06K\x09e");
    bytes.extend(b"U\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09(");
    bytes.extend(b"K\x01M");
    bytes.extend(rows.to_le_bytes());
    bytes.extend(b"K\x03\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes.extend(b"tbU\x09filenamesq\x0c]q\x0dU\x05a.pngaU\x01xK\x01u.");
    bytes
}

#[test]
fn a_batch_has_its_labels_and_its_rows_of_bytes() {
    let bytes = python2("labels", &[1, 2, 3, 4, 5, 6], 2);
    assert!(is_pickle(&bytes));
    let pickle = Pickle::read(&bytes).unwrap();
    assert_eq!(pickle.numbers("labels").unwrap(), [6, 9]);
    let array = pickle.array("data").unwrap();
    assert_eq!((array.row, array.bytes), (3, &[1, 2, 3, 4, 5, 6][..]));
}

#[test]
fn the_array_of_newer_protocols_is_one_as_well() {
    // As Python 3 with NumPy writes it in protocol 5.
    let mut bytes = b"\x80\x05\x95\x00\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x04data\x94\x8c\x12numpy.core.numeric\x94\x8c\x0b_frombuffer\x94\x93\x94(\x96".to_vec();
    bytes.extend(4_u64.to_le_bytes());
    bytes.extend(b"\x09\x08\x07\x06\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02u1\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94bK\x02K\x02\x86\x94\x8c\x01C\x94t\x94R\x94s.");
    let pickle = Pickle::read(&bytes).unwrap();
    let array = pickle.array("data").unwrap();
    assert_eq!((array.row, array.bytes), (2, &[9, 8, 7, 6][..]));
}

#[test]
fn what_a_batch_does_not_have_is_refused_and_named() {
    let whole = python2("labels", &[1, 2, 3, 4, 5, 6], 2);
    let error = |bytes: &[u8], find: fn(&Pickle<'_>) -> Result<(), String>| {
        Pickle::read(bytes).and_then(|pickle| find(&pickle)).unwrap_err()
    };
    let any = |pickle: &Pickle<'_>| pickle.array("data").map(drop);
    let fine = |pickle: &Pickle<'_>| pickle.numbers("fine_labels").map(drop);
    assert!(
        error(&whole, fine)
            .contains("it has no \"fine_labels\"; there are \"batch_label\", \"labels\", \"data\"")
    );
    assert!(error(&whole[..40], any).contains("truncated"));
    assert!(error(&python2("labels", &[1; 5], 2), any).contains("another length"));
    // A call of a function: it is read, and is no array.
    let called = b"\x80\x02}(U\x04datacos\nsystem\nU\x02ls\x85Ru.";
    assert!(error(called, any).contains("found something else"));
    assert!(error(b"\x80\x02cos\nsystem\n.", any).contains("no dictionary"));
    assert!(error(b"\x80\x02P1\n.", any).contains("byte 2: the opcode 0x50"));
    assert!(error(b"\x80\x02.", any).contains("a value is missing"));
    assert!(error(&[b"\x80\x02".as_slice(), &[b'('; MAX_VALUES + 2]].concat(), any).contains("more than"));
}

#[test]
fn any_cut_or_changed_byte_ends_in_an_error_or_in_values() {
    let whole = python2("labels", &[1, 2, 3, 4, 5, 6], 2);
    for place in 0..whole.len() {
        let _cut = Pickle::read(&whole[..place]).map(drop);
        for value in [0, b'(', b'.', b'R', b'b', b'e', b'h', 0xff] {
            let mut changed = whole.clone();
            changed[place] = value;
            if let Ok(pickle) = Pickle::read(&changed) {
                let _labels = pickle.numbers("labels");
                let _rows = pickle.array("data");
            }
        }
    }
}
