// The memory of all devices, and the host memory that they can reach. Every allocation has its own mapping: it ends at
// an unmapped page, starts behind one, the bytes between are a pattern that is checked, and a freed one stays unmapped.
#pragma once

#include "machine.h"

#include <deque>
#include <map>
#include <set>
#include <vector>

namespace emulator {

struct Allocation {
    enum class Place { device, pinned, registered };
    Place place;
    int device = -1;
    bool pooled = false;      ///< From the device's pool: others reach it by the pool's access, not by the context's.
    bool ready = false;       ///< Its stream has come to the allocation.
    bool doomed = false;      ///< A free was issued and has not run.
    char* start = nullptr;
    size_t bytes = 0;
    char* mapping = nullptr;  ///< The first byte of the mapping, an unmapped page; null for registered memory.
    size_t mapped = 0;
    uint64_t id = 0;          ///< Tells it from a later one at the same address.
};

class Memory {
  public:
    /// Null where the host has no memory left. The bytes are undefined until `spoil`ed or written.
    Allocation* allocate(Allocation::Place place, int device, bool pooled, size_t bytes);
    void register_host(void* start, size_t bytes);
    /// Fills a new allocation with NaN and lets it be used.
    void open(Allocation& allocation);
    /// Ends the process if something was written outside the allocation.
    void release(Allocation& allocation);
    void check_guards(const Allocation& allocation) const;

    Allocation* starting_at(const void* start);
    /// The allocation that has `address` in it or ends there.
    Allocation* around(const void* address);
    /// The allocation that holds all of `span`, if its stream has come to it and not yet to its end.
    Allocation* holding(const Span& span);
    void release_all_of(int device);
    std::vector<const Allocation*> all_of(int device) const;

  private:
    void retire(char* mapping, size_t mapped);

    std::map<const char*, Allocation> live_;
    std::deque<std::pair<char*, size_t>> retired_;
    uint64_t next_id_ = 1;
};

/// What freed, new and scratch memory is filled with: NaN in every floating-point type.
constexpr int nan_byte = 0xFF;

}  // namespace emulator
