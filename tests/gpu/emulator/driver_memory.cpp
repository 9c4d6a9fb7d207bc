// libcuda: allocation and pools.
#include "driver.h"

#include <algorithm>

using namespace emulator;

namespace {

constexpr size_t granularity = 512;

size_t charged(size_t bytes) { return (bytes + granularity - 1) / granularity * granularity; }

bool fits(const Device& device, size_t bytes) { return charged(bytes) <= settings().memory - device.used; }

/// An error that the environment asked for; all but a lack of memory break the context.
CUresult allocation_fault(Machine& all, Context& context) {
    const CUresult fault = all.due_fault(context.device, Fault::At::allocation);
    if (fault != CUDA_ERROR_OUT_OF_MEMORY) context.broken = fault;
    return fault;
}

/// Memory of the context's device; where it is short, what is queued runs first, as it may free some.
CUresult take(Machine& all, Context& context, size_t bytes, bool pooled, Allocation** out) {
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (const CUresult fault = allocation_fault(all, context)) return fault;
    if (!fits(context.device, bytes)) all.drain(context);
    if (context.broken) return context.broken;
    if (!fits(context.device, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    *out = all.memory.allocate(Allocation::Place::device, context.device.ordinal, pooled, bytes);
    if (!*out) return CUDA_ERROR_OUT_OF_MEMORY;
    Device& device = context.device;
    device.used += charged(bytes);
    device.most_used = std::max(device.most_used, device.used);
    return CUDA_SUCCESS;
}

void give_back(Machine& all, Allocation& allocation) {
    all.devices[allocation.device].used -= charged(allocation.bytes);
    all.memory.release(allocation);
}

/// A live device allocation that starts there and has not been freed yet.
Allocation* freeable(Machine& all, CUdeviceptr address) {
    Allocation* allocation = all.memory.starting_at(host(address));
    return allocation && allocation->place == Allocation::Place::device && !allocation->doomed ? allocation : nullptr;
}

CUresult take_in_stream(CUdeviceptr* out, size_t bytes, CUstream handle) {
    return in_stream(handle, [&](Machine& all, const std::shared_ptr<Stream>& stream) {
        Allocation* allocation = nullptr;
        if (const CUresult error = take(all, *stream->context, bytes, true, &allocation)) return error;
        *out = reinterpret_cast<CUdeviceptr>(allocation->start);
        return all.issue(stream, "cuMemAllocAsync", [&all, allocation] {
            all.memory.open(*allocation);
            return CUDA_SUCCESS;
        });
    });
}

CUresult take_pinned(void** out, size_t bytes) {
    return in_context([&](Machine& all, Context&) {
        if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
        Allocation* allocation = all.memory.allocate(Allocation::Place::pinned, -1, false, bytes);
        if (!allocation) return CUDA_ERROR_OUT_OF_MEMORY;
        all.memory.open(*allocation);
        *out = allocation->start;
        return CUDA_SUCCESS;
    });
}

CUresult release_host(void* start, Allocation::Place place) {
    return in_context([&](Machine& all, Context&) {
        Allocation* allocation = all.memory.starting_at(start);
        if (!allocation || allocation->place != place) return CUDA_ERROR_INVALID_VALUE;
        all.memory.release(*allocation);
        return CUDA_SUCCESS;
    });
}

/// A pool's handle is its device's address; there are no pools but the devices' own.
CUresult pool_of(CUmemoryPool* out, CUdevice ordinal) {
    return in_machine([&](Machine& all) {
        if (ordinal < 0 || ordinal >= settings().devices) return CUDA_ERROR_INVALID_DEVICE;
        *out = reinterpret_cast<CUmemoryPool>(&all.devices[ordinal]);
        return CUDA_SUCCESS;
    });
}

template <class Body>
CUresult in_pool(CUmemoryPool handle, Body body) {
    return in_machine([&](Machine& all) -> CUresult {
        for (Device& device : all.devices)
            if (reinterpret_cast<CUmemoryPool>(&device) == handle) return body(device);
        return CUDA_ERROR_INVALID_VALUE;
    });
}

bool is_high_water_mark(CUmemPool_attribute attribute) {
    return attribute == CU_MEMPOOL_ATTR_USED_MEM_HIGH || attribute == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH;
}

bool is_reuse_flag(CUmemPool_attribute attribute) {
    return attribute == CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES ||
           attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC ||
           attribute == CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES;
}

}  // namespace

CUresult cuMemGetInfo(size_t* free, size_t* total) {
    return in_context([&](Machine&, Context& context) {
        *total = settings().memory;
        *free = settings().memory - context.device.used;
        return CUDA_SUCCESS;
    });
}

CUresult cuMemAlloc(CUdeviceptr* out, size_t bytes) {
    return in_context([&](Machine& all, Context& context) {
        Allocation* allocation = nullptr;
        if (const CUresult error = take(all, context, bytes, false, &allocation)) return error;
        all.memory.open(*allocation);
        *out = reinterpret_cast<CUdeviceptr>(allocation->start);
        return CUDA_SUCCESS;
    });
}

CUresult cuMemFree(CUdeviceptr address) {
    return in_context([&](Machine& all, Context& context) {
        if (address == 0) return CUDA_SUCCESS;
        Allocation* allocation = freeable(all, address);
        if (!allocation) return CUDA_ERROR_INVALID_VALUE;
        all.drain(context);
        give_back(all, *allocation);
        return CUDA_SUCCESS;
    });
}

CUresult cuMemAllocAsync(CUdeviceptr* out, size_t bytes, CUstream stream) { return take_in_stream(out, bytes, stream); }

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* out, size_t bytes, CUmemoryPool pool, CUstream stream) {
    const CUresult error = in_pool(pool, [](Device&) { return CUDA_SUCCESS; });
    return error ? error : take_in_stream(out, bytes, stream);
}

CUresult cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
    return in_stream(handle, [&](Machine& all, const std::shared_ptr<Stream>& stream) {
        Allocation* allocation = freeable(all, address);
        if (!allocation) return CUDA_ERROR_INVALID_VALUE;
        allocation->doomed = true;
        return all.issue(stream, "cuMemFreeAsync", [&all, &context = *stream->context, allocation] {
            const Span whole{allocation->start, allocation->bytes};
            if (const CUresult error = all.check_live(context, "cuMemFreeAsync", whole)) return error;
            give_back(all, *allocation);
            return CUDA_SUCCESS;
        });
    });
}

CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned) { return take_pinned(out, bytes); }

CUresult cuMemAllocHost(void** out, size_t bytes) { return take_pinned(out, bytes); }

CUresult cuMemFreeHost(void* start) { return release_host(start, Allocation::Place::pinned); }

CUresult cuMemHostRegister(void* start, size_t bytes, unsigned) {
    return in_context([&](Machine& all, Context&) {
        if (!start || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
        if (all.memory.holding({start, 1})) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
        all.memory.register_host(start, bytes);
        return CUDA_SUCCESS;
    });
}

CUresult cuMemHostUnregister(void* start) { return release_host(start, Allocation::Place::registered); }

CUresult cuMemHostGetDevicePointer(CUdeviceptr* out, void* start, unsigned) {
    return in_context([&](Machine& all, Context&) {
        if (!all.memory.holding({start, 1})) return CUDA_ERROR_INVALID_VALUE;
        *out = reinterpret_cast<CUdeviceptr>(start);
        return CUDA_SUCCESS;
    });
}

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* out, CUdevice device) { return pool_of(out, device); }

CUresult cuDeviceGetMemPool(CUmemoryPool* out, CUdevice device) { return pool_of(out, device); }

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t) {
    return in_pool(pool, [](Device&) { return CUDA_SUCCESS; });
}

CUresult cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
    return in_pool(pool, [&](Device& device) {
        if (is_reuse_flag(attribute)) return CUDA_SUCCESS;
        const uint64_t number = *static_cast<uint64_t*>(value);
        if (attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
            device.pool_threshold = number;
        else if (is_high_water_mark(attribute) && number == 0)
            device.most_used = device.used;
        else
            return CUDA_ERROR_INVALID_VALUE;
        return CUDA_SUCCESS;
    });
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
    return in_pool(pool, [&](Device& device) {
        if (is_reuse_flag(attribute)) {
            *static_cast<int*>(value) = 1;
            return CUDA_SUCCESS;
        }
        *static_cast<uint64_t*>(value) = attribute == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD ? device.pool_threshold
                                         : is_high_water_mark(attribute)                ? device.most_used
                                                                                        : device.used;
        return CUDA_SUCCESS;
    });
}

CUresult cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc* accesses, size_t count) {
    return in_pool(pool, [&](Device& device) {
        for (size_t i = 0; i < count; ++i) {
            const CUmemAccessDesc& access = accesses[i];
            if (access.location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
            if (access.flags == CU_MEM_ACCESS_FLAGS_PROT_NONE)
                device.pool_access.erase(access.location.id);
            else
                device.pool_access.insert(access.location.id);
        }
        return CUDA_SUCCESS;
    });
}
