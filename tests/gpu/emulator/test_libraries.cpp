// Tests of cuBLAS and cuDNN against sums in float64, one number at a time.
#include "test.h"

#include "numbers.h"

#include <cublas_v2.h>
#include <cudnn.h>

using namespace test;
using emulator::Format;

namespace {

/// Numbers in device memory in a format, with what the format makes of them.
struct Data {
    Format format;
    std::vector<float> numbers;
    CUdeviceptr address;

    Data(Format format, std::vector<float> values) : format(format), numbers(std::move(values)) {
        std::vector<char> bytes(numbers.size() * emulator::size_of(format));
        for (size_t i = 0; i < numbers.size(); ++i) {
            emulator::store(format, bytes.data(), i, numbers[i]);
            numbers[i] = emulator::load(format, bytes.data(), i);
        }
        OK(cuMemAlloc(&address, bytes.size()));
        OK(cuMemcpyHtoD(address, bytes.data(), bytes.size()));
    }
    void* pointer() const { return reinterpret_cast<void*>(address); }
    std::vector<float> now() const {
        std::vector<char> bytes(numbers.size() * emulator::size_of(format));
        OK(cuCtxSynchronize());
        OK(cuMemcpyDtoH(bytes.data(), address, bytes.size()));
        std::vector<float> found(numbers.size());
        for (size_t i = 0; i < found.size(); ++i) found[i] = emulator::load(format, bytes.data(), i);
        return found;
    }
};

double worst(const std::vector<float>& found, const std::vector<double>& expected) {
    double greatest = 0.0;
    for (size_t i = 0; i < found.size(); ++i) {
        if (std::isnan(found[i])) return INFINITY;
        greatest = std::max(greatest, std::abs(found[i] - expected[i]));
    }
    return greatest;
}

cudaStream_t runtime(CUstream stream) { return reinterpret_cast<cudaStream_t>(stream); }

// --- products

constexpr int m = 13, n = 9, k = 17, batches = 3;

struct Gemm {
    bool transpose_a, transpose_b;
    Format in = Format::f32, out = Format::f32;
    cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
    float beta = 0.5f;
};

cudaDataType type(Format format) { return format == Format::f32 ? CUDA_R_32F : CUDA_R_16BF; }

double expected_product(const Gemm& gemm, const Data& a, const Data& b, const Data& c, int batch, int i, int j) {
    const int lda = gemm.transpose_a ? k : m, ldb = gemm.transpose_b ? n : k;
    double sum = 0.0;
    for (int p = 0; p < k; ++p) {
        const double left = a.numbers[batch * m * k + (gemm.transpose_a ? i * lda + p : p * lda + i)];
        const double right = b.numbers[batch * k * n + (gemm.transpose_b ? p * ldb + j : j * ldb + p)];
        sum += left * right;
    }
    const double before = gemm.beta == 0.0f ? 0.0 : gemm.beta * c.numbers[batch * m * n + j * m + i];
    return 1.5 * sum + before;
}

/// The greatest difference from sums in float64.
double error_of(const Gemm& gemm) {
    const CUstream stream = new_stream();
    const Data a(gemm.in, numbers(batches * m * k, 1)), b(gemm.in, numbers(batches * k * n, 2));
    const Data c(gemm.out, gemm.beta == 0.0f ? std::vector<float>(batches * m * n, NAN) : numbers(batches * m * n, 3));
    cublasHandle_t handle;
    OK(cublasCreate(&handle));
    OK(cublasSetStream(handle, runtime(stream)));
    const float alpha = 1.5f;
    OK(cublasGemmStridedBatchedEx(handle, gemm.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                                  gemm.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k, &alpha, a.pointer(), type(gemm.in),
                                  gemm.transpose_a ? k : m, m * k, b.pointer(), type(gemm.in), gemm.transpose_b ? n : k,
                                  k * n, &gemm.beta, c.pointer(), type(gemm.out), m, m * n, batches, gemm.compute,
                                  CUBLAS_GEMM_DEFAULT));
    std::vector<double> expected;
    for (int batch = 0; batch < batches; ++batch)
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < m; ++i) expected.push_back(expected_product(gemm, a, b, c, batch, i, j));
    const double error = worst(c.now(), expected);
    OK(cublasDestroy(handle));
    return error;
}

/// to = from · from.
cublasStatus_t square_product(cublasHandle_t handle, int extent, CUdeviceptr from, CUdeviceptr to) {
    const float one = 1.0f, zero = 0.0f;
    const float* numbers = reinterpret_cast<const float*>(from);
    return cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, extent, extent, extent, &one, numbers, extent, numbers, extent,
                       &zero, reinterpret_cast<float*>(to), extent);
}

// --- convolutions

struct Shape {
    int n, c, h, w, k, r, s, padding, stride, dilation, groups;
    bool channels_last = false;
    Format format = Format::f32;
    cudnnMathType_t math = CUDNN_FMA_MATH;

    int rows() const { return (h + 2 * padding - (r - 1) * dilation - 1) / stride + 1; }
    int columns() const { return (w + 2 * padding - (s - 1) * dilation - 1) / stride + 1; }
    int depth() const { return c / groups; }
};

/// Place of [i, j, y, x] in a packed tensor with so many channels, rows and columns.
size_t place(const Shape& shape, int i, int j, int y, int x, int channels, int rows, int columns) {
    return shape.channels_last ? ((size_t(i) * rows + y) * columns + x) * channels + j
                               : ((size_t(i) * channels + j) * rows + y) * columns + x;
}

/// Calls `body(x, w, y)` with the places of each product of the convolution.
template <class Body>
void for_each_product(const Shape& shape, Body body) {
    const auto& [n, c, h, w, k, r, s, padding, stride, dilation, groups, last, format, math] = shape;
    for (int image = 0; image < n; ++image)
        for (int filter = 0; filter < k; ++filter)
            for (int y = 0; y < shape.rows(); ++y)
                for (int x = 0; x < shape.columns(); ++x)
                    for (int channel = 0; channel < shape.depth(); ++channel)
                        for (int i = 0; i < r; ++i)
                            for (int j = 0; j < s; ++j) {
                                const int row = y * stride - padding + i * dilation;
                                const int column = x * stride - padding + j * dilation;
                                if (row < 0 || row >= h || column < 0 || column >= w) continue;
                                const int input = filter / (k / groups) * shape.depth() + channel;
                                body(place(shape, image, input, row, column, c, h, w),
                                     place(shape, filter, channel, i, j, shape.depth(), r, s),
                                     place(shape, image, filter, y, x, k, shape.rows(), shape.columns()));
                            }
}

struct Convolution {
    Shape shape;
    Data x, w, y;
    cudnnHandle_t handle;
    cudnnTensorDescriptor_t x_tensor, y_tensor;
    cudnnFilterDescriptor_t filter;
    cudnnConvolutionDescriptor_t convolution;

    explicit Convolution(const Shape& shape)
        : shape(shape),
          x(shape.format, numbers(size_t(shape.n) * shape.c * shape.h * shape.w, 1)),
          w(shape.format, numbers(size_t(shape.k) * shape.depth() * shape.r * shape.s, 2)),
          y(shape.format, numbers(size_t(shape.n) * shape.k * shape.rows() * shape.columns(), 3)) {
        const cudnnTensorFormat_t order = shape.channels_last ? CUDNN_TENSOR_NHWC : CUDNN_TENSOR_NCHW;
        const cudnnDataType_t type = shape.format == Format::f32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
        OK(cudnnCreate(&handle));
        OK(cudnnSetStream(handle, runtime(new_stream())));
        OK(cudnnCreateTensorDescriptor(&x_tensor));
        OK(cudnnCreateTensorDescriptor(&y_tensor));
        OK(cudnnCreateFilterDescriptor(&filter));
        OK(cudnnCreateConvolutionDescriptor(&convolution));
        OK(cudnnSetTensor4dDescriptor(x_tensor, order, type, shape.n, shape.c, shape.h, shape.w));
        OK(cudnnSetFilter4dDescriptor(filter, type, order, shape.k, shape.depth(), shape.r, shape.s));
        OK(cudnnSetConvolution2dDescriptor(convolution, shape.padding, shape.padding, shape.stride, shape.stride,
                                           shape.dilation, shape.dilation, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
        OK(cudnnSetConvolutionGroupCount(convolution, shape.groups));
        OK(cudnnSetConvolutionMathType(convolution, shape.math));
        int dims[4];
        OK(cudnnGetConvolution2dForwardOutputDim(convolution, x_tensor, filter, &dims[0], &dims[1], &dims[2], &dims[3]));
        EXPECT(dims[0] == shape.n && dims[1] == shape.k && dims[2] == shape.rows() && dims[3] == shape.columns());
        OK(cudnnSetTensor4dDescriptor(y_tensor, order, type, dims[0], dims[1], dims[2], dims[3]));
    }
    static void* workspace(size_t bytes) {
        EXPECT(bytes > 0);
        CUdeviceptr address;
        OK(cuMemAlloc(&address, bytes));
        return reinterpret_cast<void*>(address);
    }
    double forward_error() const {
        const auto algorithm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
        const float alpha = 2.0f, beta = 0.5f;
        size_t bytes;
        OK(cudnnGetConvolutionForwardWorkspaceSize(handle, x_tensor, filter, convolution, y_tensor, algorithm, &bytes));
        OK(cudnnConvolutionForward(handle, &alpha, x_tensor, x.pointer(), filter, w.pointer(), convolution, algorithm,
                                   workspace(bytes), bytes, &beta, y_tensor, y.pointer()));
        std::vector<double> expected(y.numbers.begin(), y.numbers.end());
        for (double& number : expected) number *= beta;
        for_each_product(shape, [&](size_t i, size_t f, size_t o) { expected[o] += 2.0 * x.numbers[i] * w.numbers[f]; });
        return worst(y.now(), expected);
    }
    double data_error() const {
        const auto algorithm = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
        const float alpha = 1.0f, beta = 0.0f;
        size_t bytes;
        OK(cudnnGetConvolutionBackwardDataWorkspaceSize(handle, filter, y_tensor, convolution, x_tensor, algorithm, &bytes));
        OK(cudnnConvolutionBackwardData(handle, &alpha, filter, w.pointer(), y_tensor, y.pointer(), convolution, algorithm,
                                        workspace(bytes), bytes, &beta, x_tensor, x.pointer()));
        std::vector<double> expected(x.numbers.size());
        for_each_product(shape, [&](size_t i, size_t f, size_t o) { expected[i] += double(y.numbers[o]) * w.numbers[f]; });
        return worst(x.now(), expected);
    }
    double filter_error() const {
        const auto algorithm = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
        const float alpha = 1.0f, beta = 0.0f;
        size_t bytes;
        OK(cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, x_tensor, y_tensor, convolution, filter, algorithm, &bytes));
        OK(cudnnConvolutionBackwardFilter(handle, &alpha, x_tensor, x.pointer(), y_tensor, y.pointer(), convolution,
                                          algorithm, workspace(bytes), bytes, &beta, filter, w.pointer()));
        std::vector<double> expected(w.numbers.size());
        for_each_product(shape, [&](size_t i, size_t f, size_t o) { expected[f] += double(y.numbers[o]) * x.numbers[i]; });
        return worst(w.now(), expected);
    }
};

const Shape plain{2, 4, 7, 6, 6, 3, 3, 1, 1, 1, 1};
const Shape grouped{2, 4, 9, 8, 6, 3, 2, 2, 2, 2, 2};

Shape with(Shape shape, bool channels_last, Format format, cudnnMathType_t math) {
    shape.channels_last = channels_last;
    shape.format = format;
    shape.math = math;
    return shape;
}

void check_all(const Shape& shape, double tolerance) {
    EXPECT(Convolution(shape).forward_error() < tolerance);
    EXPECT(Convolution(shape).data_error() < tolerance);
    EXPECT(Convolution(shape).filter_error() < tolerance);
}

}  // namespace

TEST(products_are_right_for_all_transposes) {
    use_device();
    for (const bool a : {false, true})
        for (const bool b : {false, true}) {
            EXPECT(error_of({a, b}) < 1e-5);
            EXPECT(error_of({a, b, Format::bf16}) < 1e-5);
            EXPECT(error_of({a, b, Format::bf16, Format::bf16}) < 0.05);
        }
}

TEST(result_is_not_read_where_beta_is_0) {
    use_device();
    EXPECT(error_of({false, false, Format::f32, Format::f32, CUBLAS_COMPUTE_32F, 0.0f}) < 1e-5);
}

TEST(tf32_products_differ_from_exact_ones) {
    use_device();
    const double error = error_of({false, false, Format::f32, Format::f32, CUBLAS_COMPUTE_32F_FAST_TF32});
    EXPECT(error > 1e-4 && error < 1e-2);
}

TEST(product_of_unwritten_memory_is_nan) {
    use_device();
    const CUdeviceptr empty = empty_on_device(4), to = empty_on_device(4);
    cublasHandle_t handle;
    OK(cublasCreate(&handle));
    OK(square_product(handle, 2, empty, to));
    EXPECT(std::isnan(from_device(to, 4)[0]));
}

TEST(product_beyond_its_memory_breaks_the_context) {
    use_device();
    const CUdeviceptr small = empty_on_device(4), to = empty_on_device(64);
    cublasHandle_t handle;
    OK(cublasCreate(&handle));
    OK(square_product(handle, 8, small, to));
    EXPECT_RESULT(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_RESULT(square_product(handle, 2, to, to), CUBLAS_STATUS_EXECUTION_FAILED);
}

TEST(convolutions_are_right) {
    use_device();
    for (const bool last : {false, true}) {
        check_all(with(plain, last, Format::f32, CUDNN_FMA_MATH), 1e-4);
        check_all(with(grouped, last, Format::f32, CUDNN_FMA_MATH), 1e-4);
        check_all(with(plain, last, Format::bf16, CUDNN_TENSOR_OP_MATH), 0.3);
        check_all(with(grouped, last, Format::bf16, CUDNN_TENSOR_OP_MATH), 0.3);
    }
}

TEST(depthwise_convolutions_are_right) {
    use_device();
    check_all({2, 6, 8, 8, 6, 3, 3, 1, 2, 1, 6}, 1e-4);
}

TEST(forgotten_fma_math_shows) {
    use_device();
    for (const cudnnMathType_t math : {CUDNN_DEFAULT_MATH, CUDNN_TENSOR_OP_MATH}) {
        const double error = Convolution(with(plain, true, Format::f32, math)).forward_error();
        EXPECT(error > 2e-4 && error < 2e-2);
    }
}

TEST(algorithms_that_are_not_deterministic_are_refused) {
    use_device();
    const Convolution one(plain);
    size_t bytes;
    EXPECT_RESULT(cudnnGetConvolutionBackwardDataWorkspaceSize(one.handle, one.filter, one.y_tensor, one.convolution,
                                                               one.x_tensor, CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, &bytes),
                  CUDNN_STATUS_NOT_SUPPORTED);
    for (const auto algorithm : {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3})
        EXPECT_RESULT(cudnnGetConvolutionBackwardFilterWorkspaceSize(one.handle, one.x_tensor, one.y_tensor, one.convolution,
                                                                     one.filter, algorithm, &bytes),
                      CUDNN_STATUS_NOT_SUPPORTED);
}

TEST(workspace_that_is_too_small_is_refused) {
    use_device();
    const Convolution one(plain);
    const float alpha = 1.0f, beta = 0.0f;
    EXPECT_RESULT(cudnnConvolutionForward(one.handle, &alpha, one.x_tensor, one.x.pointer(), one.filter, one.w.pointer(),
                                          one.convolution, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, nullptr, 0, &beta,
                                          one.y_tensor, one.y.pointer()),
                  CUDNN_STATUS_BAD_PARAM);
}
