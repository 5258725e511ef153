#include <fmt/format.h>

#include "sim/tool/tool_run.h"

namespace sim::tool::testing {
namespace {

class Compare : public BesideQemu {
 protected:
  void expect_same_verdict(const std::string& command) {
    for (const char* options : {"", "-s ", "-q "}) {
      const auto theirs = qcow2::testing::run_command("cd " + directory_.path() +
                                                      " && qemu-img compare " + options + command);
      const Said said = tool("compare " + (options + command));
      EXPECT_EQ(said.code, theirs.status) << options << command << "\n" << theirs.output;
      if (theirs.status < 2) EXPECT_EQ(said.out, theirs.output) << options << command;
      EXPECT_EQ(said.err.empty(), said.code < 2);
    }
  }
};

TEST_F(Compare, VerdictsAreQemus) {
  must("qemu-img create -q -f qcow2 a 4M && qemu-io -c 'write -P 3 1M 1M' a");
  must("cp a same && qemu-img convert -O raw a a.raw");
  must("cp a other && qemu-io -c 'write -P 4 1537k 1k' other");
  must("cp a zeroes && qemu-io -c 'write -P 0 2M 64k' zeroes");
  must("cp a flagged && qemu-io -c 'write -z 3M 64k' flagged");
  must("cp a longer && qemu-img resize -q longer 5M");
  must("cp longer behind && qemu-io -c 'write 4200k 512' behind");
  must("qemu-img create -q -f qcow2 -b a -F qcow2 overlay");
  must("cp overlay changed && qemu-io -c 'write -P 5 100k 1k' changed");
  must("qemu-img create -q -f qcow2 empty 4M && truncate -s 4M empty.raw");
  for (const char* other : {"same", "a.raw", "other", "zeroes", "flagged", "longer", "behind",
                            "overlay", "changed", "empty", "empty.raw", "nope"}) {
    expect_same_verdict(fmt::format("a {}", other));
    expect_same_verdict(fmt::format("{} a", other));
  }
  expect_same_verdict("empty empty.raw");
  expect_same_verdict("longer behind");
  expect_same_verdict("-f raw a a");
  expect_same_verdict("-f raw -F raw a same");
  expect_same_verdict("-F raw a.raw a");
}

}  // namespace
}  // namespace sim::tool::testing
