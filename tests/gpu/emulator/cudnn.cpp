// libcudnn: handles and convolutions.
#include "cudnn_descriptors.h"
#include "machine.h"

#include <cstdio>

using namespace emulator;

struct cudnnContext {
    cudaStream_t stream = nullptr;
};

namespace {

/// Unless the program forbids it, float32 goes through tensor cores.
Inputs inputs_of(const Layout& x, cudnnMathType_t math) {
    return x.format == Format::f32 && math != CUDNN_FMA_MATH ? Inputs::tf32 : Inputs::exact;
}

Convolution convolution_of(const cudnnConvolutionStruct& moves, const Layout& x, const Layout& w, const Layout& y) {
    return {moves, x, w, y, inputs_of(x, moves.math)};
}

/// Not what the library asks for: enough that a program without a workspace, or with another problem's, is found.
size_t workspace_bytes(const Convolution& convolution) { return 512 + 4 * convolution.w.count(); }

cudnnStatus_t status_of(CUresult result) {
    switch (result) {
        case CUDA_SUCCESS: return CUDNN_STATUS_SUCCESS;
        case CUDA_ERROR_INVALID_HANDLE:
        case CUDA_ERROR_INVALID_CONTEXT: return CUDNN_STATUS_NOT_INITIALIZED;
        default: return CUDNN_STATUS_EXECUTION_FAILED;
    }
}

/// A tensor of a call.
struct Operand {
    Layout layout;
    void* data;

    Operand(const Layout& layout, const void* data) : layout(layout), data(const_cast<void*>(data)) {}
    Span span() const { return {data, layout.bytes()}; }
};

using Compute = Numbers (*)(const Convolution&, const Numbers&, const Numbers&);

/// result = alpha · compute(left, right) + beta · result.
struct Request {
    const char* name;
    Compute compute;
    Operand left, right, result;
    float alpha, beta;
    Span workspace;
};

float factor(const void* scalar) { return *static_cast<const float*>(scalar); }

void carry_out(const Convolution& convolution, const Request& request) {
    spoil({request.workspace.start, workspace_bytes(convolution)});
    const auto& [name, compute, left, right, result, alpha, beta, workspace] = request;
    const Numbers left_numbers = gathered(left.layout, left.data, convolution.inputs);
    const Numbers right_numbers = gathered(right.layout, right.data, convolution.inputs);
    scatter(result.layout, result.data, compute(convolution, left_numbers, right_numbers), alpha, beta);
}

cudnnStatus_t convolve(cudnnHandle_t handle, const Convolution& convolution, const Request& request) {
    if (!handle) return CUDNN_STATUS_NOT_INITIALIZED;
    const auto& [name, compute, left, right, result, alpha, beta, workspace] = request;
    if (!convolution.is_consistent() || !left.data || !right.data || !result.data) return CUDNN_STATUS_BAD_PARAM;
    if (workspace.bytes < workspace_bytes(convolution) || !workspace.start) {
        say("%s: the workspace has %zu bytes and should have %zu", name, workspace.bytes, workspace_bytes(convolution));
        return CUDNN_STATUS_BAD_PARAM;
    }
    Work work{name, {left.span(), right.span(), result.span(), workspace}, nullptr};
    work.run = [convolution, request] { carry_out(convolution, request); };
    return status_of(submit(reinterpret_cast<CUstream>(handle->stream), std::move(work)));
}

cudnnStatus_t not_deterministic(const char* algorithm) {
    say("%s is not deterministic and is refused", algorithm);
    return CUDNN_STATUS_NOT_SUPPORTED;
}

cudnnStatus_t check(cudnnConvolutionFwdAlgo_t algorithm) {
    return algorithm == CUDNN_CONVOLUTION_FWD_ALGO_DIRECT ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check(cudnnConvolutionBwdDataAlgo_t algorithm) {
    if (algorithm == CUDNN_CONVOLUTION_BWD_DATA_ALGO_0) return not_deterministic("BWD_DATA_ALGO_0");
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t check(cudnnConvolutionBwdFilterAlgo_t algorithm) {
    if (algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0) return not_deterministic("BWD_FILTER_ALGO_0");
    if (algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3) return not_deterministic("BWD_FILTER_ALGO_3");
    return CUDNN_STATUS_SUCCESS;
}

template <class Algorithm>
cudnnStatus_t workspace_size(const Convolution& convolution, Algorithm algorithm, size_t* out) {
    if (!convolution.is_consistent()) return CUDNN_STATUS_BAD_PARAM;
    *out = workspace_bytes(convolution);
    return check(algorithm);
}

/// The heuristics' answer: one algorithm that is emulated.
template <class Result, class Algorithm>
cudnnStatus_t only(const Convolution& convolution, Algorithm algorithm, int requested, int* returned, Result* results) {
    if (!convolution.is_consistent() || requested < 1) return CUDNN_STATUS_BAD_PARAM;
    *returned = 1;
    results[0] = {};
    results[0].algo = algorithm;
    results[0].status = CUDNN_STATUS_SUCCESS;
    results[0].memory = workspace_bytes(convolution);
    results[0].determinism = CUDNN_DETERMINISTIC;
    results[0].mathType = convolution.inputs == Inputs::tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH;
    return CUDNN_STATUS_SUCCESS;
}

}  // namespace

size_t cudnnGetVersion() { return CUDNN_VERSION; }

size_t cudnnGetCudartVersion() { return 13000; }

cudnnStatus_t cudnnGetProperty(libraryPropertyType property, int* out) {
    *out = property == MAJOR_VERSION ? CUDNN_MAJOR : property == MINOR_VERSION ? CUDNN_MINOR : CUDNN_PATCHLEVEL;
    return CUDNN_STATUS_SUCCESS;
}

const char* cudnnGetErrorString(cudnnStatus_t status) {
    switch (status) {
        case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
        case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
        case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
        case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
        case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
        default: return "CUDNN_STATUS_INTERNAL_ERROR";
    }
}

void cudnnGetLastErrorString(char* out, size_t length) { snprintf(out, length, "see the standard error"); }

cudnnStatus_t cudnnCreate(cudnnHandle_t* out) {
    return current_state() ? CUDNN_STATUS_NOT_INITIALIZED : create(out);
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return destroy(handle); }

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    if (!handle) return CUDNN_STATUS_BAD_PARAM;
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* out) {
    *out = handle->stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                      const cudnnFilterDescriptor_t w,
                                                      const cudnnConvolutionDescriptor_t convolution,
                                                      const cudnnTensorDescriptor_t y, cudnnConvolutionFwdAlgo_t algorithm,
                                                      size_t* out) {
    return workspace_size(convolution_of(*convolution, *x, *w, *y), algorithm, out);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, const cudnnFilterDescriptor_t w,
                                                           const cudnnTensorDescriptor_t dy,
                                                           const cudnnConvolutionDescriptor_t convolution,
                                                           const cudnnTensorDescriptor_t dx,
                                                           cudnnConvolutionBwdDataAlgo_t algorithm, size_t* out) {
    return workspace_size(convolution_of(*convolution, *dx, *w, *dy), algorithm, out);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                             const cudnnTensorDescriptor_t dy,
                                                             const cudnnConvolutionDescriptor_t convolution,
                                                             const cudnnFilterDescriptor_t dw,
                                                             cudnnConvolutionBwdFilterAlgo_t algorithm, size_t* out) {
    return workspace_size(convolution_of(*convolution, *x, *dw, *dy), algorithm, out);
}

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                     const cudnnFilterDescriptor_t w,
                                                     const cudnnConvolutionDescriptor_t convolution,
                                                     const cudnnTensorDescriptor_t y, const int requested, int* returned,
                                                     cudnnConvolutionFwdAlgoPerf_t* results) {
    return only(convolution_of(*convolution, *x, *w, *y), CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, requested, returned,
                results);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t, const cudnnFilterDescriptor_t w,
                                                          const cudnnTensorDescriptor_t dy,
                                                          const cudnnConvolutionDescriptor_t convolution,
                                                          const cudnnTensorDescriptor_t dx, const int requested,
                                                          int* returned, cudnnConvolutionBwdDataAlgoPerf_t* results) {
    return only(convolution_of(*convolution, *dx, *w, *dy), CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, requested, returned,
                results);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t, const cudnnTensorDescriptor_t x,
                                                            const cudnnTensorDescriptor_t dy,
                                                            const cudnnConvolutionDescriptor_t convolution,
                                                            const cudnnFilterDescriptor_t dw, const int requested,
                                                            int* returned, cudnnConvolutionBwdFilterAlgoPerf_t* results) {
    return only(convolution_of(*convolution, *x, *dw, *dy), CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, requested, returned,
                results);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x,
                                      const void* x_data, const cudnnFilterDescriptor_t w, const void* w_data,
                                      const cudnnConvolutionDescriptor_t convolution, cudnnConvolutionFwdAlgo_t algorithm,
                                      void* workspace, size_t workspace_bytes, const void* beta,
                                      const cudnnTensorDescriptor_t y, void* y_data) {
    if (const cudnnStatus_t status = check(algorithm)) return status;
    return convolve(handle, convolution_of(*convolution, *x, *w, *y),
                    {"cudnnConvolutionForward", forward, {*x, x_data}, {*w, w_data}, {*y, y_data},
                     factor(alpha), factor(beta), {workspace, workspace_bytes}});
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void* alpha, const cudnnFilterDescriptor_t w,
                                           const void* w_data, const cudnnTensorDescriptor_t dy, const void* dy_data,
                                           const cudnnConvolutionDescriptor_t convolution,
                                           cudnnConvolutionBwdDataAlgo_t algorithm, void* workspace, size_t workspace_bytes,
                                           const void* beta, const cudnnTensorDescriptor_t dx, void* dx_data) {
    if (const cudnnStatus_t status = check(algorithm)) return status;
    return convolve(handle, convolution_of(*convolution, *dx, *w, *dy),
                    {"cudnnConvolutionBackwardData", backward_data, {*w, w_data}, {*dy, dy_data}, {*dx, dx_data},
                     factor(alpha), factor(beta), {workspace, workspace_bytes}});
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x,
                                             const void* x_data, const cudnnTensorDescriptor_t dy, const void* dy_data,
                                             const cudnnConvolutionDescriptor_t convolution,
                                             cudnnConvolutionBwdFilterAlgo_t algorithm, void* workspace,
                                             size_t workspace_bytes, const void* beta, const cudnnFilterDescriptor_t dw,
                                             void* dw_data) {
    if (const cudnnStatus_t status = check(algorithm)) return status;
    return convolve(handle, convolution_of(*convolution, *x, *dw, *dy),
                    {"cudnnConvolutionBackwardFilter", backward_filter, {*x, x_data}, {*dy, dy_data}, {*dw, dw_data},
                     factor(alpha), factor(beta), {workspace, workspace_bytes}});
}
