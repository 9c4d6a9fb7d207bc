// bfloat16 for host code. Found before the toolkit's header of that name.
#pragma once

#include "../numbers.h"

struct __nv_bfloat16;
inline __nv_bfloat16 __float2bfloat16(float value);
inline float __bfloat162float(__nv_bfloat16 value);

struct __nv_bfloat16 {
    uint16_t bits;

    __nv_bfloat16() = default;
    __nv_bfloat16(float value) { *this = __float2bfloat16(value); }
    operator float() const { return __bfloat162float(*this); }
};
using nv_bfloat16 = __nv_bfloat16;

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

inline __nv_bfloat16 __float2bfloat16(float value) {
    __nv_bfloat16 half;
    half.bits = emulator::bf16_bits(value);
    return half;
}

inline float __bfloat162float(__nv_bfloat16 value) { return emulator::bf16_value(value.bits); }

inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __float2bfloat16(value); }
inline __nv_bfloat16 __double2bfloat16(double value) { return __float2bfloat16(float(value)); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 value;
    value.bits = bits;
    return value;
}
inline bool __hisnan(__nv_bfloat16 value) { return (value.bits & 0x7FFF) > 0x7F80; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__float2bfloat16(x), __float2bfloat16(y)}; }
inline float __low2float(__nv_bfloat162 pair) { return __bfloat162float(pair.x); }
inline float __high2float(__nv_bfloat162 pair) { return __bfloat162float(pair.y); }
