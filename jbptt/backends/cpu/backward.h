// The recurrence of any cell, backward.
//
// As forward, a task has a slice of the batch's rows, or a part of the units: Wᵀ δ step by step. Then, over all of time
// at once, come Uᵀ δ, Σ δ hᵀ and Σ δ xᵀ (gradients.h), in tasks of their own.
//
// Cost: 4·T·B·(I+H)·G·H operations, of which 2·T·B·I·G·H are dx's and 2·T·B·(I+H)·G·H the weights', where wanted.
#pragma once

#include "cells.h"
#include "gradients.h"
#include "pack.h"

namespace jbptt {

struct BackwardScratch {
  BackwardScratch(const Plan& plan, int64_t rows, bool of_weights, bool of_xs, bool widens)  // rows: T·B
      : WT(static_cast<size_t>(plan.gate_width) * plan.Hp), UT(of_xs ? columns_at_x(plan) * plan.I_up : 0),
        of_worker(
            piece(std::max(of_weights ? packed_for_weights(plan, rows) : 0, of_xs ? rows_of_dx(plan, widens) : 0))),
        dp(plan.kind.extra == Extra::peepholes ? whole_lines(3 * static_cast<size_t>(plan.Hp)) : 0),
        size{piece(WT) + piece(UT), of_worker + dp + kMostExcess,
             2 * plan.gate_width + 5 * static_cast<size_t>(plan.Hp)} {}

  static size_t columns_at_x(const Plan& plan) { return static_cast<size_t>(plan.vectors) * plan.S * kLanes; }

  const size_t WT, UT;         // of all threads
  const size_t of_worker, dp;  // of each
  const ScratchSize size;
};

template <class Cell, class Real>
class Backward : Call<Real>, public Recurrence {
 public:
  Backward(const Kind& kind, const RecurrenceArgs<Real>& args, int threads)
      : Backward(kind, args, threads,
                 BackwardScratch(Plan(kind, args.I, args.H), int64_t{args.T} * args.B, args.dW, args.dxs,
                                 kWidens<Real>)) {}

  int busy_threads() const override { return busy; }
  int most_threads() const override { return threads; }

  int preparations() const override { return panels_of(vectors) + (p.dxs ? panels_of(I_up / kLanes) : 0); }
  void prepare(int n) override {
    constexpr int in_order[] = {0, 1, 2, 3};
    const int of_h = panels_of(vectors);
    if (n < of_h) pack_transposed(*this, p.W, H, G, in_order, n, WT_);
    else pack_transposed(*this, p.U, I, S, Cell::kAtX, n - of_h, UT_);
  }

  int batch_slices() const override { return slices; }
  void run_slice(int n) override { run(n, slice(n), {0, stages()}); }
  int blocks() const override { return number_of_blocks(); }
  void run_block(int n) override {
    const int first = blocks() - 1 - n;
    const Steps steps = block(first);
    run(0, slice(0), {p.T - steps.to, first ? p.T - steps.from : stages()});
    if (p.hands_down) gradients_.of_xs(first, UT_, Scratch(of_workers_, size_.of_worker));
  }

  int parts_of_units() const override { return parts; }
  int stages() const override { return p.T + 1; }  // what a step leaves to the one before it waits for δ of all units
  void run_stage(int n, int stage) override { run(0, part(n), {stage, stage + 1}); }

  // Over all of time: blocks of the weights' gradients, and rows of dx, for whoever is free.
  int completions() const override { return weight_tasks() + (p.dxs && !p.hands_down ? gradients_.row_tasks() : 0); }
  void complete(int n, int worker) override {
    if (Cell::kExtra == Extra::peepholes && p.dp && n == 0) sum_of_slices();
    const Scratch own(of_workers_ + worker * size_.of_worker, size_.of_worker);
    if (n < weight_tasks()) gradients_.of_weights(n, own);
    else gradients_.of_xs(n - weight_tasks(), UT_, own);
  }

 private:
  using Call<Real>::p, Call<Real>::I, Call<Real>::I_up, Call<Real>::H, Call<Real>::Hp, Call<Real>::vectors;
  using Call<Real>::busy, Call<Real>::threads, Call<Real>::parts, Call<Real>::slices, Call<Real>::part;
  using Call<Real>::slice, Call<Real>::number_of_blocks, Call<Real>::block;
  using typename Call<Real>::Steps, typename Call<Real>::Share;
  static constexpr int G = Cell::G, S = Cell::S;

  Backward(const Kind& kind, const RecurrenceArgs<Real>& args, int all_threads, const BackwardScratch& size)
      : Call<Real>(kind, args, all_threads, size.size), size_(size), gradients_(*this) {
    Scratch scratch(p.scratch, p.scratch_floats);
    WT_ = scratch.take(size_.WT);
    UT_ = scratch.take(size_.UT);
    of_workers_ = scratch.take(threads * size_.of_worker);
    dp_ = scratch.take_zeros(slices * size_.dp);
    of_slices_ = scratch.take(0);
  }

  struct Slice;

  static int panels_of(int vectors) { return (vectors + kPanel - 1) / kPanel; }
  int weight_tasks() const { return p.dW ? gradients_.weight_tasks() : 0; }

  [[gnu::noinline]] void run(int n, Share share, Steps stages) const {  // or there would be one for each caller
    const size_t of_thread = size_.size.per_thread - size_.of_worker - size_.dp;
    const size_t from = whole_lines(n * of_thread + share.first_row * size_.size.per_row);
    const Scratch own(of_slices_ + from, of_thread + share.rows * size_.size.per_row);
    Slice(*this, own, dp_ + n * size_.dp, share).run(stages);
  }

  void sum_of_slices() {
    for (int n = 0; n < 3; ++n)
      for (int j = 0; j < H; ++j) {
        float sum = 0;
        for (int slice = 0; slice < slices; ++slice) sum += dp_[slice * size_.dp + n * static_cast<size_t>(Hp) + j];
        p.dp[static_cast<size_t>(n) * H + j] = sum;
      }
  }

  const BackwardScratch size_;
  const Gradients<Real> gradients_;
  float *WT_, *UT_, *of_workers_, *dp_, *of_slices_;
};

// Some rows of the batch and some units, from the last step to the first. All inline, so that its members can be in
// registers: a store of floats might change them where `this` is known elsewhere, which cost small sizes an eighth.
template <class Cell, class Real>
struct Backward<Cell, Real>::Slice {
  Slice(const Backward& all, Scratch scratch, float* dp, Share share)
      : all(all), p(all.p), Hp(all.Hp), gate_width(all.gate_width), first(share.first_row), rows(share.rows),
        u0(share.u0), u1(share.u1), resets(p.marks && p.h_reset), zones_out(all.zones_out()), dp(dp),
        dh(taken(scratch, true)), dc(taken(scratch, true)), dh_reset(taken(scratch, p.dh_reset)),
        dc_reset(taken(scratch, p.dc_reset)), from_delta(taken(scratch, p.h_mask)),
        deltas{scratch.take(static_cast<size_t>(rows) * gate_width),
               all.parts > 1 ? scratch.take(static_cast<size_t>(rows) * gate_width) : deltas[0]} {}

  void run(Steps stages) {
    if (stages.from == 0) begin();
    for (int stage = stages.from; stage < stages.to; ++stage) {
      const int step = p.T - 1 - stage;
      if (stage > 0) go_before(step + 1);
      if (step >= 0) make_delta(step);
      else end();
    }
  }

  [[gnu::always_inline]] void make_delta(int step) {
    const int t = all.time(step);
    for (int u = u0; u < u1; ++u) step_units(t, u, deltas[step % 2]);
  }

  [[gnu::always_inline]] void go_before(int step) {
    const int t = all.time(step);
    if (step > 0 || resets || p.dh0) add_product_with(deltas[step % 2]);
    if (p.marks)
      for (int r = 0; r < rows; ++r)
        if (const size_t row = all.row(t, first + r); all.reset(row) || all.cut(row)) {
          accumulate_and_clear(dh, all.reset(row) ? dh_reset : nullptr, r);
          accumulate_and_clear(dc, all.reset(row) ? dc_reset : nullptr, r);
        }
  }

  [[gnu::always_inline]] void begin() {
    for (float* gradient : {dh, dc, dh_reset, dc_reset})
      if (gradient)
        for (int r = 0; r < rows; ++r) std::fill_n(gradient + own(r), (u1 - u0) * kLanes, 0.0f);
    if (p.dh_last) copy_rows(p.dh_last, p.H, first, dh, Hp, 0);
    if (p.dc_last) copy_rows(p.dc_last, p.H, first, dc, Hp, 0);
  }

  [[gnu::always_inline]] void end() {
    if (p.dh0) copy_rows(dh, Hp, 0, p.dh0, p.H, first);
    if (p.dc0) copy_rows(dc, Hp, 0, p.dc0, p.H, first);
    if (p.dh_reset) copy_rows(dh_reset, Hp, 0, p.dh_reset, p.H, first);
    if (p.dc_reset) copy_rows(dc_reset, Hp, 0, p.dc_reset, p.H, first);
  }

  size_t own(int r) const { return static_cast<size_t>(r) * Hp + u0 * kLanes; }
  int units() const { return std::min(u1 * kLanes, p.H) - u0 * kLanes; }

  float* taken(Scratch& scratch, bool wanted) const {
    return wanted ? scratch.take(static_cast<size_t>(rows) * Hp) : nullptr;
  }

  template <class From, class To>
  [[gnu::always_inline]] void copy_rows(const From* from, size_t from_row, int from0, To* to, size_t to_row,
                                        int to0) const {
    for (int r = 0; r < rows; ++r)
      std::copy_n(from + (from0 + r) * from_row + u0 * kLanes, units(), to + (to0 + r) * to_row + u0 * kLanes);
  }

  // dh⁻ += Wᵀ δ, of the units that the product saw
  [[gnu::always_inline]] void add_product_with(const float* delta) {
    for (int u = u0; u < u1; u += kPanel) {
      const int width = std::min(kPanel, u1 - u);
      const float* WT = all.WT_ + static_cast<size_t>(gate_width) * u * kLanes;
      product(rows, width, gate_width, delta, gate_width, WT, width * kLanes,
              (p.h_mask ? from_delta : dh) + u * kLanes, Hp, !p.h_mask);
    }
    if (p.h_mask)
      for (int r = 0; r < rows; ++r)
        for (int j = 0; j < units(); ++j)
          dh[own(r) + j] += from_delta[own(r) + j] * p.h_mask[static_cast<size_t>(first + r) * p.H + u0 * kLanes + j];
  }

  // What crosses a reset goes to what the reset goes back to, if anybody asks for that, and no further; what comes to a
  // cut goes nowhere.
  [[gnu::always_inline]] void accumulate_and_clear(float* from, float* to, int r) const {
    const int number = (u1 - u0) * kLanes;
    from += own(r);
    if (to)
      for (int j = 0; j < number; ++j) to[own(r) + j] += from[j];
    std::fill_n(from, number, 0.0f);
  }

  // From ∂C/∂(h, c) after the step to δ, and to ∂C/∂(h, c) before it, less Wᵀ δ.
  [[gnu::always_inline]] void step_units(int t, int u, float* delta) {
    const int lanes = all.lanes_of(u), vectors = all.vectors;
    Before before{};
    load_extra<Cell::kExtra>(all, p.p, u, before.extra);
    Vec sums[3] = {};
    for (int r = 0; r < rows; ++r) {
      const size_t at = all.row(t, first + r), here = static_cast<size_t>(r) * Hp + u * kLanes;
      Real* saved_here = p.saved + (at * vectors + u) * S * kLanes;
      float* at_h = delta + (static_cast<size_t>(r) * vectors + u) * G * kLanes;
      const Vec dh_out = p.dhs ? load(p.dhs + at * p.H + u * kLanes, lanes) : Vec{};
      if (!all.valid(at)) {  // the state stayed, and so does its gradient
        store(dh + here, load(dh + here) + dh_out);
        for (int s = 0; s < S; ++s) store(saved_here + s * kLanes, Vec{});
        for (int g = 0; g < G; ++g) store(at_h + g * kLanes, Vec{});
        continue;
      }
      Vec saved[S], d[S];
      for (int s = 0; s < S; ++s) saved[s] = load(saved_here + s * kLanes);
      before.h = load(all.h_before(t, first + r) + u * kLanes, lanes);
      Vec c{};
      if (Cell::kHasC) {
        before.c = load(all.c_before(t, first + r) + u * kLanes, lanes);
        c = load(p.cs + at * Hp + u * kLanes);
      }
      Back later{load(dh + here) + dh_out, load(dc + here)}, stayed{};
      if (zones_out) {
        stayed.dh = all.stays(p.h_stays, p.h_stay_rate, at, u) * later.dh;
        if (Cell::kHasC) stayed.dc = all.stays(p.c_stays, p.c_stay_rate, at, u) * later.dc;
        later = {later.dh - stayed.dh, later.dc - stayed.dc};
        if (Cell::kHasC) c = Cell::made_c(saved, before);
      }
      const Back back = Cell::backward(saved, before, c, later, d, sums);
      store(dh + here, back.dh + stayed.dh);
      store(dc + here, back.dc + stayed.dc);
      for (int s = 0; s < S; ++s) store(saved_here + s * kLanes, d[s]);
      for (int g = 0; g < G; ++g) store(at_h + g * kLanes, d[Cell::kAtH[g]]);
    }
    if (Cell::kExtra == Extra::peepholes)
      for (int n = 0; n < 3; ++n) store(dp + n * Hp + u * kLanes, load(dp + n * Hp + u * kLanes) + sums[n]);
  }

  const Backward& all;
  const RecurrenceArgs<Real>& p;
  const int Hp, gate_width, first, rows, u0, u1;
  const bool resets, zones_out;
  float *dp, *dh, *dc, *dh_reset, *dc_reset, *from_delta;
  float* deltas[2];  // of a step and the one before it, where parts of the units meet; else one and the same
};

}  // namespace jbptt
