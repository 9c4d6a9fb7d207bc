// Host versions of the kernels of candle-kernels that plain tensor operations launch, with that crate's signatures. A
// layout that is not contiguous comes as `info`, [dims, strides...] in device memory; null stands for a contiguous one.

/// Where the element with the row-major number `index` lies.
__device__ __forceinline__ size_t strided(size_t index, size_t num_dims, const size_t* dims, const size_t* strides) {
    size_t place = 0;
    for (size_t d = num_dims; d-- > 0; index /= dims[d]) place += index % dims[d] * strides[d];
    return place;
}

__device__ __forceinline__ size_t at(size_t index, size_t num_dims, const size_t* dims, const size_t* strides) {
    return dims == nullptr ? index : strided(index, num_dims, dims, strides);
}

__device__ __forceinline__ size_t first_index() { return size_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ __forceinline__ size_t index_step() { return size_t{blockDim.x} * gridDim.x; }

// bfloat16 is computed with in float32, as the hardware does.
#define UNARY(NAME, T, RESULT)                                                                                         \
    extern "C" __global__ void NAME(const size_t numel, const size_t num_dims, const size_t* info, const T* in,        \
                                    T* out) {                                                                          \
        for (size_t i = first_index(); i < numel; i += index_step()) {                                                 \
            float x = in ? in[at(i, num_dims, info, info + num_dims)] : out[i];                                        \
            out[i] = RESULT;                                                                                           \
        }                                                                                                              \
    }

#define BINARY(NAME, T, RESULT)                                                                                        \
    extern "C" __global__ void NAME(const size_t numel, const size_t num_dims, const size_t* info, const T* left,      \
                                    const T* right, T* out) {                                                          \
        for (size_t i = first_index(); i < numel; i += index_step()) {                                                 \
            float x = left[at(i, num_dims, info, info + num_dims)];                                                    \
            float y = right[at(i, num_dims, info, info + 2 * num_dims)];                                               \
            out[i] = RESULT;                                                                                           \
        }                                                                                                              \
    }

#define ELEMENTWISE(T, KIND)                                                                                           \
    UNARY(uneg_##KIND, T, -x)                                                                                          \
    UNARY(uabs_##KIND, T, fabsf(x))                                                                                    \
    UNARY(usqr_##KIND, T, x * x)                                                                                       \
    UNARY(usqrt_##KIND, T, sqrtf(x))                                                                                   \
    UNARY(urecip_##KIND, T, 1.0f / x)                                                                                  \
    UNARY(uexp_##KIND, T, expf(x))                                                                                     \
    UNARY(ulog_##KIND, T, logf(x))                                                                                     \
    UNARY(urelu_##KIND, T, fmaxf(x, 0.0f))                                                                             \
    BINARY(badd_##KIND, T, x + y)                                                                                      \
    BINARY(bsub_##KIND, T, x - y)                                                                                      \
    BINARY(bmul_##KIND, T, x * y)                                                                                      \
    BINARY(bdiv_##KIND, T, x / y)                                                                                      \
    BINARY(bmaximum_##KIND, T, fmaxf(x, y))                                                                            \
    BINARY(bminimum_##KIND, T, fminf(x, y))                                                                            \
    extern "C" __global__ void affine_##KIND(const size_t numel, const size_t num_dims, const size_t* info,            \
                                             const T* in, T* out, const T mul, const T add) {                          \
        for (size_t i = first_index(); i < numel; i += index_step()) {                                                 \
            float x = in ? in[at(i, num_dims, info, info + num_dims)] : out[i];                                        \
            out[i] = x * float(mul) + float(add);                                                                      \
        }                                                                                                              \
    }

ELEMENTWISE(float, f32)
ELEMENTWISE(__nv_bfloat16, bf16)

/// A copy, or a change of type.
#define CAST(NAME, FROM, TO)                                                                                           \
    extern "C" __global__ void NAME(const size_t numel, const size_t num_dims, const size_t* info, const FROM* in,     \
                                    TO* out) {                                                                         \
        for (size_t i = first_index(); i < numel; i += index_step())                                                   \
            out[i] = static_cast<TO>(in[at(i, num_dims, info, info + num_dims)]);                                      \
    }

CAST(ucopy_f32, float, float)
CAST(ucopy_bf16, __nv_bfloat16, __nv_bfloat16)
CAST(ucopy_u8, uint8_t, uint8_t)
CAST(ucopy_u32, uint32_t, uint32_t)
CAST(ucopy_i64, int64_t, int64_t)
CAST(cast_f32_bf16, float, __nv_bfloat16)
CAST(cast_bf16_f32, __nv_bfloat16, float)
CAST(cast_u32_f32, uint32_t, float)
CAST(cast_u8_f32, uint8_t, float)

#define FILL(T, KIND)                                                                                                  \
    extern "C" __global__ void const_set_##KIND(const size_t numel, const size_t num_dims, const size_t* info,         \
                                                const T value, T* out) {                                               \
        for (size_t i = first_index(); i < numel; i += index_step())                                                   \
            out[at(i, num_dims, info, info + num_dims)] = value;                                                       \
    }                                                                                                                  \
    extern "C" __global__ void fill_##KIND(T* out, T value, const size_t numel) {                                      \
        for (size_t i = first_index(); i < numel; i += index_step()) out[i] = value;                                   \
    }

FILL(float, f32)
FILL(__nv_bfloat16, bf16)
FILL(uint32_t, u32)

#define COPY_ROWS(NAME, NUMBER)                                                                                        \
    extern "C" __global__ void NAME(const NUMBER* from, NUMBER* to, uint32_t rows, uint32_t columns,                   \
                                    uint32_t from_stride, uint32_t to_stride) {                                        \
        size_t i = first_index();                                                                                      \
        if (i >= size_t{rows} * columns) return;                                                                       \
        to[i / columns * to_stride + i % columns] = from[i / columns * from_stride + i % columns];                     \
    }

COPY_ROWS(copy2d_f32, float)
COPY_ROWS(copy2d_bf16, __nv_bfloat16)
COPY_ROWS(copy2d_u8, uint8_t)
COPY_ROWS(copy2d_u32, uint32_t)

/// One block for each sum; the dimensions that are summed come last in `info`.
extern "C" __global__ void fast_sum_f32(const size_t numel, const size_t len, const size_t num_dims, const size_t* info,
                                        const float* in, float* out) {
    __shared__ float sums[1024];
    size_t first = blockIdx.x * len, end = min(first + len, numel);
    sums[threadIdx.x] = 0.0f;
    for (size_t i = first + threadIdx.x; i < end; i += blockDim.x)
        sums[threadIdx.x] += in[strided(i, num_dims, info, info + num_dims)];
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) out[blockIdx.x] = sums[0];
}

/// One thread for each sum of at most 32 numbers.
extern "C" __global__ void fast_sum_small_f32(const size_t sums, const size_t len, const size_t num_dims,
                                              const size_t* info, const float* in, float* out) {
    size_t index = first_index();
    if (index >= sums) return;
    float sum = 0.0f;
    for (size_t i = index * len; i < (index + 1) * len; ++i) sum += in[strided(i, num_dims, info, info + num_dims)];
    out[index] = sum;
}
