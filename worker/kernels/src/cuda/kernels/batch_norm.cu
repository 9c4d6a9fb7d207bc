// Batch normalisation (Ioffe and Szegedy, ICML 2015, algorithm 1) of x [rows, channels], fused with residual addition
// and ReLU: y = relu((x − mean) · scale + bias + residual).
#include "elements.cuh"

__device__ __forceinline__ float passed(float result, float gradient, int relu) {
    return relu && result <= 0.0f ? 0.0f : gradient;
}

#define KERNELS(T, KIND)                                                                                              \
    /* Sums and sums of squares of each chunk of rows, [chunks, 2, channels]. */                                     \
    extern "C" __global__ void batch_sums_##KIND(const T* x, double* partials, long long rows, int channels,         \
                                                 int rows_per_chunk) {                                               \
        Chunk chunk = chunk_of(rows, rows_per_chunk);                                                                \
        double sum = 0.0, squares = 0.0;                                                                             \
        if (chunk.column < channels)                                                                                 \
            for (long long row = chunk.first + threadIdx.y; row < chunk.end; row += ROWS) {                          \
                double value = number(x[row * channels + chunk.column]);                                             \
                sum += value;                                                                                        \
                squares += value * value;                                                                            \
            }                                                                                                        \
        write_column_sums(sum, squares, partials, channels, chunk.column);                                           \
    }                                                                                                                \
    extern "C" __global__ void batch_apply_##KIND(const T* x, const T* residual, T* y, const float* mean,            \
                                                  const float* scale, const float* bias, long long rows,             \
                                                  int channels, int rows_per_chunk, int relu) {                      \
        Chunk chunk = chunk_of(rows, rows_per_chunk);                                                                \
        if (chunk.column >= channels) return;                                                                        \
        float centre = mean[chunk.column], factor = scale[chunk.column], summand = bias[chunk.column];               \
        for (long long row = chunk.first + threadIdx.y; row < chunk.end; row += ROWS) {                              \
            long long i = row * channels + chunk.column;                                                             \
            float value = (number(x[i]) - centre) * factor + summand;                                                \
            if (residual != nullptr) value += number(residual[i]);                                                   \
            store(y + i, relu && value <= 0.0f ? 0.0f : value);                                                      \
        }                                                                                                            \
    }                                                                                                                \
    /* Sums of the gradient that passes the ReLU, and of its product with x̂: [chunks, 2, channels]. */               \
    extern "C" __global__ void batch_gradient_sums_##KIND(const T* x, const T* result, const T* gradient,            \
                                                          const float* mean, const float* inverse,                   \
                                                          double* partials, long long rows, int channels,            \
                                                          int rows_per_chunk, int relu) {                            \
        Chunk chunk = chunk_of(rows, rows_per_chunk);                                                                \
        double sum = 0.0, products = 0.0;                                                                            \
        if (chunk.column < channels) {                                                                               \
            float centre = mean[chunk.column], factor = inverse[chunk.column];                                       \
            for (long long row = chunk.first + threadIdx.y; row < chunk.end; row += ROWS) {                          \
                long long i = row * channels + chunk.column;                                                         \
                double value = passed(number(result[i]), number(gradient[i]), relu);                                 \
                sum += value;                                                                                        \
                products += value * ((number(x[i]) - centre) * factor);                                              \
            }                                                                                                        \
        }                                                                                                            \
        write_column_sums(sum, products, partials, channels, chunk.column);                                          \
    }                                                                                                                \
    /* Gradient of x, weight / √(variance + eps) · (g − Σg / rows − x̂ · Σ(g x̂) / rows), and the residual's. */       \
    extern "C" __global__ void batch_gradient_##KIND(const T* x, const T* result, const T* gradient,                 \
                                                     const float* mean, const float* inverse, const float* weight,   \
                                                     const float* sums, T* of_x, T* of_residual, long long rows,     \
                                                     int channels, int rows_per_chunk, int relu) {                   \
        Chunk chunk = chunk_of(rows, rows_per_chunk);                                                                \
        if (chunk.column >= channels) return;                                                                        \
        float centre = mean[chunk.column], factor = inverse[chunk.column];                                           \
        float mean_sum = sums[chunk.column] / (float)rows;                                                           \
        float mean_product = sums[channels + chunk.column] / (float)rows;                                            \
        float scale = weight[chunk.column] * factor;                                                                 \
        for (long long row = chunk.first + threadIdx.y; row < chunk.end; row += ROWS) {                              \
            long long i = row * channels + chunk.column;                                                             \
            float value = passed(number(result[i]), number(gradient[i]), relu);                                      \
            float normal = (number(x[i]) - centre) * factor;                                                         \
            store(of_x + i, scale * (value - mean_sum - normal * mean_product));                                     \
            if (of_residual != nullptr) store(of_residual + i, value);                                               \
        }                                                                                                            \
    }

KERNELS(float, f32)
KERNELS(__nv_bfloat16, bf16)

// Turns sums and sums of squares [chunks, 2, channels] into what the elementwise kernels need and what the layer
// reports: mean, unbiased variance, 1 / √(variance + eps), weight / √(variance + eps); each [channels].
extern "C" __global__ void batch_moments(const double* partials, const float* weight, float* mean, float* variance,
                                         float* inverse, float* scale, int chunks, long long rows, int channels,
                                         double eps) {
    int channel = blockIdx.x * COLUMNS + threadIdx.x;
    long long width = 2LL * channels;
    double sum = total_of_chunks(partials, chunks, width, channel);
    double squares = total_of_chunks(partials, chunks, width, (long long)channels + channel);
    if (threadIdx.y > 0 || channel >= channels) return;
    double centre = sum / rows;
    double biased = squares / rows - centre * centre;
    biased = biased < 0.0 ? 0.0 : biased;
    double factor = 1.0 / sqrt(biased + eps);
    mean[channel] = (float)centre;
    variance[channel] = (float)(biased * rows / (rows - 1));
    inverse[channel] = (float)factor;
    scale[channel] = (float)(weight[channel] * factor);
}

// weight / √(running variance + eps), for inference.
extern "C" __global__ void running_scale(const float* weight, const float* variance, float* scale, int channels,
                                         double eps) {
    long long channel = place();
    if (channel < channels) scale[channel] = (float)(weight[channel] / sqrt(variance[channel] + eps));
}
