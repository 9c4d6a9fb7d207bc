use super::*;

#[global_allocator]
static ALLOCATOR: Metered<std::alloc::System> = Metered(std::alloc::System);

#[test]
fn the_peak_is_what_work_has_in_use_at_once() {
    let kept = vec![1_u8; 64 << 20];
    let (sum, peak) = peak_of(|| {
        let first = vec![1_u8; 96 << 20];
        drop(first);
        let second = vec![1_u8; 32 << 20];
        kept.len() + second.len()
    });
    assert_eq!(sum, 96 << 20);
    assert_eq!(peak, 96 << 20);
    assert!(in_use() >= 64 << 20);
}

#[test]
fn a_peak_within_a_peak_counts_towards_both() {
    let (inner, outer) = peak_of(|| {
        drop(vec![1_u8; 48 << 20]);
        let kept = vec![1_u8; 8 << 20];
        let ((), inner) = peak_of(|| drop(vec![1_u8; 16 << 20]));
        drop(kept);
        inner
    });
    assert_eq!((inner, outer), (16 << 20, 48 << 20));
}
