// How a compiled kernel makes itself known. Nothing here needs the standard library's containers: this is compiled with
// the kernels, whose every memory access is watched.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace emulator {

struct Parameter {
    size_t bytes, alignment;
    bool is_pointer;
};

using AnyFunction = void (*)();

/// A kernel without its types. `run` calls it for one thread, with the parameters that the places hold.
struct KernelEntry {
    const char* name;
    unsigned launch_bound;  ///< The largest block of its __launch_bounds__, or 0.
    AnyFunction function;
    void (*run)(AnyFunction function, void* const* places);
    const Parameter* parameters;
    size_t count;
};

void add_kernel(const KernelEntry& entry);

/// Reads the arguments, which is no access of the kernel's.
template <class... Argument>
struct Runner {
    template <size_t... Index>
    [[gnu::no_sanitize("thread")]]
    static void run(AnyFunction function, void* const* places, std::index_sequence<Index...>) {
        reinterpret_cast<void (*)(Argument...)>(function)(*static_cast<Argument*>(places[Index])...);
    }
    [[gnu::no_sanitize("thread")]]
    static void run(AnyFunction function, void* const* places) {
        run(function, places, std::index_sequence_for<Argument...>{});
    }
};

/// Called by the generated registry; the parameters' types are the function's own.
template <class... Argument>
void add_kernel(const char* name, unsigned launch_bound, void (*function)(Argument...)) {
    // One more than needed, as an array has at least one.
    static constexpr Parameter parameters[] = {{sizeof(Argument), alignof(Argument), std::is_pointer_v<Argument>}..., {}};
    add_kernel({name, launch_bound, reinterpret_cast<AnyFunction>(function), Runner<Argument...>::run, parameters,
                sizeof...(Argument)});
}

}  // namespace emulator
