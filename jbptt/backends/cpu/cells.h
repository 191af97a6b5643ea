// The cells' pointwise parts, one vector of units at a time; equations in jbptt/cells/lstm.py, gru.py and elman.py.
//
// A cell says: G, its blocks of U, W and b; S, the vectors that it saves, which its backward replaces by δ; the columns
// of those that are δ at x U (kAtX) and at h W (kAtH); kUnits, the vectors of units that one panel holds; kExtra, what
// other parameters it has: peepholes' gradients are its backward's own sums, bn's is that of the last column at h W.
#pragma once

#include "product.h"
#include "recurrence_args.h"

namespace jbptt {

inline Vec prime_of_sigmoid(Vec a) { return a * (1.0f - a); }
inline Vec prime_of_tanh(Vec a) { return 1.0f - a * a; }

// What a step knows beside z: the extra parameters, and the state before it.
struct Before {
  Vec extra[3], h, c;
};

struct State {
  Vec h, c;
};

// On the way back: in, what came in from later (h, c); out, what goes on to the step before, beside Wᵀ δ.
struct Back {
  Vec dh, dc;
};

// kInput, kForget, kOutput: the gates that there are; kCoupled: f = 1 − i; kTanhIn, kTanhOut: the block's activations.
template <bool kInput, bool kForget, bool kOutput, bool kCoupled, bool kTanhIn, bool kTanhOut>
struct Lstm {
  static constexpr int G = 1 + kInput + kForget + kOutput, S = G, kUnits = 1;
  static constexpr Extra kExtra = Extra::peepholes;
  static constexpr bool kHasC = true;
  static constexpr int kAtX[4] = {0, 1, 2, 3}, kAtH[4] = {0, 1, 2, 3};
  static constexpr int i_ = 0, f_ = kInput, g_ = kInput + kForget, o_ = g_ + 1;

  static State forward(const Vec* zx, const Vec* zh, const Before& before, Vec* saved) {
    const Vec one = Vec{} + 1.0f;
    Vec i = one, f = one, o = one;
    if constexpr (kInput) saved[i_] = i = sigmoid(zx[i_] + zh[i_] + before.extra[0] * before.c);
    if constexpr (kForget) saved[f_] = f = sigmoid(zx[f_] + zh[f_] + before.extra[1] * before.c);
    if constexpr (kCoupled) f = 1.0f - i;
    Vec g = zx[g_] + zh[g_];
    if constexpr (kTanhIn) g = hyperbolic_tangent(g);
    saved[g_] = g;
    const Vec c = f * before.c + i * g;
    if constexpr (kOutput) saved[o_] = o = sigmoid(zx[o_] + zh[o_] + before.extra[2] * c);
    return {o * (kTanhOut ? hyperbolic_tangent(c) : c), c};
  }

  // The c that the step made, of which only that which zoneout left is kept.
  static Vec made_c(const Vec* saved, const Before& before) {
    Vec i = Vec{} + 1.0f, f = i;
    if constexpr (kInput) i = saved[i_];
    if constexpr (kForget) f = saved[f_];
    if constexpr (kCoupled) f = 1.0f - i;
    return f * before.c + i * saved[g_];
  }

  static Back backward(const Vec* saved, const Before& before, Vec c, Back later, Vec* delta, Vec* dp) {
    const Vec one = Vec{} + 1.0f;
    Vec i = one, f = one, o = one, g = saved[g_];
    if constexpr (kInput) i = saved[i_];
    if constexpr (kForget) f = saved[f_];
    if constexpr (kCoupled) f = 1.0f - i;
    if constexpr (kOutput) o = saved[o_];
    const Vec a = kTanhOut ? hyperbolic_tangent(c) : c;
    Vec dc = later.dc + later.dh * o * (kTanhOut ? prime_of_tanh(a) : one);
    if constexpr (kOutput) {
      const Vec d = later.dh * a * prime_of_sigmoid(o);
      delta[o_] = d;
      dc += before.extra[2] * d;
      dp[2] += d * c;
    }
    delta[g_] = dc * i * (kTanhIn ? prime_of_tanh(g) : one);
    Vec dc_before = dc * f;
    if constexpr (kInput) {
      const Vec d = dc * (kCoupled ? g - before.c : g) * prime_of_sigmoid(i);
      delta[i_] = d;
      dc_before += before.extra[0] * d;
      dp[0] += d * before.c;
    }
    if constexpr (kForget) {
      const Vec d = dc * before.c * prime_of_sigmoid(f);
      delta[f_] = d;
      dc_before += before.extra[1] * d;
      dp[1] += d * before.c;
    }
    return {Vec{}, dc_before};
  }
};

struct Gru {
  static constexpr int G = 3, S = 4, kUnits = 1;
  static constexpr Extra kExtra = Extra::bn;
  static constexpr bool kHasC = false;
  static constexpr int kAtX[4] = {0, 1, 2}, kAtH[4] = {0, 1, 3};

  static State forward(const Vec* zx, const Vec* zh, const Before& before, Vec* saved) {
    const Vec r = sigmoid(zx[0] + zh[0]), u = sigmoid(zx[1] + zh[1]), m = zh[2] + before.extra[0];
    const Vec n = hyperbolic_tangent(zx[2] + r * m);
    saved[0] = r;
    saved[1] = u;
    saved[2] = n;
    saved[3] = m;
    return {(1.0f - u) * n + u * before.h, Vec{}};
  }

  static Vec made_c(const Vec*, const Before&) { return Vec{}; }

  static Back backward(const Vec* saved, const Before& before, Vec, Back later, Vec* delta, Vec*) {
    const Vec r = saved[0], u = saved[1], n = saved[2], m = saved[3], dh = later.dh;
    const Vec dn = dh * (1.0f - u) * prime_of_tanh(n);
    delta[0] = dn * m * prime_of_sigmoid(r);
    delta[1] = dh * (before.h - n) * prime_of_sigmoid(u);
    delta[2] = dn;
    delta[3] = dn * r;
    return {dh * u, Vec{}};
  }
};

enum class Activation { tanh, relu, sigmoid };

template <Activation kActivation>
struct Rnn {
  static constexpr int G = 1, S = 1, kUnits = kPanel;
  static constexpr Extra kExtra = Extra::none;
  static constexpr bool kHasC = false;
  static constexpr int kAtX[4] = {0}, kAtH[4] = {0};

  static State forward(const Vec* zx, const Vec* zh, const Before&, Vec* saved) {
    const Vec z = zx[0] + zh[0];
    const Vec a = kActivation == Activation::tanh   ? hyperbolic_tangent(z)
                  : kActivation == Activation::relu ? (z < 0.0f ? Vec{} : z)
                                                    : sigmoid(z);
    saved[0] = a;
    return {a, Vec{}};
  }

  static Vec made_c(const Vec*, const Before&) { return Vec{}; }

  static Back backward(const Vec* saved, const Before&, Vec, Back later, Vec* delta, Vec*) {
    const Vec a = saved[0];
    const Vec prime = kActivation == Activation::tanh   ? prime_of_tanh(a)
                      : kActivation == Activation::relu ? (a > 0.0f ? Vec{} + 1.0f : Vec{})
                                                        : prime_of_sigmoid(a);
    delta[0] = later.dh * prime;
    return {Vec{}, Vec{}};
  }
};

}  // namespace jbptt
