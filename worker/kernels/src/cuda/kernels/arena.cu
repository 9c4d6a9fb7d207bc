// Between a model's tensors and the flat arenas that travel, and sums of arenas.
#include "numbers.cuh"

// A piece of a tensor: the tensor's number, and where the piece begins in the tensor and in the arena.
struct Piece {
    unsigned tensor, len;
    long long in_tensor, in_arena;
};

// Copies tensors into an arena, times a factor; what has no tensor becomes 0.
extern "C" __global__ void gather(const Piece* pieces, const unsigned long long* tensors, float* arena, float factor) {
    Piece piece = pieces[blockIdx.x];
    const float* tensor = (const float*)tensors[piece.tensor];
    for (unsigned i = threadIdx.x; i < piece.len; i += blockDim.x)
        arena[piece.in_arena + i] = tensor == nullptr ? 0.0f : tensor[piece.in_tensor + i] * factor;
}

// Copies an arena into tensors.
extern "C" __global__ void scatter(const Piece* pieces, const unsigned long long* tensors, const float* arena) {
    Piece piece = pieces[blockIdx.x];
    float* tensor = (float*)tensors[piece.tensor];
    for (unsigned i = threadIdx.x; i < piece.len; i += blockDim.x)
        tensor[piece.in_tensor + i] = arena[piece.in_arena + i];
}

// into += from: a node of the canonical reduction, left + right.
extern "C" __global__ void add(float* into, const float* from, long long len) {
    long long i = place();
    if (i < len) into[i] = into[i] + from[i];
}
