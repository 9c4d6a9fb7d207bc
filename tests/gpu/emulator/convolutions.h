// Two-dimensional convolutions and their gradients as sums over windows. Tensors may lie in memory in any order.
#pragma once

#include "numbers.h"

#include <array>
#include <optional>
#include <vector>

namespace emulator {

using Four = std::array<int, 4>;
using Numbers = std::vector<float>;

/// [n, c, h, w] of a tensor, or [k, c, r, s] of filters, with the place of each number.
struct Layout {
    std::optional<Format> format;
    Four dims{};
    Four strides{};

    size_t count() const { return size_t(dims[0]) * dims[1] * dims[2] * dims[3]; }
    size_t bytes() const {
        size_t last = 0;
        for (int d = 0; d < 4; ++d) last += size_t(dims[d] - 1) * strides[d];
        return (last + 1) * size_of(*format);
    }
};

/// How a window moves; row, then column.
struct Moves {
    int padding[2]{}, stride[2]{1, 1}, dilation[2]{1, 1};
    int groups = 1;
};

Four output_dims(const Moves& moves, const Four& x, const Four& w);

struct Convolution {
    Moves moves;
    Layout x, w, y;
    Inputs inputs;

    /// Whether the formats are one, and the extents those of a convolution.
    bool is_consistent() const;
};

/// The layout's numbers in the order of its dimensions.
Numbers gathered(const Layout& layout, const void* data, Inputs inputs);
/// data = alpha · sums + beta · data.
void scatter(const Layout& layout, void* data, const Numbers& sums, float alpha, float beta);

/// Tensors in the order of their dimensions.
Numbers forward(const Convolution& convolution, const Numbers& x, const Numbers& w);
Numbers backward_data(const Convolution& convolution, const Numbers& w, const Numbers& dy);
Numbers backward_filter(const Convolution& convolution, const Numbers& x, const Numbers& dy);

}  // namespace emulator
