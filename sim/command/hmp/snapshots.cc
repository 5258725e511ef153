#include "sim/command/hmp/snapshots.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/base/human.h"
#include "sim/command/vm_snapshot.h"

namespace sim::command::hmp {

namespace {

using block::InternalSnapshot;

std::string error_line(const Error& error) { return fmt::format("Error: {}\r\n", error.desc); }

// 5.2 says it otherwise for each command.
Error reworded(const Context& context, Error error, const char* as_5_2) {
  if (context.profile.old_machine_snapshot_texts &&
      error.desc == "no block device can store vmstate for snapshot")
    error.desc = as_5_2;
  return error;
}

std::string usage(const std::string& what, const std::string& command, const std::string& help) {
  return fmt::format("{}: {}\r\nTry \"help {}\" for more information\r\n", command, what, help);
}

// Padded as printf does it, which counts bytes.
std::string in_column(std::string text, std::size_t bytes) {
  if (text.size() < bytes) text.resize(bytes, ' ');
  return text;
}

class Table {
 public:
  explicit Table(const Profile& profile) : profile_(profile) {}

  std::string heading() const {
    if (profile_.snapshot_table_has_underscores)
      return fmt::format("{:<7} {:<16} {:>8} {:>19} {:>15} {:>10}\r\n", "ID", "TAG", "VM_SIZE",
                         "DATE", "VM_CLOCK", "ICOUNT");
    return fmt::format("{:<10}{:<17}{:>8}{:>20}{:>13}{:>11}\r\n", "ID", "TAG", "VM SIZE", "DATE",
                       "VM CLOCK", "ICOUNT");
  }
  std::string row(const std::string& id, const InternalSnapshot& snapshot) const {
    const std::string size = human_size(snapshot.vm_state_size);
    const std::string date = date_text(snapshot.date_sec, 0);
    const std::string count = snapshot.icount ? fmt::format("{}", *snapshot.icount) : "";
    if (profile_.snapshot_table_has_underscores)
      return fmt::format("{} {} {:>8} {:>19} {:>15} {:>10}\r\n", in_column(id, 7),
                         in_column(snapshot.name, 16), size, date, clock(snapshot, 4),
                         count.empty() ? "--" : count);
    return fmt::format("{} {} {:>{}}{:>20}{:>13}{:>11}\r\n", in_column(id, 9),
                       in_column(snapshot.name, profile_.snapshot_name_columns), size,
                       24 - profile_.snapshot_name_columns, date, clock(snapshot, 2), count);
  }

 private:
  static std::string clock(const InternalSnapshot& snapshot, int hours) {
    const std::uint64_t seconds = snapshot.vm_clock_ns / 1'000'000'000;
    return fmt::format("{:0{}}:{:02}:{:02}.{:03}", seconds / 3600, hours, seconds / 60 % 60,
                       seconds % 60, snapshot.vm_clock_ns / 1'000'000 % 1000);
  }
  const Profile& profile_;
};

bool is_everywhere(const std::vector<MachineDisk>& disks, const std::string& name) {
  return std::ranges::all_of(disks, [&](const MachineDisk& disk) {
    return !disk.included || find_snapshot(*disk.node, name).has_value();
  });
}

std::string partial_lists(const std::vector<MachineDisk>& disks,
                          const std::vector<std::string>& everywhere, const Table& table) {
  std::string text;
  for (const MachineDisk& disk : disks) {
    if (!can_snapshot(*disk.node)) continue;
    std::string rows;
    for (const InternalSnapshot& snapshot : snapshots_of(*disk.node))
      if (std::ranges::find(everywhere, snapshot.name) == everywhere.end())
        rows += table.row(snapshot.id, snapshot);
    if (!rows.empty())
      text += fmt::format("\r\nList of partial (non-loadable) snapshots on '{}':\r\n{}{}",
                          disk.node->device_name(), table.heading(), rows);
  }
  return text;
}

// Those that all disks have, then those of each disk that are not everywhere.
std::string info_snapshots(Context& context) {
  const auto disks = *machine_disks(context, {});
  const auto keeper = vm_state_disk(disks, {});
  if (!keeper) {
    const Error error =
        reworded(context, keeper.error(), "No available block device supports snapshots");
    return context.profile.info_snapshots_says_error ? error_line(error) : error.desc + "\r\n";
  }
  if (std::ranges::none_of(disks, [](const MachineDisk& disk) {
        return can_snapshot(*disk.node) && !snapshots_of(*disk.node).empty();
      }))
    return "There is no snapshot available.\r\n";
  const Table table(context.profile);
  std::vector<std::string> everywhere;
  std::string rows;
  for (const InternalSnapshot& snapshot : snapshots_of(**keeper)) {
    if (!is_everywhere(disks, snapshot.name)) continue;
    everywhere.push_back(snapshot.name);
    rows += table.row("--", snapshot);
  }
  return "List of snapshots present on all disks:\r\n" +
         (rows.empty() ? "None\r\n" : table.heading() + rows) +
         partial_lists(disks, everywhere, table);
}

Task<Result<>> run(Context& context, std::vector<std::string> words) {
  if (words[0] == "savevm") {
    std::optional<std::string> tag;
    if (words.size() > 1) tag = words[1];
    co_return co_await save_machine(context, std::move(tag), {}, true);
  }
  if (words[0] == "loadvm") co_return co_await load_machine(context, words[1], {});
  co_return co_await delete_machine(context, words[1], {}, context.profile.delvm_checks_devices);
}

}  // namespace

Task<std::optional<std::string>> run_snapshots(Context& context, std::vector<std::string> words) {
  if (words[0] == "info" && words.size() > 1 && words[1] == "snapshots") {
    if (words.size() > 2)
      co_return usage("extraneous characters at the end of line", "snapshots", "info snapshots");
    co_return info_snapshots(context);
  }
  if (words[0] != "savevm" && words[0] != "loadvm" && words[0] != "delvm") co_return std::nullopt;
  if (words.size() > 2)
    co_return usage("extraneous characters at the end of line", words[0], words[0]);
  if (words.size() == 1 && words[0] != "savevm")
    co_return usage("string expected", words[0], words[0]);
  const char* as_5_2 = words[0] == "savevm" ? "No block device can accept snapshots"
                                            : "No block device supports snapshots";
  const Result<> done = co_await run(context, std::move(words));
  if (done) co_return "";
  co_return error_line(reworded(context, done.error(), as_5_2));
}

}  // namespace sim::command::hmp
