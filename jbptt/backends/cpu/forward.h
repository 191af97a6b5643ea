// The recurrence of any cell, forward.
//
// Who owns what: a task has a slice of the batch's rows for all of T, so that no thread waits for another from step to
// step; its state stays in its cache. Of few rows a task has a part of the units of all of them, and waits at each step
// for every other's h. Tasks share the packed weights, which nobody writes. U and W are packed so that
// the sums of a register tile are all that the pointwise part of its units needs.
//
// Of arrays of Bfloat16: h and c are floats from the first step of a call to the last, so that no rounding adds up over
// the steps, and are rounded where they are put out and kept. The backward pass reads every h, c and gate rounded: half
// a unit of bfloat16's last place, at most, from what the forward pass went on with.
//
// Cost: 2·T·B·(I+H)·G·H operations.
#pragma once

#include "cells.h"
#include "pack.h"

namespace jbptt {

constexpr int kRowsAtOnce = kTuning.rows_at_once;

inline size_t size_of_sums(const Plan& plan) { return static_cast<size_t>(kRowsAtOnce) * plan.panel_width; }

inline ScratchSize forward_scratch(const Plan& plan, bool widens) {
  const size_t z = plan.gate_width, x = widens ? plan.I : 0;
  return {piece(plan.I * z) + piece(plan.H * z) + piece(z),
          kProjectedRows * (z + x) + piece(size_of_sums(plan)) + kMostExcess,
          z + x + static_cast<size_t>(plan.Hp) * (plan.kind.has_c ? 5 : 4)};
}

template <class Cell, class Real>
class Forward : Call<Real>, public Recurrence {
 public:
  Forward(const Kind& kind, const RecurrenceArgs<Real>& args, int threads)
      : Forward(kind, args, threads, jbptt::forward_scratch(Plan(kind, args.I, args.H), kWidens<Real>)) {}

  int busy_threads() const override { return busy; }
  int most_threads() const override { return threads; }

  int preparations() const override { return threads; }
  void prepare(int n) override {
    if (p.b && n == 0) pack_blocks(*this, p.b, 1, 0, 1, b_);
    pack_blocks(*this, p.U, I, share(I, n), share(I, n + 1), U_);
    pack_blocks(*this, p.W, H, share(H, n), share(H, n + 1), W_);
  }

  int batch_slices() const override { return slices; }
  void run_slice(int n) override { run(n, slice(n), {0, p.T}, true); }
  int blocks() const override { return number_of_blocks(); }
  void run_block(int n) override { run(0, slice(0), block(n), n == 0); }

  int parts_of_units() const override { return parts; }
  int stages() const override { return 1 + p.T; }
  void run_stage(int n, int stage) override { run(n, part(n), {std::max(stage - 1, 0), stage}, stage == 0); }

  int completions() const override { return 0; }
  void complete(int, int) override {}

 private:
  using Call<Real>::p, Call<Real>::I, Call<Real>::H, Call<Real>::gate_width, Call<Real>::busy, Call<Real>::threads;
  using Call<Real>::parts, Call<Real>::slices, Call<Real>::part, Call<Real>::slice;
  using Call<Real>::number_of_blocks, Call<Real>::block;
  using typename Call<Real>::Steps, typename Call<Real>::Share;
  static constexpr int G = Cell::G, S = Cell::S;

  Forward(const Kind& kind, const RecurrenceArgs<Real>& args, int all_threads, const ScratchSize& size)
      : Call<Real>(kind, args, all_threads, size), size_(size) {
    Scratch scratch(p.scratch, p.scratch_floats);
    U_ = scratch.take(static_cast<size_t>(I) * gate_width);
    W_ = scratch.take(static_cast<size_t>(H) * gate_width);
    b_ = scratch.take_zeros(gate_width);
    of_workers_ = scratch.take(threads * of_worker());
    of_slices_ = scratch.take(0);
  }

  struct Slice;

  int share(int rows, int n) const { return static_cast<int>(int64_t{rows} * n / threads); }  // from where on it is n's

  // What each has of its own: sums; and x of some steps, as floats, where a slice's scratch is several workers'.
  size_t of_x() const { return kWidens<Real> && parts > 1 ? piece(static_cast<size_t>(kProjectedRows) * I) : 0; }
  size_t of_worker() const { return piece(size_of_sums(*this)) + of_x(); }

  [[gnu::noinline]] void run(int worker, Share share, Steps steps, bool begins) {  // or there would be one for each caller
    const size_t of_slice = size_.per_thread - of_worker(), n = parts > 1 ? 0 : worker;
    const size_t from = whole_lines(n * of_slice + share.first_row * size_.per_row);
    const Scratch own(of_slices_ + from, of_slice + share.rows * size_.per_row);
    Slice some(*this, own, Scratch(of_workers_ + worker * of_worker(), of_worker()), share);
    if (begins) some.begin();
    some.run(steps);
  }

  const ScratchSize size_;
  float *U_, *W_, *b_, *of_workers_, *of_slices_;
};

// Some rows of the batch and some units, from the first step to the last. All inline, so that its members can be in
// registers: a store of floats might change them where `this` is known elsewhere, which cost small sizes an eighth.
template <class Cell, class Real>
struct Forward<Cell, Real>::Slice {
  Slice(const Forward& all, Scratch scratch, Scratch worker, Share share)
      : all(all), p(all.p), Hp(all.Hp), gate_width(all.gate_width), first(share.first_row), rows(share.rows),
        u0(share.u0), u1(share.u1), ahead(std::max(1, std::min(p.T, kProjectedRows / rows))),
        zones_out(all.zones_out()), x(kWidens<Real> ? x_of(all.parts > 1 ? worker : scratch) : nullptr),
        zx(scratch.take(static_cast<size_t>(ahead) * rows * gate_width)),
        sums(worker.take(size_of_sums(all))),
        h(scratch.take(static_cast<size_t>(rows) * Hp)), next(scratch.take(static_cast<size_t>(rows) * Hp)),
        c(Cell::kHasC ? scratch.take(static_cast<size_t>(rows) * Hp) : nullptr),
        seen(p.h_mask ? scratch.take(static_cast<size_t>(rows) * Hp) : h),
        next_seen(p.h_mask ? scratch.take(static_cast<size_t>(rows) * Hp) : next) {}

  float* x_of(Scratch& scratch) const { return scratch.take(static_cast<size_t>(std::max(kProjectedRows, rows)) * p.I); }

  // What the first step starts from.
  void begin() {
    for (float* state : {h, next, c, seen, next_seen})
      if (state)
        for (int r = 0; r < rows; ++r) std::fill_n(state + own(r), (u1 - u0) * kLanes, 0.0f);
    for (int r = 0; r < rows; ++r) start(r, p.h0, p.c0);
    start_again(0);
  }

  void run(Steps steps) {
    if (steps.from % 2) change_places();
    for (int step = steps.from; step < steps.to; ++step) {
      if (step % ahead == 0) project(step, std::min(ahead, p.T - step));
      step_panels(all.time(step), zx + static_cast<size_t>(step % ahead) * rows * gate_width);
      change_places();
      if (step + 1 < p.T) start_again(step + 1);
    }
    if (steps.to == p.T) end();
  }

  void change_places() {
    std::swap(h, next);
    std::swap(seen, next_seen);
  }

  [[gnu::always_inline]] void end() {
    for (int r = 0; r < rows; ++r) {
      const size_t to = static_cast<size_t>(first + r) * p.H + u0 * kLanes;
      std::copy_n(h + own(r), units(), p.h_last + to);
      if (Cell::kHasC) std::copy_n(c + own(r), units(), p.c_last + to);
    }
  }

  // The rows that a step resets.
  [[gnu::always_inline]] void start_again(int step) {
    const int t = all.time(step);
    for (int r = 0; r < rows; ++r)
      if (all.reset(all.row(t, first + r))) start(r, p.h_reset, p.c_reset);
  }

  [[gnu::always_inline]] void start(int r, const Real* h_from, const Real* c_from) {
    const size_t from = static_cast<size_t>(first + r) * p.H + u0 * kLanes, to = own(r);
    std::copy_n(h_from + from, units(), h + to);
    if (p.h_mask)
      for (int j = 0; j < units(); ++j) seen[to + j] = h[to + j] * p.h_mask[from + j];
    if (Cell::kHasC) std::copy_n(c_from + from, units(), c + to);
  }

  size_t own(int r) const { return static_cast<size_t>(r) * Hp + u0 * kLanes; }
  int units() const { return std::min(u1 * kLanes, p.H) - u0 * kLanes; }

  // x of some steps, as floats: those of (step, row) at + step · step_size + row · p.I.
  struct X {
    const float* at;
    ptrdiff_t step_size;
  };

  [[gnu::always_inline]] X xs_of(int step, int steps) const {
    const ptrdiff_t of_rows = static_cast<ptrdiff_t>(rows) * p.I;
    if constexpr (kWidens<Real>) {
      for (int s = 0; s < steps; ++s)
        std::copy_n(p.xs + all.row(all.time(step + s), first) * p.I, of_rows, x + s * of_rows);
      return {x, of_rows};
    } else {
      return {p.xs + all.row(all.time(step), first) * p.I, static_cast<ptrdiff_t>(p.B) * p.I * (p.reverse ? -1 : 1)};
    }
  }

  // x U + b of some steps, [step, row, gate_width].
  [[gnu::always_inline]] void project(int step, int steps) {
    if (p.indices) return pick_rows(step, steps);
    const X xs = xs_of(step, steps);
    const int at = u0 * G * kLanes;
    for (int n = 0; n < steps * rows; ++n)
      std::copy_n(all.b_ + at, (u1 - u0) * G * kLanes, zx + static_cast<size_t>(n) * gate_width + at);
    for (int panel = u0 / Cell::kUnits; panel < panels_end(); ++panel) {
      const int first_vector = panel * Cell::kUnits, width = all.vectors_in(panel) * G;
      const float* U = all.U_ + static_cast<size_t>(p.I) * first_vector * G * kLanes;
      float* to = zx + static_cast<size_t>(first_vector) * G * kLanes;
      if (rows >= kTileRows || steps == 1) {
        for (int s = 0; s < steps; ++s)
          product(rows, width, p.I, xs.at + s * xs.step_size, p.I, U, width * kLanes,
                  to + static_cast<size_t>(s) * rows * gate_width, gate_width, true);
      } else {  // few rows a step: many steps of each row
        for (int r = 0; r < rows; ++r)
          product(steps, width, p.I, xs.at + static_cast<ptrdiff_t>(r) * p.I, xs.step_size, U, width * kLanes,
                  to + static_cast<size_t>(r) * gate_width, static_cast<ptrdiff_t>(rows) * gate_width, true);
      }
    }
  }

  // The same of one-hot x: a row of U for each.
  void pick_rows(int step, int steps) {
    const int at = u0 * G * kLanes;
    for (int s = 0; s < steps; ++s)
      for (int r = 0; r < rows; ++r) {
        const Real* U = all.row_of_U(all.row(all.time(step + s), first + r));
        const float* b = all.b_ + at;
        float* to = zx + (static_cast<size_t>(s) * rows + r) * gate_width + at;
        for (int u = u0; u < u1; ++u)
          for (int g = 0; g < G; ++g, to += kLanes, b += kLanes)
            store(to, U ? load(b) + load(U + static_cast<size_t>(g) * p.H + u * kLanes, all.lanes_of(u)) : load(b));
      }
  }

  int panels_end() const { return (u1 + Cell::kUnits - 1) / Cell::kUnits; }

  [[gnu::always_inline]] void step_panels(int t, const float* zx_of_step) {
    for (int panel = u0 / Cell::kUnits; panel < panels_end(); ++panel) {
      const int first_vector = panel * Cell::kUnits, units = all.vectors_in(panel), width = units * G;
      const float* W = all.W_ + static_cast<size_t>(p.H) * first_vector * G * kLanes;
      for (int r0 = 0; r0 < rows; r0 += kRowsAtOnce) {
        const int r1 = std::min(r0 + kRowsAtOnce, rows);
        product(r1 - r0, width, p.H, seen + static_cast<size_t>(r0) * Hp, Hp, W, width * kLanes, sums, width * kLanes,
                false);
        for (int u = 0; u < units; ++u)
          step_units(t, r0, r1, first_vector + u, zx_of_step, sums + u * G * kLanes, width);
      }
    }
  }

  // The pointwise part of one vector of units, for some rows of a step.
  [[gnu::always_inline]] void step_units(int t, int r0, int r1, int u, const float* zx_of_step, const float* hW_sums,
                                         int width) {
    const int lanes = all.lanes_of(u), vectors = all.vectors;
    Before before{};
    load_extra<Cell::kExtra>(all, p.p, u, before.extra);
    for (int r = r0; r < r1; ++r, hW_sums += width * kLanes) {
      const size_t at = all.row(t, first + r), here = static_cast<size_t>(r) * Hp + u * kLanes;
      Vec x[G], hW[G], saved[S];
      for (int g = 0; g < G; ++g) {
        x[g] = load(zx_of_step + static_cast<size_t>(r) * gate_width + (u * G + g) * kLanes);
        hW[g] = load(hW_sums + g * kLanes);
      }
      before.h = load(h + here);
      before.c = Cell::kHasC ? load(c + here) : Vec{};
      State state = Cell::forward(x, hW, before, saved);
      if (zones_out) {
        state.h = mixed(p.h_stays, all.stays(p.h_stays, p.h_stay_rate, at, u), before.h, state.h);
        if (Cell::kHasC) state.c = mixed(p.c_stays, all.stays(p.c_stays, p.c_stay_rate, at, u), before.c, state.c);
      }
      if (!all.valid(at)) state = {before.h, before.c};
      store(next + here, state.h);
      if (p.h_mask)
        store(next_seen + here, state.h * load(p.h_mask + static_cast<size_t>(first + r) * p.H + u * kLanes, lanes));
      store(p.hs + at * p.H + u * kLanes, state.h, lanes);
      if (Cell::kHasC) store(c + here, state.c);
      if (p.saved) {
        for (int s = 0; s < S; ++s) store(p.saved + (at * vectors + u) * S * kLanes + s * kLanes, saved[s]);
        if (Cell::kHasC) store(p.cs + at * Hp + u * kLanes, state.c);
      }
    }
  }

  // Of flags one or the other: 0 times what was made, which may be infinite, is no number.
  static Vec mixed(bool flags, Vec stays, Vec before, Vec made) {
    return flags ? (stays != 0.0f ? before : made) : stays * before + (1.0f - stays) * made;
  }

  const Forward& all;
  const RecurrenceArgs<Real>& p;
  const int Hp, gate_width, first, rows, u0, u1, ahead;
  const bool zones_out;
  float *x, *zx, *sums, *h, *next, *c, *seen, *next_seen;  // seen: h as the product sees it
};

}  // namespace jbptt
