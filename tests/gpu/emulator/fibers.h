// A function on a stack of its own that can stop in the middle and be resumed.
#pragma once

#include <cstddef>

namespace emulator {

class Fiber {
  public:
    Fiber() = default;
    Fiber(Fiber&& other) noexcept;
    Fiber& operator=(Fiber&&) = delete;
    ~Fiber();

    /// Puts `function` at the bottom of the stack; `resume` enters it.
    void start(void (*function)());
    /// Runs until the function suspends itself or ends.
    void resume();
    /// Called from within: back to the caller of resume.
    void suspend();
    bool ended() const { return ended_; }

  private:
    static void enter(Fiber* self);

    char* stack_ = nullptr;
    void* inside_ = nullptr;   ///< The stack pointer of the fiber while it is stopped.
    void* outside_ = nullptr;  ///< The stack pointer of the resumer while the fiber runs.
    void (*function_)() = nullptr;
    bool ended_ = true;
};

}  // namespace emulator
