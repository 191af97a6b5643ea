// The functions of a vector against the standard library's in double, and every tile of a product against loops.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "product.h"

namespace {

using jbptt::kLanes;
using jbptt::Vec;

// The largest relative error over a range, where the function is no smaller than the smallest normal number.
template <class Function, class Exact>
double error_of(Function function, Exact exact, float from, float to, int points) {
  double largest = 0;
  for (int n = 0; n < points; n += kLanes) {
    float x[kLanes], y[kLanes];
    for (int l = 0; l < kLanes; ++l) x[l] = from + (to - from) * static_cast<float>(n + l) / points;
    jbptt::store(y, function(jbptt::load(x)));
    for (int l = 0; l < kLanes; ++l) {
      const double expected = exact(static_cast<double>(x[l]));
      if (std::fabs(expected) < 1.2e-38) continue;
      const double error = std::fabs(y[l] - expected) / std::fabs(expected);
      if (!(error <= largest)) largest = error;  // NaN too
    }
  }
  return largest;
}

int failures = 0;

void expect(const char* name, double error, double most) {
  if (!(error <= most)) ++failures, std::printf("%s: relative error %.3g, at most %.3g\n", name, error, most);
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void functions() {
  const auto exponential = [](double x) { return std::exp(x); };
  const auto tangent = [](double x) { return std::tanh(x); };
  for (float bound : {1e-3f, 0.6f, 2.0f, 20.0f, 87.0f}) {
    expect("exponential", error_of(jbptt::exponential, exponential, -bound, bound, 1 << 18), 3e-7);
    expect("sigmoid", error_of(jbptt::sigmoid, sigmoid, -bound, bound, 1 << 18), 3e-7);
    expect("hyperbolic_tangent", error_of(jbptt::hyperbolic_tangent, tangent, -bound, bound, 1 << 18), 3e-7);
  }
  const Vec far = Vec{} + 1e30f, none = Vec{} + NAN;
  if (jbptt::sigmoid(far)[0] != 1 || !(jbptt::sigmoid(-far)[0] < 1e-37f)) ++failures, std::printf("sigmoid(±1e30)\n");
  if (jbptt::hyperbolic_tangent(-far)[0] != -1) ++failures, std::printf("hyperbolic_tangent(-1e30)\n");
  if (!std::isnan(jbptt::sigmoid(none)[0]) || !std::isnan(jbptt::hyperbolic_tangent(none)[0]))
    ++failures, std::printf("what is no number becomes one\n");
}

// C (+)= A B of `rows` by `width` vectors, with rows further apart than they are wide and vectors further apart than
// they are long, if at all: what lies between is not to be touched.
void product(int rows, int width, int K, bool add, int between_vectors) {
  std::mt19937 draw(rows * 1000 + width * 100 + K);
  std::normal_distribution<float> normal;
  const int columns = width * kLanes, a_row = K + 3, c_vector = kLanes + between_vectors, c_row = width * c_vector + 5;
  std::vector<float> a(rows * a_row), packed(K * columns), c(rows * c_row);
  for (auto* array : {&a, &packed, &c})
    for (float& x : *array) x = normal(draw);
  const std::vector<float> before = c;
  jbptt::product(rows, width, K, a.data(), a_row, packed.data(), columns, c.data(), c_row, c_vector, add);
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < c_row; ++j) {
      const int vector = j / c_vector, column = vector * kLanes + j % c_vector;
      const bool in_c = vector < width && j % c_vector < kLanes;
      double sum = add || !in_c ? before[i * c_row + j] : 0, size = std::fabs(sum) + 1;
      for (int k = 0; k < K && in_c; ++k) {
        const double term = static_cast<double>(a[i * a_row + k]) * packed[k * columns + column];
        sum += term, size += std::fabs(term);
      }
      if (std::fabs(c[i * c_row + j] - sum) <= 1e-6 * size * in_c) continue;
      ++failures;
      std::printf("product of %d rows, %d vectors, K %d, add %d: entry %d, %d is %g, not %g\n", rows, width, K, add, i,
                  j, c[i * c_row + j], sum);
      return;
    }
}

void transposition() {
  Vec rows[kLanes];
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < kLanes; ++j) rows[i][j] = static_cast<float>(i * kLanes + j);
  jbptt::transpose(rows);
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < kLanes; ++j)
      if (rows[i][j] != j * kLanes + i) return ++failures, void(std::printf("transpose: entry %d, %d\n", i, j));
}

float of_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// The nearer of the two bfloat16 around |x|, of two as near the one whose last bit is 0.
uint32_t nearest_half(uint32_t bits) {
  const uint32_t below = bits >> 16, lower = bits & 0xffff;
  return lower > 0x8000 || (lower == 0x8000 && below % 2) ? below + 1 : below;
}

// Every bfloat16 as a float, and floats around each as bfloat16, by vectors, parts of vectors, and one by one.
void bfloat16() {
  for (uint32_t half = 0; half < 1 << 16; half += kLanes)
    for (uint32_t lower : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      float x[kLanes];
      for (int l = 0; l < kLanes; ++l) x[l] = of_bits((half + l) << 16 | lower);
      for (int n : {1, kLanes - 1, kLanes}) {
        jbptt::Bfloat16 made[kLanes], untouched{};
        untouched.upper_half = 0x1234;
        for (auto& one : made) one = untouched;
        jbptt::store(made, jbptt::load(x), n);
        const Vec read = jbptt::load(made, n);
        for (int l = 0; l < kLanes; ++l) {
          const uint32_t got = made[l].upper_half, want = l < n ? nearest_half((half + l) << 16 | lower) : 0x1234;
          const bool nan = std::isnan(x[l]) && l < n;
          const bool right = nan ? std::isnan(of_bits(got << 16)) : got == want;
          const float back = read[l], expected = l < n ? of_bits(got << 16) : 0.0f;
          const bool one_by_one = jbptt::Bfloat16(x[l]).upper_half == got || l >= n;
          if (right && one_by_one && (nan ? std::isnan(back) : back == expected)) continue;
          ++failures, std::printf("bfloat16 of %g, %d of a vector: %x, not %x; read as %g\n", x[l], n, got, want, back);
          return;
        }
      }
    }
}

}  // namespace

int main() {
  functions();
  bfloat16();
  transposition();
  for (int rows = 1; rows <= 2 * jbptt::kTileRows + 1; ++rows)
    for (int width = 1; width <= 2 * jbptt::kPanel + 1; ++width)
      for (int K : {0, 1, 7, 33, jbptt::kChain + 1})
        for (bool add : {false, true})
          for (int between_vectors : {0, 3}) product(rows, width, K, add, between_vectors);
  std::printf("%d failures\n", failures);
  return failures != 0;
}
