// -p: how far a command is, in qemu-img's form.

#pragma once

#include <cstdint>
#include <functional>

#include "sim/tool/invocation.h"

namespace sim::tool {

class Progress {
 public:
  // Shows something only if -p was given.
  explicit Progress(const Invocation& invocation);
  // Ends the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // To be called whenever some of `total` is done; null if nothing is to be shown.
  std::function<void(std::uint64_t done, std::uint64_t total)> observer();
  // Everything is done.
  void finish() { show(kWhole); }

 private:
  static constexpr std::uint64_t kWhole = 10000;  // in hundredths of a percent
  void show(std::uint64_t hundredths);

  const Invocation& invocation_;
  bool active_;
  std::uint64_t shown_ = 0;
};

}  // namespace sim::tool
