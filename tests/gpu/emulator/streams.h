// Devices, contexts, streams and events: who waits for whom, and when an operation runs.
//
// An operation waits in its stream until something has to be seen of it: the host synchronises with the stream, with
// its context or with an event behind it, or another stream has a wait for it. In `eager` order it runs when it is
// issued. One lock is held by the thread that runs an entry point, kernels included.
#pragma once

#include "kernels.h"
#include "memory.h"
#include "settings.h"

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace emulator {

struct Context;
struct Stream;

using Action = std::function<CUresult()>;

/// "Everything that was issued to the stream up to here."
struct Point {
    std::shared_ptr<Stream> stream;
    uint64_t position = 0;
    bool reached() const;
};

struct Operation {
    std::string name;
    std::vector<Point> after;
    Action run;
};

struct Stream {
    Stream(Context* context, int number, bool blocking) : context(context), number(number), blocking(blocking) {}

    Context* const context;
    const int number;     ///< For the log.
    const bool blocking;  ///< Waits for the legacy default stream, and that one for it.
    std::deque<Operation> queue;
    uint64_t issued = 0;
    uint64_t executed = 0;
};

/// What one recording of an event stands for. A wait keeps the recording it was given when the event is recorded anew.
struct Recording {
    Point point;
    std::chrono::steady_clock::time_point time;
};

struct Event {
    Context* context;
    bool timed;
    std::shared_ptr<Recording> recording;
};

struct Device {
    int ordinal = 0;
    size_t used = 0;
    size_t most_used = 0;            ///< Since the pool's high-water mark was set back.
    uint64_t launches = 0;
    uint64_t allocations = 0;
    bool lost = false;               ///< Fell off the bus: no context of it works again.
    std::set<int> pool_access;       ///< Devices that may reach memory from this device's pool.
    uint64_t pool_threshold = 0;
    std::shared_ptr<Context> primary;
    unsigned retained = 0;
    unsigned primary_flags = 0;
};

struct Context {
    explicit Context(Device& device) : device(device) {}

    Device& device;
    CUresult broken = CUDA_SUCCESS;  ///< The error that every call gives from now on.
    std::shared_ptr<Stream> legacy;
    std::unordered_map<uint64_t, std::shared_ptr<Stream>> per_thread;
    std::vector<std::shared_ptr<Stream>> streams;  ///< All that may have work, destroyed ones too.
    std::set<int> peers;                           ///< Devices whose memory kernels may use here.
    int next_stream = 0;
};

struct Module {
    Context* context;
    std::string image;
};

struct Function {
    std::shared_ptr<Module> module;
    const KernelEntry* kernel;
};

/// Handles that were given out; one that is not among them is refused.
template <class Object>
class Handles {
  public:
    template <class Handle>
    Handle add(std::shared_ptr<Object> object) {
        Object* key = object.get();
        objects_[key] = std::move(object);
        return reinterpret_cast<Handle>(key);
    }
    std::shared_ptr<Object> find(const void* handle) const {
        const auto found = objects_.find(handle);
        return found == objects_.end() ? nullptr : found->second;
    }
    bool remove(const void* handle) { return objects_.erase(handle) > 0; }

  private:
    std::unordered_map<const void*, std::shared_ptr<Object>> objects_;
};

class Machine {
  public:
    Machine();

    std::recursive_mutex lock;
    bool initialised = false;
    std::deque<Device> devices;
    Memory memory;
    Handles<Context> contexts;
    Handles<Stream> streams;
    Handles<Event> events;
    Handles<Module> modules;
    Handles<Function> functions;

    std::shared_ptr<Context> make_context(Device& device);
    /// Runs what is queued, checks all guards and frees the memory of the device.
    void destroy_context(const std::shared_ptr<Context>& context);

    std::shared_ptr<Stream> make_stream(Context& context, bool blocking);
    /// The stream that a handle names for the calling thread; null if there is none.
    std::shared_ptr<Stream> stream(Context& context, CUstream handle);

    CUresult issue(const std::shared_ptr<Stream>& stream, std::string name, Action run, std::vector<Point> after = {});
    /// Runs the stream's operations up to the point and, before each, what it waits for.
    void reach(const Point& point);
    void drain(Stream& stream);
    void drain(Context& context);
    /// One operation, so that polling comes to an end.
    void step(Stream& stream);

    /// The fault that is due at this launch or allocation.
    CUresult due_fault(Device& device, Fault::At at);
    /// The error for bytes that are not live memory, in words on the standard error; else success.
    CUresult check_live(const Context& context, const std::string& name, const Span& span);
    /// The same for bytes that the context's kernels cannot reach.
    CUresult check_reachable(const Context& context, const std::string& name, const Span& span);
    /// Whether the device's kernels reach the memory: its own, host memory, or a peer's that was enabled.
    bool reaches(const Context& context, const Allocation& allocation) const;

    void note_kernel(const std::string& name);
    std::string recent_kernels() const;

  private:
    void execute(Stream& stream);
    void fail(Context& context, CUresult error, const std::string& name);
    void log(const Stream& stream, const Operation& operation, CUresult result);

    std::deque<std::string> recent_;
    /// Streams, events and modules that were left behind still lead to their context.
    std::vector<std::shared_ptr<Context>> destroyed_;
};

Machine& machine();

/// The context that is current to the calling thread, or null.
Context*& current_context();

inline Point tail(const std::shared_ptr<Stream>& stream) { return {stream, stream->issued}; }

}  // namespace emulator
