// Products of matrices: C [rows, columns] = A [rows, K] times a packed B [K, columns].
//
// B is packed into panels, `kPanel` vectors wide, a panel's K rows one after the other, so that the innermost loop
// reads it as one stream. A register tile is kTileRows rows by one panel: each loaded vector of B meets every row, each
// broadcast number of A every vector. Chains of sums are cut at kChain terms, for float32's accuracy.
#pragma once

#include <algorithm>
#include <cstddef>

#include "vectors.h"

namespace jbptt {

constexpr int kPanel = kTuning.panel, kTileRows = kTuning.tile_rows, kChain = kTuning.chain;

constexpr int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

template <int R, int V>
void tile(int K, const float* a, ptrdiff_t a_row, const float* b, ptrdiff_t b_row, float* c, ptrdiff_t c_row,
          ptrdiff_t c_vector, bool add) {
  Vec sum[R][V] = {};
  int k = 0;
  // One row in two chains: of one alone each sum would wait for the one before. (Of the widest vectors as many are
  // loaded a cycle as one chain adds.)
  if constexpr (R == 1 && kLanes < 16) {
    Vec odd[V] = {};
    for (; k + 1 < K; k += 2, b += 2 * b_row)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        sum[0][v] += a[k] * load(b + v * kLanes);
        odd[v] += a[k + 1] * load(b + b_row + v * kLanes);
      }
    for (int v = 0; v < V; ++v) sum[0][v] += odd[v];
  }
  // The fewer of either are held in registers: numbers of A, or vectors of B.
  if constexpr (R < V) {
    for (; k < K; ++k, b += b_row) {
      float ak[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) ak[r] = a[r * a_row + k];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const Vec bkv = load(b + v * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[r][v] += ak[r] * bkv;
      }
    }
  } else {
    for (; k < K; ++k, b += b_row) {
      Vec bk[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) bk[v] = load(b + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const float ark = a[r * a_row + k];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[r][v] += ark * bk[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* to = c + r * c_row + v * c_vector;
      store(to, add ? load(to) + sum[r][v] : sum[r][v]);
    }
}

using Tile = void (*)(int, const float*, ptrdiff_t, const float*, ptrdiff_t, float*, ptrdiff_t, ptrdiff_t, bool);

// Of how many rows and vectors a tile is at most. Of one or two rows: of more vectors, or each sum would wait for itself;
// of three or four vectors, where two are a panel: of them all, for a weights' stream that jumps over half of every row
// is slow from memory.
struct TileSize {
  int rows, vectors;
};

constexpr TileSize tile_size(int rows, int width) {
  if (rows <= 2) return {2, 4};
  if (kPanel < 3 && width == 3) return {4, 3};
  if (kPanel < 3 && width == 4) return {3, 4};
  return {kTileRows, kPanel};
}

template <int R>
constexpr Tile tile_of_width(int v) {
  constexpr int most = std::max(kPanel, R <= 3 ? 4 : R <= 4 ? 3 : 2);
  if constexpr (most == 4) return v == 1 ? tile<R, 1> : v == 2 ? tile<R, 2> : v == 3 ? tile<R, 3> : tile<R, 4>;
  else if constexpr (most == 3) return v == 1 ? tile<R, 1> : v == 2 ? tile<R, 2> : tile<R, 3>;
  else return v == 1 ? tile<R, 1> : tile<R, 2>;
}

constexpr Tile tile_of(int r, int v) {
  switch (r) {
    case 1: return tile_of_width<1>(v);
    case 2: return tile_of_width<2>(v);
    case 3: return tile_of_width<3>(v);
    case 4: return tile_of_width<4>(v);
    case 5: return tile_of_width<5>(v);
    default: return tile_of_width<6>(v);
  }
}

// C [rows, width vectors] (+)= A [rows, K] B, where B's rows are b_row floats apart and `width` vectors wide, and C's
// are c_row apart, their vectors c_vector.
inline void product(int rows, int width, int K, const float* a, ptrdiff_t a_row, const float* b, ptrdiff_t b_row,
                    float* c, ptrdiff_t c_row, ptrdiff_t c_vector, bool add) {
  const TileSize most = tile_size(rows, width);
  const int tiles = (rows + most.rows - 1) / most.rows;
  for (int k0 = 0; k0 < K || k0 == 0; k0 += kChain, add = true) {
    const int k = std::min(kChain, K - k0);
    for (int v0 = 0; v0 < width; v0 += most.vectors) {
      const int v = std::min(most.vectors, width - v0);
      for (int i = 0, r0 = 0; i < tiles; ++i) {  // of rows as even as can be
        const int r1 = static_cast<int>(static_cast<int64_t>(rows) * (i + 1) / tiles);
        tile_of(r1 - r0, v)(k, a + r0 * a_row + k0, a_row, b + static_cast<ptrdiff_t>(k0) * b_row + v0 * kLanes, b_row,
                            c + r0 * c_row + v0 * c_vector, c_row, c_vector, add);
        r0 = r1;
      }
    }
  }
}

// The same, where C is as tight as B.
inline void product(int rows, int width, int K, const float* a, ptrdiff_t a_row, const float* b, ptrdiff_t b_row,
                    float* c, ptrdiff_t c_row, bool add) {
  product(rows, width, K, a, a_row, b, b_row, c, c_row, kLanes, add);
}

}  // namespace jbptt
