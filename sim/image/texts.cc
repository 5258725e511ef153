#include "sim/image/texts.h"

#include <fmt/format.h>

namespace sim::image {

// As wide as `bytes`, which printf counts.
static std::string in_column(std::string text, std::size_t bytes) {
  if (text.size() < bytes) text.resize(bytes, ' ');
  return text;
}

std::string snapshot_table(const std::vector<qcow2::Snapshot>& snapshots,
                           const UtcOffset& utc_offset) {
  std::string text = fmt::format("{:<10}{:<17}{:>8}{:>20}{:>13}{:>11}\n", "ID", "TAG", "VM SIZE",
                                 "DATE", "VM CLOCK", "ICOUNT");
  for (const qcow2::Snapshot& snapshot : snapshots) {
    const std::uint64_t seconds = snapshot.vm_clock_ns / 1'000'000'000;
    const std::string clock =
        fmt::format("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60,
                    snapshot.vm_clock_ns / 1'000'000 % 1000);
    const std::string icount =
        snapshot.icount == UINT64_MAX ? std::string() : fmt::format("{}", snapshot.icount);
    text += fmt::format(
        "{} {} {:>8}{:>20}{:>13}{:>11}\n", in_column(snapshot.id, 9), in_column(snapshot.name, 16),
        human_size(snapshot.vm_state_bytes),
        date_text(snapshot.date_seconds, utc_offset ? utc_offset(snapshot.date_seconds) : 0), clock,
        icount);
  }
  return text;
}

}  // namespace sim::image
