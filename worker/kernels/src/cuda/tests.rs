//! Refusals and waits of memory and kernels, on the GPU of the tests: a real or an emulated one.

use cudarc::driver::CudaSlice;
use lookbehind_common::job::Precision;
use lookbehind_common::target::Target;

use super::*;

#[allow(unsafe_code, reason = "a device without events for every tensor")]
fn gpu() -> Gpu {
    // SAFETY: its memory is used by this crate alone, whose types wait for the device's stream.
    Gpu::new(unsafe { open(0) }.unwrap()).unwrap()
}

fn pinned(elements: &[f32], gpu: &Gpu) -> Pinned<f32> {
    let mut pinned = Pinned::zeros(gpu.context(), elements.len()).unwrap();
    pinned.write(elements).unwrap();
    pinned
}

fn on_gpu(elements: &[f32], gpu: &Gpu) -> CudaSlice<f32> {
    gpu.upload(&mut pinned(elements, gpu), elements.len()).unwrap()
}

fn fetched(slice: &CudaSlice<f32>, gpu: &Gpu) -> Vec<f32> {
    let mut pinned = Pinned::zeros(gpu.context(), slice.len()).unwrap();
    pinned.download(slice, 0, slice.len()).unwrap();
    pinned.read().unwrap().to_vec()
}

fn refused<T>(result: candle_core::Result<T>, why: &str) {
    let error = result.err().unwrap().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn what_does_not_fit_into_pinned_memory_is_refused() {
    let gpu = gpu();
    let (mut four, mut two) = (pinned(&[1.0; 4], &gpu), pinned(&[2.0; 2], &gpu));
    let there = gpu.upload(&mut four, 4).unwrap();
    refused(four.write(&[0.0; 5]), "5 elements for pinned memory, expected at most 4");
    refused(gpu.upload(&mut four, 5), "5 elements for pinned memory, expected at most 4");
    refused(two.download(&there, 0, 3), "3 elements for pinned memory, expected at most 2");
    refused(four.download(&there, 2, 3), "elements 2 to 2 + 3, expected at most 4");
    assert_eq!(four.read().unwrap(), [1.0; 4]);
    assert_eq!(two.read().unwrap(), [2.0; 2]);
}

#[test]
fn pinned_memory_is_read_and_written_only_when_no_copy_is_on_its_way() {
    let gpu = gpu();
    let mut host = pinned(&[1.0, 2.0], &gpu);
    let first = gpu.upload(&mut host, 2).unwrap();
    host.write(&[3.0, 4.0]).unwrap();
    let second = gpu.upload(&mut host, 2).unwrap();
    host.download(&first, 0, 2).unwrap();
    assert_eq!(host.read().unwrap(), [1.0, 2.0]);
    assert_eq!(fetched(&second, &gpu), [3.0, 4.0]);
}

#[test]
fn a_landing_is_written_behind_what_reads_it_and_read_behind_what_writes_it() {
    let gpu = gpu();
    let mut landing = Landing::<f32>::new(3, &gpu).unwrap();
    let taken: Vec<CudaSlice<f32>> = [1.0, 2.0, 3.0]
        .map(|number| {
            landing.fill(0, &mut pinned(&[number; 3], &gpu), 3).unwrap();
            landing.take(&gpu, |arrived| kernels::relu(&gpu, View::from(arrived), 3)).unwrap()
        })
        .into();
    let taken: Vec<Vec<f32>> = taken.iter().map(|slice| fetched(slice, &gpu)).collect();
    assert_eq!(taken, [[1.0; 3], [2.0; 3], [3.0; 3]]);
    refused(landing.fill(2, &mut pinned(&[0.0; 2], &gpu), 2), "elements 2 to 2 + 2, expected at most 3");
}

#[test]
fn a_kernel_refuses_memory_that_ends_before_what_it_touches() {
    let gpu = gpu();
    let (three, mut four) = (on_gpu(&[1.0; 3], &gpu), on_gpu(&[1.0; 4], &gpu));
    refused(kernels::relu(&gpu, View::from(&three), 4), "3 elements, expected 4");
    refused(kernels::add(&gpu, &mut four, View::from(&three), 4), "3 elements, expected 4");
    refused(kernels::taps_first::<f32>(&gpu, View::from(&four), 4, 3, 1), "taps_first: expected");
    let huge = kernels::softmax(&gpu, &mut four, usize::MAX / 2, 1.0, 3);
    refused(huge, "too large for memory");
    assert_eq!(fetched(&kernels::relu(&gpu, View::from(&three), 3).unwrap(), &gpu), [1.0; 3]);
}

#[test]
fn values_are_rounded_to_bf16_in_place_and_the_rest_is_left_alone() {
    let gpu = gpu();
    let exact = 1.0 + f32::EPSILON;
    // Ties go to the even neighbour; small values keep their bits, and too large ones become infinite.
    let values = [exact, -exact, 1.0 + 2_f32.powi(-8), 1.0 + 3.0 * 2_f32.powi(-8), 1e-40, f32::MAX, exact];
    let mut buffer = on_gpu(&values, &gpu);
    crate::cuda::round_to_bf16(&gpu, &mut buffer, values.len() - 1).unwrap();
    let mut expected = values.map(|value| half::bf16::from_f32(value).to_f32());
    expected[6] = exact;
    assert_eq!(fetched(&buffer, &gpu), expected);
    refused(crate::cuda::round_to_bf16(&gpu, &mut buffer, 8), "7 elements, expected 8");
}

#[test]
fn a_kernel_refuses_memory_that_goes_back_in_the_order_of_another_stream() {
    let (gpu, other) = (gpu(), gpu());
    let elsewhere = on_gpu(&[1.0; 3], &other);
    refused(kernels::relu(&gpu, View::from(&elsewhere), 3), "memory of another stream");
}

#[test]
fn a_product_refuses_operands_that_end_too_early() {
    let gpu = gpu();
    let (six, five) = (on_gpu(&[1.0; 6], &gpu), on_gpu(&[1.0; 5], &gpu));
    let product = |rhs| Gemm {
        rows: 2,
        columns: 2,
        depth: 3,
        count: 1,
        lhs: Matrix::new(View::from(&six), 3),
        rhs: Matrix::new(rhs, 2),
    };
    refused(gpu.gemm(Precision::F32, &product(View::from(&five))), "5 elements, expected 6");
    let good = gpu.gemm(Precision::F32, &product(View::from(&six))).unwrap();
    assert_eq!(fetched(&good, &gpu), [3.0; 4]);
    let mut small = on_gpu(&[0.0; 3], &gpu);
    let place = Place { first: 0, row: 2, batch: 4 };
    let into = gpu.gemm_into(Precision::F32, &product(View::from(&six)), &mut small, place);
    refused(into, "3 elements, expected 4");
}

#[test]
fn a_target_of_a_class_that_logits_do_not_have_is_refused() {
    let gpu = gpu();
    let logits = on_gpu(&[0.0; 6], &gpu);
    let targets = [1, 3].map(|class| Target { class, mixed: None });
    let targets = TargetStaging::new().upload(&targets, &gpu).unwrap();
    let losses = gpu.cross_entropy(View::from(&logits), &targets, 3, 0.0, 2.0);
    refused(losses, "a target of class 3, expected less than 3");
}

#[test]
fn segments_fill_a_flat_buffer_and_a_gap_is_refused() {
    let gpu = gpu();
    let mut first = Segment::new(vec![2, 1], 0, &gpu).unwrap();
    let mut second = Segment::new(vec![3], 3, &gpu).unwrap();
    let tensor = |elements: &[f32]| Some(tensor(on_gpu(elements, &gpu), elements.len(), &gpu));
    let (pair, triple) = (tensor(&[1.0, 2.0]), tensor(&[3.0, 4.0, 5.0]));
    let mut segments =
        [(&mut first, vec![pair.clone(), None], 1.0), (&mut second, vec![triple.clone()], 2.0)];
    let flat = gather(&mut segments, &gpu).unwrap();
    assert_eq!(fetched(&flat, &gpu), [1.0, 2.0, 0.0, 6.0, 8.0, 10.0]);
    refused(gather(&mut segments[1..], &gpu), "a segment from element 3 on, expected 0");
    let mut wrong = [(&mut first, vec![triple, None], 1.0)];
    wrong[0].1[0] = pair.map(|pair| pair.narrow(0, 0, 1).unwrap());
    refused(gather(&mut wrong, &gpu), "1 elements, expected 2");
}
