// libcurand: generators exist, so that programs that make one start; numbers are not generated.
#include "machine.h"

#include <curand.h>

struct curandGenerator_st {};

curandStatus_t curandCreateGenerator(curandGenerator_t* out, curandRngType_t) {
    if (emulator::current_state()) return CURAND_STATUS_INITIALIZATION_FAILED;
    *out = new curandGenerator_st;
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandDestroyGenerator(curandGenerator_t generator) {
    delete generator;
    return CURAND_STATUS_SUCCESS;
}

curandStatus_t curandSetStream(curandGenerator_t, cudaStream_t) { return CURAND_STATUS_SUCCESS; }

curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t, unsigned long long) { return CURAND_STATUS_SUCCESS; }

curandStatus_t curandSetGeneratorOffset(curandGenerator_t, unsigned long long) { return CURAND_STATUS_SUCCESS; }

curandStatus_t curandGetVersion(int* out) {
    *out = CURAND_VERSION;
    return CURAND_STATUS_SUCCESS;
}
