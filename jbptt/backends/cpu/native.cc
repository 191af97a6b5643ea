// What JAX calls: checks a call's buffers and hands them to the kernels. library.py says how.
#include <algorithm>
#include <cstdint>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>

#include "border.h"
#include "xla/ffi/api/ffi.h"

namespace jbptt {
namespace {

using Out = ffi::Result<F32>;

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

ffi::Error call_forward(ffi::ThreadPool pool, std::string_view kind, bool reverse, F32 xs, S32 indices, F32 U, F32 W,
                        F32 b, F32 p, F32 h0, F32 c0, U8 marks, F32 h_reset, F32 c_reset, Out hs, Out h_last,
                        Out c_last, Out saved, Out cs, Out scratch) {
  return catch_exceptions([&] {
    Arguments given{xs, indices, U, W, b, p, h0, c0, marks, h_reset, c_reset};
    Border border(kind, reverse, given);
    const auto [T, B, I, H, Hp, S] = std::tuple(border.T, border.B, border.I, border.H, border.Hp, border.kind->saved);
    RecurrenceArgs& args = border.args;
    args.hs = data("hs", "[T, B, H]", *hs, {T, B, H});
    args.h_last = data("h_last", "[B, H]", *h_last, {B, H});
    args.c_last = border.c("c_last", *c_last);
    args.saved = data_or_null("saved", "[T, B, S·Hp]", *saved, {T, B, S * Hp});
    if (args.saved && border.kind->has_c) args.cs = data("cs", "[T, B, Hp]", *cs, {T, B, Hp});
    else must_be_nothing("cs", *cs, args.saved ? "the kind has no c" : "nothing is saved");
    border.take_scratch(*scratch, forward_scratch(*border.kind, args.I, args.H));
    PoolExecutor executor(pool);
    border.kind->forward(*border.kind, args, executor);
  });
}

ffi::Error call_backward(ffi::ThreadPool pool, std::string_view kind, bool reverse, F32 xs, S32 indices, F32 U, F32 W,
                         F32 b, F32 p, F32 h0, F32 c0, U8 marks, F32 h_reset, F32 c_reset, F32 hs, F32 saved, F32 cs,
                         F32 dhs, F32 dh_last, F32 dc_last, Out dxs, Out dU, Out dW, Out db, Out dp, Out dh0, Out dc0,
                         Out dh_reset, Out dc_reset, Out delta, Out scratch) {
  return catch_exceptions([&] {
    Arguments given{xs, indices, U, W, b, p, h0, c0, marks, h_reset, c_reset};
    Border border(kind, reverse, given);
    const auto [T, B, I, H, Hp, S] = std::tuple(border.T, border.B, border.I, border.H, border.Hp, border.kind->saved);
    RecurrenceArgs& args = border.args;
    args.hs = data("hs", "[T, B, H]", hs, {T, B, H});
    const float* from = data("saved", "[T, B, S·Hp]", saved, {T, B, S * Hp});
    if (border.kind->has_c) args.cs = data("cs", "[T, B, Hp]", cs, {T, B, Hp});
    else must_be_nothing("cs", cs, "the kind has no c");
    args.dhs = data_or_null("dhs", "[T, B, H]", dhs, {T, B, H});
    args.dh_last = data_or_null("dh_last", "[B, H]", dh_last, {B, H});
    args.dc_last = border.c_or_null("dc_last", dc_last);

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
    border.take_scratch(*scratch, backward_scratch(*border.kind, T * B, args.I, args.H, args.dW, args.dxs));
    PoolExecutor executor(pool);
    border.kind->backward(*border.kind, args, executor);
  });
}

template <class Binding>
auto bind_arguments(Binding&& binding) {  // the attributes and arguments that both directions have
  return std::move(binding).template Attr<std::string_view>("kind")
      .template Attr<bool>("reverse")
      .template Arg<F32>()   // xs
      .template Arg<S32>()   // indices
      .template Arg<F32>()   // U
      .template Arg<F32>()   // W
      .template Arg<F32>()   // b
      .template Arg<F32>()   // p
      .template Arg<F32>()   // h0
      .template Arg<F32>()   // c0
      .template Arg<U8>()    // marks
      .template Arg<F32>()   // h_reset
      .template Arg<F32>();  // c_reset
}

}  // namespace

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(jbptt_forward, call_forward,
                              bind_arguments(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                                  .Ret<F32>()    // hs
                                  .Ret<F32>()    // h_last
                                  .Ret<F32>()    // c_last
                                  .Ret<F32>()    // saved
                                  .Ret<F32>()    // cs
                                  .Ret<F32>());  // scratch

XLA_FFI_DEFINE_HANDLER_SYMBOL(jbptt_backward, call_backward,
                              bind_arguments(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                                  .Arg<F32>()    // hs
                                  .Arg<F32>()    // saved
                                  .Arg<F32>()    // cs
                                  .Arg<F32>()    // dhs
                                  .Arg<F32>()    // dh_last
                                  .Arg<F32>()    // dc_last
                                  .Ret<F32>()    // dxs
                                  .Ret<F32>()    // dU
                                  .Ret<F32>()    // dW
                                  .Ret<F32>()    // db
                                  .Ret<F32>()    // dp
                                  .Ret<F32>()    // dh0
                                  .Ret<F32>()    // dc0
                                  .Ret<F32>()    // dh_reset
                                  .Ret<F32>()    // dc_reset
                                  .Ret<F32>()    // δ, in the place of saved
                                  .Ret<F32>());  // scratch

// For Python: what the library was built from, the minor version of XLA's interface, the floats in a vector, the kinds,
// and the best instruction set of this machine.
extern "C" const char* jbptt_sources_digest() { return JBPTT_SOURCES_DIGEST; }

extern "C" int jbptt_ffi_version() { return XLA_FFI_API_MINOR; }

extern "C" int jbptt_lanes() { return lanes(); }

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

// Floats of scratch: of all, of each thread, of each row of the batch. `kind` is one of jbptt_kinds(), rows are T·B.
extern "C" void jbptt_scratch(const char* kind, int backward, int64_t rows, int I, int H, int of_weights, int of_xs,
                              size_t* floats) {
  const Kind& found = *find_kind(kind);
  const ScratchSize size =
      backward ? backward_scratch(found, rows, I, H, of_weights, of_xs) : forward_scratch(found, I, H);
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
