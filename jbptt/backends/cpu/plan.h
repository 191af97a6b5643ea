// What follows from a call's sizes: the layout of what is packed, saved and scratch, and which row is which step's.
//
// A step saves [unit vector, S, lane] for each row, and δ takes its place. H is filled up to whole vectors with units
// of zero weights, whose δ is 0 and whose h nobody reads.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>

#include "product.h"
#include "recurrence_args.h"

namespace jbptt {

constexpr int kProjectedRows = kTuning.projected_rows, kBlock = kProjectedRows;

constexpr size_t kLine = 16;  // floats of a cache line: no two pieces of scratch share one

constexpr size_t whole_lines(size_t floats) { return (floats + kLine - 1) / kLine * kLine; }

// What a piece of scratch takes: a line more than it has, or h, c and the next h, often powers of two long, would begin
// at one place of a page, and each load wait for the stores that the processor takes for stores to it. That cost the
// forward pass of small sizes a fifth.
constexpr size_t piece(size_t floats) { return whole_lines(floats) + kLine; }

// Floats that all pieces of a thread together take beyond what they have, at most: two lines each of the eight of a
// slice, one for where the slice begins, and, once, those of what all threads share.
constexpr size_t kMostExcess = 20 * kLine;

// Hands out pieces of a block of memory.
class Scratch {
 public:
  Scratch(float* block, size_t floats) : at_(block), end_(block + floats) {}

  float* take(size_t floats) {
    float* taken = at_;
    at_ += piece(floats);
    assert(at_ <= end_);
    return taken;
  }

  float* take_zeros(size_t floats) {
    float* taken = take(floats);
    std::fill_n(taken, floats, 0.0f);
    return taken;
  }

 private:
  float *at_, *end_;
};

struct Plan {
  Plan(const Kind& kind, int I, int H)
      : kind(kind), G(kind.gates), S(kind.saved), I(I), H(H), vectors(round_up(H, kLanes) / kLanes),
        Hp(vectors * kLanes), gate_width(vectors * G * kLanes), panels((vectors + kind.units - 1) / kind.units),
        panel_width(std::min(kind.units, vectors) * G * kLanes), I_up(round_up(I, kLanes)) {}

  int lanes_of(int vector) const { return std::min(kLanes, H - vector * kLanes); }
  int vectors_in(int panel) const { return std::min(kind.units, vectors - panel * kind.units); }

  const Kind& kind;
  const int G, S, I, H, vectors, Hp;
  const int gate_width;   // of all gates' blocks
  const int panels;       // of whole units, a unit's G blocks side by side
  const int panel_width;  // of the widest
  const int I_up;
};

// A call: its plan, and how it is shared out.
template <class Real>
struct Call : Plan {
  Call(const Kind& kind, const RecurrenceArgs<Real>& args, int threads, const ScratchSize& size)
      : Plan(kind, args.I, args.H), p(args), busy(threads_with_work(*this, args, threads)),
        threads(std::min(busy, room(args, size))), parts(parts_of_units(*this, args, this->threads)),
        slices(parts > 1 ? 1 : std::min(this->threads, args.B)) {}

  // Rows of the batch, and vectors of units.
  struct Share {
    int first_row, rows, u0, u1;
  };
  Share slice(int n) const {
    const int first = row_of(n);
    return {first, row_of(n + 1) - first, 0, vectors};
  }
  Share part(int n) const { return {0, p.B, first_vector(n), first_vector(n + 1)}; }

  // Some steps of all, which may be a task.
  struct Steps {
    int from, to;
  };
  int number_of_blocks() const { return (p.T + kBlock - 1) / kBlock; }
  Steps block(int n) const { return {n * kBlock, std::min((n + 1) * kBlock, p.T)}; }

  int time(int step) const { return p.reverse ? p.T - 1 - step : step; }
  size_t row(int t, int b) const { return static_cast<size_t>(t) * p.B + b; }
  bool valid(size_t row) const { return !p.marks || p.marks[row] & kValid; }
  bool reset(size_t row) const { return p.marks && p.marks[row] & kReset; }
  bool cut(size_t row) const { return p.marks && p.marks[row] & kCut; }

  // The part of a vector of units that stays what it was as the step was entered.
  bool zones_out() const { return p.h_stays || p.c_stays || p.h_stay_rate || p.c_stay_rate; }
  Vec stays(const uint8_t* flags, float rate, size_t row, int u) const {
    return flags ? load_flags(flags + row * H + u * kLanes, lanes_of(u)) : Vec{} + rate;
  }

  // That of U which the index at a row is of; null where there is none.
  const Real* row_of_U(size_t row) const {
    const int32_t index = p.indices[row];
    return index < 0 || index >= p.rows_of_U ? nullptr : p.U + static_cast<size_t>(index) * G * H;
  }

  // The row before (t, b) in the order of steps; −1 at the first.
  ptrdiff_t row_before(int t, int b) const {
    const int before = p.reverse ? t + 1 : t - 1;
    return before < 0 || before >= p.T ? -1 : static_cast<ptrdiff_t>(row(before, b));
  }

  const Real* h_before(int t, int b) const {
    if (reset(row(t, b))) return p.h_reset + static_cast<size_t>(b) * H;
    const ptrdiff_t before = row_before(t, b);
    return before < 0 ? p.h0 + static_cast<size_t>(b) * H : p.hs + before * H;
  }

  const Real* c_before(int t, int b) const {
    if (reset(row(t, b))) return p.c_reset + static_cast<size_t>(b) * H;
    const ptrdiff_t before = row_before(t, b);
    return before < 0 ? p.c0 + static_cast<size_t>(b) * H : p.cs + before * Hp;
  }

  const RecurrenceArgs<Real>& p;
  const int busy;     // threads that there is work for
  const int threads;  // and memory
  const int parts;    // of the units, where more than rows: they meet at every step, which slices need not
  const int slices;   // of the batch's rows, a task each

 private:
  static int threads_with_work(const Plan& plan, const RecurrenceArgs<Real>& args, int threads) {
    const size_t work = static_cast<size_t>(args.T) * args.B * (args.I + args.H) * plan.gate_width / kTuning.least_work;
    return static_cast<int>(std::min(static_cast<size_t>(threads), work + 1));
  }

  static int parts_of_units(const Plan& plan, const RecurrenceArgs<Real>& args, int threads) {
    const size_t work = static_cast<size_t>(args.B) * plan.H * plan.gate_width;
    const int parts = std::min(threads, granules(plan));
    return parts > args.B && args.B < kProjectedRows && work >= kTuning.least_step ? parts : 1;
  }

  // Parts are of whole panels, forward and back.
  static int granules(const Plan& plan) { return (plan.vectors + kPanel - 1) / kPanel; }
  int first_vector(int part) const {
    return std::min(vectors, static_cast<int>(static_cast<int64_t>(granules(*this)) * part / parts) * kPanel);
  }

  int row_of(int slice) const { return static_cast<int>(static_cast<int64_t>(p.B) * slice / slices); }

  static int room(const RecurrenceArgs<Real>& args, const ScratchSize& size) {
    assert(args.scratch_floats >= size.of(args.B, 1));
    const size_t threads = (args.scratch_floats - size.of(args.B, 0)) / size.per_thread;
    return static_cast<int>(std::min<size_t>(threads, 1 << 20));
  }
};

}  // namespace jbptt
