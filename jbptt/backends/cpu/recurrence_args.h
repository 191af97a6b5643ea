// One recurrence, as a caller describes it: a kind of cell, sizes, and where the arrays are. Row-major, time first, of
// float or Bfloat16; sums over T·B are float, and so is all that is not in these arrays.
//
// T time, B batch, I inputs (0 where they are indices of one-hot rows), H units, G blocks of U, W and b (gates), S
// vectors that a step saves; Hp: H up to whole vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <tuple>
#include <vector>

#include "bfloat16.h"
#include "recurrence.h"

namespace jbptt {

// Bits of marks [T, B].
constexpr uint8_t kValid = 1, kReset = 2, kCut = 4;  // kCut: no gradient goes back from this step

// Pointers to nothing, where a cell has no such parameter or nobody asks for a result, are null.
template <class Real>
struct RecurrenceArgs {
  int T, B, I, H;
  bool reverse;

  const Real *xs, *U, *W, *b, *p;  // [T,B,I] [I,G·H] [H,G·H] [G·H]; p: what Extra says
  const int32_t* indices;           // [T,B], in the place of xs: of rows of U, or none's
  int rows_of_U;                    // I, or what indices are below
  const Real *h0, *c0;             // [B,H]: what the first step starts from
  const uint8_t* marks;             // [T,B]; null: every step is valid and none is a reset
  const Real *h_reset, *c_reset;    // [B,H]
  const uint8_t *h_stays, *c_stays; // [T,B,H], 1 where a unit stays what it was (zoneout); null: the part of each that
  float h_stay_rate, c_stay_rate;   // stays
  const Real* h_mask;               // [B,H], what h is multiplied by as the recurrent product sees it; null: nothing

  // Forward.
  Real *hs, *h_last, *c_last;   // [T,B,H] [B,H] [B,H]
  Real *saved, *cs;             // [T,B,S·Hp] [T,B,Hp], what the backward pass needs; null: nothing is saved

  // Backward; saved becomes δ. Cotangents that are null are 0, results that are null are not worked out: dU and dW both
  // or neither.
  const Real *dhs, *dh_last, *dc_last;
  Real* dxs;
  float *dU, *dW, *db, *dp;
  Real *dh0, *dc0, *dh_reset, *dc_reset;
  bool hands_down;  // dxs are for the recurrence below, which does not wait for all of them

  float* scratch;
  size_t scratch_floats;  // at least ScratchSize::of(B, 1): one thread's
};

// The parameters p that a cell has beside U, W and b: vectors of [H].
enum class Extra { none, peepholes, bn };  // peepholes of i, f and o; the GRU's bias within r ⊙ (h W + bn)

constexpr int vectors_of(Extra extra) { return extra == Extra::peepholes ? 3 : extra == Extra::bn ? 1 : 0; }

struct Kind;

template <class Real>
struct Makers {
  using Maker = std::unique_ptr<Recurrence> (*)(const Kind&, const RecurrenceArgs<Real>&, int threads);
  Maker forward, backward;
};

// A kind of cell: the numbers that all but the pointwise part goes by, and its kernels. cells.h says what they mean.
struct Kind {
  const char* name;
  int gates, saved, units;
  bool has_c;
  Extra extra;
  const int *at_x, *at_h;
  std::tuple<Makers<float>, Makers<Bfloat16>> makers;

  template <class Real>
  const Makers<Real>& of() const {
    return std::get<Makers<Real>>(makers);
  }
};

// Floats of scratch memory, for any batch and number of threads.
struct ScratchSize {
  size_t fixed, per_thread, per_row;
  size_t of(size_t B, size_t threads) const { return fixed + threads * per_thread + B * per_row; }
};

const std::vector<Kind>& kinds();
const Kind* find_kind(std::string_view name);  // null: there is none
int lanes();                                   // floats in a vector

// widens: kWidens of what the arrays are of; rows: T·B.
ScratchSize forward_scratch(const Kind& kind, int I, int H, bool widens);
ScratchSize backward_scratch(const Kind& kind, int64_t rows, int I, int H, bool of_weights, bool of_xs, bool widens);

}  // namespace jbptt
