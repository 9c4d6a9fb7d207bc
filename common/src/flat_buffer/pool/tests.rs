use super::*;

fn address(flat_buffer: &FlatBuffer) -> *const f32 {
    flat_buffer.as_ptr()
}

#[test]
fn a_dropped_flat_buffer_lends_its_memory_to_the_next_one_of_its_length() {
    let pool = FlatBufferPool::new(2);
    let first = pool.lend(1000);
    let place = address(&first);
    drop(first);
    let (other, same) = (pool.lend(999), pool.lend(1000));
    assert_eq!((other.len(), same.len()), (999, 1000));
    assert_eq!(address(&same), place);
}

#[test]
fn flat_buffers_in_use_share_no_memory() {
    let pool = FlatBufferPool::new(2);
    let (mut first, second) = (pool.lend(10), pool.lend(10));
    first.fill(1.0);
    assert_eq!(&second[..], [0.0; 10]);
}

#[test]
fn no_more_is_kept_than_allowed_and_other_lengths_go_first() {
    let pool = FlatBufferPool::new(2);
    drop([pool.lend(10), pool.lend(20), pool.lend(30)]);
    let lengths =
        |pool: &FlatBufferPool| pool.0.idle.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(&pool).len(), 2);
    drop([pool.lend(40), pool.lend(40), pool.lend(40)]);
    assert_eq!(lengths(&pool), [40, 40]);
}

#[test]
fn a_clone_stands_for_itself_and_equals_its_original() {
    let pool = FlatBufferPool::new(1);
    let mut lent = pool.lend(3);
    lent.copy_from_slice(&[1.0, 2.0, 3.0]);
    let copy = lent.clone();
    assert_eq!(copy, lent);
    drop(lent);
    pool.lend(3).fill(9.0);
    assert_eq!(&copy[..], [1.0, 2.0, 3.0]);
}

#[test]
fn an_flat_buffer_may_outlive_its_pool() {
    let pool = FlatBufferPool::new(1);
    let lent = pool.lend(3);
    drop(pool);
    assert_eq!(lent.len(), 3);
}
