// The harness of the emulator's tests: each one runs in a process of its own with an environment of its own.
#pragma once

#include <cuda.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace test {

struct Case {
    std::string name;
    std::map<std::string, std::string> environment;
    std::string dies_saying;  ///< Empty for a test that has to come to its end.
    std::function<void()> body;
};

struct Register {
    explicit Register(Case one);
};

/// Ends the test's process where the condition does not hold.
void expect(bool holds, const char* what, const char* file, int line);
void expect_result(int found, int expected, const char* what, const char* file, int line);

#define EXPECT(condition) test::expect(condition, #condition, __FILE__, __LINE__)
#define EXPECT_RESULT(call, expected) test::expect_result(call, expected, #call, __FILE__, __LINE__)
#define OK(call) EXPECT_RESULT(call, 0)

#define TEST(NAME, ...)                                                                            \
    static void NAME();                                                                            \
    static const test::Register register_##NAME{{#NAME, {__VA_ARGS__}, "", NAME}};                 \
    static void NAME()
#define TEST_DIES(NAME, SAYING, ...)                                                               \
    static void NAME();                                                                            \
    static const test::Register register_##NAME{{#NAME, {__VA_ARGS__}, SAYING, NAME}};             \
    static void NAME()

/// A device's primary context, current to the thread.
CUcontext use_device(int ordinal = 0);
CUstream new_stream();
CUevent new_event();

/// Device memory from cuMemAlloc, with these numbers in it.
CUdeviceptr on_device(const std::vector<float>& numbers);
CUdeviceptr empty_on_device(size_t numbers);
/// After the context has come to rest.
std::vector<float> from_device(CUdeviceptr address, size_t numbers);

CUfunction kernel(const char* name);

template <class... Argument>
CUresult launch(const char* name, unsigned blocks, unsigned threads, CUstream stream, Argument... arguments) {
    void* parameters[] = {static_cast<void*>(&arguments)..., nullptr};
    return cuLaunchKernel(kernel(name), blocks, 1, 1, threads, 1, 1, 0, stream, parameters, nullptr);
}

/// Numbers around 0 that repeat from run to run.
std::vector<float> numbers(size_t count, unsigned seed);

}  // namespace test
