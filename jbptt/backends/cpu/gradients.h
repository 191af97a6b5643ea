// The gradients of weights and of x, from δ of all of time: no cell's own, but for its sizes and columns.
#pragma once

#include <array>

#include "plan.h"

namespace jbptt {

class Gradients {
 public:
  // `sums`: memory of sums(plan) floats, all threads'.
  Gradients(const Call& call, float* sums)
      : call_(call), p(call.p), across_(std::min(call.threads, call.panels)),
        down_(std::max(1, call.threads / across_)), sums_(sums) {}

  static size_t sums(const Plan& plan) {  // of all tasks together
    return (static_cast<size_t>(plan.H) + 1 + plan.I + 1) * plan.panels * plan.panel_width;
  }
  static size_t packed(const Plan& plan) {  // of a task of weights
    const size_t delta = static_cast<size_t>(kChain) * plan.panel_width;
    return piece(columns(plan.H + 1)) + piece(columns(plan.I + 1)) + piece(delta);
  }
  static size_t dx_rows(const Plan& plan) { return static_cast<size_t>(kRowsOfX) * plan.I_up; }

  int weight_tasks() const { return across_ * down_; }
  int row_tasks() const { return (p.T * p.B + kRowsOfX - 1) / kRowsOfX; }

  // A block of Σ_t aᵗ δᵗ, where a is (h⁻, 1) for W and bn, and (x, 1) for U and b: the panels of one part in `across`,
  // the rows of one part in `down`. Where x are indices, a is 1 alone for b, and each δ is added to its row of U's.
  void of_weights(int task, Scratch own) const {
    const int part = task % across_, part_of_rows = task / across_;
    const int panel0 = call_.panels * part / across_, panel1 = call_.panels * (part + 1) / across_;
    const Rows of_h(p.H, part_of_rows, down_), of_x(p.I, part_of_rows, down_);
    float *a_h = own.take(columns(of_h.number)), *a_x = own.take(columns(of_x.number));
    float* delta = own.take(static_cast<size_t>(kChain) * call_.panel_width);
    for (int panel = panel0; panel < panel1; ++panel) {
      std::fill_n(sums_of_h(of_h, panel), static_cast<size_t>(of_h.number) * call_.panel_width, 0.0f);
      std::fill_n(sums_of_x(of_x, panel), static_cast<size_t>(of_x.number) * call_.panel_width, 0.0f);
    }
    const Rows of_U(p.rows_of_U - 1, part_of_rows, down_);
    if (p.indices) clear_rows(panel0, panel1, of_U);
    const bool alike = std::equal(call_.kind.at_x, call_.kind.at_x + call_.G, call_.kind.at_h);
    const int all = p.T * p.B;
    for (int n0 = 0; n0 < all; n0 += kChain) {
      const int n = std::min(kChain, all - n0);
      pack_inputs(n0, n, of_h, a_h, of_x, a_x);
      if (p.indices) add_to_rows(panel0, panel1, of_U, n0, n);
      for (int panel = panel0; panel < panel1; ++panel) {
        const int width = call_.vectors_in(panel) * call_.G, row = width * kLanes;
        pack_delta(panel, n0, n, call_.kind.at_h, delta);
        product(of_h.number, width, n, a_h, kColumn, delta, row, sums_of_h(of_h, panel), row, true);
        if (!alike) pack_delta(panel, n0, n, call_.kind.at_x, delta);
        product(of_x.number, width, n, a_x, kColumn, delta, row, sums_of_x(of_x, panel), row, true);
      }
    }
    for (int panel = panel0; panel < panel1; ++panel) {
      unpack(panel, of_h, p.H, sums_of_h(of_h, panel), p.dW);
      if (!p.indices) unpack(panel, of_x, p.I, sums_of_x(of_x, panel), p.dU);
      if (p.db) unpack_bias(panel, of_x, p.I, sums_of_x(of_x, panel), 0, p.db);
      if (p.dp && call_.kind.extra == Extra::bn)
        unpack_bias(panel, of_h, p.H, sums_of_h(of_h, panel), call_.G - 1, p.dp);
    }
  }

  // Rows of dx = δ Uᵀ.
  void of_xs(int task, const float* UT, Scratch own) const {
    const int first = task * kRowsOfX, rows = std::min(kRowsOfX, p.T * p.B - first), I_up = call_.I_up;
    const int K = call_.vectors * call_.S * kLanes;
    float* dx = own.take(static_cast<size_t>(rows) * I_up);
    for (int i = 0; i < I_up; i += kPanel * kLanes) {
      const int width = std::min(kPanel, (I_up - i) / kLanes);
      product(rows, width, K, p.saved + static_cast<size_t>(first) * K, K, UT + static_cast<size_t>(K) * i,
              width * kLanes, dx + i, I_up, false);
    }
    for (int r = 0; r < rows; ++r)
      std::copy_n(dx + static_cast<size_t>(r) * I_up, p.I, p.dxs + static_cast<size_t>(first + r) * p.I);
  }

 private:
  static constexpr int kRowsOfX = 96;
  static constexpr int kColumn = kChain + 16;  // from column to column: no power of two, which caches dislike

  static size_t columns(int number) { return static_cast<size_t>(number) * kColumn; }

  // Those of a matrix's `size` rows, and of the ones below them, that are one part in `parts`.
  struct Rows {
    Rows(int size, int part, int parts)
        : first(static_cast<int>(static_cast<int64_t>(size + 1) * part / parts)),
          number(static_cast<int>(static_cast<int64_t>(size + 1) * (part + 1) / parts) - first) {}
    int first, number;
  };

  // Sums are [part of rows, panel, row, panel_width], W's before U's.
  float* sums_of_h(const Rows& rows, int panel) const {
    return sums_ + (static_cast<size_t>(rows.first) * call_.panels + static_cast<size_t>(rows.number) * panel) *
                       call_.panel_width;
  }
  float* sums_of_x(const Rows& rows, int panel) const {
    return sums_of_h(rows, panel) + (static_cast<size_t>(p.H) + 1) * call_.panels * call_.panel_width;
  }

  void pack_inputs(int n0, int n, const Rows& of_h, float* a_h, const Rows& of_x, float* a_x) const {
    std::array<const float*, kChain> hs, xs;  // null: padding
    for (int k = 0; k < n; ++k) {
      const int t = (n0 + k) / p.B, b = (n0 + k) % p.B;
      const bool there = call_.valid(n0 + k);
      hs[k] = there ? call_.h_before(t, b) : nullptr;
      xs[k] = !there ? nullptr : p.indices ? p.hs : p.xs + static_cast<size_t>(n0 + k) * p.I;  // hs for the 1 alone
    }
    pack_columns(hs.data(), n, of_h, p.H, a_h);
    pack_columns(xs.data(), n, of_x, p.I, a_x);
  }

  // Columns of a, kColumn apart, from its rows; a row that is null, of padding, is 0. A few columns at a time, whose
  // lines stay in the first cache while they fill.
  static void pack_columns(const float* const* from, int n, const Rows& rows, int size, float* to) {
    constexpr int at_once = 16;
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
    const int first = panel * call_.kind.units, units = call_.vectors_in(panel), G = call_.G, S = call_.S;
    const size_t row = static_cast<size_t>(call_.vectors) * S * kLanes;
    const float* from = p.saved + n0 * row + static_cast<size_t>(first) * S * kLanes;
    for (int g = 0; g < G; ++g) {
      const float* column = from + columns[g] * kLanes;
      float* block = to + g * kLanes;
      for (int k = 0; k < n; ++k, column += row)
        for (int u = 0; u < units; ++u, block += G * kLanes) store(block, load(column + u * S * kLanes));
    }
  }

  // dU = 0 in these panels and rows.
  void clear_rows(int panel0, int panel1, const Rows& rows) const {
    const int u0 = panel0 * call_.kind.units, u1 = std::min(panel1 * call_.kind.units, call_.vectors);
    const int H0 = u0 * kLanes, H1 = std::min(u1 * kLanes, p.H);
    for (int i = rows.first; i < rows.first + rows.number; ++i)
      for (int g = 0; g < call_.G; ++g)
        std::fill(row_of_dU(i) + g * static_cast<size_t>(p.H) + H0, row_of_dU(i) + g * static_cast<size_t>(p.H) + H1,
                  0.0f);
  }

  // To the row of dU that its index is of, the δ of each row from n0 on.
  void add_to_rows(int panel0, int panel1, const Rows& rows, int n0, int n) const {
    const int u0 = panel0 * call_.kind.units, u1 = std::min(panel1 * call_.kind.units, call_.vectors), S = call_.S;
    for (int k = n0; k < n0 + n; ++k) {
      const int i = p.indices[k];
      if (i < rows.first || i >= rows.first + rows.number) continue;
      const float* delta = p.saved + static_cast<size_t>(k) * call_.vectors * S * kLanes;
      for (int u = u0; u < u1; ++u)
        for (int g = 0; g < call_.G; ++g) {
          float* to = row_of_dU(i) + g * static_cast<size_t>(p.H) + u * kLanes;
          const Vec more = load(delta + (static_cast<size_t>(u) * S + call_.kind.at_x[g]) * kLanes);
          store(to, load(to, call_.lanes_of(u)) + more, call_.lanes_of(u));
        }
    }
  }

  float* row_of_dU(int i) const { return p.dU + static_cast<size_t>(i) * call_.G * p.H; }

  // Rows of a panel's sums into a weight's gradient.
  void unpack(int panel, const Rows& rows, int size, const float* from, float* to) const {
    const int first = panel * call_.kind.units, units = call_.vectors_in(panel);
    for (int j = rows.first; j < std::min(rows.first + rows.number, size); ++j)
      for (int u = first; u < first + units; ++u)
        for (int g = 0; g < call_.G; ++g, from += kLanes)
          store(to + (static_cast<size_t>(j) * call_.G + g) * p.H + u * kLanes, load(from), call_.lanes_of(u));
  }

  // The row of ones, from a block on, into a bias's gradient.
  void unpack_bias(int panel, const Rows& rows, int size, const float* from, int block, float* to) const {
    if (rows.first + rows.number <= size) return;  // another's
    const int first = panel * call_.kind.units, units = call_.vectors_in(panel);
    from += static_cast<size_t>(rows.number - 1) * units * call_.G * kLanes;
    for (int u = 0; u < units; ++u)
      for (int g = block; g < call_.G; ++g)
        store(to + static_cast<size_t>(g - block) * p.H + (first + u) * kLanes, load(from + (u * call_.G + g) * kLanes),
              call_.lanes_of(first + u));
  }

  const Call& call_;
  const RecurrenceArgs& p;
  const int across_, down_;
  float* const sums_;
};

}  // namespace jbptt
