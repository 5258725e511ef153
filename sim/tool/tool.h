// `understudy image COMMAND …`: qemu-img's commands in its spelling, options, output and exit codes
// (the contract is cli.md's; what is stricter is in docs/stricter-than-qemu.md).

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/base/bytes.h"
#include "sim/image/open.h"
#include "sim/image/texts.h"
#include "sim/storage/storage.h"
#include "sim/world/world.h"

namespace sim::tool {

// What a command may know of the world outside: passed in, so that it runs the same in a test.
struct Surroundings {
  storage::FileSystem& files;
  std::string working_directory;
  std::function<void(std::string_view)> out;  // standard output
  std::function<void(std::string_view)> err;  // standard error
  std::function<std::uint64_t()> now_ns;      // since the epoch: the date of a snapshot
  std::function<void(MutableBytes)> random;   // keys and salts
  // The next line of standard input, without its end; nothing at the end.  Empty: there is none.
  std::function<std::optional<std::string>()> read_line = {};
  image::UtcOffset utc_offset = {};  // for the dates that are shown
};

// Runs `arguments` (the command first) and gives the exit code.  Never throws, never exits.
int run_tool(const Surroundings& surroundings, const std::vector<std::string>& arguments);

// One command: gets its arguments without its name.  Implemented in <name>.cc.
class Invocation;
using Command = Task<int> (*)(Invocation& invocation);

Task<int> info_command(Invocation& invocation);
Task<int> check_command(Invocation& invocation);
Task<int> create_command(Invocation& invocation);
Task<int> convert_command(Invocation& invocation);
Task<int> compare_command(Invocation& invocation);
Task<int> map_command(Invocation& invocation);
Task<int> measure_command(Invocation& invocation);
Task<int> snapshot_command(Invocation& invocation);
Task<int> bitmap_command(Invocation& invocation);
Task<int> commit_command(Invocation& invocation);
Task<int> rebase_command(Invocation& invocation);
Task<int> resize_command(Invocation& invocation);
Task<int> amend_command(Invocation& invocation);
Task<int> dd_command(Invocation& invocation);
Task<int> io_command(Invocation& invocation);
Task<int> bench_command(Invocation& invocation);
Task<int> dump_command(Invocation& invocation);

}  // namespace sim::tool
