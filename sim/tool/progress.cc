#include "sim/tool/progress.h"

#include <fmt/format.h>

#include <algorithm>

namespace sim::tool {

Progress::Progress(const Invocation& invocation)
    : invocation_(invocation), active_(invocation.has("p") && !invocation.quiet()) {
  show(0);
}

Progress::~Progress() {
  if (active_) invocation_.print("\n");
}

void Progress::show(std::uint64_t hundredths) {
  if (!active_) return;
  shown_ = hundredths;
  invocation_.print(fmt::format("    ({}.{:02}/100%)\r", hundredths / 100, hundredths % 100));
}

// QEMU shows steps of at least 1%.
std::function<void(std::uint64_t, std::uint64_t)> Progress::observer() {
  if (!active_) return nullptr;
  return [this](std::uint64_t done, std::uint64_t total) {
    constexpr std::uint64_t kStep = 100;
    const unsigned shift = total >= std::uint64_t{1} << 40 ? 20 : 0;  // the product is to fit
    const std::uint64_t whole = std::max<std::uint64_t>(total >> shift, 1);
    const std::uint64_t hundredths =
        done >= total ? kWhole : ((done >> shift) * kWhole + whole / 2) / whole;
    if (hundredths >= shown_ + kStep || (hundredths == kWhole && shown_ != kWhole))
      show(hundredths);
  };
}

}  // namespace sim::tool
