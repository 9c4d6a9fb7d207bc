use super::*;

fn loads(shares: &[Share], device_threads: usize) -> Vec<u32> {
    let of = |device_thread| {
        shares.iter().filter(|share| share.device_thread == device_thread).map(|share| share.part.len()).sum()
    };
    (0..device_threads).map(of).collect()
}

#[test]
fn parts_are_segments_of_the_tree_side_by_side() {
    for shards in 1..70 {
        for device_threads in 1..9 {
            let segment = Segment::root(shards);
            let shares = divide(segment, device_threads);
            assert_eq!(shares.first().map(|share| share.part.first), Some(0));
            assert_eq!(shares.last().map(|share| share.part.end), Some(shards));
            assert!(shares.windows(2).all(|pair| pair[0].part.end == pair[1].part.first), "{shares:?}");
            assert!(
                shares.iter().all(|share| Segment::maximal_within(share.part, shards) == [share.part]
                    && share.device_thread < device_threads),
                "{shares:?}"
            );
        }
    }
}

#[test]
fn each_gpu_gets_a_run_of_parts() {
    let shares = divide(Segment { first: 8, end: 24 }, 3);
    assert!(shares.windows(2).all(|pair| pair[0].device_thread <= pair[1].device_thread), "{shares:?}");
}

#[test]
fn one_gpu_gets_the_segment_whole() {
    let segment = Segment::root(13);
    assert_eq!(divide(segment, 1), [Share { part: segment, device_thread: 0 }]);
}

#[test]
fn gpus_get_about_the_same_number_of_shards() {
    assert_eq!(loads(&divide(Segment::root(8), 2), 2), [4, 4]);
    assert_eq!(loads(&divide(Segment::root(8), 3), 3), [3, 2, 3]);
    assert_eq!(loads(&divide(Segment::root(64), 8), 8), [8; 8]);
    for device_threads in 1..9 {
        let loads = loads(&divide(Segment::root(48), device_threads), device_threads);
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(most - least <= 4, "{device_threads} GPUs: {loads:?}");
    }
}
