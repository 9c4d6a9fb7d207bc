// Tests of launches: parameters, blocks, barriers, shared memory, modules, and candle's kernels.
#include "test.h"

#include "numbers.h"

using namespace test;

namespace {

struct Pair {
    float factor;
    long long shift;
};

std::vector<float> counted(size_t count) {
    std::vector<float> numbers(count);
    for (size_t i = 0; i < count; ++i) numbers[i] = float(i);
    return numbers;
}

/// One launch of a kernel with one block and one pointer.
std::vector<float> after(const char* kernel, const std::vector<float>& numbers, unsigned blocks, unsigned threads) {
    use_device();
    const CUdeviceptr place = on_device(numbers);
    OK(launch(kernel, blocks, threads, new_stream(), place));
    return from_device(place, numbers.size());
}

CUdeviceptr layout_on_device(const std::vector<size_t>& dims_and_strides) {
    CUdeviceptr address;
    OK(cuMemAlloc(&address, dims_and_strides.size() * sizeof(size_t)));
    OK(cuMemcpyHtoD(address, dims_and_strides.data(), dims_and_strides.size() * sizeof(size_t)));
    return address;
}

}  // namespace

TEST(parameters_are_copied_at_the_launch) {
    use_device();
    const CUdeviceptr to = on_device({0.0f, 0.0f});
    void* address = reinterpret_cast<void*>(to);
    Pair pair{3.0f, 5};
    double term = 0.5;
    unsigned index = 1;
    void* parameters[] = {&address, &pair, &term, &index};
    OK(cuLaunchKernel(kernel("test_parameters"), 1, 1, 1, 1, 1, 1, 0, new_stream(), parameters, nullptr));
    pair.factor = 0.0f;
    index = 0;
    EXPECT(from_device(to, 2) == (std::vector<float>{0.0f, 15.5f}));
}

TEST(block_beyond_the_launch_bound_is_refused) {
    use_device();
    EXPECT_RESULT(launch("test_parameters", 1, 128, new_stream(), empty_on_device(1), Pair{}, 0.0, 0u),
                  CUDA_ERROR_INVALID_VALUE);
}

TEST(barrier_makes_shared_memory_seen) {
    std::vector<float> expected = counted(512);
    std::reverse(expected.begin(), expected.begin() + 256);
    std::reverse(expected.begin() + 256, expected.end());
    EXPECT(after("test_reverse", counted(512), 2, 256) == expected);
}

TEST_DIES(missing_barrier_is_found, "touch the same shared memory") {
    after("test_reverse_without_barrier", counted(256), 1, 256);
}

TEST(blocks_run_last_to_first) { EXPECT(after("test_block_writes", {7.0f}, 4, 1)[0] == 0.0f); }

TEST(eager_blocks_run_first_to_last, {"EMULATED_GPU_ORDER", "eager"}) {
    EXPECT(after("test_block_writes", {7.0f}, 4, 1)[0] == 3.0f);
}

TEST(shared_memory_does_not_last_beyond_a_block) {
    for (float number : after("test_leave_in_shared", counted(4), 4, 2)) EXPECT(std::isnan(number));
}

TEST_DIES(thread_that_ends_while_others_wait_is_found, "test_early_exit, block (0, 0, 0): some threads ended") {
    use_device();
    OK(launch("test_early_exit", 1, 8, new_stream()));
    cuCtxSynchronize();
}

TEST_DIES(barrier_that_few_meet_is_found, "that another one did not meet") {
    use_device();
    OK(launch("test_only_some_wait", 1, 8, new_stream()));
    cuCtxSynchronize();
}

TEST_DIES(threads_at_different_barriers_are_found, "different barriers") {
    use_device();
    OK(launch("test_two_barriers", 1, 8, new_stream()));
    cuCtxSynchronize();
}

TEST(index_beyond_a_shared_array_is_found) {
    use_device();
    OK(launch("test_shared_overrun", 1, 1, new_stream(), empty_on_device(1), 8));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_MISALIGNED_ADDRESS);
}

TEST(function_has_to_be_in_the_module_and_to_have_a_host_version) {
    use_device();
    CUmodule module;
    CUfunction function;
    OK(cuModuleLoadData(&module, ".version 8.0\n.visible .entry test_double_f32_of_old(\n)\n.entry nobody ( )\n"));
    EXPECT_RESULT(cuModuleGetFunction(&function, module, "test_double_f32"), CUDA_ERROR_NOT_FOUND);
    EXPECT_RESULT(cuModuleGetFunction(&function, module, "nobody"), CUDA_ERROR_NOT_FOUND);
    EXPECT_RESULT(cuModuleLoadData(&module, "not a module"), CUDA_ERROR_INVALID_IMAGE);
}

TEST(bf16_rounds_to_nearest_even) {
    EXPECT(emulator::bf16_bits(1.0f) == 0x3F80);
    EXPECT(emulator::bf16_bits(emulator::float_of(0x3F808000)) == 0x3F80);
    EXPECT(emulator::bf16_bits(emulator::float_of(0x3F818000)) == 0x3F82);
    EXPECT(emulator::bf16_bits(emulator::float_of(0x3F808001)) == 0x3F81);
    EXPECT(emulator::bf16_bits(3.4e38f) == 0x7F80);
    EXPECT(emulator::bf16_bits(NAN) == 0x7FFF);
    EXPECT(emulator::tf32(1.0f + std::ldexp(1.0f, -11)) == 1.0f);
}

TEST(kernels_stamped_out_by_a_macro_are_found_for_both_types) {
    use_device();
    const uint16_t three = emulator::bf16_bits(3.0f);
    CUdeviceptr place;
    OK(cuMemAlloc(&place, 4));
    OK(cuMemsetD16(place, three, 2));
    OK(launch("test_double_bf16", 1, 2, CUstream{nullptr}, place, place, 2));
    uint16_t found[2];
    OK(cuMemcpyDtoH(found, place, sizeof found));
    EXPECT(emulator::bf16_value(found[1]) == 6.0f);
}

TEST(candle_s_kernels_follow_strides) {
    use_device();
    const CUstream stream = new_stream();
    const CUdeviceptr from = on_device(counted(6)), to = empty_on_device(6), sums = empty_on_device(3);
    // [2, 3] seen as [3, 2].
    const CUdeviceptr transposed = layout_on_device({3, 2, 1, 3});
    OK(launch("ucopy_f32", 1, 32, stream, size_t{6}, size_t{2}, transposed, from, to));
    EXPECT(from_device(to, 6) == (std::vector<float>{0, 3, 1, 4, 2, 5}));
    const CUdeviceptr both = layout_on_device({3, 2, 1, 3, 0, 1});
    OK(launch("badd_f32", 1, 32, stream, size_t{6}, size_t{2}, both, from, from, to));
    EXPECT(from_device(to, 6) == (std::vector<float>{0, 4, 1, 5, 2, 6}));
    OK(launch("fast_sum_f32", 3, 2, stream, size_t{6}, size_t{2}, size_t{2}, transposed, from, sums));
    EXPECT(from_device(sums, 3) == (std::vector<float>{3, 5, 7}));
    OK(launch("affine_f32", 1, 32, stream, size_t{6}, size_t{1}, CUdeviceptr{0}, from, to, 2.0f, 1.0f));
    EXPECT(from_device(to, 6)[5] == 11.0f);
}
