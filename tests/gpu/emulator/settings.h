// What the environment asks of the emulated machine, read once when the driver is first used.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace emulator {

/// An error to bring about at the `number`th (from 1) launch or allocation on a device.
struct Fault {
    enum class At { launch, allocation };
    At at;
    uint64_t number;
    CUresult code;
    int device;
};

struct Settings {
    int devices = 1;
    size_t memory = size_t{4} << 30;
    bool lazy = true;
    std::vector<Fault> faults;
    FILE* log = nullptr;
};

const Settings& settings();

}  // namespace emulator
