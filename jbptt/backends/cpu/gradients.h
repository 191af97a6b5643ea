// The gradients of weights and of x, from δ of all of time: no cell's own, but for its sizes and columns.
#pragma once

#include <array>

#include "plan.h"

namespace jbptt {

// From column to column of T·B rows: no power of two, which caches dislike.
inline size_t column(int64_t rows) {
  return round_up(static_cast<int>(std::min<int64_t>(rows, kChain)), kLanes) + 16;
}

constexpr int kRowsOfX = kBlock;  // of dx, a task: so that they have the same digits, whoever works them out

// What a task of weights packs, `rows` being T·B.
inline size_t packed_for_weights(const Plan& plan, int64_t rows) {
  const size_t width = plan.panel_width, partial = plan.H % kLanes ? std::max(plan.H, plan.I) * width : 0;
  return piece(column(rows) * plan.H) + piece(column(rows) * plan.I) + piece(kChain * width) + piece(partial);
}

// Rows of dx, and of δ where that is no float yet.
inline size_t rows_of_dx(const Plan& plan, bool widens) {
  const size_t dx = static_cast<size_t>(kRowsOfX) * plan.I_up;
  return widens ? piece(static_cast<size_t>(kRowsOfX) * plan.vectors * plan.S * kLanes) + dx : dx;
}

template <class Real>
class Gradients {
 public:
  explicit Gradients(const Call<Real>& call)
      : call_(call), p(call.p), across_(std::min(call.threads, call.panels)),
        down_(std::max(1, call.threads / across_)), column_(jbptt::column(p.T * static_cast<int64_t>(p.B))) {}

  int weight_tasks() const { return across_ * down_; }
  int row_tasks() const { return (p.T * p.B + kRowsOfX - 1) / kRowsOfX; }

  // A block of Σ_t aᵗ δᵗ, where a is h⁻ for W and x for U, and of Σ_t δᵗ, for biases: the panels of one part in
  // `across`, the rows of one part in `down`. Where x are indices, each δ is added to its row of U's.
  void of_weights(int task, Scratch own) const {
    const int part = task % across_, part_of_rows = task / across_;
    const int panel0 = call_.panels * part / across_, panel1 = call_.panels * (part + 1) / across_;
    const Rows of_h(p.H, part_of_rows, down_), of_x(p.I, part_of_rows, down_);
    float *a_h = own.take(column_ * of_h.number), *a_x = own.take(column_ * of_x.number);
    float* delta = own.take(static_cast<size_t>(kChain) * call_.panel_width);
    float* partial = own.take(0);
    const Rows of_U(p.rows_of_U, part_of_rows, down_);
    if (p.indices) clear_rows(panel0, panel1, of_U);
    const bool alike = std::equal(call_.kind.at_x, call_.kind.at_x + call_.G, call_.kind.at_h);
    const int all = p.T * p.B;
    for (int n0 = 0; n0 < all; n0 += kChain) {
      const int n = std::min(kChain, all - n0);
      pack_inputs(n0, n, of_h, a_h, of_x, a_x);
      if (p.indices) add_to_rows(panel0, panel1, of_U, n0, n);
      for (int panel = panel0; panel < panel1; ++panel) {
        pack_delta(panel, n0, n, call_.kind.at_h, delta);
        if (p.dp && call_.kind.extra == Extra::bn && !part_of_rows) add_sums(panel, n, delta, call_.G - 1, p.dp, n0);
        add_products(panel, of_h, a_h, n, delta, partial, p.dW, n0);
        if (!alike) pack_delta(panel, n0, n, call_.kind.at_x, delta);
        if (p.db && !part_of_rows) add_sums(panel, n, delta, 0, p.db, n0);
        add_products(panel, of_x, a_x, n, delta, partial, p.dU, n0);
      }
    }
  }

  // Rows of dx = δ Uᵀ.
  void of_xs(int task, const float* UT, Scratch own) const {
    const int first = task * kRowsOfX, rows = std::min(kRowsOfX, p.T * p.B - first), I_up = call_.I_up;
    const int K = call_.vectors * call_.S * kLanes;
    const float* const delta = floats_of(p.saved + static_cast<size_t>(first) * K, static_cast<size_t>(rows) * K, own);
    Real* const to = p.dxs + static_cast<size_t>(first) * p.I;
    float* const in_place = p.I == I_up ? as_floats(to) : nullptr;
    float* const dx = in_place ? in_place : own.take(static_cast<size_t>(rows) * I_up);
    for (int i = 0; i < I_up; i += kPanel * kLanes) {
      const int width = std::min(kPanel, (I_up - i) / kLanes);
      product(rows, width, K, delta, K, UT + static_cast<size_t>(K) * i,
              width * kLanes, dx + i, I_up, false);
    }
    if (!in_place)
      for (int r = 0; r < rows; ++r)
        std::copy_n(dx + static_cast<size_t>(r) * I_up, p.I, to + static_cast<size_t>(r) * p.I);
  }

 private:
  // An array's entries as floats: themselves, or in memory that is taken.
  static const float* floats_of(const float* from, size_t, Scratch&) { return from; }
  static const float* floats_of(const Bfloat16* from, size_t number, Scratch& own) {
    float* to = own.take(number);
    std::copy_n(from, number, to);
    return to;
  }

  static float* as_floats(float* to) { return to; }
  static float* as_floats(Bfloat16*) { return nullptr; }

  // Those of a matrix's `size` rows that are one part in `parts`.
  struct Rows {
    Rows(int size, int part, int parts)
        : first(static_cast<int>(static_cast<int64_t>(size) * part / parts)),
          number(static_cast<int>(static_cast<int64_t>(size) * (part + 1) / parts) - first) {}
    int first, number;
  };

  void pack_inputs(int n0, int n, const Rows& of_h, float* a_h, const Rows& of_x, float* a_x) const {
    std::array<const Real*, kChain> hs, xs, masks;  // null: padding
    for (int k = 0; k < n; ++k) {
      const int t = (n0 + k) / p.B, b = (n0 + k) % p.B;
      const bool there = call_.valid(n0 + k);
      hs[k] = there ? call_.h_before(t, b) : nullptr;
      masks[k] = p.h_mask + (p.h_mask ? static_cast<size_t>(b) * p.H : 0);
      xs[k] = there && !p.indices ? p.xs + static_cast<size_t>(n0 + k) * p.I : nullptr;
    }
    pack_columns(hs.data(), p.h_mask ? masks.data() : nullptr, n, of_h, a_h);
    pack_columns(xs.data(), nullptr, n, of_x, a_x);
  }

  // Columns of a, column_ apart, from its rows, which are multiplied by masks if there are some; a row that is null, of
  // padding, is 0.
  void pack_columns(const Real* const* from, const Real* const* masks, int n, const Rows& rows, float* to) const {
    for (int j0 = 0; j0 < rows.number; j0 += kLanes, to += column_ * kLanes)
      for (int k0 = 0; k0 < n; k0 += kLanes) {
        const int columns = std::min(kLanes, rows.number - j0);
        Vec block[kLanes];
        for (int k = 0; k < kLanes; ++k)
          block[k] = k0 + k < n && from[k0 + k] ? load(from[k0 + k] + rows.first + j0, columns) : Vec{};
        if (masks)
          for (int k = 0; k < kLanes && k0 + k < n; ++k) block[k] *= load(masks[k0 + k] + rows.first + j0, columns);
        transpose(block);
        for (int j = 0; j < columns; ++j) store(to + column_ * j + k0, block[j]);
      }
  }

  void pack_delta(int panel, int n0, int n, const int* columns, float* to) const {
    const int first = panel * call_.kind.units, units = call_.vectors_in(panel), G = call_.G, S = call_.S;
    const size_t row = static_cast<size_t>(call_.vectors) * S * kLanes;
    const Real* from = p.saved + n0 * row + static_cast<size_t>(first) * S * kLanes;
    for (int g = 0; g < G; ++g) {
      const Real* column = from + columns[g] * kLanes;
      float* block = to + g * kLanes;
      for (int k = 0; k < n; ++k, column += row)
        for (int u = 0; u < units; ++u, block += G * kLanes) store(block, load(column + u * S * kLanes));
    }
  }

  // Rows of a weight's gradient (+)= Σ_k a_k δ_k, in a panel's columns.
  void add_products(int panel, const Rows& rows, const float* a, int n, const float* delta, float* partial, float* to,
                    bool add) const {
    const int units = call_.vectors_in(panel), width = units * call_.G, first = panel * call_.kind.units;
    const ptrdiff_t row = static_cast<ptrdiff_t>(call_.G) * p.H, vector = call_.G == 1 ? kLanes : p.H;
    to += rows.first * row + first * kLanes;
    if (call_.lanes_of(first + units - 1) == kLanes)
      return product(rows.number, width, n, a, column_, delta, width * kLanes, to, row, vector, add);
    product(rows.number, width, n, a, column_, delta, width * kLanes, partial, width * kLanes, false);
    for (int j = 0; j < rows.number; ++j, to += row)
      for (int v = 0; v < width; ++v, partial += kLanes)
        add_vector(to + v * vector, load(partial), call_.lanes_of(first + v / call_.G), add);
  }

  // A bias's gradient (+)= Σ_k δ_k, of the blocks from one on.
  void add_sums(int panel, int n, const float* delta, int block, float* to, bool add) const {
    const int first = panel * call_.kind.units, units = call_.vectors_in(panel), G = call_.G;
    for (int u = 0; u < units; ++u)
      for (int g = block; g < G; ++g) {
        Vec sum{};
        for (int k = 0; k < n; ++k) sum += load(delta + ((static_cast<size_t>(k) * units + u) * G + g) * kLanes);
        add_vector(to + static_cast<size_t>(g - block) * p.H + (first + u) * kLanes, sum, call_.lanes_of(first + u),
                   add);
      }
  }

  static void add_vector(float* to, Vec more, int lanes, bool add) {
    store(to, add ? load(to, lanes) + more : more, lanes);
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
      const Real* delta = p.saved + static_cast<size_t>(k) * call_.vectors * S * kLanes;
      for (int u = u0; u < u1; ++u)
        for (int g = 0; g < call_.G; ++g) {
          float* to = row_of_dU(i) + g * static_cast<size_t>(p.H) + u * kLanes;
          const Vec more = load(delta + (static_cast<size_t>(u) * S + call_.kind.at_x[g]) * kLanes);
          store(to, load(to, call_.lanes_of(u)) + more, call_.lanes_of(u));
        }
    }
  }

  float* row_of_dU(int i) const { return p.dU + static_cast<size_t>(i) * call_.G * p.H; }

  const Call<Real>& call_;
  const RecurrenceArgs<Real>& p;
  const int across_, down_;
  const size_t column_;
};

}  // namespace jbptt
