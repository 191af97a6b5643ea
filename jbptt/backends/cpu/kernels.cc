// The kernels of one instruction set: which cell is which.
#include "backward.h"
#include "forward.h"

namespace jbptt {
namespace {

template <class Cell, class Real>
Makers<Real> makers() {
  return {[](const Kind& kind, const RecurrenceArgs<Real>& args, int threads) -> std::unique_ptr<Recurrence> {
            return std::make_unique<Forward<Cell, Real>>(kind, args, threads);
          },
          [](const Kind& kind, const RecurrenceArgs<Real>& args, int threads) -> std::unique_ptr<Recurrence> {
            return std::make_unique<Backward<Cell, Real>>(kind, args, threads);
          }};
}

template <class Cell>
Kind kind(const char* name) {
  return {name, Cell::G, Cell::S, Cell::kUnits, Cell::kHasC, Cell::kExtra, Cell::kAtX, Cell::kAtH,
          {makers<Cell, float>(), makers<Cell, Bfloat16>()}};
}

}  // namespace

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      kind<Lstm<true, true, true, false, true, true>>("lstm"),
      kind<Lstm<false, true, true, false, true, true>>("lstm_nig"),
      kind<Lstm<true, false, true, false, true, true>>("lstm_nfg"),
      kind<Lstm<true, true, false, false, true, true>>("lstm_nog"),
      kind<Lstm<true, true, true, false, false, true>>("lstm_niaf"),
      kind<Lstm<true, true, true, false, true, false>>("lstm_noaf"),
      kind<Lstm<true, false, true, true, true, true>>("lstm_cifg"),
      kind<Gru>("gru"),
      kind<Rnn<Activation::tanh>>("rnn_tanh"),
      kind<Rnn<Activation::relu>>("rnn_relu"),
      kind<Rnn<Activation::sigmoid>>("rnn_sigmoid"),
  };
  return all;
}

const Kind* find_kind(std::string_view name) {
  for (const Kind& kind : kinds())
    if (kind.name == name) return &kind;
  return nullptr;
}

int lanes() { return kLanes; }

ScratchSize forward_scratch(const Kind& kind, int I, int H, bool widens) {
  return forward_scratch(Plan(kind, I, H), widens);
}

ScratchSize backward_scratch(const Kind& kind, int64_t rows, int I, int H, bool of_weights, bool of_xs, bool widens) {
  return BackwardScratch(Plan(kind, I, H), rows, of_weights, of_xs, widens).size;
}

}  // namespace jbptt
