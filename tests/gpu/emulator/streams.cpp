// The order of operations; see streams.h.
#include "streams.h"

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace emulator {
namespace {

constexpr size_t recent_limit = 8;

uint64_t thread_number() {
    static std::atomic<uint64_t> next{0};
    thread_local const uint64_t mine = next++;
    return mine;
}

void print(const char* format, va_list arguments) {
    fputs("emulated GPU: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

}  // namespace

void say(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print(format, arguments);
    va_end(arguments);
}

void die(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print(format, arguments);
    va_end(arguments);
    abort();
}

void spoil(const Span& scratch) { memset(const_cast<void*>(scratch.start), nan_byte, scratch.bytes); }

bool Point::reached() const { return !stream || stream->executed >= position; }

Machine& machine() {
    static Machine& once = *new Machine;
    return once;
}

Context*& current_context() {
    thread_local Context* current = nullptr;
    return current;
}

Machine::Machine() {
    for (int ordinal = 0; ordinal < settings().devices; ++ordinal) devices.emplace_back().ordinal = ordinal;
}

std::shared_ptr<Context> Machine::make_context(Device& device) {
    auto context = std::make_shared<Context>(device);
    context->legacy = make_stream(*context, false);
    contexts.add<CUcontext>(context);
    return context;
}

void Machine::destroy_context(const std::shared_ptr<Context>& context) {
    drain(*context);
    for (const Allocation* allocation : memory.all_of(context->device.ordinal)) memory.check_guards(*allocation);
    memory.release_all_of(context->device.ordinal);
    context->device.used = 0;
    context->broken = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    contexts.remove(context.get());
    destroyed_.push_back(context);
    if (current_context() == context.get()) current_context() = nullptr;
}

std::shared_ptr<Stream> Machine::make_stream(Context& context, bool blocking) {
    auto stream = std::make_shared<Stream>(&context, context.next_stream++, blocking);
    context.streams.push_back(stream);
    return stream;
}

std::shared_ptr<Stream> Machine::stream(Context& context, CUstream handle) {
    if (handle == nullptr || handle == CU_STREAM_LEGACY) return context.legacy;
    if (handle != CU_STREAM_PER_THREAD) return streams.find(handle);
    std::shared_ptr<Stream>& mine = context.per_thread[thread_number()];
    if (!mine) mine = make_stream(context, true);
    return mine;
}

CUresult Machine::issue(const std::shared_ptr<Stream>& stream, std::string name, Action run, std::vector<Point> after) {
    Context& context = *stream->context;
    if (stream == context.legacy) {
        for (const auto& other : context.streams)
            if (other->blocking) after.push_back(tail(other));
    } else if (stream->blocking) {
        after.push_back(tail(context.legacy));
    }
    std::erase_if(after, [](const Point& point) { return point.reached(); });
    stream->queue.push_back({std::move(name), std::move(after), std::move(run)});
    ++stream->issued;
    if (!settings().lazy) drain(*stream);
    return context.broken;
}

void Machine::reach(const Point& point) {
    while (!point.reached()) execute(*point.stream);
}

void Machine::drain(Stream& stream) {
    const uint64_t until = stream.issued;
    while (stream.executed < until) execute(stream);
}

void Machine::drain(Context& context) {
    const auto all = context.streams;
    for (auto stream = all.rbegin(); stream != all.rend(); ++stream) drain(**stream);
    std::erase_if(context.streams, [&](const auto& stream) {
        return stream.use_count() == 2 && stream != context.legacy;  // `all` has the other.
    });
}

void Machine::step(Stream& stream) {
    if (!stream.queue.empty()) execute(stream);
}

void Machine::execute(Stream& stream) {
    const Operation operation = std::move(stream.queue.front());
    stream.queue.pop_front();
    for (const Point& point : operation.after) reach(point);
    CUresult result = stream.context->broken;
    if (result == CUDA_SUCCESS) {
        result = operation.run();
        if (result != CUDA_SUCCESS) fail(*stream.context, result, operation.name);
    }
    ++stream.executed;
    log(stream, operation, result);
}

void Machine::fail(Context& context, CUresult error, const std::string& name) {
    say("device %d: %s failed with error %d; the context is broken from here", context.device.ordinal, name.c_str(), error);
    context.broken = error;
    if (error == CUDA_ERROR_UNKNOWN) context.device.lost = true;
}

void Machine::log(const Stream& stream, const Operation& operation, CUresult result) {
    FILE* file = settings().log;
    if (!file) return;
    fprintf(file, "device=%d stream=%d position=%llu result=%d %s\n", stream.context->device.ordinal, stream.number,
            static_cast<unsigned long long>(stream.executed), result, operation.name.c_str());
    fflush(file);
}

CUresult Machine::due_fault(Device& device, Fault::At at) {
    const uint64_t number = at == Fault::At::launch ? ++device.launches : ++device.allocations;
    for (const Fault& fault : settings().faults)
        if (fault.at == at && fault.device == device.ordinal && fault.number == number) return fault.code;
    return CUDA_SUCCESS;
}

bool Machine::reaches(const Context& context, const Allocation& allocation) const {
    if (allocation.place != Allocation::Place::device || allocation.device == context.device.ordinal) return true;
    const std::set<int>& pool_access = devices[allocation.device].pool_access;
    return allocation.pooled ? pool_access.count(context.device.ordinal) > 0 : context.peers.count(allocation.device) > 0;
}

CUresult Machine::check_live(const Context& context, const std::string& name, const Span& span) {
    if (span.bytes == 0 || memory.holding(span)) return CUDA_SUCCESS;
    say("device %d: %s touches %zu bytes at %p that are not, not yet or no longer allocated", context.device.ordinal,
        name.c_str(), span.bytes, span.start);
    return CUDA_ERROR_ILLEGAL_ADDRESS;
}

CUresult Machine::check_reachable(const Context& context, const std::string& name, const Span& span) {
    if (const CUresult error = check_live(context, name, span)) return error;
    if (span.bytes == 0 || reaches(context, *memory.holding(span))) return CUDA_SUCCESS;
    say("device %d: %s touches %p on another device, to which it has no access", context.device.ordinal, name.c_str(),
        span.start);
    return CUDA_ERROR_ILLEGAL_ADDRESS;
}

void Machine::note_kernel(const std::string& name) {
    recent_.push_back(name);
    if (recent_.size() > recent_limit) recent_.pop_front();
}

std::string Machine::recent_kernels() const {
    std::string names;
    for (const std::string& name : recent_) names += (names.empty() ? "" : ", ") + name;
    return names.empty() ? "none" : names;
}

CUresult current_state() {
    const std::lock_guard guard(machine().lock);
    const Context* context = current_context();
    return context ? context->broken : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult submit(CUstream handle, Work work) {
    Machine& all = machine();
    const std::lock_guard guard(all.lock);
    Context* current = current_context();
    if (!current) return CUDA_ERROR_INVALID_CONTEXT;
    const std::shared_ptr<Stream> stream = all.stream(*current, handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    Context& context = *stream->context;
    if (context.broken) return context.broken;
    const CUresult fault = all.due_fault(context.device, Fault::At::launch);
    const std::string name = work.name;
    return all.issue(stream, name, [&all, &context, fault, work = std::move(work)]() -> CUresult {
        if (fault) return fault;
        for (const Span& span : work.touches)
            if (const CUresult error = all.check_reachable(context, work.name, span)) return error;
        all.note_kernel(work.name);
        work.run();
        return CUDA_SUCCESS;
    });
}

}  // namespace emulator

int emulator_unsupported(const char* name, int code) {
    emulator::say("%s is not emulated", name);
    return code;
}
