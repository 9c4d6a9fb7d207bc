// The switch between stacks, for x86-64: the registers that a call preserves, and nothing that needs the kernel.
#include "fibers.h"

#include "machine.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

#ifndef __x86_64__
#error "the switch between fibers is written for x86-64"
#endif

/// Saves the registers on the running stack, its pointer in `*from`, and goes on where `to` was saved.
extern "C" void emulator_switch(void** from, void* to);
/// Where a new stack begins: calls the function in r12 with r13.
extern "C" void emulator_begin();

asm(R"(
    .text
    .globl emulator_switch
    .hidden emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, . - emulator_switch

    .globl emulator_begin
    .hidden emulator_begin
    .type emulator_begin, @function
emulator_begin:
    movq %r13, %rdi
    callq *%r12
    ud2
    .size emulator_begin, . - emulator_begin
)");

namespace emulator {
namespace {

constexpr size_t page = 4096;
constexpr size_t stack_bytes = 64 * 1024;

/// The lowest page is unmapped, so that an overflow is seen.
char* make_stack() {
    void* stack = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) die("no memory for the stacks of a block's threads");
    mprotect(stack, page, PROT_NONE);
    return static_cast<char*>(stack);
}

}  // namespace

Fiber::Fiber(Fiber&& other) noexcept
    : stack_(std::exchange(other.stack_, nullptr)),
      inside_(other.inside_),
      function_(other.function_),
      ended_(other.ended_) {}

Fiber::~Fiber() {
    if (stack_) munmap(stack_, stack_bytes);
}

void Fiber::start(void (*function)()) {
    if (!stack_) stack_ = make_stack();
    function_ = function;
    ended_ = false;
    uint64_t* top = reinterpret_cast<uint64_t*>(stack_ + stack_bytes);
    top -= 2;  // Nothing returns there; keeps the stack aligned as before a call.
    *--top = reinterpret_cast<uint64_t>(emulator_begin);
    *--top = 0;                                          // rbp
    *--top = 0;                                          // rbx
    *--top = reinterpret_cast<uint64_t>(&Fiber::enter);  // r12
    *--top = reinterpret_cast<uint64_t>(this);           // r13
    *--top = 0;                                          // r14
    *--top = 0;                                          // r15
    inside_ = top;
}

void Fiber::resume() { emulator_switch(&outside_, inside_); }

void Fiber::suspend() { emulator_switch(&inside_, outside_); }

void Fiber::enter(Fiber* self) {
    self->function_();
    self->ended_ = true;
    self->suspend();
}

}  // namespace emulator
