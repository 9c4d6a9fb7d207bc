// libcudart: what kernels that are linked into a program need at its start. They are registered and cannot be launched.
#include "machine.h"

#include <cuda_runtime_api.h>

extern "C" {

void** __cudaRegisterFatBinary(void* image) {
    static void* handle;
    handle = image;
    return &handle;
}

void __cudaRegisterFatBinaryEnd(void**) {}

void __cudaUnregisterFatBinary(void**) {}

void __cudaRegisterFunction(void**, const char*, char*, const char*, int, void*, void*, void*, void*, int*) {}

void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}

char __cudaInitModule(void**) { return 1; }

unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, cudaStream_t) {
    return emulator_unsupported("a launch of a linked kernel", cudaErrorNotSupported);
}

cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) { return cudaErrorNotSupported; }

cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) { return cudaErrorNotSupported; }

cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t) { return cudaErrorNotSupported; }

cudaError_t __cudaLaunchKernel_ptsz(cudaKernel_t kernel, dim3 grid, dim3 block, void** parameters, size_t shared_bytes,
                                    cudaStream_t stream) {
    return __cudaLaunchKernel(kernel, grid, block, parameters, shared_bytes, stream);
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaPeekAtLastError() { return cudaSuccess; }

cudaError_t cudaRuntimeGetVersion(int* out) {
    *out = CUDART_VERSION;
    return cudaSuccess;
}

}  // extern "C"
