// Pooling over windows of pixels of x [images, height, width, channels].
#include "elements.cuh"

struct Windows {
    int height, width, out_height, out_width, channels;
    int down, across, stride, padding, is_max;
};

// The range of the input's rows or columns under a window.
struct Span {
    int first, end;
};

__device__ __forceinline__ Span span(int output, int taps, int stride, int padding, int extent) {
    int first = output * stride - padding, end = first + taps;
    return {first < 0 ? 0 : first, end < extent ? end : extent};
}

// The range of outputs whose windows contain a pixel.
__device__ __forceinline__ Span holders(int pixel, int taps, int stride, int padding, int extent) {
    int last = (pixel + padding) / stride, before = pixel + padding - taps;
    int first = before < 0 ? 0 : before / stride + 1;
    return {first, last + 1 < extent ? last + 1 : extent};
}

#define KERNELS(T, KIND)                                                                                              \
    extern "C" __global__ void pool_##KIND(const T* x, T* y, long long len, Windows w) {                             \
        long long i = place();                                                                                       \
        if (i >= len) return;                                                                                        \
        int channel = (int)(i % w.channels), column = (int)(i / w.channels % w.out_width);                           \
        int row = (int)(i / w.channels / w.out_width % w.out_height);                                                \
        const T* image = x + i / w.channels / w.out_width / w.out_height * w.height * w.width * w.channels;          \
        Span rows = span(row, w.down, w.stride, w.padding, w.height);                                                \
        Span columns = span(column, w.across, w.stride, w.padding, w.width);                                         \
        float result = w.is_max ? -INFINITY : 0.0f;                                                                  \
        for (int r = rows.first; r < rows.end; r++)                                                                  \
            for (int c = columns.first; c < columns.end; c++) {                                                      \
                float value = number(image[((long long)r * w.width + c) * w.channels + channel]);                    \
                if (!w.is_max) result += value;                                                                      \
                else if (value > result || value != value) result = value;                                           \
            }                                                                                                        \
        store(y + i, w.is_max ? result : result / (float)(w.down * w.across));                                       \
    }                                                                                                                \
    /* Sums over the windows of a pixel, in order; a maximum's gradient goes to the first pixel that has it. */      \
    extern "C" __global__ void pool_gradient_##KIND(const T* x, const T* result, const T* gradient, T* of_x,         \
                                                    long long len, Windows w) {                                      \
        long long i = place();                                                                                       \
        if (i >= len) return;                                                                                        \
        int channel = (int)(i % w.channels), column = (int)(i / w.channels % w.width);                               \
        int row = (int)(i / w.channels / w.width % w.height);                                                        \
        long long number_of_image = i / w.channels / w.width / w.height;                                             \
        const T* image = x + number_of_image * w.height * w.width * w.channels;                                      \
        Span down = holders(row, w.down, w.stride, w.padding, w.out_height);                                         \
        Span across = holders(column, w.across, w.stride, w.padding, w.out_width);                                   \
        float sum = 0.0f;                                                                                            \
        for (int r = down.first; r < down.end; r++)                                                                  \
            for (int c = across.first; c < across.end; c++) {                                                        \
                long long output = ((number_of_image * w.out_height + r) * w.out_width + c) * w.channels + channel;  \
                if (!w.is_max) {                                                                                     \
                    sum += number(gradient[output]) / (float)(w.down * w.across);                                    \
                    continue;                                                                                        \
                }                                                                                                    \
                Span rows = span(r, w.down, w.stride, w.padding, w.height);                                          \
                Span columns = span(c, w.across, w.stride, w.padding, w.width);                                      \
                float greatest = number(result[output]);                                                             \
                int found = -1;                                                                                      \
                for (int p = rows.first; p < rows.end && found < 0; p++)                                             \
                    for (int q = columns.first; q < columns.end && found < 0; q++) {                                 \
                        float value = number(image[((long long)p * w.width + q) * w.channels + channel]);            \
                        if (value == greatest || value != value) found = p * w.width + q;                            \
                    }                                                                                                \
                if (found == row * w.width + column) sum += number(gradient[output]);                                \
            }                                                                                                        \
        store(of_x + i, sum);                                                                                        \
    }

KERNELS(float, f32)
KERNELS(__nv_bfloat16, bf16)
