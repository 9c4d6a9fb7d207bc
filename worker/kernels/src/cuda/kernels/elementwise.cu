// Elementwise functions of tensors, and conversions of their order in memory or element type.
#include "elements.cuh"

// ReLU with PyTorch's gradient: 0 at 0. NaN passes through in both directions.
__device__ __forceinline__ float rectified(float x) { return x <= 0.0f ? 0.0f : x; }

enum Smooth { GELU = 0, SILU = 1, TANH = 2, SIGMOID = 3 };

__device__ __forceinline__ float normal_below(float x) { return 0.5f * erfcf(x * -0.70710678118654752f); }

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

__device__ __forceinline__ float smooth(int kind, float x) {
    switch (kind) {
        case GELU: return x * normal_below(x);
        case SILU: return x * logistic(x);
        case TANH: return tanhf(x);
        default: return logistic(x);
    }
}

__device__ __forceinline__ float smooth_derivative(int kind, float x) {
    switch (kind) {
        case GELU: return normal_below(x) + x * expf(-0.5f * x * x) * 0.39894228040143268f;
        case SILU: return logistic(x) * (1.0f + x * (1.0f - logistic(x)));
        case TANH: return 1.0f - tanhf(x) * tanhf(x);
        default: return logistic(x) * (1.0f - logistic(x));
    }
}

template <typename T>
__device__ __forceinline__ void add_bias_to(const T* x, const float* bias, T* y, long long rows, int channels,
                                            int rows_per_chunk) {
    Chunk chunk = chunk_of(rows, rows_per_chunk);
    if (chunk.column >= channels) return;
    float summand = bias[chunk.column];
    for (long long row = chunk.first + threadIdx.y; row < chunk.end; row += ROWS) {
        long long i = row * channels + chunk.column;
        store(y + i, number(x[i]) + summand);
    }
}

#define KERNELS(T, KIND)                                                                                              \
    extern "C" __global__ void relu_##KIND(const T* x, T* y, long long len) {                                        \
        long long i = place();                                                                                       \
        if (i < len) store(y + i, rectified(number(x[i])));                                                          \
    }                                                                                                                \
    extern "C" __global__ void relu_gradient_##KIND(const T* result, const T* gradient, T* of_x, long long len) {    \
        long long i = place();                                                                                       \
        if (i < len) store(of_x + i, number(result[i]) <= 0.0f ? 0.0f : number(gradient[i]));                        \
    }                                                                                                                \
    extern "C" __global__ void smooth_##KIND(const T* x, T* y, long long len, int kind) {                            \
        long long i = place();                                                                                       \
        if (i < len) store(y + i, smooth(kind, number(x[i])));                                                       \
    }                                                                                                                \
    extern "C" __global__ void smooth_gradient_##KIND(const T* x, const T* gradient, T* of_x, long long len,         \
                                                      int kind) {                                                    \
        long long i = place();                                                                                       \
        if (i < len) store(of_x + i, number(gradient[i]) * smooth_derivative(kind, number(x[i])));                   \
    }                                                                                                                \
    extern "C" __global__ void sum_##KIND(const T* x, const T* y, T* sum, long long len) {                           \
        long long i = place();                                                                                       \
        if (i < len) store(sum + i, number(x[i]) + number(y[i]));                                                    \
    }                                                                                                                \
    /* y = x + bias for x [rows, channels]. */                                                                       \
    extern "C" __global__ void add_bias_##KIND(const T* x, const float* bias, T* y, long long rows, int channels,    \
                                               int rows_per_chunk) {                                                 \
        add_bias_to(x, bias, y, rows, channels, rows_per_chunk);                                                     \
    }                                                                                                                \
    /* x += bias. */                                                                                                 \
    extern "C" __global__ void add_bias_in_place_##KIND(T* x, const float* bias, long long rows, int channels,       \
                                                        int rows_per_chunk) {                                        \
        add_bias_to(x, bias, x, rows, channels, rows_per_chunk);                                                     \
    }                                                                                                                \
    /* Converts a weight [out, in, taps] to the convolution's layout [out, taps, in]. */                             \
    extern "C" __global__ void taps_first_##KIND(const float* weight, T* turned, long long len, int inputs,          \
                                                 int taps) {                                                         \
        long long i = place();                                                                                       \
        if (i >= len) return;                                                                                        \
        long long input = i % inputs, tap = i / inputs % taps, output = i / inputs / taps;                           \
        store(turned + i, weight[(output * inputs + input) * taps + tap]);                                           \
    }                                                                                                                \
    /* Converts a weight [out, taps, in] to the model's layout [out, in, taps]. */                                   \
    extern "C" __global__ void taps_last_##KIND(const T* turned, float* weight, long long len, int inputs,           \
                                                int taps) {                                                          \
        long long i = place();                                                                                       \
        if (i >= len) return;                                                                                        \
        long long tap = i % taps, input = i / taps % inputs, output = i / taps / inputs;                             \
        weight[i] = number(turned[(output * taps + tap) * inputs + input]);                                          \
    }                                                                                                                \
    /* First stage of the sums of the columns of x [rows, columns]: of each chunk of rows, [chunks, 2, columns]; the  \
       second half is 0. */                                                                                          \
    extern "C" __global__ void column_partials_##KIND(const T* x, double* partials, long long rows, int columns,     \
                                                      int rows_per_chunk) {                                          \
        Chunk chunk = chunk_of(rows, rows_per_chunk);                                                                \
        double sum = 0.0;                                                                                            \
        if (chunk.column < columns)                                                                                  \
            for (long long row = chunk.first + threadIdx.y; row < chunk.end; row += ROWS)                            \
                sum += number(x[row * columns + chunk.column]);                                                      \
        write_column_sums(sum, 0.0, partials, columns, chunk.column);                                                \
    }

KERNELS(float, f32)
KERNELS(__nv_bfloat16, bf16)

extern "C" __global__ void to_bf16(const float* x, __nv_bfloat16* y, long long len) {
    long long i = place();
    if (i < len) y[i] = __float2bfloat16(x[i]);
}

extern "C" __global__ void to_f32(const __nv_bfloat16* x, float* y, long long len) {
    long long i = place();
    if (i < len) y[i] = __bfloat162float(x[i]);
}

// Second stage: adds the chunks of partials [chunks, 2, columns] in a fixed order; the first `len` of 2 · columns sums
// are wanted.
extern "C" __global__ void column_totals(const double* partials, float* totals, int chunks, int columns, long long len) {
    long long number = (long long)blockIdx.x * COLUMNS + threadIdx.x;
    double total = total_of_chunks(partials, chunks, 2LL * columns, number);
    if (threadIdx.y == 0 && number < len) totals[number] = (float)total;
}
