// One recurrence, as a caller describes it: sizes, and where its arrays are. Row-major float32, time first.
//
// T time, B batch, I inputs, H units, G blocks of U, W and b; Hp: H up to whole vectors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tasks.h"

namespace jbptt {

// In the order of kCells in kernels.cc and of KINDS in kinds.py.
enum class Kind : int32_t {
  lstm, lstm_nig, lstm_nfg, lstm_nog, lstm_niaf, lstm_noaf, lstm_cifg, gru, rnn_tanh, rnn_relu, rnn_sigmoid, count
};

// Bits of marks [T, B].
constexpr uint8_t kValid = 1, kReset = 2;

// Pointers to nothing, where a cell has no such parameter or nobody asks for a result, are null.
struct Problem {
  Kind kind;
  int T, B, I, H;
  bool reverse;

  const float *xs, *U, *W, *b, *p;   // [T,B,I] [I,G·H] [H,G·H] [G·H]; peepholes i, f, o [3·H], or the GRU's bn [H]
  const float *h0, *c0;              // [B,H]: what the first step starts from
  const uint8_t* marks;              // [T,B]; null: every step is valid and none is a reset
  const float *h_reset, *c_reset;    // [B,H]

  // Forward.
  float *hs, *h_last, *c_last;       // [T,B,H] [B,H] [B,H]
  float *saved, *cs;                 // [T,B,S·Hp] [T,B,Hp], what the way back needs; null: nothing is kept

  // Backward; saved becomes δ. Without dW there are no gradients of weights.
  const float *dhs, *dh_last, *dc_last;
  float *dxs, *dU, *dW, *db, *dp;
  float *dh0, *dc0, *dh_reset, *dc_reset;
};

void forward(const Problem& problem, Helpers& helpers);
void backward(const Problem& problem, Helpers& helpers);

}  // namespace jbptt
