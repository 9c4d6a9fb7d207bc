// Common parts of the kernels: the two element types of activations, and sums over a block.
//
// Sums are added in a fixed order, in float64: no atomic operations, no dependence on the order in which blocks run.
#pragma once

#include <cuda_bf16.h>

// Threads of a block that handles elements one by one.
constexpr int THREADS = 256;
// Threads of a block that sums columns: COLUMNS columns by ROWS rows.
constexpr int COLUMNS = 32;
constexpr int ROWS = 8;

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(__nv_bfloat16 x) { return __bfloat162float(x); }

__device__ __forceinline__ void store(float* place, float x) { *place = x; }
__device__ __forceinline__ void store(__nv_bfloat16* place, float x) { *place = __float2bfloat16(x); }

// Index of this thread in the grid.
__device__ __forceinline__ long long place() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

// Sums one value of each thread of the block; every thread gets the sum. `blockDim.x` is a power of two, at most
// THREADS.
__device__ __forceinline__ double block_sum(double value, double* shared) {
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    double sum = shared[0];
    __syncthreads();
    return sum;
}

// The greatest value of the block; NaN is ignored, as fmaxf ignores it.
__device__ __forceinline__ float block_max(float value, float* shared) {
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] = fmaxf(shared[threadIdx.x], shared[threadIdx.x + half]);
        __syncthreads();
    }
    float greatest = shared[0];
    __syncthreads();
    return greatest;
}

// Adds a block's rows of two sums per column and writes the results; see `column_partials`.
__device__ __forceinline__ void write_column_sums(double first, double second, double* partials, int columns, int column) {
    __shared__ double sums[2][ROWS][COLUMNS + 1];
    sums[0][threadIdx.y][threadIdx.x] = first;
    sums[1][threadIdx.y][threadIdx.x] = second;
    __syncthreads();
    for (int half = ROWS / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) {
            sums[0][threadIdx.y][threadIdx.x] += sums[0][threadIdx.y + half][threadIdx.x];
            sums[1][threadIdx.y][threadIdx.x] += sums[1][threadIdx.y + half][threadIdx.x];
        }
        __syncthreads();
    }
    if (threadIdx.y == 0 && column < columns) {
        double* row = partials + (long long)blockIdx.y * 2 * columns;
        row[column] = sums[0][0][threadIdx.x];
        row[columns + column] = sums[1][0][threadIdx.x];
    }
}

// The rows of a block in a grid over columns (x) and chunks of rows (y), and the column of this thread: values that
// belong to a column are read once, and no index needs a division.
struct Chunk {
    int column;
    long long first, end;
};

__device__ __forceinline__ Chunk chunk_of(long long rows, int rows_per_chunk) {
    long long first = (long long)blockIdx.y * rows_per_chunk;
    long long end = first + rows_per_chunk;
    return {(int)(blockIdx.x * COLUMNS + threadIdx.x), first, end < rows ? end : rows};
}

// The sum of the same entry of each chunk of partials [chunks, width], added by the rows of a block of columns. Every
// thread of the block must take part; those of the first row get the sum.
__device__ __forceinline__ double total_of_chunks(const double* partials, int chunks, long long width, long long number) {
    __shared__ double sums[ROWS][COLUMNS + 1];
    double sum = 0.0;
    if (number < width)
        for (int chunk = threadIdx.y; chunk < chunks; chunk += ROWS) sum += partials[chunk * width + number];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    for (int half = ROWS / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
        __syncthreads();
    }
    double total = sums[0][threadIdx.x];
    __syncthreads();
    return total;
}
