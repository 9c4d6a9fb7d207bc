// Kernels for the emulator's own tests: a few right ones, and one for each mistake that has to be found.

#define FOR_BOTH(T, KIND)                                                                                              \
    extern "C" __global__ void test_double_##KIND(const T* from, T* to, int len) {                                     \
        int i = blockIdx.x * blockDim.x + threadIdx.x;                                                                 \
        if (i < len) to[i] = T(2.0f * float(from[i]));                                                                 \
    }

FOR_BOTH(float, f32)
FOR_BOTH(__nv_bfloat16, bf16)

struct Pair {
    float factor;
    long long shift;
};

/// Parameters of several sizes, one of them a structure.
extern "C" __global__ void __launch_bounds__(64) test_parameters(float* to, Pair pair, double term, unsigned index) {
    to[index] = pair.factor * float(pair.shift) + float(term);
}

template <int N>
__device__ float reversed(float value) {
    __shared__ float values[N];
    values[threadIdx.x] = value;
    __syncthreads();
    return values[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void test_reverse(float* numbers) {
    float* mine = numbers + blockIdx.x * blockDim.x + threadIdx.x;
    *mine = reversed<256>(*mine);
}

extern "C" __global__ void test_reverse_without_barrier(float* numbers) {
    __shared__ float values[256];
    values[threadIdx.x] = numbers[threadIdx.x];
    numbers[threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

/// The last block to write wins; which one that is depends on the order of the blocks.
extern "C" __global__ void test_block_writes(float* to) { to[0] = blockIdx.x; }

extern "C" __global__ void test_leave_in_shared(float* to) {
    __shared__ float left[1];
    __syncthreads();
    to[blockIdx.x] = left[0];
    __syncthreads();
    if (threadIdx.x == 0) left[0] = 1.0f;
}

extern "C" __global__ void test_early_exit() {
    if (threadIdx.x == 3) return;
    __syncthreads();
}

extern "C" __global__ void test_only_some_wait() {
    if (threadIdx.x == 3) __syncthreads();
}

extern "C" __global__ void test_two_barriers() {
    if (threadIdx.x % 2 == 0)
        __syncthreads();
    else
        __syncthreads();
}

extern "C" __global__ void test_write_at(float* to, long long index) { to[index] = 1.0f; }

extern "C" __global__ void test_through_table(float* const* table) { *table[0] = 1.0f; }

extern "C" __global__ void test_write_misaligned(char* to) { *reinterpret_cast<float*>(to + 1) = 1.0f; }

extern "C" __global__ void test_shared_overrun(float* to, int index) {
    __shared__ float values[8];
    values[index] = 1.0f;
    to[0] = values[0];
}
