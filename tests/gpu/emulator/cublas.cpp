// libcublas: handles and matrix products. Sums are float32, one term after the other along the depth.
#include "machine.h"
#include "numbers.h"

#include <cublas_v2.h>

#include <algorithm>
#include <optional>
#include <vector>

using namespace emulator;

struct cublasContext {
    cudaStream_t stream = nullptr;
    cublasMath_t math = CUBLAS_DEFAULT_MATH;
    cublasPointerMode_t pointers = CUBLAS_POINTER_MODE_HOST;
    Span workspace{nullptr, 0};
};

namespace {

/// A product leaves something else in this much of its workspace.
constexpr size_t spoilt_bytes = 64 * 1024;

/// Column-major, [rows, columns] as stored.
struct Matrix {
    char* data;
    Format format;
    size_t rows, columns, leading;
    long long stride;  ///< Between the matrices of a batch, in numbers.

    char* of(size_t batch) const { return data + batch * stride * size_of(format); }
    Span span(size_t batches) const {
        return {data, ((batches - 1) * stride + (columns - 1) * leading + rows) * size_of(format)};
    }
};

struct Product {
    size_t m, n, k, batches;
    bool transpose_a, transpose_b;
    Matrix a, b, c;
    float alpha, beta;
    Inputs inputs;
};

/// A matrix of the batch without gaps: its columns one after the other, or its rows.
std::vector<float> packed(const Matrix& matrix, size_t batch, bool by_columns, Inputs inputs) {
    std::vector<float> numbers(matrix.rows * matrix.columns);
    const char* data = matrix.of(batch);
    for (size_t column = 0; column < matrix.columns; ++column)
        for (size_t row = 0; row < matrix.rows; ++row)
            numbers[by_columns ? column * matrix.rows + row : row * matrix.columns + column] =
                input(inputs, load(matrix.format, data, column * matrix.leading + row));
    return numbers;
}

/// sums[j][i] = Σ_p a[p][i] · b[j][p] for some columns j.
void multiply_columns(const Product& product, const float* a, const float* b, size_t columns, float* sums) {
    const size_t m = product.m, k = product.k;
    std::fill_n(sums, columns * m, 0.0f);
    for (size_t p = 0; p < k; ++p) {
        const float* row = a + p * m;
        for (size_t j = 0; j < columns; ++j) {
            const float factor = b[j * k + p];
            float* sum = sums + j * m;
            for (size_t i = 0; i < m; ++i) sum[i] += row[i] * factor;
        }
    }
}

void multiply(const Product& product, size_t batch) {
    constexpr size_t width = 4;
    // a as [k, m] and b as [n, k].
    const std::vector<float> a = packed(product.a, batch, !product.transpose_a, product.inputs);
    const std::vector<float> b = packed(product.b, batch, !product.transpose_b, product.inputs);
    std::vector<float> sums(width * product.m);
    for (size_t first = 0; first < product.n; first += width) {
        const size_t columns = std::min(width, product.n - first);
        multiply_columns(product, a.data(), b.data() + first * product.k, columns, sums.data());
        for (size_t j = 0; j < columns; ++j)
            for (size_t i = 0; i < product.m; ++i)
                blend(product.c.format, product.c.of(batch), (first + j) * product.c.leading + i, product.alpha,
                      sums[j * product.m + i], product.beta);
    }
}

std::optional<Format> format_of(cudaDataType type) {
    if (type == CUDA_R_32F) return Format::f32;
    if (type == CUDA_R_16BF) return Format::bf16;
    return std::nullopt;
}

/// Nothing for a computation in other than float32.
std::optional<Inputs> inputs_of(const cublasContext& handle, cublasComputeType_t compute) {
    switch (compute) {
        case CUBLAS_COMPUTE_32F: return handle.math & CUBLAS_TF32_TENSOR_OP_MATH ? Inputs::tf32 : Inputs::exact;
        case CUBLAS_COMPUTE_32F_PEDANTIC: return Inputs::exact;
        case CUBLAS_COMPUTE_32F_FAST_TF32: return Inputs::tf32;
        case CUBLAS_COMPUTE_32F_FAST_16BF: return Inputs::bf16;
        default: return std::nullopt;
    }
}

cublasStatus_t status_of(CUresult result) {
    switch (result) {
        case CUDA_SUCCESS: return CUBLAS_STATUS_SUCCESS;
        case CUDA_ERROR_INVALID_HANDLE:
        case CUDA_ERROR_INVALID_CONTEXT: return CUBLAS_STATUS_NOT_INITIALIZED;
        default: return CUBLAS_STATUS_EXECUTION_FAILED;
    }
}

/// One operand of a call.
struct Operand {
    const void* data;
    cudaDataType type;
    int leading;
    long long stride;
};

struct Request {
    const char* name;
    cublasOperation_t transpose_a, transpose_b;
    int m, n, k;
    const void* alpha;
    Operand a, b;
    const void* beta;
    Operand c;
    int batches;
    cublasComputeType_t compute;
};

bool is_transposed(cublasOperation_t operation) { return operation != CUBLAS_OP_N; }

Matrix matrix(const Operand& operand, size_t rows, size_t columns) {
    return {static_cast<char*>(const_cast<void*>(operand.data)), *format_of(operand.type), rows, columns,
            static_cast<size_t>(operand.leading), operand.stride};
}

bool is_valid(const Request& r) {
    const int rows_a = is_transposed(r.transpose_a) ? r.k : r.m, rows_b = is_transposed(r.transpose_b) ? r.n : r.k;
    const bool extents = r.m >= 0 && r.n >= 0 && r.k >= 0 && r.batches >= 0;
    const bool strides = r.a.stride >= 0 && r.b.stride >= 0 && r.c.stride >= 0;
    return extents && strides && r.alpha && r.beta && r.a.leading >= std::max(1, rows_a) &&
           r.b.leading >= std::max(1, rows_b) && r.c.leading >= std::max(1, r.m);
}

bool is_emulated(const cublasContext& handle, const Request& r) {
    const auto a = format_of(r.a.type), b = format_of(r.b.type), c = format_of(r.c.type);
    return a && b && c && *a == *b && (*a == Format::bf16 || *c == Format::f32) && inputs_of(handle, r.compute) &&
           handle.pointers == CUBLAS_POINTER_MODE_HOST;
}

Product product_of(const cublasContext& handle, const Request& r) {
    const size_t m = r.m, n = r.n, k = r.k;
    const bool ta = is_transposed(r.transpose_a), tb = is_transposed(r.transpose_b);
    return {m, n, k, static_cast<size_t>(r.batches), ta, tb,
            matrix(r.a, ta ? k : m, ta ? m : k), matrix(r.b, tb ? n : k, tb ? k : n), matrix(r.c, m, n),
            *static_cast<const float*>(r.alpha), *static_cast<const float*>(r.beta), *inputs_of(handle, r.compute)};
}

cublasStatus_t gemm(cublasHandle_t handle, const Request& request) {
    if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!is_valid(request)) return CUBLAS_STATUS_INVALID_VALUE;
    if (!is_emulated(*handle, request)) {
        say("%s: types, computation or pointer mode are not emulated", request.name);
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    const Product product = product_of(*handle, request);
    if (product.m == 0 || product.n == 0 || product.batches == 0) return status_of(current_state());
    Work work{request.name, {product.c.span(product.batches), handle->workspace}, nullptr};
    if (product.k > 0) {
        work.touches.push_back(product.a.span(product.batches));
        work.touches.push_back(product.b.span(product.batches));
    }
    work.run = [product, workspace = handle->workspace] {
        spoil({workspace.start, std::min(workspace.bytes, spoilt_bytes)});
        for (size_t batch = 0; batch < product.batches; ++batch) multiply(product, batch);
    };
    return status_of(submit(reinterpret_cast<CUstream>(handle->stream), std::move(work)));
}

}  // namespace

cublasStatus_t cublasCreate(cublasHandle_t* out) {
    if (current_state()) return CUBLAS_STATUS_NOT_INITIALIZED;
    *out = new cublasContext;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int* out) {
    *out = CUBLAS_VERSION;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetProperty(libraryPropertyType property, int* out) {
    *out = property == MAJOR_VERSION ? CUBLAS_VER_MAJOR : property == MINOR_VERSION ? CUBLAS_VER_MINOR : CUBLAS_VER_PATCH;
    return CUBLAS_STATUS_SUCCESS;
}

/// As the library does, this forgets the workspace.
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
    handle->stream = stream;
    handle->workspace = {nullptr, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t* out) {
    *out = handle->stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(workspace) % 256 != 0) return CUBLAS_STATUS_INVALID_VALUE;
    handle->workspace = {workspace, bytes};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
    handle->math = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* out) {
    *out = handle->math;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetPointerMode(cublasHandle_t handle, cublasPointerMode_t mode) {
    handle->pointers = mode;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetPointerMode(cublasHandle_t handle, cublasPointerMode_t* out) {
    *out = handle->pointers;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transpose_a, cublasOperation_t transpose_b, int m,
                           int n, int k, const float* alpha, const float* a, int lda, const float* b, int ldb,
                           const float* beta, float* c, int ldc) {
    return gemm(handle, {"cublasSgemm", transpose_a, transpose_b, m, n, k, alpha, {a, CUDA_R_32F, lda, 0},
                         {b, CUDA_R_32F, ldb, 0}, beta, {c, CUDA_R_32F, ldc, 0}, 1, CUBLAS_COMPUTE_32F});
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t transpose_a,
                                         cublasOperation_t transpose_b, int m, int n, int k, const float* alpha,
                                         const float* a, int lda, long long stride_a, const float* b, int ldb,
                                         long long stride_b, const float* beta, float* c, int ldc, long long stride_c,
                                         int batches) {
    return gemm(handle, {"cublasSgemmStridedBatched", transpose_a, transpose_b, m, n, k, alpha,
                         {a, CUDA_R_32F, lda, stride_a}, {b, CUDA_R_32F, ldb, stride_b}, beta,
                         {c, CUDA_R_32F, ldc, stride_c}, batches, CUBLAS_COMPUTE_32F});
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transpose_a, cublasOperation_t transpose_b, int m,
                            int n, int k, const void* alpha, const void* a, cudaDataType type_a, int lda, const void* b,
                            cudaDataType type_b, int ldb, const void* beta, void* c, cudaDataType type_c, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t) {
    return gemm(handle, {"cublasGemmEx", transpose_a, transpose_b, m, n, k, alpha, {a, type_a, lda, 0},
                         {b, type_b, ldb, 0}, beta, {c, type_c, ldc, 0}, 1, compute});
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transpose_a,
                                          cublasOperation_t transpose_b, int m, int n, int k, const void* alpha,
                                          const void* a, cudaDataType type_a, int lda, long long stride_a, const void* b,
                                          cudaDataType type_b, int ldb, long long stride_b, const void* beta, void* c,
                                          cudaDataType type_c, int ldc, long long stride_c, int batches,
                                          cublasComputeType_t compute, cublasGemmAlgo_t) {
    return gemm(handle, {"cublasGemmStridedBatchedEx", transpose_a, transpose_b, m, n, k, alpha,
                         {a, type_a, lda, stride_a}, {b, type_b, ldb, stride_b}, beta, {c, type_c, ldc, stride_c}, batches,
                         compute});
}
