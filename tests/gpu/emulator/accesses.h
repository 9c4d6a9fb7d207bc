// Every memory access of a kernel, looked at before it happens.
//
// The compiler's -fsanitize=thread puts a call before each access; here these calls are not its race detector but this
// one: device memory has to be allocated and within reach, byte by byte, and between two barriers no thread of a block may
// touch shared memory that another one writes.
#pragma once

#include "machine.h"

#include <functional>

namespace emulator {

/// The live memory that the context reaches with all of a span in it; empty if there is none.
using Lookup = std::function<Span(const Span&)>;

/// Begins to look at a launch's accesses.
void watch(const Lookup& lookup);
void stop_watching();

/// The thread of the block whose accesses come now.
void watch_thread(unsigned index);

/// All threads have met a barrier, or a block begins: earlier accesses do not matter any more.
void next_interval();

}  // namespace emulator
