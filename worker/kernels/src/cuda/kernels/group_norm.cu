// Normalisation within a sample: group normalisation (Wu and He, ECCV 2018), and layer normalisation (Ba, Kiros and
// Hinton, 2016) as one group of one pixel. x is [samples, pixels, channels]; a set, a group of neighbouring channels of
// a sample, is normalised together. Each block handles one set.
#include "elements.cuh"

// Position of this block's set in memory.
struct Set {
    long long first;
    int size, width, channels, channel;

    __device__ __forceinline__ long long at(int i) const { return first + (long long)(i / width) * channels + i % width; }
    __device__ __forceinline__ int channel_at(int i) const { return channel + i % width; }
};

__device__ __forceinline__ Set set_of_block(int pixels, int channels, int groups) {
    int width = channels / groups, group = blockIdx.x % groups;
    long long sample = blockIdx.x / groups;
    return {sample * pixels * channels + group * width, pixels * width, width, channels, group * width};
}

#define KERNELS(T, KIND)                                                                                              \
    extern "C" __global__ void group_norm_##KIND(const T* x, const float* weight, const float* bias, T* y,           \
                                                 float* mean, float* inverse, int pixels, int channels, int groups,  \
                                                 double eps) {                                                       \
        __shared__ double shared[THREADS];                                                                           \
        Set set = set_of_block(pixels, channels, groups);                                                            \
        double sum = 0.0, squares = 0.0;                                                                             \
        for (int i = threadIdx.x; i < set.size; i += blockDim.x) {                                                   \
            double value = number(x[set.at(i)]);                                                                     \
            sum += value;                                                                                            \
            squares += value * value;                                                                                \
        }                                                                                                            \
        sum = block_sum(sum, shared);                                                                                \
        squares = block_sum(squares, shared);                                                                        \
        double centre = sum / set.size;                                                                              \
        double variance = squares / set.size - centre * centre;                                                      \
        double factor = 1.0 / sqrt((variance < 0.0 ? 0.0 : variance) + eps);                                         \
        if (threadIdx.x == 0) {                                                                                      \
            mean[blockIdx.x] = (float)centre;                                                                        \
            inverse[blockIdx.x] = (float)factor;                                                                     \
        }                                                                                                            \
        for (int i = threadIdx.x; i < set.size; i += blockDim.x) {                                                   \
            int channel = set.channel_at(i);                                                                         \
            float normal = (number(x[set.at(i)]) - (float)centre) * (float)factor;                                   \
            store(y + set.at(i), normal * weight[channel] + bias[channel]);                                          \
        }                                                                                                            \
    }                                                                                                                \
    extern "C" __global__ void group_norm_gradient_##KIND(const T* x, const T* gradient, const float* weight,        \
                                                          const float* mean, const float* inverse, T* of_x,          \
                                                          int pixels, int channels, int groups) {                    \
        __shared__ double shared[THREADS];                                                                           \
        Set set = set_of_block(pixels, channels, groups);                                                            \
        float centre = mean[blockIdx.x], factor = inverse[blockIdx.x];                                               \
        double sum = 0.0, products = 0.0;                                                                            \
        for (int i = threadIdx.x; i < set.size; i += blockDim.x) {                                                   \
            double scaled = number(gradient[set.at(i)]) * weight[set.channel_at(i)];                                 \
            sum += scaled;                                                                                           \
            products += scaled * ((number(x[set.at(i)]) - centre) * factor);                                         \
        }                                                                                                            \
        float mean_sum = (float)(block_sum(sum, shared) / set.size);                                                 \
        float mean_product = (float)(block_sum(products, shared) / set.size);                                        \
        for (int i = threadIdx.x; i < set.size; i += blockDim.x) {                                                   \
            float normal = (number(x[set.at(i)]) - centre) * factor;                                                 \
            float scaled = number(gradient[set.at(i)]) * weight[set.channel_at(i)];                                  \
            store(of_x + set.at(i), factor * (scaled - mean_sum - normal * mean_product));                           \
        }                                                                                                            \
    }                                                                                                                \
    /* Sums over the rows (samples and pixels) of gradient · x̂ and gradient: [chunks, 2, channels]. */               \
    extern "C" __global__ void group_norm_affine_##KIND(const T* x, const T* gradient, const float* mean,            \
                                                        const float* inverse, double* partials, long long rows,      \
                                                        int channels, int rows_per_chunk, int pixels, int groups) {  \
        Chunk chunk = chunk_of(rows, rows_per_chunk);                                                                \
        double products = 0.0, sum = 0.0;                                                                            \
        if (chunk.column < channels)                                                                                 \
            for (long long row = chunk.first + threadIdx.y; row < chunk.end; row += ROWS) {                          \
                long long set = row / pixels * groups + chunk.column / (channels / groups);                          \
                double value = number(gradient[row * channels + chunk.column]);                                      \
                products += value * ((number(x[row * channels + chunk.column]) - mean[set]) * inverse[set]);         \
                sum += value;                                                                                        \
            }                                                                                                        \
        write_column_sums(products, sum, partials, channels, chunk.column);                                          \
    }

KERNELS(float, f32)
KERNELS(__nv_bfloat16, bf16)
