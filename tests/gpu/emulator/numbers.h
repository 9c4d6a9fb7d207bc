// The number formats of a GPU that the host does not have: bfloat16 in memory, and the inputs of tensor cores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace emulator {

inline uint32_t float_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline bool is_nan_bits(uint32_t bits) { return (bits & 0x7FFFFFFF) > 0x7F800000; }

/// Rounds to nearest, ties to even; a NaN becomes the one that the hardware writes.
inline uint16_t bf16_bits(float value) {
    const uint32_t bits = float_bits(value);
    return is_nan_bits(bits) ? uint16_t{0x7FFF} : static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

inline float bf16_value(uint16_t bits) { return float_of(uint32_t{bits} << 16); }

/// Ten bits of mantissa, to nearest, ties to even.
inline float tf32(float value) {
    const uint32_t bits = float_bits(value);
    return is_nan_bits(bits) ? value : float_of((bits + 0xFFF + ((bits >> 13) & 1)) & ~uint32_t{0x1FFF});
}

enum class Format { f32, bf16 };

inline size_t size_of(Format format) { return format == Format::f32 ? 4 : 2; }

inline float load(Format format, const void* data, size_t index) {
    if (format == Format::f32) return static_cast<const float*>(data)[index];
    return bf16_value(static_cast<const uint16_t*>(data)[index]);
}

inline void store(Format format, void* data, size_t index, float value) {
    if (format == Format::f32)
        static_cast<float*>(data)[index] = value;
    else
        static_cast<uint16_t*>(data)[index] = bf16_bits(value);
}

/// alpha · sum + beta · what is there, which is not read where beta is 0.
inline void blend(Format format, void* data, size_t index, float alpha, float sum, float beta) {
    store(format, data, index, beta == 0.0f ? alpha * sum : alpha * sum + beta * load(format, data, index));
}

/// What a unit makes of its inputs before it multiplies.
enum class Inputs { exact, tf32, bf16 };

inline float input(Inputs inputs, float value) {
    switch (inputs) {
        case Inputs::tf32: return tf32(value);
        case Inputs::bf16: return bf16_value(bf16_bits(value));
        default: return value;
    }
}

}  // namespace emulator
