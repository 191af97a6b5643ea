// Vectors of floats in the compiler's own terms, so that one source serves every instruction set. Each set has a
// library of its own, compiled with its row of tuning.h: no function of one can be mistaken for another's.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "bfloat16.h"
#include "tuning.h"

namespace jbptt {

constexpr int kLanes = kTuning.lanes;

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t VecInt __attribute__((vector_size(kLanes * 4)));
typedef uint32_t VecBits __attribute__((vector_size(kLanes * 4)));
typedef uint16_t VecHalves __attribute__((vector_size(kLanes * 2)));

inline Vec load(const float* from) {
  Vec v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vec v) { std::memcpy(to, &v, sizeof v); }

// The first n of as many flags, each 0 or 1; the other lanes are 0.
inline Vec load_flags(const uint8_t* from, int n) {
  typedef uint8_t Flags __attribute__((vector_size(kLanes)));
  Flags flags{};
  if (n >= kLanes) std::memcpy(&flags, from, kLanes);
  else std::memcpy(&flags, from, n);
  return __builtin_convertvector(flags, Vec);
}

// The first n lanes; the others are 0.
inline Vec load(const float* from, int n) {
  if (n >= kLanes) return load(from);
  Vec v{};
  std::memcpy(&v, from, n * sizeof(float));
  return v;
}

inline void store(float* to, Vec v, int n) {
  if (n >= kLanes) return store(to, v);
  std::memcpy(to, &v, n * sizeof(float));
}

inline Vec load(const Bfloat16* from, int n = kLanes) {
  VecHalves halves{};
  if (n >= kLanes) std::memcpy(&halves, from, sizeof halves);
  else std::memcpy(&halves, from, n * sizeof(Bfloat16));
  const VecBits bits = __builtin_convertvector(halves, VecBits) << 16;
  Vec v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

inline void store(Bfloat16* to, Vec v, int n = kLanes) {
  const VecHalves halves = __builtin_convertvector(rounded_half<VecBits>(v), VecHalves);
  if (n >= kLanes) std::memcpy(to, &halves, sizeof halves);
  else std::memcpy(to, &halves, n * sizeof(Bfloat16));
}

// Lane l of the result: that of a where the bit of l that kDistance is not set, else of b; from kDistance lanes above
// (kUpper) or below, where that lane is of the other half.
template <int kDistance, bool kUpper, size_t... l>
inline Vec half_of_each(Vec a, Vec b, std::index_sequence<l...>) {
#if __has_builtin(__builtin_shufflevector)
  return __builtin_shufflevector(
      a, b, (l & kDistance ? kLanes + static_cast<int>(l) - (kUpper ? 0 : kDistance)
                           : static_cast<int>(l) + (kUpper ? kDistance : 0))...);
#else
  return __builtin_shuffle(a, b, VecInt{(l & kDistance ? kLanes + static_cast<int>(l) - (kUpper ? 0 : kDistance)
                                                       : static_cast<int>(l) + (kUpper ? kDistance : 0))...});
#endif
}

// Transposes kLanes x kLanes floats in place: halves, then halves of halves, change places.
template <int kDistance = kLanes / 2>
inline void transpose(Vec* rows) {
  constexpr auto lanes = std::make_index_sequence<kLanes>();
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & kDistance)) {
      const Vec a = rows[i], b = rows[i + kDistance];
      rows[i] = half_of_each<kDistance, false>(a, b, lanes);
      rows[i + kDistance] = half_of_each<kDistance, true>(a, b, lanes);
    }
  if constexpr (kDistance > 1) transpose<kDistance / 2>(rows);
}

inline Vec clamped(Vec x, float bound) {  // NaN stays
  x = x > bound ? Vec{} + bound : x;
  return x < -bound ? Vec{} - bound : x;
}

// eˣ for |x| <= 88: 2ⁿ eʳ with n = round(x / ln 2), and a polynomial for |r| <= ln 2 / 2. Relative error 3e-7.
inline Vec exponential(Vec x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 · 2²³: adding it rounds, and leaves n in the lowest bits
  Vec shifted = x * 1.44269504f + kMagic;
  Vec n = shifted - kMagic;
  Vec r = x - n * 0.693359375f;  // ln 2 in two parts, the first short enough for an exact product
  r = r + n * 2.12194440e-4f;
  Vec p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  VecInt bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  Vec power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(clamped(-x, 87.0f))); }

// 1 − 2 / (e²ˣ + 1); near 0, where that cancels, x + x³ P(x²) with P fitted to |x| <= 0.6. Relative error 3e-7.
inline Vec hyperbolic_tangent(Vec x) {
  Vec large = 1.0f - 2.0f / (exponential(clamped(x + x, 20.0f)) + 1.0f);
  Vec s = x * x;
  Vec p = s * -0.00589515036f + 0.0207959637f;
  p = p * s + -0.0537838265f;
  p = p * s + 0.133319244f;
  p = p * s + -0.333332986f;
  Vec small = x + x * s * p;
  return s < 0.36f ? small : large;
}

}  // namespace jbptt
