// The kernels of one instruction set: which cell is which.
#include "recurrence.h"

namespace jbptt {
namespace {

template <class Cell>
void run(const Problem& problem, Helpers& helpers, bool back) {
  Recurrence<Cell> recurrence(problem, helpers);
  if (back) recurrence.backward();
  else recurrence.forward();
}

using Run = void (*)(const Problem&, Helpers&, bool);

constexpr Run kCells[] = {
    run<Lstm<true, true, true, false, true, true>>,    // lstm
    run<Lstm<false, true, true, false, true, true>>,   // lstm_nig
    run<Lstm<true, false, true, false, true, true>>,   // lstm_nfg
    run<Lstm<true, true, false, false, true, true>>,   // lstm_nog
    run<Lstm<true, true, true, false, false, true>>,   // lstm_niaf
    run<Lstm<true, true, true, false, true, false>>,   // lstm_noaf
    run<Lstm<true, false, true, true, true, true>>,    // lstm_cifg
    run<Gru>,
    run<Rnn<Activation::tanh>>,
    run<Rnn<Activation::relu>>,
    run<Rnn<Activation::sigmoid>>,
};
static_assert(sizeof kCells / sizeof kCells[0] == static_cast<size_t>(Kind::count));

}  // namespace

void forward(const Problem& problem, Helpers& helpers) { kCells[static_cast<int>(problem.kind)](problem, helpers, false); }
void backward(const Problem& problem, Helpers& helpers) { kCells[static_cast<int>(problem.kind)](problem, helpers, true); }

}  // namespace jbptt
