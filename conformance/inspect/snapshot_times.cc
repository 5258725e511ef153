#include "conformance/inspect/snapshot_times.h"

#include <array>

#include "sim/base/bytes.h"

namespace conformance::inspect {

namespace {

constexpr std::uint32_t kMagic = 0x514649fb;
constexpr std::uint32_t kMostSnapshots = 65536;
// Of an entry: what is fixed of it, and the places in it.
constexpr std::size_t kFixed = 40, kIdLength = 12, kNameLength = 14, kTimes = 16, kExtraLength = 36;
constexpr std::uint64_t kTimesLength = 16;  // date in seconds and nanoseconds, the guest's clock

}  // namespace

sim::Result<std::vector<FileRange>> snapshot_times(const Files& files, const std::string& path) {
  std::vector<FileRange> times;
  std::array<std::byte, 72> header{};
  if (files.size(path).value_or(0) < header.size()) return times;
  TRY_OK(files.read(path, 0, header));
  if (sim::load_be<std::uint32_t>(header, 0) != kMagic) return times;
  const auto count = sim::load_be<std::uint32_t>(header, 60);
  std::uint64_t at = sim::load_be<std::uint64_t>(header, 64);
  if (count > kMostSnapshots) return sim::os_error(EFBIG, path);
  for (std::uint32_t i = 0; i < count; ++i) {
    std::array<std::byte, kFixed> entry{};
    TRY_OK(files.read(path, at, entry));
    times.push_back({at + kTimes, kTimesLength});
    at += sim::align_up(kFixed + sim::load_be<std::uint32_t>(entry, kExtraLength) +
                            sim::load_be<std::uint16_t>(entry, kIdLength) +
                            sim::load_be<std::uint16_t>(entry, kNameLength),
                        8);
  }
  return times;
}

}  // namespace conformance::inspect
