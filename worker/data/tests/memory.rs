//! How much memory loading takes in addition to the samples. Alone in its process: the allocator counts for all
//! threads.

#![allow(clippy::unwrap_used, reason = "a test may end by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use lookbehind_data::{DataEnvironment, parquet};
use lookbehind_data_fixtures::{images, parquet_file};
use serde_json::Map;

static IN_USE: AtomicU64 = AtomicU64::new(0);
static PEAK: AtomicU64 = AtomicU64::new(0);

/// Counts the bytes in use and their maximum.
struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe to implement; every call goes to the system's")]
// SAFETY: every call is forwarded unchanged, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = layout.size() as u64;
        let now = IN_USE.fetch_add(size, Ordering::Relaxed) + size;
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's guarantee is forwarded.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's guarantee is forwarded.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn images_are_decoded_to_where_they_stay() {
    const IMAGES: usize = 100;
    const SIDE: usize = 128;
    let folder = tempfile::tempdir().unwrap();
    let image = images::png(SIDE, SIDE, 3, &[7; SIDE * SIDE * 3]);
    let rows = vec![(Some(image), Some(0)); IMAGES];
    let path = folder.path().join("train.parquet");
    let compression = ::parquet::basic::Compression::SNAPPY;
    parquet_file::write(&path, parquet_file::HUB, compression, IMAGES, &rows);
    let environment = DataEnvironment::local(folder.path().to_owned(), 1 << 30);
    let parameters = Map::from_iter([("train".to_owned(), "train.parquet".into())]);
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().unwrap();

    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let data = parquet(&parameters, &environment).unwrap();
    let taken = PEAK.load(Ordering::Relaxed) - before;
    assert_eq!(data.description().train_samples, IMAGES as u64);
    let kept = (IMAGES * SIDE * SIDE * 3) as u64;
    assert!(taken >= kept && taken < kept + kept / 2, "{taken} bytes for {kept}");
}
