// The entry points that the compiler's instrumentation calls; see accesses.h.
#include "accesses.h"

#include "kernels.h"

#include <array>
#include <cstdint>
#include <vector>

/// Bounds of all kernels' shared memory; the linker script `shared.ld` puts it there.
extern "C" char emulator_shared_begin[], emulator_shared_end[];
/// Bounds of this library in memory, which the linker knows: constants, and the built-in variables.
extern "C" [[gnu::visibility("hidden")]] const char __ehdr_start[];
extern "C" [[gnu::visibility("hidden")]] char _end[];

namespace emulator {
namespace {

enum class Access { read, write };

/// Who touched a byte of shared memory last, and in which interval between barriers.
struct Touched {
    uint32_t written_in = 0, read_in = 0;
    uint16_t writer = 0, reader = 0;
    bool many_readers = false;
};

/// A thread's own variables are within this many bytes of its frame; a stack has no more.
constexpr size_t stack_reach = 64 * 1024;

/// The launch whose accesses are looked at.
struct Watch {
    bool active = false;
    const Lookup* lookup = nullptr;
    std::array<Span, 8> known{};  ///< Allocations that were touched lately.
    unsigned next_known = 0;
    uint16_t thread = 0;
    uint32_t interval = 0;
    std::vector<Touched> shared;
};

Watch now;

bool inside(const char* start, const char* end, const Span& span) {
    const char* first = static_cast<const char*>(span.start);
    return first >= start && first + span.bytes <= end;
}

bool inside(const Span& outer, const Span& span) {
    const char* start = static_cast<const char*>(outer.start);
    return inside(start, start + outer.bytes, span);
}

bool is_own_variable(const Span& span) {
    const char* frame = static_cast<const char*>(__builtin_frame_address(0));
    return inside(frame, frame + stack_reach, span);
}

bool is_known(const Span& span) {
    for (const Span& known : now.known)
        if (inside(known, span)) return true;
    return false;
}

bool look_up(const Span& span) {
    const Span found = (*now.lookup)(span);
    if (!found.start) return false;
    now.known[now.next_known++ % now.known.size()] = found;
    return true;
}

void touch_shared(size_t place, Access access) {
    Touched& byte = now.shared[place];
    const bool after_write = byte.written_in == now.interval && byte.writer != now.thread;
    const bool after_read = byte.read_in == now.interval && (byte.many_readers || byte.reader != now.thread);
    if (after_write || (access == Access::write && after_read))
        shared_memory_race(after_write ? byte.writer : byte.reader);
    if (access == Access::write) {
        byte.written_in = now.interval;
        byte.writer = now.thread;
        return;
    }
    byte.many_readers = after_read;
    byte.read_in = now.interval;
    byte.reader = now.thread;
}

void look_at_shared(const Span& span, Access access) {
    const size_t place = static_cast<const char*>(span.start) - emulator_shared_begin;
    for (size_t i = 0; i < span.bytes; ++i) touch_shared(place + i, access);
}

void look_at(const Span& span, Access access) {
    if (!now.active) return;
    if (inside(__ehdr_start, _end, span)) {
        if (inside(emulator_shared_begin, emulator_shared_end, span)) look_at_shared(span, access);
        return;
    }
    if (is_known(span) || is_own_variable(span) || look_up(span)) return;
    illegal_access(span, access == Access::write);
}

}  // namespace

void watch(const Lookup& lookup) {
    now.lookup = &lookup;
    now.known = {};
    now.shared.resize(emulator_shared_end - emulator_shared_begin);
    now.active = true;
}

void stop_watching() { now.active = false; }

void watch_thread(unsigned index) { now.thread = static_cast<uint16_t>(index); }

void next_interval() { ++now.interval; }

}  // namespace emulator

using emulator::Access;

#pragma GCC visibility push(hidden)

#define ACCESS(NAME, BYTES, KIND) \
    extern "C" void NAME(void* start) { emulator::look_at({start, BYTES}, Access::KIND); }
#define ACCESSES(BYTES)                                      \
    ACCESS(__tsan_read##BYTES, BYTES, read)                  \
    ACCESS(__tsan_write##BYTES, BYTES, write)                \
    ACCESS(__tsan_unaligned_read##BYTES, BYTES, read)        \
    ACCESS(__tsan_unaligned_write##BYTES, BYTES, write)

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

extern "C" void __tsan_read_range(void* start, size_t bytes) { emulator::look_at({start, bytes}, Access::read); }
extern "C" void __tsan_write_range(void* start, size_t bytes) { emulator::look_at({start, bytes}, Access::write); }
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit(void*) {}
extern "C" void __tsan_init() {}

#pragma GCC visibility pop
