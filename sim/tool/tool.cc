#include "sim/tool/tool.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/tool/invocation.h"

namespace sim::tool {

namespace {

struct Row {
  std::string_view name;
  Command command;
};
constexpr std::array kCommands = {
    Row{"amend", amend_command},
    Row{"bench", bench_command},
    Row{"bitmap", bitmap_command},
    Row{"check", check_command},
    Row{"commit", commit_command},
    Row{"compare", compare_command},
    Row{"convert", convert_command},
    Row{"create", create_command},
    Row{"dd", dd_command},
    Row{"dump", dump_command},
    Row{"info", info_command},
    Row{"io", io_command},
    Row{"map", map_command},
    Row{"measure", measure_command},
    Row{"rebase", rebase_command},
    Row{"resize", resize_command},
    Row{"snapshot", snapshot_command},
};

std::string usage() {
  std::string text = "usage: understudy image COMMAND [OPTION…] FILE…\n\ncommands:";
  for (const Row& row : kCommands) text += fmt::format(" {}", row.name);
  return text + "\nSpelled as in qemu-img (`io` is qemu-io, `dump` shows every structure).\n";
}

}  // namespace

int run_tool(const Surroundings& surroundings, const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments.front() == "--help" || arguments.front() == "-h") {
    (arguments.empty() ? surroundings.err : surroundings.out)(usage());
    return arguments.empty() ? 1 : 0;
  }
  if (arguments.front() == "--version" || arguments.front() == "-V") {
    surroundings.out("understudy image " UNDERSTUDY_VERSION ", as qemu-img 7.2\n");
    return 0;
  }
  const auto row = std::ranges::find(kCommands, arguments.front(), &Row::name);
  if (row == kCommands.end()) {
    surroundings.err(fmt::format(
        "understudy image: Command not found: {}; `understudy image --help` lists them\n",
        arguments.front()));
    return 1;
  }
  World world(1);
  Invocation invocation(surroundings, world, arguments.front(),
                        {arguments.begin() + 1, arguments.end()});
  return run(world, row->command(invocation));
}

}  // namespace sim::tool
