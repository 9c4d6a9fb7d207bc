// Runs the emulator's tests, or those whose name contains the argument.
#include "test.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace test {
namespace {

std::vector<Case>& cases() {
    static auto& once = *new std::vector<Case>;
    return once;
}

[[noreturn]] void run_in_child(const Case& one, int out) {
    dup2(out, STDERR_FILENO);
    for (const auto& [name, value] : one.environment) setenv(name.c_str(), value.c_str(), 1);
    one.body();
    _exit(0);
}

std::string read_all(int in) {
    std::string text;
    char part[4096];
    for (ssize_t count; (count = read(in, part, sizeof part)) > 0;) text.append(part, count);
    return text;
}

bool passes(const Case& one) {
    int ends[2];
    if (pipe(ends) != 0) abort();
    const pid_t child = fork();
    if (child == 0) run_in_child(one, ends[1]);
    close(ends[1]);
    const std::string said = read_all(ends[0]);
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    const bool came_to_end = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    const bool died = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && said.find(one.dies_saying) != std::string::npos;
    const bool passed = one.dies_saying.empty() ? came_to_end : died;
    printf("%s %s\n", passed ? "ok    " : "FAILED", one.name.c_str());
    if (!passed) printf("%s", said.c_str());
    fflush(stdout);
    return passed;
}

}  // namespace

Register::Register(Case one) { cases().push_back(std::move(one)); }

void expect(bool holds, const char* what, const char* file, int line) {
    if (holds) return;
    fprintf(stderr, "%s:%d: %s does not hold\n", file, line, what);
    _exit(1);
}

void expect_result(int found, int expected, const char* what, const char* file, int line) {
    if (found == expected) return;
    fprintf(stderr, "%s:%d: %s gave %d, expected %d\n", file, line, what, found, expected);
    _exit(1);
}

CUcontext use_device(int ordinal) {
    CUcontext context;
    OK(cuInit(0));
    OK(cuDevicePrimaryCtxRetain(&context, ordinal));
    OK(cuCtxSetCurrent(context));
    return context;
}

CUstream new_stream() {
    CUstream stream;
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    return stream;
}

CUevent new_event() {
    CUevent event;
    OK(cuEventCreate(&event, CU_EVENT_DEFAULT));
    return event;
}

CUdeviceptr empty_on_device(size_t count) {
    CUdeviceptr address;
    OK(cuMemAlloc(&address, count * sizeof(float)));
    return address;
}

CUdeviceptr on_device(const std::vector<float>& numbers) {
    const CUdeviceptr address = empty_on_device(numbers.size());
    OK(cuMemcpyHtoD(address, numbers.data(), numbers.size() * sizeof(float)));
    return address;
}

std::vector<float> from_device(CUdeviceptr address, size_t count) {
    std::vector<float> numbers(count);
    OK(cuCtxSynchronize());
    OK(cuMemcpyDtoH(numbers.data(), address, count * sizeof(float)));
    return numbers;
}

CUfunction kernel(const char* name) {
    const std::string ptx = ".version 8.0\n.target sm_80\n.visible .entry " + std::string(name) + "(\n)\n{\nret;\n}\n";
    CUmodule module;
    CUfunction function;
    OK(cuModuleLoadData(&module, ptx.c_str()));
    OK(cuModuleGetFunction(&function, module, name));
    return function;
}

std::vector<float> numbers(size_t count, unsigned seed) {
    std::vector<float> all(count);
    uint32_t state = seed * 2654435761u + 1;
    for (float& number : all) {
        state = state * 1664525u + 1013904223u;
        number = float(state >> 8) / float(1 << 23) - 1.0f;
    }
    return all;
}

}  // namespace test

int main(int count, char** arguments) {
    const std::string wanted = count > 1 ? arguments[1] : "";
    int failed = 0;
    for (const test::Case& one : test::cases())
        if (one.name.find(wanted) != std::string::npos) failed += !test::passes(one);
    printf("%d of %zu failed\n", failed, test::cases().size());
    return failed == 0 ? 0 : 1;
}
