// libcuda: streams and events.
#include "driver.h"

using namespace emulator;

namespace {

/// Calls `body(machine, event)` for a handle that is an event.
template <class Body>
CUresult in_event(CUevent handle, Body body) {
    return in_context([&](Machine& all, Context&) -> CUresult {
        const std::shared_ptr<Event> event = all.events.find(handle);
        if (!event) return CUDA_ERROR_INVALID_HANDLE;
        if (event->context->broken) return event->context->broken;
        const CUresult result = body(all, *event);
        return result ? result : event->context->broken;
    });
}

CUresult record(CUevent handle, CUstream stream_handle) {
    return in_stream(stream_handle, [&](Machine& all, const std::shared_ptr<Stream>& stream) {
        const std::shared_ptr<Event> event = all.events.find(handle);
        if (!event || event->context != stream->context) return CUDA_ERROR_INVALID_HANDLE;
        const auto recording = std::make_shared<Recording>();
        recording->point = {stream, stream->issued + 1};
        event->recording = recording;
        return all.issue(stream, "cuEventRecord", [recording] {
            recording->time = std::chrono::steady_clock::now();
            return CUDA_SUCCESS;
        });
    });
}

}  // namespace

CUresult cuStreamCreateWithPriority(CUstream* out, unsigned flags, int) {
    return in_context([&](Machine& all, Context& context) {
        *out = all.streams.add<CUstream>(all.make_stream(context, flags != CU_STREAM_NON_BLOCKING));
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamCreate(CUstream* out, unsigned flags) { return cuStreamCreateWithPriority(out, flags, 0); }

CUresult cuStreamDestroy(CUstream handle) {
    return in_context([&](Machine& all, Context&) {
        return all.streams.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    });
}

CUresult cuStreamSynchronize(CUstream handle) {
    return in_stream(handle, [](Machine& all, const std::shared_ptr<Stream>& stream) {
        all.drain(*stream);
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamQuery(CUstream handle) {
    return in_stream(handle, [](Machine& all, const std::shared_ptr<Stream>& stream) {
        if (stream->queue.empty()) return CUDA_SUCCESS;
        all.step(*stream);
        return CUDA_ERROR_NOT_READY;
    });
}

CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned) {
    return in_stream(handle, [&](Machine& all, const std::shared_ptr<Stream>& stream) {
        const std::shared_ptr<Event> event = all.events.find(event_handle);
        if (!event) return CUDA_ERROR_INVALID_HANDLE;
        if (!event->recording) return CUDA_SUCCESS;
        return all.issue(stream, "cuStreamWaitEvent", [] { return CUDA_SUCCESS; }, {event->recording->point});
    });
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext* out) {
    return in_stream(handle, [&](Machine&, const std::shared_ptr<Stream>& stream) {
        *out = reinterpret_cast<CUcontext>(stream->context);
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamGetFlags(CUstream handle, unsigned* out) {
    return in_stream(handle, [&](Machine&, const std::shared_ptr<Stream>& stream) {
        *out = stream->blocking ? CU_STREAM_DEFAULT : CU_STREAM_NON_BLOCKING;
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamGetPriority(CUstream handle, int* out) {
    return in_stream(handle, [&](Machine&, const std::shared_ptr<Stream>&) {
        *out = 0;
        return CUDA_SUCCESS;
    });
}

CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* out) {
    return in_stream(handle, [&](Machine&, const std::shared_ptr<Stream>&) {
        *out = CU_STREAM_CAPTURE_STATUS_NONE;
        return CUDA_SUCCESS;
    });
}

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* argument) {
    return in_stream(handle, [&](Machine& all, const std::shared_ptr<Stream>& stream) {
        return all.issue(stream, "cuLaunchHostFunc", [=] {
            function(argument);
            return CUDA_SUCCESS;
        });
    });
}

CUresult cuEventCreate(CUevent* out, unsigned flags) {
    return in_context([&](Machine& all, Context& context) {
        const bool timed = !(flags & CU_EVENT_DISABLE_TIMING);
        *out = all.events.add<CUevent>(std::make_shared<Event>(Event{&context, timed, nullptr}));
        return CUDA_SUCCESS;
    });
}

CUresult cuEventDestroy(CUevent handle) {
    return in_context([&](Machine& all, Context&) {
        return all.events.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    });
}

CUresult cuEventRecord(CUevent event, CUstream stream) { return record(event, stream); }

CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned) { return record(event, stream); }

CUresult cuEventSynchronize(CUevent handle) {
    return in_event(handle, [](Machine& all, Event& event) {
        if (event.recording) all.reach(event.recording->point);
        return CUDA_SUCCESS;
    });
}

CUresult cuEventQuery(CUevent handle) {
    return in_event(handle, [](Machine& all, Event& event) {
        if (!event.recording || event.recording->point.reached()) return CUDA_SUCCESS;
        all.step(*event.recording->point.stream);
        return CUDA_ERROR_NOT_READY;
    });
}

CUresult cuEventElapsedTime(float* out, CUevent start_handle, CUevent end_handle) {
    return in_context([&](Machine& all, Context&) {
        const auto start = all.events.find(start_handle), end = all.events.find(end_handle);
        if (!start || !end || !start->timed || !end->timed || !start->recording || !end->recording)
            return CUDA_ERROR_INVALID_HANDLE;
        if (!start->recording->point.reached() || !end->recording->point.reached()) return CUDA_ERROR_NOT_READY;
        *out = std::chrono::duration<float, std::milli>(end->recording->time - start->recording->time).count();
        return CUDA_SUCCESS;
    });
}
