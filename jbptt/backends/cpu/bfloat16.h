// bfloat16, the upper half of a float's bits: how numbers may be in memory. Wherever one is read it becomes a float, so
// that all arithmetic is that of floats.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace jbptt {

// The upper half of x's bits, rounded to the nearest, of two to the even one; NaN stays. Of one number or a vector.
template <class Bits, class Float>
inline Bits rounded_half(Float x) {
  Bits bits;
  std::memcpy(&bits, &x, sizeof bits);
  const Bits rounded = bits + 0x7fff + (bits >> 16 & 1), quiet = bits | 0x400000;
  return (x == x ? rounded : quiet) >> 16;
}

struct Bfloat16 {
  Bfloat16() = default;
  Bfloat16(float x) : upper_half(static_cast<uint16_t>(rounded_half<uint32_t>(x))) {}

  operator float() const {
    const uint32_t bits = uint32_t{upper_half} << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  }

  uint16_t upper_half;
};

// Whether arrays of these become floats before a product, which reads floats.
template <class Real>
constexpr bool kWidens = !std::is_same_v<Real, float>;

}  // namespace jbptt
