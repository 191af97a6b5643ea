// Weights, packed into panels for product.h.
#pragma once

#include "plan.h"

namespace jbptt {

// Rows k0 ... k1 − 1 of [K, G·H] into panels, each K rows of [unit vector, G, lane]. A few rows at a time, whose
// lines stay in the first cache while each panel takes its part of them.
template <class Real>
void pack_blocks(const Plan& plan, const Real* from, int K, int k0, int k1, float* packed) {
  constexpr int at_once = 8;
  const int G = plan.G;
  for (int begin = k0; begin < k1; begin += at_once)
    for (int panel = 0; panel < plan.panels; ++panel) {
      const int first = panel * plan.kind.units, units = plan.vectors_in(panel), end = std::min(begin + at_once, k1);
      float* const to = packed + static_cast<size_t>(K) * first * G * kLanes;
      for (int u = 0; u < units; ++u) {
        const int lanes = plan.lanes_of(first + u);
        for (int k = begin; k < end; ++k)
          for (int g = 0; g < G; ++g)
            store(to + ((static_cast<size_t>(k) * units + u) * G + g) * kLanes,
                  load(from + (static_cast<size_t>(k) * G + g) * plan.H + (first + u) * kLanes, lanes));
      }
    }
}

// A panel of the transpose of [rows, G·H]: K rows, [unit vector, column, lane], of up to kPanel vectors of `rows`. A
// column has the block whose place in `at` it is, and zeros where it is none's.
template <class Real>
void pack_transposed(const Plan& plan, const Real* from, int rows, int columns, const int* at, int panel,
                     float* packed) {
  const int K = plan.vectors * columns * kLanes, first = panel * kPanel * kLanes;
  const int width = std::min(kPanel * kLanes, round_up(rows, kLanes) - first);
  float* to = packed + static_cast<size_t>(K) * first;
  for (int u = 0; u < plan.vectors; ++u)
    for (int s = 0; s < columns; ++s, to += static_cast<size_t>(kLanes) * width) {
      const int g = static_cast<int>(std::find(at, at + plan.G, s) - at), lanes = plan.lanes_of(u);
      for (int j0 = 0; j0 < width; j0 += kLanes) {
        Vec block[kLanes];
        for (int j = 0; j < kLanes; ++j) {
          const int row = first + j0 + j;
          block[j] = row < rows && g < plan.G
                         ? load(from + (static_cast<size_t>(row) * plan.G + g) * plan.H + u * kLanes, lanes)
                         : Vec{};
        }
        transpose(block);
        for (int l = 0; l < kLanes; ++l) store(to + static_cast<size_t>(l) * width + j0, block[l]);
      }
    }
}

// A vector of units of each of a cell's extra parameters; zeros where there are none.
template <Extra kExtra, class Real>
void load_extra(const Plan& plan, const Real* p, int vector, Vec* to) {
  for (int n = 0; n < vectors_of(kExtra); ++n)
    to[n] = p ? load(p + static_cast<size_t>(n) * plan.H + vector * kLanes, plan.lanes_of(vector)) : Vec{};
}

}  // namespace jbptt
