// What JAX calls: hands a call's buffers to the kernels.
#include <algorithm>
#include <cstdint>
#include <exception>
#include <vector>

#include "problem.h"
#include "xla/ffi/api/ffi.h"

namespace jbptt {
namespace {

namespace ffi = xla::ffi;
using F32 = ffi::Buffer<ffi::F32>;
using U8 = ffi::Buffer<ffi::U8>;
using Out = ffi::Result<F32>;

class PoolHelpers : public Helpers {
 public:
  explicit PoolHelpers(ffi::ThreadPool pool) : pool_(pool) {}
  int number() const override { return static_cast<int>(std::max<int64_t>(pool_.num_threads() - 1, 0)); }
  void schedule(std::function<void()> function) override { pool_.Schedule(std::move(function)); }

 private:
  ffi::ThreadPool pool_;
};

template <class Array>
auto* some(Array& array) {  // null for an array of nothing
  return array.element_count() ? array.typed_data() : nullptr;
}

Problem described(int32_t kind, bool reverse, F32 xs, F32 U, F32 W, F32 b, F32 p, F32 h0, F32 c0, U8 marks, F32 h_reset,
                  F32 c_reset) {
  Problem problem{};
  problem.kind = static_cast<Kind>(kind);
  problem.reverse = reverse;
  problem.T = xs.dimensions()[0];
  problem.B = xs.dimensions()[1];
  problem.I = xs.dimensions()[2];
  problem.H = W.dimensions()[0];
  problem.xs = xs.typed_data();
  problem.U = U.typed_data();
  problem.W = W.typed_data();
  problem.b = some(b);
  problem.p = some(p);
  problem.h0 = h0.typed_data();
  problem.c0 = some(c0);
  problem.marks = some(marks);
  problem.h_reset = some(h_reset);
  problem.c_reset = some(c_reset);
  return problem;
}

template <class Function>
ffi::Error told(Function function) {  // of an exception, which must not leave C++
  try {
    function();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
  return ffi::Error::Success();
}

ffi::Error call_forward(ffi::ThreadPool pool, int32_t kind, bool reverse, F32 xs, F32 U, F32 W,
                   F32 b, F32 p, F32 h0, F32 c0, U8 marks, F32 h_reset, F32 c_reset, Out hs, Out h_last, Out c_last,
                   Out saved, Out cs) {
  Problem problem = described(kind, reverse, xs, U, W, b, p, h0, c0, marks, h_reset, c_reset);
  problem.hs = hs->typed_data();
  problem.h_last = h_last->typed_data();
  problem.c_last = some(*c_last);
  problem.saved = some(*saved);
  problem.cs = some(*cs);
  PoolHelpers helpers(pool);
  return told([&] { jbptt::forward(problem, helpers); });
}

ffi::Error call_backward(ffi::ThreadPool pool, int32_t kind, bool reverse, F32 xs, F32 U,
                    F32 W, F32 b, F32 p, F32 h0, F32 c0, U8 marks, F32 h_reset, F32 c_reset, F32 hs, F32 saved, F32 cs,
                    F32 dhs, F32 dh_last, F32 dc_last, Out dxs, Out dU, Out dW, Out db, Out dp, Out dh0, Out dc0,
                    Out dh_reset, Out dc_reset, Out delta) {
  Problem problem = described(kind, reverse, xs, U, W, b, p, h0, c0, marks, h_reset, c_reset);
  problem.hs = hs.typed_data();
  if (delta->typed_data() != saved.typed_data())
    std::copy_n(saved.typed_data(), saved.element_count(), delta->typed_data());
  problem.saved = delta->typed_data();
  problem.cs = some(cs);
  problem.dhs = dhs.typed_data();
  problem.dh_last = dh_last.typed_data();
  problem.dc_last = some(dc_last);
  problem.dxs = some(*dxs);
  problem.dU = some(*dU);
  problem.dW = some(*dW);
  problem.db = some(*db);
  problem.dp = some(*dp);
  problem.dh0 = dh0->typed_data();
  problem.dc0 = some(*dc0);
  problem.dh_reset = some(*dh_reset);
  problem.dc_reset = some(*dc_reset);
  PoolHelpers helpers(pool);
  return told([&] { jbptt::backward(problem, helpers); });
}

template <class Binding>
auto described_by(Binding&& binding) {  // the attributes and arguments that both directions have
  return std::move(binding).template Attr<int32_t>("kind")
      .template Attr<bool>("reverse")
      .template Arg<F32>()   // xs
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
                              described_by(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                                  .Ret<F32>()    // hs
                                  .Ret<F32>()    // h_last
                                  .Ret<F32>()    // c_last
                                  .Ret<F32>()    // saved
                                  .Ret<F32>());  // cs

XLA_FFI_DEFINE_HANDLER_SYMBOL(jbptt_backward, call_backward,
                              described_by(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
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
                                  .Ret<F32>());  // δ, in the place of saved

// For Python: what the library was built from, the minor version of XLA's interface, the floats in a vector, and the best
// instruction set of this machine.
extern "C" const char* jbptt_sources_digest() { return JBPTT_SOURCES_DIGEST; }

extern "C" int jbptt_ffi_version() { return XLA_FFI_API_MINOR; }

extern "C" int jbptt_lanes() { return JBPTT_LANES; }

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
