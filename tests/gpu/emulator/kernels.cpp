// The run of a grid. Threads of a block are plain calls until one meets a barrier; then each is a fiber with a stack of
// its own. In lazy order blocks and threads run last to first, and shared memory is NaN at a block's start, so that
// what depends on another order, or on what the block before left behind, comes out wrong.
#include "kernels.h"

#include "accesses.h"
#include "fibers.h"
#include "memory.h"
#include "settings.h"
#include "shim/device.h"

#include <csetjmp>
#include <csignal>
#include <cstring>
#include <map>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

/// Bounds of all kernels' shared memory; the linker script `shared.ld` puts it there.
extern "C" char emulator_shared_begin[], emulator_shared_end[];

namespace emulator {
namespace {

struct Barrier {
    const char* file;
    int line;
};

/// The block that runs now.
struct Block {
    const char* kernel = nullptr;
    const Call* call = nullptr;
    bool in_fibers = false;
    std::vector<Fiber> fibers;
    std::vector<Barrier> waits_at;
    unsigned current = 0;
};

Block block;
sigjmp_buf after_fault;
thread_local volatile bool in_kernel = false;
struct sigaction previous_segv, previous_bus, previous_ill;

std::map<std::string, KernelEntry, std::less<>>& registry() {
    static auto& once = *new std::map<std::string, KernelEntry, std::less<>>;
    return once;
}

size_t aligned(size_t offset, size_t alignment) { return (offset + alignment - 1) / alignment * alignment; }

const struct sigaction& previous(int signal) {
    return signal == SIGSEGV ? previous_segv : signal == SIGBUS ? previous_bus : previous_ill;
}

/// Ends the grid with an error, from within one of its threads.
[[noreturn]] void leave_kernel(CUresult error, const char* what, const void* address) {
    in_kernel = false;
    stop_watching();
    say("kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s at %p", block.kernel, blockIdx.x, blockIdx.y, blockIdx.z,
        threadIdx.x, threadIdx.y, threadIdx.z, what, address);
    siglongjmp(after_fault, error);
}

/// Leaves the kernel that caused the signal; every other signal goes where it would go without the emulator.
void on_fault(int signal, siginfo_t* info, void* state) {
    if (in_kernel && signal == SIGILL)
        leave_kernel(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address or index out of an array's bounds", info->si_addr);
    if (in_kernel) leave_kernel(CUDA_ERROR_ILLEGAL_ADDRESS, "illegal address", info->si_addr);
    const struct sigaction& before = previous(signal);
    if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(signal, info, state);
    if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
    sigaction(signal, &before, nullptr);
}

void catch_faults() {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
    sigaction(SIGILL, &action, &previous_ill);
}

uint3 position(unsigned index, const dim3& size) {
    return {index % size.x, index / size.x % size.y, index / size.x / size.y};
}

/// The `step`th of `count` in the order that the mode asks for.
unsigned nth(unsigned step, unsigned count) { return settings().lazy ? count - 1 - step : step; }

void enter_thread(unsigned index) {
    block.current = index;
    watch_thread(index);
    threadIdx = position(index, blockDim);
}

void run_thread() { block.call->run_thread(); }

[[noreturn]] void diverged(const char* what) {
    die("kernel %s, block (%u, %u, %u): %s", block.kernel, blockIdx.x, blockIdx.y, blockIdx.z, what);
}

/// Lets a fiber run to its next barrier or to its end.
void advance(unsigned index) {
    enter_thread(index);
    block.fibers[index].resume();
}

void check_meeting(unsigned threads) {
    const Barrier& first = block.waits_at[0];
    for (unsigned index = 0; index < threads; ++index) {
        if (block.fibers[index].ended()) diverged("some threads ended while others wait at a barrier");
        const Barrier& other = block.waits_at[index];
        if (other.line != first.line || strcmp(other.file, first.file) != 0)
            diverged("threads wait at different barriers");
    }
}

bool all_ended(unsigned threads) {
    for (unsigned index = 0; index < threads; ++index)
        if (!block.fibers[index].ended()) return false;
    return true;
}

/// The block's first thread has met a barrier; brings the others there, and then all to the next.
void run_fibers(unsigned first, unsigned threads) {
    for (unsigned index = 0; index < threads; ++index)
        if (index != first) block.fibers[index].start(run_thread);
    for (unsigned step = 1; step < threads; ++step) advance(nth(step, threads));
    while (!all_ended(threads)) {
        check_meeting(threads);
        next_interval();
        for (unsigned step = 0; step < threads; ++step) advance(nth(step, threads));
    }
}

void run_block(unsigned threads) {
    const unsigned first = nth(0, threads);
    next_interval();
    block.in_fibers = true;
    block.fibers[first].start(run_thread);
    advance(first);
    if (!block.fibers[first].ended()) return run_fibers(first, threads);
    block.in_fibers = false;
    for (unsigned step = 1; step < threads; ++step) {
        enter_thread(nth(step, threads));
        run_thread();
    }
}

void spoil_shared_memory() {
    spoil({emulator_shared_begin, static_cast<size_t>(emulator_shared_end - emulator_shared_begin)});
}

void run_blocks(const Grid& grid) {
    const unsigned threads = grid.threads.x * grid.threads.y * grid.threads.z;
    if (block.fibers.size() < threads) block.fibers.resize(threads);
    if (block.waits_at.size() < threads) block.waits_at.resize(threads);
    const unsigned long long blocks = 1ULL * grid.blocks.x * grid.blocks.y * grid.blocks.z;
    for (unsigned long long step = 0; step < blocks; ++step) {
        const unsigned long long index = settings().lazy ? blocks - 1 - step : step;
        blockIdx = {unsigned(index % grid.blocks.x), unsigned(index / grid.blocks.x % grid.blocks.y),
                    unsigned(index / grid.blocks.x / grid.blocks.y)};
        // Without barriers no thread reads what another thread left there.
        if (settings().lazy && (step == 0 || block.in_fibers)) spoil_shared_memory();
        run_block(threads);
    }
}

}  // namespace

void add_kernel(const KernelEntry& entry) {
    if (!registry().emplace(entry.name, entry).second) die("two kernels are called %s", entry.name);
}

const KernelEntry* find_kernel(std::string_view name) {
    const auto found = registry().find(name);
    return found == registry().end() ? nullptr : &found->second;
}

Call::Call(const KernelEntry& kernel, void** parameters) : kernel_(&kernel) {
    std::vector<size_t> offsets;
    size_t bytes = kernel.count * sizeof(void*);
    for (size_t i = 0; i < kernel.count; ++i) {
        offsets.push_back(aligned(bytes, kernel.parameters[i].alignment));
        bytes = offsets.back() + kernel.parameters[i].bytes;
    }
    memory_ = std::make_shared<char[]>(bytes);
    for (size_t i = 0; i < kernel.count; ++i) {
        char* place = memory_.get() + offsets[i];
        memcpy(place, parameters[i], kernel.parameters[i].bytes);
        memcpy(memory_.get() + i * sizeof place, &place, sizeof place);
    }
}

void Call::run_thread() const { kernel_->run(kernel_->function, places()); }

std::vector<const void*> Call::pointers() const {
    std::vector<const void*> found;
    for (size_t i = 0; i < kernel_->count; ++i)
        if (kernel_->parameters[i].is_pointer) found.push_back(*static_cast<void* const*>(places()[i]));
    return found;
}

void barrier(const char* file, int line) {
    if (!block.in_fibers) diverged("a thread waits at a barrier that another one did not meet");
    const unsigned index = block.current;
    block.waits_at[index] = {file, line};
    block.fibers[index].suspend();
}

void illegal_access(const Span& span, bool is_write) {
    leave_kernel(CUDA_ERROR_ILLEGAL_ADDRESS, is_write ? "illegal write" : "illegal read", span.start);
}

void shared_memory_race(unsigned other_thread) {
    const uint3 other = position(other_thread, blockDim);
    die("kernel %s, block (%u, %u, %u): threads (%u, %u, %u) and (%u, %u, %u) touch the same shared memory, one of them "
        "writes, and there is no barrier between", block.kernel, blockIdx.x, blockIdx.y, blockIdx.z, other.x, other.y,
        other.z, threadIdx.x, threadIdx.y, threadIdx.z);
}

CUresult run_grid(const Grid& grid, const Call& call, const Lookup& lookup) {
    [[maybe_unused]] static const bool once = (catch_faults(), true);
    block.kernel = call.kernel().name;
    block.call = &call;
    blockDim = {grid.threads.x, grid.threads.y, grid.threads.z};
    gridDim = {grid.blocks.x, grid.blocks.y, grid.blocks.z};
    const int fault = sigsetjmp(after_fault, 1);
    if (fault == 0) {
        watch(lookup);
        in_kernel = true;
        run_blocks(grid);
        in_kernel = false;
        stop_watching();
        return CUDA_SUCCESS;
    }
    block.fibers.clear();
    return static_cast<CUresult>(fault);
}

}  // namespace emulator
