use super::*;

#[test]
fn rows_are_found_in_whichever_block_they_are() {
    // Blocks of three rows, and the last one partly filled.
    let size = BLOCK / 3;
    let mut blocks = Blocks::<u8>::new(size);
    for row in 0..4 {
        blocks.push(vec![row; size]);
    }
    for (place, row) in blocks.add(6).into_iter().enumerate() {
        assert!(row.len() == size && row.iter().all(|&element| element == 0));
        row.fill(place as u8 + 4);
    }
    blocks.push(vec![10; size]);
    assert_eq!(blocks.len(), 11);
    assert_eq!(
        blocks.slices().map(<[u8]>::len).collect::<Vec<_>>(),
        [3 * size, 3 * size, 3 * size, 2 * size]
    );
    for row in 0..11 {
        assert_eq!(blocks.get(row), Some(vec![row as u8; size].as_slice()));
    }
    assert_eq!(blocks.get(11), None);
}

#[test]
fn rows_in_one_piece_stay_in_one_piece() {
    let samples = Samples::of(Rows { inputs: vec![1.0_f32, 2.0, 3.0, 4.0], targets: vec![5, 3] }, 2);
    assert_eq!((samples.inputs.len(), samples.classes()), (2, 6));
    assert_eq!(samples.inputs.get(1), Some([3.0, 4.0].as_slice()));
    assert_eq!(samples.inputs.get(2), None);
    assert_eq!(samples.inputs.slices().count(), 1);
}

#[test]
fn without_samples_there_are_no_classes() {
    assert_eq!(Samples::<f32>::new(3).classes(), 0);
    assert_eq!(Samples::<f32>::of(Rows::default(), 3).inputs.len(), 0);
}
