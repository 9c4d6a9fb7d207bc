// What the entry points of the driver have in common: the lock, the context of the calling thread, and its state.
#pragma once

#include "streams.h"

namespace emulator {

constexpr int multiprocessors = 132;

/// Calls `body(machine)` with the lock held, once cuInit was called.
template <class Body>
CUresult in_machine(Body body) {
    Machine& all = machine();
    const std::lock_guard guard(all.lock);
    if (!all.initialised) return CUDA_ERROR_NOT_INITIALIZED;
    return body(all);
}

/// Calls `body(machine, context)` for the calling thread's context. A broken one gives its error instead, and so does
/// one that breaks meanwhile.
template <class Body>
CUresult in_context(Body body) {
    return in_machine([&](Machine& all) -> CUresult {
        Context* context = current_context();
        if (!context) return CUDA_ERROR_INVALID_CONTEXT;
        if (context->broken) return context->broken;
        const CUresult result = body(all, *context);
        return result ? result : context->broken;
    });
}

/// Calls `body(machine, stream)` for a stream of a context that works.
template <class Body>
CUresult in_stream(CUstream handle, Body body) {
    return in_context([&](Machine& all, Context& context) -> CUresult {
        const std::shared_ptr<Stream> stream = all.stream(context, handle);
        if (!stream) return CUDA_ERROR_INVALID_HANDLE;
        if (stream->context->broken) return stream->context->broken;
        const CUresult result = body(all, stream);
        return result ? result : stream->context->broken;
    });
}

inline void* host(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

}  // namespace emulator
