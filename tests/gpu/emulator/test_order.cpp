// Tests of what runs when: streams, events, the default stream, and what the host may touch meanwhile.
#include "test.h"

#include <atomic>
#include <thread>

using namespace test;

namespace {

const std::vector<float> ones(64, 1.0f), twos(64, 2.0f);
constexpr size_t bytes = 64 * sizeof(float);

/// A doubles `from` into `middle`, B doubles that into `to`; `join` may make B wait for A.
std::vector<float> doubled_twice(void (*join)(CUstream first, CUstream second)) {
    use_device();
    const CUstream first = new_stream(), second = new_stream();
    const CUdeviceptr from = on_device(ones), middle = empty_on_device(64), to = empty_on_device(64);
    OK(launch("test_double_f32", 1, 64, first, from, middle, 64));
    join(first, second);
    OK(launch("test_double_f32", 1, 64, second, middle, to, 64));
    OK(cuStreamSynchronize(second));
    std::vector<float> found(64);
    OK(cuMemcpyDtoHAsync(found.data(), to, bytes, second));
    OK(cuStreamSynchronize(second));
    return found;
}

void without_wait(CUstream, CUstream) {}

void with_wait(CUstream first, CUstream second) {
    const CUevent event = new_event();
    OK(cuEventRecord(event, first));
    OK(cuStreamWaitEvent(second, event, 0));
    OK(cuEventDestroy(event));
}

float* pinned(float value) {
    void* start;
    OK(cuMemHostAlloc(&start, bytes, 0));
    float* numbers = static_cast<float*>(start);
    std::fill_n(numbers, 64, value);
    return numbers;
}

}  // namespace

TEST(missing_wait_gives_wrong_numbers) { EXPECT(std::isnan(doubled_twice(without_wait)[0])); }

TEST(wait_gives_right_numbers) { EXPECT(doubled_twice(with_wait)[0] == 4.0f); }

TEST(eager_order_hides_the_missing_wait, {"EMULATED_GPU_ORDER", "eager"}) {
    EXPECT(doubled_twice(without_wait)[0] == 4.0f);
}

TEST(wait_is_for_the_recording_that_it_saw) {
    use_device();
    const CUstream first = new_stream(), second = new_stream();
    const CUdeviceptr place = on_device(ones);
    const CUevent event = new_event();
    OK(cuEventRecord(event, first));
    OK(cuStreamWaitEvent(second, event, 0));
    OK(cuMemcpyHtoDAsync(place, twos.data(), bytes, first));
    OK(cuEventRecord(event, first));
    std::vector<float> found(64);
    OK(cuMemcpyDtoHAsync(found.data(), place, bytes, second));
    OK(cuStreamSynchronize(second));
    EXPECT(found == ones);
}

TEST(pinned_buffer_that_is_overwritten_too_early_shows) {
    use_device();
    const CUstream stream = new_stream();
    const CUdeviceptr to = empty_on_device(64);
    float* buffer = pinned(1.0f);
    OK(cuMemcpyHtoDAsync(to, buffer, bytes, stream));
    buffer[0] = 9.0f;
    EXPECT(from_device(to, 64)[0] == 9.0f);
}

TEST(registered_buffer_is_read_when_the_copy_runs) {
    use_device();
    const CUdeviceptr to = empty_on_device(64);
    std::vector<float> buffer = ones;
    OK(cuMemHostRegister(buffer.data(), bytes, 0));
    OK(cuMemcpyHtoDAsync(to, buffer.data(), bytes, new_stream()));
    buffer[0] = 9.0f;
    EXPECT(from_device(to, 64)[0] == 9.0f);
}

TEST(pageable_buffer_is_read_when_the_copy_is_issued) {
    use_device();
    const CUdeviceptr to = empty_on_device(64);
    std::vector<float> buffer = ones;
    OK(cuMemcpyHtoDAsync(to, buffer.data(), bytes, new_stream()));
    buffer[0] = 9.0f;
    EXPECT(from_device(to, 64)[0] == 1.0f);
}

TEST(pinned_buffer_that_is_freed_too_early_is_found) {
    use_device();
    const CUdeviceptr to = empty_on_device(64);
    float* buffer = pinned(1.0f);
    OK(cuMemcpyHtoDAsync(to, buffer, bytes, new_stream()));
    OK(cuMemFreeHost(buffer));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(copy_to_pinned_memory_comes_with_the_synchronisation) {
    use_device();
    const CUstream stream = new_stream();
    const CUdeviceptr from = on_device(ones);
    const float* found = pinned(0.0f);
    OK(cuMemcpyDtoHAsync(const_cast<float*>(found), from, bytes, stream));
    EXPECT(found[0] == 0.0f);
    OK(cuStreamSynchronize(stream));
    EXPECT(found[0] == 1.0f);
}

TEST(copy_to_pageable_memory_is_over_when_the_call_returns) {
    use_device();
    const CUdeviceptr from = on_device(ones);
    std::vector<float> found(64);
    OK(cuMemcpyDtoHAsync(found.data(), from, bytes, new_stream()));
    EXPECT(found == ones);
}

TEST(default_stream_waits_for_blocking_streams_and_they_for_it) {
    use_device();
    CUstream blocking;
    OK(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    const CUdeviceptr place = on_device(ones), middle = empty_on_device(64), to = empty_on_device(64);
    OK(launch("test_double_f32", 1, 64, blocking, place, middle, 64));
    OK(launch("test_double_f32", 1, 64, CUstream{nullptr}, middle, to, 64));
    OK(launch("test_double_f32", 1, 64, CU_STREAM_PER_THREAD, to, place, 64));
    OK(cuStreamSynchronize(CU_STREAM_PER_THREAD));
    EXPECT(from_device(place, 64)[0] == 8.0f);
}

TEST(synchronous_copy_does_not_wait_for_a_non_blocking_stream) {
    use_device();
    const CUdeviceptr place = on_device(ones);
    OK(cuMemcpyHtoDAsync(place, twos.data(), bytes, new_stream()));
    std::vector<float> found(64);
    OK(cuMemcpyDtoH(found.data(), place, bytes));
    EXPECT(found == ones);
}

TEST(polling_comes_to_an_end) {
    use_device();
    const CUstream stream = new_stream();
    const CUdeviceptr place = on_device(ones);
    const CUevent event = new_event();
    OK(launch("test_double_f32", 1, 64, stream, place, place, 64));
    OK(cuEventRecord(event, stream));
    EXPECT_RESULT(cuEventQuery(event), CUDA_ERROR_NOT_READY);
    while (cuEventQuery(event) == CUDA_ERROR_NOT_READY) {}
    EXPECT(from_device(place, 64)[0] == 2.0f);
}

TEST(time_between_events_is_measured) {
    use_device();
    const CUstream stream = new_stream();
    const CUevent start = new_event(), end = new_event();
    OK(cuEventRecord(start, stream));
    OK(cuLaunchHostFunc(stream, [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }, nullptr));
    OK(cuEventRecord(end, stream));
    float milliseconds = 0.0f;
    EXPECT_RESULT(cuEventElapsedTime(&milliseconds, start, end), CUDA_ERROR_NOT_READY);
    OK(cuEventSynchronize(end));
    OK(cuEventElapsedTime(&milliseconds, start, end));
    EXPECT(milliseconds >= 5.0f);
}

TEST(launch_fault_breaks_the_context_from_there, {"EMULATED_GPU_FAULT", "launch:2=719"}) {
    use_device();
    const CUstream stream = new_stream();
    const CUdeviceptr place = on_device(ones);
    OK(launch("test_double_f32", 1, 64, stream, place, place, 64));
    OK(cuStreamSynchronize(stream));
    OK(launch("test_double_f32", 1, 64, stream, place, place, 64));
    EXPECT_RESULT(cuStreamSynchronize(stream), CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_RESULT(cuMemFree(place), CUDA_ERROR_LAUNCH_FAILED);
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
}

TEST(fault_is_on_its_device_only, {"EMULATED_GPUS", "2"}, {"EMULATED_GPU_FAULT", "launch:1=999@1"}) {
    use_device(0);
    const CUdeviceptr place = on_device(ones);
    OK(launch("test_double_f32", 1, 64, new_stream(), place, place, 64));
    OK(cuCtxSynchronize());
    CUcontext context = use_device(1);
    const CUdeviceptr other = on_device(ones);
    OK(launch("test_double_f32", 1, 64, new_stream(), other, other, 64));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_UNKNOWN);
    OK(cuDevicePrimaryCtxRelease(1));
    EXPECT_RESULT(cuDevicePrimaryCtxRetain(&context, 1), CUDA_ERROR_UNKNOWN);
}

TEST(threads_drive_devices_side_by_side, {"EMULATED_GPUS", "2"}) {
    std::atomic<int> right{0};
    const auto drive = [&](int ordinal) {
        use_device(ordinal);
        const CUstream stream = new_stream();
        for (int round = 0; round < 50; ++round) {
            const CUdeviceptr place = on_device(ones);
            OK(launch("test_double_f32", 1, 64, stream, place, place, 64));
            right += from_device(place, 64) == twos;
            OK(cuMemFree(place));
        }
    };
    std::thread first(drive, 0), second(drive, 1);
    first.join();
    second.join();
    EXPECT(right == 100);
}

TEST(no_devices_is_an_error_at_the_start, {"EMULATED_GPUS", "0"}) { EXPECT_RESULT(cuInit(0), CUDA_ERROR_NO_DEVICE); }

TEST_DIES(setting_that_is_not_understood_ends_the_process, "is not lazy or eager", {"EMULATED_GPU_ORDER", "later"}) {
    cuInit(0);
}
