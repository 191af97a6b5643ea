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

  // Or in parts, whose stages each need all parts of the one before.
  virtual int parts_of_units() const = 0;
  virtual int stages() const = 0;
  virtual void run_stage(int part, int stage) = 0;

  virtual int completions() const = 0;
  virtual void complete(int n, int worker) = 0;
};

// Stages of some work, told by whoever is at them to whoever waits for them.
class Progress {
 public:
  int done() const { return done_.load(std::memory_order_acquire); }

  void wait_for(int stages) const {
    for (int spins = 0; done() < stages; ++spins) {
      if (spins < kSpins) pause_briefly();
      else std::this_thread::yield();  // whoever is at it may need this processor
    }
  }

  // Tells at its end, after an exception too, or whoever waits would do so for ever.
  class Telling {
   public:
    Telling(Progress& progress, int stages) : progress_(progress), stages_(stages) {}
    ~Telling() { progress_.done_.store(stages_, std::memory_order_release); }

   private:
    Progress& progress_;
    const int stages_;
  };

 private:
  std::atomic<int> done_{0};
};

// The parts of a recurrence, each at best the same worker's at every stage, in whose cache its weights then are. A
// worker that is late, or never comes, is not waited for: others do its part of the stage.
class Parts {
 public:
  explicit Parts(Recurrence& one) : one_(one), parts_(one.parts_of_units()) {}

  int tasks() const { return static_cast<int>(parts_.size()); }

  void run(int own) {
    parts_[own].has_come.store(true, std::memory_order_relaxed);
    for (int stage = 0; stage < one_.stages(); ++stage) {
      run_unless_begun(own, stage);
      for (int n = 0; n < tasks(); ++n)
        if (n != own) {
          for (int spins = 0; spins < kSpins && parts_[n].has_come.load(std::memory_order_relaxed); ++spins) {
            if (parts_[n].begun.load(std::memory_order_relaxed) > stage) break;
            pause_briefly();
          }
          run_unless_begun(n, stage);
        }
    }
  }

 private:
  struct alignas(64) Part {
    std::atomic<int> begun{0};  // stages
    std::atomic<bool> has_come{false};
    Progress progress;
  };

  void run_unless_begun(int n, int stage) {
    int expected = stage;
    if (!parts_[n].begun.compare_exchange_strong(expected, stage + 1)) return;
    const Progress::Telling telling(parts_[n].progress, stage + 1);
    for (Part& part : parts_) part.progress.wait_for(stage);
    one_.run_stage(n, stage);
  }

  Recurrence& one_;
  std::vector<Part> parts_;
};

inline void run_alone(Recurrence& one, Executor& executor) {
  const int workers = one.most_threads();
  run_tasks(executor, workers, one.preparations(), [&](int n, int) { one.prepare(n); });
  if (one.parts_of_units() > 1) {
    Parts parts(one);
    run_tasks(executor, workers, parts.tasks(), [&](int n, int) { parts.run(n); });
  } else {
    run_tasks(executor, workers, one.batch_slices(), [&](int slice, int) { one.run_slice(slice); });
  }
  run_tasks(executor, workers, one.completions(), [&](int n, int worker) { one.complete(n, worker); });
}

// The blocks of several recurrences of as many blocks each, as tasks in an order in which whoever claims the next one
// waits, if at all, for others that were claimed before: so somebody is at them, and nobody waits for ever.
class Wavefront {
 public:
  // chained: a block of one needs the same of the one before it in the list.
  Wavefront(const std::vector<std::unique_ptr<Recurrence>>& all, bool chained)
      : all_(all), chained_(chained), progress_(all.size()) {
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
    const Progress::Telling telling(progress_[n], block + 1);
    progress_[n].wait_for(block);
    if (chained_ && n) progress_[n - 1].wait_for(block + 1);
    all_[n]->run_block(block);
  }

 private:
  struct Block {
    int recurrence, block;
  };

  const std::vector<std::unique_ptr<Recurrence>>& all_;
  const bool chained_;
  std::vector<Block> order_;
  std::vector<Progress> progress_;  // of each recurrence, in blocks
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
