// libcuda: copies and fills.
#include "driver.h"

#include <algorithm>
#include <cstring>

using namespace emulator;

namespace {

/// One side of a copy.
struct Side {
    enum class Kind { device, host };
    Kind kind;
    void* start;
};

Side device_side(CUdeviceptr address) { return {Side::Kind::device, host(address)}; }
Side host_side(const void* address) { return {Side::Kind::host, const_cast<void*>(address)}; }

Side any_side(Machine& all, CUdeviceptr address) {
    const Allocation* allocation = all.memory.around(host(address));
    const bool on_device = allocation && allocation->place == Allocation::Place::device;
    return on_device ? device_side(address) : host_side(host(address));
}

/// Checks one side when the copy runs: device memory has to be live, and pinned memory has to be the one it was.
using Check = std::function<CUresult()>;

Check check_of(Machine& all, const Context& context, const char* name, const Side& side, size_t bytes) {
    const Span span{side.start, bytes};
    const Allocation* pinned = all.memory.holding(span);
    if (side.kind == Side::Kind::host && !pinned) return [] { return CUDA_SUCCESS; };
    const uint64_t id = side.kind == Side::Kind::host ? pinned->id : 0;
    return [&all, &context, name, span, id]() -> CUresult {
        if (const CUresult error = all.check_live(context, name, span)) return error;
        if (id == 0 || all.memory.holding(span)->id == id) return CUDA_SUCCESS;
        say("device %d: %s uses pinned memory at %p that was freed before the copy ran", context.device.ordinal, name,
            span.start);
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    };
}

/// Memory that the driver does not know is copied when the copy is issued, all other when it runs.
std::shared_ptr<std::vector<char>> snapshot(const Side& from, bool pageable, size_t bytes) {
    if (!pageable) return nullptr;
    const char* first = static_cast<const char*>(from.start);
    return std::make_shared<std::vector<char>>(first, first + bytes);
}

bool is_pageable(Machine& all, const Side& side, size_t bytes) {
    return side.kind == Side::Kind::host && !all.memory.holding({side.start, bytes});
}

/// Copies to pageable memory are over when the call returns, as CUDA promises.
CUresult copy(Machine& all, const std::shared_ptr<Stream>& stream, const char* name, Side to, Side from, size_t bytes) {
    if (bytes == 0) return CUDA_SUCCESS;
    const Check check_to = check_of(all, *stream->context, name, to, bytes);
    const Check check_from = check_of(all, *stream->context, name, from, bytes);
    const auto kept = snapshot(from, is_pageable(all, from, bytes), bytes);
    const CUresult result = all.issue(stream, name, [=] {
        if (const CUresult error = check_to()) return error;
        if (const CUresult error = check_from()) return error;
        memmove(to.start, kept ? kept->data() : from.start, bytes);
        return CUDA_SUCCESS;
    });
    if (is_pageable(all, to, bytes)) all.drain(*stream);
    return result;
}

CUresult copy_in_stream(const char* name, Side to, Side from, size_t bytes, CUstream handle) {
    return in_stream(handle, [&](Machine& all, const auto& stream) { return copy(all, stream, name, to, from, bytes); });
}

/// A copy on the legacy default stream that the host waits for.
CUresult copy_now(const char* name, Side to, Side from, size_t bytes) {
    return in_stream(CU_STREAM_LEGACY, [&](Machine& all, const auto& stream) {
        const CUresult result = copy(all, stream, name, to, from, bytes);
        all.drain(*stream);
        return result;
    });
}

template <class Unit>
CUresult fill(const char* name, CUdeviceptr to, Unit value, size_t count, CUstream handle) {
    return in_stream(handle, [&](Machine& all, const std::shared_ptr<Stream>& stream) {
        if (to % sizeof(Unit) != 0) return CUDA_ERROR_INVALID_VALUE;
        if (count == 0) return CUDA_SUCCESS;
        const Check check = check_of(all, *stream->context, name, device_side(to), count * sizeof(Unit));
        return all.issue(stream, name, [=] {
            if (const CUresult error = check()) return error;
            std::fill_n(static_cast<Unit*>(host(to)), count, value);
            return CUDA_SUCCESS;
        });
    });
}

}  // namespace

CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
    return copy_now("cuMemcpyHtoD", device_side(to), host_side(from), bytes);
}

CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
    return copy_now("cuMemcpyDtoH", host_side(to), device_side(from), bytes);
}

CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return copy_in_stream("cuMemcpyDtoD", device_side(to), device_side(from), bytes, CU_STREAM_LEGACY);
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
    return copy_in_stream("cuMemcpyHtoDAsync", device_side(to), host_side(from), bytes, stream);
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy_in_stream("cuMemcpyDtoHAsync", host_side(to), device_side(from), bytes, stream);
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    return copy_in_stream("cuMemcpyDtoDAsync", device_side(to), device_side(from), bytes, stream);
}

CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return in_stream(CU_STREAM_LEGACY, [&](Machine& all, const auto& stream) {
        const CUresult result = copy(all, stream, "cuMemcpy", any_side(all, to), any_side(all, from), bytes);
        all.drain(*stream);
        return result;
    });
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream handle) {
    return in_stream(handle, [&](Machine& all, const auto& stream) {
        return copy(all, stream, "cuMemcpyAsync", any_side(all, to), any_side(all, from), bytes);
    });
}

CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t bytes, CUstream stream) {
    return copy_in_stream("cuMemcpyPeerAsync", device_side(to), device_side(from), bytes, stream);
}

CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_handle, CUdeviceptr from, CUcontext from_handle, size_t bytes) {
    return in_stream(CU_STREAM_LEGACY, [&](Machine& all, const auto& stream) {
        const auto to_context = all.contexts.find(to_handle), from_context = all.contexts.find(from_handle);
        if (!to_context || !from_context) return CUDA_ERROR_INVALID_CONTEXT;
        all.drain(*to_context);
        all.drain(*from_context);
        const CUresult result = copy(all, stream, "cuMemcpyPeer", device_side(to), device_side(from), bytes);
        all.drain(*stream);
        return result;
    });
}

CUresult cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count) {
    return fill("cuMemsetD8", to, value, count, CU_STREAM_LEGACY);
}

CUresult cuMemsetD16(CUdeviceptr to, unsigned short value, size_t count) {
    return fill("cuMemsetD16", to, value, count, CU_STREAM_LEGACY);
}

CUresult cuMemsetD32(CUdeviceptr to, unsigned value, size_t count) {
    return fill("cuMemsetD32", to, value, count, CU_STREAM_LEGACY);
}

CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream) {
    return fill("cuMemsetD8Async", to, value, count, stream);
}

CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream) {
    return fill("cuMemsetD16Async", to, value, count, stream);
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream) {
    return fill("cuMemsetD32Async", to, value, count, stream);
}
