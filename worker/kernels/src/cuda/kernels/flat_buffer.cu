// Copies between a model's tensors and flat buffers, and sums and rounding of flat buffers.
#include "elements.cuh"

// A run of elements of a tensor: the tensor's index, and the first element in the tensor and in the flat buffer.
struct Piece {
    unsigned tensor, len;
    long long in_tensor, in_flat_buffer;
};

// Copies tensors into a flat buffer, multiplied by a factor; missing tensors become 0.
extern "C" __global__ void gather(const Piece* pieces, const unsigned long long* tensors, float* flat_buffer, float factor) {
    Piece piece = pieces[blockIdx.x];
    const float* tensor = (const float*)tensors[piece.tensor];
    for (unsigned i = threadIdx.x; i < piece.len; i += blockDim.x)
        flat_buffer[piece.in_flat_buffer + i] = tensor == nullptr ? 0.0f : tensor[piece.in_tensor + i] * factor;
}

// Copies a flat buffer into tensors.
extern "C" __global__ void scatter(const Piece* pieces, const unsigned long long* tensors, const float* flat_buffer) {
    Piece piece = pieces[blockIdx.x];
    float* tensor = (float*)tensors[piece.tensor];
    for (unsigned i = threadIdx.x; i < piece.len; i += blockDim.x)
        tensor[piece.in_tensor + i] = flat_buffer[piece.in_flat_buffer + i];
}

// into += from: a segment of the reduction tree, left + right.
extern "C" __global__ void add(float* into, const float* from, long long len) {
    long long i = place();
    if (i < len) into[i] = into[i] + from[i];
}

// Rounds to bfloat16, to nearest, ties to even, in place.
extern "C" __global__ void round_to_bf16(float* values, long long len) {
    long long i = place();
    if (i < len) values[i] = __bfloat162float(__float2bfloat16(values[i]));
}
