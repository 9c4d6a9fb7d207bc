// libcuda: modules, functions and launches. A module's code is not run: it has to name the kernel, and the host version
// of that name, which was built from the same source, runs in its place.
#include "driver.h"

#include <elf.h>

#include <algorithm>
#include <cctype>
#include <cstring>

using namespace emulator;

namespace {

bool is_elf(const void* image) { return memcmp(image, ELFMAG, SELFMAG) == 0; }

/// The bytes of a cubin, whose length its section table gives.
std::string elf_bytes(const void* image) {
    const auto* header = static_cast<const Elf64_Ehdr*>(image);
    const auto* bytes = static_cast<const char*>(image);
    size_t end = header->e_shoff + size_t{header->e_shnum} * header->e_shentsize;
    for (unsigned i = 0; i < header->e_shnum; ++i) {
        const char* entry = bytes + header->e_shoff + size_t{i} * header->e_shentsize;
        const auto* section = reinterpret_cast<const Elf64_Shdr*>(entry);
        if (section->sh_type != SHT_NOBITS) end = std::max<size_t>(end, section->sh_offset + section->sh_size);
    }
    return {bytes, end};
}

/// A cubin has a section `.text.NAME` for each kernel, and so that text among its strings.
bool cubin_names(const std::string& image, const std::string& name) {
    const std::string section = ".text." + name + '\0';
    return image.find(section) != std::string::npos;
}

bool ptx_names(const std::string& image, const std::string& name) {
    const std::string word = ".entry";
    for (size_t at = image.find(word); at != std::string::npos; at = image.find(word, at + 1)) {
        size_t start = at + word.size();
        while (isspace(static_cast<unsigned char>(image[start]))) ++start;
        const char next = image[std::min(start + name.size(), image.size() - 1)];
        const bool ends = isspace(static_cast<unsigned char>(next)) || next == '(';
        if (ends && image.compare(start, name.size(), name) == 0) return true;
    }
    return false;
}

bool names(const Module& module, const std::string& name) {
    return is_elf(module.image.data()) ? cubin_names(module.image, name) : ptx_names(module.image, name);
}

CUresult load(CUmodule* out, const void* image) {
    return in_context([&](Machine& all, Context& context) {
        if (!image) return CUDA_ERROR_INVALID_VALUE;
        std::string text = is_elf(image) ? elf_bytes(image) : static_cast<const char*>(image);
        if (!is_elf(image) && text.find(".version") == std::string::npos) return CUDA_ERROR_INVALID_IMAGE;
        *out = all.modules.add<CUmodule>(std::make_shared<Module>(Module{&context, std::move(text)}));
        return CUDA_SUCCESS;
    });
}

bool is_launchable(const KernelEntry& kernel, const Grid& grid) {
    const auto& [blocks, threads] = grid;
    const size_t count = size_t{threads.x} * threads.y * threads.z;
    const unsigned bound = kernel.launch_bound ? kernel.launch_bound : 1024;
    return blocks.x > 0 && blocks.y > 0 && blocks.z > 0 && blocks.x <= 0x7FFFFFFF && blocks.y <= 65535 &&
           blocks.z <= 65535 && count > 0 && count <= bound && threads.z <= 64;
}

/// Every pointer among the parameters is null or leads into memory that the context reaches.
CUresult check_pointers(Machine& all, const Context& context, const std::string& name, const Call& call) {
    for (const void* pointer : call.pointers()) {
        if (!pointer) continue;
        const Allocation* around = all.memory.around(pointer);
        const bool at_end = around && pointer == around->start + around->bytes;
        const Span first{pointer, at_end ? size_t{0} : size_t{1}};
        if (const CUresult error = all.check_reachable(context, name, first)) return error;
    }
    return CUDA_SUCCESS;
}

CUresult launch(CUfunction handle, const Grid& grid, size_t shared_bytes, CUstream stream_handle, void** parameters) {
    return in_stream(stream_handle, [&](Machine& all, const std::shared_ptr<Stream>& stream) {
        const std::shared_ptr<Function> function = all.functions.find(handle);
        Context& context = *stream->context;
        if (!function || function->module->context != &context) return CUDA_ERROR_INVALID_HANDLE;
        const KernelEntry& kernel = *function->kernel;
        if (!is_launchable(kernel, grid)) return CUDA_ERROR_INVALID_VALUE;
        if (shared_bytes > 0) {
            say("kernel %s: dynamic shared memory is not emulated", kernel.name);
            return CUDA_ERROR_NOT_SUPPORTED;
        }
        const CUresult fault = all.due_fault(context.device, Fault::At::launch);
        return all.issue(stream, kernel.name, [&all, &context, &kernel, grid, fault, call = Call(kernel, parameters)] {
            if (fault) return fault;
            if (const CUresult error = check_pointers(all, context, kernel.name, call)) return error;
            all.note_kernel(kernel.name);
            return run_grid(grid, call, [&](const Span& span) -> Span {
                const Allocation* holder = all.memory.holding(span);
                const bool reachable = holder && all.reaches(context, *holder);
                return reachable ? Span{holder->start, holder->bytes} : Span{};
            });
        });
    });
}

template <class Body>
CUresult in_function(CUfunction handle, Body body) {
    return in_context([&](Machine& all, Context&) -> CUresult {
        const std::shared_ptr<Function> function = all.functions.find(handle);
        return function ? body(*function->kernel) : CUDA_ERROR_INVALID_HANDLE;
    });
}

}  // namespace

CUresult cuModuleLoadData(CUmodule* out, const void* image) { return load(out, image); }

CUresult cuModuleLoadDataEx(CUmodule* out, const void* image, unsigned, CUjit_option*, void**) { return load(out, image); }

CUresult cuModuleUnload(CUmodule handle) {
    return in_context([&](Machine& all, Context&) {
        return all.modules.remove(handle) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
    });
}

CUresult cuModuleGetFunction(CUfunction* out, CUmodule handle, const char* name) {
    return in_context([&](Machine& all, Context&) {
        const std::shared_ptr<Module> module = all.modules.find(handle);
        if (!module) return CUDA_ERROR_INVALID_HANDLE;
        if (!names(*module, name)) return CUDA_ERROR_NOT_FOUND;
        const KernelEntry* kernel = find_kernel(name);
        if (!kernel) {
            say("kernel %s is in the module and has no host version", name);
            return CUDA_ERROR_NOT_FOUND;
        }
        *out = all.functions.add<CUfunction>(std::make_shared<Function>(Function{module, kernel}));
        return CUDA_SUCCESS;
    });
}

CUresult cuFuncGetAttribute(int* out, CUfunction_attribute attribute, CUfunction handle) {
    return in_function(handle, [&](const KernelEntry& kernel) {
        switch (attribute) {
            case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *out = kernel.launch_bound ? kernel.launch_bound : 1024; break;
            case CU_FUNC_ATTRIBUTE_NUM_REGS: *out = 32; break;
            case CU_FUNC_ATTRIBUTE_PTX_VERSION:
            case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *out = 90; break;
            default: *out = 0;
        }
        return CUDA_SUCCESS;
    });
}

CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute, int) {
    return in_function(handle, [](const KernelEntry&) { return CUDA_SUCCESS; });
}

CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache) {
    return in_function(handle, [](const KernelEntry&) { return CUDA_SUCCESS; });
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* out, CUfunction handle, int threads, size_t, unsigned) {
    return in_function(handle, [&](const KernelEntry&) {
        if (threads <= 0) return CUDA_ERROR_INVALID_VALUE;
        *out = std::min(32, 2048 / threads);
        return CUDA_SUCCESS;
    });
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, CUfunction handle, int threads, size_t shared_bytes) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out, handle, threads, shared_bytes, 0);
}

CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* threads, CUfunction handle, CUoccupancyB2DSize, size_t,
                                                   int limit, unsigned) {
    return in_function(handle, [&](const KernelEntry& kernel) {
        const int bound = kernel.launch_bound ? kernel.launch_bound : 1024;
        *threads = limit > 0 ? std::min(limit, bound) : bound;
        *grid = multiprocessors * (2048 / *threads);
        return CUDA_SUCCESS;
    });
}

CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* threads, CUfunction handle, CUoccupancyB2DSize size,
                                          size_t shared_bytes, int limit) {
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, threads, handle, size, shared_bytes, limit, 0);
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void** parameters,
                        void** extra) {
    if (extra) return CUDA_ERROR_NOT_SUPPORTED;
    return launch(function, {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}}, shared_bytes, stream, parameters);
}

CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra) {
    if (extra) return CUDA_ERROR_NOT_SUPPORTED;
    const Grid grid{{config->gridDimX, config->gridDimY, config->gridDimZ},
                    {config->blockDimX, config->blockDimY, config->blockDimZ}};
    return launch(function, grid, config->sharedMemBytes, config->hStream, parameters);
}
