// The loops over windows; see convolutions.h.
#include "convolutions.h"

#include <algorithm>

namespace emulator {
namespace {

/// Calls `body(place, number)` for each number in the order of [n, c, h, w].
template <class Body>
void for_each(const Layout& layout, Body body) {
    const auto [n, c, h, w] = layout.dims;
    const Four& strides = layout.strides;
    size_t number = 0;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < c; ++j)
            for (int y = 0; y < h; ++y)
                for (int x = 0; x < w; ++x)
                    body(size_t(i) * strides[0] + size_t(j) * strides[1] + size_t(y) * strides[2] +
                             size_t(x) * strides[3],
                         number++);
}

int output_extent(int input, int window, int padding, int stride, int dilation) {
    return (input + 2 * padding - ((window - 1) * dilation + 1)) / stride + 1;
}

/// A row of outputs under one number of a filter: the output `first + i` sees the input `input + i * step`.
struct Row {
    size_t weight;  ///< Place of the filter's number, in packed order.
    size_t output, input;
    int count, step;
};

/// The outputs of one row whose window's column `s` lies inside the input.
struct Columns {
    int first, end;
};

Columns inside(const Convolution& convolution, int s) {
    const auto& [padding, stride, dilation, groups] = convolution.moves;
    const int shift = s * dilation[1] - padding[1];  // The input's column under the output's column 0.
    const int width = convolution.x.dims[3], columns = convolution.y.dims[3];
    const int first = shift < 0 ? (-shift + stride[1] - 1) / stride[1] : 0;
    const int end = shift >= width ? 0 : (width - 1 - shift) / stride[1] + 1;
    return {first, std::min(end, columns)};
}

/// Calls `body(row)` for each output row under each number of the filters, inside one image and filter.
template <class Body>
void for_each_row(const Convolution& convolution, int n, int k, Body body) {
    const auto& [padding, stride, dilation, groups] = convolution.moves;
    const auto [filters, depth, window_rows, window_columns] = convolution.w.dims;
    const auto [images, channels, height, width] = convolution.x.dims;
    const int rows = convolution.y.dims[2], columns = convolution.y.dims[3];
    const int first_channel = k / (filters / groups) * depth;
    for (int c = 0; c < depth; ++c)
        for (int r = 0; r < window_rows; ++r)
            for (int s = 0; s < window_columns; ++s) {
                const auto [first, end] = inside(convolution, s);
                if (first >= end) continue;
                for (int y = 0; y < rows; ++y) {
                    const int input_row = y * stride[0] - padding[0] + r * dilation[0];
                    if (input_row < 0 || input_row >= height) continue;
                    const int input_column = first * stride[1] - padding[1] + s * dilation[1];
                    body(Row{((size_t(k) * depth + c) * window_rows + r) * window_columns + s,
                             ((size_t(n) * filters + k) * rows + y) * columns + first,
                             ((size_t(n) * channels + first_channel + c) * height + input_row) * width + input_column,
                             end - first, stride[1]});
                }
            }
}

template <class Body>
void for_each_row(const Convolution& convolution, Body body) {
    for (int n = 0; n < convolution.x.dims[0]; ++n)
        for (int k = 0; k < convolution.w.dims[0]; ++k) for_each_row(convolution, n, k, body);
}

}  // namespace

Four output_dims(const Moves& moves, const Four& x, const Four& w) {
    const auto extent = [&](int axis) {
        return output_extent(x[2 + axis], w[2 + axis], moves.padding[axis], moves.stride[axis],
                             moves.dilation[axis]);
    };
    return {x[0], w[0], extent(0), extent(1)};
}

bool Convolution::is_consistent() const {
    return x.format && x.format == w.format && x.format == y.format && x.dims[1] == w.dims[1] * moves.groups &&
           w.dims[0] % moves.groups == 0 && y.dims == output_dims(moves, x.dims, w.dims);
}

Numbers gathered(const Layout& layout, const void* data, Inputs inputs) {
    Numbers numbers(layout.count());
    for_each(layout, [&](size_t place, size_t number) {
        numbers[number] = input(inputs, load(*layout.format, data, place));
    });
    return numbers;
}

void scatter(const Layout& layout, void* data, const Numbers& sums, float alpha, float beta) {
    for_each(layout, [&](size_t place, size_t number) {
        blend(*layout.format, data, place, alpha, sums[number], beta);
    });
}

Numbers forward(const Convolution& convolution, const Numbers& x, const Numbers& w) {
    Numbers y(convolution.y.count());
    for_each_row(convolution, [&](const Row& row) {
        const float weight = w[row.weight];
        float* to = y.data() + row.output;
        const float* from = x.data() + row.input;
        for (int i = 0; i < row.count; ++i) to[i] += weight * from[i * row.step];
    });
    return y;
}

Numbers backward_data(const Convolution& convolution, const Numbers& w, const Numbers& dy) {
    Numbers dx(convolution.x.count());
    for_each_row(convolution, [&](const Row& row) {
        const float weight = w[row.weight];
        float* to = dx.data() + row.input;
        const float* from = dy.data() + row.output;
        for (int i = 0; i < row.count; ++i) to[i * row.step] += weight * from[i];
    });
    return dx;
}

Numbers backward_filter(const Convolution& convolution, const Numbers& x, const Numbers& dy) {
    Numbers dw(convolution.w.count());
    for_each_row(convolution, [&](const Row& row) {
        const float* inputs = x.data() + row.input;
        const float* outputs = dy.data() + row.output;
        float sum = 0.0f;
        for (int i = 0; i < row.count; ++i) sum += inputs[i * row.step] * outputs[i];
        dw[row.weight] += sum;
    });
    return dw;
}

}  // namespace emulator
