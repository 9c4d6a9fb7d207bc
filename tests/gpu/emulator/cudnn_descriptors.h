// What stands behind cuDNN's descriptors.
#pragma once

#include "convolutions.h"

#include <cudnn.h>

struct cudnnTensorStruct : emulator::Layout {};
struct cudnnFilterStruct : emulator::Layout {};
struct cudnnConvolutionStruct : emulator::Moves {
    cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

namespace emulator {

template <class Object>
cudnnStatus_t create(Object** out) {
    *out = new Object;
    return CUDNN_STATUS_SUCCESS;
}

template <class Object>
cudnnStatus_t destroy(Object* object) {
    delete object;
    return CUDNN_STATUS_SUCCESS;
}

}  // namespace emulator
