// Launches of kernels as host functions: their arguments, and the run of a grid.
#pragma once

#include "accesses.h"
#include "registry.h"

#include <cuda.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace emulator {

/// A kernel with the arguments of one launch, copied when it was issued.
class Call {
  public:
    Call(const KernelEntry& kernel, void** parameters);

    const KernelEntry& kernel() const { return *kernel_; }
    void run_thread() const;
    /// Those among the arguments.
    std::vector<const void*> pointers() const;

  private:
    void* const* places() const { return reinterpret_cast<void* const*>(memory_.get()); }

    const KernelEntry* kernel_;
    std::shared_ptr<char[]> memory_;  ///< A pointer to each argument, then the arguments.
};

struct Grid {
    struct { unsigned x, y, z; } blocks, threads;
};

/// Null for a kernel that has no host version.
const KernelEntry* find_kernel(std::string_view name);

/// Runs all blocks, one after the other. An access that `lookup` does not allow ends the grid with its error; barriers
/// that do not meet, and races for shared memory, end the process.
CUresult run_grid(const Grid& grid, const Call& call, const Lookup& lookup);

/// What the watch over accesses found of the thread that runs.
[[noreturn]] void illegal_access(const Span& span, bool is_write);
[[noreturn]] void shared_memory_race(unsigned other_thread);

}  // namespace emulator
