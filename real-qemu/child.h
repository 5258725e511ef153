// A program as a child process (Boost.Process stays behind this header).

#pragma once

#include <chrono>
#include <expected>
#include <memory>
#include <string>
#include <vector>

namespace real_qemu {

struct ChildOptions {
  std::string program;  // a path
  std::vector<std::string> arguments;
  std::string directory;  // its working directory
  int output = -1;        // its standard output; its input is /dev/null
  int errors = -1;        // its standard error
  int inherited = -1;     // one more descriptor that it keeps, under the same number
};

// It gets a session and an empty signal mask of its own, writes no core file, and is killed by the
// kernel when the thread that started it ends.
class Child {
 public:
  static std::expected<Child, std::string> start(const ChildOptions& options);
  // Kills it if it runs, and takes its status.
  ~Child();
  Child(Child&&) noexcept;
  Child& operator=(Child&&) noexcept;

  int pid() const;
  // Whether one of its threads other than the first wants a processor or waits for a disk (states R
  // and D of proc(5)): QEMU's requests to files are made by such threads.
  bool is_at_work() const;
  // Waits for its end.
  bool ended_within(std::chrono::milliseconds limit);
  void kill();
  // "exited with status 1", "was ended by signal 9 (Killed)" or "is running".
  std::string how_it_is();

 private:
  struct State;
  explicit Child(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace real_qemu
