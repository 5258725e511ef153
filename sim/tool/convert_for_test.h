// For the tests of convert: results are to be qemu-img's, byte for byte.

#pragma once

#include "sim/base/json.h"
#include "sim/base/text.h"
#include "sim/tool/tool_run.h"

namespace sim::tool::testing {

class ConvertBesideQemu : public BesideQemu {
 protected:
  // Runs convert with `arguments`, in which DST stands for the destination, by both; the results
  // must be the same bytes.  `before` is a shell command that makes the destination, if it must
  // exist.
  void expect_same_file(const std::string& arguments, const std::string& before = "true") {
    SCOPED_TRACE(arguments);
    const auto to = [](std::string text, const char* name) {
      return replace_all(std::move(text), "DST", name);
    };
    must("rm -f theirs ours; " + to(before, "theirs") + "; " + to(before, "ours"));
    must("qemu-img convert " + to(arguments, "theirs"));
    const Said said = tool("convert " + to(arguments, "ours"));
    EXPECT_EQ(said.code, 0) << said.err;
    EXPECT_EQ(must("cmp theirs ours && echo same"), "same\n");
    if (has_unwritten_ranges())
      EXPECT_EQ(must("qemu-img map --output=json ours"), must("qemu-img map --output=json theirs"));
    EXPECT_EQ(must("ls -A | grep part || true"), "");
  }

  // True if the file system can zero a range without writing it.  Where it cannot (tmpfs), QEMU
  // writes the rest of a new cluster, and fewer holes are left.
  bool has_unwritten_ranges() const {
    return must("fallocate -z -l 4096 probe 2> /dev/null && echo yes; rm -f probe") == "yes\n";
  }
};

// Data that differs, zeroes of every length and place, holes.
inline constexpr const char* kWrites =
    " -c 'write -P 1 0 100k' -c 'write -P 2 1M 512' -c 'write -P 3 1030k 512'"
    " -c 'write -P 4 2050k 3M' -c 'write -P 0 3M 100k' -c 'write -P 0 3300k 3k'"
    " -c 'write -P 5 7M 4k' -c 'write -P 6 7180k 4k' -c 'write -z 6M 128k' -c 'write -P 0 8M 1M'"
    " -c 'write -P 7 9999872 128' ";

}  // namespace sim::tool::testing
