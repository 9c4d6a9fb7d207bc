// Reads EMULATED_GPUS, EMULATED_GPU_MEMORY, EMULATED_GPU_ORDER, EMULATED_GPU_FAULT and EMULATED_GPU_LOG. A value
// that is not understood ends the process: a test that believes in a fault that never comes would prove nothing.
#include "settings.h"

#include "machine.h"

#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

namespace emulator {
namespace {

const char* variable(const char* name) {
    const char* value = getenv(name);
    return value && *value ? value : nullptr;
}

uint64_t number(const char* name, const std::string& text) {
    char* end = nullptr;
    const uint64_t value = strtoull(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0') die("%s: '%s' is not a number", name, text.c_str());
    return value;
}

/// `launch:N=CODE[@DEVICE]` or `alloc:N=CODE[@DEVICE]`.
Fault fault(const std::string& text) {
    const size_t colon = text.find(':'), equals = text.find('='), at = text.find('@');
    const std::string kind = text.substr(0, colon);
    if (colon == std::string::npos || equals == std::string::npos || (kind != "launch" && kind != "alloc"))
        die("EMULATED_GPU_FAULT: '%s' is not launch:N=CODE[@DEVICE] or alloc:N=CODE[@DEVICE]", text.c_str());
    const char* name = "EMULATED_GPU_FAULT";
    const size_t code_end = at == std::string::npos ? text.size() : at;
    return {
        kind == "launch" ? Fault::At::launch : Fault::At::allocation,
        number(name, text.substr(colon + 1, equals - colon - 1)),
        static_cast<CUresult>(number(name, text.substr(equals + 1, code_end - equals - 1))),
        at == std::string::npos ? 0 : static_cast<int>(number(name, text.substr(at + 1))),
    };
}

bool is_lazy(const std::string& order) {
    if (order != "lazy" && order != "eager") die("EMULATED_GPU_ORDER: '%s' is not lazy or eager", order.c_str());
    return order == "lazy";
}

Settings read() {
    Settings settings;
    if (const char* value = variable("EMULATED_GPUS")) settings.devices = static_cast<int>(number("EMULATED_GPUS", value));
    if (const char* value = variable("EMULATED_GPU_MEMORY")) settings.memory = number("EMULATED_GPU_MEMORY", value);
    if (const char* value = variable("EMULATED_GPU_ORDER")) settings.lazy = is_lazy(value);
    if (const char* value = variable("EMULATED_GPU_FAULT")) {
        std::istringstream list(value);
        for (std::string one; std::getline(list, one, ',');) settings.faults.push_back(fault(one));
    }
    if (const char* value = variable("EMULATED_GPU_LOG")) {
        settings.log = fopen(value, "a");
        if (!settings.log) die("EMULATED_GPU_LOG: cannot append to '%s'", value);
    }
    return settings;
}

}  // namespace

const Settings& settings() {
    static const Settings& once = *new Settings(read());
    return once;
}

}  // namespace emulator
