//! Descriptions of the machine for people: `workers` shows them, and the message about a refused compute class compares
//! them.

use std::fs;

use lookbehind_common::BUILD_VERSION;
use lookbehind_common::job::Precision;
use lookbehind_common::text::counted;

/// Processor, its features, threads and build.
pub(super) fn describe() -> String {
    let threads = candle_core::utils::get_num_threads();
    format!("{}, {}, {}", processor(), counted(threads as u64, "thread"), build())
}

/// What results may depend on. The kernels of this program give the same bytes whatever the threads and the caches; but
/// a user's own model may multiply matrices with the operations of the tensor library, which choose the order of their
/// additions by the sizes of the caches.
pub(super) fn describe_class(precision: Precision) -> String {
    let caches: Vec<String> = (0..8).filter_map(cache_size).collect();
    let caches = if caches.is_empty() { "unknown".to_owned() } else { caches.join("/") };
    format!("{}, caches {caches}, {}, precision {precision:?}", processor(), build())
}

fn build() -> String {
    format!("lookbehind {BUILD_VERSION} with candle")
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let features = features();
    if features.is_empty() { format!("CPU {name}") } else { format!("CPU {name} ({})", features.join(" ")) }
}

fn cache_size(index: u32) -> Option<String> {
    let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
    fs::read_to_string(path).ok().map(|size| size.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let known = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    known.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}
