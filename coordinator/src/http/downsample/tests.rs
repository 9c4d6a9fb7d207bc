use super::Downsampler;

fn downsampled(count: usize, most: usize) -> Vec<usize> {
    let mut downsample = Downsampler::new(most);
    (1..=count).for_each(|item| downsample.push(item));
    assert!(downsample.kept.len() <= 2 * most, "no more is held than is left");
    downsample.into_items()
}

#[test]
fn few_stay_as_they_are() {
    assert_eq!(downsampled(3, 3), [1, 2, 3]);
    assert_eq!(downsampled(0, 3), [0; 0]);
}

#[test]
fn of_many_the_first_the_last_and_every_so_many_are_left() {
    for count in [7, 20, 21, 22, 1000, 1001, 100_000] {
        let left = downsampled(count, 10);
        assert_eq!((left[0], left[left.len() - 1]), (1, count));
        assert!((7..=21).contains(&left.len()), "{count}: {}", left.len());
        assert!(left.windows(2).all(|pair| pair[0] < pair[1]), "{left:?}");
    }
}
