// libcuda: start, errors, devices and contexts.
#include "driver.h"

#include <dlfcn.h>

#include <cstring>
#include <map>
#include <utility>

using namespace emulator;

namespace {

constexpr int version = 13000;

/// The contexts under the current one of each thread, for push and pop.
thread_local std::vector<Context*> below;

const std::map<CUresult, std::pair<const char*, const char*>> errors = {
    {CUDA_SUCCESS, {"CUDA_SUCCESS", "no error"}},
    {CUDA_ERROR_INVALID_VALUE, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {CUDA_ERROR_OUT_OF_MEMORY, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {CUDA_ERROR_NOT_INITIALIZED, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {CUDA_ERROR_DEINITIALIZED, {"CUDA_ERROR_DEINITIALIZED", "driver shutting down"}},
    {CUDA_ERROR_NO_DEVICE, {"CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}},
    {CUDA_ERROR_INVALID_DEVICE, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {CUDA_ERROR_INVALID_IMAGE, {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}},
    {CUDA_ERROR_INVALID_CONTEXT, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {CUDA_ERROR_ECC_UNCORRECTABLE, {"CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"}},
    {CUDA_ERROR_INVALID_HANDLE, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {CUDA_ERROR_NOT_FOUND, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {CUDA_ERROR_NOT_READY, {"CUDA_ERROR_NOT_READY", "device not ready"}},
    {CUDA_ERROR_ILLEGAL_ADDRESS, {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"}},
    {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, {"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"}},
    {CUDA_ERROR_LAUNCH_TIMEOUT, {"CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"}},
    {CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, {"CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled"}},
    {CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, {"CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", "peer access has not been enabled"}},
    {CUDA_ERROR_MISALIGNED_ADDRESS, {"CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"}},
    {CUDA_ERROR_LAUNCH_FAILED, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
    {CUDA_ERROR_NOT_SUPPORTED, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
    {CUDA_ERROR_UNKNOWN, {"CUDA_ERROR_UNKNOWN", "unknown error"}},
};

const std::map<CUdevice_attribute, int> attributes = {
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, 2147483647},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 232448},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 233472},
    {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
    {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
    {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1980000},
    {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 2619000},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 5120},
    {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 52428800},
    {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, multiprocessors},
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 32},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
    {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
    {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
};

Device* device(Machine& all, CUdevice ordinal) {
    return ordinal >= 0 && ordinal < settings().devices ? &all.devices[ordinal] : nullptr;
}

/// Calls `body(device)` for an ordinal that exists.
template <class Body>
CUresult with_device(CUdevice ordinal, Body body) {
    return in_machine([&](Machine& all) -> CUresult {
        Device* found = device(all, ordinal);
        return found ? body(all, *found) : CUDA_ERROR_INVALID_DEVICE;
    });
}

/// The current version of a function of this library.
void* newest(const char* symbol) {
    static void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    for (const char* suffix : {"_v4", "_v3", "_v2", ""})
        if (void* found = dlsym(library, (std::string(symbol) + suffix).c_str())) return found;
    return nullptr;
}

}  // namespace

CUresult cuInit(unsigned) {
    Machine& all = machine();
    const std::lock_guard guard(all.lock);
    if (settings().devices == 0) return CUDA_ERROR_NO_DEVICE;
    all.initialised = true;
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* out) {
    *out = version;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char** out) {
    const auto found = errors.find(error);
    *out = found == errors.end() ? "CUDA_ERROR_UNKNOWN" : found->second.first;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** out) {
    const auto found = errors.find(error);
    *out = found == errors.end() ? "unknown error" : found->second.second;
    return CUDA_SUCCESS;
}

CUresult cuGetProcAddress(const char* symbol, void** out, int, cuuint64_t, CUdriverProcAddressQueryResult* status) {
    *out = newest(symbol);
    if (status) *status = *out ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *out ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult cuDeviceGetCount(int* out) {
    return in_machine([&](Machine&) {
        *out = settings().devices;
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceGet(CUdevice* out, int ordinal) {
    return with_device(ordinal, [&](Machine&, Device&) {
        *out = ordinal;
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceGetName(char* out, int length, CUdevice ordinal) {
    return with_device(ordinal, [&](Machine&, Device&) {
        snprintf(out, length, "Emulated GPU");
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceGetUuid(CUuuid* out, CUdevice ordinal) {
    return with_device(ordinal, [&](Machine&, Device&) {
        memset(out, 0, sizeof *out);
        snprintf(out->bytes, sizeof out->bytes, "emulated-%d", ordinal);
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceTotalMem(size_t* out, CUdevice ordinal) {
    return with_device(ordinal, [&](Machine&, Device&) {
        *out = settings().memory;
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceGetAttribute(int* out, CUdevice_attribute attribute, CUdevice ordinal) {
    return with_device(ordinal, [&](Machine&, Device&) {
        const auto found = attributes.find(attribute);
        *out = attribute == CU_DEVICE_ATTRIBUTE_PCI_BUS_ID ? ordinal + 1 : found == attributes.end() ? 0 : found->second;
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceGetPCIBusId(char* out, int length, CUdevice ordinal) {
    return with_device(ordinal, [&](Machine&, Device&) {
        snprintf(out, length, "0000:%02X:00.0", ordinal + 1);
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceCanAccessPeer(int* out, CUdevice from, CUdevice to) {
    return with_device(from, [&](Machine& all, Device&) {
        if (!device(all, to)) return CUDA_ERROR_INVALID_DEVICE;
        *out = from != to;
        return CUDA_SUCCESS;
    });
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* out, CUdevice ordinal) {
    return with_device(ordinal, [&](Machine& all, Device& found) {
        if (found.lost) return CUDA_ERROR_UNKNOWN;
        if (found.retained++ == 0) found.primary = all.make_context(found);
        *out = reinterpret_cast<CUcontext>(found.primary.get());
        return CUDA_SUCCESS;
    });
}

CUresult cuDevicePrimaryCtxRelease(CUdevice ordinal) {
    return with_device(ordinal, [&](Machine& all, Device& found) {
        if (found.retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
        if (--found.retained == 0) all.destroy_context(std::exchange(found.primary, nullptr));
        return CUDA_SUCCESS;
    });
}

CUresult cuDevicePrimaryCtxReset(CUdevice ordinal) {
    return with_device(ordinal, [&](Machine& all, Device& found) {
        if (found.primary) all.destroy_context(found.primary);
        if (found.primary) found.primary = all.make_context(found);
        return CUDA_SUCCESS;
    });
}

CUresult cuDevicePrimaryCtxSetFlags(CUdevice ordinal, unsigned flags) {
    return with_device(ordinal, [&](Machine&, Device& found) {
        found.primary_flags = flags;
        return CUDA_SUCCESS;
    });
}

CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned* flags, int* active) {
    return with_device(ordinal, [&](Machine&, Device& found) {
        *flags = found.primary_flags;
        *active = found.retained > 0;
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxGetCurrent(CUcontext* out) {
    return in_machine([&](Machine&) {
        *out = reinterpret_cast<CUcontext>(current_context());
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxSetCurrent(CUcontext handle) {
    return in_machine([&](Machine& all) {
        const auto context = all.contexts.find(handle);
        if (handle && !context) return CUDA_ERROR_INVALID_CONTEXT;
        current_context() = context.get();
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxPushCurrent(CUcontext handle) {
    return in_machine([&](Machine& all) {
        const auto context = all.contexts.find(handle);
        if (!context) return CUDA_ERROR_INVALID_CONTEXT;
        below.push_back(std::exchange(current_context(), context.get()));
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxPopCurrent(CUcontext* out) {
    return in_machine([&](Machine&) {
        if (!current_context()) return CUDA_ERROR_INVALID_CONTEXT;
        if (out) *out = reinterpret_cast<CUcontext>(current_context());
        current_context() = below.empty() ? nullptr : below.back();
        if (!below.empty()) below.pop_back();
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxGetDevice(CUdevice* out) {
    return in_machine([&](Machine&) {
        if (!current_context()) return CUDA_ERROR_INVALID_CONTEXT;
        *out = current_context()->device.ordinal;
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxSynchronize() {
    return in_context([](Machine& all, Context& context) {
        all.drain(context);
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxSetFlags(unsigned) {
    return in_context([](Machine&, Context&) { return CUDA_SUCCESS; });
}

CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    return in_context([&](Machine&, Context&) {
        if (least) *least = 0;
        if (greatest) *greatest = -5;
        return CUDA_SUCCESS;
    });
}

CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned) {
    return in_context([&](Machine& all, Context& context) {
        const auto other = all.contexts.find(peer);
        if (!other || &other->device == &context.device) return CUDA_ERROR_INVALID_CONTEXT;
        const bool added = context.peers.insert(other->device.ordinal).second;
        return added ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
    });
}

CUresult cuCtxDisablePeerAccess(CUcontext peer) {
    return in_context([&](Machine& all, Context& context) {
        const auto other = all.contexts.find(peer);
        if (!other) return CUDA_ERROR_INVALID_CONTEXT;
        return context.peers.erase(other->device.ordinal) ? CUDA_SUCCESS : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
    });
}
