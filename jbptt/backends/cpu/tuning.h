// What was found by measurement (benchmarks/NOTES.md), a row for each instruction set: no equation depends on it.
#pragma once

#include <cstddef>

namespace jbptt {

struct Tuning {
  int lanes;           // floats in a vector
  int panel;           // vectors of packed weights side by side: with tile_rows, as many sums as there are registers for
  int tile_rows;       // of a register tile
  int chain;           // terms of a sum before it is put away: of float32's accuracy, and the first cache
  int rows_at_once;    // of the batch, whose sums stay in the first cache until the pointwise part
  int projected_rows;  // of x U, ahead of the steps that use them; and steps of one sequence beside another's
  size_t least_work;   // multiplications of a thread: with fewer it would be done before another is awake
  size_t least_step;   // of a step, from which it repays parts of the units that their threads meet
};

namespace tuned {

constexpr Tuning avx512{16, 4, 6, 512, 48, 48, 2'000'000, 1 << 15};
constexpr Tuning avx2{8, 2, 6, 512, 96, 48, 2'000'000, 1 << 14};
constexpr Tuning sse{4, 2, 6, 512, 96, 48, 2'000'000, 1 << 14};
constexpr Tuning neon{4, 4, 6, 512, 96, 48, 2'000'000, 1 << 14};

}  // namespace tuned

constexpr Tuning kTuning = JBPTT_TUNING;

}  // namespace jbptt
