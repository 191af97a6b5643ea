// What JAX calls: checks a call's buffers and hands them to the kernels. library.py says how.
#include <algorithm>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <unistd.h>

#include "border.h"
#include "xla/ffi/api/ffi.h"

namespace jbptt {
namespace {

class PoolExecutor : public Executor {
 public:
  explicit PoolExecutor(ffi::ThreadPool pool) : pool_(pool) {}
  int threads() const override { return static_cast<int>(std::max<int64_t>(pool_.num_threads() - 1, 0)); }
  void schedule(std::function<void()> function) override { pool_.Schedule(std::move(function)); }

 private:
  ffi::ThreadPool pool_;
};

template <class Function>
ffi::Error catch_exceptions(Function function) {  // which must not leave C++
  try {
    function();
  } catch (const std::invalid_argument& error) {
    return ffi::Error::InvalidArgument(std::string("jbptt: ") + error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("jbptt: ") + error.what());
  }
  return ffi::Error::Success();
}

template <class Real>
void take_results(Border<Real>& border, Results& results) {
  const auto [T, B, H, Hp, S] = std::tuple(border.T, border.B, border.H, border.Hp, border.kind->saved);
  using Array = Reals<Real>;
  RecurrenceArgs<Real>& args = border.args;
  auto hs = results.next<Array>(), h_last = results.next<Array>(), c_last = results.next<Array>();
  auto saved = results.next<Array>(), cs = results.next<Array>();
  auto scratch = results.next<F32>();
  args.hs = data("hs", "[T, B, H]", *hs, {T, B, H});
  args.h_last = data("h_last", "[B, H]", *h_last, {B, H});
  args.c_last = border.c("c_last", *c_last);
  args.saved = data_or_null("saved", "[T, B, S·Hp]", *saved, {T, B, S * Hp});
  if (args.saved && border.kind->has_c) args.cs = data("cs", "[T, B, Hp]", *cs, {T, B, Hp});
  else must_be_nothing("cs", *cs, args.saved ? "the kind has no c" : "nothing is saved");
  border.take_scratch(*scratch, forward_scratch(*border.kind, args.I, args.H, kWidens<Real>));
}

template <class Real>
void take_cotangents(Border<Real>& border, Given& given, Results& results) {
  const auto [T, B, I, H, Hp, S] = std::tuple(border.T, border.B, border.I, border.H, border.Hp, border.kind->saved);
  using Array = Reals<Real>;
  RecurrenceArgs<Real>& args = border.args;
  Array hs = given.next<Array>(), saved = given.next<Array>(), cs = given.next<Array>();
  Array dhs = given.next<Array>(), dh_last = given.next<Array>(), dc_last = given.next<Array>();
  args.hs = data("hs", "[T, B, H]", hs, {T, B, H});
  const Real* from = data("saved", "[T, B, S·Hp]", saved, {T, B, S * Hp});
  if (border.kind->has_c) args.cs = data("cs", "[T, B, Hp]", cs, {T, B, Hp});
  else must_be_nothing("cs", cs, "the kind has no c");
  args.dhs = data_or_null("dhs", "[T, B, H]", dhs, {T, B, H});
  args.dh_last = data_or_null("dh_last", "[B, H]", dh_last, {B, H});
  args.dc_last = border.c_or_null("dc_last", dc_last);

  auto dxs = results.next<Array>();
  auto dU = results.next<F32>(), dW = results.next<F32>(), db = results.next<F32>(), dp = results.next<F32>();
  auto dh0 = results.next<Array>(), dc0 = results.next<Array>();
  auto dh_reset = results.next<Array>(), dc_reset = results.next<Array>(), delta = results.next<Array>();
  auto scratch = results.next<F32>();
  if (args.indices) must_be_nothing("dxs", *dxs, "there are indices");
  args.dxs = data_or_null("dxs", "[T, B, I]", *dxs, {T, B, I});
  args.dU = data_or_null("dU", "[I, G·H]", *dU, {I, border.GH});
  args.dW = data_or_null("dW", "[H, G·H]", *dW, {H, border.GH});
  args.db = data_or_null("db", "[G·H]", *db, {border.GH});
  args.dp = border.extra("dp", *dp);
  if (!args.dU != !args.dW) refuse("dU and dW must both be wanted, or neither");
  if (!args.dW && (args.db || args.dp)) refuse("db and dp must be nothing where dU and dW are");
  args.dh0 = data_or_null("dh0", "[B, H]", *dh0, {B, H});
  args.dc0 = border.c_or_null("dc0", *dc0);
  args.dh_reset = data_or_null("dh_reset", "[B, H]", *dh_reset, {B, H});
  args.dc_reset = border.c_or_null("dc_reset", *dc_reset);
  if ((args.dh_reset || args.dc_reset) && !args.h_reset)
    refuse("dh_reset and dc_reset must be nothing where h_reset is");
  args.saved = data("delta", "[T, B, S·Hp]", *delta, {T, B, S * Hp});
  if (args.saved != from) std::copy_n(from, saved.element_count(), args.saved);
  border.take_scratch(
      *scratch, backward_scratch(*border.kind, T * B, args.I, args.H, args.dW, args.dxs, kWidens<Real>));
}

// The recurrences of a call: of the kinds that are listed, with spaces between them; a bit of `reverse` for each.
std::vector<std::string_view> kinds_of(std::string_view kinds) {
  std::vector<std::string_view> found;
  for (size_t end; !kinds.empty(); kinds.remove_prefix(std::min(end + 1, kinds.size())))
    found.push_back(kinds.substr(0, end = std::min(kinds.find(' '), kinds.size())));
  if (found.empty()) refuse("there must be a kind");
  return found;
}

bool bit(int64_t bits, size_t n) { return n < 64 && (bits >> n & 1); }  // 0 past the last

template <class Real>
void must_be_of_one_sequence(const std::deque<Border<Real>>& borders) {
  for (const Border<Real>& border : borders)
    if (borders.size() > 1 && (border.B != 1 || border.T != borders.front().T))
      refuse("several recurrences at once must be of one sequence each, as long as the first, of T = ",
             borders.front().T, ", got T = ", border.T, " and B = ", border.B);
}

template <class Real>
ffi::Error forward_of(ffi::ThreadPool pool, std::string_view kinds, int64_t reverse, bool chained,
                      ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return catch_exceptions([&] {
    PoolExecutor executor(pool);
    Given given(args);
    Results results(rets);
    std::deque<Border<Real>> borders;
    std::vector<std::unique_ptr<Recurrence>> recurrences;
    for (std::string_view kind : kinds_of(kinds)) {
      const Border<Real>* below = chained && !borders.empty() ? &borders.back() : nullptr;
      auto& border = borders.emplace_back(kind, bit(reverse, borders.size()), below, Arguments<Real>(given));
      take_results(border, results);
      const Makers<Real>& makers = border.kind->template of<Real>();
      recurrences.push_back(makers.forward(*border.kind, border.args, executor.threads() + 1));
    }
    given.must_be_all(), results.must_be_all();
    must_be_of_one_sequence(borders);
    run_together(recurrences, chained, executor);
  });
}

template <class Real>
ffi::Error backward_of(ffi::ThreadPool pool, std::string_view kinds, int64_t reverse, bool chained,
                       ffi::RemainingArgs args, ffi::RemainingRets rets) {
  return catch_exceptions([&] {
    PoolExecutor executor(pool);
    Given given(args);
    Results results(rets);
    std::deque<Border<Real>> borders;
    for (std::string_view kind : kinds_of(kinds)) {
      Border<Real>* below = chained && !borders.empty() ? &borders.back() : nullptr;
      auto& border = borders.emplace_back(kind, bit(reverse, borders.size()), below, Arguments<Real>(given));
      take_cotangents(border, given, results);
      if (!below) continue;
      if (!border.args.dxs) refuse("dxs must be wanted of a recurrence above another");
      if (below->args.dhs) refuse("dhs must be an array of nothing, as they are the dxs of the recurrence above");
      border.args.hands_down = true;
      below->args.dhs = border.args.dxs;
    }
    given.must_be_all(), results.must_be_all();
    must_be_of_one_sequence(borders);
    std::vector<std::unique_ptr<Recurrence>> recurrences;
    for (Border<Real>& border : borders) {
      const Makers<Real>& makers = border.kind->template of<Real>();
      recurrences.push_back(makers.backward(*border.kind, border.args, executor.threads() + 1));
    }
    std::reverse(recurrences.begin(), recurrences.end());  // from the top down
    run_together(recurrences, chained, executor);
  });
}

// Whether a call's arrays are bfloat16: its U is, which all have.
bool is_of_bfloat16(const ffi::RemainingArgs& args) {
  constexpr size_t at_U = 2;
  const auto U = args.get<ffi::AnyBuffer>(at_U);
  return U.has_value() && U->element_type() == ffi::BF16;
}

ffi::Error call_forward(ffi::ThreadPool pool, std::string_view kinds, int64_t reverse, bool chained,
                        ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const auto call = is_of_bfloat16(args) ? forward_of<Bfloat16> : forward_of<float>;
  return call(pool, kinds, reverse, chained, args, rets);
}

ffi::Error call_backward(ffi::ThreadPool pool, std::string_view kinds, int64_t reverse, bool chained,
                         ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const auto call = is_of_bfloat16(args) ? backward_of<Bfloat16> : backward_of<float>;
  return call(pool, kinds, reverse, chained, args, rets);
}

auto bind() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<std::string_view>("kinds")
      .Attr<int64_t>("reverse")
      .Attr<bool>("chained")
      .RemainingArgs()
      .RemainingRets();
}

}  // namespace

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(jbptt_forward, call_forward, bind());
XLA_FFI_DEFINE_HANDLER_SYMBOL(jbptt_backward, call_backward, bind());

// For Python: what the library was built from, the minor version of XLA's interface, the floats in a vector, the bytes
// of a core's second cache, the kinds, and the best instruction set of this machine.
extern "C" const char* jbptt_sources_digest() { return JBPTT_SOURCES_DIGEST; }

extern "C" int jbptt_ffi_version() { return XLA_FFI_API_MINOR; }

extern "C" int jbptt_lanes() { return lanes(); }

extern "C" int jbptt_second_cache() {
  long told = 0;
#ifdef _SC_LEVEL2_CACHE_SIZE
  told = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
  return told > 0 && told < (1l << 30) ? static_cast<int>(told) : 1 << 20;
}

extern "C" const char* jbptt_kinds() {
  static const std::string text = [] {
    std::ostringstream text;
    constexpr const char* extras[] = {"", "peepholes", "bn"};
    for (const Kind& kind : kinds())
      text << (text.tellp() ? ",\n" : "{") << '"' << kind.name << "\": {\"gates\": " << kind.gates
           << ", \"saved\": " << kind.saved << ", \"has_c\": " << (kind.has_c ? "true" : "false") << ", \"extra\": \""
           << extras[static_cast<int>(kind.extra)] << "\", \"at_x\": " << listed(kind.at_x, kind.at_x + kind.gates)
           << ", \"at_h\": " << listed(kind.at_h, kind.at_h + kind.gates) << "}";
    return text.str() + "}";
  }();
  return text.c_str();
}

// Floats of scratch: of all, of each thread, of each row of the batch. `kind` is one of jbptt_kinds(), rows are T·B,
// widens: whether the arrays are bfloat16.
extern "C" void jbptt_scratch(const char* kind, int backward, int64_t rows, int I, int H, int of_weights, int of_xs,
                              int widens, size_t* floats) {
  const Kind& found = *find_kind(kind);
  const ScratchSize size = backward ? backward_scratch(found, rows, I, H, of_weights, of_xs, widens)
                                    : forward_scratch(found, I, H, widens);
  floats[0] = size.fixed, floats[1] = size.per_thread, floats[2] = size.per_row;
}

extern "C" const char* jbptt_instruction_set() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "portable";
}

#pragma GCC visibility pop

}  // namespace jbptt
