//! Tests of flat buffers that have readers.

use super::*;

fn flat_buffer(values: [f32; 2]) -> Arc<FlatBuffer> {
    Arc::new(values.to_vec().into())
}

fn increment(mut writing: Writing) -> Arc<FlatBuffer> {
    writing.target().load().iter_mut().for_each(|value| *value += 1.0);
    writing.finish()
}

#[test]
fn a_flat_buffer_without_readers_is_rewritten_in_place() {
    let mut pool = Pool::default();
    let old = flat_buffer([1.0, 2.0]);
    let place = old.as_ptr();
    let new = increment(pool.rewrite(old));
    assert_eq!(new[..], [2.0, 3.0]);
    assert_eq!(new.as_ptr(), place);
}

#[test]
fn a_flat_buffer_with_a_reader_is_not_touched() {
    let mut pool = Pool::default();
    let old = flat_buffer([1.0, 2.0]);
    let reader = Arc::clone(&old);
    let new = increment(pool.rewrite(old));
    assert_eq!((&new[..], &reader[..]), (&[2.0, 3.0][..], &[1.0, 2.0][..]));
}

#[test]
fn an_flat_buffer_is_taken_again_once_its_reader_is_done() {
    let mut pool = Pool::default();
    let old = flat_buffer([1.0, 2.0]);
    let (reader, place) = (Arc::clone(&old), old.as_ptr());
    let second = increment(pool.rewrite(old));
    let third = increment(pool.derive(&second));
    assert_ne!(third.as_ptr(), place);
    drop(reader);
    let fourth = increment(pool.derive(&third));
    assert_eq!((fourth.as_ptr(), &fourth[..]), (place, &[4.0, 5.0][..]));
}

#[test]
fn a_pool_keeps_a_bounded_number_of_flat_buffers() {
    let mut pool = Pool::default();
    let readers: Vec<_> = (0..20).map(|_| flat_buffer([0.0; 2])).collect();
    readers.iter().for_each(|reader| pool.retire(Arc::clone(reader)));
    assert_eq!(readers.iter().filter(|reader| Arc::strong_count(reader) > 1).count(), MAX_RETIRED);
}
