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
class Helpers {
 public:
  virtual ~Helpers() = default;
  virtual int number() const = 0;
  virtual void schedule(std::function<void()> function) = 0;
};

class Job {
 public:
  Job(int tasks, std::function<void(int)> task) : tasks_(tasks), task_(std::move(task)) {}

  void work() {
    for (int n; (n = claimed_.fetch_add(1)) < tasks_;) {
      try {
        task_(n);
      } catch (...) {  // out of memory, most likely: told of by whoever waits
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
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [this] { return done_.load() == tasks_; });
    if (failed_) std::rethrow_exception(failed_);
  }

 private:
  const int tasks_;
  const std::function<void(int)> task_;
  std::atomic<int> claimed_{0}, done_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
  std::exception_ptr failed_;
};

// Runs task(0) ... task(tasks - 1), each once, and returns when all are done.
inline void run_tasks(Helpers& helpers, int tasks, const std::function<void(int)>& task) {
  if (tasks <= 1 || helpers.number() == 0) {
    for (int n = 0; n < tasks; ++n) task(n);
    return;
  }
  // Helpers that come late hold the job, find nothing left to claim, and let it go.
  auto job = std::make_shared<Job>(tasks, task);
  for (int n = 0; n < std::min(tasks - 1, helpers.number()); ++n) helpers.schedule([job] { job->work(); });
  job->work();
  job->wait();
}

}  // namespace jbptt
