// Tests of allocation: what is in it, how much there is, and what is found of accesses outside it, before or after it.
#include "test.h"

using namespace test;

namespace {

CUdeviceptr allocate(CUstream stream, size_t bytes) {
    CUdeviceptr address;
    OK(cuMemAllocAsync(&address, bytes, stream));
    return address;
}

constexpr size_t mib = 1 << 20;

}  // namespace

TEST(new_memory_is_nan) {
    use_device();
    for (float number : from_device(empty_on_device(100), 100)) EXPECT(std::isnan(number));
}

TEST(out_of_memory_is_an_answer_and_breaks_nothing, {"EMULATED_GPU_MEMORY", "1048576"}) {
    use_device();
    CUdeviceptr address;
    EXPECT_RESULT(cuMemAlloc(&address, 2 * mib), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cuMemAlloc(&address, mib));
    EXPECT_RESULT(cuMemAllocAsync(&address, 1, new_stream()), CUDA_ERROR_OUT_OF_MEMORY);
    size_t free, total;
    OK(cuMemGetInfo(&free, &total));
    EXPECT(free == 0 && total == mib);
}

TEST(queued_frees_count_when_memory_is_short, {"EMULATED_GPU_MEMORY", "1048576"}) {
    use_device();
    const CUstream stream = new_stream();
    for (int round = 0; round < 4; ++round) OK(cuMemFreeAsync(allocate(stream, mib), stream));
}

TEST(pool_says_how_much_was_in_use_at_most) {
    use_device();
    const CUstream stream = new_stream();
    CUmemoryPool pool;
    OK(cuDeviceGetDefaultMemPool(&pool, 0));
    for (int round = 0; round < 2; ++round) {
        const CUdeviceptr address = allocate(stream, mib);
        OK(cuMemFreeAsync(address, stream));
        OK(cuStreamSynchronize(stream));
        uint64_t most = 0, zero = 0;
        OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &most));
        EXPECT(most == mib);
        OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &zero));
    }
}

TEST(allocation_fault_comes_at_its_number, {"EMULATED_GPU_FAULT", "alloc:2=2"}) {
    use_device();
    CUdeviceptr address;
    OK(cuMemAlloc(&address, 16));
    EXPECT_RESULT(cuMemAlloc(&address, 16), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cuMemAlloc(&address, 16));
}

TEST(memory_of_another_stream_is_not_there_before_a_wait) {
    use_device();
    const CUstream first = new_stream(), second = new_stream();
    OK(cuMemsetD8Async(allocate(first, 64), 0, 64, second));
    EXPECT_RESULT(cuStreamSynchronize(second), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(memory_is_gone_after_its_free) {
    use_device();
    const CUstream stream = new_stream();
    const CUdeviceptr address = allocate(stream, 64);
    OK(cuMemFreeAsync(address, stream));
    OK(cuMemsetD8Async(address, 0, 64, stream));
    EXPECT_RESULT(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(second_free_is_refused) {
    use_device();
    const CUstream stream = new_stream();
    const CUdeviceptr address = allocate(stream, 64);
    OK(cuMemFreeAsync(address, stream));
    EXPECT_RESULT(cuMemFreeAsync(address, stream), CUDA_ERROR_INVALID_VALUE);
}

TEST(copy_beyond_the_end_breaks_the_context) {
    use_device();
    const CUdeviceptr address = empty_on_device(4);
    float numbers[5] = {};
    EXPECT_RESULT(cuMemcpyHtoD(address, numbers, sizeof numbers), CUDA_ERROR_ILLEGAL_ADDRESS);
    CUdeviceptr other;
    EXPECT_RESULT(cuMemAlloc(&other, 16), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(context_works_again_after_it_was_made_anew) {
    use_device();
    const CUdeviceptr address = empty_on_device(4);
    EXPECT_RESULT(cuMemsetD8(address, 0, 17), CUDA_SUCCESS);
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuDevicePrimaryCtxRelease(0));
    use_device();
    EXPECT(from_device(on_device({1.0f}), 1)[0] == 1.0f);
}

TEST(kernel_that_writes_far_away_is_stopped) {
    use_device();
    OK(launch("test_write_at", 1, 1, new_stream(), empty_on_device(4), 100000LL));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(kernel_that_writes_through_a_freed_pointer_in_memory_is_stopped) {
    use_device();
    const CUdeviceptr target = empty_on_device(4), table = empty_on_device(2);
    OK(cuMemcpyHtoD(table, &target, sizeof target));
    OK(cuMemFree(target));
    OK(launch("test_through_table", 1, 1, new_stream(), table));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(kernel_with_a_freed_parameter_is_stopped) {
    use_device();
    const CUdeviceptr target = empty_on_device(4);
    OK(cuMemFree(target));
    OK(launch("test_write_at", 1, 1, new_stream(), target, 0LL));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(kernel_that_writes_one_number_too_many_is_stopped) {
    use_device();
    OK(launch("test_write_at", 1, 1, new_stream(), empty_on_device(4), 4LL));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(kernel_that_writes_to_the_host_s_memory_is_stopped) {
    use_device();
    float here = 0.0f;
    const CUdeviceptr target = reinterpret_cast<CUdeviceptr>(&here), table = empty_on_device(2);
    OK(cuMemcpyHtoD(table, &target, sizeof target));
    OK(launch("test_through_table", 1, 1, new_stream(), table));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_DIES(host_s_write_behind_an_allocation_is_found_at_its_end, "4 bytes behind an allocation of 16 bytes") {
    use_device();
    const CUdeviceptr address = empty_on_device(4);
    reinterpret_cast<float*>(address)[5] = 1.0f;
    cuMemFree(address);
}

TEST_DIES(host_s_write_before_an_allocation_is_found_at_the_context_s_end, "bytes before an allocation") {
    use_device();
    reinterpret_cast<float*>(empty_on_device(4))[-1] = 1.0f;
    cuDevicePrimaryCtxRelease(0);
}

TEST(misaligned_access_is_stopped) {
    use_device();
    OK(launch("test_write_misaligned", 1, 1, new_stream(), empty_on_device(4)));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_MISALIGNED_ADDRESS);
}

TEST(kernels_reach_other_devices_with_access_only, {"EMULATED_GPUS", "2"}) {
    const CUcontext first = use_device(0);
    const CUdeviceptr there = on_device({1.0f});
    use_device(1);
    const CUdeviceptr here = empty_on_device(1);
    OK(cuCtxEnablePeerAccess(first, 0));
    OK(launch("test_double_f32", 1, 1, new_stream(), there, here, 1));
    EXPECT(from_device(here, 1)[0] == 2.0f);
    OK(cuCtxDisablePeerAccess(first));
    OK(launch("test_double_f32", 1, 1, new_stream(), there, here, 1));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST(peer_copy_needs_no_access, {"EMULATED_GPUS", "2"}) {
    const CUcontext first = use_device(0);
    const CUdeviceptr there = on_device({3.0f});
    const CUcontext second = use_device(1);
    const CUdeviceptr here = empty_on_device(1);
    OK(cuMemcpyPeerAsync(here, second, there, first, sizeof(float), new_stream()));
    EXPECT(from_device(here, 1)[0] == 3.0f);
}
