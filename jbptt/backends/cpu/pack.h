// Weights, packed into panels for product.h. Each panel is a task: nobody else writes it.
#pragma once

#include "plan.h"

namespace jbptt {

// A panel of [K, G·H]: K rows of [unit vector, G, lane].
inline void pack_blocks(const Plan& plan, const float* from, int K, int panel, float* packed) {
  const int first = panel * plan.kind.units, units = plan.vectors_in(panel);
  float* to = packed + static_cast<size_t>(K) * first * plan.G * kLanes;
  for (int k = 0; k < K; ++k)
    for (int u = first; u < first + units; ++u)
      for (int g = 0; g < plan.G; ++g, to += kLanes)
        store(to, load(from + (static_cast<size_t>(k) * plan.G + g) * plan.H + u * kLanes, plan.lanes_of(u)));
}

// A panel of the transpose of [rows, G·H]: K rows, [unit vector, column, lane], of up to kPanel vectors of `rows`. A
// column has the block whose place in `at` it is, and zeros where it is none's.
inline void pack_transposed(const Plan& plan, const float* from, int rows, int columns, const int* at, int panel,
                            float* packed) {
  const int K = plan.vectors * columns * kLanes, first = panel * kPanel * kLanes;
  const int width = std::min(kPanel * kLanes, round_up(rows, kLanes) - first);
  float* to = packed + static_cast<size_t>(K) * first;
  for (int u = 0; u < plan.vectors; ++u)
    for (int s = 0; s < columns; ++s, to += static_cast<size_t>(kLanes) * width) {
      const int g = static_cast<int>(std::find(at, at + plan.G, s) - at), lanes = plan.lanes_of(u);
      for (int j = 0; j < width; ++j) {
        const bool there = first + j < rows && g < plan.G;
        const float* row = there ? from + (static_cast<size_t>(first + j) * plan.G + g) * plan.H + u * kLanes : from;
        for (int l = 0; l < kLanes; ++l)
          to[static_cast<size_t>(l) * width + j] = there && l < lanes ? row[l] : 0.0f;
      }
    }
}

// A vector of units of each of a cell's extra parameters; zeros where there are none.
template <Extra kExtra>
void load_extra(const Plan& plan, const float* p, int vector, Vec* to) {
  for (int n = 0; n < vectors_of(kExtra); ++n)
    to[n] = p ? load(p + static_cast<size_t>(n) * plan.H + vector * kLanes, plan.lanes_of(vector)) : Vec{};
}

}  // namespace jbptt
