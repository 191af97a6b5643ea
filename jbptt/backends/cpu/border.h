// What a call's buffers must be: whatever else comes is refused by name, before a kernel reads or writes it.
//
// An array of nothing, with no entries, stands for an argument that there is not and for a result that nobody asks for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "recurrence_args.h"
#include "xla/ffi/api/ffi.h"

namespace jbptt {

namespace ffi = xla::ffi;
using F32 = ffi::Buffer<ffi::F32>;
using BF16 = ffi::Buffer<ffi::BF16>;
using U8 = ffi::Buffer<ffi::U8>;
using S32 = ffi::Buffer<ffi::S32>;
template <class Real>
using Reals = std::conditional_t<std::is_same_v<Real, float>, F32, BF16>;

template <class... Words>
[[noreturn]] void refuse(const Words&... words) {
  std::ostringstream text;
  (text << ... << words);
  throw std::invalid_argument(text.str());
}

template <class Iterator>
std::string listed(Iterator from, Iterator to) {
  std::ostringstream text;
  for (text << "["; from != to; ++from) text << *from << (from + 1 == to ? "" : ", ");
  return text.str() + "]";
}

template <class Dimensions>
std::string listed(const Dimensions& dimensions) {
  return listed(dimensions.begin(), dimensions.end());
}

template <class Array>
auto* entries(Array& array) {
  if constexpr (std::is_same_v<std::remove_const_t<Array>, BF16>)
    return reinterpret_cast<Bfloat16*>(array.typed_data());
  else return array.typed_data();
}

// The data of an array, whose shape must be this.
template <class Array>
auto* data(const char* name, const char* symbols, Array& array, std::initializer_list<int64_t> shape) {
  const auto dimensions = array.dimensions();
  if (!std::equal(dimensions.begin(), dimensions.end(), shape.begin(), shape.end()))
    refuse(name, " must be ", symbols, " = ", listed(shape), ", got ", listed(dimensions));
  return entries(array);
}

// As data; null for an array of nothing.
template <class Array>
auto* data_or_null(const char* name, const char* symbols, Array& array, std::initializer_list<int64_t> shape) {
  return array.element_count() ? data(name, symbols, array, shape) : nullptr;
}

template <class Array>
void must_be_nothing(const char* name, Array& array, std::string_view why) {
  if (array.element_count())
    refuse(name, " must be an array of nothing, as ", why, ", got ", listed(array.dimensions()));
}

// A call's buffers, one after the other.
template <class Given>
class Buffers {
 public:
  explicit Buffers(Given given) : given_(given) {}

  template <class Type>
  auto next() {
    auto buffer = given_.template get<Type>(at_++);
    if (!buffer) refuse("array ", at_ - 1, " of ", given_.size(), ": ", buffer.error().message());
    return *buffer;
  }

  void must_be_all() const {
    if (at_ != given_.size()) refuse("there must be ", at_, " arrays, got ", given_.size());
  }

 private:
  const Given given_;
  size_t at_ = 0;
};

using Given = Buffers<ffi::RemainingArgs>;
using Results = Buffers<ffi::RemainingRets>;

// What both directions have.
template <class Real>
struct Arguments {
  explicit Arguments(Given& given)
      : xs(given.next<Array>()), indices(given.next<S32>()), U(given.next<Array>()), W(given.next<Array>()),
        b(given.next<Array>()), p(given.next<Array>()), h0(given.next<Array>()), c0(given.next<Array>()),
        marks(given.next<U8>()), h_reset(given.next<Array>()), c_reset(given.next<Array>()),
        h_mask(given.next<Array>()), h_stays(given.next<U8>()), c_stays(given.next<U8>()),
        stay_rates(given.next<F32>()) {}

  using Array = Reals<Real>;

  Array xs;
  S32 indices;
  Array U, W, b, p, h0, c0;
  U8 marks;
  Array h_reset, c_reset, h_mask;
  U8 h_stays, c_stays;
  F32 stay_rates;
};

// A recurrence whose arguments are checked, and its sizes, for the rest to be checked against. Its xs are the hs of the
// one below, where there is one.
template <class Real>
struct Border {
  Border(std::string_view name, bool reverse, const Border* below, Arguments<Real> given) : kind(find_kind(name)) {
    if (!kind) refuse("there is no kernel of kind '", name, "'");
    const auto xs = given.xs.dimensions(), indices = given.indices.dimensions();
    const auto U = given.U.dimensions(), W = given.W.dimensions();
    const bool picked = given.indices.element_count();
    if (below) {
      must_be_nothing("xs", given.xs, "they are the hs of the recurrence below");
      must_be_nothing("indices", given.indices, "xs are the hs of the recurrence below");
    } else if (picked) {
      must_be_nothing("xs", given.xs, "there are indices");
      if (indices.size() != 2) refuse("indices must be [T, B], got ", listed(indices));
    } else if (xs.size() != 3) {
      refuse("xs must be [T, B, I], got ", listed(xs));
    }
    if (U.size() != 2) refuse("U must be [I, G·H], got ", listed(U));
    if (W.size() != 2) refuse("W must be [H, G·H], got ", listed(W));
    T = below ? below->T : picked ? indices[0] : xs[0], B = below ? below->B : picked ? indices[1] : xs[1];
    I = U[0], H = W[0];
    if (below && (I != below->H || B != 1 || reverse || below->args.reverse))
      refuse("a recurrence above another must be of one sequence, forward in time, and U must have I = ", below->H,
             " rows, got U ", listed(U), ", B = ", B);
    // What the kernels count in 32 bits: T·B, and I and H times the few that belong to each.
    if (T >= kMostRows || B >= kMostRows || T * B >= kMostRows)
      refuse("T·B must be below ", kMostRows, ", got xs ", listed(picked ? indices : xs));
    if (I > kMostUnits) refuse("I must be at most ", kMostUnits, ", got U ", listed(U));
    if (H > kMostUnits) refuse("H must be at most ", kMostUnits, ", got W ", listed(W));
    if (!T || !B || !I || !H)
      refuse("T, B, I and H must be at least 1, got xs ", listed(picked ? indices : xs), ", U ", listed(U), " and W ",
             listed(W));
    GH = kind->gates * H, Hp = (H + lanes() - 1) / lanes() * lanes();
    pH = vectors_of(kind->extra) * H;

    args.T = T, args.B = B, args.I = picked ? 0 : I, args.H = H, args.reverse = reverse;
    args.xs = below ? below->args.hs : picked ? nullptr : data("xs", "[T, B, I]", given.xs, {T, B, I});
    args.indices = picked ? given.indices.typed_data() : nullptr, args.rows_of_U = I;
    args.U = data("U", "[I, G·H]", given.U, {I, GH});
    args.W = data("W", "[H, G·H]", given.W, {H, GH});
    args.b = data_or_null("b", "[G·H]", given.b, {GH});
    args.p = extra("p", given.p);
    args.h0 = data("h0", "[B, H]", given.h0, {B, H});
    args.c0 = c("c0", given.c0);
    args.marks = data_or_null("marks", "[T, B]", given.marks, {T, B});
    args.h_reset = data_or_null("h_reset", "[B, H]", given.h_reset, {B, H});
    args.c_reset = given.h_reset.element_count() ? c("c_reset", given.c_reset) : nullptr;
    args.h_mask = data_or_null("h_mask", "[B, H]", given.h_mask, {B, H});
    args.h_stays = data_or_null("h_stays", "[T, B, H]", given.h_stays, {T, B, H});
    if (!kind->has_c) must_be_nothing("c_stays", given.c_stays, "the kind has no c");
    args.c_stays = data_or_null("c_stays", "[T, B, H]", given.c_stays, {T, B, H});
    if (const float* rates = data_or_null("stay_rates", "[2], of h and c", given.stay_rates, {2}))
      args.h_stay_rate = rates[0], args.c_stay_rate = rates[1];
    if (!args.h_reset) {
      must_be_nothing("c_reset", given.c_reset, "h_reset is");
      if (args.marks && std::any_of(args.marks, args.marks + T * B, [](uint8_t mark) { return mark & kReset; }))
        refuse("h_reset must be [B, H], as marks have resets, got an array of nothing");
    }
  }

  // A state's c, [B, H], which only some kinds have.
  template <class Array>
  Real* c(const char* name, Array& array) const {
    if (!kind->has_c) must_be_nothing(name, array, "the kind has no c");
    return kind->has_c ? data(name, "[B, H]", array, {B, H}) : nullptr;
  }

  // As c, for what may be nothing.
  template <class Array>
  Real* c_or_null(const char* name, Array& array) const {
    return array.element_count() ? c(name, array) : nullptr;
  }

  template <class Array>
  auto* extra(const char* name, Array& array) const {
    if (kind->extra == Extra::none) must_be_nothing(name, array, "the kind has no extra parameters");
    return data_or_null(name, kind->extra == Extra::peepholes ? "[3·H]" : "[H]", array, {pH});
  }

  void take_scratch(F32& array, const ScratchSize& size) {
    const size_t least = size.of(B, 1);
    if (array.element_count() < least)
      refuse("scratch must have at least ", least, " entries, got ", listed(array.dimensions()));
    args.scratch = array.typed_data();
    args.scratch_floats = array.element_count();
  }

  static constexpr int64_t kMostRows = (int64_t{1} << 31) - (1 << 12), kMostUnits = 1 << 26;

  const Kind* kind;
  int64_t T, B, I, H, GH, Hp, pH;
  RecurrenceArgs<Real> args{};
};

}  // namespace jbptt
