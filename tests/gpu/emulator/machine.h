// What the libraries on top of the driver (cuBLAS, cuDNN, cuRAND) see of the machine: they hand in work for a stream,
// with the memory that it touches, and the driver decides when it runs.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace emulator {

/// Bytes of device memory.
struct Span {
    const void* start;
    size_t bytes;
};

/// A computation of a library: `run` is called when the stream gets there, if every span is memory of the device.
struct Work {
    std::string name;
    std::vector<Span> touches;
    std::function<void()> run;
};

/// Queues `work` behind what was issued to `stream` before.
CUresult submit(CUstream stream, Work work);

/// The error that a library's entry point has to answer before anything else: no context, or a broken one.
CUresult current_state();

/// Scratch memory of a library: what was in it before an operation means nothing.
void spoil(const Span& scratch);

/// A line on the standard error.
[[gnu::format(printf, 1, 2)]] void say(const char* format, ...);

/// A line on the standard error, and the end of the process.
[[noreturn, gnu::format(printf, 1, 2)]] void die(const char* format, ...);

}  // namespace emulator

/// Says that an entry point is not emulated and gives back `code`; the generated stubs call it.
extern "C" int emulator_unsupported(const char* name, int code);
