// Runs every kernel over odd sizes, alone and with helpers, whatever results are wanted, for sanitizers to watch; and
// sees that neither helpers nor what else is wanted change a result, and that bfloat16 changes little.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <deque>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "recurrence_args.h"

namespace {

using Floats = std::vector<float>;

class Threads : public jbptt::Executor {
 public:
  explicit Threads(int threads) : number_(threads) {}
  ~Threads() override {
    for (auto& thread : threads_) thread.join();
  }
  int threads() const override { return number_; }
  void schedule(std::function<void()> function) override {
    if (++scheduled_ % 3 == 0) late_.push_back(function);  // some come when all is done
    else threads_.emplace_back(std::move(function));
  }
  void run_late() {
    for (auto& function : late_) function();
  }

 private:
  int number_, scheduled_ = 0;
  std::vector<std::thread> threads_;
  std::vector<std::function<void()>> late_;
};

enum class Inputs { any, one_hot, indices };

struct Case {
  int T, B, I, H;
  bool marked, reverse;
  Inputs inputs = Inputs::any;
  bool masked = false;  // with recurrent dropout and zoneout
};

enum class Cotangents { given, zeros, nothing };

// What a backward is asked for.
struct Wanted {
  bool weights = true, xs = true, state = true, resets = true;
  Cotangents cotangents = Cotangents::given;  // of the last state
};

// Wanted results, one after the other; each array by itself, so that a sanitizer sees its ends.
using Results = std::vector<Floats>;

template <class Real = float>
Results run(const jbptt::Kind& kind, const Case& now, const Wanted& wanted, int helpers, int memory_of) {
  using Reals = std::vector<Real>;
  const auto [T, B, I, H, marked, reverse, inputs, masked] = now;
  std::mt19937 draw(T * 1000 + B * 100 + I * 10 + H);
  std::normal_distribution<float> normal;
  auto drawn = [&](size_t size) {
    Reals array(size);
    for (Real& x : array) x = jbptt::Bfloat16(0.5f * normal(draw));  // the same numbers in either
    return array;
  };
  const int G = kind.gates, S = kind.saved, Hp = (H + jbptt::lanes() - 1) / jbptt::lanes() * jbptt::lanes();
  const int extra = jbptt::vectors_of(kind.extra) * H;
  Reals xs = drawn(T * B * I), U = drawn(I * G * H), W = drawn(H * G * H), b = drawn(G * H), p = drawn(extra);
  for (Real& w : W) w = jbptt::Bfloat16(float(w) * 1.5f / std::sqrt(static_cast<float>(H)));  // or roundings would grow
  Reals h0 = drawn(B * H), c0 = drawn(B * H), hr = drawn(B * H), cr = drawn(B * H);
  Reals dhs = drawn(T * B * H), dh = drawn(B * H), dc = drawn(B * H);
  std::vector<uint8_t> marks(T * B);
  for (int t = 0; t < T; ++t)
    for (int n = 0; n < B; ++n) {
      marks[t * B + n] = t < (n * T) / B + 1 ? jbptt::kValid : 0;
      if (marks[t * B + n] && (t + n) % 3 == 0) marks[t * B + n] |= jbptt::kReset;
      if (marks[t * B + n] && (t + n) % 4 == 0) marks[t * B + n] |= jbptt::kCut;
    }
  Reals h_mask(B * H);
  for (Real& x : h_mask) x = draw() % 2 ? 2.0f : 0.0f;
  std::vector<int32_t> indices(T * B);
  for (int n = 0; n < T * B; ++n) indices[n] = static_cast<int32_t>(draw() % (I + 2)) - 1;  // some are out of range
  if (inputs == Inputs::one_hot)
    for (int n = 0; n < T * B * I; ++n) xs[n] = indices[n / I] == n % I ? 1.0f : 0.0f;
  if (marked && inputs == Inputs::any)  // padding that is no number
    for (int n = 0; n < T * B * I; ++n)
      if (!(marks[n / I] & jbptt::kValid)) xs[n] = NAN;

  auto array = [](bool wanted, size_t size) { return Reals(wanted ? size : 0, NAN); };
  auto sums = [](bool wanted, size_t size) { return Floats(wanted ? size : 0, NAN); };
  auto of = [](auto& array) { return array.empty() ? nullptr : array.data(); };
  const bool has_c = kind.has_c, resets = marked && wanted.resets;
  Reals hs = array(true, T * B * H), h_last = array(true, B * H), c_last = array(has_c, B * H);
  Reals saved = array(true, T * B * S * Hp), cs = array(has_c, T * B * Hp);
  Reals dxs = array(wanted.xs && inputs == Inputs::any, T * B * I);
  Floats dU = sums(wanted.weights, U.size()), dW = sums(wanted.weights, W.size());
  Floats db = sums(wanted.weights, b.size()), dp = sums(wanted.weights, extra);
  Reals dh0 = array(wanted.state, B * H), dc0 = array(wanted.state && has_c, B * H);
  Reals dhr = array(resets, B * H), dcr = array(resets && has_c, B * H);

  jbptt::RecurrenceArgs<Real> args{};
  const bool picked = inputs == Inputs::indices;
  args.T = T, args.B = B, args.I = picked ? 0 : I, args.H = H, args.reverse = reverse;
  args.indices = picked ? indices.data() : nullptr, args.rows_of_U = I;
  args.xs = picked ? nullptr : xs.data(), args.U = U.data(), args.W = W.data(), args.b = b.data(), args.p = of(p);
  args.h0 = h0.data(), args.c0 = has_c ? c0.data() : nullptr;
  if (marked) args.marks = marks.data(), args.h_reset = hr.data(), args.c_reset = has_c ? cr.data() : nullptr;
  std::vector<uint8_t> stays(T * B * H);
  for (uint8_t& flag : stays) flag = draw() % 3 == 0;
  if (masked) args.h_mask = h_mask.data(), args.h_stays = stays.data(), args.c_stay_rate = 0.25f;
  args.hs = hs.data(), args.h_last = h_last.data(), args.c_last = of(c_last);
  args.saved = saved.data(), args.cs = of(cs);
  if (wanted.cotangents == Cotangents::zeros) dh.assign(dh.size(), 0.0f), dc.assign(dc.size(), 0.0f);
  if (wanted.cotangents != Cotangents::nothing) args.dh_last = dh.data(), args.dc_last = has_c ? dc.data() : nullptr;
  args.dhs = dhs.data(), args.dxs = of(dxs);
  args.dU = of(dU), args.dW = of(dW), args.db = of(db), args.dp = of(dp);
  args.dh0 = of(dh0), args.dc0 = of(dc0), args.dh_reset = of(dhr), args.dc_reset = of(dcr);

  Threads threads(helpers);
  auto with_scratch = [&](const jbptt::ScratchSize& size) {
    Floats scratch(size.of(B, memory_of), NAN);
    args.scratch = scratch.data(), args.scratch_floats = scratch.size();
    return scratch;
  };
  {
    const Floats scratch = with_scratch(jbptt::forward_scratch(kind, args.I, H, jbptt::kWidens<Real>));
    run_alone(*kind.template of<Real>().forward(kind, args, helpers + 1), threads);
  }
  {
    const Floats scratch =
        with_scratch(jbptt::backward_scratch(kind, T * B, args.I, H, args.dW, args.dxs, jbptt::kWidens<Real>));
    run_alone(*kind.template of<Real>().backward(kind, args, helpers + 1), threads);
  }
  threads.run_late();
  auto floats = [](const Reals& array) { return Floats(array.begin(), array.end()); };
  return {floats(hs), floats(h_last), floats(c_last), floats(dxs), dU, dW, db, dp,
          floats(dh0), floats(dc0), floats(dhr), floats(dcr)};
}

// Three layers of one sequence: by themselves, or at once, above each other or side by side. All results, layer by
// layer.
template <class Real = float>
Results run_layers(const jbptt::Kind& kind, int T, int H, bool chained, bool at_once, int helpers) {
  constexpr int kLayers = 3;
  std::mt19937 draw(T);
  std::normal_distribution<float> normal;
  const int G = kind.gates, S = kind.saved, Hp = (H + jbptt::lanes() - 1) / jbptt::lanes() * jbptt::lanes();
  std::array<jbptt::RecurrenceArgs<Real>, kLayers> all{};
  std::deque<std::vector<Real>> memory;
  std::deque<Floats> of_sums;
  auto array = [&](size_t size, bool drawn) {
    auto& made = memory.emplace_back(size, NAN);
    if (drawn)
      for (Real& x : made) x = 0.1f * normal(draw);
    return made.data();
  };
  auto sums = [&](size_t size) { return of_sums.emplace_back(size, NAN).data(); };
  for (int n = 0; n < kLayers; ++n) {
    jbptt::RecurrenceArgs<Real>& args = all[n];
    args.T = T, args.B = 1, args.I = args.H = args.rows_of_U = H, args.reverse = !chained && n == 1;
    args.xs = chained && n ? all[n - 1].hs : array(T * H, true);
    args.U = array(H * G * H, true), args.W = array(H * G * H, true), args.b = array(G * H, true);
    args.h0 = array(H, true), args.c0 = array(H, true);
    args.hs = array(T * H, false), args.h_last = array(H, false), args.c_last = array(H, false);
    args.saved = array(T * S * Hp, false), args.cs = array(T * Hp, false);
    args.dxs = array(T * H, false), args.dh_last = array(H, true), args.hands_down = at_once && chained && n;
    args.dU = sums(H * G * H), args.dW = sums(H * G * H), args.db = sums(G * H);
    if (kind.extra == jbptt::Extra::peepholes) args.p = array(3 * H, true), args.dp = sums(3 * H);
    if (kind.extra == jbptt::Extra::bn) args.p = array(H, true), args.dp = sums(H);
  }
  for (int n = 0; n < kLayers; ++n)
    all[n].dhs = chained && n + 1 < kLayers ? all[n + 1].dxs : array(T * H, true);
  auto in_turn = [&](bool backward) {
    Threads threads(helpers);
    std::vector<std::unique_ptr<jbptt::Recurrence>> made;
    for (int n = 0; n < kLayers; ++n) {
      jbptt::RecurrenceArgs<Real>& args = all[backward ? kLayers - 1 - n : n];
      constexpr bool widens = jbptt::kWidens<Real>;
      const auto size = backward ? jbptt::backward_scratch(kind, T, H, H, true, true, widens)
                                 : jbptt::forward_scratch(kind, H, H, widens);
      args.scratch_floats = size.of(1, helpers + 1), args.scratch = sums(args.scratch_floats);
      const auto& makers = kind.template of<Real>();
      made.push_back((backward ? makers.backward : makers.forward)(kind, args, helpers + 1));
      if (!at_once) run_alone(*made.back(), threads);
    }
    if (at_once) run_together(made, chained, threads);
    threads.run_late();
  };
  in_turn(false), in_turn(true);
  Results results;
  for (const auto& args : all) {
    for (const Real* from : {args.hs, args.dxs}) results.emplace_back(from, from + T * H);
    for (const float* from : {args.dU, args.dW}) results.emplace_back(from, from + H * G * H);
  }
  return results;
}

// Whose third block, and whose third stage of one part, fails.
class Failing : public jbptt::Recurrence {
 public:
  int busy_threads() const override { return 4; }
  int most_threads() const override { return 4; }
  int preparations() const override { return 0; }
  void prepare(int) override {}
  int batch_slices() const override { return 0; }
  void run_slice(int) override {}
  int blocks() const override { return 5; }
  void run_block(int n) override {
    if (n == 2) throw std::runtime_error("a block that fails");
  }
  int parts_of_units() const override { return 3; }
  int stages() const override { return 5; }
  void run_stage(int part, int stage) override {
    if (part == 1) run_block(stage);
  }
  int completions() const override { return 0; }
  void complete(int, int) override {}
};

// Whether the exception comes, and nobody waits for the block or the stage that failed.
bool is_told_of_failures(int recurrences, bool chained, int helpers) {
  std::vector<std::unique_ptr<jbptt::Recurrence>> all;
  for (int n = 0; n < recurrences; ++n) all.push_back(std::make_unique<Failing>());
  Threads threads(helpers);
  bool told = false;
  try {
    run_together(all, chained, threads);
  } catch (const std::runtime_error&) {
    told = true;
  }
  threads.run_late();
  return told;
}

// The first result of what both have that differs by more than `tolerance` of an entry, or, `of_largest`, of its largest
// entry, if that is more than 1 (a single one may be the little that is left of two), or is no number; −1 for none.
int difference(const Results& a, const Results& b, float tolerance, bool of_largest = false) {
  for (size_t n = 0; n < a.size(); ++n)
    if (!a[n].empty() && !b[n].empty()) {
      float largest = 1;
      for (float x : a[n]) largest = std::max(largest, std::fabs(x));
      for (size_t k = 0; k < a[n].size(); ++k) {
        const float size = of_largest ? largest : 1 + std::fabs(a[n][k]);
        if (!std::isfinite(a[n][k]) || !(std::fabs(a[n][k] - b[n][k]) <= tolerance * size)) return static_cast<int>(n);
      }
    }
  return -1;
}

}  // namespace

int main() {
  int failures = 0;
  for (const jbptt::Kind& kind : jbptt::kinds()) {
    auto told = [&](const char* what, const Case& now, int result) {
      if (result < 0) return;
      std::printf("%s, T %d B %d I %d H %d, marked %d, reverse %d, %s: result %d\n", kind.name, now.T, now.B, now.I,
                  now.H, now.marked, now.reverse, what, result);
      ++failures;
    };
    for (const auto& [T, B, I, H] :
         {std::array{1, 1, 1, 1}, {4, 3, 5, 17}, {5, 7, 2, 33}, {130, 5, 3, 9}, {2, 26, 20, 34}, {1, 210, 5, 18},
          {4, 2, 5, 17}, {50, 1, 3, 24}})  // the last two in parts
      for (bool marked : {false, true})
        for (bool reverse : {false, true}) {
          if (reverse && T == 1) continue;  // the same
          const Case now{T, B, I, H, marked, reverse};
          const Results alone = run(kind, now, {}, 0, 1);
          told("with helpers", now, difference(alone, run(kind, now, {}, 3, 4), 1e-4f));
          Case one_hot = now, indices = now;
          one_hot.inputs = Inputs::one_hot, indices.inputs = Inputs::indices;
          const Results picked = run(kind, indices, {}, 0, 1);
          told("indices", now, difference(run(kind, one_hot, {}, 0, 1), picked, 1e-4f));
          told("indices, with helpers", now, difference(picked, run(kind, indices, {}, 3, 4), 1e-4f));
          Case masked = now;
          masked.masked = true;
          told("masked, with helpers", now, difference(run(kind, masked, {}, 0, 1), run(kind, masked, {}, 3, 4), 1e-4f));
          // A few roundings of what is put out and kept, by which many steps back may be any way off.
          const float rounding = T > 5 ? 1.0f : 0.06f;
          const auto halved = [&](const Case& now, int helpers, int memory_of) {
            const Results of_floats = run(kind, now, {}, 0, 1);
            return difference(of_floats, run<jbptt::Bfloat16>(kind, now, {}, helpers, memory_of), rounding, true);
          };
          told("bfloat16", now, halved(now, 0, 1));
          told("bfloat16, masked, with helpers", masked, halved(masked, 3, 4));
          told("bfloat16, indices, with memory for two", indices, halved(indices, 3, 2));
          told("with memory for two", now, difference(alone, run(kind, now, {}, 3, 2), 1e-4f));
        }
    for (int n = 0; n < 32; ++n) {  // whatever is wanted, that is what it is when all is
      const Case now{4, 5, 3, 10, (n & 8) != 0, false};
      Wanted wanted;
      wanted.weights = n & 1, wanted.xs = n & 2, wanted.state = n & 4, wanted.resets = n & 16;
      told("some results", now, difference(run(kind, now, wanted, 2, 3), run(kind, now, {}, 2, 3), 0));
    }
    for (bool chained : {false, true})
      for (const auto& [T, H] : {std::pair{97, 18}, {150, 16}}) {  // work for two threads
        const Case now{T, 1, H, H, false, false};
        const Results in_turn = run_layers(kind, T, H, chained, false, 1);
        told("at once", now, difference(in_turn, run_layers(kind, T, H, chained, true, 1), 0));
        told("at once, of bfloat16", now,
             difference(run_layers<jbptt::Bfloat16>(kind, T, H, chained, false, 1),
                        run_layers<jbptt::Bfloat16>(kind, T, H, chained, true, 1), 0));
        told("at once, alone", now, difference(in_turn, run_layers(kind, T, H, chained, true, 0), 1e-4f));
      }
    Wanted zeros, nothing;
    zeros.cotangents = Cotangents::zeros, nothing.cotangents = Cotangents::nothing;
    const Case last{3, 4, 2, 9, true, false};
    told("no cotangents", last, difference(run(kind, last, zeros, 0, 1), run(kind, last, nothing, 0, 1), 0));
  }
  for (int recurrences : {1, 3})
    for (bool chained : {false, true})
      for (int helpers : {0, 1, 2})
        if (!is_told_of_failures(recurrences, chained, helpers))
          std::printf("a failure of one of %d, %d helpers\n", recurrences, helpers), ++failures;
  std::printf("%d failures\n", failures);
  return failures != 0;
}
