// Work in numbered tasks, done by whoever claims them: the calling thread, and any of a pool's that come in time. So a
// busy or starved pool delays nothing but speed, and nobody waits for a task that nobody has begun.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace jbptt {

// Something that runs functions on other threads, some time or never.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual int threads() const = 0;  // beside the caller's
  virtual void schedule(std::function<void()> function) = 0;
};

// A task's number, and its worker's: no two that run at once have the same, so that a worker may own memory.
using Task = std::function<void(int task, int worker)>;

// About 20 µs, in which what others are at of a small call ends: putting a thread to sleep and waking it takes longer.
constexpr int kSpins = 1000;

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Job {
 public:
  Job(int tasks, Task task) : tasks_(tasks), task_(std::move(task)) {}

  void work(int worker) {
    for (int n; (n = claimed_.fetch_add(1)) < tasks_;) {
      try {
        task_(n, worker);
      } catch (...) {  // told of by whoever waits
        std::lock_guard<std::mutex> lock(mutex_);
        if (!failed_) failed_ = std::current_exception();
      }
      if (done_.fetch_add(1) + 1 == tasks_) {
        std::lock_guard<std::mutex> lock(mutex_);
        all_done_.notify_all();
      }
    }
  }

  void wait() {
    for (int n = 0; n < kSpins && done_.load(std::memory_order_acquire) < tasks_; ++n) pause_briefly();
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [this] { return done_.load() == tasks_; });
    if (failed_) std::rethrow_exception(failed_);
  }

 private:
  const int tasks_;
  const Task task_;
  std::atomic<int> claimed_{0}, done_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
  std::exception_ptr failed_;
};

// Runs task(0) ... task(tasks - 1), each once, by at most `workers`, and returns when all are done.
inline void run_tasks(Executor& executor, int workers, int tasks, const Task& task) {
  const int others = std::min({tasks - 1, workers - 1, executor.threads()});
  if (others <= 0) {
    for (int n = 0; n < tasks; ++n) task(n, 0);
    return;
  }
  // Those that come late hold the job, find nothing left to claim, and let it go.
  auto job = std::make_shared<Job>(tasks, task);
  for (int n = 1; n <= others; ++n) executor.schedule([job, n] { job->work(n); });
  job->work(0);
  job->wait();
}

}  // namespace jbptt
