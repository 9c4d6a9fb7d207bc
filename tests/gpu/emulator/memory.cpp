// Allocations with guards; see memory.h.
#include "memory.h"

#include "streams.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

namespace emulator {
namespace {

constexpr size_t page = 4096;
constexpr size_t alignment = 256;
constexpr unsigned char guard_byte = 0xA5;
/// Freed mappings that stay unmapped before their addresses may come back.
constexpr size_t retired_limit = 8192;

size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

char* readable_start(const Allocation& allocation) { return allocation.mapping + page; }
char* readable_end(const Allocation& allocation) { return allocation.mapping + allocation.mapped - page; }

void check_guard(const Allocation& allocation, const char* from, const char* to) {
    for (const char* at = from; at < to; ++at) {
        if (static_cast<unsigned char>(*at) == guard_byte) continue;
        const bool before = at < allocation.start;
        const long distance = before ? allocation.start - at : at - (allocation.start + allocation.bytes);
        die("device %d: something wrote %ld bytes %s an allocation of %zu bytes; last kernels: %s", allocation.device,
            distance, before ? "before" : "behind", allocation.bytes, machine().recent_kernels().c_str());
    }
}

}  // namespace

Allocation* Memory::allocate(Allocation::Place place, int device, bool pooled, size_t bytes) {
    const size_t mapped = round_up(round_up(bytes, alignment), page) + 2 * page;
    void* mapping = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    if (mprotect(static_cast<char*>(mapping) + page, mapped - 2 * page, PROT_READ | PROT_WRITE) != 0) {
        munmap(mapping, mapped);
        return nullptr;
    }
    Allocation allocation{.place = place, .device = device, .pooled = pooled, .bytes = bytes,
                          .mapping = static_cast<char*>(mapping), .mapped = mapped, .id = next_id_++};
    allocation.start = readable_end(allocation) - round_up(bytes, alignment);
    memset(readable_start(allocation), guard_byte, allocation.start - readable_start(allocation));
    memset(allocation.start + bytes, guard_byte, readable_end(allocation) - allocation.start - bytes);
    return &live_.emplace(allocation.start, allocation).first->second;
}

void Memory::register_host(void* start, size_t bytes) {
    char* first = static_cast<char*>(start);
    live_.emplace(first, Allocation{.place = Allocation::Place::registered, .ready = true, .start = first, .bytes = bytes,
                                    .id = next_id_++});
}

void Memory::open(Allocation& allocation) {
    memset(allocation.start, nan_byte, allocation.bytes);
    allocation.ready = true;
}

void Memory::check_guards(const Allocation& allocation) const {
    if (!allocation.mapping) return;
    check_guard(allocation, readable_start(allocation), allocation.start);
    check_guard(allocation, allocation.start + allocation.bytes, readable_end(allocation));
}

void Memory::release(Allocation& allocation) {
    check_guards(allocation);
    if (allocation.mapping) retire(allocation.mapping, allocation.mapped);
    live_.erase(allocation.start);
}

void Memory::retire(char* mapping, size_t mapped) {
    madvise(mapping + page, mapped - 2 * page, MADV_DONTNEED);
    mprotect(mapping, mapped, PROT_NONE);
    retired_.emplace_back(mapping, mapped);
    if (retired_.size() <= retired_limit) return;
    munmap(retired_.front().first, retired_.front().second);
    retired_.pop_front();
}

Allocation* Memory::starting_at(const void* start) {
    const auto found = live_.find(static_cast<const char*>(start));
    return found == live_.end() ? nullptr : &found->second;
}

Allocation* Memory::around(const void* address) {
    const char* at = static_cast<const char*>(address);
    auto found = live_.upper_bound(at);
    if (found == live_.begin()) return nullptr;
    Allocation& allocation = (--found)->second;
    return at <= allocation.start + allocation.bytes ? &allocation : nullptr;
}

Allocation* Memory::holding(const Span& span) {
    Allocation* allocation = around(span.start);
    if (!allocation || !allocation->ready) return nullptr;
    const size_t offset = static_cast<const char*>(span.start) - allocation->start;
    return span.bytes <= allocation->bytes - offset ? allocation : nullptr;
}

std::vector<const Allocation*> Memory::all_of(int device) const {
    std::vector<const Allocation*> found;
    for (const auto& [start, allocation] : live_)
        if (allocation.place == Allocation::Place::device && allocation.device == device) found.push_back(&allocation);
    return found;
}

void Memory::release_all_of(int device) {
    for (const Allocation* allocation : all_of(device)) release(live_.at(allocation->start));
}

}  // namespace emulator
