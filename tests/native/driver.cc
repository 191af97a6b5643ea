// Runs every kernel over odd sizes, alone and with helpers, for sanitizers to watch; and sees that helpers change nothing.
#include <cstdio>
#include <cmath>
#include <random>
#include <thread>
#include <vector>

#include "problem.h"

namespace {

using jbptt::Kind;
using Floats = std::vector<float>;

class Threads : public jbptt::Helpers {
 public:
  explicit Threads(int number) : number_(number) {}
  ~Threads() override {
    for (auto& thread : threads_) thread.join();
  }
  int number() const override { return number_; }
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

int blocks(Kind kind) {
  switch (kind) {
    case Kind::lstm: case Kind::lstm_niaf: case Kind::lstm_noaf: return 4;
    case Kind::rnn_tanh: case Kind::rnn_relu: case Kind::rnn_sigmoid: return 1;
    default: return 3;
  }
}

Floats run(Kind kind, int T, int B, int I, int H, bool marked, bool reverse, int helpers) {
  std::mt19937 draw(T * 1000 + B * 100 + I * 10 + H);
  std::normal_distribution<float> normal;
  auto drawn = [&](size_t size) {
    Floats array(size);
    for (float& x : array) x = 0.5f * normal(draw);
    return array;
  };
  const int G = blocks(kind), S = kind == Kind::gru ? 4 : G, Hp = (H + JBPTT_LANES - 1) / JBPTT_LANES * JBPTT_LANES;
  Floats xs = drawn(T * B * I), U = drawn(I * G * H), W = drawn(H * G * H), b = drawn(G * H), p = drawn(3 * H);
  Floats h0 = drawn(B * H), c0 = drawn(B * H), hr = drawn(B * H), cr = drawn(B * H);
  Floats dhs = drawn(T * B * H), dh = drawn(B * H), dc = drawn(B * H);
  std::vector<uint8_t> marks(T * B);
  for (int t = 0; t < T; ++t)
    for (int n = 0; n < B; ++n) {
      marks[t * B + n] = t < (n * T) / B + 1 ? jbptt::kValid : 0;
      if (marks[t * B + n] && (t + n) % 3 == 0) marks[t * B + n] |= jbptt::kReset;
    }
  if (marked)  // padding that is no number
    for (int n = 0; n < T * B * I; ++n)
      if (!(marks[n / I] & jbptt::kValid)) xs[n] = NAN;
  Floats hs(T * B * H), h_last(B * H), c_last(B * H), saved(T * B * S * Hp), cs(T * B * Hp);
  Floats dxs(T * B * I), dU(U.size()), dW(W.size()), db(b.size()), dp(3 * H), dh0(B * H), dc0(B * H), dhr(B * H), dcr(B * H);

  jbptt::Problem problem{};
  problem.kind = kind, problem.T = T, problem.B = B, problem.I = I, problem.H = H, problem.reverse = reverse;
  problem.xs = xs.data(), problem.U = U.data(), problem.W = W.data(), problem.b = b.data();
  if (kind <= Kind::gru) problem.p = p.data();
  problem.h0 = h0.data(), problem.c0 = c0.data();
  if (marked) problem.marks = marks.data(), problem.h_reset = hr.data(), problem.c_reset = cr.data();
  problem.hs = hs.data(), problem.h_last = h_last.data(), problem.c_last = c_last.data();
  problem.saved = saved.data(), problem.cs = cs.data();
  problem.dhs = dhs.data(), problem.dh_last = dh.data(), problem.dc_last = dc.data();
  problem.dxs = dxs.data(), problem.dU = dU.data(), problem.dW = dW.data(), problem.db = db.data(), problem.dp = dp.data();
  problem.dh0 = dh0.data(), problem.dc0 = dc0.data();
  if (marked) problem.dh_reset = dhr.data(), problem.dc_reset = dcr.data();
  Threads threads(helpers);
  jbptt::forward(problem, threads);
  jbptt::backward(problem, threads);
  threads.run_late();

  Floats all;
  if (kind > Kind::gru) dp.clear();
  else if (kind == Kind::gru) dp.resize(H);
  for (const Floats* results : {&hs, &h_last, &c_last, &dxs, &dU, &dW, &db, &dp, &dh0, &dc0, &dhr, &dcr}) all.insert(all.end(), results->begin(), results->end());
  return all;
}

}  // namespace

int main() {
  int failures = 0;
  for (int kind = 0; kind < static_cast<int>(Kind::count); ++kind)
    for (const auto& [T, B, I, H] : {std::array{1, 1, 1, 1}, {4, 3, 5, 17}, {5, 7, 2, 33}, {130, 5, 3, 9}, {2, 26, 70, 66}})
      for (bool marked : {false, true})
        for (bool reverse : {false, true}) {
          const Floats alone = run(static_cast<Kind>(kind), T, B, I, H, marked, reverse, 0);
          const Floats helped = run(static_cast<Kind>(kind), T, B, I, H, marked, reverse, 3);
          for (size_t n = 0; n < alone.size(); ++n)
            if (!std::isfinite(alone[n]) || std::fabs(alone[n] - helped[n]) > 1e-4f * (1 + std::fabs(alone[n]))) {
              std::printf("kind %d, T %d B %d I %d H %d, marked %d, reverse %d: entry %zu is %g alone, %g with helpers\n", kind, T, B, I,
                          H, marked, reverse, n, alone[n], helped[n]);
              ++failures;
              break;
            }
        }
  std::printf("%d failures\n", failures);
  return failures != 0;
}
