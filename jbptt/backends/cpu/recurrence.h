// A recurrence as work for threads: what comes before its steps, the steps, and what is left after them. How one is run
// by itself, its batch in slices; and several at once, each a sequence by itself.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tasks.h"

namespace jbptt {

class Recurrence {
 public:
  virtual ~Recurrence() = default;
  virtual int busy_threads() const = 0;  // that there is work for
  virtual int most_threads() const = 0;  // and memory, where each has some: for slices, and for what is left

  virtual int preparations() const = 0;
  virtual void prepare(int n) = 0;

  virtual int batch_slices() const = 0;
  virtual void run_slice(int slice) = 0;  // all of its steps
  virtual int blocks() const = 0;
  virtual void run_block(int block) = 0;  // some steps of a batch of one slice: blocks one after the other are all

  virtual int completions() const = 0;
  virtual void complete(int n, int worker) = 0;
};

inline void run_alone(Recurrence& one, Executor& executor) {
  const int workers = one.most_threads();
  run_tasks(executor, workers, one.preparations(), [&](int n, int) { one.prepare(n); });
  run_tasks(executor, workers, one.batch_slices(), [&](int slice, int) { one.run_slice(slice); });
  run_tasks(executor, workers, one.completions(), [&](int n, int worker) { one.complete(n, worker); });
}

// The blocks of several recurrences of as many blocks each, as tasks in an order in which whoever claims the next one
// waits, if at all, for others that were claimed before: so somebody is at them, and nobody waits for ever.
class Wavefront {
 public:
  // chained: a block of one needs the same of the one before it in the list.
  Wavefront(const std::vector<std::unique_ptr<Recurrence>>& all, bool chained)
      : all_(all), chained_(chained), done_(all.size()) {
    const int blocks = all.front()->blocks(), number = static_cast<int>(all.size()), late = chained ? number - 1 : 0;
    for (int time = 0; time < blocks + late; ++time)
      for (int n = 0; n < number; ++n) {
        const int block = time - (chained ? n : 0);
        if (block >= 0 && block < blocks) order_.push_back({n, block});
      }
  }

  int tasks() const { return static_cast<int>(order_.size()); }

  void run(int task) {
    const auto [n, block] = order_[task];
    const Done told(done_[n], block + 1);
    wait_for(n, block);
    if (chained_ && n) wait_for(n - 1, block + 1);
    all_[n]->run_block(block);
  }

 private:
  struct Block {
    int recurrence, block;
  };

  // Says so at the end of a block, after an exception too, or whoever waits for it would do so for ever.
  class Done {
   public:
    Done(std::atomic<int>& blocks, int number) : blocks_(blocks), number_(number) {}
    ~Done() { blocks_.store(number_, std::memory_order_release); }

   private:
    std::atomic<int>& blocks_;
    const int number_;
  };

  void wait_for(int n, int blocks) const {
    for (int spins = 0; done_[n].load(std::memory_order_acquire) < blocks; ++spins) {
      if (spins < kSpins) pause_briefly();
      else std::this_thread::yield();  // whoever is at it may need this processor
    }
  }

  const std::vector<std::unique_ptr<Recurrence>>& all_;
  const bool chained_;
  std::vector<Block> order_;
  std::vector<std::atomic<int>> done_;  // of each recurrence, the blocks
};

inline void run_together(const std::vector<std::unique_ptr<Recurrence>>& all, bool chained, Executor& executor) {
  if (all.size() == 1) return run_alone(*all.front(), executor);
  int busy = all.front()->busy_threads(), most = all.front()->most_threads();
  std::vector<Recurrence*> preparing, completing;  // of each task
  std::vector<int> preparation, completion;        // its number among its recurrence's
  for (const auto& one : all) {
    busy = std::min(busy, one->busy_threads()), most = std::min(most, one->most_threads());
    for (int n = 0; n < one->preparations(); ++n) preparing.push_back(one.get()), preparation.push_back(n);
    for (int n = 0; n < one->completions(); ++n) completing.push_back(one.get()), completion.push_back(n);
  }
  run_tasks(executor, busy, static_cast<int>(preparing.size()),
            [&](int n, int) { preparing[n]->prepare(preparation[n]); });
  Wavefront wavefront(all, chained);
  // As many workers as recurrences: any more would claim blocks only to wait for those before them.
  run_tasks(executor, std::min(busy, static_cast<int>(all.size())), wavefront.tasks(),
            [&](int task, int) { wavefront.run(task); });
  run_tasks(executor, most, static_cast<int>(completing.size()),
            [&](int n, int worker) { completing[n]->complete(completion[n], worker); });
}

}  // namespace jbptt
