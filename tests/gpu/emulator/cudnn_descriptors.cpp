// libcudnn: descriptors of tensors, filters and convolutions.
#include "cudnn_descriptors.h"

#include <algorithm>
#include <tuple>

using namespace emulator;

namespace {

/// Strides in numbers of a packed tensor [n, c, h, w] whose channels come last or not.
Four packed_strides(const Four& dims, bool channels_last) {
    const auto [n, c, h, w] = dims;
    (void)n;
    return channels_last ? Four{h * w * c, 1, w * c, c} : Four{c * h * w, h * w, w, 1};
}

std::optional<Format> format_of(cudnnDataType_t type) {
    if (type == CUDNN_DATA_FLOAT) return Format::f32;
    if (type == CUDNN_DATA_BFLOAT16) return Format::bf16;
    return std::nullopt;
}

bool all_positive(const int* numbers, int count) {
    return std::all_of(numbers, numbers + count, [](int number) { return number > 0; });
}

cudnnStatus_t set_layout(Layout& layout, cudnnDataType_t type, const int* dims, const int* strides) {
    if (!all_positive(dims, 4) || !all_positive(strides, 4)) return CUDNN_STATUS_BAD_PARAM;
    layout.format = format_of(type);
    std::copy_n(dims, 4, layout.dims.begin());
    std::copy_n(strides, 4, layout.strides.begin());
    return layout.format ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_NOT_SUPPORTED;
}

cudnnStatus_t set_packed(Layout& layout, cudnnDataType_t type, cudnnTensorFormat_t format, const Four& dims) {
    if (format != CUDNN_TENSOR_NCHW && format != CUDNN_TENSOR_NHWC) return CUDNN_STATUS_NOT_SUPPORTED;
    return set_layout(layout, type, dims.data(), packed_strides(dims, format == CUDNN_TENSOR_NHWC).data());
}

}  // namespace

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* out) { return create(out); }

cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t descriptor) { return destroy(descriptor); }

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t descriptor, cudnnTensorFormat_t format,
                                         cudnnDataType_t type, int n, int c, int h, int w) {
    return set_packed(*descriptor, type, format, {n, c, h, w});
}

cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t descriptor, cudnnDataType_t type, int n, int c, int h,
                                           int w, int stride_n, int stride_c, int stride_h, int stride_w) {
    const Four dims{n, c, h, w}, strides{stride_n, stride_c, stride_h, stride_w};
    return set_layout(*descriptor, type, dims.data(), strides.data());
}

cudnnStatus_t cudnnSetTensorNdDescriptor(cudnnTensorDescriptor_t descriptor, cudnnDataType_t type, int count,
                                         const int dims[], const int strides[]) {
    return count == 4 ? set_layout(*descriptor, type, dims, strides) : CUDNN_STATUS_NOT_SUPPORTED;
}

cudnnStatus_t cudnnSetTensorNdDescriptorEx(cudnnTensorDescriptor_t descriptor, cudnnTensorFormat_t format,
                                           cudnnDataType_t type, int count, const int dims[]) {
    if (count != 4) return CUDNN_STATUS_NOT_SUPPORTED;
    return set_packed(*descriptor, type, format, {dims[0], dims[1], dims[2], dims[3]});
}

cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* out) { return create(out); }

cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t descriptor) { return destroy(descriptor); }

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t descriptor, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int k, int c, int r, int s) {
    return set_packed(*descriptor, type, format, {k, c, r, s});
}

cudnnStatus_t cudnnSetFilterNdDescriptor(cudnnFilterDescriptor_t descriptor, cudnnDataType_t type,
                                         cudnnTensorFormat_t format, int count, const int dims[]) {
    if (count != 4) return CUDNN_STATUS_NOT_SUPPORTED;
    return set_packed(*descriptor, type, format, {dims[0], dims[1], dims[2], dims[3]});
}

cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* out) { return create(out); }

cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t descriptor) { return destroy(descriptor); }

cudnnStatus_t cudnnSetConvolutionNdDescriptor(cudnnConvolutionDescriptor_t descriptor, int count, const int padding[],
                                              const int stride[], const int dilation[], cudnnConvolutionMode_t mode,
                                              cudnnDataType_t compute) {
    if (count != 2 || mode != CUDNN_CROSS_CORRELATION || compute != CUDNN_DATA_FLOAT) return CUDNN_STATUS_NOT_SUPPORTED;
    if (!all_positive(stride, 2) || !all_positive(dilation, 2) || padding[0] < 0 || padding[1] < 0)
        return CUDNN_STATUS_BAD_PARAM;
    std::copy_n(padding, 2, descriptor->padding);
    std::copy_n(stride, 2, descriptor->stride);
    std::copy_n(dilation, 2, descriptor->dilation);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t descriptor, int padding_h, int padding_w,
                                              int stride_h, int stride_w, int dilation_h, int dilation_w,
                                              cudnnConvolutionMode_t mode, cudnnDataType_t compute) {
    const int padding[] = {padding_h, padding_w}, stride[] = {stride_h, stride_w}, dilation[] = {dilation_h, dilation_w};
    return cudnnSetConvolutionNdDescriptor(descriptor, 2, padding, stride, dilation, mode, compute);
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t descriptor, int groups) {
    if (groups < 1) return CUDNN_STATUS_BAD_PARAM;
    descriptor->groups = groups;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t descriptor, cudnnMathType_t math) {
    descriptor->math = math;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolutionNdForwardOutputDim(const cudnnConvolutionDescriptor_t convolution,
                                                    const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
                                                    int count, int out[]) {
    if (count != 4 || x->dims[1] != w->dims[1] * convolution->groups) return CUDNN_STATUS_BAD_PARAM;
    const Four dims = output_dims(*convolution, x->dims, w->dims);
    if (!all_positive(dims.data(), 4)) return CUDNN_STATUS_BAD_PARAM;
    std::copy_n(dims.begin(), 4, out);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetConvolution2dForwardOutputDim(const cudnnConvolutionDescriptor_t convolution,
                                                    const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
                                                    int* n, int* c, int* height, int* width) {
    Four dims;
    const cudnnStatus_t status = cudnnGetConvolutionNdForwardOutputDim(convolution, x, w, 4, dims.data());
    if (status == CUDNN_STATUS_SUCCESS) std::tie(*n, *c, *height, *width) = std::tuple_cat(dims);
    return status;
}
