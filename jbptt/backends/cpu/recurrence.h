// The recurrence of any cell, forward and back.
//
// Who owns what: a task has a slice of the batch rows for all of T, so that no thread waits for another from step to
// step; its state stays in its cache. Rows share the packed weights, which nobody writes.
//
// Layout: U and W are packed into panels of whole units, a unit's G blocks side by side, so that the sums of a register
// tile are all that the pointwise part of those units needs. What is saved of a step has the same order, [unit vector,
// S, lane], and δ takes its place. H is filled up to whole vectors with units of zero weights, whose δ is 0 and whose h nobody reads.
//
// Cost: forward 2·T·B·(I+H)·G·H operations; back, twice that: Wᵀ δ step by step, then, over all of time at once, Uᵀ δ,
// Σ δ hᵀ and Σ δ xᵀ, in tasks of their own.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "cells.h"
#include "problem.h"
#include "product.h"

namespace jbptt {

constexpr int kRowsAtOnce = 48;    // of the batch, whose sums stay in the first cache until the pointwise part
constexpr int kProjectedRows = 48; // of x U, ahead of the steps that use them

constexpr int kColumn = kChain + 16;  // from column to column of what is transposed: no power of two, which caches dislike

class Buffer {
 public:
  explicit Buffer(size_t floats)
      : floats_(static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 127) / 64 * 64)), &std::free) {
    if (!floats_) throw std::bad_alloc();
  }
  Buffer(size_t floats, float value) : Buffer(floats) { std::fill_n(floats_.get(), floats, value); }
  operator float*() const { return floats_.get(); }

 private:
  std::unique_ptr<float[], decltype(&std::free)> floats_;
};

template <class Cell>
class Recurrence {
 public:
  Recurrence(const Problem& problem, Helpers& helpers)
      : p(problem), helpers(helpers), vectors((p.H + kLanes - 1) / kLanes), Hp(vectors * kLanes), z(vectors * G * kLanes),
        panels((vectors + Cell::kUnits - 1) / Cell::kUnits), threads(helpers.number() + 1) {}

  void forward() {
    Buffer U(static_cast<size_t>(p.I) * z), W(static_cast<size_t>(p.H) * z), b(z, 0.0f);
    run_tasks(helpers, panels, [&](int panel) {
      pack_blocks(p.U, p.I, panel, U);
      pack_blocks(p.W, p.H, panel, W);
      if (p.b) pack_blocks(p.b, 1, panel, b);
    });
    const int slices = std::min(threads, p.B);
    run_tasks(helpers, slices, [&](int slice) { forward_slice(U, W, b, row_of(slice, slices), row_of(slice + 1, slices)); });
  }

  void backward() {
    const int columns = (vectors + kPanel - 1) / kPanel, columns_of_x = (p.I + kPanel * kLanes - 1) / (kPanel * kLanes);
    const int I_up = up(p.I, kLanes);
    const int K = vectors * G * kLanes, K_of_x = vectors * S * kLanes;
    Buffer WT(static_cast<size_t>(K) * Hp), UT(p.dxs ? static_cast<size_t>(K_of_x) * I_up : 0);
    run_tasks(helpers, columns + (p.dxs ? columns_of_x : 0), [&](int n) {
      if (n < columns) pack_transposed(p.W, p.H, n, false, WT);
      else pack_transposed(p.U, p.I, n - columns, true, UT);
    });
    const int slices = std::min(threads, p.B);
    Buffer dp(static_cast<size_t>(slices) * 3 * Hp, 0.0f);
    run_tasks(helpers, slices, [&](int slice) {
      backward_slice(WT, dp + static_cast<size_t>(slice) * 3 * Hp, row_of(slice, slices), row_of(slice + 1, slices));
    });
    if (Cell::kPeepholes && p.dp) {
      for (int n = 0; n < 3; ++n)
        for (int j = 0; j < p.H; ++j) {
          float sum = 0;
          for (int slice = 0; slice < slices; ++slice) sum += dp[(slice * 3 + n) * static_cast<size_t>(Hp) + j];
          p.dp[n * p.H + j] = sum;
        }
    }
    // Over all of time: blocks of the weights' gradients, and rows of dx, for whoever is free.
    const int across = std::min(threads, panels), down = std::max(1, threads / across);
    const int weight_tasks = p.dW ? across * down : 0;
    const int rows = p.T * p.B, rows_each = 96, row_tasks = p.dxs ? (rows + rows_each - 1) / rows_each : 0;
    run_tasks(helpers, weight_tasks + row_tasks, [&](int n) {
      if (n < weight_tasks) return weight_gradients(n % across, across, n / across, down);
      const int first = (n - weight_tasks) * rows_each;
      input_gradients(UT, K_of_x, I_up, first, std::min(rows_each, rows - first));
    });
  }

 private:
  static constexpr int G = Cell::G, S = Cell::S;

  int row_of(int slice, int slices) const { return static_cast<int>(static_cast<int64_t>(p.B) * slice / slices); }
  int lanes_of(int vector) const { return std::min(kLanes, p.H - vector * kLanes); }
  int vectors_in(int panel) const { return std::min(Cell::kUnits, vectors - panel * Cell::kUnits); }
  int time(int step) const { return p.reverse ? p.T - 1 - step : step; }
  bool valid(size_t row) const { return !p.marks || p.marks[row] & kValid; }
  bool reset(size_t row) const { return p.marks && p.marks[row] & kReset; }
  size_t row(int t, int b) const { return static_cast<size_t>(t) * p.B + b; }

  // The row before (t, b) in the order of steps; −1 at the first.
  ptrdiff_t row_before(int t, int b) const {
    const int before = p.reverse ? t + 1 : t - 1;
    return before < 0 || before >= p.T ? -1 : static_cast<ptrdiff_t>(row(before, b));
  }

  const float* h_before(int t, int b) const {
    if (reset(row(t, b))) return p.h_reset + static_cast<size_t>(b) * p.H;
    const ptrdiff_t before = row_before(t, b);
    if (before < 0 || !valid(before)) return p.h0 + static_cast<size_t>(b) * p.H;
    return p.hs + before * p.H;
  }

  const float* c_before(int t, int b) const {
    if (reset(row(t, b))) return p.c_reset + static_cast<size_t>(b) * p.H;
    const ptrdiff_t before = row_before(t, b);
    return before < 0 ? p.c0 + static_cast<size_t>(b) * p.H : p.cs + before * Hp;
  }

  void peepholes(int vector, Vec* to) const {
    for (int n = 0; n < 3; ++n) to[n] = Vec{};
    if (!p.p) return;
    for (int n = 0; n < std::max(1, Cell::kPeepholes); ++n) to[n] = load(p.p + n * p.H + vector * kLanes, lanes_of(vector));
  }

  // A panel of [K, G·H]: K rows of [unit vector, G, lane].
  void pack_blocks(const float* from, int K, int panel, float* packed) const {
    const int first = panel * Cell::kUnits, units = vectors_in(panel);
    float* to = packed + static_cast<size_t>(K) * first * G * kLanes;
    for (int k = 0; k < K; ++k)
      for (int u = first; u < first + units; ++u)
        for (int g = 0; g < G; ++g, to += kLanes)
          store(to, load(from + (static_cast<size_t>(k) * G + g) * p.H + u * kLanes, lanes_of(u)));
  }

  // A panel of the transpose of [rows, G·H]: K rows, in the order of δ, of up to kPanel vectors of `rows`.
  void pack_transposed(const float* from, int rows, int panel, bool of_x, float* packed) const {
    const int blocks = of_x ? S : G, K = vectors * blocks * kLanes;
    const int first = panel * kPanel * kLanes, width = std::min(kPanel * kLanes, up(rows, kLanes) - first);
    float* to = packed + static_cast<size_t>(K) * first;
    for (int u = 0; u < vectors; ++u)
      for (int s = 0; s < blocks; ++s, to += static_cast<size_t>(kLanes) * width) {
        const int g = of_x ? block_at_x(s) : s, lanes = lanes_of(u);
        for (int j = 0; j < width; ++j) {
          const bool there = first + j < rows && g >= 0;
          const float* row = there ? from + (static_cast<size_t>(first + j) * G + g) * p.H + u * kLanes : from;
          for (int l = 0; l < kLanes; ++l) to[static_cast<size_t>(l) * width + j] = there && l < lanes ? row[l] : 0.0f;
        }
      }
  }

  static int block_at_x(int s) {
    for (int g = 0; g < G; ++g)
      if (Cell::kAtX[g] == s) return g;
    return -1;
  }

  void forward_slice(const float* U, const float* W, const float* b, int first, int last) {
    const int rows = last - first, ahead = std::max(1, std::min(p.T, kProjectedRows / rows));
    Buffer zx(static_cast<size_t>(ahead) * rows * z), sums(static_cast<size_t>(kRowsAtOnce) * Cell::kUnits * G * kLanes);
    Buffer h_now(static_cast<size_t>(rows) * Hp, 0.0f), h_next(static_cast<size_t>(rows) * Hp, 0.0f);
    Buffer c(Cell::kHasC ? static_cast<size_t>(rows) * Hp : 0, 0.0f);
    float *h = h_now, *next = h_next;
    for (int r = 0; r < rows; ++r) {
      std::copy_n(p.h0 + static_cast<size_t>(first + r) * p.H, p.H, h + static_cast<size_t>(r) * Hp);
      if (Cell::kHasC) std::copy_n(p.c0 + static_cast<size_t>(first + r) * p.H, p.H, c + static_cast<size_t>(r) * Hp);
    }
    for (int step = 0; step < p.T; ++step) {
      if (step % ahead == 0) project(U, b, first, rows, step, std::min(ahead, p.T - step), zx);
      const int t = time(step);
      for (int r = 0; r < rows; ++r)
        if (reset(row(t, first + r))) {
          std::copy_n(p.h_reset + static_cast<size_t>(first + r) * p.H, p.H, h + static_cast<size_t>(r) * Hp);
          if (Cell::kHasC)
            std::copy_n(p.c_reset + static_cast<size_t>(first + r) * p.H, p.H, c + static_cast<size_t>(r) * Hp);
        }
      const float* z_of_step = zx + static_cast<size_t>(step % ahead) * rows * z;
      for (int panel = 0; panel < panels; ++panel) {
        const int u0 = panel * Cell::kUnits, units = vectors_in(panel), width = units * G;
        const float* W_panel = W + static_cast<size_t>(p.H) * u0 * G * kLanes;
        for (int r0 = 0; r0 < rows; r0 += kRowsAtOnce) {
          const int some = std::min(kRowsAtOnce, rows - r0);
          product(some, width, p.H, h + static_cast<size_t>(r0) * Hp, Hp, W_panel, width * kLanes, sums, width * kLanes,
                  false);
          for (int u = 0; u < units; ++u) step_units(t, first, r0, some, u0 + u, z_of_step, sums + u * G * kLanes, width, h, next, c);
        }
      }
      std::swap(h, next);
    }
    for (int r = 0; r < rows; ++r) {
      std::copy_n(h + static_cast<size_t>(r) * Hp, p.H, p.h_last + static_cast<size_t>(first + r) * p.H);
      if (Cell::kHasC) std::copy_n(c + static_cast<size_t>(r) * Hp, p.H, p.c_last + static_cast<size_t>(first + r) * p.H);
    }
  }

  // x U + b of some steps, [step, row, z].
  void project(const float* U, const float* b, int first, int rows, int step, int steps, float* zx) const {
    for (int n = 0; n < steps * rows; ++n) std::copy_n(b, z, zx + static_cast<size_t>(n) * z);
    for (int panel = 0; panel < panels; ++panel) {
      const int u0 = panel * Cell::kUnits, width = vectors_in(panel) * G;
      const float* U_panel = U + static_cast<size_t>(p.I) * u0 * G * kLanes;
      float* to = zx + static_cast<size_t>(u0) * G * kLanes;
      if (rows >= kTileRows || steps == 1) {
        for (int s = 0; s < steps; ++s)
          product(rows, width, p.I, p.xs + row(time(step + s), first) * p.I, p.I, U_panel, width * kLanes,
                  to + static_cast<size_t>(s) * rows * z, z, true);
      } else {  // few rows a step: many steps of each row
        const ptrdiff_t x_row = static_cast<ptrdiff_t>(p.B) * p.I * (p.reverse ? -1 : 1);
        for (int r = 0; r < rows; ++r)
          product(steps, width, p.I, p.xs + row(time(step), first + r) * p.I, x_row, U_panel, width * kLanes,
                  to + static_cast<size_t>(r) * z, static_cast<ptrdiff_t>(rows) * z, true);
      }
    }
  }

  // The pointwise part of one vector of units, for some rows of a step.
  void step_units(int t, int first, int r0, int some, int u, const float* zx, const float* sums, int width, const float* h,
                  float* next, float* c) const {
    const int lanes = lanes_of(u);
    Before before;
    peepholes(u, before.p);
    for (int r = r0; r < r0 + some; ++r, sums += width * kLanes) {
      const size_t at = row(t, first + r), own = static_cast<size_t>(r) * Hp + u * kLanes;
      Vec x[G], hW[G], saved[S];
      for (int g = 0; g < G; ++g) {
        x[g] = load(zx + static_cast<size_t>(r) * z + (u * G + g) * kLanes);
        hW[g] = load(sums + g * kLanes);
      }
      before.h = load(h + own);
      before.c = Cell::kHasC ? load(c + own) : Vec{};
      State state = Cell::forward(x, hW, before, saved);
      Vec out = state.h;
      if (!valid(at)) state = {before.h, before.c}, out = Vec{};
      store(next + own, state.h);
      store(p.hs + at * p.H + u * kLanes, out, lanes);
      if (Cell::kHasC) store(c + own, state.c);
      if (p.saved) {
        for (int s = 0; s < S; ++s) store(p.saved + (at * vectors + u) * S * kLanes + s * kLanes, saved[s]);
        if (Cell::kHasC) store(p.cs + at * Hp + u * kLanes, state.c);
      }
    }
  }

  void backward_slice(const float* WT, float* dp, int first, int last) {
    const int rows = last - first, K = vectors * G * kLanes;
    Buffer dh(static_cast<size_t>(rows) * Hp, 0.0f), dc(static_cast<size_t>(rows) * Hp, 0.0f);
    Buffer delta(static_cast<size_t>(rows) * K);  // at h W
    const bool resets = p.marks && p.dh_reset;
    Buffer dh_reset(resets ? static_cast<size_t>(rows) * Hp : 0, 0.0f), dc_reset(resets ? static_cast<size_t>(rows) * Hp : 0, 0.0f);
    for (int r = 0; r < rows; ++r) {
      std::copy_n(p.dh_last + static_cast<size_t>(first + r) * p.H, p.H, dh + static_cast<size_t>(r) * Hp);
      if (Cell::kHasC) std::copy_n(p.dc_last + static_cast<size_t>(first + r) * p.H, p.H, dc + static_cast<size_t>(r) * Hp);
    }
    for (int step = p.T - 1; step >= 0; --step) {
      const int t = time(step);
      for (int u = 0; u < vectors; ++u) step_units_back(t, first, rows, u, dh, dc, delta, dp);
      for (int u = 0; u < vectors; u += kPanel) {  // dh⁻ += Wᵀ δ
        const int width = std::min(kPanel, vectors - u);
        product(rows, width, K, delta, K, WT + static_cast<size_t>(K) * u * kLanes, width * kLanes, dh + u * kLanes, Hp, true);
      }
      if (resets)
        for (int r = 0; r < rows; ++r)
          if (reset(row(t, first + r))) {
            move(dh + static_cast<size_t>(r) * Hp, dh_reset + static_cast<size_t>(r) * Hp);
            move(dc + static_cast<size_t>(r) * Hp, dc_reset + static_cast<size_t>(r) * Hp);
          }
    }
    for (int r = 0; r < rows; ++r) {
      const size_t to = static_cast<size_t>(first + r) * p.H, from = static_cast<size_t>(r) * Hp;
      std::copy_n(dh + from, p.H, p.dh0 + to);
      if (Cell::kHasC) std::copy_n(dc + from, p.H, p.dc0 + to);
      if (resets) std::copy_n(dh_reset + from, p.H, p.dh_reset + to);
      if (resets && Cell::kHasC) std::copy_n(dc_reset + from, p.H, p.dc_reset + to);
    }
  }

  void move(float* from, float* to) const {  // what crosses a reset goes to what the reset goes back to
    for (int j = 0; j < Hp; ++j) to[j] += from[j], from[j] = 0;
  }

  // From ∂C/∂(h, c) after the step to δ, and to ∂C/∂(h, c) before it, less Wᵀ δ.
  void step_units_back(int t, int first, int rows, int u, float* dh, float* dc, float* delta, float* dp) const {
    const int lanes = lanes_of(u);
    Before before;
    peepholes(u, before.p);
    Vec sums[3] = {};
    for (int r = 0; r < rows; ++r) {
      const size_t at = row(t, first + r), own = static_cast<size_t>(r) * Hp + u * kLanes;
      float* kept = p.saved + (at * vectors + u) * S * kLanes;
      float* at_h = delta + (static_cast<size_t>(r) * vectors + u) * G * kLanes;
      if (!valid(at)) {  // the state stayed, and so does its gradient; h put out was 0
        for (int s = 0; s < S; ++s) store(kept + s * kLanes, Vec{});
        for (int g = 0; g < G; ++g) store(at_h + g * kLanes, Vec{});
        continue;
      }
      Vec saved[S], d[S];
      for (int s = 0; s < S; ++s) saved[s] = load(kept + s * kLanes);
      before.h = load(h_before(t, first + r) + u * kLanes, lanes);
      Vec c{};
      if (Cell::kHasC) {
        before.c = load(c_before(t, first + r) + u * kLanes, lanes);
        c = load(p.cs + at * Hp + u * kLanes);
      }
      const Vec dh_out = p.dhs ? load(p.dhs + at * p.H + u * kLanes, lanes) : Vec{};
      const Back back = Cell::backward(saved, before, c, {load(dh + own) + dh_out, load(dc + own)}, d, sums);
      store(dh + own, back.dh);
      store(dc + own, back.dc);
      for (int s = 0; s < S; ++s) store(kept + s * kLanes, d[s]);
      for (int g = 0; g < G; ++g) store(at_h + g * kLanes, d[Cell::kAtH[g]]);
    }
    if (Cell::kPeepholes)
      for (int n = 0; n < 3; ++n) store(dp + n * Hp + u * kLanes, load(dp + n * Hp + u * kLanes) + sums[n]);
  }

  // Rows of dx = δ Uᵀ.
  void input_gradients(const float* UT, int K, int I_up, int first, int rows) const {
    Buffer dx(static_cast<size_t>(rows) * I_up);
    for (int i = 0; i < I_up; i += kPanel * kLanes) {
      const int width = std::min(kPanel, (I_up - i) / kLanes);
      product(rows, width, K, p.saved + static_cast<size_t>(first) * K, K, UT + static_cast<size_t>(K) * i, width * kLanes,
              dx + i, I_up, false);
    }
    for (int r = 0; r < rows; ++r)
      std::copy_n(dx + static_cast<size_t>(r) * I_up, p.I, p.dxs + static_cast<size_t>(first + r) * p.I);
  }

  // A block of Σ_t aᵗ δᵗ, where a is (h⁻, 1) for W and bn, and (x, 1) for U and b: the panels of one part in `across`,
  // the rows of one part in `down`.
  void weight_gradients(int part, int across, int part_of_rows, int down) const {
    const int panel0 = panels * part / across, panel1 = panels * (part + 1) / across;
    const Rows of_h(p.H, part_of_rows, down), of_x(p.I, part_of_rows, down);
    const int longest = vectors_in(0) * G * kLanes, many = panel1 - panel0;
    Buffer a_h(static_cast<size_t>(of_h.number) * kColumn), a_x(static_cast<size_t>(of_x.number) * kColumn);
    Buffer d(static_cast<size_t>(kChain) * longest);
    Buffer at_h(static_cast<size_t>(of_h.number) * many * longest, 0.0f), at_x(static_cast<size_t>(of_x.number) * many * longest, 0.0f);
    const int all = p.T * p.B;
    for (int n0 = 0; n0 < all; n0 += kChain) {
      const int n = std::min(kChain, all - n0);
      std::vector<const float*> hs(n), xs(n);
      for (int k = 0; k < n; ++k) {
        const int t = (n0 + k) / p.B, b = (n0 + k) % p.B;
        const bool there = valid(n0 + k);
        hs[k] = there ? h_before(t, b) : nullptr;
        xs[k] = there ? p.xs + static_cast<size_t>(n0 + k) * p.I : nullptr;
      }
      pack_columns(hs, of_h, p.H, a_h);
      pack_columns(xs, of_x, p.I, a_x);
      for (int panel = panel0; panel < panel1; ++panel) {
        const int width = vectors_in(panel) * G, place = (panel - panel0) * longest;
        pack_delta(panel, n0, n, Cell::kAtH, d);
        product(of_h.number, width, n, a_h, kColumn, d, width * kLanes, at_h + static_cast<size_t>(of_h.number) * place, width * kLanes, true);
        if (Cell::kAtX[G - 1] != Cell::kAtH[G - 1]) pack_delta(panel, n0, n, Cell::kAtX, d);
        product(of_x.number, width, n, a_x, kColumn, d, width * kLanes, at_x + static_cast<size_t>(of_x.number) * place, width * kLanes, true);
      }
    }
    for (int panel = panel0; panel < panel1; ++panel) {
      const int place = (panel - panel0) * longest;
      unpack(panel, of_h, p.H, at_h + static_cast<size_t>(of_h.number) * place, p.dW, Cell::kPeepholes ? nullptr : p.dp, true);
      unpack(panel, of_x, p.I, at_x + static_cast<size_t>(of_x.number) * place, p.dU, p.db, false);
    }
  }

  // Those of a matrix's `size` rows, and of the ones below them, that are one part in `parts`.
  struct Rows {
    Rows(int size, int part, int parts)
        : first(static_cast<int>(static_cast<int64_t>(size + 1) * part / parts)),
          number(static_cast<int>(static_cast<int64_t>(size + 1) * (part + 1) / parts) - first) {}
    int first, number;
  };

  // Columns of a, kColumn apart, from its rows; a row that is null, of padding, is 0. A few columns at a time, whose
  // lines stay in the first cache while they fill.
  static void pack_columns(const std::vector<const float*>& from, Rows rows, int size, float* to) {
    const int n = static_cast<int>(from.size()), at_once = 16;
    for (int j0 = 0; j0 < rows.number; j0 += at_once) {
      const int columns = std::min(at_once, rows.number - j0), real = std::min(columns, size - rows.first - j0);
      for (int k = 0; k < n; ++k) {
        float* column = to + static_cast<size_t>(j0) * kColumn + k;
        for (int j = 0; j < real; ++j) column[j * kColumn] = from[k] ? from[k][rows.first + j0 + j] : 0.0f;
        if (real < columns) column[real * kColumn] = from[k] ? 1.0f : 0.0f;  // the ones, below them all
      }
    }
  }

  void pack_delta(int panel, int n0, int n, const int* columns, float* to) const {
    const int first = panel * Cell::kUnits, units = vectors_in(panel);
    for (int k = 0; k < n; ++k)
      for (int u = first; u < first + units; ++u)
        for (int g = 0; g < G; ++g, to += kLanes)
          store(to, load(p.saved + (static_cast<size_t>(n0 + k) * vectors + u) * S * kLanes + columns[g] * kLanes));
  }

  // Rows of a panel's gradient into a weight's, and the last, of the ones, into a bias's: the whole, or its last block.
  void unpack(int panel, Rows rows, int size, const float* from, float* to, float* bias, bool last_block) const {
    const int first = panel * Cell::kUnits, units = vectors_in(panel);
    for (int j = rows.first; j < rows.first + rows.number; ++j)
      for (int u = first; u < first + units; ++u)
        for (int g = 0; g < G; ++g, from += kLanes) {
          if (j < size) store(to + (static_cast<size_t>(j) * G + g) * p.H + u * kLanes, load(from), lanes_of(u));
          else if (bias && !last_block) store(bias + g * p.H + u * kLanes, load(from), lanes_of(u));
          else if (bias && g == G - 1) store(bias + u * kLanes, load(from), lanes_of(u));
        }
  }

  const Problem& p;
  Helpers& helpers;
  const int vectors, Hp, z, panels, threads;
};

}  // namespace jbptt
